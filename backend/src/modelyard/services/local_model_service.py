"""Models whose bytes are here already: in the shared cache, in a folder, or installed and to be checked again."""

import errno
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from huggingface_hub import parse_local_safetensors_file_metadata
from huggingface_hub.errors import SafetensorsParsingError

from modelyard.core.adapters import ADAPTER_CONFIG, adapter_hint, adapter_message, find_base_model
from modelyard.core.database import Database
from modelyard.core.environment import expand_home
from modelyard.core.errors import (
    ChecksumMismatch,
    Conflict,
    InvalidRepository,
    InvalidRequest,
    ModelNotFound,
    ModelyardError,
    NoWeights,
    PathNotAllowed,
    UnsafeWeights,
)
from modelyard.core.model_ids import parse_model_reference
from modelyard.core.paths import FoundFile, PathRules, open_inside, resolve_inside
from modelyard.core.repository_json import read_config_file, read_config_inside
from modelyard.core.safetensors_header import read_header
from modelyard.core.settings import get_settings
from modelyard.hub.cache.hashing import HASH_CHUNK_BYTES, Identity, content_hasher, identity
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.hub.cache.scan import CachedRepo, CachedSnapshot
from modelyard.hub.names import RemoteFile, validate_path
from modelyard.hub.server.metadata import licence_of
from modelyard.models import JobKind, Model, ModelStatus
from modelyard.schemas.architecture import Dimensions
from modelyard.schemas.cache import CachedModel, CacheListing, Leftover, ModelImportRequest
from modelyard.schemas.download import ModelInfo
from modelyard.schemas.model import ModelCreate
from modelyard.services.facts.config_facts import read_config
from modelyard.services.facts.file_plan import FilePlan, plan_files
from modelyard.services.facts.folder_content import hub_files, index_of, require_content
from modelyard.services.facts.model_facts import store_facts, tensors
from modelyard.services.facts.parameter_count import parameter_count
from modelyard.services.facts.stored_tensors import compare_files
from modelyard.services.facts.training_verdict import static_verdict
from modelyard.services.huggingface_model_service import (
    HuggingFaceModelService,
    Reporter,
    stop_if_asked,
)
from modelyard.services.inspection.inspection_service import InspectionService
from modelyard.services.inspection.memory_service import Checkpoint
from modelyard.services.inspection.model_preview import plan_rows, support
from modelyard.services.jobs.job_service import JobProgress
from modelyard.services.model_files import DISK_RESERVE_BYTES, hub_cache, manifest, weight_files
from modelyard.services.model_service import ModelService
from modelyard.services.settings_service import LOCAL, SettingsService

_ADOPTION_HINT = "Download it: what is there is used."

logger = logging.getLogger(__name__)


