"""Requests and answers about the machine, the Hub, the workers and the settings."""

from typing import Literal

from pydantic import ConfigDict, Field

from modelyard.core.statuses import QuantizationName
from modelyard.schemas import examples
from modelyard.schemas.common import Schema, UtcTime


class Device(Schema):
    """A device that models can be loaded on; `cpu` stands for main memory."""

    id: str = Field(examples=["cpu", "cuda:0"])
    name: str
    total_bytes: int
    free_bytes: int
    used_by_us_bytes: int


class StoragePlace(Schema):
    """A folder that this server writes to."""

    path: str
    purpose: str


class Disk(Schema):
    """A file system and this server's folders on it."""

    path: str
    total_bytes: int
    free_bytes: int
    used_by_us_bytes: int = Field(description="Files of managed models.")
    purpose: str
    places: list[StoragePlace]


class HubAnswer(Schema):
    """Whether a Hub answers, and the state of the token."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.HUB_ANSWER]})

    endpoint: str
    reachable: bool
    reason: str | None = Field(description="Why it is not reachable.")
    user: str | None = Field(description="Account of the token; never the token itself.")
    token: Literal["none", "valid", "invalid", "unknown"]
    token_note: str | None = Field(
        default=None,
        description="Set if tokens are stored, but none for this Hub; tokens are sent only to their own Hub.",
    )


class HubStatus(HubAnswer):
    """The current Hub and the state of its token."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.HUB_STATUS]})

    endpoint_source: Literal["default", "environment", "settings", "builtin"]


class WorkerStatus(Schema):
    name: str
    host: str
    pid: int
    queues: list[str]
    alive: bool
    started_at: UtcTime
    seen_at: UtcTime


class Extras(Schema):
    torch: bool = Field(
        description="Whether models can be loaded: torch is installed here, or a live inference worker has it."
    )
    sae: bool = Field(description="Whether the SAE training engine is installed.")
    sae_install: str | None = Field(
        default=None, description="Command that installs it into this installation; null if installed."
    )


class MissingExtra(Schema):
    """A part of Modelyard that this server's installation lacks."""

    extra: str = Field(description="Its name, as in `modelyard[torch]`.")
    needed_for: str
    install: str = Field(description="Command that installs it into this installation.")


class System(Schema):
    """The server: devices, disks, workers and versions."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.SYSTEM]})

    version: str
    devices: list[Device]
    disks: list[Disk]
    hub: HubStatus
    extras: Extras
    missing: list[MissingExtra] = Field(description="Extras that are not installed with this server.")
    libraries: dict[str, str | None]
    workers: list[WorkerStatus]
    warm: bool = Field(
        default=False,
        description="Whether the warm parent has imported the libraries, so that new processes start at once.",
    )
    needs_key: bool = Field(
        default=False, description="Whether this server asks for its key, so that a browser signs in and out."
    )
    uptime_seconds: float | None = Field(
        default=None, description="Seconds since the API started. In the first seconds, workers are still starting."
    )


class Defaults(Schema):
    """Defaults that the page proposes."""

    quantization: QuantizationName | None = Field(
        default=None, description="Precision of a new download; null for the most precise one that fits."
    )


class SettingsResponse(Schema):
    """The settings that can be changed while the server runs."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.SETTINGS_RESPONSE]})

    endpoint: str = Field(description="The Hub in use.")
    endpoint_source: Literal["default", "environment", "settings", "builtin"]
    parallel_downloads: int
    connections: int
    bandwidth_limit_bytes_per_second: int | None
    download_order: Literal["oldest_first", "smallest_first"]
    token_set: bool = Field(description="Whether a token is stored for the Hub in use.")
    token_note: str | None = Field(
        default=None,
        description="Set if tokens are stored, but none for the current Hub; tokens are sent only to their own Hub.",
    )
    defaults: Defaults
    prefer_fast_dtype: bool = Field(
        default=False,
        description="Whether loads without a dtype use float32 on hosts whose processor is slower in bfloat16; the"
        " estimate has the factor.",
    )


class SettingsUpdate(Schema):
    """A change of settings. Only the given fields change; null resets a setting to its default."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.SETTINGS_UPDATE]})

    endpoint: str | None = Field(
        default=None,
        max_length=500,
        description="A Hub's address, \"builtin\" for this server's sample Hub, or null for that of the environment.",
        examples=["https://huggingface.co"],
    )
    parallel_downloads: int | None = Field(default=None, ge=1, le=16, description="Models downloaded at once.")
    connections: int | None = Field(default=None, ge=1, le=64, description="Connections of one download.")
    bandwidth_limit_bytes_per_second: int | None = Field(
        default=None, ge=1024, description="Limit for all downloads together; null: no limit."
    )
    download_order: Literal["oldest_first", "smallest_first"] | None = Field(
        default=None, description="Order of waiting downloads."
    )
    token: str | None = Field(
        default=None,
        max_length=500,
        description="Stored by huggingface_hub for the current Hub, sent to no other Hub and never shown again. null"
        " removes it.",
    )
    defaults: Defaults | None = Field(default=None, description="Defaults that the page proposes.")
    prefer_fast_dtype: bool | None = Field(default=None, description="As in the settings; null: false.")


class HubTestRequest(Schema):
    """An endpoint or token to test before it is saved. Fields left out are those of the settings; null is the default.

    A stored token is sent only to the Hub it was stored for.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [examples.HUB_TEST_REQUEST]})

    endpoint: str | None = Field(
        default=None, max_length=500, description="As in the settings.", examples=["https://huggingface.co"]
    )
    token: str | None = Field(default=None, max_length=500, description="A token to test instead of the stored one.")


class SessionRequest(Schema):
    """Credentials of a browser."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.SESSION_REQUEST]})

    api_key: str = Field(max_length=500, description="The server's `MODELYARD_API_KEY`.")


class Health(Schema):
    """The answer of a process that is alive."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok"}]})

    status: Literal["ok"] = "ok"


class Readiness(Schema):
    """Whether requests can be served."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"ready": True, "database": True, "reason": None}]})

    ready: bool
    database: bool
    reason: str | None = None
