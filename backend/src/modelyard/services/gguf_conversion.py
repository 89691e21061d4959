"""Making a snapshot of a GGUF file: the conversion in a child process, and its files into the cache."""

import signal
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from modelyard.core.container import killed_for_memory, oom_kills
from modelyard.core.database import Database
from modelyard.core.errors import OutOfMemory
from modelyard.core.paths import FoundFile
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.hub.names import RemoteFile
from modelyard.models import JobControl, Model
from modelyard.services.facts.gguf_files import GgufFacts
from modelyard.services.folder_import import take_file
from modelyard.services.jobs.control import (
    IMPORTING_MESSAGE,
    STARTING,
    JobPaused,
    JobProgress,
    JobReporter,
    raise_if_stopped,
)
from modelyard.services.model_files import conversion_folder, manifest
from modelyard.services.model_service import ModelService
from modelyard.services.snapshot_facts import store_snapshot_facts


def is_converted(cache: HubCache, row: Model, fetched: Sequence[RemoteFile]) -> bool:
    """Return whether what a row was converted to is there: what its manifest has besides the files of the Hub."""
    paths = {file.path for file in fetched}
    made = [file for file in manifest(row) if file.path not in paths]
    return bool(made) and not cache.inventory(row.model_id, row.commit, made).missing


class GgufConversion:
    """Converts for a row whose file, or parts, are on the disk. Called in a worker."""

    def __init__(self, database: Database, cache: HubCache) -> None:
        self.database, self.cache = database, cache

    def convert(
        self, row: Model, sources: Sequence[Path], facts: GgufFacts, kept: Sequence[Mapping[str, Any]], job: JobReporter
    ) -> None:
        """Make the snapshot's files of `sources` (real paths) and store what they say of the model.

        `kept` are the entries of the manifest that stay. Raises JobPaused or JobCancelled when asked to stop (nothing
        half-made stays), OutOfMemory, DiskFull and what the child raises.
        """
        from modelyard.ml.quantize.artifact_folder import remove_leftovers

        folder = conversion_folder(row)
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            made = self._run(row, sources, facts, folder, job)
            entries = [self._take(row, folder / "model" / name, file) for name, file in made["files"].items()]
        finally:
            remove_leftovers(folder.with_name(folder.name.removesuffix(".partial")))
        with self.database.session() as session:
            model = ModelService(session).get_by_id(row.id)
            model.files = [*map(dict, kept), *entries]
            model.size_bytes = sum(file["size_bytes"] for file in model.files)
        store_snapshot_facts(self.database, self.cache, row.id)

    def _run(
        self, row: Model, sources: Sequence[Path], facts: GgufFacts, folder: Path, job: JobReporter
    ) -> dict[str, Any]:
        from modelyard.core.process import ChildCrashed, ChildStopped, run_child
        from modelyard.core.start_process import EXIT_UNKNOWN

        job.report(JobProgress(phase="converting", message=IMPORTING_MESSAGE, step=STARTING))
        name = (row.converted_from or {})["path"]
        request = {
            "sources": list(map(str, sources)),
            "folder": str(folder),
            "name": f"{name} of {row.model_id}",
            "dtype": facts.dtype,
            "weights_bytes": facts.weights_bytes,
        }
        kills = oom_kills()
        try:
            return run_child(
                "modelyard.workers.processes.convert_child",
                request,
                on_report=lambda report: job.report(_progress(report)),
                should_stop=lambda: job.control() is not JobControl.RUN,
            )
        except ChildStopped:
            raise_if_stopped(job)
            raise JobPaused from None
        except ChildCrashed as error:
            if error.exit_code in (-signal.SIGKILL, EXIT_UNKNOWN) and killed_for_memory(kills, oom_kills()):
                raise OutOfMemory(f"Memory ran out while {name} of {row.model_id} was being converted.") from error
            raise

    def _take(self, row: Model, path: Path, made: Mapping[str, Any]) -> dict[str, Any]:
        """Put a converted file into the cache; returns its entry of the manifest."""
        file = RemoteFile(path.name, made["size_bytes"], made["sha256"], None)
        self.cache.prepare(row.model_id)
        with ExitStack() as stack:
            found = FoundFile(path.name, path, path.lstat())
            source = stack.enter_context(found.open())
            blobs = self.cache.blob_path(row.model_id, file.blob).parent
            mode = "link" if blobs.stat().st_dev == found.status.st_dev else "copy"
            take_file(self.cache, row.model_id, source, found, file, mode)
        self.cache.link(row.model_id, row.commit, file)
        self.cache.mark_verified(row.model_id, file)
        return vars(file) | {"present_before": False}


def _progress(report: Mapping[str, Any]) -> JobProgress:
    return JobProgress(
        phase=report["phase"],
        files_done=report["done"],
        files_total=report["total"],
        message=report["message"],
        step={"name": report["phase"], "done": report["done"], "total": report["total"]},
    )
