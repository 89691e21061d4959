"""Whether the Hub in use answers, asked at most every few seconds however many pages want to know."""

import threading
import time

from modelyard.core.database import Database
from modelyard.schemas.system import HubStatus
from modelyard.services import system_service
from modelyard.services.settings_service import SettingsService

KEEP_SECONDS = 15.0


class HubWatch:
    """Remembers the last answer; the first caller after it went stale waits for a new one, others get the old."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, HubStatus]] = {}

    def status(self, database: Database) -> HubStatus:
        """Blocks for up to HUB_CHECK_SECONDS when a new answer is due."""
        with database.reading() as session:
            settings = SettingsService(session)
            client = settings.hub_client()
            known = self._known.get(client.endpoint)
            if known is not None and (time.monotonic() - known[0] < KEEP_SECONDS or self._lock.locked()):
                return known[1]
            with self._lock:
                status = system_service.hub_status(settings, client)
                self._known[client.endpoint] = (time.monotonic(), status)
            return status

    def forget(self) -> None:
        """Ask anew the next time, because the endpoint or the token changed."""
        self._known.clear()
