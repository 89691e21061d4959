"""Models whose bytes are here already: in the shared cache, in a folder, or installed and to be checked again."""

import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from modelyard.core.database import Database
from modelyard.core.errors import ChecksumMismatch, Conflict, InvalidRequest, ModelNotFound, PathNotAllowed
from modelyard.core.model_ids import parse_model_reference
from modelyard.core.paths import FoundFile, PathRules, open_inside
from modelyard.core.settings import get_settings
from modelyard.core.storage import DISK_RESERVE_BYTES
from modelyard.hub.cache.hashing import Identity, content_hasher, identity
from modelyard.hub.names import RemoteFile
from modelyard.models import JobKind, Model, ModelStatus
from modelyard.schemas.cache import CachedModel, CacheListing, Leftover, ModelImportRequest
from modelyard.schemas.model import ModelCreate
from modelyard.services.cached_snapshots import (
    ADOPTION_HINT,
    adoption_problem,
    best_snapshot,
    found_files,
    manifest_entry,
)
from modelyard.services.facts.folder_content import commit_of, list_importable
from modelyard.services.folder_import import take_file
from modelyard.services.gguf_import import GgufImport, names_gguf
from modelyard.services.huggingface_model_service import HuggingFaceModelService
from modelyard.services.inspection.folder_preview import require_loadable_files
from modelyard.services.inspection.inspection_service import InspectionService
from modelyard.services.jobs.control import JobReporter
from modelyard.services.jobs.payloads import ImportPayload
from modelyard.services.model_files import ModelFiles, hub_cache, manifest
from modelyard.services.model_service import ModelService
from modelyard.services.read_progress import ReadProgress, hash_content
from modelyard.services.settings_service import LOCAL, SettingsService
from modelyard.services.snapshot_facts import store_snapshot_facts

logger = logging.getLogger(__name__)


