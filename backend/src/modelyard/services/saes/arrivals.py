"""How SAEs that were not trained here come onto the shelf: copied from a folder, or fetched from a Hub."""

import os
import shutil
from pathlib import Path, PurePosixPath

from modelyard.core.database import Database
from modelyard.core.errors import AlreadyExists, InvalidRequest
from modelyard.core.model_ids import parse_model_reference
from modelyard.core.paths import FoundFile, PathRules
from modelyard.core.private_files import open_private
from modelyard.core.settings import get_settings
from modelyard.core.storage import DISK_RESERVE_BYTES, ensure_free, remove_folder, storage_errors
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.hub.client import HubClient
from modelyard.hub.model_info import HubModel
from modelyard.hub.names import RemoteFile
from modelyard.models import JobKind, Sae, SaeSource
from modelyard.models.base import new_id
from modelyard.schemas.sae import SaeDownload, SaeImport
from modelyard.services.inspection.hub_repository import remote_file
from modelyard.services.jobs.control import JobProgress, JobReporter
from modelyard.services.saes.sae_folder import CONFIG, OPTIONAL, WEIGHTS, check_weights, own_folder, read_facts
from modelyard.services.saes.sae_service import SaeService
from modelyard.services.settings_service import SettingsService
from modelyard.services.snapshot_transfer import SnapshotTransfer, patiently

MAX_CONFIG_BYTES = 1_000_000
_SHOWN_FOLDERS = 20


