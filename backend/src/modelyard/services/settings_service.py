"""Settings a user changes while the server runs, kept in the database so that every process sees them."""

import re
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from huggingface_hub import constants
from sqlalchemy import delete
from sqlalchemy.orm import Session

from modelyard.core.database import database_now, insert
from modelyard.core.errors import InvalidRequest
from modelyard.core.paths import PathRules
from modelyard.core.settings import get_settings
from modelyard.hub import tokens
from modelyard.hub.client import HubClient
from modelyard.hub.download.throttle import next_slot
from modelyard.hub.origins import origin_of
from modelyard.models import Setting
from modelyard.schemas.system import Defaults, HubTestRequest, SettingsUpdate
from modelyard.services.jobs.job_service import JobOrder

BUILTIN = "builtin"
LOCAL = "local"
"""What rows remember as their Hub when their files came from a folder."""
SAMPLES_TIMEOUT_SECONDS = 120.0
"""The sample models are made when they are first asked for."""
DEFAULT_ENDPOINT = "https://huggingface.co"
DEFAULT_PARALLEL_DOWNLOADS = 3
DEFAULT_CONNECTIONS = 8

_BANDWIDTH_KEY = "bandwidth_free_at"
"""When the next bytes of all downloads may be read, in seconds since 1970 by the database's clock."""

EndpointSource = Literal["default", "environment", "settings", "builtin"]


@dataclass(frozen=True)
class TransferSettings:
    parallel_downloads: int
    connections: int
    bandwidth_limit_bytes_per_second: int | None
    download_order: JobOrder


