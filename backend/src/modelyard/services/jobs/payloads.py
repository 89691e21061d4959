"""What jobs need to know beside the row they work on: one structure per kind, for those that need anything."""

from typing import Self

from pydantic import BaseModel, ConfigDict

from modelyard.models import Job
from modelyard.schemas.cache import ImportMode
from modelyard.schemas.inference import Message


class Payload(BaseModel):
    """What is stored in a job's `payload`."""

    model_config = ConfigDict(frozen=True)

    @classmethod
    def of(cls, job: Job) -> Self:
        """Read the payload of a job. Raises ValidationError when it is that of another kind."""
        return cls.model_validate(job.payload or {})


class ImportPayload(Payload):
    path: str
    mode: ImportMode


class LoadOptions(Payload):
    """How a model is put into memory; the fields are those of the loader's `LoadSpec`, where they are explained."""

    device: str = "auto"
    dtype: str = "auto"
    ttl_seconds: float | None = 3600
    pinned: bool = False
    allow_offload: bool = False
    option_bytes: dict[str, int] = {}
    any_dtype: bool = False


class FasterLoad(Payload):
    """What replaces options of a load on a host that is slow in the dtype the model is stored in."""

    dtype: str
    option_bytes: dict[str, int]


class LoadPayload(LoadOptions):
    faster: FasterLoad | None = None


class UnloadPayload(Payload):
    only_idle: bool = False
    """Made room for something else: what is pinned or in use stays, and that is no error."""


class GeneratePayload(Payload):
    prompt: str | None
    messages: list[Message] | None
    max_new_tokens: int
    temperature: float
    seed: int
    load: LoadPayload


class DriftPayload(Payload):
    text: str
    option_bytes: dict[str, int]
