"""The rows of the shelf: finding them, adding them, and the work on them."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, delete, func, or_, select
from sqlalchemy.orm import Session

from modelyard.core.database import read_page, utc_now
from modelyard.core.errors import Conflict, NotReady, SaeNotFound
from modelyard.models import Job, JobControl, JobKind, JobState, Model, Sae, SaeSource, Training
from modelyard.services.jobs.job_service import JobService
from modelyard.services.jobs.payloads import Payload

_SAVED_AS = {"batchtopk": "jumprelu", "matryoshka": "jumprelu"}
"""What SAELens makes of an architecture that needs a whole batch."""


class SaeService:
    """Rules about the rows of sparse autoencoders; never commits."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.jobs = JobService(session)

    def get_by_id(self, sae_id: str) -> Sae:
        """Raises SaeNotFound."""
        sae = self.session.get(Sae, sae_id, populate_existing=True)
        if sae is None:
            raise SaeNotFound(f"There is no sparse autoencoder with the id {sae_id!r}.")
        return sae

    def get_ready(self, sae_id: str) -> Sae:
        """Raises SaeNotFound, and NotReady for one whose files are not here."""
        sae = self.get_by_id(sae_id)
        if not sae.ready:
            raise NotReady(f"{sae.name} is not here yet.", hint="Wait for its download, or start it again.")
        return sae

    def list(self, *, model: Model | None = None, limit: int, offset: int) -> tuple[Sequence[Sae], int]:
        """Return one page, the newest first, and how many there are in all; with `model`, those that name it."""
        conditions: list[ColumnElement[bool]] = []
        if model is not None:
            names = {model.model_id.lower(), model.canonical_id.lower(), model.name.lower()}
            conditions.append(or_(func.lower(Sae.model_id).in_(names)))
        page = select(Sae).where(*conditions).order_by(Sae.created_at.desc(), Sae.id)
        return read_page(self.session, page, limit=limit, offset=offset)

    def work_of(self, saes: Sequence[Sae]) -> dict[str, Job]:
        """Return the last job of each, by the SAE's id."""
        ids = [sae.job_id for sae in saes if sae.job_id]
        found = self.session.scalars(select(Job).where(Job.id.in_(ids)).execution_options(populate_existing=True)).all()
        return {job.subject_id: job for job in found}

    def add_trained(self, training: Training) -> Sae:
        """Put what a completed run made on the shelf; once, however often it is asked for."""
        known = self.session.scalars(select(Sae).where(Sae.training_id == training.id)).first()
        if known is not None:
            return known
        asked = training.config["architecture"]
        dtype = training.config.get("dtype", "auto")
        sae = Sae(
            name=f"{training.model_id.rsplit('/', 1)[-1]} {training.hook_point}",
            source=SaeSource.TRAINED,
            ready=True,
            model_id=training.model_id,
            commit=training.commit,
            quantization=training.quantization,
            dtype=None if dtype == "auto" else dtype,
            hook_point=training.hook_point,
            d_in=training.d_in,
            d_sae=training.d_sae,
            architecture=_SAVED_AS.get(asked, asked),
            context_size=training.config["context_size"],
            training_id=training.id,
        )
        self.session.add(sae)
        self.session.flush()
        return sae

    def of_training(self, training_id: str) -> Sae | None:
        return self.session.scalars(select(Sae).where(Sae.training_id == training_id)).first()

    def of_repository(self, endpoint: str, repo_id: str, commit: str, path: str) -> Sae | None:
        return self.session.scalars(
            select(Sae).where(
                Sae.endpoint == endpoint, Sae.repo_id == repo_id, Sae.repo_commit == commit, Sae.repo_path == path
            )
        ).first()

    def start_work(self, sae: Sae, kind: JobKind, payload: Payload | None = None, *, model: Model | None = None) -> Job:
        """Queue work on it. Raises Conflict while there is some, and ExtraMissing if no worker can do it."""
        self.require_idle(sae)
        job = self.jobs.enqueue(kind, sae.id, payload)
        sae.job_id, sae.model_row_id = job.id, None if model is None else model.id
        self._touch(model)
        return job

    def require_idle(self, sae: Sae) -> None:
        """Raise Conflict while there is work on it."""
        job = self.work_of([sae]).get(sae.id)
        if job is not None and not job.ended:
            raise Conflict(f"There is work on {sae.name} already.", hint="Wait for its end, or cancel it first.")

    def cancel(self, sae_id: str) -> Sae:
        """Stop the work on it. Raises Conflict where there is none."""
        sae = self.get_by_id(sae_id)
        job = self.work_of([sae]).get(sae.id)
        if job is None or job.ended:
            raise Conflict(f"There is no work on {sae.name}.", hint="Only work under way can be cancelled.")
        if self.jobs.request(job.id, JobControl.CANCEL) is JobState.CANCELLED:
            self.end_work(sae)
        return sae

    def end_work(self, sae: Sae) -> None:
        """Note that nothing reads the model any more."""
        model = self.session.get(Model, sae.model_row_id) if sae.model_row_id else None
        sae.model_row_id, sae.updated_at = None, utc_now()
        self._touch(model)

    def remove(self, sae_id: str) -> None:
        """Remove the row of an SAE whose files are gone, with its jobs."""
        sae = self.session.get(Sae, sae_id, populate_existing=True)
        if sae is None:
            return
        if sae.source is SaeSource.TRAINED and sae.training_id is not None:
            training = self.session.get(Training, sae.training_id, populate_existing=True)
            if training is not None:
                training.output_path = None
        self.session.delete(sae)
        self.session.flush()
        self.session.execute(delete(Job).where(Job.subject_id == sae_id))

    def _touch(self, model: Model | None) -> None:
        """`used_by` of the model is another one now; the event hub looks at rows that changed."""
        if model is not None:
            model.updated_at = utc_now()
        self.session.flush()
