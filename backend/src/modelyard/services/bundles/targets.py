"""Where the contents of a bundle go: blobs of the cache, and the folders of quantized copies."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from modelyard.core.bundle_tar import Member
from modelyard.core.settings import get_settings
from modelyard.core.storage import ensure_free, remove_folder, storage_errors, sync
from modelyard.hub.cache import disk, hashing
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.models import Quantization
from modelyard.services.bundles.checked_copy import require_copy
from modelyard.services.bundles.manifest import BundledFile, BundledModel, BundleManifest
from modelyard.services.facts.folder_content import require_checkpoint
from modelyard.services.quantization_service import artifact_name

COPY_BYTES = 1 << 20

Here = Mapping[tuple[str, str, Quantization], str]
"""The rows that are ready already, by model, commit and precision."""


@dataclass(frozen=True)
class _Target:
    """A place for one file: in the cache, or in `folder`, where a quantized copy is put together."""

    model: BundledModel
    file: BundledFile
    folder: Path | None


class Targets:
    """Puts the contents of a bundle into their places; what is `here` is left alone."""

    def __init__(self, cache: HubCache, manifest: BundleManifest, here: Here, bundle_id: str) -> None:
        self._cache, self._bundle_id = cache, bundle_id
        self._targets: dict[str, list[_Target]] = {}
        self._models = [
            model
            for model in manifest.models
            if model.files is not None and (model.model_id, model.commit, Quantization.NONE) not in here
        ]
        for model in self._models:
            for file in model.files or ():
                self._add(_Target(model, file, None))
        self._copies: list[Path] = []
        for model in manifest.models:
            for copy in model.quantized:
                if (model.model_id, model.commit, Quantization(copy.quantization)) not in here:
                    folder = self._half_made(model, Quantization(copy.quantization))
                    self._copies.append(folder)
                    for file in copy.files:
                        self._add(_Target(model, file, folder))

    def _add(self, target: _Target) -> None:
        self._targets.setdefault(target.file.member.blob, []).append(target)

    def _half_made(self, model: BundledModel, precision: Quantization) -> Path:
        name = artifact_name(model.model_id, model.commit, precision)
        return get_settings().artifacts_folder / f"{name}--{self._bundle_id}.partial"

    def require_room(self, reserve_bytes: int) -> None:
        """Raise DiskFull unless what is lacking fits."""
        lacking = [target for targets in self._targets.values() for target in targets if not self._has(target)]
        blobs = {(t.model.model_id, t.file.member) for t in lacking if t.folder is None}
        self._cache.ensure_free(sum(member.size_bytes for _, member in blobs), reserve_bytes=reserve_bytes)
        copies = sum(t.file.size for t in lacking if t.folder is not None)
        if copies:
            ensure_free(get_settings().artifacts_folder, copies, reserve_bytes=reserve_bytes)

    def prepare(self) -> None:
        """Make the folders. Raises Conflict where one of them is a link, StorageError."""
        for model in self._models:
            self._cache.prepare(model.model_id)
        for folder in self._copies:
            with storage_errors(folder):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def lacks(self, member: Member) -> bool:
        """Return whether the content is still to be read for one of its places."""
        return not all(self._has(target) for target in self._targets.get(member.blob, ()))

    def store(self, member: Member, chunks: Iterator[bytes]) -> None:
        """Put a content into all its places, once all of it is read and has its hash: the iterator raises otherwise."""
        first, *others = self._targets[member.blob]
        source = self._path(first)
        self._write(first, source, chunks)
        for target in others:
            path = self._path(target)
            if path == source or self._has(target):
                continue
            # A quantized copy's files are its own; two repositories may share content.
            shared = target.folder is None and self._cache.link_content(
                target.model.model_id, target.file.remote, source
            )
            if not shared:
                with source.open("rb") as content:
                    self._write(target, path, iter(partial(content.read, COPY_BYTES), b""))
            hashing.mark_verified(path)
        for target in self._targets[member.blob]:
            if target.folder is None:
                self._cache.link(target.model.model_id, target.model.commit, target.file.remote)

    def publish(self, model: BundledModel, precision: Quantization) -> None:
        """Make a snapshot or a quantized copy appear as a whole.

        Raises InvalidBundle, NoWeights and what else keeps it from being used.
        """
        if precision is Quantization.NONE:
            for file in model.files or ():
                self._cache.link(model.model_id, model.commit, file.remote)
            snapshot = self._cache.snapshot_path(model.model_id, model.commit)
            require_checkpoint(snapshot, model.model_id, allow_pickle=model.allow_pickle)
            for ref in model.refs:
                self._cache.write_ref(model.model_id, ref, model.commit)
            return
        copy = next(copy for copy in model.quantized if copy.quantization == precision.value)
        folder = self._half_made(model, precision)
        final = get_settings().artifacts_folder / artifact_name(model.model_id, model.commit, precision)
        if not folder.exists() and final.exists():
            return  # an earlier attempt came as far as this
        require_copy(folder, model, copy)
        with storage_errors(final):
            remove_folder(final)
            folder.rename(final)
            sync(final.parent)

    def remove_copies(self) -> None:
        """Remove the folders of quantized copies that are not whole."""
        for folder in self._copies:
            with storage_errors(folder):
                remove_folder(folder)

    def _has(self, target: _Target) -> bool:
        path = self._path(target)
        return disk.has_size(path, target.file.size) and hashing.is_marked_verified(path)

    def _path(self, target: _Target) -> Path:
        if target.folder is not None:
            return target.folder / target.file.path
        return self._cache.blob_path(target.model.model_id, target.file.member.blob)

    def _write(self, target: _Target, path: Path, chunks: Iterator[bytes]) -> None:
        """Write under another name first, so that a file of this name is always whole."""
        if target.folder is None:
            temporary = self._cache.part_path(target.model.model_id, target.file.member.blob)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = disk.unique_beside(path)
        temporary.unlink(missing_ok=True)
        try:
            with temporary.open("xb") as file:
                for chunk in chunks:
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        hashing.mark_verified(path)
