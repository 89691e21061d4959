"""Requests and answers about deletions."""

from pydantic import ConfigDict, Field

from modelyard.schemas import examples
from modelyard.schemas.common import Schema
from modelyard.schemas.model import UsedBy


class KeptBytes(Schema):
    bytes: int
    reason: str


class DeletionReport(Schema):
    """The bytes that a deletion frees and keeps."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.DELETION_REPORT]})

    freed_bytes: int
    kept_bytes: int
    kept_because: list[KeptBytes]
    original_bytes: int = Field(
        default=0,
        description="Additional bytes freed by `with_original`: files kept only as the original of quantized copies.",
    )
    shared_cache: bool
    used_by: list[UsedBy] = Field(default_factory=list)
    adapters: list[str] = Field(
        default_factory=list, description="Names of the adapters that have no base then. They stay."
    )


class DeletionPlanRequest(Schema):
    """Models to delete together, one after the other in this order."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.DELETION_PLAN_REQUEST]})

    ids: list[str] = Field(min_length=1, max_length=10_000, description="Rows' ids, as in the list of models.")
    confirm_shared: bool = Field(default=False, description="Plan with `confirm_shared` of the deletions.")
    with_original: bool = Field(default=False, description="Plan with `with_original` of the deletions.")


class RowDeletion(DeletionReport):
    """The deletion of one model of a set; `kept_because` names files that no model of the set frees."""

    model_config = ConfigDict(json_schema_extra={"examples": examples.DELETION_PLAN["items"][:1]})

    id: str
    stays: bool = Field(
        description="Whether it cannot be deleted: it is in use, or its shared files need `confirm_shared`."
    )


class DeletionPlan(Schema):
    """Result of deleting several models together."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.DELETION_PLAN]})

    freed_bytes: int = Field(description="Bytes freed by the models that can be deleted.")
    original_bytes: int = Field(default=0, description="Additional bytes that `with_original` would free.")
    items: list[RowDeletion]
