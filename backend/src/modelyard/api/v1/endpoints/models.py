"""Endpoints of installed models: list, inspect, pause, resume, cancel, verify, quantize, delete."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from modelyard.api.deps import (
    ArchitecturesDep,
    DatabaseDep,
    LocalModelsDep,
    MergesDep,
    QuantizationsDep,
    ReadingDep,
    RowAnswerDep,
    TrainingCompatibilityDep,
)
from modelyard.api.hub_slots import TALKS_TO_A_HUB_UNLESS_HERE
from modelyard.api.plain_text import PlainTextRoute
from modelyard.api.problems import HUB_PROBLEMS, problems
from modelyard.api.v1.endpoints._common import ACCEPTED, PAGE_SIZE, Batch, Context, Dtype, Offset, Parts, RowId
from modelyard.core import errors
from modelyard.core.statuses import QuantizationName, StatusName
from modelyard.models import ModelStatus, Quantization
from modelyard.schemas.architecture import Architecture
from modelyard.schemas.deletion import DeletionPlan, DeletionPlanRequest, DeletionReport
from modelyard.schemas.history import HistoryPage
from modelyard.schemas.inference import QuantizeRequest
from modelyard.schemas.label import LabelChange
from modelyard.schemas.memory import MemoryEstimate
from modelyard.schemas.model import InstalledFiles, ModelPage, ModelResponse
from modelyard.schemas.text_file import ModelCard, TextFile
from modelyard.schemas.training import TrainingCompatibility
from modelyard.services import model_actions, repository_text
from modelyard.services.jobs.history_service import HistoryService
from modelyard.services.label_service import LabelService
from modelyard.services.model_response import ModelResponses
from modelyard.services.model_service import SORTS, ModelService
from modelyard.services.original_files import drop_original, plan_drop

DryRun = Annotated[bool, Query(description="Only report what would be freed and kept.")]
ConfirmShared = Annotated[
    bool, Query(description="Also delete files that were in the Hugging Face cache before Modelyard managed them.")
]

router = APIRouter(prefix="/models", tags=["models"], route_class=PlainTextRoute)


@router.get("", summary="List models")
def list_models(
    database: DatabaseDep,
    status: Annotated[
        list[StatusName] | None,
        Query(description="Only these; may be given several times.", examples=[["ready", "downloading"]]),
    ] = None,
    quantization: Annotated[
        QuantizationName | None, Query(description="Only this precision.", examples=["4bit"])
    ] = None,
    q: Annotated[
        str | None, Query(description="Text in the name or architecture.", max_length=200, examples=["qwen"])
    ] = None,
    tag: Annotated[
        list[str] | None,
        Query(
            description="Only models with this tag; may be given several times.", max_length=20, examples=[["baseline"]]
        ),
    ] = None,
    favourite: Annotated[bool | None, Query(description="Only favourites, or only others.", examples=[True])] = None,
    sort: Annotated[
        str, Query(description="A field, with - in front for descending.", pattern=f"^({'|'.join(SORTS)})$")
    ] = "-created_at",
    limit: Annotated[int, Query(description=PAGE_SIZE, ge=1, le=500)] = 50,
    offset: Offset = 0,
) -> ModelPage:
    """List the models of this instance, one page at a time."""
    with database.reading() as session:
        rows, total = ModelService(session).list(
            statuses=[ModelStatus(name) for name in status or ()],
            quantization=Quantization(quantization) if quantization else None,
            query=q,
            tags=tag or (),
            favourite=favourite,
            sort=sort,
            limit=limit,
            offset=offset,
        )
        facts = ModelResponses(session).of_all(rows)
    return ModelPage(items=[each.response() for each in facts], total=total, limit=limit, offset=offset)


@router.post(
    "/{id}/verify",
    status_code=202,
    summary="Verify",
    responses=ACCEPTED | problems(errors.ModelNotFound, errors.Conflict),
)
def verify_model(row_id: RowId, local: LocalModelsDep, answer: RowAnswerDep) -> ModelResponse:
    """Hash every file of an installed model, and fetch only the damaged ones again."""
    local.start_verify(row_id)
    return answer(row_id)


@router.post(
    "/{id}/quantize",
    status_code=202,
    summary="Quantize",
    responses=ACCEPTED
    | problems(
        errors.ModelNotFound,
        errors.AlreadyExists,
        errors.AlreadyQuantized,
        errors.InvalidRepository,
        errors.NotReady,
        errors.Conflict,
        errors.ExtraMissing,
    ),
)
def quantize_model(
    row_id: RowId, request: QuantizeRequest, quantizations: QuantizationsDep, answer: RowAnswerDep
) -> ModelResponse:
    """Make a quantized copy of an installed model. It is a row of its own that shares the snapshot."""
    return answer(quantizations.start(row_id, request.quantization, keep_original=request.keep_original))


@router.post(
    "/{id}/merge",
    status_code=202,
    summary="Merge an adapter",
    responses=ACCEPTED
    | problems(
        errors.ModelNotFound,
        errors.AlreadyExists,
        errors.AlreadyQuantized,
        errors.BaseMissing,
        errors.DiskFull,
        errors.InvalidRepository,
        errors.NotReady,
        errors.Conflict,
        errors.ExtraMissing,
    ),
)
def merge_adapter(row_id: RowId, merges: MergesDep, answer: RowAnswerDep) -> ModelResponse:
    """Merge an adapter into its base, in full precision. The result is a model of its own that needs neither."""
    return answer(merges.start(row_id))


@router.get("/{id}", summary="One model", responses=problems(errors.ModelNotFound))
def get_model(row_id: RowId, answer: RowAnswerDep) -> ModelResponse:
    """Return a model with its current progress."""
    return answer(row_id)


@router.patch("/{id}", summary="Tag, note and pin", responses=problems(errors.ModelNotFound, errors.Conflict))
def change_labels(row_id: RowId, change: LabelChange, database: DatabaseDep, answer: RowAnswerDep) -> ModelResponse:
    """Change the tags, note, favourite mark and pin of a model's repository; its other rows have the same."""
    with database.session() as session:
        LabelService(session).change(ModelService(session).get_by_id(row_id), change)
    return answer(row_id)


