"""The rows of training runs: finding them, moving them between states, and their curves."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, select
from sqlalchemy.orm import Session

from modelyard.core.database import read_page, utc_now
from modelyard.core.errors import Conflict, NotReady, TrainingNotFound
from modelyard.models import (
    ACTIVE_TRAINING_STATUSES,
    RESUMABLE_TRAINING_STATUSES,
    Job,
    JobControl,
    JobKind,
    JobState,
    Model,
    ModelStatus,
    Training,
    TrainingMetric,
    TrainingStatus,
)
from modelyard.schemas.common import ErrorDetail
from modelyard.schemas.training import TrainingMetrics, TrainingPlan, TrainingProgress, TrainingResponse
from modelyard.services.deletion_log import DeletionLog
from modelyard.services.jobs.job_service import JobService
from modelyard.services.model_deletion import HALF_REMOVED_SECONDS
from modelyard.services.training.paths import present_path

_FIGURES = (
    "mse", "explained_variance", "explained_variance_per_token", "held_out_explained_variance",
    "held_out_explained_variance_per_token", "l0", "dead_features",
)  # fmt: skip
_BEFORE = {"dtype": "auto", "beginning": "auto", "skip_positions": 0}
"""Settings of runs of earlier versions, which did not store them."""

_PLAN_BEFORE = {
    "unloads": [], "dataset_column": "", "dataset_columns": [], "dataset_counted": False, "beginning_token": None,
    "beginning_tokens": [],
}  # fmt: skip
"""Fields of a plan that earlier versions did not store."""


class TrainingService:
    """Rules about training rows; never commits."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.jobs = JobService(session)

    def create(self, training: Training) -> Training:
        """Add a run and queue its job. Raises NotReady if its model is not ready any more."""
        self._require_model(training)
        self.session.add(training)
        self.session.flush()
        self._enqueue(training)
        return training

    def get_by_id(self, training_id: str) -> Training:
        """Raises TrainingNotFound."""
        training = self.session.get(Training, training_id, populate_existing=True)
        if training is None:
            raise TrainingNotFound(f"There is no training run with the id {training_id!r}.")
        return training

    def list(
        self, *, statuses: Sequence[TrainingStatus] = (), model_row_id: str | None = None, limit: int, offset: int
    ) -> tuple[Sequence[Training], int]:
        """Return one page of runs, the newest first, and how many there are in all."""
        conditions: list[ColumnElement[bool]] = []
        if statuses:
            conditions.append(Training.status.in_(statuses))
        if model_row_id is not None:
            conditions.append(Training.model_row_id == model_row_id)
        return read_page(self.session, _newest_first(*conditions), limit=limit, offset=offset)

    def list_active(self) -> Sequence[Training]:
        """Return the runs that wait, are under way or are being stopped, the newest first."""
        return self.session.scalars(_newest_first(Training.status.in_(ACTIVE_TRAINING_STATUSES))).all()

    def curve(self, training_id: str, after_step: int = 0) -> Sequence[TrainingMetric]:
        """Return the points of a run's curve behind a step. Raises TrainingNotFound."""
        self.get_by_id(training_id)
        return self.session.scalars(
            select(TrainingMetric)
            .where(TrainingMetric.training_id == training_id, TrainingMetric.step > after_step)
            .order_by(TrainingMetric.step)
        ).all()

    def cancel(self, training_id: str) -> Training:
        """Stop a run and keep its last state; its worker acknowledges. Raises Conflict when it has ended otherwise."""
        training = self.get_by_id(training_id)
        if training.status in (TrainingStatus.CANCELLED, TrainingStatus.CANCELLING):
            return training
        if training.status not in ACTIVE_TRAINING_STATUSES or training.job_id is None:
            raise Conflict(
                f"The run is {training.status} and cannot be cancelled.", hint="Only a run under way can be."
            )
        if self.jobs.request(training.job_id, JobControl.CANCEL) is JobState.CANCELLED:
            self.mark_ended(training, TrainingStatus.CANCELLED)
        else:
            training.status = TrainingStatus.CANCELLING
            self.session.flush()
        return training

    def resume(self, training_id: str) -> Training:
        """Go on with a cancelled or failed run from its last checkpoint. Raises Conflict, NotReady."""
        training = self.get_by_id(training_id)
        if training.status not in RESUMABLE_TRAINING_STATUSES:
            raise Conflict(
                f"The run is {training.status}, there is nothing to resume.",
                hint="Only a cancelled or failed run can be resumed.",
            )
        if training.removal_due:
            raise Conflict("The run is being deleted.", hint="Start a new one.")
        self._require_model(training)
        training.status, training.error, training.finished_at = TrainingStatus.PENDING, None, None
        training.phase, training.tokens_per_second, training.eta_seconds = None, None, None
        self._enqueue(training)
        return training

    def begin_deletion(self, training_id: str) -> None:
        """Mark a run that has ended as being deleted: it cannot be resumed. Raises TrainingNotFound, Conflict."""
        training = self.get_by_id(training_id)
        if training.status in ACTIVE_TRAINING_STATUSES:
            raise Conflict(f"The run is {training.status}.", hint="Cancel it first.")
        training.removal_due, training.updated_at = True, utc_now()
        self.session.flush()

    def end_deletion(self, training_id: str) -> None:
        """Remove the row of a run whose files are gone, with its curve and its jobs."""
        training = self.session.get(Training, training_id, populate_existing=True)
        if training is not None:
            self.session.delete(training)
            self.session.flush()
        self.session.execute(delete(Job).where(Job.subject_id == training_id))
        DeletionLog(self.session).add(Training, training_id)

    def give_up_deletion(self, training_id: str, error: dict[str, Any], *, keeps_files: bool) -> None:
        """Keep a run whose files cannot be removed, for the reason in `error`."""
        training = self.session.get(Training, training_id, populate_existing=True)
        if training is not None:
            training.removal_due, training.error = False, error
            training.output_path = training.output_path if keeps_files else None
            self.session.flush()

    def half_removed(self) -> Sequence[str]:
        """Return the runs whose deletion a crash interrupted."""
        since = utc_now() - timedelta(seconds=HALF_REMOVED_SECONDS)
        return self.session.scalars(select(Training.id).where(Training.removal_due, Training.updated_at < since)).all()

    def mark_running(self, training: Training) -> None:
        """Note that a worker has taken it; one that is being cancelled stays so."""
        if training.status is TrainingStatus.PENDING:
            training.status = TrainingStatus.RUNNING
        training.started_at = training.started_at or utc_now()
        self._touch_model(training)

    def mark_waiting(self, training: Training, error: dict[str, Any]) -> None:
        """Note that it waits for the reason in `error`, one of STORAGE_CODES, and keeps its job, which is paused."""
        training.status, training.error = TrainingStatus.PENDING, error
        training.phase, training.tokens_per_second, training.eta_seconds = None, None, None
        self._touch_model(training)

    def end_wait(self, training: Training) -> None:
        """Queue the paused job of a run that `mark_waiting` left; it goes on from its last checkpoint."""
        training.error = None
        self.jobs.resume(training.job_id or "")
        self._touch_model(training)

    def mark_completed(self, training: Training) -> None:
        training.tokens_done = max(training.tokens_done, training.tokens_total)
        self.mark_ended(training, TrainingStatus.COMPLETED)

    def mark_ended(self, training: Training, status: TrainingStatus, error: dict[str, Any] | None = None) -> None:
        training.status, training.error, training.finished_at = status, error, utc_now()
        training.phase, training.tokens_per_second, training.eta_seconds = None, None, None
        self._touch_model(training)

    def record(self, training_id: str, report: Mapping[str, Any]) -> None:
        """Write what the process of a run has told."""
        training = self.get_by_id(training_id)
        if "phase" in report:
            training.phase = report["phase"]
            training.engine = report.get("engine") or training.engine
        if "step" not in report:
            return
        training.tokens_done = min(report["tokens"], training.tokens_total)
        training.tokens_per_second, training.eta_seconds = report["tokens_per_second"], report["eta_seconds"]
        training.metrics = {name: report[name] for name in _FIGURES}
        if report["point"]:
            # After a crash a run goes on from before its last points, which come again.
            self.session.execute(
                delete(TrainingMetric).where(
                    TrainingMetric.training_id == training_id, TrainingMetric.step >= report["step"]
                )
            )
            self.session.add(
                TrainingMetric(
                    training_id=training_id,
                    step=report["step"],
                    tokens=report["tokens"],
                    tokens_per_second=report["tokens_per_second"],
                    **training.metrics,
                )
            )

    def _enqueue(self, training: Training) -> None:
        training.job_id = self.jobs.enqueue(JobKind.TRAIN, training.id).id
        self._touch_model(training)

    def _require_model(self, training: Training) -> None:
        model = (
            self.session.get(Model, training.model_row_id, populate_existing=True) if training.model_row_id else None
        )
        if model is None:
            raise NotReady(f"{training.model_id} was deleted.", hint="Download it again and start a new run.")
        if model.status is not ModelStatus.READY:
            raise NotReady(f"{model.model_id} is {model.status}.", hint="Wait until it is ready.")

    def _touch_model(self, training: Training) -> None:
        """`used_by` of the model is another one now; the event hub looks at rows that changed."""
        model = self.session.get(Model, training.model_row_id) if training.model_row_id else None
        if model is not None:
            model.updated_at = utc_now()
        self.session.flush()


