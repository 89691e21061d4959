"""Snapshots that are made here of other files: in a child process that may be killed, and into the cache."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from modelyard.core.database import Database
from modelyard.core.paths import FoundFile
from modelyard.core.process_limits import Limits
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.hub.names import RemoteFile
from modelyard.models import Model
from modelyard.services.folder_import import take_file
from modelyard.services.jobs.child_work import run_in_child
from modelyard.services.jobs.control import JobReporter
from modelyard.services.model_files import work_folder
from modelyard.services.model_service import ModelService
from modelyard.services.snapshot_facts import store_snapshot_facts


class MadeSnapshot:
    """Makes the snapshot of a row. Called in a worker."""

    def __init__(self, database: Database, cache: HubCache) -> None:
        self.database, self.cache = database, cache

    def make(
        self,
        row: Model,
        module: str,
        request: Mapping[str, Any],
        job: JobReporter,
        *,
        phase: str,
        doing: str,
        kept: Sequence[Mapping[str, Any]] = (),
        limits: Limits | None = None,
    ) -> dict[str, Any]:
        """Run `module`, bring its files into the cache and store what they say of the model; returns its result.

        `request` is what it gets beside `folder`, in which it works; its files are in `folder`/model. `kept` are the
        entries of the manifest that stay. Raises JobPaused or JobCancelled when asked to stop (nothing half-made
        stays), OutOfMemory, DiskFull, LimitExceeded and what the child raises.
        """
        from modelyard.ml.quantize.artifact_folder import remove_leftovers

        folder = work_folder(row)
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            made = run_in_child(
                module, {**request, "folder": str(folder)}, job, phase=phase, doing=doing, limits=limits
            )
            entries = [self._take(row, folder / "model", name, file) for name, file in made["files"].items()]
        finally:
            remove_leftovers(folder.with_name(folder.name.removesuffix(".partial")))
        with self.database.session() as session:
            model = ModelService(session).get_by_id(row.id)
            model.files = [*map(dict, kept), *entries]
            model.size_bytes = sum(file["size_bytes"] for file in model.files)
        store_snapshot_facts(self.database, self.cache, row.id)
        return made

    def _take(self, row: Model, folder: Path, name: str, made: Mapping[str, Any]) -> dict[str, Any]:
        """Put a file that was made into the cache; returns its entry of the manifest."""
        file = RemoteFile(name, made["size_bytes"], made["sha256"], None)
        self.cache.prepare(row.model_id)
        with ExitStack() as stack:
            found = FoundFile(name, folder / name, (folder / name).lstat())
            source = stack.enter_context(found.open())
            blobs = self.cache.blob_path(row.model_id, file.blob).parent
            mode = "link" if blobs.stat().st_dev == found.status.st_dev else "copy"
            take_file(self.cache, row.model_id, source, found, file, mode)
        self.cache.link(row.model_id, row.commit, file)
        self.cache.mark_verified(row.model_id, file)
        return vars(file) | {"present_before": False}
