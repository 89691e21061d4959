"""Precisions: what they are to bitsandbytes, and the quantized copy that is made once and loaded many times."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.core.database import Database
from modelyard.core.errors import AlreadyQuantized, Conflict, InvalidRequest, NotReady
from modelyard.core.settings import get_settings
from modelyard.core.statuses import CopyQuantizationName
from modelyard.models import JobKind, Model, ModelKind, ModelStatus, Quantization
from modelyard.schemas.model import ModelCreate
from modelyard.services.adapters import facts_of
from modelyard.services.architecture_service import local_checkpoint, local_config
from modelyard.services.facts.config_facts import read_config
from modelyard.services.facts.model_facts import store_figures
from modelyard.services.imported_files import require_unchanged
from modelyard.services.inference.load_spec import load_spec
from modelyard.services.inspection.inspection_service import close_inspector
from modelyard.services.inspection.memory_service import MemoryService
from modelyard.services.jobs.child_work import report_importing, run_in_child
from modelyard.services.jobs.control import JobReporter, raise_if_stopped
from modelyard.services.jobs.payloads import LoadOptions
from modelyard.services.model_files import hub_cache, manifest
from modelyard.services.model_service import ModelService

if TYPE_CHECKING:
    from modelyard.ml.loading.load_progress import OnStep
    from modelyard.ml.model_loader import LoadedModel


EXACT_SECONDS = 120.0
"""How long a quantization waits for its exact estimate: nobody sits at a page, and the inspector may have to start."""

POLL_SECONDS = 0.2
ESTIMATE_SECONDS = 5.0
"""How long a new row waits for its exact estimate; without one it is estimated once it is ready."""


class QuantizationService:
    """8bit is LLM.int8; 4bit is nf4 with double quantization (`ml.quantization.get_quantization_config`).

    Needs torch only where it says so.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.cache = hub_cache()

    def load_model(
        self,
        row: Model,
        options: LoadOptions,
        adapter: Model | None = None,
        *,
        on_step: "OnStep",
        is_cancelled: Callable[[], bool],
    ) -> AbstractContextManager["LoadedModel"]:
        """Return the model, its adapter and its tokenizer, from this process's loader; held while the context lasts.

        Imports torch.

        Raises NotReady, LoadCancelled, OutOfMemory and what loading raises.
        """
        from modelyard.ml.model_loader import ModelLoader

        spec = load_spec(row, options, adapter)
        return ModelLoader.instance().get(spec, on_step=on_step, is_cancelled=is_cancelled)

    def start(self, row_id: str, quantization: CopyQuantizationName, *, keep_original: bool = True) -> str:
        """Queue another precision of a model that is here, on the same snapshot. Returns the new row's id.

        Raises ModelNotFound, InvalidRequest for an adapter, AlreadyExists, AlreadyQuantized, NotReady, Conflict.
        """
        with self.database.reading() as session:
            source = ModelService(session).get_by_id(row_id)
        if source.status is not ModelStatus.READY:
            raise NotReady(f"{source.model_id} is {source.status}.", hint="Wait until it is ready.")
        if source.kind is ModelKind.ADAPTER:
            base = facts_of(source).base_model
            raise InvalidRequest(f"{source.model_id} is an adapter, which is kept as it is.", hint=f"Quantize {base}.")
        if self.cache.inventory(source.model_id, source.commit, manifest(source)).missing:
            raise Conflict(
                f"The unquantized files of {source.model_id} are not here.", hint="Download it in that precision."
            )
        require_unchanged(self.cache, source)
        method = read_config(local_config(source)).quantization_method
        if method is not None:
            raise AlreadyQuantized(f"The weights of {source.model_id} are quantized already ({method}).")
        estimated = MemoryService(self.database).options(local_checkpoint(source), seconds=ESTIMATE_SECONDS)
        with self.database.session() as session:
            models = ModelService(session)
            row = models.create(
                ModelCreate(
                    model_id=source.model_id,
                    canonical_id=source.canonical_id,
                    endpoint=source.endpoint,
                    revision=source.revision,
                    commit=source.commit,
                    quantization=quantization,
                    keep_original=keep_original,
                    allow_pickle=source.allow_pickle,
                    gated=source.gated,
                    private=source.private,
                )
            )
            row.copy_facts(source)
            if quantization in estimated:
                row.memory_estimated_bytes, row.memory_method = estimated[quantization], "exact"
            models.start_job(row, JobKind.QUANTIZE)
            row.status = ModelStatus.QUANTIZING
            session.flush()
            return row.id

    def quantize(self, row: Model, reporter: JobReporter) -> None:
        """Make, load back and compare the quantized copy, in a child process. Called in a worker.

        Raises JobPaused or JobCancelled when asked to stop (nothing half-made stays), DiskFull,
        OutOfMemory, and what the child raises.
        """
        from modelyard.ml.quantize.artifact_folder import remove_leftovers

        require_unchanged(self.cache, row)
        with self.database.session() as session:
            models = ModelService(session)
            models.mark_quantizing(models.get_by_id(row.id))
        report_importing(reporter, "quantizing")
        target = artifact_folder(row)
        request = {
            "source": str(self.cache.snapshot_path(row.model_id, row.commit)),
            "target": str(target),
            "quantization": row.quantization.value,
            "model_id": row.model_id,
            "commit": row.commit,
            "allow_pickle": row.allow_pickle,
            "expected_bytes": self._expected_bytes(row, reporter),
        }
        try:
            made = run_in_child(
                "modelyard.workers.processes.quantize_child",
                request,
                reporter,
                phase="quantizing",
                doing=f"{row.model_id} was being quantized",
            )
        finally:
            remove_leftovers(target)
        with self.database.session() as session:
            found = ModelService(session).get_by_id(row.id)
            found.artifact_path = target.name
            found.drift = made["drift"]
            found.memory_measured_bytes = made["memory_measured_bytes"]

    def _expected_bytes(self, row: Model, reporter: JobReporter) -> int | None:
        """Return what the copy will take, None where only an approximate figure is known: nothing is refused for it.

        Of a row that was downloaded to be quantized, the exact figure is found now, when its configuration is here.
        Raises JobPaused or JobCancelled.
        """
        if row.memory_method == "exact":
            return row.memory_estimated_bytes
        ask, checkpoint = MemoryService(self.database).exact, local_checkpoint(row)
        pool = ThreadPoolExecutor(1)
        try:
            asked = pool.submit(ask, checkpoint, seconds=EXACT_SECONDS)
            while not wait([asked], POLL_SECONDS).done:
                raise_if_stopped(reporter)
        finally:
            close_inspector()  # its libraries take memory that the quantization needs
            pool.shutdown()
        figures = asked.result()
        if figures is None:
            return None
        with self.database.session() as session:
            store_figures(ModelService(session).get_by_id(row.id), figures)
        return figures.weights_bytes.get(row.quantization.value)


def artifact_folder(row: Model) -> Path:
    """Return where a row's quantized copy lives: one folder per model, commit and precision."""
    return get_settings().artifacts_folder / artifact_name(row.model_id, row.commit, row.quantization)


def artifact_name(model_id: str, commit: str, quantization: Quantization) -> str:
    """Return the name of the folder of a quantized copy."""
    return f"{model_id.replace('/', '--')}--{commit[:12]}--{quantization.value}"