@router.get("/{id}/files", summary="Files", responses=problems(errors.ModelNotFound))
def list_files(row_id: RowId, database: DatabaseDep) -> InstalledFiles:
    """List the files of a model's snapshot with their hashes, and whether each is on disk."""
    return model_actions.installed_files(database, row_id)


@router.get(
    "/{id}/text",
    summary="A text file",
    responses=problems(errors.ModelNotFound, errors.InvalidRequest, errors.Conflict, errors.PathNotAllowed),
)
def get_text_file(
    row_id: RowId,
    database: DatabaseDep,
    path: Annotated[
        str, Query(description="Its path in the list of files.", max_length=1000, examples=["config.json"])
    ],
) -> TextFile:
    """Return the text of a file of a model's snapshot; of a large one, its beginning."""
    return repository_text.read_text_file(database, row_id, path)


@router.get(
    "/{id}/card",
    summary="Model card",
    responses=problems(errors.ModelNotFound, errors.Conflict, errors.PathNotAllowed),
)
def get_card(row_id: RowId, database: DatabaseDep) -> ModelCard:
    """Return the model card in a model's snapshot; no Hub is asked."""
    return repository_text.card_of_row(database, row_id)


@router.get("/{id}/history", summary="History", responses=problems(errors.ModelNotFound))
def list_history(
    row_id: RowId,
    session: ReadingDep,
    limit: Annotated[int, Query(description=PAGE_SIZE, ge=1, le=200)] = 50,
    offset: Offset = 0,
) -> HistoryPage:
    """List what happened to a model, newest first: downloads, verifications, loads and failures."""
    return HistoryService(session).page(row_id, limit=limit, offset=offset)


@router.get(
    "/{id}/architecture",
    summary="Architecture",
    responses=problems(
        errors.ModelNotFound,
        errors.NotReady,
        errors.BaseMissing,
        errors.InvalidRepository,
        errors.UnsupportedArchitecture,
        errors.NeedsCustomCode,
        errors.ExtraMissing,
    ),
)
def get_architecture(row_id: RowId, architectures: ArchitecturesDep) -> Architecture:
    """Return the blocks, dimensions and hook points of an installed model; of an adapter, those of its base."""
    return architectures.of_row(row_id)


@router.get(
    "/{id}/training-compatibility",
    summary="Training compatibility",
    responses=problems(errors.ModelNotFound),
)
def get_training_compatibility(
    row_id: RowId,
    compatibility: TrainingCompatibilityDep,
    level: Annotated[
        Literal["static", "structural"], Query(description="static answers at once, from the configuration alone.")
    ] = "structural",
) -> TrainingCompatibility:
    """Return whether a sparse autoencoder can be trained on a model, its hook points, and the reasons if it cannot.

    `compatible` is null if this could not be verified. Runs are still allowed then: each checks the loaded model first.
    """
    return compatibility.of_row(row_id, level)


