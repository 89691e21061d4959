"""What the features of an SAE stand for: the pages of its file, and which are active in a text."""

from modelyard.core.database import Database
from modelyard.core.errors import NotReady
from modelyard.core.extras import Extra, require
from modelyard.ml.sae.feature_file import NAME, FeatureFile
from modelyard.models import JobKind
from modelyard.schemas.sae_feature import (
    MAX_TEXT_TOKENS,
    SaeFeature,
    SaeFeatureItem,
    SaeFeaturePage,
    SaeFeaturesForText,
    SaeFeatureSort,
    SaeTextFeatures,
)
from modelyard.services.inference.inference_service import InferenceService
from modelyard.services.jobs.payloads import ActivationsPayload, FeaturesOfText
from modelyard.services.saes.placing import model_for, place_of
from modelyard.services.saes.sae_folder import own_folder
from modelyard.services.saes.sae_service import SaeService

POINT = "sae"
"""What the only hook point of a request for features is called."""


class SaeFeatures:
    """The API's side; texts are read in `workers.activation_tasks`."""

    def __init__(self, inference: InferenceService) -> None:
        self.inference = inference
        self.database: Database = inference.database

    def page(self, sae_id: str, *, sort: SaeFeatureSort, limit: int, offset: int) -> SaeFeaturePage:
        """Return some of the features. Raises SaeNotFound, NotReady where they were not looked for."""
        items, total = self._file(sae_id).page(sort=sort, limit=limit, offset=offset)
        return SaeFeaturePage(items=[SaeFeatureItem(**item) for item in items], total=total, limit=limit, offset=offset)

    def feature(self, sae_id: str, index: int) -> SaeFeature:
        """Return one feature. Raises SaeNotFound, NotReady, InvalidRequest for one that there is not."""
        return SaeFeature(**self._file(sae_id).feature(index))

    def start_for_text(self, sae_id: str, request: SaeFeaturesForText) -> tuple[str, str]:
        """Queue the reading of a text. Returns the job's id, and the model's.

        Raises SaeNotFound, SaeEngineMissing, NotReady, InvalidRequest, TrainingIncompatible.
        """
        require(Extra.SAE)
        with self.database.reading() as session:
            sae = SaeService(session).get_ready(sae_id)
            model = model_for(session, sae, request.model_id)
        served = self.inference.served(model.id)
        payload = ActivationsPayload(
            hook_points={POINT: place_of(self.database, sae, model)},
            texts=[request.text],
            max_tokens=MAX_TEXT_TOKENS,
            sae_features=FeaturesOfText(sae_id=sae.id, top=request.top),
            load=self.inference.any_load(served.row),
        )
        return self.inference.enqueue(JobKind.ACTIVATIONS, served.row, payload), model.id

    def of_text(self, sae_id: str, model_id: str, found: dict[str, object]) -> SaeTextFeatures:
        """Return the answer, with the densities of the feature pages where there are some."""
        answer = SaeTextFeatures.model_validate({**found, "model_id": model_id})
        known = FeatureFile(own_folder(sae_id) / NAME).densities([feature.index for feature in answer.features])
        for feature in answer.features:
            feature.density = known.get(feature.index)
        return answer

    def _file(self, sae_id: str) -> FeatureFile:
        with self.database.reading() as session:
            sae = SaeService(session).get_by_id(sae_id)
        file = FeatureFile(own_folder(sae.id) / NAME)
        if sae.features is None or not file.path.is_file():
            raise NotReady(
                f"The features of {sae.name} were not looked for yet.",
                hint=f"Build them: modelyard saes features build {sae.id[:8]} --dataset FILE.",
            )
        return file
