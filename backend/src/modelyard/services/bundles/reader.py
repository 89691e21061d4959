"""Reading a bundle that is hostile until it is checked: the only bytes accepted are those that its manifest implies."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Self

from modelyard.core import bundle_tar
from modelyard.core.bundle_tar import (
    BLOCK_BYTES,
    CHECKSUM_NAME,
    END,
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    MAX_PARTS,
    Member,
)
from modelyard.core.errors import InvalidBundle
from modelyard.core.paths import FoundFile, PathRules
from modelyard.services.bundles.manifest import BundleManifest, parse_manifest

CHUNK_BYTES = 1 << 20


class PartsReader:
    """Reads the parts of a bundle one after the other, as if they were one file."""

    def __init__(self, parts: Sequence[FoundFile]) -> None:
        self._parts = parts
        self._index = -1
        self._file: FileIO | None = None
        self._left = 0

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def read(self, size: int) -> bytes:
        """Return `size` bytes. Raises InvalidBundle where the parts end before."""
        pieces = []
        while size:
            piece = self._opened().read(min(size, self._left))
            if not piece:
                raise InvalidBundle(f"{self._parts[self._index].name} ends too soon.")
            pieces.append(piece)
            self._left -= len(piece)
            size -= len(piece)
        return b"".join(pieces)

    def skip(self, size: int) -> None:
        """Pass over bytes without reading them."""
        while size:
            file = self._opened()
            step = min(size, self._left)
            file.seek(step, 1)
            self._left -= step
            size -= step

    def at_end(self) -> bool:
        return self._left == 0 and self._index + 1 == len(self._parts)

    def _opened(self) -> FileIO:
        while self._left == 0:
            self.close()
            self._index += 1
            if self._index == len(self._parts):
                raise InvalidBundle(f"{self._parts[-1].name} ends too soon.")
            self._file, self._left = self._parts[self._index].open(), self._parts[self._index].status.st_size
        assert self._file is not None  # noqa: S101
        return self._file


class BundleReader:
    """The manifest of a bundle, and its contents in order; everything is checked while it is read."""

    def __init__(self, parts: Sequence[FoundFile]) -> None:
        self._reader = PartsReader(parts)
        try:
            content = self._read_manifest()
            self.manifest: BundleManifest = parse_manifest(content)
            self.members = self.manifest.members()
            self.size_bytes = bundle_tar.total_bytes(len(content), self.members)
            _require_parts(parts, self.size_bytes, self.manifest.split_bytes)
        except BaseException:
            self._reader.close()
            raise
        self._names = self.manifest.names()
        self._hashes = {file.member.blob: file.sha256 for model in self.manifest.models for file in model.all_files()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._reader.close()

    def _read_manifest(self) -> bytes:
        size = bundle_tar.manifest_size(self._reader.read(BLOCK_BYTES))
        if size is None:
            raise InvalidBundle(f"It does not begin with {MANIFEST_NAME}, as every bundle does.")
        if size > MAX_MANIFEST_BYTES:
            raise InvalidBundle(f"The bundle's manifest is larger than {MAX_MANIFEST_BYTES // 1_000_000} MB.")
        content = self._reader.read(size)
        self._require_zeros(bundle_tar.padding(size))
        line = bundle_tar.checksum_line(hashlib.sha256(content).hexdigest())
        found = self._reader.read(BLOCK_BYTES + len(line))
        if found != bundle_tar.header(CHECKSUM_NAME, len(line)) + line:
            raise InvalidBundle(f"{MANIFEST_NAME} of the bundle is damaged: it does not have the hash noted beside it.")
        self._require_zeros(bundle_tar.padding(len(line)))
        return content

    def contents(self, wants: Callable[[Member], bool]) -> Iterator[tuple[Member, Iterator[bytes] | None]]:
        """Yield each member with the chunks of its content, which must be read to their end; None for an unwanted one.

        Raises InvalidBundle, which names the file, for content that is not what the manifest says.
        """
        for member in self.members:
            if self._reader.read(BLOCK_BYTES) != bundle_tar.header(member.name, member.size_bytes):
                raise InvalidBundle(f"The bundle has something else where {self._names[member.blob]} belongs.")
            if wants(member):
                yield member, self._checked(member)
            else:
                self._reader.skip(member.size_bytes)
                yield member, None
            self._require_zeros(bundle_tar.padding(member.size_bytes))
        self._require_zeros(len(END))
        if not self._reader.at_end():
            raise InvalidBundle("The bundle goes on after its end.")

    def _checked(self, member: Member) -> Iterator[bytes]:
        hasher, left = hashlib.sha256(), member.size_bytes
        by_git = hashlib.sha1(b"blob %d\0" % left, usedforsecurity=False) if len(member.blob) == 40 else None
        while left:
            chunk = self._reader.read(min(CHUNK_BYTES, left))
            left -= len(chunk)
            hasher.update(chunk)
            if by_git is not None:
                by_git.update(chunk)
            yield chunk
        same = hasher.hexdigest() == self._hashes[member.blob]
        if not same or (by_git is not None and by_git.hexdigest() != member.blob):
            raise InvalidBundle(
                f"{self._names[member.blob]} is damaged in the bundle: it does not have the hash that the manifest"
                " gives."
            )

    def _require_zeros(self, size: int) -> None:
        if self._reader.read(size).strip(b"\0"):
            raise InvalidBundle("The bundle has bytes between its files.")


@contextmanager
def opened_bundle(path: str, rules: PathRules) -> Iterator[BundleReader]:
    """Open the bundle that a user names: its only file, any of its parts, or what they are parts of.

    Raises InvalidBundle, and PathNotAllowed and InvalidRequest as `PathRules.find_file` does.
    """
    with BundleReader(find_parts(Path(path), rules)) as reader:
        yield reader


def find_parts(path: Path, rules: PathRules) -> list[FoundFile]:
    """Find the files that a bundle consists of. Raises PathNotAllowed, InvalidRequest, InvalidBundle."""
    whole = bundle_tar.whole_name(path.name)
    first = path.with_name(f"{path.name}.001")
    if whole is not None:
        base = path.with_name(whole)
    elif path.is_absolute() and not rules.is_file(path) and rules.is_file(first):
        base = path
    else:
        return [rules.find_file(path)]
    found: list[FoundFile] = []
    while len(found) < MAX_PARTS:
        part = base.with_name(f"{base.name}.{len(found) + 1:03d}")
        if not rules.is_file(part):
            break
        found.append(rules.find_file(part))
    # The part that was asked for says why it cannot be read.
    return found or [rules.find_file(first if whole is None else path)]


def _require_parts(parts: Sequence[FoundFile], size_bytes: int, split_bytes: int | None) -> None:
    """Raise InvalidBundle unless all parts are there, each with its size."""
    sizes = bundle_tar.part_sizes(size_bytes, split_bytes)
    for index, size in enumerate(sizes):
        if index == len(parts):
            raise InvalidBundle(
                f"The bundle has {len(sizes)} parts, and part {index + 1} is not there.",
                hint="Put all parts into one folder.",
            )
        found = parts[index].status.st_size
        if found != size:
            raise InvalidBundle(f"{parts[index].name} has {found} bytes; this part of the bundle has {size}.")
    if len(parts) > len(sizes):
        raise InvalidBundle(f"The bundle has {len(sizes)} parts, and {parts[len(sizes)].name} is none of them.")
