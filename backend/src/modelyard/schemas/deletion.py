"""What deleting models frees and keeps."""

from pydantic import ConfigDict, Field

from modelyard.schemas import examples
from modelyard.schemas.common import Schema
from modelyard.schemas.model import UsedBy


class KeptBytes(Schema):
    bytes: int
    reason: str


class DeletionReport(Schema):
    """What a deletion frees and what it must leave."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.DELETION_REPORT]})

    freed_bytes: int
    kept_bytes: int
    kept_because: list[KeptBytes]
    original_bytes: int = Field(
        default=0,
        description="What `with_original` would free besides: files kept only as the original of quantized copies.",
    )
    shared_cache: bool
    used_by: list[UsedBy] = Field(default_factory=list)


class DeletionPlanRequest(Schema):
    """Rows that are to be deleted together, one after the other in this order."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.DELETION_PLAN_REQUEST]})

    ids: list[str] = Field(min_length=1, max_length=10_000, description="Rows' ids, as in the list of models.")
    confirm_shared: bool = Field(default=False, description="As it will be given to the deletions.")
    with_original: bool = Field(default=False, description="As it will be given to the deletions.")


class RowDeletion(DeletionReport):
    """What the deletion of one row of a set frees; what it must leave is what no row of the set gives up."""

    model_config = ConfigDict(json_schema_extra={"examples": examples.DELETION_PLAN["items"][:1]})

    id: str
    stays: bool = Field(description="It is in use, or its files are in the shared cache and that was not confirmed.")


class DeletionPlan(Schema):
    """What deleting several rows frees together."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.DELETION_PLAN]})

    freed_bytes: int = Field(description="By those that do not stay.")
    original_bytes: int = Field(default=0, description="How much more `with_original` would free.")
    items: list[RowDeletion]