class LocalModelService:
    """Adopting, importing and verifying; nothing here needs a Hub unless a damaged file must be fetched again."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.cache = hub_cache()

    def list_cache(self) -> CacheListing:
        """What the shared cache holds that no row manages, and what unfinished downloads left."""
        with self.database.reading() as session:
            managed = {(row.model_id, row.commit) for row in ModelService(session).list(limit=1_000_000)[0]}
        return CacheListing(
            items=[
                CachedModel(
                    model_id=repo.repo_id,
                    commit=snapshot.commit,
                    revisions=list(snapshot.refs),
                    size_bytes=snapshot.size_bytes,
                    importable=(problem := _adoption_problem(self.cache, repo.repo_id, snapshot)) is None,
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
            unfinished = (ModelStatus.PENDING, ModelStatus.DOWNLOADING, ModelStatus.PAUSED, ModelStatus.FAILED)
            rows = ModelService(session).list(statuses=unfinished, limit=1_000_000)[0]
            wanted = {(row.model_id, file.blob) for row in rows for file in manifest(row)}
        freed = 0
        for partial in self.cache.partials():
            if partial.age_seconds >= older_than_seconds and (partial.repo_id, partial.blob) not in wanted:
                freed += self.cache.remove_partials(partial.repo_id, {partial.blob})
        return freed

    def start_import(self, request: ModelImportRequest) -> str:
        """Queue the adoption of a cached model or the import of a folder. Returns the row's id.

        Raises InvalidRequest, PathNotAllowed, ModelNotFound, AlreadyExists, NoWeights, UnsafeWeights,
        InvalidRepository, Conflict.
        """
        if request.cached is not None:
            return self._start_adoption(request.cached)
        if request.path is None or request.model_id is None:
            raise InvalidRequest(
                "An import needs a path and a model_id, or the name of a cached model.",
                hint='Send {"path": "/folder", "model_id": "local/name"} or {"cached": "owner/name"}.',
            )
        return self._start_folder(Path(request.path), request.model_id, request.mode)

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

    def verify(self, row: Model, reporter: Reporter) -> None:
        """Hash every file of a row's snapshot; what is damaged or gone is fetched again, and only that.

        Raises ChecksumMismatch when the damaged files came from a folder, besides what a download raises.
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
            raise ChecksumMismatch(
                f"{bad[0].path} of {row.model_id} is damaged or gone, and there is no Hub to fetch it from.",
                hint="Delete the entry and import the folder again.",
            )
        if row.endpoint == LOCAL:
            self._remember_seen(row, seen)
        if bad:
            self.cache.remove_files(row.model_id, row.commit, bad)
            HuggingFaceModelService(self.database).download_model(row, reporter)
            return
        self._store_local_facts(row.id)

    def import_folder(self, row: Model, payload: dict[str, Any], reporter: Reporter) -> None:
        """Bring a folder's files into the cache by hard link or copy, each under its hash.

        Raises InvalidRequest, PathNotAllowed, NoWeights, and Conflict for a file that changes meanwhile.
        """
        with self.database.reading() as session:
            rules = SettingsService(session).path_rules()
        files = _listed(Path(payload["path"]), rules)
        total = sum(file.status.st_size for file in files.values())
        self.cache.prepare(row.model_id)
        if payload["mode"] == "copy":
            self.cache.ensure_free(total, reserve_bytes=DISK_RESERVE_BYTES)
        counter = _Counter(reporter, "verifying", total, len(files))
        stored = []
        for found in files.values():
            stored.append(self._import_file(row, found, payload["mode"], counter) | {"present_before": False})
            counter.file_done()
        with self.database.session() as session:
            model = ModelService(session).get_by_id(row.id)
            model.files, model.size_bytes = stored, sum(file["size_bytes"] for file in stored)
        self.cache.write_ref(row.model_id, "main", row.commit)
        self._store_local_facts(row.id)

    def _import_file(self, row: Model, found: FoundFile, mode: str, counter: "_Counter") -> dict[str, Any]:
        """Hash, store and link one file, all of the same open file; returns its entry of the manifest."""
        with found.open() as source:
            sha256 = _hash(source, hashlib.sha256(), counter.add)
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

    def _start_adoption(self, name: str) -> str:
        model_id = parse_model_reference(name).model_id
        repo = next((repo for repo in self.cache.scan() if repo.repo_id == model_id), None)
        snapshot = _best_snapshot(repo) if repo else None
        if snapshot is None:
            raise ModelNotFound(f"The cache holds no snapshot of {model_id}.", hint="Download it instead.")
        problem = _adoption_problem(self.cache, model_id, snapshot)
        if problem is not None:
            raise type(problem)(
                f"{model_id} in the cache cannot be used as it is: {problem.message.rstrip('.')}.",
                hint=_ADOPTION_HINT,
                **problem.extra,
            ) from problem
        folder = self.cache.snapshot_path(model_id, snapshot.commit)
        files = [_cached_file(folder, path) for path in snapshot.files]
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

    def _start_folder(self, path: Path, model_id: str, mode: str) -> str:
        model_id = parse_model_reference(model_id).model_id
        files = _listed(path, PathRules.of(get_settings()))
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
                    model_id=model_id, canonical_id=model_id, endpoint=LOCAL, revision="main", commit=_commit_of(files)
                )
            )
            row.size_bytes = sum(file.status.st_size for file in files.values())
            models.start_job(row, JobKind.IMPORT, {"path": str(path), "mode": mode})
            return row.id

    def _with_hashes(self, row: Model, reporter: Reporter) -> list[RemoteFile]:
        """The manifest; a file that lies in the cache without its hash as name is hashed, and its hash kept."""
        entries = [dict(file) for file in row.files or ()]
        unknown = [entry for entry in entries if entry["sha256"] is None and entry["git_sha1"] is None]
        if unknown:
            counter = _Counter(reporter, "verifying", sum(e["size_bytes"] for e in unknown), len(unknown))
            for entry in unknown:
                with self._opened(row, entry["path"]) as file:
                    entry["sha256"] = _hash(file, hashlib.sha256(), counter.add)
            with self.database.session() as session:
                ModelService(session).get_by_id(row.id).files = entries
            row.files = entries
        return manifest(row)

    def _checked(
        self, row: Model, files: list[RemoteFile], reporter: Reporter
    ) -> Iterator[tuple[RemoteFile, Identity | None]]:
        """Each file with its identity if its content is right, else with None."""
        counter = _Counter(reporter, "verifying", sum(file.size_bytes for file in files), len(files))
        with self.database.session() as session:
            models = ModelService(session)
            models.mark_downloading(models.get_by_id(row.id))
        for file in files:
            seen = None
            try:
                with self._opened(row, file.path) as content:
                    before = identity(os.fstat(content.fileno()))
                    good = before[0] == file.size_bytes
                    if good and _hash(content, content_hasher(file), counter.add) == file.blob:
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

    def _store_local_facts(self, row_id: str) -> None:
        with self.database.reading() as session:
            row = ModelService(session).get_by_id(row_id)
        folder = self.cache.snapshot_path(row.model_id, row.commit)
        try:
            config = read_config_inside(folder, row.model_id)
        except FileNotFoundError:
            config = {}
        weights = weight_files(row, folder)
        found, licence = tensors(map(parse_local_safetensors_file_metadata, weights.values())), licence_of(folder)
        described = InspectionService(self.database).described(row.model_id, row.commit)
        num_parameters = parameter_count(config, found, described, compare_files(weights))
        with self.database.session() as session:
            row = ModelService(session).get_by_id(row_id)
            names = [file["path"] for file in row.files or ()]
            store_facts(row, config, found, names, num_parameters=num_parameters)
            row.licence = row.licence or licence