class SettingsService:
    """Reads and writes the `settings` table; never commits."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def transfers(self) -> TransferSettings:
        return TransferSettings(
            parallel_downloads=self._get("parallel_downloads") or DEFAULT_PARALLEL_DOWNLOADS,
            connections=self._get("connections") or DEFAULT_CONNECTIONS,
            bandwidth_limit_bytes_per_second=self._get("bandwidth_limit_bytes_per_second"),
            download_order=self._get("download_order") or "oldest_first",
        )

    def reserve_bandwidth(self, byte_count: int, rate: float) -> float:
        """Reserve bytes of the bandwidth that all downloads share; returns in how many seconds they may be read."""
        self._insert_once(_BANDWIDTH_KEY, 0.0)
        row = self.session.get_one(Setting, _BANDWIDTH_KEY, populate_existing=True, with_for_update=True)
        now = database_now(self.session).timestamp()  # after the wait for whoever reserved before
        begins_at, free_at = next_slot(row.value["value"], now, byte_count, rate)
        row.value = {"value": free_at}
        return max(0.0, begins_at - now)

    def defaults(self) -> Defaults:
        return Defaults.model_validate(self._get("defaults") or {})

    def prefer_fast_dtype(self) -> bool:
        """Return whether loads that name no dtype take the faster one."""
        return bool(self._get("prefer_fast_dtype"))

    def endpoint_reference(self) -> str:
        """Return what new rows remember as their Hub: an address, or `builtin`, whose address changes with the port."""
        return self._get("endpoint") or constants.ENDPOINT

    def endpoint_source(self) -> EndpointSource:
        chosen = self._get("endpoint")
        if chosen == BUILTIN:
            return "builtin"
        if chosen:
            return "settings"
        return "default" if constants.ENDPOINT == DEFAULT_ENDPOINT else "environment"

    def endpoint_url(self, reference: str | None = None) -> str:
        """Return the address of the Hub in use, or of the one a row remembers."""
        reference = reference or self.endpoint_reference()
        return f"{self.server_url()}/hub" if reference == BUILTIN else reference

    def hub_client(self, reference: str | None = None) -> HubClient:
        """Return a client for the Hub in use, or for the one a row remembers.

        Each Hub gets the token that was stored for it, and the built-in one this server's own key.
        """
        reference = reference or self.endpoint_reference()
        if reference == BUILTIN:
            key = get_settings().api_key
            return HubClient(
                self.endpoint_url(reference),
                key.get_secret_value() if key else False,
                timeout_seconds=SAMPLES_TIMEOUT_SECONDS,
                is_builtin=True,
            )
        return HubClient(reference)

    def client_to_try(self, request: HubTestRequest) -> HubClient:
        """Return a client for a Hub, or with a token, that is not in use yet. Raises InvalidRequest."""
        reference = self.endpoint_reference()
        if "endpoint" in request.model_fields_set:
            reference = constants.ENDPOINT if request.endpoint is None else checked_endpoint(request.endpoint)
        if request.token and reference != BUILTIN:
            return HubClient(reference, tokens.checked_token(request.token))
        return self.hub_client(reference)

    def store_token(self, token: str | None) -> None:
        """Store the token for the Hub in use; None or "" forgets it. Raises InvalidRequest."""
        reference = self.endpoint_reference()
        if reference != BUILTIN:
            tokens.store_token(reference, token)
        elif token:
            raise InvalidRequest(
                "The built-in sample Hub takes no token.", hint="Choose the Hub that the token is for first."
            )

    def server_url(self) -> str:
        """Return where the API is: this process's own, otherwise the one that was started last on this database."""
        settings = get_settings()
        return settings.server or self._get("server_url") or settings.local_url

    def remember_server_url(self, url: str) -> None:
        self._set("server_url", url)

    def folders(self) -> dict[str, Any] | None:
        """Return what the API noted of the folders it shares with its workers; None until it has started once."""
        found: dict[str, Any] | None = self._get("folders")
        return found

    def remember_folders(self, folders: dict[str, Any]) -> None:
        self._set("folders", folders)

    def path_rules(self) -> PathRules:
        """Return which paths users may name, as the API decided at its start; a worker's environment may differ."""
        return PathRules.of(get_settings(), self._get("path_rules"))

    def remember_path_rules(self) -> None:
        self._set("path_rules", PathRules.of(get_settings()).stored())

    def update(self, request: SettingsUpdate) -> None:
        """Store the fields that were sent; null removes a setting. Raises InvalidRequest."""
        for field in request.model_fields_set - {"token"}:
            value = getattr(request, field)
            if field == "endpoint" and value is not None:
                value = checked_endpoint(value)
            if isinstance(value, Defaults):
                value = value.model_dump()
            self._set(field, value)

    def _get(self, key: str) -> Any:
        row = self.session.get(Setting, key, populate_existing=True)
        return None if row is None else row.value["value"]

    def _set(self, key: str, value: Any) -> None:
        if value is None:
            self.session.execute(delete(Setting).where(Setting.key == key))
            return
        # One statement, because two processes may write a setting for the first time at once.
        row = self._insert(key, value)
        self.session.execute(row.on_conflict_do_update(index_elements=["key"], set_={"value": row.excluded.value}))

    def _insert_once(self, key: str, value: Any) -> None:
        if self.session.get(Setting, key) is None:
            self.session.execute(self._insert(key, value).on_conflict_do_nothing(index_elements=["key"]))

    def _insert(self, key: str, value: Any) -> Any:
        return insert(self.session, Setting).values(key=key, value={"value": value})


def checked_endpoint(endpoint: str) -> str:
    """Return a Hub's address without a slash at its end, or `builtin`. Raises InvalidRequest."""
    endpoint = endpoint.strip().rstrip("/")
    if endpoint == BUILTIN:
        return endpoint
    refusal = InvalidRequest(
        "That is not the address of a Hub.", hint="Give it as https://host, without user, query or path of a model."
    )
    try:
        parts = urlsplit(endpoint)
    except ValueError as error:
        raise refusal from error
    plain = not ("@" in parts.netloc or parts.query or parts.fragment) and re.fullmatch(r"[!-~]+", endpoint)
    if not plain or origin_of(endpoint) is None:
        raise refusal
    return endpoint