def _newest_first(*conditions: ColumnElement[bool]) -> Select[Training]:
    return select(Training).where(*conditions).order_by(Training.created_at.desc(), Training.id)


def asked_of(training: Training) -> dict[str, Any]:
    """Return the settings of a run, under the names of `TrainingCreate`; a data set where it is now."""
    found = {name: training.config[name] for name in _ASKED}
    dataset = found["dataset"] | {"path": present_path(found["dataset"]["path"])}
    later = {name: training.config.get(name, value) for name, value in _BEFORE.items()}
    return found | later | {"dataset": dataset}


def training_response(training: Training) -> TrainingResponse:
    """Return a row as it goes over the wire."""
    return TrainingResponse(
        id=training.id,
        status=training.status.value,
        model_name=training.model_id,
        commit=training.commit,
        quantization=training.quantization,
        hook_point=training.hook_point,
        **asked_of(training),
        model_id=training.model_row_id,
        d_in=training.d_in,
        d_sae=training.d_sae,
        progress=TrainingProgress(
            phase=training.phase,
            tokens_done=training.tokens_done,
            tokens_total=training.tokens_total,
            tokens_per_second=training.tokens_per_second,
            eta_seconds=training.eta_seconds,
        ),
        metrics=TrainingMetrics(**training.metrics) if training.metrics else None,
        plan=TrainingPlan.model_validate(_PLAN_BEFORE | training.plan),
        engine=training.engine,
        output_path=(
            present_path(training.output_path)
            if training.output_path and training.status is TrainingStatus.COMPLETED
            else None
        ),
        error=ErrorDetail.model_validate(training.error) if training.error else None,
        resumable=(
            training.status in RESUMABLE_TRAINING_STATUSES
            and training.model_row_id is not None
            and not training.removal_due
        ),
        job_id=training.job_id,
        created_at=training.created_at,
        updated_at=training.updated_at,
        started_at=training.started_at,
        finished_at=training.finished_at,
    )


_ASKED = (
    "dataset", "architecture", "expansion_factor", "k", "l1_coefficient", "training_tokens", "context_size",
    "learning_rate", "batch_tokens", "seed", "device", "checkpoint_seconds",
)  # fmt: skip
