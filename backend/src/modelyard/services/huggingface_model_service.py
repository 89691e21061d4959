"""Models on a Hub: what they are, what they need, and how their files get here."""

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Protocol

from modelyard.core.adapters import ADAPTER_CONFIG, read_base_model
from modelyard.core.database import Database, utc_now
from modelyard.core.errors import (
    DatabaseUnavailable,
    GatedNotAccepted,
    GatedNoToken,
    HubError,
    HubMisbehaved,
    HubRateLimited,
    HubUnreachable,
    InvalidRepository,
    NoWeights,
    UnsupportedArchitecture,
)
from modelyard.core.model_ids import parse_model_reference
from modelyard.core.repository_json import MAX_BYTES, parse_config, require_readable_size
from modelyard.core.safetensors_header import QUANTIZATION_FILE, unscaled_message, unscaled_tensor
from modelyard.core.weight_files import MAX_INDEX_BYTES, Index, index_to_read, parse_index
from modelyard.hub.cache.hashing import content_hasher
from modelyard.hub.client import Access, HubClient, HubFile, HubModel
from modelyard.hub.deadlines import within
from modelyard.hub.download.fetcher import (
    Control,
    FetchLimits,
    TransferCancelled,
    TransferPaused,
    TransferProgress,
    fetch_snapshot,
)
from modelyard.hub.names import RemoteFile, validate_files
from modelyard.hub.retry import RetryPolicy
from modelyard.models import JobControl, Model
from modelyard.schemas.architecture import Dimensions
from modelyard.schemas.common import Reason
from modelyard.schemas.download import FilePlan as FilePlanRow
from modelyard.schemas.download import ModelDownloadRequest, ModelInfo, SearchItem, SearchPage, SearchSort, Support
from modelyard.schemas.memory import EstimateParts, MemoryEstimate
from modelyard.schemas.model import ModelCreate
from modelyard.services import system_service
from modelyard.services.facts.config_facts import ConfigFacts, read_config
from modelyard.services.facts.file_plan import FilePlan, plan_files
from modelyard.services.facts.header_estimate import DTYPE_NAMES, Tensor
from modelyard.services.facts.model_facts import store_facts, tensors
from modelyard.services.facts.parameter_count import Described, parameter_count
from modelyard.services.facts.stored_tensors import same_content
from modelyard.services.facts.training_verdict import static_verdict
from modelyard.services.inspection.inspection_service import InspectionFailed, InspectionService
from modelyard.services.inspection.memory_service import EXACT_SECONDS, Checkpoint, MemoryService
from modelyard.services.jobs.job_service import JobProgress
from modelyard.services.model_files import DISK_RESERVE_BYTES, bytes_to_fetch, hub_cache, new_manifest
from modelyard.services.model_service import ModelService
from modelyard.services.settings_service import SettingsService

logger = logging.getLogger(__name__)

SUPPORT_SECONDS = 10.0
"""How long a preview waits to hear whether transformers can build the model."""

RESOLVE_SECONDS = 600.0
"""Of one attempt to hear what a download consists of, the headers of all its weight files included."""

PATIENCE = RetryPolicy(attempts=40, max_wait_seconds=60.0)
"""Nobody watches a long download: about half an hour of a Hub that does not answer is waited out."""

_SORT_KEYS: dict[SearchSort, str] = {
    "downloads": "downloads",
    "likes": "likes",
    "trending": "trendingScore",
    "updated": "lastModified",
}
_CONTROLS = {JobControl.RUN: Control.RUN, JobControl.PAUSE: Control.PAUSE, JobControl.CANCEL: Control.CANCEL}


