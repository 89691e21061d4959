"""Making a snapshot of a GGUF file: the conversion in a child process, and its files into the cache."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from modelyard.core.database import Database
from modelyard.core.paths import FoundFile
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.hub.names import RemoteFile
from modelyard.models import Model
from modelyard.services.facts.gguf_files import GgufFacts
from modelyard.services.folder_import import take_file
from modelyard.services.jobs.child_work import run_in_child
from modelyard.services.jobs.control import JobReporter
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
        name = f"{(row.converted_from or {})['path']} of {row.model_id}"
        request = {
            "sources": list(map(str, sources)),
            "folder": str(folder),
            "name": name,
            "dtype": facts.dtype,
            "weights_bytes": facts.weights_bytes,
        }
        return run_in_child(
            "modelyard.workers.processes.convert_child",
            request,
            job,
            phase="converting",
            doing=f"{name} was being converted",
        )

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
