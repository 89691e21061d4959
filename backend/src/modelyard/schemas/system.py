"""The machine, the Hub, the workers and the settings."""

from typing import Literal

from pydantic import ConfigDict, Field

from modelyard.schemas import examples
from modelyard.schemas.common import QuantizationName, Schema, UtcTime


class Device(Schema):
    """Where a model can be loaded; `cpu` is the machine's memory."""

    id: str = Field(examples=["cpu", "cuda:0"])
    name: str
    total_bytes: int
    free_bytes: int
    used_by_us_bytes: int


class StoragePlace(Schema):
    """A folder that this server fills."""

    path: str
    purpose: str


class Disk(Schema):
    """A file system, and what of this server lies on it."""

    path: str
    total_bytes: int
    free_bytes: int
    used_by_us_bytes: int = Field(description="Files of managed models.")
    purpose: str
    places: list[StoragePlace]


class HubAnswer(Schema):
    """Whether a Hub answers, and what it says of a token."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.HUB_ANSWER]})

    endpoint: str
    reachable: bool
    reason: str | None = Field(description="Why it is not reachable.")
    user: str | None = Field(description="Whom the token belongs to; never the token.")
    token: Literal["none", "valid", "invalid", "unknown"]
    token_note: str | None = Field(
        default=None, description="Set where tokens are stored, but none for this Hub: a token goes to no other Hub."
    )


class HubStatus(HubAnswer):
    """The Hub in use and the stored token."""

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
    sae: bool = Field(description="Whether the SAE training engine is installed.")
    sae_install: str | None = Field(
        default=None, description="The command that installs it into this installation; null where it is installed."
    )


class System(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.SYSTEM]})

    version: str
    devices: list[Device]
    disks: list[Disk]
    hub: HubStatus
    extras: Extras
    libraries: dict[str, str | None]
    workers: list[WorkerStatus]
    warm: bool = Field(
        default=False,
        description="Whether the libraries for models are imported, so that new processes for them start at once.",
    )
    uptime_seconds: float | None = Field(
        default=None, description="How long the API has run: in its first seconds, workers are still starting."
    )


class Defaults(Schema):
    """What the page proposes."""

    quantization: QuantizationName | None = Field(
        default=None, description="Precision of a new download; null for the most precise one that fits."
    )


class SettingsResponse(Schema):
    """What can be changed on the settings page."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.SETTINGS_RESPONSE]})

    endpoint: str = Field(description="The Hub in use.")
    endpoint_source: Literal["default", "environment", "settings", "builtin"]
    parallel_downloads: int
    connections: int
    bandwidth_limit_bytes_per_second: int | None
    download_order: Literal["oldest_first", "smallest_first"]
    token_set: bool = Field(description="Whether a token is stored for the Hub in use.")
    token_note: str | None = Field(
        default=None, description="Set where tokens are stored, but none for the Hub in use: a token goes to no other."
    )
    defaults: Defaults
    prefer_fast_dtype: bool = Field(
        default=False,
        description="Whether a load that names no dtype takes float32 where this server's processor is slower in"
        " bfloat16; the estimate tells by how much.",
    )


class SettingsUpdate(Schema):
    """Only the fields that are sent change; null takes a setting back to its default."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.SETTINGS_UPDATE]})

    endpoint: str | None = Field(
        default=None,
        max_length=500,
        description="A Hub's address, \"builtin\" for the sample Hub of this server, or null for the environment's.",
        examples=["https://huggingface.co"],
    )
    parallel_downloads: int | None = Field(default=None, ge=1, le=16, description="Models downloaded at once.")
    connections: int | None = Field(default=None, ge=1, le=64, description="Connections of one download.")
    bandwidth_limit_bytes_per_second: int | None = Field(
        default=None, ge=1024, description="Of all downloads together; null for no limit."
    )
    download_order: Literal["oldest_first", "smallest_first"] | None = Field(
        default=None, description="Whose turn it is when more downloads wait than may run at once."
    )
    token: str | None = Field(
        default=None,
        max_length=500,
        description="Stored by huggingface_hub for the Hub in use and sent to no other; never shown again; null forgets"
        " it.",
    )
    defaults: Defaults | None = Field(default=None, description="What the page proposes.")
    prefer_fast_dtype: bool | None = Field(default=None, description="As in the answer; null for false.")


class HubTestRequest(Schema):
    """What to try before it is saved. What is left out is as the settings have it; a null endpoint is the default's.

    A stored token is shown to no Hub but the one it was stored for.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [examples.HUB_TEST_REQUEST]})

    endpoint: str | None = Field(
        default=None, max_length=500, description="As in the settings.", examples=["https://huggingface.co"]
    )
    token: str | None = Field(default=None, max_length=500, description="A token to try in place of the stored one.")


class SessionRequest(Schema):
    """What a browser signs in with."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.SESSION_REQUEST]})

    api_key: str = Field(max_length=500, description="The server's `MODELYARD_API_KEY`.")


class Health(Schema):
    """The process answers."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok"}]})

    status: Literal["ok"] = "ok"


class Readiness(Schema):
    """Whether requests can be served."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"ready": True, "database": True, "reason": None}]})

    ready: bool
    database: bool
    reason: str | None = None