class Reporter(Protocol):
    """How work tells where it stands and learns what the user wants; both return at once."""

    def report(self, progress: JobProgress) -> None: ...

    def control(self) -> JobControl: ...


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
        """A client for the Hub in use, or for the one a row remembers."""
        with self.database.reading() as session:
            return SettingsService(session).hub_client(reference)

    def search(self, query: str, limit: int, sort: SearchSort = "downloads") -> SearchPage:
        """Models on the Hub whose id matches. Raises HubError."""
        client = self.client()
        with client.within_patience():
            hits = client.search(query, limit, _SORT_KEYS[sort])
        with self.database.reading() as session:
            installed = ModelService(session).ready_among([hit.model_id for hit in hits])
        gated: Access = "unknown" if client.has_token() else "no_token"
        return SearchPage(
            items=[
                SearchItem(
                    model_id=hit.model_id,
                    downloads=hit.downloads,
                    likes=hit.likes,
                    num_parameters=hit.num_parameters,
                    size_bytes=hit.size_bytes,
                    access=gated if hit.gated else "open",
                    pipeline_tag=hit.pipeline_tag,
                    installed=hit.model_id in installed,
                    is_sample=hit.is_sample,
                )
                for hit in hits
            ]
        )

    def get_model_info(self, text: str, revision: str | None = None) -> ModelInfo:
        """What a model is and which of its files would be fetched. Raises InvalidRequest, HubError."""
        client = self.client()
        reference = parse_model_reference(text, endpoint=client.endpoint)
        with client.within_patience():
            model = client.model_info(reference.model_id, revision or reference.revision)
            access = client.access(model)
            readable = access in ("open", "accepted")
            config = self._config(client, model) if readable else None
            return self._info(client, model, access, config, self._offered(client, model, readable=readable))

    def start_download(self, request: ModelDownloadRequest) -> str:
        """Check that a download can become a ready model, then queue it. Returns the row's id.

        Raises InvalidRequest, AlreadyExists, NoWeights, UnsafeWeights, DiskFull, GatedNoToken, GatedNotAccepted
        and the other HubErrors; nothing is created then.
        """
        with self.database.reading() as session:
            settings = SettingsService(session)
            hub, client = settings.endpoint_reference(), settings.hub_client()
        reference = parse_model_reference(request.model_id, endpoint=client.endpoint)
        revision = request.revision or reference.revision
        with client.within_patience():
            model = client.model_info(reference.model_id, revision)
            _require_access(client, model)
            plan = self._plan(client, model, allow_pickle=request.allow_pickle)
            base = self._adapter_base(client, model)
            plan.require_weights(model.model_id, allow_pickle=request.allow_pickle, adapter_base=base)
            files = _remote_files(plan)
            validate_files(files)
            config = self._config(client, model) or {}
            _require_scaled(model.model_id, self._unscaled(client, model, plan, config))
            described = self.inspections.described(model.model_id, model.commit)
            num_parameters = self._count(client, model, plan, config, described, model.num_parameters)
        self._require_disk(model, files)
        with self.database.session() as session:
            models = ModelService(session, self.cache)
            row = models.create(
                ModelCreate(
                    model_id=model.model_id,
                    canonical_id=model.canonical_id,
                    endpoint=hub,
                    revision=revision or "main",
                    commit=model.commit,
                    quantization=request.quantization,
                    keep_original=request.keep_original,
                    allow_pickle=request.allow_pickle,
                    gated=model.gated,
                    private=model.private,
                )
            )
            row.size_bytes = plan.size_bytes
            row.num_parameters = num_parameters
            row.licence = model.licence
            row.latest_commit, row.checked_at = model.commit, utc_now()
            models.start_download(row)
            return row.id

    def download_model(self, row: Model, reporter: Reporter) -> None:
        """Information first, then bytes: fill the row's architecture and manifest, fetch and verify every file.

        Raises TransferPaused, TransferCancelled, HubError, DiskFull.
        """
        reporter.report(JobProgress(phase="resolving"))
        client = self.client(row.endpoint)
        files = _patiently(reporter, lambda: self._resolve_in_time(row, client))
        fetch_snapshot(
            endpoint=client.endpoint,
            repo_id=row.model_id,
            commit=row.commit,
            files=files,
            store=self.cache,
            token=client.token,
            limits=self._limits,
            on_progress=lambda progress: reporter.report(_job_progress(progress)),
            control=lambda: _CONTROLS[reporter.control()],
            reserve=self._reserve_bandwidth,
        )
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
        """Memory per precision, exact where the inspector can tell. Raises InvalidRequest, HubError."""
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
        """What the memory of a model that is still to come is computed from, by its own Hub. Raises HubError."""
        client = self.client(row.endpoint)
        with client.within_patience():
            return self._checkpoint(client, row.model_id, row.commit)

    def _checkpoint(self, client: HubClient, model_id: str, revision: str | None) -> Checkpoint:
        """What a Hub says of a model's configuration and weights."""
        model = client.model_info(model_id, revision)
        _require_access(client, model)
        plan = self._offered(client, model)
        return Checkpoint(
            model_id=model.model_id,
            commit=model.commit,
            config=self._config(client, model) or {},
            tensors=self._tensors(client, model, plan),
            weights_problem=plan.weights.problem,
            size_bytes=plan.size_bytes,
            files=[file.path for file in model.files],
            num_parameters=model.num_parameters,
            same=lambda first, second: self._same(client, model, plan, first, second),
        )

    def _resolve_in_time(self, row: Model, client: HubClient) -> list[RemoteFile]:
        with within(RESOLVE_SECONDS):
            return self._resolve(row, client)

    def _resolve(self, row: Model, client: HubClient) -> list[RemoteFile]:
        """Ask the Hub what the row's snapshot consists of and write it down; returns the files to fetch."""
        model = client.model_info(row.model_id, row.commit)
        _require_access(client, model)
        plan = self._plan(client, model, allow_pickle=row.allow_pickle)
        plan.require_weights(row.model_id, allow_pickle=row.allow_pickle)
        files = _remote_files(plan)
        validate_files(files)
        self._require_disk(model, files)
        self._store_facts(row, client, model, plan, files)
        return files

    def _store_facts(
        self, resolved: Model, client: HubClient, model: HubModel, plan: FilePlan, files: list[RemoteFile]
    ) -> None:
        config = self._config(client, model) or {}
        _require_scaled(model.model_id, self._unscaled(client, model, plan, config))
        found = self._tensors(client, model, plan)
        described = self.inspections.described(model.model_id, model.commit)
        num_parameters = self._count(client, model, plan, config, described, None)
        inventory = self.cache.inventory(resolved.model_id, resolved.commit, files)
        with self.database.session() as session:
            models = ModelService(session, self.cache)
            row = models.get_by_id(resolved.id)
            store_facts(row, config, found, [file.path for file in model.files], num_parameters=num_parameters)
            if row.files is None:
                row.files = new_manifest(row, files, inventory)
                row.adopted = any(file["present_before"] for file in row.files)
            row.size_bytes = plan.size_bytes
            models.mark_downloading(row)

    def config(self, text: str, revision: str | None = None) -> tuple[HubModel, dict[str, Any]]:
        """A model on the Hub and its configuration. Raises InvalidRequest, UnsupportedArchitecture, HubError."""
        client = self.client()
        reference = parse_model_reference(text, endpoint=client.endpoint)
        with client.within_patience():
            model = client.model_info(reference.model_id, revision or reference.revision)
            _require_access(client, model)
            config = self._config(client, model)
        if config is None:
            raise UnsupportedArchitecture(f"{model.model_id} has no config.json for transformers.")
        return model, config

    def _config(self, client: HubClient, model: HubModel) -> dict[str, Any] | None:
        """The repository's `config.json`, asked of the Hub once per commit. Raises InvalidRepository, HubError."""
        listed = next((file for file in model.files if file.path == "config.json"), None)
        if listed is None:
            return None
        known = self.inspections.recall(model.model_id, model.commit, "config text")
        if known is not None:
            return parse_config(known["text"].encode(), model.model_id)
        require_readable_size(listed.size_bytes or 0, listed.path, model.model_id)
        content = client.read_small_file(model.model_id, model.commit, "config.json")
        if content is None:
            return None
        try:
            config = parse_config(content, model.model_id)
        except InvalidRepository:
            _require_listed_content(listed, content)
            raise
        # As text: the JSON of a database has no Infinity, which some configurations hold.
        self.inspections.remember(model.model_id, model.commit, "config text", {"text": json.dumps(config)})
        return config

    def _plan(self, client: HubClient, model: HubModel, *, allow_pickle: bool) -> FilePlan:
        return plan_files(model.files, allow_pickle=allow_pickle, index=self._index(client, model))

    def _offered(self, client: HubClient, model: HubModel, *, readable: bool = True) -> FilePlan:
        """The files a download would fetch, where the only weights are pickle with the consent it needs."""
        return plan_files(model.files, allow_pickle=True, index=self._index(client, model) if readable else None)

    def _index(self, client: HubClient, model: HubModel) -> Index | None:
        """What the index says of the weight files, asked of the Hub once per commit; None without one.

        Raises HubError.
        """
        name = index_to_read([file.path for file in model.files])
        if name is None:
            return None
        known = self.inspections.recall(model.model_id, model.commit, name)
        if known is not None:
            return Index(tuple(known["shards"]), known["problem"])
        listed = next(file for file in model.files if file.path == name)
        try:
            require_readable_size(listed.size_bytes or 0, name, model.model_id, limit_bytes=MAX_INDEX_BYTES)
        except InvalidRepository as error:
            return Index(problem=error.message)
        content = client.read_small_file(model.model_id, model.commit, name, limit_bytes=MAX_INDEX_BYTES)
        if content is None:
            raise HubMisbehaved(f"The Hub lists {name} of {model.model_id}, but does not have it.")
        index = parse_index(content, name, model.model_id)
        if index.problem is not None:
            _require_listed_content(listed, content)
        self.inspections.remember(
            model.model_id, model.commit, name, {"shards": list(index.shards), "problem": index.problem}
        )
        return index

    def _adapter_base(self, client: HubClient, model: HubModel) -> str | None:
        """The model that an adapter was made for, as far as its configuration says. Raises HubError."""
        listed = next((file for file in model.files if file.path == ADAPTER_CONFIG), None)
        if listed is None or (listed.size_bytes or 0) > MAX_BYTES:
            return None
        return read_base_model(client.read_small_file(model.model_id, model.commit, ADAPTER_CONFIG), model.model_id)

    def _unscaled(self, client: HubClient, model: HubModel, plan: FilePlan, config: Mapping[str, Any]) -> str | None:
        """What shows that the weights are quantized while the configuration does not say so, or None."""
        if read_config(config).quantization_method is not None:
            return None
        if any(file.path == QUANTIZATION_FILE for file in model.files):
            return QUANTIZATION_FILE
        dtypes = model.parameters_by_dtype
        if dtypes and all(dtype in DTYPE_NAMES for dtype in dtypes):
            return None
        return unscaled_tensor((tensor.name, tensor.dtype) for tensor in self._tensors(client, model, plan))

    def _tensors(self, client: HubClient, model: HubModel, plan: FilePlan) -> list[Tensor]:
        """Name, dtype and shape of every tensor, read from the weight files' headers once per commit."""
        known = self.inspections.recall(model.model_id, model.commit, "tensors")
        if known is None:
            paths = [file.path for file in plan.safetensors]
            found = tensors(client.safetensors_headers(model.model_id, model.commit, paths))
            self.inspections.remember(
                model.model_id, model.commit, "tensors", {"tensors": [[t.name, t.dtype, t.shape] for t in found]}
            )
            return found
        return [Tensor(name, dtype, tuple(shape)) for name, dtype, shape in known["tensors"]]

    def _support(
        self,
        model: HubModel,
        config: dict[str, Any] | None,
        plan: FilePlan,
        held: int | None,
        unscaled: str | None,
        adapter_base: str | None,
    ) -> "Found":
        names = [file.path for file in model.files]
        if config is None and "config.json" in names:
            unread = Reason(code="no_access", message="Its configuration cannot be read yet.")
            return Found(Support(level="unverified", reasons=[unread]))
        return support(
            self.inspections,
            model.model_id,
            model.commit,
            config,
            names=names,
            weights_problem=plan.weights.problem,
            unscaled=unscaled,
            adapter_base=adapter_base,
            held=held,
            seconds=self._support_seconds,
        )

    def _count(
        self,
        client: HubClient,
        model: HubModel,
        plan: FilePlan,
        config: Mapping[str, Any],
        described: Described | None,
        counted: int | None,
    ) -> int | None:
        """The number of parameters; `counted` are the elements of the weight files where the Hub counted them.

        Raises HubError.
        """
        packed = read_config(config).quantization_method is not None
        if not packed and counted is not None and (described is None or counted == described.num_parameters):
            return counted
        found = [] if packed else self._tensors(client, model, plan)
        return parameter_count(config, found, described, partial(self._same, client, model, plan))

    def _same(self, client: HubClient, model: HubModel, plan: FilePlan, first: str, second: str) -> bool | None:
        """Whether two tensors have the same content, asked of the Hub once per commit; None where it does not tell."""
        question = f"same {hashlib.sha256(f'{first} {second}'.encode()).hexdigest()}"
        known = self.inspections.recall(model.model_id, model.commit, question)
        if known is None:
            paths = [file.path for file in plan.safetensors]
            try:
                headers = dict(zip(paths, client.safetensors_headers(model.model_id, model.commit, paths), strict=True))
                read = partial(client.read_range, model.model_id, model.commit)
                known = {"same": same_content(headers, read, first, second)}
            except HubError as error:
                logger.info("%s and %s of %s cannot be compared: %s", first, second, model.model_id, error.message)
                return None
            self.inspections.remember(model.model_id, model.commit, question, known)
        return bool(known["same"])

    def _limits(self) -> FetchLimits:
        with self.database.reading() as session:
            transfers = SettingsService(session).transfers()
        return FetchLimits(
            retry=PATIENCE,
            connections=transfers.connections,
            bandwidth_bytes_per_second=transfers.bandwidth_limit_bytes_per_second,
        )

    def _reserve_bandwidth(self, byte_count: int, rate: float) -> float:
        try:
            with self.database.session() as session:
                return SettingsService(session).reserve_bandwidth(byte_count, rate)
        except DatabaseUnavailable:
            return byte_count / rate  # nobody else can be asked now: this download keeps to the limit alone

    def _require_disk(self, model: HubModel, files: list[RemoteFile]) -> None:
        missing = bytes_to_fetch(self.cache, model.model_id, model.commit, files)
        if missing:
            self.cache.ensure_free(missing, reserve_bytes=DISK_RESERVE_BYTES)

    def _info(
        self, client: HubClient, model: HubModel, access: Access, config: dict[str, Any] | None, plan: FilePlan
    ) -> ModelInfo:
        facts = read_config(config or {})
        files = _remote_files(plan)
        counted, unscaled = model.num_parameters, None
        readable = access in ("open", "accepted")
        if plan.safetensors and readable:
            unscaled = self._unscaled(client, model, plan, config or {})
            if counted is None:
                counted = sum(tensor.elements for tensor in self._tensors(client, model, plan))
        held = counted if facts.quantization_method is None else None
        base = self._adapter_base(client, model) if readable else None
        found = self._support(model, config, plan, held, unscaled, base)
        if readable:
            counted = self._count(client, model, plan, config or {}, found.described, counted)
        return ModelInfo(
            model_id=model.model_id,
            canonical_id=model.canonical_id,
            commit=model.commit,
            endpoint=client.endpoint,
            architecture=facts.architecture,
            model_type=facts.model_type,
            dimensions=Dimensions(**facts.dimensions),
            num_parameters=counted,
            dtype=facts.dtype,
            size_bytes=plan.size_bytes,
            missing_bytes=bytes_to_fetch(self.cache, model.model_id, model.commit, files),
            files=plan_rows(plan),
            licence=model.licence,
            access=access,
            tags=list(model.tags),
            downloads=model.downloads,
            likes=model.likes,
            last_modified=model.last_modified,
            has_tokenizer=plan.has_tokenizer,
            already_quantized=facts.quantization_method,
            support=found.support,
            training=static_verdict(model.model_id, config, [file.path for file in model.files]),
            needs_custom_code=bool(found.needs_custom_code),
            warnings=_warnings(model, plan, facts, found),
        )


