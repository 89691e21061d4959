"""Bringing the models of a bundle into the cache: checking it, starting it, and a worker's part of it."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelyard.core.bundle_tar import whole_name
from modelyard.core.database import Database
from modelyard.core.errors import AlreadyExists, Conflict, InvalidBundle, UnsafeWeights
from modelyard.core.paths import PathRules
from modelyard.core.settings import get_settings
from modelyard.core.storage import DISK_RESERVE_BYTES, storage_errors
from modelyard.hub.cache import disk
from modelyard.models import Bundle, BundleKind, ModelStatus, Quantization
from modelyard.schemas.bundle import BundledModelName, BundleImportRequest
from modelyard.services.bundles.bundle_service import BundleService
from modelyard.services.bundles.imported_rows import ImportedRows
from modelyard.services.bundles.manifest import BundledModel, BundleManifest, is_pickle
from modelyard.services.bundles.reader import BundleReader, find_parts, opened_bundle
from modelyard.services.bundles.targets import Targets
from modelyard.services.jobs.control import JobProgress, JobReporter, raise_if_stopped
from modelyard.services.model_files import hub_cache, is_whole
from modelyard.services.model_service import ModelService
from modelyard.services.read_progress import ReadProgress
from modelyard.services.settings_service import SettingsService

MANIFEST_FILE = "manifest.json"


class BundleImportService:
    """`start` is the API's side, `read` a worker's. Nothing here needs a Hub."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.cache = hub_cache()

    def start(self, request: BundleImportRequest) -> str:
        """Check a bundle's manifest and queue its import. Returns the id of the bundle's row.

        Raises InvalidBundle, InvalidRequest, PathNotAllowed, UnsafeWeights, DiskFull, AlreadyExists where this import
        is under way, and Conflict where one of its models is.
        """
        rules = PathRules.of(get_settings())
        with opened_bundle(request.path, rules) as reader:
            manifest, size_bytes = reader.manifest, reader.size_bytes
        path = str(find_parts(Path(request.path), rules)[0].real)
        _require_consent(manifest, allow_pickle=request.allow_pickle)
        with self.database.reading() as session:
            existing = BundleService(session).find_import(path)
        if existing is not None:
            raise AlreadyExists(f"This import is {existing.status}.", hint="Resume or delete it.", id=existing.id)
        here = self._here(manifest)
        targets = Targets(self.cache, manifest, here, "")
        targets.require_room(DISK_RESERVE_BYTES)
        present = {
            _key(model): [
                file.path
                for file in self.cache.inventory(
                    model.model_id, model.commit, [file.remote for file in model.files or ()]
                ).present
            ]
            for model in manifest.models
        }
        name = Path(path).name
        with self.database.session() as session:
            bundle = Bundle(
                kind=BundleKind.IMPORT,
                name=whole_name(name) or name,
                path=path,
                request=request.model_dump(mode="json") | {"present": present},
                digest=hashlib.sha256(manifest.dump()).hexdigest(),
                models=[_named(model, precision) for model in manifest.models for precision in model.precisions],
                size_bytes=size_bytes,
                parts=[],
            )
            return BundleService(session).create(bundle).id

    def read(self, bundle_id: str, reporter: JobReporter) -> None:
        """Read the bundle, file by file into the cache, and make the rows. Called in a worker.

        Content that an earlier attempt has published is not read again. Raises JobPaused, JobCancelled, StorageError,
        InvalidBundle, Conflict and what keeps a model from being used.
        """
        with self.database.session() as session:
            bundle = BundleService(session).mark_running(bundle_id)
            rules = SettingsService(session).path_rules()
        with opened_bundle(bundle.path or "", rules) as reader:
            if hashlib.sha256(reader.manifest.dump()).hexdigest() != bundle.digest:
                raise InvalidBundle(f"{bundle.path} is another bundle than the one whose import was started.")
            self._remember(bundle_id, reader.manifest)
            here = self._here(reader.manifest, job_id=bundle.job_id)
            targets = Targets(self.cache, reader.manifest, here, bundle_id)
            self._read_contents(reader, targets, reporter)
            manifest = reader.manifest
        reporter.report(
            JobProgress("finishing", bytes_done=bundle.size_bytes, bytes_total=bundle.size_bytes, files_done=0)
        )
        rows = ImportedRows(self.database, self.cache, bundle)
        made: list[BundledModelName] = []
        for model in manifest.models:
            for precision in model.precisions:
                raise_if_stopped(reporter)
                row_id = here.get((model.model_id, model.commit, precision))
                if row_id is None:
                    targets.publish(model, precision)
                    row_id = rows.make(model, precision)
                made.append(BundledModelName.model_validate(_named(model, precision) | {"id": row_id}))
        with self.database.session() as session:
            BundleService(session).get_by_id(bundle_id).models = [each.model_dump(mode="json") for each in made]

    def _read_contents(self, reader: BundleReader, targets: Targets, reporter: JobReporter) -> None:
        targets.prepare()
        targets.require_room(DISK_RESERVE_BYTES)
        wanted = {member for member in reader.members if targets.lacks(member)}
        before = reader.size_bytes - sum(member.size_bytes for member in wanted)
        counter = ReadProgress(reporter, "reading", reader.size_bytes, len(reader.members), before=before)
        for member, chunks in reader.contents(wanted.__contains__):
            if chunks is not None:
                with storage_errors():
                    targets.store(member, _counted(chunks, counter))
            counter.file_done()

    def _here(self, manifest: BundleManifest, *, job_id: str | None = None) -> dict[tuple[str, str, Quantization], str]:
        """Return the ids of those rows that are ready already, by what they are.

        Raises Conflict for one that other work than this job is at.
        """
        found = {}
        with self.database.reading() as session:
            models = ModelService(session)
            rows = [row for model in manifest.models for row in models.get_by_model_id(model.model_id)]
        wanted = {
            (model.model_id, model.commit, precision) for model in manifest.models for precision in model.precisions
        }
        for row in rows:
            key = (row.model_id, row.commit, row.quantization)
            if key not in wanted or (job_id is not None and row.job_id == job_id):
                continue
            if row.status is ModelStatus.READY and is_whole(self.cache, row):
                found[key] = row.id
            elif row.status not in (ModelStatus.READY, ModelStatus.FAILED, ModelStatus.CANCELLED, ModelStatus.MISSING):
                raise Conflict(f"{row.model_id} is {row.status}.", hint="Cancel that, or import once it is ready.")
        return found

    def _remember(self, bundle_id: str, manifest: BundleManifest) -> None:
        """Keep the manifest, so that what was read can be removed also when the bundle is gone."""
        folder = get_settings().bundles_folder / bundle_id
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / MANIFEST_FILE
        if not path.exists():
            disk.write_atomically(path, disk.unique_beside(path), manifest.dump())


def _counted(chunks: Iterator[bytes], counter: ReadProgress) -> Iterator[bytes]:
    for chunk in chunks:
        yield chunk
        counter.add(len(chunk))


def _key(model: BundledModel) -> str:
    return f"{model.model_id}@{model.commit}"


def _named(model: BundledModel, precision: Quantization) -> dict[str, Any]:
    return {"model_id": model.model_id, "commit": model.commit, "quantization": precision.value, "id": None}


def _require_consent(manifest: BundleManifest, *, allow_pickle: bool) -> None:
    for model in manifest.models:
        if not allow_pickle and any(is_pickle(file.path) for file in model.files or ()):
            raise UnsafeWeights(
                f"{model.model_id} has pickle weights, which can run code when they are read.",
                hint="Import it with allow_pickle (--allow-pickle) if you trust its author.",
            )
