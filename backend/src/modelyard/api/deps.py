"""Dependencies of endpoints."""

from collections.abc import Callable, Iterator
from typing import Annotated, TypeVar

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from modelyard.core.database import Database
from modelyard.schemas.model import ModelResponse
from modelyard.schemas.sae import SaeResponse
from modelyard.services.activations.activation_service import ActivationService
from modelyard.services.activations.lens_service import LensService
from modelyard.services.architecture_service import ArchitectureService
from modelyard.services.bundles.export_service import BundleExportService
from modelyard.services.bundles.import_service import BundleImportService
from modelyard.services.compare_service import CompareService
from modelyard.services.hub_datasets import HubDatasetService
from modelyard.services.hub_search import HubSearchService
from modelyard.services.huggingface_model_service import HuggingFaceModelService
from modelyard.services.inference.inference_service import InferenceService
from modelyard.services.local_model_service import LocalModelService
from modelyard.services.merge_service import MergeService
from modelyard.services.model_response import ModelResponses
from modelyard.services.openai.openai_service import OpenAIService
from modelyard.services.quantization_service import QuantizationService
from modelyard.services.saes.arrivals import SaeArrivals
from modelyard.services.saes.features import SaeFeatures
from modelyard.services.saes.judging import SaeJudging
from modelyard.services.saes.sae_response import SaeResponses
from modelyard.services.training.compatibility import TrainingCompatibilityService
from modelyard.services.training.run_service import TrainingRunService
from modelyard.services.update_service import UpdateService
from modelyard.services.version_service import VersionService


def get_database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


DatabaseDep = Annotated[Database, Depends(get_database)]


def _session(database: DatabaseDep) -> Iterator[Session]:
    with database.session() as session:
        yield session


def _reading(database: DatabaseDep) -> Iterator[Session]:
    with database.reading() as session:
        yield session


Service = TypeVar("Service")


async def _inference(request: Request) -> InferenceService:
    """Return the one of this process, which looks at all jobs that are waited for together."""
    inference: InferenceService = request.app.state.inference
    return inference


async def _comparisons(request: Request) -> CompareService:
    return CompareService(await _inference(request))


async def _activations(request: Request) -> ActivationService:
    return ActivationService(await _inference(request))


async def _sae_features(request: Request) -> SaeFeatures:
    return SaeFeatures(await _inference(request))


async def _lenses(request: Request) -> LensService:
    return LensService(await _inference(request))


def _service(kind: Callable[[Database], Service]) -> Callable[[Database], Service]:
    """Return a dependency that creates a service which owns its transactions.

    Endpoints create services that join a transaction themselves, from SessionDep or ReadingDep.
    """

    def service(database: DatabaseDep) -> Service:
        return kind(database)

    return service


def _row_answer(database: DatabaseDep) -> Callable[[str], ModelResponse]:
    def answer(row_id: str) -> ModelResponse:
        with database.reading() as session:
            facts = ModelResponses(session).of_id(row_id)
        return facts.response()

    return answer


def _sae_answer(database: DatabaseDep) -> Callable[[str], SaeResponse]:
    def answer(sae_id: str) -> SaeResponse:
        with database.reading() as session:
            row = SaeResponses(session).of_id(sae_id)
        return row.response()

    return answer


# scope="function": the transaction is committed before the answer is sent, so what an answer says is already true.
SessionDep = Annotated[Session, Depends(_session, scope="function")]
ReadingDep = Annotated[Session, Depends(_reading, scope="function")]
BundleExportsDep = Annotated[BundleExportService, Depends(_service(BundleExportService))]
BundleImportsDep = Annotated[BundleImportService, Depends(_service(BundleImportService))]
LocalModelsDep = Annotated[LocalModelService, Depends(_service(LocalModelService))]
ArchitecturesDep = Annotated[ArchitectureService, Depends(_service(ArchitectureService))]
InferenceDep = Annotated[InferenceService, Depends(_inference)]
ActivationsDep = Annotated[ActivationService, Depends(_activations)]
LensesDep = Annotated[LensService, Depends(_lenses)]
ComparisonsDep = Annotated[CompareService, Depends(_comparisons)]
OpenAIDep = Annotated[OpenAIService, Depends(_service(OpenAIService))]
MergesDep = Annotated[MergeService, Depends(_service(MergeService))]
QuantizationsDep = Annotated[QuantizationService, Depends(_service(QuantizationService))]
HubSearchDep = Annotated[HubSearchService, Depends(_service(HubSearchService))]
HubDatasetsDep = Annotated[HubDatasetService, Depends(_service(HubDatasetService))]
HubModelsDep = Annotated[HuggingFaceModelService, Depends(_service(HuggingFaceModelService))]
TrainingRunsDep = Annotated[TrainingRunService, Depends(_service(TrainingRunService))]
TrainingCompatibilityDep = Annotated[TrainingCompatibilityService, Depends(_service(TrainingCompatibilityService))]
SaeArrivalsDep = Annotated[SaeArrivals, Depends(_service(SaeArrivals))]
SaeJudgingDep = Annotated[SaeJudging, Depends(_service(SaeJudging))]
SaeFeaturesDep = Annotated[SaeFeatures, Depends(_sae_features)]
SaeAnswerDep = Annotated[Callable[[str], SaeResponse], Depends(_sae_answer)]
UpdatesDep = Annotated[UpdateService, Depends(_service(UpdateService))]
VersionsDep = Annotated[VersionService, Depends(_service(VersionService))]
RowAnswerDep = Annotated[Callable[[str], ModelResponse], Depends(_row_answer)]
"""The answer for a row as it is after a service has done its part in transactions of its own."""