class _Counter:
    """Progress of reading files, with a rate over the whole read so far; asks whether to stop."""

    def __init__(self, reporter: Reporter, phase: str, total: int, files: int) -> None:
        self._reporter, self._phase, self._total, self._files = reporter, phase, total, files
        self._done = self._files_done = 0
        self._began = time.monotonic()

    def add(self, size: int) -> None:
        """Raises TransferPaused or TransferCancelled when asked to stop."""
        self._done += size
        stop_if_asked(self._reporter)
        self._report()

    def file_done(self) -> None:
        self._files_done += 1
        self._report()

    def _report(self) -> None:
        rate = self._done / max(time.monotonic() - self._began, 0.001)
        self._reporter.report(
            JobProgress(
                phase=self._phase,
                bytes_done=self._done,
                bytes_moved=self._done,
                bytes_total=self._total,
                bytes_per_second=rate,
                eta_seconds=(self._total - self._done) / rate if rate else None,
                files_done=self._files_done,
                files_total=self._files,
            )
        )


def take_file(cache: HubCache, model_id: str, source: BinaryIO, found: FoundFile, file: RemoteFile, mode: str) -> None:
    """Put an open file's content under its hash into the cache, whole or not at all. Raises InvalidRequest, Conflict.

    A blob that is there is kept only if it is this file, or has not changed since it was hashed: a hard link may have.
    """
    blob, status = cache.blob_path(model_id, file.blob), os.fstat(source.fileno())
    if cache.has_blob(model_id, file) and (
        os.path.samestat(blob.stat(), status) or cache.is_marked_verified(model_id, file)
    ):
        return
    temporary = cache.part_path(model_id, file.blob)
    temporary.unlink(missing_ok=True)
    try:
        if mode == "link":
            _link(found, status, temporary)
        else:
            _copy(source, file, temporary)
        temporary.replace(blob)
    finally:
        temporary.unlink(missing_ok=True)


