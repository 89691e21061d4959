"""Whether a model can be trained on, found in three steps: its configuration, its structure, its loaded weights.

What could not be verified is not called incompatible; the run itself checks it in its first seconds.
"""

from typing import TYPE_CHECKING, Any, Literal

from modelyard.core.database import Database
from modelyard.core.errors import ModelyardError
from modelyard.models import Model, ModelKind, ModelStatus
from modelyard.schemas.architecture import Architecture, Dimensions, HookPoint
from modelyard.schemas.common import Reason
from modelyard.schemas.training import TrainingCompatibility
from modelyard.services.architecture_service import local_config
from modelyard.services.facts.training_verdict import NEVER, static_verdict, verdict
from modelyard.services.inspection.inspection_service import (
    InspectionFailed,
    InspectionService,
    library_versions,
)
from modelyard.services.model_service import ModelService

if TYPE_CHECKING:
    from modelyard.ml.inspect import architecture as ml

INSPECTION_SECONDS = 60.0


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
            reason = Reason(code="not_inspected" if failure.passing else failure.reason_code, message=failure.message)
            compatible = False if failure.is_about_the_model else None
            return static.model_copy(update={"compatible": compatible, "reasons": [reason]})
        found = Architecture(model_id=row.model_id, commit=row.commit, **answer)
        for flag, message in NEVER.items():
            if flag in found.flags:
                return TrainingCompatibility(
                    compatible=False,
                    level="structural",
                    reasons=[Reason(code=flag, message=message)],
                    dimensions=found.dimensions,
                    hook_points=[],
                )
        points = [point for point in found.hook_points if is_stream(point)]
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
    """From what is here, without the inspector."""
    if row.status is not ModelStatus.READY:
        message = f"{row.model_id} is {row.status}; only models that are ready can be trained on."
        found = verdict(False, "not_ready", message)
    elif row.kind is ModelKind.ADAPTER:
        found = static_verdict(row.model_id, None, [file["path"] for file in row.files or ()])
    else:
        try:
            found = static_verdict(row.model_id, local_config(row), [file["path"] for file in row.files or ()])
        except ModelyardError as error:
            found = verdict(False, error.code, error.message)
    return TrainingCompatibility(
        compatible=found.compatible,
        level="static",
        reasons=found.reasons,
        dimensions=Dimensions(**{name: getattr(row, name) for name in Dimensions.model_fields}),
        hook_points=[],
    )


def is_stream(point: "HookPoint | ml.HookPoint") -> bool:
    """Return whether a place puts out one vector per token."""
    return len(point.shape) == 3 and list(point.shape[:2]) == ["batch", "seq"] and point.shape[2] == point.width


def _live_question(row: Model) -> str:
    return f"training_live quantization={row.quantization.value} {library_versions()}"
