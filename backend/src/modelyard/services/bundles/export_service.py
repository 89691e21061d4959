"""Writing models into a bundle: what it would take, starting it, and a worker's part of it."""

import hashlib
import re
from collections.abc import Sequence
from io import FileIO
from pathlib import Path

from modelyard.core import bundle_tar
from modelyard.core.bundle_tar import Member, part_name, part_sizes
from modelyard.core.database import Database
from modelyard.core.errors import AlreadyExists, ChecksumMismatch, DiskFull, InvalidRequest, NotReady
from modelyard.core.settings import get_settings
from modelyard.core.storage import DISK_RESERVE_BYTES, ensure_free, free_bytes, storage_errors
from modelyard.hub.cache import disk
from modelyard.models import Bundle, BundleKind, Model
from modelyard.schemas.bundle import BundleCreate, BundledModelName, BundlePlan
from modelyard.schemas.common import ErrorDetail
from modelyard.services.bundles.bundle_service import BundleService
from modelyard.services.bundles.manifest import BundleManifest, parse_manifest
from modelyard.services.bundles.selection import Selection, describe, select_rows, with_hashes
from modelyard.services.bundles.writer import READ_BYTES, PartsWriter
from modelyard.services.jobs.control import JobReporter
from modelyard.services.read_progress import ReadProgress, hash_content

_MANIFEST_FILE = "manifest.json"
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_MAX_STEM = 100


class BundleExportService:
    """`plan` and `start` are the API's side, `write` a worker's."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def plan(self, request: BundleCreate) -> BundlePlan:
        """Return what an export would write. Raises ModelNotFound, NotReady, InvalidRequest."""
        rows, selection = self._select(request)
        size = selection.size_bytes
        refusal = None
        try:
            ensure_free(get_settings().bundles_folder, size, reserve_bytes=DISK_RESERVE_BYTES)
        except DiskFull as error:
            refusal = ErrorDetail.model_validate(error.as_dict())
        return BundlePlan(
            size_bytes=size,
            parts=len(part_sizes(size, request.split_bytes)),
            free_bytes=free_bytes(get_settings().bundles_folder),
            models=_names(rows),
            refusal=refusal,
        )

    def start(self, request: BundleCreate) -> str:
        """Queue an export. Returns the row's id. Raises DiskFull, AlreadyExists and what `plan` does."""
        rows, selection = self._select(request)
        content = selection.manifest.dump()
        digest = hashlib.sha256(content).hexdigest()
        with self.database.reading() as session:
            existing = BundleService(session).find_export(digest)
        if existing is not None:
            raise AlreadyExists(
                f"This bundle is here already ({existing.status}).", hint="Download its parts.", id=existing.id
            )
        size = selection.size_bytes
        ensure_free(get_settings().bundles_folder, size, reserve_bytes=DISK_RESERVE_BYTES)
        name = _file_name(rows)
        sizes = part_sizes(size, request.split_bytes)
        with self.database.session() as session:
            bundle = Bundle(
                kind=BundleKind.EXPORT,
                name=name,
                request=request.model_dump(mode="json") | {"rows": [row.id for row in rows]},
                digest=digest,
                models=[model.model_dump(mode="json") for model in _names(rows)],
                size_bytes=size,
                parts=[
                    {"name": part_name(name, number, len(sizes)), "size_bytes": part, "sha256": None}
                    for number, part in enumerate(sizes, 1)
                ],
            )
            return BundleService(session).create(bundle).id

    def write(self, bundle_id: str, reporter: JobReporter) -> None:
        """Write the parts, or go on where an earlier attempt ended. Called in a worker.

        Raises JobPaused, JobCancelled, StorageError, NotReady for files that are gone or changed since it was asked
        for, and ChecksumMismatch for a damaged file.
        """
        with self.database.session() as session:
            bundle = BundleService(session).mark_running(bundle_id)
        folder = bundle_folder(bundle_id)
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        selection = self._selection_of(bundle)
        manifest = self._manifest(folder, selection, reporter)
        content, members = manifest.dump(), manifest.members()
        names, sizes = [part["name"] for part in bundle.parts], [part["size_bytes"] for part in bundle.parts]
        with PartsWriter(folder, names, sizes) as writer:
            ensure_free(folder, bundle.size_bytes - writer.offset, reserve_bytes=DISK_RESERVE_BYTES)
            counter = ReadProgress(reporter, "writing", bundle.size_bytes, len(members), before=writer.offset)
            _Writing(writer, counter).write_all(content, members, selection.sources, manifest)
        with self.database.session() as session:
            row = BundleService(session).get_by_id(bundle_id)
            row.parts = [part | {"sha256": found} for part, found in zip(row.parts, writer.hashes, strict=True)]

    def _select(self, request: BundleCreate) -> tuple[list[Model], Selection]:
        if request.with_saes:
            raise InvalidRequest(
                "with_saes is not supported: bundles carry models, quantized copies and adapters.", hint="Leave it out."
            )
        with self.database.reading() as session:
            rows = select_rows(
                session, request.ids, with_quantized=request.with_quantized, with_adapters=request.with_adapters
            )
        return rows, describe(rows, split_bytes=request.split_bytes)

    def _selection_of(self, bundle: Bundle) -> Selection:
        with self.database.reading() as session:
            rows = select_rows(session, bundle.request["rows"], with_quantized=False, with_adapters=False)
        selection = describe(rows, split_bytes=bundle.request["split_bytes"])
        if hashlib.sha256(selection.manifest.dump()).hexdigest() != bundle.digest:
            raise NotReady("The models changed since this export was started.", hint="Delete it and start a new one.")
        return selection

    def _manifest(self, folder: Path, selection: Selection, reporter: JobReporter) -> BundleManifest:
        """Return the manifest with all hashes, which is written down once, so that every attempt writes the same."""
        path = folder / _MANIFEST_FILE
        if path.exists():
            return parse_manifest(path.read_bytes())
        unknown = {
            member: selection.sources[member.blob] for member in selection.manifest.members() if len(member.blob) == 40
        }
        counter = ReadProgress(reporter, "hashing", sum(member.size_bytes for member in unknown), len(unknown))
        hashes = {}
        for member, source in unknown.items():
            with _opened(source) as file:
                hashes[member.blob] = hash_content(file, hashlib.sha256(), counter.add)
            counter.file_done()
        manifest = with_hashes(selection, hashes)
        parse_manifest(manifest.dump())  # nothing is written that no server would read
        disk.write_atomically(path, disk.unique_beside(path), manifest.dump(), durable=True)
        return manifest


