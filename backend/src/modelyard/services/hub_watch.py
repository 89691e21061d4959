"""Whether the Hub in use answers, asked at most every few seconds however many pages want to know."""

import threading
import time

from modelyard.core.database import Database
from modelyard.hub.client import HubClient
from modelyard.schemas.system import HubStatus
from modelyard.services import system_service
from modelyard.services.settings_service import EndpointSource, SettingsService

KEEP_SECONDS = 15.0


class HubWatch:
    """Remembers the last answer; the first caller after it went stale waits for a new one, others get the old."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, HubStatus]] = {}

    def status(self, database: Database) -> HubStatus:
        """Blocks one caller, for some seconds at most, when a new answer is due."""
        with database.reading() as session:
            settings = SettingsService(session)
            client, source = settings.hub_client(), settings.endpoint_source()
        known = self._known.get(client.endpoint)
        if known is not None and time.monotonic() - known[0] < KEEP_SECONDS:
            return known[1]
        if not self._lock.acquire(blocking=False):
            # All threads would wait for a Hub that stalls.
            return known[1] if known is not None else _being_asked(client, source)
        try:
            status = system_service.hub_status(client, source)
            self._known[client.endpoint] = (time.monotonic(), status)
        finally:
            self._lock.release()
        return status

    def forget(self) -> None:
        """Ask anew the next time, because the endpoint or the token changed."""
        self._known.clear()


def _being_asked(client: HubClient, source: EndpointSource) -> HubStatus:
    return HubStatus(
        endpoint=client.endpoint,
        endpoint_source=source,
        reachable=False,
        reason="It is being asked for the first time and has not answered yet.",
        user=None,
        token="unknown",  # noqa: S106 - the token's state
        token_note=client.missing_token_note(),
    )