class LocalModelService:
    """Adopting, importing and verifying; nothing here needs a Hub unless a damaged file must be fetched again."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.cache = hub_cache()

    def list_cache(self) -> CacheListing:
        """Return what the shared cache holds that no row manages, and what unfinished downloads left."""
        with self.database.reading() as session:
            managed = ModelFiles(session).managed_snapshots()
        return CacheListing(
            items=[
                CachedModel(
                    model_id=repo.repo_id,
                    commit=snapshot.commit,
                    revisions=list(snapshot.refs),
                    size_bytes=snapshot.size_bytes,
                    importable=(problem := adoption_problem(self.cache, repo.repo_id, snapshot)) is None,
                    problem=None if problem is None else problem.message.rstrip("."),
                )
                for repo in self.cache.scan()
                for snapshot in repo.snapshots
                if (repo.repo_id, snapshot.commit) not in managed
            ],
            leftovers=[
                Leftover(
                    model_id=partial.repo_id,
                    path=str(partial.path),
                    size_bytes=partial.size_bytes,
                    age_seconds=partial.age_seconds,
                )
                for partial in self.cache.partials()
            ],
        )

    def drop_leftovers(self, older_than_seconds: float) -> int:
        """Remove unfinished files that no row will go on with. Returns the bytes freed."""
        with self.database.reading() as session:
            wanted = ModelFiles(session).unfinished_blobs()
        freed = 0
        for partial in self.cache.partials():
            if partial.age_seconds >= older_than_seconds and (partial.repo_id, partial.blob) not in wanted:
                freed += self.cache.remove_partials(partial.repo_id, {partial.blob})
        return freed

    def start_import(self, request: ModelImportRequest) -> str:
        """Queue the adoption of a cached model, or the import of a folder or a GGUF file. Returns the row's id.

        Raises InvalidRequest, PathNotAllowed, ModelNotFound, AlreadyExists, NoWeights, UnsafeWeights,
        InvalidRepository, UnsupportedArchitecture, NoTokenizer, DiskFull, Conflict.
        """
        if request.cached is not None:
            return self._start_adoption(request.cached, allow_unsupported=request.allow_unsupported)
        if request.path is None or request.model_id is None:
            raise InvalidRequest(
                "An import needs a path and a model_id, or the name of a cached model.",
                hint='Send {"path": "/folder", "model_id": "local/name"} or {"cached": "owner/name"}.',
            )
        rules, model_id = PathRules.of(get_settings()), parse_model_reference(request.model_id).model_id
        if names_gguf(request.path, rules):
            return GgufImport(self.database, self.cache).start(request.path, model_id, rules)
        return self._start_folder(Path(request.path), model_id, request, rules)

    def start_verify(self, row_id: str) -> None:
        """Queue a check of every byte. Raises ModelNotFound, Conflict."""
        with self.database.session() as session:
            models = ModelService(session)
            model = models.get_by_id(row_id)
            if model.status not in (ModelStatus.READY, ModelStatus.MISSING):
                raise Conflict(
                    f"{model.model_id} is {model.status}; only an installed model can be verified.",
                    hint="Wait until it is ready.",
                )
            models.require_settled(model.model_id, model.commit)
            models.start_job(model, JobKind.VERIFY)

    def verify(self, row: Model, reporter: JobReporter) -> None:
        """Hash every file of a row's snapshot; what is damaged or gone is fetched again, and only that.

        Raises ChecksumMismatch when the damaged files came from a folder, and NoWeights for whole files that are no
        checkpoint, besides what a download raises.
        """
        files = self._with_hashes(row, reporter)
        bad, seen = [], {}
        for file, found in self._checked(row, files, reporter):
            if found is None:
                bad.append(file)
            else:
                seen[file.path] = found
                self.cache.mark_verified(row.model_id, file)
        if bad and row.endpoint == LOCAL:
            again = "import the folder" if row.merged_from is None else "merge the adapter"
            raise ChecksumMismatch(
                f"{bad[0].path} of {row.model_id} is damaged or gone, and there is no Hub to fetch it from.",
                hint=f"Delete the entry and {again} again.",
            )
        if row.endpoint == LOCAL:
            self._remember_seen(row, seen)
        if bad:
            self.cache.remove_files(row.model_id, row.commit, bad)
            HuggingFaceModelService(self.database).download_model(row, reporter)
            return
        store_snapshot_facts(self.database, self.cache, row.id)

    def import_folder(self, row: Model, payload: ImportPayload, reporter: JobReporter) -> None:
        """Bring a folder's files into the cache by hard link or copy, each under its hash; convert a GGUF file.

        Raises InvalidRequest, PathNotAllowed, NoWeights, Conflict for a file that changes meanwhile, and what a
        conversion raises.
        """
        with self.database.reading() as session:
            rules = SettingsService(session).path_rules()
        if row.converted_from is not None:
            GgufImport(self.database, self.cache).convert(row, payload, rules, reporter)
            return
        files = list_importable(Path(payload.path), rules)
        total = sum(file.status.st_size for file in files.values())
        self.cache.prepare(row.model_id)
        if payload.mode == "copy":
            self.cache.ensure_free(total, reserve_bytes=DISK_RESERVE_BYTES)
        counter = ReadProgress(reporter, "verifying", total, len(files))
        stored = []
        for found in files.values():
            stored.append(self._import_file(row, found, payload.mode, counter) | {"present_before": False})
            counter.file_done()
        with self.database.session() as session:
            model = ModelService(session).get_by_id(row.id)
            model.files, model.size_bytes = stored, sum(file["size_bytes"] for file in stored)
        self.cache.write_ref(row.model_id, "main", row.commit)
        store_snapshot_facts(self.database, self.cache, row.id)

    def _import_file(self, row: Model, found: FoundFile, mode: str, counter: "ReadProgress") -> dict[str, Any]:
        """Hash, store and link one file, all of the same open file; returns its entry of the manifest."""
        with found.open() as source:
            sha256 = hash_content(source, hashlib.sha256(), counter.add)
            file = RemoteFile(found.name, found.status.st_size, sha256, None)
            take_file(self.cache, row.model_id, source, found, file, mode)
            if identity(os.fstat(source.fileno())) != identity(found.status):
                raise Conflict(f"{found.name} changed while it was imported.", hint="Import the folder again.")
        self.cache.link(row.model_id, row.commit, file)
        self.cache.mark_verified(row.model_id, file)
        with self._opened(row, file.path) as stored:
            return vars(file) | {"seen": identity(os.fstat(stored.fileno()))}

    def _opened(self, row: Model, name: str) -> BinaryIO:
        return open_inside(self.cache.snapshot_path(row.model_id, row.commit), name)

    def _start_adoption(self, name: str, *, allow_unsupported: bool) -> str:
        model_id = parse_model_reference(name).model_id
        repo = next((repo for repo in self.cache.scan() if repo.repo_id == model_id), None)
        snapshot = best_snapshot(repo) if repo else None
        if snapshot is None:
            raise ModelNotFound(f"The cache holds no snapshot of {model_id}.", hint="Download it instead.")
        problem = adoption_problem(self.cache, model_id, snapshot)
        if problem is not None:
            raise type(problem)(
                f"{model_id} in the cache cannot be used as it is: {problem.message.rstrip('.')}.",
                hint=ADOPTION_HINT,
                **problem.extra,
            ) from problem
        folder = self.cache.snapshot_path(model_id, snapshot.commit)
        if not allow_unsupported:
            self._require_loadable(found_files(folder, snapshot.files), model_id, snapshot.commit)
        files = [manifest_entry(folder, path) for path in snapshot.files]
        with self.database.session() as session:
            models = ModelService(session)
            row = models.create(
                ModelCreate(
                    model_id=model_id,
                    canonical_id=model_id,
                    endpoint=SettingsService(session).endpoint_reference(),
                    revision=snapshot.refs[0] if snapshot.refs else snapshot.commit,
                    commit=snapshot.commit,
                )
            )
            row.files = [file | {"present_before": True} for file in files]
            row.size_bytes = snapshot.size_bytes
            row.adopted = True
            models.start_job(row, JobKind.VERIFY)
            return row.id

    def _require_loadable(self, files: Mapping[str, FoundFile], name: str, commit: str) -> None:
        require_loadable_files(files, name, commit, InspectionService(self.database))

    def _start_folder(self, path: Path, model_id: str, request: ModelImportRequest, rules: PathRules) -> str:
        files, mode = list_importable(path, rules), request.mode
        if not request.allow_unsupported:
            self._require_loadable(files, str(path), commit_of(files))
        for file in files.values():
            file.open().close()  # what cannot be read is said now
        cache_device = (
            next(p for p in (self.cache.cache_dir, *self.cache.cache_dir.parents) if p.exists()).stat().st_dev
        )
        if mode == "link" and any(file.status.st_dev != cache_device for file in files.values()):
            raise InvalidRequest(
                f"{path} is on another disk than {self.cache.cache_dir}, so its files cannot be linked.",
                hint='Import it with mode "copy".',
            )
        with self.database.session() as session:
            models = ModelService(session)
            row = models.create(
                ModelCreate(
                    model_id=model_id, canonical_id=model_id, endpoint=LOCAL, revision="main", commit=commit_of(files)
                )
            )
            row.size_bytes = sum(file.status.st_size for file in files.values())
            models.start_job(row, JobKind.IMPORT, ImportPayload(path=str(path), mode=mode))
            return row.id

    def _with_hashes(self, row: Model, reporter: JobReporter) -> list[RemoteFile]:
        """Return the manifest; a file that lies in the cache without its hash as name is hashed, and its hash kept."""
        entries = [dict(file) for file in row.files or ()]
        unknown = [entry for entry in entries if entry["sha256"] is None and entry["git_sha1"] is None]
        if unknown:
            counter = ReadProgress(reporter, "verifying", sum(e["size_bytes"] for e in unknown), len(unknown))
            for entry in unknown:
                with self._opened(row, entry["path"]) as file:
                    entry["sha256"] = hash_content(file, hashlib.sha256(), counter.add)
            with self.database.session() as session:
                ModelService(session).get_by_id(row.id).files = entries
            row.files = entries
        return manifest(row)

    def _checked(
        self, row: Model, files: list[RemoteFile], reporter: JobReporter
    ) -> Iterator[tuple[RemoteFile, Identity | None]]:
        """Yield each file with its identity if its content is right, else with None."""
        counter = ReadProgress(reporter, "verifying", sum(file.size_bytes for file in files), len(files))
        with self.database.session() as session:
            models = ModelService(session)
            models.mark_downloading(models.get_by_id(row.id))
        for file in files:
            seen = None
            try:
                with self._opened(row, file.path) as content:
                    before = identity(os.fstat(content.fileno()))
                    good = before[0] == file.size_bytes
                    if good and hash_content(content, content_hasher(file), counter.add) == file.blob:
                        seen = before
            except (OSError, PathNotAllowed) as error:
                logger.warning("%s of %s cannot be read: %s", file.path, row.model_id, error)
            counter.file_done()
            yield file, seen

    def _remember_seen(self, row: Model, seen: Mapping[str, Identity]) -> None:
        """Note what imported files were when they were hashed, in every row of the same snapshot."""
        with self.database.session() as session:
            for model in ModelService(session).get_by_model_id(row.model_id):
                if model.commit == row.commit and model.files:
                    model.files = [file | {"seen": seen.get(file["path"])} for file in model.files]