@dataclass(frozen=True)
class Found:
    """Whether a model can be loaded here, whether it needs code of its own, and what its configuration describes."""

    support: Support
    needs_custom_code: bool | None = None
    described: Described | None = None


def plan_rows(plan: FilePlan) -> list[FilePlanRow]:
    return [
        FilePlanRow(
            path=planned.file.path,
            size_bytes=planned.file.size_bytes,
            sha256=planned.file.sha256,
            fetch=planned.fetch,
            reason=planned.reason,
        )
        for planned in plan.files
    ]


def support(
    inspections: InspectionService,
    model_id: str,
    commit: str,
    config: Mapping[str, Any] | None,
    *,
    names: Sequence[str],
    weights_problem: str | None = None,
    unscaled: str | None = None,
    adapter_base: str | None = None,
    held: int | None = None,
    seconds: float = SUPPORT_SECONDS,
) -> Found:
    """What is told of a model before it is here; `names` are all its files, `held` the parameters in its weights."""
    from modelyard.ml.inspect.support import static_support, worth_building

    static = static_support(
        config, names, weights_problem=weights_problem, unscaled=unscaled, adapter_base=adapter_base
    )
    verdict = asdict(static)
    if config is not None and worth_building(static):
        try:
            verdict = inspections.ask(
                "support", model_id, commit, config, seconds=seconds, files=list(names), held=held
            )
        except InspectionFailed as failure:
            if static.level != "unsupported":
                verdict["level"] = "unverified"
                verdict["reasons"] = [*verdict["reasons"], {"code": "not_inspected", "message": failure.message}]
    reasons = [Reason(code=reason["code"], message=reason["message"]) for reason in verdict["reasons"]]
    return Found(Support(level=verdict["level"], reasons=reasons), verdict["needs_custom_code"], Described.of(verdict))


