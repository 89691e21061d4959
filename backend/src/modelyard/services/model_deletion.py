"""The rules for deleting rows and for giving up files that only one of them needs."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import and_, delete, not_, or_, select
from sqlalchemy.orm import Session, defer

from modelyard.core.database import utc_now
from modelyard.core.errors import STORAGE_CODES, Conflict, StorageError
from modelyard.models import ACTIVE_STATUSES, Job, Model, ModelStatus, Quantization
from modelyard.services.adapters import adapters_of, link_adapters
from modelyard.services.deletion_log import DeletionLog
from modelyard.services.deletion_plan import DeletionFacts, RowPlan, require_free
from modelyard.services.jobs.job_service import JobService
from modelyard.services.model_files import (
    FilesOnDisk,
    ModelFiles,
    Removal,
    artifact_of,
    forget_facts,
    manifest,
    work_folder,
)
from modelyard.services.model_usage import loaded_rows, training_users, users_of

HALF_REMOVED_SECONDS = 300.0
"""After that long a removal that has not ended is taken for one that a crash interrupted."""


class ModelDeletion:
    """What a deletion does to rows; never commits.

    Files are looked at before the transaction (`services.deletion_plan`) and removed after it
    (`services.model_actions`).
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.jobs = JobService(session)
        self.files = ModelFiles(session)

    def facts(self, model: Model) -> DeletionFacts:
        """Return what the database says of a row that may be deleted."""
        return DeletionFacts(
            model=model,
            others=self._other_rows_of_snapshot(model),
            partial_owners=self._partial_owners(model),
            used_by=users_of(self.session, model),
            adapters=adapters_of(self.session, model),
        )

    def begin(self, model: Model, plan: RowPlan, *, confirm_shared: bool = False) -> None:
        """Mark a row as being deleted: nobody may work on it any more.

        Raises ModelInUse, SharedCache, and Conflict while work is under way, or when the plan is not true any more.
        """
        require_free(model, plan, users_of(self.session, model), confirm_shared=confirm_shared)
        job = self.session.get(Job, model.job_id) if model.job_id else None
        if job is not None and not job.ended:
            raise Conflict(
                f"{model.model_id} is still being worked on.", hint="Cancel the download, then delete the model."
            )
        others = self._other_rows_of_snapshot(model)
        given_up = {row.id: row for row in others if plan.with_original and row.id in plan.copies}
        if (plan.siblings | (plan.copies if plan.with_original else set())) != {row.id for row in others} or any(
            row.status is not ModelStatus.READY for row in given_up.values()
        ):
            raise Conflict(f"Another model began or ceased to use the files of {model.model_id}.", hint="Retry.")
        for row in given_up.values():
            row.removal_due = True
        model.status, model.removal_due = ModelStatus.DELETING, False
        self.session.flush()

    def due_removal(self, model: Model) -> Removal | None:
        """Return what is to be removed of a row now: all of one that is being deleted, or what its last change left."""
        if not (model.removal_due or model.status is ModelStatus.DELETING):
            return None
        if model.status is ModelStatus.CANCELLED:
            return self.partial_data(model)
        removal = Removal(model.model_id, model.commit)
        if not self._other_rows_of_snapshot(model):
            unlinked = self.partial_data(model) if model.status is ModelStatus.DELETING else removal
            removal = replace(unlinked, snapshot=True, manifest=manifest(model))
        if model.status is ModelStatus.DELETING:
            removal = replace(removal, artifact=artifact_of(model) or removal.artifact)
        return removal

    def partial_data(self, model: Model) -> Removal:
        """Return what was fetched for a row that will not become ready; other rows' files stay."""
        files = None
        if not self._other_rows_of_snapshot(model):
            present_before = {file["path"] for file in model.files or () if file["present_before"]}
            files = [file for file in manifest(model) if file.path not in present_before]
        is_made = model.converted_from is not None or model.merged_from is not None
        half_made = work_folder(model) if is_made else None
        return Removal(
            model.model_id, model.commit, partials=not self._partial_owners(model), files=files, artifact=half_made
        )

    def end_removal(self, model: Model, found: FilesOnDisk) -> None:
        """Note that what was due is removed: the row goes as well, or remembers what is left."""
        if model.status is ModelStatus.DELETING:
            self.end(model)
        elif model.removal_due:
            model.removal_due = False
            if model.error is not None and model.error["code"] in STORAGE_CODES:
                model.error = None
            self.files.note(model, found)
            if model.status is ModelStatus.READY:
                self._end_originals(model)

    def postpone_removal(self, model: Model, error: StorageError) -> None:
        """Note why the disk does not let go of what is due; maintenance tries again."""
        if model.removal_due or model.status is ModelStatus.DELETING:
            model.error = error.as_dict()
            self.session.flush()

    def give_up_removal(self, model: Model, found: FilesOnDisk, error: Conflict) -> None:
        """Note that what was due cannot be removed: the row is what its files are, and says why."""
        if not (model.removal_due or model.status is ModelStatus.DELETING):
            return
        model.removal_due = False
        if model.status is ModelStatus.DELETING:
            model.status = ModelStatus.READY if found.whole else ModelStatus.MISSING
        model.error = error.as_dict()
        self.files.note(model, found)

    def _end_originals(self, model: Model) -> None:
        """Remove the entries of the snapshot that a quantized copy was made of."""
        originals = select(Model).where(
            Model.model_id == model.model_id,
            Model.commit == model.commit,
            Model.quantization == Quantization.NONE,
            Model.status == ModelStatus.DELETING,
        )
        for original in self.session.scalars(originals).all():
            self.end(original)

    def end(self, model: Model) -> None:
        """Remove a row whose files are gone, its jobs and its history."""
        row_id = model.id
        for other in self._other_rows_of_snapshot(model):
            other.updated_at = utc_now()  # the files they shared are counted for one of them from here on
        forget_facts(self.session, model)
        self.session.flush()
        link_adapters(self.session, model)
        self.session.flush()
        self.session.execute(delete(Model).where(Model.id == row_id))
        self.session.execute(delete(Job).where(Job.subject_id == row_id))
        self.jobs.history.forget(row_id)
        DeletionLog(self.session).add(Model, row_id)

    def half_removed(self) -> Sequence[str]:
        """Return the rows whose deletion, or the removal of whose files, a disk refused or a crash interrupted."""
        due = or_(Model.status == ModelStatus.DELETING, Model.removal_due)
        refused = Model.error["code"].as_string().in_(STORAGE_CODES)
        interrupted = Model.updated_at < utc_now() - timedelta(seconds=HALF_REMOVED_SECONDS)
        return self.session.scalars(select(Model.id).where(due, or_(refused, interrupted))).all()

    def give_up_original(self, model: Model) -> None:
        """Have the snapshot a quantized copy was made of removed, and its own entry, where they are nobody else's."""
        others = self._other_rows_of_snapshot(model)
        if model.adopted or not all(self._is_idle_original(row) for row in others):
            return
        for row in others:
            row.status = ModelStatus.DELETING
        # Nobody is to read that the copy still takes the room of what is removed right after this transaction.
        model.removal_due, model.disk_bytes = True, model.artifact_bytes
        self.session.flush()

    def _is_idle_original(self, row: Model) -> bool:
        return (
            row.quantization is Quantization.NONE
            and row.status is ModelStatus.READY
            and not loaded_rows(self.session, [row.id])
            and not self.jobs.loads([row.id])  # whoever waits for it reads these files next
            and not training_users(self.session, [row.id])
        )

    def _other_rows_of_snapshot(self, model: Model) -> Sequence[Model]:
        """Rows that need the same files; one that was cancelled or is deleted, or whose files are gone, needs none, and
        neither does a quantized copy whose original is being removed.
        """
        return self.session.scalars(
            select(Model)
            .options(defer(Model.files))
            .where(
                Model.model_id == model.model_id,
                Model.commit == model.commit,
                Model.id != model.id,
                Model.status.not_in((ModelStatus.CANCELLED, ModelStatus.MISSING, ModelStatus.DELETING)),
                not_(and_(Model.status == ModelStatus.READY, Model.removal_due)),
            )
        ).all()

    def _partial_owners(self, model: Model) -> frozenset[str]:
        """The other rows whose download, under way or to be resumed, may own unfinished files of the repository."""
        unfinished = (*ACTIVE_STATUSES, ModelStatus.PAUSED, ModelStatus.FAILED)
        return frozenset(
            self.session.scalars(
                select(Model.id).where(
                    Model.model_id == model.model_id, Model.id != model.id, Model.status.in_(unfinished)
                )
            )
        )