class _Writing:
    """Writes what is not written yet: everything before the writer's offset is left out."""

    def __init__(self, writer: PartsWriter, counter: ReadProgress) -> None:
        self._writer, self._counter = writer, counter
        self._at = 0

    def write_all(
        self, content: bytes, members: Sequence[Member], sources: dict[str, Path], manifest: BundleManifest
    ) -> None:
        line = bundle_tar.checksum_line(hashlib.sha256(content).hexdigest())
        self._bytes(bundle_tar.header(bundle_tar.MANIFEST_NAME, len(content)) + content)
        self._bytes(bytes(bundle_tar.padding(len(content))))
        self._bytes(bundle_tar.header(bundle_tar.CHECKSUM_NAME, len(line)) + line)
        self._bytes(bytes(bundle_tar.padding(len(line))))
        names = manifest.names()
        hashes = {file.member.blob: file.sha256 for model in manifest.models for file in model.all_files()}
        for member in members:
            self._bytes(bundle_tar.header(member.name, member.size_bytes))
            self._file(member, sources[member.blob], hashes[member.blob], names[member.blob])
            self._bytes(bytes(bundle_tar.padding(member.size_bytes)))
            self._counter.file_done()
        self._bytes(bundle_tar.END)

    def _bytes(self, content: bytes) -> None:
        written = max(0, min(len(content), self._writer.offset - self._at))
        self._at += len(content)
        if written < len(content):
            self._writer.write(content[written:])
            self._counter.add(len(content) - written)

    def _file(self, member: Member, source: Path, sha256: str, name: str) -> None:
        if self._at + member.size_bytes <= self._writer.offset:
            self._at += member.size_bytes
            return
        # The beginning is read even if it is written already: the hash is that of the whole file.
        hasher, left = hashlib.sha256(), member.size_bytes
        with _opened(source) as file:
            while left:
                chunk = file.read(min(READ_BYTES, left))
                if not chunk:
                    raise ChecksumMismatch(f"{name} is shorter than it was.", hint="Verify the model.")
                left -= len(chunk)
                hasher.update(chunk)
                self._bytes(chunk)
        if hasher.hexdigest() != sha256:
            raise ChecksumMismatch(f"{name} is damaged: it does not have its hash.", hint="Verify the model.")


def bundle_folder(bundle_id: str) -> Path:
    """Return where the parts of an export lie."""
    return get_settings().bundles_folder / bundle_id


def _opened(source: Path) -> FileIO:
    try:
        return source.open("rb", buffering=0)
    except FileNotFoundError as error:
        raise NotReady(f"{source} is gone.", hint="Verify the model, then resume the export.") from error


def _names(rows: Sequence[Model]) -> list[BundledModelName]:
    return [
        BundledModelName(model_id=row.model_id, commit=row.commit, quantization=row.quantization.value, id=row.id)
        for row in rows
    ]


def _file_name(rows: Sequence[Model]) -> str:
    """Return a name for the file: that of the first model, and how many others there are."""
    others = len({row.model_id for row in rows}) - 1
    stem = _UNSAFE.sub("-", rows[0].name).strip("-.")[:_MAX_STEM] or "models"
    return f"{stem}-and-{others}-more.tar" if others else f"{stem}.tar"
