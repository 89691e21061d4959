"""Removing the files a quantized copy was made of, while the copy stays."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.core.database import Database
from modelyard.core.errors import Conflict, SharedCache
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.models import Model, ModelStatus, Quantization
from modelyard.schemas.deletion import DeletionReport, KeptBytes
from modelyard.services.model_actions import delete_model, deletion_plan, finish_removal
from modelyard.services.model_files import is_copy, manifest
from modelyard.services.model_service import ModelService


def plan_drop(database: Database, row_id: str) -> DeletionReport:
    """Return exactly what `drop_original` would free. Raises ModelNotFound, Conflict."""
    return _plan(database, _look(database, row_id))


@dataclass(frozen=True)
class _Rows:
    cache: HubCache
    copy: Model
    original: Model | None
    copies: Sequence[Model]

    @property
    def ids(self) -> set[str]:
        return {row.id for row in (*self.copies, *([self.original] if self.original else []))}


def _look(database: Database, row_id: str) -> _Rows:
    """Return the rows of a copy's snapshot, after a look at the files of the copies.

    Raises ModelNotFound, and Conflict where the row is no copy or other work needs the files.
    """
    with database.reading() as session:
        models = ModelService(session)
        copy = models.get_by_id(row_id)
        rows = _rows_of_snapshot(session, copy)
    if not is_copy(copy):
        raise Conflict(
            f"{copy.model_id} in precision {copy.quantization} is no quantized copy that is ready.",
            hint="Only the original of a quantized copy can be removed; delete the model instead.",
        )
    copies = [row for row in rows if is_copy(row)]
    originals = [row for row in rows if row.quantization is Quantization.NONE and row.status is ModelStatus.READY]
    if len(copies) + len(originals) != len(rows):
        raise Conflict(f"Other work on {copy.model_id} needs its original files.", hint="Ask again once it has ended.")
    return _Rows(models.cache, copy, originals[0] if originals else None, copies)


def _plan(database: Database, rows: _Rows) -> DeletionReport:
    if rows.original is not None:
        return deletion_plan(database, rows.original.id, with_original=True)
    plan = rows.cache.plan_deletion(rows.copy.model_id, rows.copy.commit, files=manifest(rows.copy))
    return DeletionReport(
        freed_bytes=plan.freed_bytes,
        kept_bytes=plan.kept_bytes,
        kept_because=[KeptBytes(bytes=kept.bytes, reason=kept.reason) for kept in plan.kept_because],
        shared_cache=any(row.adopted for row in rows.copies),
    )


def drop_original(database: Database, row_id: str, *, confirm_shared: bool = False) -> DeletionReport:
    """Remove the files a copy was made of, and their own row; every quantized copy stays.

    Raises ModelNotFound, ModelInUse, SharedCache, StorageError, and Conflict where the row is no quantized copy or
    another row needs the files.
    """
    rows = _look(database, row_id)
    copy = rows.copy
    if rows.original is not None:
        return delete_model(database, rows.original.id, confirm_shared=confirm_shared, with_original=True)
    report = _plan(database, rows)
    if report.shared_cache and not confirm_shared:
        raise SharedCache(
            f"The files of {copy.model_id} were in the shared Hugging Face cache before Modelyard used them;"
            " other tools may rely on them.",
            freed_bytes=report.freed_bytes,
        )
    rows.cache.require_removable(copy.model_id, copy.commit)
    with database.session() as session:
        now = _rows_of_snapshot(session, copy)
        if {row.id for row in now} != rows.ids or any(row.status is not ModelStatus.READY for row in now):
            raise Conflict(f"Another model began or ceased to use the files of {copy.model_id}.", hint="Retry.")
        for row in now:
            row.removal_due = True
    for row in rows.copies:
        finish_removal(database, row.id)
    return report


def _rows_of_snapshot(session: Session, copy: Model) -> Sequence[Model]:
    return session.scalars(
        select(Model)
        .where(
            Model.model_id == copy.model_id,
            Model.commit == copy.commit,
            Model.status.not_in((ModelStatus.CANCELLED, ModelStatus.MISSING)),
        )
        .order_by(Model.id)
        .with_for_update()
    ).all()