def _link(found: FoundFile, status: os.stat_result, target: Path) -> None:
    if os.geteuid() not in (0, status.st_uid):
        raise InvalidRequest(
            f"{found.name} belongs to another user, who could change it here, too, if it were linked.",
            hint='Use mode "copy".',
        )
    try:
        os.link(found.real, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOENT):
            raise
        raise InvalidRequest(f"{found.name} cannot be linked into the cache.", hint='Use mode "copy".') from error
    # The name may lead to another file by now.
    if not os.path.samestat(target.lstat(), status):
        raise Conflict(f"{found.name} changed while it was imported.", hint="Import the folder again.")


def _copy(source: BinaryIO, file: RemoteFile, target: Path) -> None:
    source.seek(0)
    hasher = content_hasher(file)
    with target.open("xb") as copy:
        while chunk := source.read(HASH_CHUNK_BYTES):
            hasher.update(chunk)
            copy.write(chunk)
    if hasher.hexdigest() != file.blob:
        raise Conflict(f"{file.path} changed while it was imported.", hint="Import the folder again.")


def _hash(source: BinaryIO, hasher: Any, on_bytes: Callable[[int], None]) -> str:
    while chunk := source.read(HASH_CHUNK_BYTES):
        hasher.update(chunk)
        on_bytes(len(chunk))
    return str(hasher.hexdigest())


def model_folder(text: str) -> Path | None:
    """The folder that a text names instead of a model on a Hub: one with a config.json, or whatever looks like a path.

    Raises InvalidRequest for a path that leads to no such folder.
    """
    folder = expand_home(Path(text))
    if (folder / "config.json").is_file():
        return folder.resolve()
    if not text.startswith(("/", ".", "~")):
        return None
    if (folder / ADAPTER_CONFIG).is_file():
        base = find_base_model(folder)
        raise InvalidRequest(f"{text}: {adapter_message(base)}", hint=adapter_hint(base))
    if any(folder.glob("*.gguf")):
        message = f"{text} holds only GGUF files: they are for llama.cpp and the like, transformers cannot load them."
        raise InvalidRequest(message, hint="Name a folder of the model that they were made from.")
    raise InvalidRequest(f"{text} is not a folder with a config.json.", hint="Name a model's folder, or its id.")


@dataclass(frozen=True)
class LocalCheckpoint:
    """A model's folder that nobody manages, as far as its files tell without being read whole."""

    checkpoint: Checkpoint
    plan: FilePlan


def read_folder(folder: Path) -> LocalCheckpoint:
    """The configuration and the weight files' headers of a folder, which needs no weights.

    Raises InvalidRequest, InvalidRepository.
    """
    found = PathRules.of_this_user().list_folder(folder)
    plan = plan_files(hub_files(found), allow_pickle=True, index=index_of(found, str(folder)))
    try:
        config = read_config_file(found["config.json"].real, str(folder))
        for file in plan.safetensors:
            read_header(found[file.path].real, str(folder), file.path)
        weights = {file.path: found[file.path].real for file in plan.safetensors}
        headers = [parse_local_safetensors_file_metadata(path) for path in weights.values()]
    except (ValueError, SafetensorsParsingError) as error:
        raise InvalidRequest(f"A file of {folder} is damaged: {error}", hint="Copy or download it again.") from error
    checkpoint = Checkpoint(
        str(folder),
        _commit_of(found),
        config,
        tensors(headers),
        plan.size_bytes,
        files=sorted(found),
        weights_problem=plan.weights.problem,
        same=compare_files(weights),
    )
    return LocalCheckpoint(checkpoint, plan)


