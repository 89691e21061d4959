"""Models on a Hub: what they are, what they need, and how their files get here."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from modelyard.core.database import Database
from modelyard.core.errors import UnsupportedArchitecture
from modelyard.core.model_ids import parse_model_reference
from modelyard.core.queues import Queue
from modelyard.core.storage import DISK_RESERVE_BYTES
from modelyard.hub.client import HubClient
from modelyard.hub.deadlines import within
from modelyard.hub.model_info import HubModel
from modelyard.hub.names import RemoteFile
from modelyard.models import Model
from modelyard.schemas.download import ModelDownloadRequest, ModelInfo
from modelyard.schemas.memory import EstimateParts, MemoryEstimate
from modelyard.schemas.text_file import ModelCard
from modelyard.services import system_service
from modelyard.services.adapter_base import AdapterBases
from modelyard.services.download_order import DownloadOrders, Order, add_row
from modelyard.services.facts.adapter_facts import adapter_facts, store_adapter_facts
from modelyard.services.facts.file_plan import FilePlan
from modelyard.services.facts.folder_content import require_checkpoint
from modelyard.services.facts.model_facts import store_facts
from modelyard.services.gguf_conversion import require_gguf
from modelyard.services.gguf_download import Wanted, convert_fetched, store_wanted, wanted_gguf
from modelyard.services.inspection.checkpoint import AdapterInMemory, Checkpoint
from modelyard.services.inspection.hub_repository import HubRepository
from modelyard.services.inspection.inspection_service import InspectionService
from modelyard.services.inspection.memory_service import EXACT_SECONDS, MemoryService
from modelyard.services.inspection.model_preview import SUPPORT_SECONDS, preview
from modelyard.services.jobs.able_workers import require_able_worker
from modelyard.services.jobs.control import JobProgress, JobReporter
from modelyard.services.label_service import LabelService
from modelyard.services.model_files import bytes_to_fetch, hub_cache, new_manifest
from modelyard.services.model_service import ModelService
from modelyard.services.repository_text import CARD, files_page, make_card
from modelyard.services.settings_service import SettingsService
from modelyard.services.snapshot_transfer import SnapshotTransfer, patiently

RESOLVE_SECONDS = 600.0
"""Of one attempt to hear what a download consists of, the headers of all its weight files included."""


class HuggingFaceModelService:
    """Everything that involves a Hub. No database transaction is open while a Hub is asked."""

    def __init__(self, database: Database, *, inspection_seconds: float | None = None) -> None:
        """`inspection_seconds`: how long answers wait for the inspector; None: as long as somebody at a page does."""
        self.database = database
        self.cache = hub_cache()
        self.inspections = InspectionService(database)
        self._support_seconds = inspection_seconds or SUPPORT_SECONDS
        self._exact_seconds = inspection_seconds or EXACT_SECONDS

    def client(self, reference: str | None = None) -> HubClient:
        """Return a client for the Hub in use, or for the one a row remembers."""
        with self.database.reading() as session:
            return SettingsService(session).hub_client(reference)

    def get_model_info(self, text: str, revision: str | None = None) -> ModelInfo:
        """Return what a model is and which of its files would be fetched. Raises InvalidRequest, HubError."""
        client = self.client()
        reference = parse_model_reference(text, endpoint=client.endpoint)
        with client.within_patience():
            repository = self._repository(client, reference.model_id, revision or reference.revision)
            access = client.access(repository.model)
            info = preview(repository, access, self.inspections, self.cache, seconds=self._support_seconds)
            if info.adapter is not None:
                info.adapter.base = AdapterBases(self.database, client, self.cache).preview(info.adapter)
            return info

    def card(self, text: str, revision: str | None = None) -> ModelCard:
        """Return the model card of a repository, empty where it has none. Raises InvalidRequest, HubError."""
        client = self.client()
        reference = parse_model_reference(text, endpoint=client.endpoint)
        with client.within_patience():
            model = client.model_info(reference.model_id, revision or reference.revision)
            listed = any(file.path == CARD for file in model.files)
            content = client.read_small_file(model.model_id, model.commit, CARD) if listed else None
        return make_card(content or b"", files_page(client.endpoint, model.canonical_id, model.commit))

    def start_download(self, request: ModelDownloadRequest) -> str:
        """Check that a download can become a ready model, then queue it. Returns the row's id.

        Raises InvalidRequest, AlreadyExists, NoWeights, UnsafeWeights, UnsupportedAdapter, BaseMissing, DiskFull,
        UnsupportedArchitecture, GatedNoToken, GatedNotAccepted, the other HubErrors and ExtraMissing; nothing is
        created then.
        """
        with self.database.reading() as session:
            settings = SettingsService(session)
            hub, client = settings.endpoint_reference(), settings.hub_client()
        reference = parse_model_reference(request.model_id, endpoint=client.endpoint)
        revision = request.revision or reference.revision
        with self.database.reading() as session:
            pinned = LabelService(session).pinned_commit(reference.model_id, revision)
        orders = self.orders(client, reference.model_id, request, revision, commit=pinned)
        self.require_possible(client, orders)
        with self.database.session() as session:
            rows = [add_row(session, self.cache, hub, order) for order in orders]
            return rows[-1].id

    def orders(
        self,
        client: HubClient,
        model_id: str,
        request: ModelDownloadRequest,
        revision: str | None,
        *,
        commit: str | None = None,
    ) -> list[Order]:
        """Return what a request would fetch and the rows it would make, the model last.

        `commit` is fetched in place of the one that `revision` is at. Raises what `DownloadOrders.of` does,
        GatedNoToken and GatedNotAccepted.
        """
        with client.within_patience():
            repository = self._repository(client, model_id, commit or revision)
            repository.require_access()
            orders = DownloadOrders(self.database, client, self.cache).of(repository, request, revision)
        return [*orders[:-1], replace(orders[-1], is_latest=commit is None)]

    def require_possible(self, client: HubClient, orders: Sequence[Order]) -> None:
        """Raise what keeps orders from becoming ready models: DiskFull, ExtraMissing, UnsupportedArchitecture."""
        with self.database.reading() as session:
            if any(order.request.quantization != "none" for order in orders):
                require_able_worker(session, Queue.COMPUTE)
        if any(order.request.gguf_file is not None for order in orders):
            require_gguf()
        with client.within_patience():
            self._require_disk(*((order.model, order.wanted) for order in orders))
            wanted = DownloadOrders(self.database, client, self.cache)
            for order in orders:
                wanted.require_loadable(order)

    def download_model(self, row: Model, reporter: JobReporter) -> None:
        """Information first, then bytes: fill the row's architecture and manifest, fetch and verify every file.

        Convert a GGUF file. Raises JobPaused, JobCancelled, HubError, DiskFull, NoWeights for files that no load opens,
        and what a conversion raises.
        """
        reporter.report(JobProgress(phase="resolving"))
        client = self.client(row.endpoint)
        wanted = patiently(reporter, lambda: self._resolve_in_time(row, client))
        SnapshotTransfer(self.database).fetch(
            client, self.cache, row.model_id, row.hub_commit, wanted.files, reporter, snapshot=row.commit
        )
        if wanted.gguf is not None:
            convert_fetched(self.database, self.cache, row.id, wanted, reporter)
            return  # no branch of the Hub leads to what was made here
        snapshot = self.cache.snapshot_path(row.model_id, row.commit)
        require_checkpoint(snapshot, row.model_id, allow_pickle=row.allow_pickle)
        self.cache.write_ref(row.model_id, row.revision, row.commit)

    def estimate_memory(
        self,
        text: str,
        revision: str | None = None,
        *,
        context: int = 2048,
        batch: int = 1,
        dtype: str = "auto",
        parts: EstimateParts = "all",
    ) -> MemoryEstimate:
        """Return memory per precision, exact where the inspector can tell. Raises InvalidRequest, HubError."""
        client = self.client()
        reference = parse_model_reference(text, endpoint=client.endpoint)
        with client.within_patience():
            checkpoint = self._checkpoint(client, reference.model_id, revision or reference.revision)
        with self.database.reading() as session:
            machine = system_service.devices(system_service.local_pids(session))
            copies = ModelService(session).ready_copies(checkpoint.model_id, checkpoint.commit)
        return MemoryService(self.database).estimate(
            checkpoint,
            machine,
            context=context,
            batch=batch,
            dtype=dtype,
            parts=parts,
            seconds=self._exact_seconds,
            copies=copies,
        )

    def checkpoint_of_row(self, row: Model) -> Checkpoint:
        """Return what the memory of a model that is still to come is computed from, by its own Hub. Raises HubError."""
        client = self.client(row.endpoint)
        with client.within_patience():
            return self._checkpoint(client, row.model_id, row.hub_commit)

    def _checkpoint(self, client: HubClient, model_id: str, revision: str | None) -> Checkpoint:
        """Return what a Hub says of a model's configuration and weights."""
        repository = self._repository(client, model_id, revision)
        repository.require_access()
        plan = repository.offered()
        if plan.is_adapter and plan.weights.problem is None:
            adapter = repository.adapter(plan)
            base = AdapterBases(self.database, client, self.cache).on_hub(adapter_facts(adapter))
            base.require_access()
            held = AdapterInMemory(model_id, repository.model.commit, adapter.weights.memory_bytes)
            return replace(self._checkpoint_of(base, base.offered()), adapter=held)
        return self._checkpoint_of(repository, plan)

    def _checkpoint_of(self, repository: HubRepository, plan: FilePlan) -> Checkpoint:
        return Checkpoint(
            model_id=repository.model.model_id,
            commit=repository.model.commit,
            config=repository.config() or {},
            tensors=repository.tensors(plan),
            weights_problem=plan.weights.problem,
            size_bytes=plan.size_bytes,
            files=repository.file_names,
            num_parameters=repository.model.num_parameters,
            same=partial(repository.same, plan),
        )

    def _repository(self, client: HubClient, model_id: str, revision: str | None) -> HubRepository:
        return HubRepository(client, client.model_info(model_id, revision), self.inspections)

    def _resolve_in_time(self, row: Model, client: HubClient) -> Wanted:
        with within(RESOLVE_SECONDS):
            return self._resolve(row, client)

    def _resolve(self, row: Model, client: HubClient) -> Wanted:
        """Ask the Hub what the row's snapshot consists of and write it down; returns what to fetch."""
        repository = self._repository(client, row.model_id, row.hub_commit)
        repository.require_access()
        if row.converted_from is not None:
            wanted = wanted_gguf(repository, row.converted_from["path"])
            self._require_disk((repository.model, wanted))
            store_wanted(self.database, self.cache, row, wanted)
            return wanted
        plan, files = repository.to_fetch(allow_pickle=row.allow_pickle)
        wanted = Wanted(row.commit, files, None)
        self._require_disk((repository.model, wanted))
        self._store_facts(row, repository, plan, files)
        return wanted

    def _store_facts(self, resolved: Model, repository: HubRepository, plan: FilePlan, files: list[RemoteFile]) -> None:
        store = self._read_facts(repository, plan)
        inventory = self.cache.inventory(resolved.model_id, resolved.commit, files)
        with self.database.session() as session:
            models = ModelService(session, self.cache)
            row = models.get_by_id(resolved.id)
            store(row)
            if row.files is None:
                row.files = new_manifest(row, files, inventory)
                row.adopted = any(file["present_before"] for file in row.files)
            row.size_bytes = plan.size_bytes
            models.mark_downloading(row)

    def _read_facts(self, repository: HubRepository, plan: FilePlan) -> Callable[[Model], None]:
        """Ask the Hub for the facts of a model or an adapter; returns what writes them into its row."""
        names = repository.file_names
        if plan.is_adapter:
            return partial(store_adapter_facts, adapter=repository.adapter(plan), names=names)
        num_parameters = repository.num_parameters(plan)
        config, found = repository.config() or {}, repository.tensors(plan)
        return partial(store_facts, config=config, found=found, names=names, num_parameters=num_parameters)

    def config(self, text: str, revision: str | None = None) -> tuple[HubModel, dict[str, Any]]:
        """Return a model on the Hub and its configuration. Raises InvalidRequest, UnsupportedArchitecture, HubError."""
        client = self.client()
        reference = parse_model_reference(text, endpoint=client.endpoint)
        with client.within_patience():
            repository = self._repository(client, reference.model_id, revision or reference.revision)
            repository.require_access()
            config = repository.config()
        if config is None:
            raise UnsupportedArchitecture(f"{repository.model.model_id} has no config.json for transformers.")
        return repository.model, config

    def _require_disk(self, *downloads: tuple[HubModel, Wanted]) -> None:
        missing = sum(
            bytes_to_fetch(self.cache, model.model_id, wanted.commit, wanted.files) + wanted.made_bytes
            for model, wanted in downloads
        )
        if missing:
            self.cache.ensure_free(missing, reserve_bytes=DISK_RESERVE_BYTES)
