"""Whether a model can be trained on, found in three steps: its configuration, its structure, its loaded weights.

What could not be verified is not called incompatible; the run itself checks it in its first seconds.
"""

from typing import Any, Literal

from modelyard.core.database import Database
from modelyard.core.errors import ModelyardError
from modelyard.hub.client import HubFile
from modelyard.models import Model, ModelStatus
from modelyard.schemas.model import Architecture, Dimensions, HookPoint, Reason
from modelyard.schemas.training import TrainingCompatibility
from modelyard.services.architecture_service import local_config
from modelyard.services.config_facts import read_config
from modelyard.services.file_plan import plan_files
from modelyard.services.inspection_service import PASSING, InspectionFailed, InspectionService, library_versions
from modelyard.services.model_service import ModelService

INSPECTION_SECONDS = 60.0

_NEVER = {
    "encoder_only": "This is an encoder: it reads text in both directions and is no language model,"
    " so there is no causal residual stream to train on.",
    "encoder_decoder": "This is an encoder-decoder model: it needs two inputs, and training feeds only one text."
    " Choose a decoder-only model.",
}
_FATAL = {"gguf_only", "no_weights", "no_config", "not_a_language_model", "peft_adapter", "needs_custom_code"}


class TrainingCompatibilityService:
    """Answers for one model; only `structural` may wait for the inspector, once per commit."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.inspections = InspectionService(database)

    def of_row(self, row_id: str, level: Literal["static", "structural"] = "structural") -> TrainingCompatibility:
        """Raises ModelNotFound."""
        with self.database.reading() as session:
            row = ModelService(session).get_by_id(row_id)
        static = _static(row)
        if static.compatible is False or level == "static":
            return static
        structural = self._structural(row, static)
        return structural if structural.compatible is False else self._live(row, structural)

    def remember_live(self, row: Model, hook_point: str, problem: dict[str, Any] | None) -> None:
        """Keep what the first seconds of a run found: nothing wrong, or the error."""
        answer = {"hook_point": hook_point, "problem": problem}
        self.inspections.remember(row.model_id, row.commit, _live_question(row), answer)

    def _structural(self, row: Model, static: TrainingCompatibility) -> TrainingCompatibility:
        try:
            answer = self.inspections.ask(
                "architecture", row.model_id, row.commit, local_config(row), seconds=INSPECTION_SECONDS
            )
        except InspectionFailed as failure:
            passing = failure.reason_code in PASSING
            reason = Reason(code="not_inspected" if passing else failure.reason_code, message=failure.message)
            return static.model_copy(update={"compatible": None if passing else False, "reasons": [reason]})
        found = Architecture(model_id=row.model_id, commit=row.commit, **answer)
        for flag, message in _NEVER.items():
            if flag in found.flags:
                return TrainingCompatibility(
                    compatible=False,
                    level="structural",
                    reasons=[Reason(code=flag, message=message)],
                    dimensions=found.dimensions,
                    hook_points=[],
                )
        points = [point for point in found.hook_points if _is_stream(point)]
        reasons = list(static.reasons)
        verdict: bool | None = True
        if not points:
            verdict = False
            reasons.append(
                Reason(code="no_hook_points", message="No place in this model puts out one vector per token.")
            )
        elif not found.verified:
            verdict = None
            reasons.append(Reason(code="unverified", message=found.reason or "The hook points could not be verified."))
        return TrainingCompatibility(
            compatible=verdict, level="structural", reasons=reasons, dimensions=found.dimensions, hook_points=points
        )

    def _live(self, row: Model, structural: TrainingCompatibility) -> TrainingCompatibility:
        """A run has loaded this very model before: what it saw counts more."""
        seen = self.inspections.recall(row.model_id, row.commit, _live_question(row))
        if seen is None:
            return structural
        problem = seen["problem"]
        if problem is None:
            return structural.model_copy(update={"compatible": True, "level": "live", "reasons": []})
        reason = Reason(code=problem["code"], message=f"{seen['hook_point']}: {problem['message']}")
        # One place that failed does not condemn the others.
        return structural.model_copy(
            update={"compatible": None, "level": "live", "reasons": [*structural.reasons, reason]}
        )


def _static(row: Model) -> TrainingCompatibility:
    """From the row, the configuration and the names of the files: at once."""
    from modelyard.ml.support import static_support

    answer = TrainingCompatibility(
        compatible=True,
        level="static",
        reasons=[],
        dimensions=Dimensions(**{name: getattr(row, name) for name in Dimensions.model_fields}),
        hook_points=[],
    )

    def no(code: str, message: str) -> TrainingCompatibility:
        return answer.model_copy(update={"compatible": False, "reasons": [Reason(code=code, message=message)]})

    if row.status is not ModelStatus.READY:
        return no("not_ready", f"{row.model_id} is {row.status}; only models that are ready can be trained on.")
    names = [file["path"] for file in row.files or ()]
    try:
        config = local_config(row)
    except ModelyardError as error:
        return no(error.code, error.message)
    for reason in static_support(config, names).reasons:
        if reason.code in _NEVER:
            return no(reason.code, _NEVER[reason.code])
        if reason.code in _FATAL:
            return no(reason.code, reason.message)
    if names and not plan_files([HubFile(name, None, None, None) for name in names]).has_tokenizer:
        return no("no_tokenizer", f"{row.model_id} has no tokenizer, so texts cannot be fed to it.")
    facts = read_config(config).dimensions
    if facts["hidden_size"] is None or facts["num_layers"] is None:
        message = "config.json does not say how wide and how deep the model is; the inspector may find out."
        return answer.model_copy(
            update={"compatible": None, "reasons": [Reason(code="unknown_dimensions", message=message)]}
        )
    return answer


def _is_stream(point: HookPoint) -> bool:
    return len(point.shape) == 3 and point.shape[:2] == ["batch", "seq"] and point.shape[2] == point.width


def _live_question(row: Model) -> str:
    return f"training_live quantization={row.quantization.value} {library_versions()}"