def folder_info(local: LocalCheckpoint, inspections: InspectionService, *, seconds: float) -> ModelInfo:
    """What `get_model_info` tells, of a folder. Waits at most `seconds` for the inspector."""
    checkpoint, plan = local.checkpoint, local.plan
    facts = read_config(checkpoint.config)
    names = [planned.file.path for planned in plan.files]
    found = support(
        inspections,
        checkpoint.model_id,
        checkpoint.commit,
        checkpoint.config,
        names=names,
        weights_problem=checkpoint.weights_problem,
        unscaled=checkpoint.unscaled,
        held=checkpoint.held,
        seconds=seconds,
    )
    return ModelInfo(
        model_id=checkpoint.model_id,
        canonical_id=checkpoint.model_id,
        commit=checkpoint.commit,
        endpoint=LOCAL,
        architecture=facts.architecture,
        model_type=facts.model_type,
        dimensions=Dimensions(**facts.dimensions),
        num_parameters=parameter_count(checkpoint.config, checkpoint.tensors, found.described, checkpoint.same),
        dtype=facts.dtype,
        size_bytes=plan.size_bytes,
        missing_bytes=0,
        files=plan_rows(plan),
        licence=None,
        access="open",
        tags=[],
        downloads=None,
        likes=None,
        last_modified=None,
        has_tokenizer=plan.has_tokenizer,
        needs_custom_code=bool(found.needs_custom_code),
        already_quantized=facts.quantization_method,
        support=found.support,
        training=static_verdict(checkpoint.model_id, checkpoint.config, names),
        warnings=[],
    )


def _listed(folder: Path, rules: PathRules) -> dict[str, FoundFile]:
    """The files of a folder that a download would have fetched, by name.

    Raises PathNotAllowed, InvalidRequest, NoWeights.
    """
    found = rules.list_folder(folder)
    plan = plan_files(hub_files(found), index=index_of(found, str(folder)))
    plan.require_weights(str(folder), allow_pickle=False, adapter_base=find_base_model(folder))
    if "config.json" not in found:
        raise NoWeights(f"{folder} has no config.json.", hint="Choose a folder made by save_pretrained or a snapshot.")
    for file in plan.fetched:
        validate_path(file.path)
    require_content(found, plan, str(folder))
    return {file.path: found[file.path] for file in plan.fetched}


def _commit_of(files: Mapping[str, FoundFile]) -> str:
    """A name for a folder's state: git-like, from names, sizes and times of change."""
    digest = hashlib.sha1(usedforsecurity=False)
    for name, file in files.items():
        digest.update(f"{name}\0{file.status.st_size}\0{file.status.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def _best_snapshot(repo: CachedRepo) -> CachedSnapshot | None:
    by_ref = [snapshot for snapshot in repo.snapshots if "main" in snapshot.refs]
    return next(iter(by_ref or repo.snapshots), None)


def _adoption_problem(cache: HubCache, repo_id: str, snapshot: CachedSnapshot) -> ModelyardError | None:
    """Why a cached snapshot is not a whole model of which Modelyard can take care, or None.

    A Conflict for what the cache made of it; NoWeights, UnsafeWeights or InvalidRepository for its files.
    """
    names = set(snapshot.files)
    folder = cache.snapshot_path(repo_id, snapshot.commit)
    if any(part.is_symlink() for part in (folder.parent.parent, folder.parent, folder)):
        return Conflict(
            "its folder is a link, and what that leads to is not the cache's to change or remove", hint=_ADOPTION_HINT
        )
    for name in snapshot.files:
        try:
            resolve_inside(folder, name)
        except (PathNotAllowed, OSError):
            return Conflict(f"{name} is a link that leads out of its repository", hint=_ADOPTION_HINT)
    if snapshot.missing:
        return Conflict(f"{len(snapshot.missing)} of its files are broken links", hint=_ADOPTION_HINT)
    if "config.json" not in names:
        return NoWeights("it has no config.json")
    return _content_problem(folder, names, repo_id)


def _content_problem(folder: Path, names: set[str], repo_id: str) -> ModelyardError | None:
    """What is wrong with the files of a snapshot, all of which lie in it; or None."""
    found = {name: FoundFile(name, real := resolve_inside(folder, name), real.stat()) for name in names}
    try:
        plan = plan_files(hub_files(found), index=index_of(found, repo_id))
        plan.require_weights(repo_id, allow_pickle=False, adapter_base=find_base_model(folder))
        require_content(found, plan, repo_id)
    except (NoWeights, UnsafeWeights, InvalidRepository, Conflict, InvalidRequest) as error:
        return error
    return None


def _cached_file(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    # The cache names content by its hash: sha256 of large files, git's of small ones.
    blob = path.readlink().name if path.is_symlink() else ""
    return {
        "path": name,
        "size_bytes": path.stat().st_size,
        "sha256": blob if len(blob) == 64 else None,
        "git_sha1": blob if len(blob) == 40 else None,
    }
