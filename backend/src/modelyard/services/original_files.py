"""Removing the files a quantized copy was made of, while the copy stays."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.core.database import Database
from modelyard.core.errors import Conflict, SharedCache
from modelyard.models import Model, ModelStatus, Quantization
from modelyard.schemas.model import DeletionReport, KeptBytes
from modelyard.services.model_actions import delete_model, finish_removal
from modelyard.services.model_service import ModelService, is_copy, manifest


def plan_drop(session: Session, row_id: str) -> DeletionReport:
    """Return exactly what `drop_original` would free. Raises ModelNotFound, Conflict."""
    models = ModelService(session)
    copy = _copy(models, row_id)
    original, copies = _rows_of_snapshot(session, copy)
    if original is not None:
        return models.plan_deletion(original.id, with_original=True)
    plan = models.cache.plan_deletion(copy.model_id, copy.commit, files=manifest(copy))
    return DeletionReport(
        freed_bytes=plan.freed_bytes,
        kept_bytes=plan.kept_bytes,
        kept_because=[KeptBytes(bytes=kept.bytes, reason=kept.reason) for kept in plan.kept_because],
        shared_cache=any(row.adopted for row in copies),
    )


def drop_original(database: Database, row_id: str, *, confirm_shared: bool = False) -> DeletionReport:
    """Remove the files a copy was made of, and their own row; every quantized copy stays.

    Raises ModelNotFound, ModelInUse, SharedCache, StorageError, and Conflict where the row is no quantized copy or
    another row needs the files.
    """
    with database.reading() as session:
        report = plan_drop(session, row_id)
        models = ModelService(session)
        copy = models.get_by_id(row_id)
        original, copies = _rows_of_snapshot(session, copy)
    if original is not None:
        return delete_model(database, original.id, confirm_shared=confirm_shared, with_original=True)
    if report.shared_cache and not confirm_shared:
        raise SharedCache(
            f"The files of {copy.model_id} were in the shared Hugging Face cache before Modelyard used them;"
            " other tools may rely on them.",
            freed_bytes=report.freed_bytes,
        )
    models.cache.require_removable(copy.model_id, copy.commit)
    with database.session() as session:
        now, of_now = _rows_of_snapshot(session, _copy(ModelService(session), row_id))
        if now is not None or {row.id for row in of_now} != {row.id for row in copies}:
            raise Conflict(f"Another model began or ceased to use the files of {copy.model_id}.", hint="Retry.")
        for row in of_now:
            row.removal_due = True
    for row in copies:
        finish_removal(database, row.id)
    return report


def _copy(models: ModelService, row_id: str) -> Model:
    model = models.get_by_id(row_id)
    if not is_copy(model):
        raise Conflict(
            f"{model.model_id} in precision {model.quantization} is no quantized copy that is ready.",
            hint="Only the original of a quantized copy can be removed; delete the model instead.",
        )
    return model


def _rows_of_snapshot(session: Session, copy: Model) -> tuple[Model | None, list[Model]]:
    """Return the row of the original, if there is one, and all copies. Raises Conflict where one is worked on."""
    rows = session.scalars(
        select(Model)
        .where(
            Model.model_id == copy.model_id,
            Model.commit == copy.commit,
            Model.status.not_in((ModelStatus.CANCELLED, ModelStatus.MISSING)),
        )
        .order_by(Model.id)
        .with_for_update()
    ).all()
    copies = [row for row in rows if is_copy(row)]
    originals = [row for row in rows if row.quantization is Quantization.NONE and row.status is ModelStatus.READY]
    if len(copies) + len(originals) != len(rows):
        raise Conflict(f"Other work on {copy.model_id} needs its original files.", hint="Ask again once it has ended.")
    return (originals[0] if originals else None), copies