def _patiently(reporter: Reporter, call: Callable[[], list[RemoteFile]]) -> list[RemoteFile]:
    """`call()`, again while the Hub does not answer; the user sees each wait and can end it.

    Raises TransferPaused or TransferCancelled when asked to stop while waiting.
    """
    for failures in range(1, PATIENCE.attempts):
        try:
            return call()
        except (HubUnreachable, HubRateLimited) as error:
            end = time.monotonic() + PATIENCE.wait_seconds(failures)
            while (left := end - time.monotonic()) > 0:
                message = f"retrying in {math.ceil(left)} s ({error.message.rstrip('.')})"
                reporter.report(JobProgress(phase="retrying", message=message))
                stop_if_asked(reporter)
                time.sleep(min(left, 0.5))
    return call()


def stop_if_asked(reporter: Reporter) -> None:
    """Raises TransferPaused or TransferCancelled when the user, or the worker's end, wants the work to stop."""
    match reporter.control():
        case JobControl.PAUSE:
            raise TransferPaused
        case JobControl.CANCEL:
            raise TransferCancelled(0)


def _require_access(client: HubClient, model: HubModel) -> None:
    access = client.access(model)
    page = f"{client.endpoint}/{model.canonical_id}"
    if access in ("no_token", "token_invalid"):
        raise GatedNoToken(f"{model.model_id} is gated and there is no valid Hub token.", url=page)
    if access == "needs_acceptance":
        raise GatedNotAccepted(f"{model.model_id} is gated and its terms are not accepted yet.", url=page)


