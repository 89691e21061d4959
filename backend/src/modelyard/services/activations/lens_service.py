"""The logit lens: which modules it reads, from the architecture."""

from modelyard.core.errors import UnsupportedArchitecture
from modelyard.models import JobKind
from modelyard.schemas.logit_lens import LogitLensRequest
from modelyard.services.architecture_service import ArchitectureService
from modelyard.services.inference.inference_service import InferenceService, require_language_head
from modelyard.services.jobs.payloads import LensPayload


class LensService:
    """The API's side; the model is run in `workers.activation_tasks`."""

    def __init__(self, inference: InferenceService) -> None:
        self.inference = inference

    def start(self, row_id: str, request: LogitLensRequest) -> str:
        """Queue the reading of a prompt layer by layer. Returns the job's id.

        Raises ModelNotFound, NotReady, BaseMissing, and UnsupportedArchitecture for a model whose layers are not known.
        """
        served = self.inference.served(row_id)
        require_language_head(served.row)
        architecture = ArchitectureService(self.inference.database).of_row(served.row.id)
        layers = [point.path for point in architecture.hook_points if point.kind == "residual" and point.verified]
        if not layers or architecture.final_norm is None:
            raise UnsupportedArchitecture(
                f"The layers of {served.row.model_id} are not known well enough for the logit lens.",
                hint=architecture.reason,
            )
        payload = LensPayload(
            text=request.prompt,
            top=request.top,
            layers=layers,
            final_norm=architecture.final_norm,
            adapter=served.adapter_id,
            load=self.inference.any_load(served.row),
        )
        return self.inference.enqueue(JobKind.LENS, served.row, payload)
