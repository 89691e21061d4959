"""Types shared by several schemas."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer


def _to_utc(value: datetime) -> datetime:
    return value.astimezone(UTC)


def _with_z(value: datetime) -> str:
    return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")


UtcTime = Annotated[datetime, AfterValidator(_to_utc), PlainSerializer(_with_z, return_type=str, when_used="json")]
"""An instant, written as ISO 8601 in UTC with a Z."""

ModelIdField = Annotated[
    str,
    Field(
        min_length=1,
        max_length=500,
        description="`owner/name`, a bare name such as `gpt2`, or the address of a model page pasted from a browser.",
        examples=["Qwen/Qwen3-0.6B"],
    ),
]
DtypeName = Literal["auto", "float32", "bfloat16", "float16"]


class Schema(BaseModel):
    """Base of all schemas. Unknown fields of a request are refused, so that misspelled names are not ignored."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)


class ErrorDetail(Schema):
    """Why something failed: what happened and what to do next."""

    # A stored error may hold more, which is for the server: what to look at before the work is tried again.
    model_config = ConfigDict(extra="ignore")

    code: str = Field(examples=["checksum_mismatch"])
    message: str
    hint: str | None = None


class Problem(BaseModel):
    """An RFC 9457 problem document, the body of every error answer."""

    model_config = ConfigDict(extra="allow")

    type: str = "about:blank"
    title: str
    status: int
    detail: str = Field(description="What happened, in one sentence.")
    code: str = Field(description="A stable name for this kind of error.", examples=["model_not_found"])
    hint: str | None = Field(default=None, description="What to do next, in one sentence.")


class FieldProblem(BaseModel):
    """One invalid field of a request."""

    field: str
    message: str


class Reason(Schema):
    code: str
    message: str