class SaeArrivals:
    """`import_folder` and `start_download` are the API's side, `fetch` a worker's."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def import_folder(self, request: SaeImport) -> str:
        """Copy an SAE of a folder that the server reads for users. Returns the id of its row.

        Raises InvalidRequest, PathNotAllowed, InvalidRepository, NoWeights, UnsupportedArchitecture, DiskFull.
        """
        source = Path(request.path)
        files = PathRules.of(get_settings()).list_folder(source)
        name = request.name or source.name
        missing = [each for each in (CONFIG, WEIGHTS) if each not in files]
        if missing:
            raise InvalidRequest(
                f"{source} has no {missing[0]}.", hint=f"Name the folder that holds {CONFIG} and {WEIGHTS}."
            )
        with files[CONFIG].open() as config:
            facts = read_facts(config.read(MAX_CONFIG_BYTES + 1), name)
        with files[WEIGHTS].open() as weights:
            check_weights(weights, files[WEIGHTS].status.st_size, facts, name)
        taken = {each: files[each] for each in (CONFIG, WEIGHTS, *OPTIONAL) if each in files}
        sae = Sae(id=new_id(), name=name[:200], source=SaeSource.IMPORTED, ready=True)
        facts.store(sae)
        sae.size_bytes = _copy(taken, own_folder(sae.id) / "sae")
        with self.database.session() as session:
            session.add(sae)
        return sae.id

    def start_download(self, request: SaeDownload) -> str:
        """Look at an SAE on the Hub in use and queue its download. Returns the id of its row.

        Raises InvalidRequest, AlreadyExists, Conflict, InvalidRepository, UnsupportedArchitecture, HubError, DiskFull.
        """
        with self.database.reading() as session:
            settings = SettingsService(session)
            endpoint, client = settings.endpoint_reference(), settings.hub_client()
        reference = parse_model_reference(request.repo_id, endpoint=client.endpoint)
        path = request.path.strip("/")
        with client.within_patience():
            model = client.model_info(reference.model_id, request.revision or reference.revision)
            name = f"{model.model_id}/{path}".rstrip("/")
            files = _files_below(model, path)
            config = client.read_small_file(
                model.model_id, model.commit, _inside(path, CONFIG), limit_bytes=MAX_CONFIG_BYTES
            )
        facts = read_facts(config or b"", name)
        size_bytes = sum(file.size_bytes for file in files)
        ensure_free(get_settings().saes_folder, size_bytes, reserve_bytes=DISK_RESERVE_BYTES)
        with self.database.session() as session:
            saes = SaeService(session)
            sae = saes.of_repository(endpoint, model.model_id, model.commit, path)
            if sae is None:
                sae = Sae(name=name[:500], source=SaeSource.HUB, endpoint=endpoint, repo_id=model.model_id)
                sae.repo_commit, sae.repo_path = model.commit, path
                session.add(sae)
                session.flush()
            elif sae.ready:
                raise AlreadyExists(
                    f"{name} is on the shelf already.", hint="Use that one, or delete it first.", id=sae.id
                )
            facts.store(sae)
            sae.size_bytes = size_bytes
            saes.start_work(sae, JobKind.FETCH_SAE)
            return sae.id

    def fetch(self, sae_id: str, reporter: JobReporter) -> None:
        """Fetch, verify and check the files. Called in a worker.

        Raises JobPaused, JobCancelled, HubError, StorageError, InvalidRepository, NoWeights.
        """
        reporter.report(JobProgress(phase="resolving"))
        with self.database.reading() as session:
            sae = SaeService(session).get_by_id(sae_id)
            client = SettingsService(session).hub_client(sae.endpoint)
        if sae.ready:
            return
        path, own = sae.repo_path or "", own_folder(sae.id)
        model = patiently(reporter, lambda: _resolve(client, sae))
        files = _files_below(model, path)
        cache = HubCache(own / "fetched")
        with storage_errors(own):
            own.mkdir(parents=True, exist_ok=True, mode=0o700)
        SnapshotTransfer(self.database).fetch(client, cache, model.model_id, model.commit, files, reporter)
        snapshot = cache.snapshot_path(model.model_id, model.commit) / path
        facts = read_facts((snapshot / CONFIG).read_bytes(), sae.name)
        with (snapshot / WEIGHTS).open("rb") as weights:
            check_weights(weights, (snapshot / WEIGHTS).stat().st_size, facts, sae.name)
        _settle(snapshot, own / "sae", [PurePosixPath(file.path).name for file in files])
        remove_folder(cache.cache_dir)
        with self.database.session() as session:
            row = SaeService(session).get_by_id(sae_id)
            facts.store(row)
            row.ready = True

    def discard(self, sae_id: str) -> None:
        """Remove what a cancelled download has fetched. Raises StorageError."""
        with storage_errors():
            remove_folder(own_folder(sae_id) / "fetched")


def _resolve(client: HubClient, sae: Sae) -> HubModel:
    with client.within_patience():
        return client.model_info(sae.repo_id or "", sae.repo_commit)


def _inside(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _files_below(model: HubModel, path: str) -> list[RemoteFile]:
    """Return the files of an SAE in one folder of a repository.

    Raises InvalidRequest, which names folders that have one.
    """
    listed = {file.path: file for file in model.files}
    wanted = {name: listed.get(_inside(path, name)) for name in (CONFIG, WEIGHTS)}
    if None in wanted.values():
        folders = [
            file.rpartition("/")[0] for file in listed if PurePosixPath(file).name == WEIGHTS and file != WEIGHTS
        ]
        shown = ", ".join(folders[:_SHOWN_FOLDERS]) + (", …" if len(folders) > _SHOWN_FOLDERS else "")
        raise InvalidRequest(
            f"{model.model_id} has no {CONFIG} and {WEIGHTS} in {path or 'its root'}.",
            hint=f"Its folders with an SAE: {shown}." if folders else "Name a repository in SAELens's format.",
            errors=[{"field": "path", "message": "holds no sparse autoencoder"}],
            folders=folders,
        )
    optional = [listed[_inside(path, name)] for name in OPTIONAL if _inside(path, name) in listed]
    return [remote_file(file) for file in (*wanted.values(), *optional) if file is not None]


def _copy(files: dict[str, FoundFile], target: Path) -> int:
    """Copy files into a new folder, which is there whole or not at all; returns their bytes. Raises StorageError."""
    ensure_free(target, sum(file.status.st_size for file in files.values()), reserve_bytes=DISK_RESERVE_BYTES)
    partial, size = target.with_name(f"{target.name}.partial"), 0
    with storage_errors(target):
        partial.mkdir(parents=True, mode=0o700)
        try:
            for name, found in files.items():
                with found.open() as source, open_private(partial / name, "xb") as copy:
                    shutil.copyfileobj(source, copy, 1 << 20)
                    size += copy.tell()
            partial.rename(target)
        except BaseException:
            remove_folder(target.parent)
            raise
    return size


def _settle(snapshot: Path, target: Path, names: list[str]) -> None:
    """Move verified files out of a cache, whose links lead to them, into their folder."""
    partial = target.with_name(f"{target.name}.partial")
    with storage_errors(target):
        remove_folder(partial)
        partial.mkdir(parents=True, mode=0o700)
        for name in names:
            os.link(os.path.realpath(snapshot / name), partial / name)
        remove_folder(target)
        partial.rename(target)