@router.get(
    "/{id}/estimate-memory",
    summary="Memory of an installed model",
    dependencies=TALKS_TO_A_HUB_UNLESS_HERE,
    responses=problems(
        *HUB_PROBLEMS,
        errors.ModelNotFound,
        errors.NotReady,
        errors.BaseMissing,
        errors.UnsupportedArchitecture,
        errors.NoWeights,
    ),
)
def estimate_local_memory(
    row_id: RowId,
    architectures: ArchitecturesDep,
    context: Context = 2048,
    batch: Batch = 1,
    dtype: Dtype = "auto",
    parts: Parts = "all",
) -> MemoryEstimate:
    """Estimate a model's memory in each precision, from its files if it is installed, otherwise from its Hub.

    Figures of an adapter are those of its base with it.
    """
    return architectures.memory_of_row(row_id, context=context, batch=batch, dtype=dtype, parts=parts)


@router.post("/deletion-plan", summary="Plan a deletion")
def plan_deletions(request: DeletionPlanRequest, database: DatabaseDep) -> DeletionPlan:
    """Report what deleting these models, one after the other, would free and keep. Nothing is deleted.

    Files that only these models share are freed with the last of them. Unknown ids are left out of the answer.
    """
    return model_actions.deletion_plans(
        database, request.ids, confirm_shared=request.confirm_shared, with_original=request.with_original
    )


@router.delete(
    "/{id}",
    summary="Delete a model",
    responses=problems(errors.ModelNotFound, errors.ModelInUse, errors.SharedCache, errors.Conflict),
)
def delete_model_row(
    row_id: RowId,
    database: DatabaseDep,
    dry_run: DryRun = False,
    confirm_shared: ConfirmShared = False,
    with_original: Annotated[
        bool, Query(description="Also remove files that stay only as the original of quantized copies.")
    ] = False,
) -> DeletionReport:
    """Delete a model and the files that nothing else uses, and return the bytes this freed."""
    if dry_run:
        return model_actions.deletion_plan(database, row_id, with_original=with_original)
    return model_actions.delete_model(database, row_id, confirm_shared=confirm_shared, with_original=with_original)


@router.post(
    "/{id}/drop-original",
    summary="Remove the original of a quantized copy",
    responses=problems(errors.ModelNotFound, errors.ModelInUse, errors.SharedCache, errors.Conflict),
)
def drop_original_files(
    row_id: RowId, database: DatabaseDep, dry_run: DryRun = False, confirm_shared: ConfirmShared = False
) -> DeletionReport:
    """Remove the original files of a quantized copy, which does not need them, and their row."""
    if dry_run:
        return plan_drop(database, row_id)
    return drop_original(database, row_id, confirm_shared=confirm_shared)


@router.post(
    "/{id}/pause",
    status_code=202,
    summary="Pause",
    operation_id="pause_model",
    responses=ACCEPTED | problems(errors.ModelNotFound, errors.Conflict),
)
def pause_model(row_id: RowId, database: DatabaseDep, answer: RowAnswerDep) -> ModelResponse:
    """Pause a download. Everything fetched is kept, and resuming continues at the same byte."""
    model_actions.pause_model(database, row_id)
    return answer(row_id)


@router.post(
    "/{id}/resume",
    status_code=202,
    summary="Resume",
    operation_id="resume_model",
    responses=ACCEPTED | problems(errors.ModelNotFound, errors.Conflict, errors.ExtraMissing),
)
def resume_model(row_id: RowId, database: DatabaseDep, answer: RowAnswerDep) -> ModelResponse:
    """Resume a paused, failed or cancelled download."""
    model_actions.resume_model(database, row_id)
    return answer(row_id)


@router.post(
    "/{id}/cancel",
    status_code=202,
    summary="Cancel",
    operation_id="cancel_model",
    responses=ACCEPTED | problems(errors.ModelNotFound, errors.Conflict),
)
def cancel_model(row_id: RowId, database: DatabaseDep, answer: RowAnswerDep) -> ModelResponse:
    """Cancel a download and remove its partial data. If the model is ready, cancels its most recent load request."""
    model_actions.cancel_model(database, row_id)
    return answer(row_id)
