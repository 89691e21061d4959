"""The form of a bundle: an uncompressed tar with one possible order of bytes, whole or cut into parts of a fixed size.

First comes the manifest, then its checksum, then each content once, named by its hash, in the manifest's order. Owners,
times and modes are fixed, so the headers follow from the manifest, and its exact size is known before it is written.
"""

import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

BLOCK_BYTES = 512
MANIFEST_NAME = "modelyard-bundle.json"
CHECKSUM_NAME = "modelyard-bundle.sha256"
MAX_MANIFEST_BYTES = 64_000_000
MAX_PARTS = 999
END = bytes(2 * BLOCK_BYTES)
_SIZE = slice(124, 136)


@dataclass(frozen=True)
class Member:
    """A content of a bundle: the hash that names it, and its size in bytes."""

    blob: str
    size_bytes: int

    @property
    def name(self) -> str:
        return f"blobs/{self.blob}"


def header(name: str, size_bytes: int) -> bytes:
    """Return the block in front of a member. A size of 8 GiB and more is written as GNU tar does."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size_bytes, 0o644
    return info.tobuf(tarfile.GNU_FORMAT)


def padding(size_bytes: int) -> int:
    """Return how many zero bytes follow a member's content."""
    return -size_bytes % BLOCK_BYTES


def checksum_line(sha256: str) -> bytes:
    """Return the content of the member that follows the manifest, as `sha256sum --check` reads it."""
    return f"{sha256}  {MANIFEST_NAME}\n".encode()


def total_bytes(manifest_bytes: int, members: Sequence[Member]) -> int:
    """Return the size of a whole bundle."""
    sizes = [manifest_bytes, len(checksum_line("0" * 64)), *(member.size_bytes for member in members)]
    return sum(BLOCK_BYTES + size + padding(size) for size in sizes) + len(END)


def manifest_size(block: bytes) -> int | None:
    """Return the size of the manifest that the first block of a bundle announces; None for anything else."""
    if len(block) != BLOCK_BYTES:
        return None
    digits = block[_SIZE].rstrip(b"\0 ")
    if not digits.isdigit() or len(digits) > 11:
        return None
    try:
        size = int(digits, 8)
    except ValueError:  # an 8 or a 9
        return None
    return size if block == header(MANIFEST_NAME, size) else None


def is_bundle(path: Path) -> bool:
    """Return whether a file begins as a bundle does, whatever its name. Raises OSError."""
    with path.open("rb") as file:
        return manifest_size(file.read(BLOCK_BYTES)) is not None


def part_sizes(size_bytes: int, split_bytes: int | None) -> list[int]:
    """Return the sizes of the parts of a bundle."""
    if split_bytes is None or size_bytes <= split_bytes:
        return [size_bytes]
    whole, rest = divmod(size_bytes, split_bytes)
    return [split_bytes] * whole + ([rest] if rest else [])


def part_name(name: str, number: int, parts: int) -> str:
    """Return the name of a part, counted from 1: NAME.001; NAME itself where there is only one."""
    return name if parts == 1 else f"{name}.{number:03d}"


def whole_name(name: str) -> str | None:
    """Return what parts are parts of, for the name of one; None for any other name."""
    stem, dot, number = name.rpartition(".")
    return stem if dot and stem and len(number) == 3 and number.isascii() and number.isdigit() else None
