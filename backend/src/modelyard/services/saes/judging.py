"""Work on an SAE that needs its model and a text: judging it, and looking for what its features stand for.

`start…` is the API's side, `evaluate` and `build_features` a worker's.
"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from modelyard.core.database import Database, utc_now
from modelyard.core.errors import ModelyardError
from modelyard.core.extras import Extra, require
from modelyard.core.paths import PathRules
from modelyard.core.settings import get_settings
from modelyard.models import Job, JobKind, Model, Quantization, Sae, Training
from modelyard.schemas.sae import SaeEvaluate, SaeEvaluation, SaeFeaturesBuild, SaeFeaturesFacts
from modelyard.schemas.training import DatasetChoice
from modelyard.services.architecture_service import ArchitectureService
from modelyard.services.inference.load_spec import weights_folder
from modelyard.services.jobs.child_work import run_in_child
from modelyard.services.jobs.control import JobReporter, raise_if_stopped
from modelyard.services.jobs.payloads import SaeTextPayload
from modelyard.services.model_service import ModelService
from modelyard.services.saes.placing import model_for, place_of
from modelyard.services.saes.sae_folder import own_folder, sae_folder
from modelyard.services.saes.sae_service import SaeService
from modelyard.services.settings_service import SettingsService
from modelyard.services.training.paths import present_path
from modelyard.services.training.text import Text, find_text, wrong_field

if TYPE_CHECKING:
    from modelyard.ml.sae.sae_work import SaeWork

_CHILD = "modelyard.workers.processes.sae_child"


class SaeJudging:
    """Queues and does the work."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def start(self, sae_id: str, request: SaeEvaluate) -> None:
        """Queue an evaluation.

        Raises SaeNotFound, SaeEngineMissing, InvalidRequest, PathNotAllowed, NotReady where no model that it fits is
        here, TrainingIncompatible, and Conflict while there is work on it.
        """
        self._start(sae_id, JobKind.EVALUATE_SAE, request)

    def start_features(self, sae_id: str, request: SaeFeaturesBuild) -> None:
        """Queue the building of feature pages. Raises as `start` does."""
        self._start(sae_id, JobKind.BUILD_FEATURES, request)

    def evaluate(self, job: Job, reporter: JobReporter) -> None:
        """Judge an SAE in a child process. Raises JobPaused, JobCancelled, and what the child raises."""
        payload = SaeTextPayload.of(job)
        sae, model, found = self._run(job, payload, reporter, "evaluate", "evaluated")
        evaluation = SaeEvaluation(
            **found,
            dataset=DatasetChoice(path=payload.path, column=payload.column),
            held_out=payload.held_out,
            model_row_id=model.id,
            quantization=model.quantization.value,
            evaluated_at=utc_now(),
        )
        with self.database.session() as session:
            SaeService(session).get_by_id(sae.id).evaluation = evaluation.model_dump(mode="json")

    def build_features(self, job: Job, reporter: JobReporter) -> None:
        """Build feature pages in a child process, in the place of earlier ones. Raises as `evaluate` does."""
        payload = SaeTextPayload.of(job)
        sae, model, found = self._run(job, payload, reporter, "features", "searched for features")
        facts = SaeFeaturesFacts(
            **found,
            dataset=DatasetChoice(path=payload.path, column=payload.column),
            model_row_id=model.id,
            built_at=utc_now(),
        )
        with self.database.session() as session:
            SaeService(session).get_by_id(sae.id).features = facts.model_dump(mode="json")

    def discard_features(self, sae_id: str) -> None:
        """Remove what a cancelled building of feature pages has written."""
        from modelyard.ml.sae.feature_file import NAME, partial_of

        partial_of(own_folder(sae_id) / NAME).unlink(missing_ok=True)

    def _start(self, sae_id: str, kind: JobKind, request: SaeEvaluate | SaeFeaturesBuild) -> None:
        require(Extra.SAE)
        text = find_text(request.dataset, PathRules.of(get_settings()))
        with self.database.reading() as session:
            saes = SaeService(session)
            sae = saes.get_ready(sae_id)
            saes.require_idle(sae)
            model = model_for(session, sae, request.model_id)
            training = session.get(Training, sae.training_id) if sae.training_id else None
        if request.dtype != "auto" and model.quantization is not Quantization.NONE:
            raise wrong_field("dtype", f"A model in {model.quantization} is read as it is stored.", "Use auto.")
        payload = SaeTextPayload(
            path=str(text.path),
            column=text.column,
            tokens=request.tokens,
            model_row_id=model.id,
            hook_point=place_of(self.database, sae, model),
            held_out=kind is JobKind.EVALUATE_SAE and training is not None and _is_trained_on(training, text),
            dtype=request.dtype,
            device=request.device,
        )
        if isinstance(request, SaeFeaturesBuild):
            payload = payload.model_copy(update={"top": request.top, "final_norm": self._final_norm(model)})
        with self.database.session() as session:
            saes = SaeService(session)
            row = ModelService(session).get_by_id(model.id)
            saes.start_work(saes.get_ready(sae_id), kind, payload, model=row)

    def _run(
        self,
        job: Job,
        payload: SaeTextPayload,
        reporter: JobReporter,
        kind: Literal["evaluate", "features"],
        doing: str,
    ) -> tuple[Sae, Model, dict[str, Any]]:
        raise_if_stopped(reporter)
        sae, model, work = self._work(job, payload, kind)
        phase = "evaluating" if kind == "evaluate" else "reading_features"
        return sae, model, run_in_child(_CHILD, asdict(work), reporter, phase=phase, doing=f"{sae.name} was {doing}")

    def _work(
        self, job: Job, payload: SaeTextPayload, kind: Literal["evaluate", "features"]
    ) -> tuple[Sae, Model, "SaeWork"]:
        from modelyard.ml.sae.sae_work import SaeWork

        with self.database.reading() as session:
            sae = SaeService(session).get_ready(job.subject_id)
            model = ModelService(session).get_by_id(payload.model_row_id)
            rules = SettingsService(session).path_rules()
        as_trained = sae.dtype if model.quantization is Quantization.NONE else None
        work = SaeWork(
            kind=kind,
            folder=str(own_folder(sae.id)),
            sae_folder=str(sae_folder(sae)),
            weights_folder=str(weights_folder(model)),
            model_id=model.model_id,
            allow_pickle=model.allow_pickle,
            dtype=(as_trained or "auto") if payload.dtype == "auto" else payload.dtype,
            hook_point=payload.hook_point,
            dataset_path=payload.path,
            dataset_column=payload.column,
            path_rules=rules.stored(),
            held_out=payload.held_out,
            tokens=payload.tokens,
            device=payload.device,
            top=payload.top,
            final_norm=payload.final_norm,
        )
        return sae, model, work

    def _final_norm(self, model: Model) -> str | None:
        """Return the model's final norm where it is known; features are compared with tokens without it too."""
        try:
            return ArchitectureService(self.database).of_row(model.id).final_norm
        except ModelyardError:
            return None


def _is_trained_on(training: Training, text: Text) -> bool:
    """Return whether a run was trained on the other rows of this text."""
    dataset: dict[str, Any] = training.config["dataset"]
    return Path(present_path(dataset["path"])) == text.path and dataset["column"] == text.column
