"""An SAE's row as it goes over the wire."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from modelyard.models import Job, JobControl, JobKind, JobState, Sae
from modelyard.schemas.common import ErrorDetail
from modelyard.schemas.model import UsedBy
from modelyard.schemas.sae import (
    SaeEvaluation,
    SaeFeaturesFacts,
    SaeResponse,
    SaeStatusName,
    SaeWarning,
    SaeWork,
    SaeWorkName,
    SaeWorkState,
)
from modelyard.services.saes.matching import Match, SaeMatching
from modelyard.services.saes.sae_folder import CONFIG, sae_folder
from modelyard.services.saes.sae_service import SaeService

WORK_NAMES: dict[JobKind, SaeWorkName] = {
    JobKind.FETCH_SAE: "download",
    JobKind.EVALUATE_SAE: "evaluate",
    JobKind.BUILD_FEATURES: "features",
}
_DOING: dict[SaeWorkName, str] = {
    "download": "downloaded",
    "evaluate": "evaluated",
    "features": "searched for features",
}
_ENDED: dict[JobState, SaeWorkState] = {
    JobState.DONE: "done",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "cancelled",
}


@dataclass(frozen=True)
class SaeRow:
    """What the database says of an SAE; the answer also needs a look at its folder."""

    sae: Sae
    job: Job | None
    match: Match

    def response(self) -> SaeResponse:
        """Look at the folder and return the answer; to be called outside of a transaction."""
        sae, folder = self.sae, sae_folder(self.sae)
        warnings = list(self.match.warnings)
        if sae.ready and not (folder / CONFIG).is_file():
            message = f"Its files are not in {folder} any more."
            warnings.insert(0, SaeWarning(code="files_missing", message=message))
        work = None if self.job is None else sae_work(self.job)
        return SaeResponse(
            id=sae.id,
            name=sae.name,
            status=_status(sae, work),
            model_id=sae.model_id,
            commit=sae.commit,
            quantization=sae.quantization,
            dtype=sae.dtype,
            hook_point=sae.hook_point,
            d_in=sae.d_in,
            d_sae=sae.d_sae,
            architecture=sae.architecture,
            context_size=sae.context_size,
            source=sae.source.value,
            training_id=sae.training_id,
            repo_id=sae.repo_id,
            repo_commit=sae.repo_commit,
            repo_path=sae.repo_path,
            folder=str(folder),
            size_bytes=sae.size_bytes,
            evaluation=SaeEvaluation.model_validate(sae.evaluation) if sae.evaluation else None,
            features=SaeFeaturesFacts.model_validate(sae.features) if sae.features else None,
            compatible_with=self.match.row_ids,
            warnings=warnings,
            work=work,
            used_by=users_of(sae, self.job),
            created_at=sae.created_at,
            updated_at=sae.updated_at,
        )


class SaeResponses:
    """Reads what answers about SAEs consist of; never commits."""

    def __init__(self, session: Session) -> None:
        self.saes = SaeService(session)
        self.matching = SaeMatching(session)

    def of_id(self, sae_id: str) -> SaeRow:
        """Raises SaeNotFound."""
        return self.of_all([self.saes.get_by_id(sae_id)])[0]

    def of_all(self, saes: Sequence[Sae]) -> list[SaeRow]:
        jobs = self.saes.work_of(saes)
        matches = self.matching.of_all(saes)
        return [SaeRow(sae, jobs.get(sae.id), match) for sae, match in zip(saes, matches, strict=True)]


def users_of(sae: Sae, job: Job | None) -> list[UsedBy]:
    """Return what keeps an SAE from being deleted."""
    if job is None or job.ended:
        return []
    return [UsedBy(kind="sae", id=sae.id, name=f"being {_DOING[WORK_NAMES[job.kind]]}")]


def sae_work(job: Job) -> SaeWork:
    is_download = job.kind is JobKind.FETCH_SAE
    return SaeWork(
        kind=WORK_NAMES[job.kind],
        state=_state(job),
        phase=job.phase,
        done=job.bytes_done if is_download else job.files_done,
        total=job.bytes_total if is_download else job.files_total,
        bytes_per_second=job.bytes_per_second if is_download else None,
        eta_seconds=job.eta_seconds,
        message=job.message,
        error=ErrorDetail.model_validate(job.error) if job.error else None,
        created_at=job.created_at,
        finished_at=job.finished_at,
    )


def _state(job: Job) -> SaeWorkState:
    if job.state in _ENDED:
        return _ENDED[job.state]
    if job.control is JobControl.CANCEL:
        return "stopping"
    return "running" if job.state is JobState.RUNNING else "waiting"


def _status(sae: Sae, work: SaeWork | None) -> SaeStatusName:
    if sae.ready:
        return "ready"
    if work is not None and work.state == "cancelled":
        return "cancelled"
    return "failed" if work is None or work.state in ("failed", "done") else "downloading"
