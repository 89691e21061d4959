"""What a bundle of rows holds: their files, their quantized copies and adapters, and where these lie."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.core.bundle_tar import MAX_PARTS, part_sizes, total_bytes
from modelyard.core.errors import InvalidRequest, NotReady
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.hub.cache.scan import refs_of
from modelyard.models import Model, ModelKind, ModelStatus, Quantization
from modelyard.services.adapters import facts_of, is_base
from modelyard.services.bundles.manifest import (
    UNKNOWN_SHA256,
    BundledCopy,
    BundledFile,
    BundledGguf,
    BundledMerge,
    BundledModel,
    BundleManifest,
    carried_files,
)
from modelyard.services.imported_files import require_unchanged
from modelyard.services.inference.load_spec import weights_folder
from modelyard.services.model_files import ARTIFACT_MANIFEST, artifact_files, artifact_of, hub_cache
from modelyard.services.model_service import ModelService


@dataclass(frozen=True)
class Selection:
    """A manifest whose files are not all hashed yet, and for each content the file that has it."""

    manifest: BundleManifest
    sources: dict[str, Path]

    @property
    def size_bytes(self) -> int:
        """The exact size of the bundle: hashes that are not known yet are as long as they will be."""
        return total_bytes(len(self.manifest.dump()), self.manifest.members())


def select_rows(session: Session, ids: Sequence[str], *, with_quantized: bool, with_adapters: bool) -> list[Model]:
    """Return the rows to carry: those named, and what was asked for beside them. Raises ModelNotFound, NotReady."""
    models = ModelService(session)
    rows = {row.id: row for row in (models.get_by_id(row_id) for row_id in ids)}
    for row in rows.values():
        if row.status is not ModelStatus.READY:
            raise NotReady(f"{row.model_id} is {row.status}.", hint="Export it once it is ready.")
    ready = session.scalars(select(Model).where(Model.status == ModelStatus.READY).order_by(Model.created_at)).all()
    named = list(rows.values())
    for row in ready:
        copy = with_quantized and row.quantization is not Quantization.NONE
        if copy and any((row.model_id, row.commit) == (other.model_id, other.commit) for other in named):
            rows.setdefault(row.id, row)
        adapter = with_adapters and row.kind is ModelKind.ADAPTER
        if adapter and any(is_base(facts_of(row), other) for other in named):
            rows.setdefault(row.id, row)
    # Bases before adapters, so that an adapter finds its base when it is imported.
    return sorted(rows.values(), key=lambda row: (row.kind is ModelKind.ADAPTER, row.model_id, row.commit, row.id))


def describe(rows: Sequence[Model], *, split_bytes: int | None) -> Selection:
    """Return the manifest of a bundle of these rows. Looks at their files, so it is called outside of a transaction.

    Raises NotReady where files are gone or changed, InvalidRequest for too many parts.
    """
    cache = hub_cache()
    sources: dict[str, Path] = {}
    commits: dict[tuple[str, str], list[Model]] = {}
    for row in rows:
        commits.setdefault((row.model_id, row.commit), []).append(row)
    models = []
    for same in commits.values():
        model, files = _model(cache, same)
        models.append(model)
        sources |= files
    manifest = BundleManifest(split_bytes=split_bytes, models=tuple(models))
    selection = Selection(manifest, sources)
    if len(part_sizes(selection.size_bytes, split_bytes)) > MAX_PARTS:
        raise InvalidRequest(f"The bundle would have more than {MAX_PARTS} parts.", hint="Choose larger parts.")
    return selection


def with_hashes(selection: Selection, hashes: dict[str, str]) -> BundleManifest:
    """Return the manifest with the sha256 of the contents that had none."""

    def hashed(files: tuple[BundledFile, ...]) -> tuple[BundledFile, ...]:
        return tuple(
            file.model_copy(update={"sha256": hashes[file.git_sha1]}) if file.git_sha1 in hashes else file
            for file in files
        )

    models = tuple(
        model.model_copy(update={"files": None if model.files is None else hashed(model.files)})
        for model in selection.manifest.models
    )
    return replace(selection, manifest=selection.manifest.model_copy(update={"models": models})).manifest


def _model(cache: HubCache, rows: Sequence[Model]) -> tuple[BundledModel, dict[str, Path]]:
    sources: dict[str, Path] = {}
    files, copies = None, []
    for row in rows:
        if row.quantization is Quantization.NONE:
            files = _snapshot_files(cache, row, sources)
        else:
            copies.append(
                BundledCopy.model_validate({"quantization": row.quantization.value, "files": _copy_files(row, sources)})
            )
    row = rows[0]
    folder = cache.repo_folder(row.model_id)
    refs = sorted(
        path.relative_to(folder / "refs").as_posix() for path, target in refs_of(folder) if target == row.commit
    )
    return (
        BundledModel(
            model_id=row.model_id,
            canonical_id=row.canonical_id,
            endpoint=row.endpoint,
            commit=row.commit,
            revision=row.revision,
            refs=tuple(sorted(refs)),
            kind=row.kind.value,
            private=row.private,
            gated=row.gated,
            allow_pickle=row.allow_pickle,
            licence=row.licence,
            num_parameters=row.num_parameters,
            converted_from=BundledGguf.model_validate(row.converted_from) if row.converted_from else None,
            merged_from=BundledMerge.model_validate(row.merged_from) if row.merged_from else None,
            files=files,
            quantized=tuple(sorted(copies, key=lambda copy: copy.quantization)),
        ),
        sources,
    )


def _snapshot_files(cache: HubCache, row: Model, sources: dict[str, Path]) -> tuple[BundledFile, ...]:
    require_unchanged(cache, row)
    snapshot = cache.snapshot_path(row.model_id, row.commit)
    found = []
    for file in carried_files(row.files or (), allow_pickle=row.allow_pickle):
        found.append(
            BundledFile(
                path=file.path,
                size=file.size_bytes,
                sha256=file.sha256 or UNKNOWN_SHA256,
                git_sha1=None if file.sha256 else file.git_sha1,
            )
        )
        sources.setdefault(file.blob, snapshot / file.path)
    if cache.inventory(row.model_id, row.commit, [file.remote for file in found]).missing:
        raise NotReady(f"Files of {row.model_id} are gone.", hint="Verify it, which fetches them again.")
    return tuple(found)


def _copy_files(row: Model, sources: dict[str, Path]) -> tuple[BundledFile, ...]:
    from modelyard.ml.quantize.artifact_folder import read_manifest, sha256_of

    weights_folder(row)  # raises NotReady
    folder = artifact_of(row)
    listed = None if folder is None else read_manifest(folder)
    if folder is None or listed is None or not artifact_files(row):
        raise NotReady(f"The quantized copy of {row.model_id} is not there.", hint="Quantize it again.")
    own = folder / ARTIFACT_MANIFEST
    found = [BundledFile(path=ARTIFACT_MANIFEST, size=own.stat().st_size, sha256=sha256_of(own))]
    found += [
        BundledFile(path=name, size=file["size_bytes"], sha256=file["sha256"]) for name, file in listed["files"].items()
    ]
    for file in found:
        sources.setdefault(file.member.blob, folder / file.path)
    return tuple(found)
