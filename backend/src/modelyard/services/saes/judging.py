"""Work on an SAE that needs its model and a text: judging it. `start` is the API's side, `run` a worker's."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.core.database import Database, utc_now
from modelyard.core.errors import InvalidRequest, NotReady
from modelyard.core.extras import Extra, require
from modelyard.core.paths import PathRules
from modelyard.core.settings import get_settings
from modelyard.models import Job, JobKind, Model, Quantization, Sae, Training
from modelyard.schemas.sae import SaeEvaluate, SaeEvaluation
from modelyard.schemas.training import DatasetChoice
from modelyard.services.jobs.child_work import run_in_child
from modelyard.services.jobs.control import JobReporter, raise_if_stopped
from modelyard.services.jobs.payloads import SaeTextPayload
from modelyard.services.model_service import ModelService
from modelyard.services.quantization_service import weights_folder
from modelyard.services.saes.matching import SaeMatching
from modelyard.services.saes.sae_folder import own_folder, sae_folder
from modelyard.services.saes.sae_service import SaeService
from modelyard.services.settings_service import SettingsService
from modelyard.services.training.compatibility import TrainingCompatibilityService
from modelyard.services.training.paths import present_path
from modelyard.services.training.text import Text, find_text, wrong_field

if TYPE_CHECKING:
    from modelyard.ml.sae.sae_work import SaeWork

_TRANSFORMER_LENS = re.compile(r"blocks\.(\d+)\.hook_(resid_pre|resid_post|mlp_out|attn_out)")
_KINDS = {"resid_pre": "residual", "resid_post": "residual", "mlp_out": "mlp", "attn_out": "attention"}
_CHILD = "modelyard.workers.processes.sae_child"


class SaeJudging:
    """Queues and does the work."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.compatibility = TrainingCompatibilityService(database)

    def start(self, sae_id: str, request: SaeEvaluate) -> None:
        """Queue an evaluation.

        Raises SaeNotFound, SaeEngineMissing, InvalidRequest, PathNotAllowed, NotReady where no model that it fits is
        here, TrainingIncompatible, and Conflict while there is work on it.
        """
        require(Extra.SAE)
        text = find_text(request.dataset, PathRules.of(get_settings()))
        with self.database.reading() as session:
            saes = SaeService(session)
            sae = saes.get_ready(sae_id)
            saes.require_idle(sae)
            model = _model(sae, SaeMatching(session).of_all([sae])[0].row_ids, ModelService(session), request.model_id)
            training = session.get(Training, sae.training_id) if sae.training_id else None
        if request.dtype != "auto" and model.quantization is not Quantization.NONE:
            raise wrong_field("dtype", f"A model in {model.quantization} is read as it is stored.", "Use auto.")
        payload = SaeTextPayload(
            path=str(text.path),
            column=text.column,
            tokens=request.tokens,
            model_row_id=model.id,
            hook_point=self._hook_point(sae, model),
            held_out=training is not None and _is_trained_on(training, text),
            dtype=request.dtype,
            device=request.device,
        )
        with self.database.session() as session:
            saes = SaeService(session)
            row = ModelService(session).get_by_id(model.id)
            saes.start_work(saes.get_ready(sae_id), JobKind.EVALUATE_SAE, payload, model=row)

    def evaluate(self, job: Job, reporter: JobReporter) -> None:
        """Judge an SAE in a child process. Raises JobPaused, JobCancelled, and what the child raises."""
        raise_if_stopped(reporter)
        payload = SaeTextPayload.of(job)
        sae, model, work = self._work(job, payload)
        found = run_in_child(_CHILD, asdict(work), reporter, phase="evaluating", doing=f"{sae.name} was evaluated")
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

    def _work(self, job: Job, payload: SaeTextPayload) -> tuple[Sae, Model, "SaeWork"]:
        from modelyard.ml.sae.sae_work import SaeWork

        with self.database.reading() as session:
            sae = SaeService(session).get_ready(job.subject_id)
            model = ModelService(session).get_by_id(payload.model_row_id)
            rules = SettingsService(session).path_rules()
        as_trained = sae.dtype if model.quantization is Quantization.NONE else None
        work = SaeWork(
            kind="evaluate",
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
        )
        return sae, model, work

    def _hook_point(self, sae: Sae, model: Model) -> str:
        """Return the path of the place an SAE reads. Raises TrainingIncompatible, InvalidRequest."""
        from modelyard.services.training.plan import hook_point

        verdict = self.compatibility.of_row(model.id)
        named = sae.hook_point or ""
        if (found := _TRANSFORMER_LENS.fullmatch(named)) is not None:
            layer, place = int(found[1]), found[2]
            # What goes into a block is what comes out of the one before.
            layer -= place == "resid_pre"
            for point in verdict.hook_points:
                if (point.layer, point.kind) == (layer, _KINDS[place]):
                    named = point.path
        point = hook_point(verdict, named)
        if point.width != sae.d_in:
            raise InvalidRequest(
                f"{point.path} of {model.model_id} puts out {point.width} values per token, and {sae.name} reads"
                f" {sae.d_in}.",
                hint="Use the model that it was trained on.",
            )
        return point.path


def _model(sae: Sae, fitting: list[str], models: ModelService, wanted: str | None) -> Model:
    """Choose the row to read with: the one asked for, or the one most like what the SAE was trained on."""
    if not fitting:
        name = sae.model_id or "The model that it was trained on"
        raise NotReady(
            f"{name} is not installed, and {sae.name} fits no other model.",
            hint=f"Fetch it: modelyard pull {sae.model_id}." if sae.model_id else "Import it with its metadata.",
        )
    if wanted is not None:
        if wanted not in fitting:
            raise wrong_field("model_id", "The sparse autoencoder does not fit this model.", "Leave model_id out.")
        return models.get_by_id(wanted)
    rows = [models.get_by_id(row_id) for row_id in fitting]
    return max(rows, key=lambda row: (row.commit == sae.commit, row.quantization.value == (sae.quantization or "none")))


def _is_trained_on(training: Training, text: Text) -> bool:
    """Return whether a run was trained on the other rows of this text."""
    dataset: dict[str, Any] = training.config["dataset"]
    return Path(present_path(dataset["path"])) == text.path and dataset["column"] == text.column
