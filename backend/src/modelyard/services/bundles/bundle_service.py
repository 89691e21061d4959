"""The rows of bundles: finding them, creating them, moving them between states."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from modelyard.core.database import read_page, utc_now
from modelyard.core.errors import BundleNotFound, Conflict
from modelyard.models import (
    ACTIVE_BUNDLE_STATUSES,
    Bundle,
    BundleKind,
    BundleStatus,
    Job,
    JobControl,
    JobKind,
    JobState,
)
from modelyard.schemas.bundle import BundledModelName, BundlePart, BundleProgress, BundleResponse
from modelyard.schemas.common import ErrorDetail
from modelyard.services.jobs.job_service import JobService

_JOBS = {BundleKind.EXPORT: JobKind.EXPORT, BundleKind.IMPORT: JobKind.UNPACK}
_SHOWS_PROGRESS = (*ACTIVE_BUNDLE_STATUSES, BundleStatus.PAUSED, BundleStatus.FAILED)


class BundleService:
    """Rules about rows of bundles; never commits."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.jobs = JobService(session)

    def create(self, bundle: Bundle) -> Bundle:
        """Add a row and queue its job."""
        self.session.add(bundle)
        self.session.flush()
        self._enqueue(bundle)
        return bundle

    def get_by_id(self, bundle_id: str) -> Bundle:
        """Raises BundleNotFound."""
        bundle = self.session.get(Bundle, bundle_id, populate_existing=True)
        if bundle is None:
            raise BundleNotFound(f"There is no bundle with the id {bundle_id!r}.")
        return bundle

    def list(self, *, limit: int, offset: int) -> tuple[Sequence[Bundle], int]:
        """Return one page of bundles, the newest first, and how many there are in all."""
        newest_first = select(Bundle).order_by(Bundle.created_at.desc(), Bundle.id)
        return read_page(self.session, newest_first, limit=limit, offset=offset)

    def find_export(self, digest: str) -> Bundle | None:
        """Return the export of this very content that is not cancelled, if there is one."""
        return self.session.scalars(
            select(Bundle)
            .where(Bundle.kind == BundleKind.EXPORT, Bundle.digest == digest, Bundle.status != BundleStatus.CANCELLED)
            .order_by(Bundle.created_at.desc())
        ).first()

    def find_import(self, path: str) -> Bundle | None:
        """Return the import of this path that has not ended, if there is one."""
        return self.session.scalars(
            select(Bundle).where(
                Bundle.kind == BundleKind.IMPORT,
                Bundle.path == path,
                Bundle.status.not_in((BundleStatus.CANCELLED, BundleStatus.READY)),
            )
        ).first()

    def pause(self, bundle_id: str) -> Bundle:
        """Stop and keep what was done; acknowledged by the worker within a heartbeat. Raises Conflict."""
        bundle = self.get_by_id(bundle_id)
        if bundle.status is BundleStatus.PAUSED:
            return bundle
        self._require_active(bundle, "paused")
        if bundle.job_id and self.jobs.request(bundle.job_id, JobControl.PAUSE) is JobState.PAUSED:
            self.mark(bundle, BundleStatus.PAUSED)
        return bundle

    def resume(self, bundle_id: str) -> Bundle:
        """Go on with a paused, failed or cancelled bundle, or withdraw a pause. Raises Conflict."""
        bundle = self.get_by_id(bundle_id)
        if bundle.status is BundleStatus.READY:
            raise Conflict("The bundle is ready, there is nothing to resume.", hint="Only unfinished work can be.")
        if bundle.status is BundleStatus.CANCELLED or bundle.job_id is None:
            self._enqueue(bundle)
        elif self.jobs.resume(bundle.job_id):
            self.session.refresh(bundle)  # its worker may have let go of it just before
        if bundle.status not in ACTIVE_BUNDLE_STATUSES:
            self.mark(bundle, BundleStatus.PENDING)
        return bundle

    def cancel(self, bundle_id: str) -> Bundle:
        """Stop, and have what was done removed; acknowledged by the worker within a heartbeat. Raises Conflict."""
        bundle = self.get_by_id(bundle_id)
        if bundle.status is BundleStatus.CANCELLED:
            return bundle
        if bundle.status is BundleStatus.READY:
            raise Conflict("The bundle is ready, there is nothing to cancel.", hint="Delete it to free its space.")
        if bundle.job_id is None or self.jobs.request(bundle.job_id, JobControl.CANCEL) is not JobState.RUNNING:
            self.mark(bundle, BundleStatus.CANCELLED)
        return bundle

    def mark_running(self, bundle_id: str) -> Bundle:
        """A worker has taken it."""
        bundle = self.get_by_id(bundle_id)
        if bundle.status is not BundleStatus.RUNNING:
            self.mark(bundle, BundleStatus.RUNNING)
        return bundle

    def mark(self, bundle: Bundle, status: BundleStatus, error: dict[str, Any] | None = None) -> None:
        ended = status in (BundleStatus.READY, BundleStatus.FAILED, BundleStatus.CANCELLED)
        bundle.status, bundle.error, bundle.finished_at = status, error, utc_now() if ended else None
        self.session.flush()

    def end(self, bundle_id: str) -> None:
        """Remove the row of a bundle whose files are gone, with its jobs. Raises Conflict while work is under way."""
        bundle = self.get_by_id(bundle_id)
        job = self.session.get(Job, bundle.job_id) if bundle.job_id else None
        if job is not None and not job.ended and job.state is not JobState.PAUSED:
            raise Conflict("The bundle is still being worked on.", hint="Try again in a moment.")
        self.session.delete(bundle)
        self.session.flush()
        self.session.execute(delete(Job).where(Job.subject_id == bundle_id))

    def response(self, bundle: Bundle) -> BundleResponse:
        """Return a row as it goes over the wire."""
        job = self.session.get(Job, bundle.job_id) if bundle.job_id else None
        return bundle_response(bundle, job)

    def _require_active(self, bundle: Bundle, word: str) -> None:
        if bundle.status not in ACTIVE_BUNDLE_STATUSES:
            raise Conflict(f"The bundle is {bundle.status} and cannot be {word}.", hint="Only work under way can be.")

    def _enqueue(self, bundle: Bundle) -> None:
        bundle.job_id = self.jobs.enqueue(_JOBS[bundle.kind], bundle.id).id
        self.session.flush()


def bundle_response(bundle: Bundle, job: Job | None) -> BundleResponse:
    return BundleResponse(
        id=bundle.id,
        kind=bundle.kind.value,
        status=bundle.status.value,
        name=bundle.name,
        progress=_progress(job) if job is not None and bundle.status in _SHOWS_PROGRESS else None,
        size_bytes=bundle.size_bytes,
        parts=[BundlePart.model_validate(part) for part in bundle.parts],
        models=[BundledModelName.model_validate(model) for model in bundle.models],
        error=ErrorDetail.model_validate(bundle.error) if bundle.error else None,
        created_at=bundle.created_at,
        finished_at=bundle.finished_at,
    )


def _progress(job: Job) -> BundleProgress:
    waiting = job.state is JobState.QUEUED
    return BundleProgress(
        phase="waiting" if waiting else job.phase or "starting",
        bytes_done=job.bytes_done,
        bytes_total=job.bytes_total,
        bytes_per_second=job.bytes_per_second,
        eta_seconds=job.eta_seconds,
        files_done=job.files_done,
        files_total=job.files_total,
        waiting=waiting,
        stopping=job.control is JobControl.CANCEL and not job.ended,
        started_at=job.created_at,
    )
