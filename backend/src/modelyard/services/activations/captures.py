"""The rows of activations in files: finding them, steering their jobs, and their answers."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session, defer

from modelyard.core.errors import ActivationsNotFound, Conflict
from modelyard.core.settings import get_settings
from modelyard.models import Capture, Job, JobControl, JobKind, JobState, Model
from modelyard.schemas.activations import CaptureProgress, CaptureResponse, CaptureStatusName
from modelyard.schemas.common import ErrorDetail
from modelyard.services.jobs.job_service import JobService
from modelyard.services.jobs.payloads import CapturePayload

_STATUSES: dict[JobState, CaptureStatusName] = {
    JobState.QUEUED: "pending",
    JobState.RUNNING: "running",
    JobState.PAUSED: "paused",
    JobState.DONE: "completed",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "cancelled",
}
_ASKED = ("positions", "dtype", "batch_size", "shard_bytes", "max_tokens")


class CaptureService:
    """Rules about these rows; never commits."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.jobs = JobService(session)

    def create(self, row: Model, payload: CapturePayload, *, worker: str | None) -> Capture:
        """Add a set and queue its job, for one `worker` or for any."""
        request = payload.model_dump(include=set(_ASKED)) | {"hook_points": list(payload.hook_points)}
        capture = Capture(
            model_row_id=row.id,
            model_id=row.model_id,
            commit=row.commit,
            quantization=row.quantization.value,
            request=request,
        )
        self.session.add(capture)
        self.session.flush()
        capture.job_id = self.jobs.enqueue(JobKind.CAPTURE, capture.id, payload, worker=worker).id
        self.session.flush()
        return capture

    def get(self, capture_id: str) -> tuple[Capture, Job]:
        """Raises ActivationsNotFound."""
        found = self.session.execute(_with_jobs().where(Capture.id == capture_id)).one_or_none()
        if found is None:
            raise ActivationsNotFound(f"There are no activations with the id {capture_id!r}.")
        return found[0], found[1]

    def list(self, *, limit: int, offset: int) -> tuple[Sequence[tuple[Capture, Job]], int]:
        """Return one page of sets of activations, the newest first, and how many there are in all."""
        page = _with_jobs().order_by(Capture.created_at.desc(), Capture.id).limit(limit).offset(offset)
        total = self.session.scalar(select(func.count()).select_from(Capture)) or 0
        return [(capture, job) for capture, job in self.session.execute(page)], total

    def note_plan(self, capture_id: str, *, rows: int, tokens: int, size_bytes: int) -> None:
        """Store how much there is to write."""
        capture, _ = self.get(capture_id)
        capture.rows, capture.tokens, capture.estimated_bytes = rows, tokens, size_bytes
        self.session.flush()

    def pause(self, capture_id: str) -> None:
        """Stop and keep what is written. Raises Conflict when it has ended."""
        _, job = self.get(capture_id)
        if job.ended:
            raise _ended(job, "pause")
        self.jobs.request(job.id, JobControl.PAUSE)

    def resume(self, capture_id: str) -> None:
        """Go on with a set that was paused or failed. Raises Conflict for another."""
        _, job = self.get(capture_id)
        if not self.jobs.resume(job.id):
            raise _ended(job, "resume")
        self.session.get_one(Job, job.id).attempts = 0  # a pause is no worker's death

    def cancel(self, capture_id: str) -> bool:
        """Stop for good; return whether nobody works on it, so that its files may go. Raises Conflict when it ended."""
        _, job = self.get(capture_id)
        if job.ended and job.state is not JobState.CANCELLED:
            raise _ended(job, "cancel")
        return self.jobs.request(job.id, JobControl.CANCEL) is JobState.CANCELLED

    def require_ended(self, capture_id: str) -> None:
        """Raise Conflict while it is under way: its worker writes files."""
        _, job = self.get(capture_id)
        if not job.ended:
            raise Conflict(f"The activations are {_STATUSES[job.state]}.", hint="Cancel it first.")

    def remove(self, capture_id: str) -> None:
        """Remove the row and its job."""
        self.session.execute(delete(Capture).where(Capture.id == capture_id))
        self.session.execute(delete(Job).where(Job.subject_id == capture_id))


def capture_response(capture: Capture, job: Job) -> CaptureResponse:
    """Return a row as it goes over the wire."""
    return CaptureResponse(
        id=capture.id,
        status=_STATUSES[job.state],
        model_id=capture.model_row_id,
        model_name=capture.model_id,
        commit=capture.commit,
        quantization=capture.quantization,
        hook_points=capture.request["hook_points"],
        positions=capture.request["positions"],
        dtype=capture.request["dtype"],
        rows=capture.rows,
        tokens=capture.tokens,
        estimated_bytes=capture.estimated_bytes,
        progress=None if job.ended else _progress(job),
        folder=str(get_settings().activations_folder / capture.id),
        error=ErrorDetail.model_validate(job.error) if job.error else None,
        created_at=capture.created_at,
        updated_at=max(capture.updated_at, job.updated_at),
        finished_at=job.finished_at,
    )


def _progress(job: Job) -> CaptureProgress:
    step: Any = job.step
    return CaptureProgress(
        phase=job.phase,
        bytes_done=job.bytes_done,
        bytes_total=job.bytes_total,
        bytes_per_second=job.bytes_per_second,
        eta_seconds=job.eta_seconds,
        waiting=job.state is JobState.QUEUED,
        stopping=job.state is JobState.RUNNING and job.control is not JobControl.RUN,
        step=step,
        message=job.message,
    )


def _with_jobs() -> Any:
    # What a user sent may be many megabytes.
    return select(Capture, Job).join(Job, Job.id == Capture.job_id).options(defer(Job.payload), defer(Job.result))


def _ended(job: Job, doing: str) -> Conflict:
    return Conflict(
        f"The activations are {_STATUSES[job.state]}; there is nothing to {doing}.", hint="Ask for new ones."
    )
