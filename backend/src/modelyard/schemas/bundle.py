"""Requests and answers about bundles: models in a file that is carried to another machine."""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from modelyard.core.statuses import BundleKindName, BundleStatusName, QuantizationName
from modelyard.schemas.common import ErrorDetail, Schema, UtcTime

_ROW = "6f0d6f6e0f7b4c0f9a4f0a3f0d8f1b2c"
_MODEL: dict[str, Any] = {
    "model_id": "Qwen/Qwen3-0.6B",
    "commit": "c1899de289a04d12100db370d81485cdf75e47ca",
    "quantization": "none",
    "id": _ROW,
}
_BUNDLE: dict[str, Any] = {
    "id": "0c9f1d6f7b5a4f7b8e3c2d1a0b9f8e7d",
    "kind": "export",
    "status": "running",
    "name": "Qwen3-0.6B.tar",
    "progress": {
        "phase": "writing",
        "bytes_done": 734003200,
        "bytes_total": 1519104512,
        "bytes_per_second": 412000000.0,
        "eta_seconds": 1.9,
        "files_done": 6,
        "files_total": 10,
        "waiting": False,
        "stopping": False,
        "started_at": "2026-07-01T12:00:00.000Z",
    },
    "size_bytes": 1519104512,
    "parts": [{"name": "Qwen3-0.6B.tar", "size_bytes": 1519104512, "sha256": None}],
    "models": [_MODEL],
    "error": None,
    "created_at": "2026-07-01T12:00:00.000Z",
    "finished_at": None,
}


class BundleCreate(Schema):
    """Models to write into a bundle."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"ids": [_ROW], "with_quantized": True, "split_bytes": 10000000000}]}
    )

    ids: list[str] = Field(min_length=1, max_length=1000, description="Ids of models that are ready.")
    with_quantized: bool = Field(default=False, description="Also the quantized copies of these models.")
    with_adapters: bool = Field(default=False, description="Also the adapters that are made for these models.")
    with_saes: bool = Field(default=False, description="Not supported yet: `true` is refused.")
    split_bytes: int | None = Field(
        default=None, ge=100_000, le=2**53, description="Cut the bundle into parts of this size; null: one file."
    )


class BundledModelName(Schema):
    """A model of a bundle."""

    model_id: str
    commit: str
    quantization: QuantizationName
    id: str | None = Field(description="Its row on this server; null before an import has made it.")


class BundlePlan(Schema):
    """What an export would write."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "size_bytes": 1519104512,
                    "parts": 1,
                    "free_bytes": 212000000000,
                    "models": [_MODEL],
                    "refusal": None,
                }
            ]
        }
    )

    size_bytes: int = Field(description="Exact size of all parts together.")
    parts: int
    free_bytes: int = Field(description="Free space of the disk that the server writes bundles to.")
    models: list[BundledModelName]
    refusal: ErrorDetail | None = Field(description="Why it would be refused, such as a disk without room.")


class BundlePart(Schema):
    """A file of a bundle."""

    name: str
    size_bytes: int
    sha256: str | None = Field(description="Null until the part is written.")


class BundleProgress(Schema):
    """Progress of writing or reading a bundle."""

    phase: Literal["waiting", "starting", "hashing", "writing", "reading", "finishing"]
    bytes_done: int
    bytes_total: int | None
    bytes_per_second: float | None
    eta_seconds: float | None
    files_done: int
    files_total: int | None
    waiting: bool = Field(description="No worker has taken this work yet.")
    stopping: bool = Field(description="It was asked to stop and has not stopped yet.")
    started_at: UtcTime


class BundleResponse(Schema):
    """A bundle that is written here, or whose models are brought into the cache."""

    model_config = ConfigDict(json_schema_extra={"examples": [_BUNDLE]})

    id: str
    kind: BundleKindName
    status: BundleStatusName
    name: str
    progress: BundleProgress | None
    size_bytes: int
    parts: list[BundlePart]
    models: list[BundledModelName]
    error: ErrorDetail | None
    created_at: UtcTime
    finished_at: UtcTime | None


class BundlePage(Schema):
    """Bundles, the newest first."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"items": [_BUNDLE], "total": 1, "limit": 50, "offset": 0}]}
    )

    items: list[BundleResponse]
    total: int
    limit: int
    offset: int


class BundleImportRequest(Schema):
    """A bundle on the server's machine."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"path": "/media/usb/Qwen3-0.6B.tar"}]})

    path: str = Field(
        min_length=1,
        max_length=4096,
        description="Absolute path of the bundle, or of any of its parts, inside a folder that the server reads for"
        " users.",
    )
    allow_pickle: bool = Field(default=False, description="Accept models whose weights are pickle files.")


class BundleUpload(Schema):
    """A file of a bundle that is being sent."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "Qwen3-0.6B.tar",
                    "path": "/home/ada/.local/share/modelyard/bundles/uploads/Qwen3-0.6B.tar",
                    "received_bytes": 67108864,
                    "size_bytes": 1519104512,
                }
            ]
        }
    )

    name: str
    path: str = Field(description="Where it lies on the server once all of it is received: import this path.")
    received_bytes: int = Field(description="Continue with this byte.")
    size_bytes: int
