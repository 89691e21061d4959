"""What a request for a download fetches and the rows that it makes: a model, or an adapter and its base."""

from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from modelyard.core.database import Database, utc_now
from modelyard.core.errors import InvalidRequest
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.hub.client import HubClient
from modelyard.hub.model_info import HubModel
from modelyard.models import Model
from modelyard.schemas.download import ModelDownloadRequest
from modelyard.schemas.model import ModelCreate
from modelyard.services.adapter_base import AdapterBases
from modelyard.services.adapters import note_adapter
from modelyard.services.facts.adapter_facts import adapter_facts
from modelyard.services.facts.file_plan import FilePlan
from modelyard.services.gguf_download import Wanted, wanted_gguf
from modelyard.services.inspection.hub_repository import HubRepository
from modelyard.services.inspection.inspection_service import InspectionService
from modelyard.services.inspection.model_preview import require_loadable
from modelyard.services.model_service import ModelService


@dataclass(frozen=True)
class Order:
    """A row that a request makes, and what is fetched for it."""

    repository: HubRepository
    wanted: Wanted
    request: ModelDownloadRequest
    revision: str | None
    plan: FilePlan | None = None
    """Of a model that a load has to open as it is; None for adapters and GGUF files."""
    is_latest: bool = True
    """It is of the commit that `revision` is at."""

    @property
    def model(self) -> HubModel:
        return self.repository.model


class DownloadOrders:
    """Asks a Hub what is to be fetched. No database transaction is open meanwhile."""

    def __init__(self, database: Database, client: HubClient, cache: HubCache) -> None:
        self._bases = AdapterBases(database, client, cache)
        self._inspections = InspectionService(database)

    def of(self, repository: HubRepository, request: ModelDownloadRequest, revision: str | None) -> list[Order]:
        """Return the order of a model; of an adapter also that of its base, which comes first, unless it is here.

        Raises InvalidRequest, NoWeights, UnsafeWeights, UnsupportedAdapter, BaseMissing, HubError.
        """
        if request.gguf_file is not None:
            return [Order(repository, wanted_gguf(repository, request.gguf_file), request, revision)]
        order = self._order(repository, request, revision)
        if order.wanted.adapter is None:
            return [order]
        name = repository.model.model_id
        if request.quantization != "none" and not request.with_base:
            raise InvalidRequest(
                f"{name} is an adapter, which is kept as it is.",
                hint="Choose a precision for its base: quantize that, or download both (with_base).",
            )
        base, facts = self._bases.to_fetch(name, order.wanted.adapter, with_base=request.with_base)
        own = request.model_copy(update={"quantization": "none", "keep_original": True, "allow_pickle": False})
        order = replace(order, wanted=replace(order.wanted, adapter=facts), request=own)
        if base is None:
            return [order]
        base.require_access()
        return [self._order(base, request, facts.base_revision), order]

    def require_loadable(self, order: Order) -> None:
        """Raise UnsupportedArchitecture or NoWeights for a model that no load would open, unless that is allowed."""
        if order.plan is not None and not order.request.allow_unsupported:
            require_loadable(order.repository, order.plan, self._inspections)

    def _order(self, repository: HubRepository, request: ModelDownloadRequest, revision: str | None) -> Order:
        model = repository.model
        plan, files = repository.to_fetch(allow_pickle=request.allow_pickle)
        if plan.is_adapter:
            adapter = repository.adapter(plan)
            wanted = Wanted(model.commit, files, adapter.weights.num_parameters, adapter=adapter_facts(adapter))
            return Order(repository, wanted, request, revision)
        wanted = Wanted(model.commit, files, repository.num_parameters(plan, model.num_parameters))
        return Order(repository, wanted, request, revision, plan)


def add_row(session: Session, cache: HubCache, hub: str, order: Order) -> Model:
    """Add the row of an order, and queue its download. Raises AlreadyExists, Conflict."""
    model, wanted, request = order.model, order.wanted, order.request
    models = ModelService(session, cache)
    row = models.create(
        ModelCreate(
            model_id=model.model_id,
            canonical_id=model.canonical_id,
            endpoint=hub,
            revision=order.revision or "main",
            commit=wanted.commit,
            quantization=request.quantization,
            keep_original=request.keep_original,
            allow_pickle=request.allow_pickle,
            gated=model.gated,
            private=model.private,
        )
    )
    row.size_bytes = sum(file.size_bytes for file in wanted.files)
    row.num_parameters = wanted.num_parameters
    row.converted_from = wanted.converted_from
    row.licence = model.licence
    if order.is_latest:
        row.latest_commit, row.checked_at = model.commit, utc_now()
    if wanted.adapter is not None:
        note_adapter(session, row, wanted.adapter)
    models.start_download(row)
    return row
