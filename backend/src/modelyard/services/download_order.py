"""What a request for a download fetches and the rows that it makes: a model, or an adapter and its base."""

from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from modelyard.core.database import Database, utc_now
from modelyard.core.errors import InvalidRequest
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.hub.client import HubClient
from modelyard.hub.model_info import HubModel
from modelyard.hub.names import validate_files
from modelyard.models import Model
from modelyard.schemas.download import ModelDownloadRequest
from modelyard.schemas.model import ModelCreate
from modelyard.services.adapter_base import AdapterBases
from modelyard.services.adapters import note_adapter
from modelyard.services.facts.adapter_facts import adapter_facts
from modelyard.services.gguf_download import Wanted, wanted_gguf
from modelyard.services.inspection.hub_repository import HubRepository, remote_files
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
        wanted = self._wanted(repository, request)
        if wanted.adapter is None:
            return [Order(repository, wanted, request, revision)]
        name = repository.model.model_id
        if request.quantization != "none" and not request.with_base:
            raise InvalidRequest(
                f"{name} is an adapter, which is kept as it is.",
                hint="Choose a precision for its base: quantize that, or download both (with_base).",
            )
        base, facts = self._bases.to_fetch(name, wanted.adapter, with_base=request.with_base)
        own = request.model_copy(update={"quantization": "none", "keep_original": True, "allow_pickle": False})
        order = Order(repository, replace(wanted, adapter=facts), own, revision)
        if base is None:
            return [order]
        base.require_access()
        return [Order(base, self._wanted(base, request), request, facts.base_revision), order]

    def require_loadable(self, order: Order) -> None:
        """Raise UnsupportedArchitecture or NoWeights for a model that no load would open, unless that is allowed."""
        is_plain = order.request.gguf_file is None and order.wanted.adapter is None
        if is_plain and not order.request.allow_unsupported:
            plan = order.repository.plan(allow_pickle=order.request.allow_pickle)
            require_loadable(order.repository, plan, self._inspections)

    def _wanted(self, repository: HubRepository, request: ModelDownloadRequest) -> Wanted:
        model = repository.model
        plan = repository.plan(allow_pickle=request.allow_pickle)
        plan.require_weights(model.model_id, allow_pickle=request.allow_pickle)
        files = remote_files(plan)
        validate_files(files)
        if plan.is_adapter:
            adapter = repository.adapter(plan)
            return Wanted(model.commit, files, adapter.weights.num_parameters, adapter=adapter_facts(adapter))
        config = repository.config() or {}
        repository.require_scaled(plan, config)
        described = self._inspections.described(model.model_id, model.commit)
        return Wanted(model.commit, files, repository.count(plan, config, described, model.num_parameters))


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