def _require_scaled(model_id: str, unscaled: str | None) -> None:
    """Raise NoWeights where `unscaled` shows that transformers would load wrong weights."""
    if unscaled is not None:
        raise NoWeights(f"{model_id}: {unscaled_message(unscaled)}")


def _require_listed_content(file: HubFile, content: bytes) -> None:
    """Raise HubMisbehaved where a Hub sent something else than it lists, which is not the author's mistake."""
    if file.sha256 is None and file.git_sha1 is None:
        return
    remote = RemoteFile(file.path, len(content), file.sha256, file.git_sha1)
    hasher = content_hasher(remote)
    hasher.update(content)
    if hasher.hexdigest() != remote.blob:
        raise HubMisbehaved(f"The Hub sent another {file.path} than it lists.")


def _remote_files(plan: FilePlan) -> list[RemoteFile]:
    files = []
    for file in plan.fetched:
        if file.size_bytes is None or (file.sha256 is None and file.git_sha1 is None):
            raise HubMisbehaved(f"The Hub names no size or hash for {file.path!r}.")
        files.append(RemoteFile(file.path, file.size_bytes, file.sha256, file.git_sha1))
    return files


def _job_progress(progress: TransferProgress) -> JobProgress:
    return JobProgress(
        phase=progress.phase,
        bytes_done=progress.bytes_done,
        bytes_moved=progress.bytes_moved,
        bytes_total=progress.bytes_total,
        bytes_per_second=progress.bytes_per_second,
        eta_seconds=progress.eta_seconds,
        files_done=progress.files_done,
        files_total=progress.files_total,
        message=progress.message,
    )


def _warnings(model: HubModel, plan: FilePlan, facts: ConfigFacts, found: Found) -> list[str]:
    """What `support` does not tell already."""
    warnings = []
    if not plan.has_tokenizer:
        warnings.append("No tokenizer in the repository.")
    if "modelyard-sample" in model.tags:
        warnings.append("A sample with random weights, for trying Modelyard out.")
    if facts.auto_map and not found.needs_custom_code:
        warnings.append("Code in the repository is not downloaded and never run.")
    return warnings
