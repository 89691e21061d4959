"""An SAE's folder as a tar archive, made while it is sent."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modelyard.core.errors import NotReady
from modelyard.models import Sae
from modelyard.services.saes.sae_folder import CONFIG, sae_folder

CHUNK_BYTES = 1 << 20
_END = bytes(2 * tarfile.BLOCKSIZE)


@dataclass(frozen=True)
class SaeArchive:
    """The files of an SAE, as they are when the archive is asked for."""

    name: str
    files: list[tuple[Path, tarfile.TarInfo]]

    @classmethod
    def of(cls, sae: Sae) -> "SaeArchive":
        """Raises NotReady where its files are not here."""
        folder = sae_folder(sae)
        if not sae.ready or not (folder / CONFIG).is_file():
            raise NotReady(f"The files of {sae.name} are not here.", hint="Import or fetch it again.")
        stem = f"sae-{sae.id[:8]}"
        files = []
        for path in sorted(folder.iterdir()):
            status = path.lstat()
            if path.is_file() and not path.is_symlink():
                entry = tarfile.TarInfo(f"{stem}/{path.name}")
                entry.size, entry.mtime, entry.mode = status.st_size, int(status.st_mtime), 0o644
                files.append((path, entry))
        return cls(f"{stem}.tar", files)

    @property
    def size_bytes(self) -> int:
        return len(_END) + sum(tarfile.BLOCKSIZE + entry.size + _padding(entry) for _, entry in self.files)

    def content(self) -> Iterator[bytes]:
        for path, entry in self.files:
            yield entry.tobuf(tarfile.USTAR_FORMAT)
            left = entry.size
            with path.open("rb") as file:
                while left and (chunk := file.read(min(left, CHUNK_BYTES))):
                    left -= len(chunk)
                    yield chunk
            if left:
                raise OSError(f"{path} became shorter while it was sent")
            yield bytes(_padding(entry))
        yield _END


def _padding(entry: tarfile.TarInfo) -> int:
    return -entry.size % tarfile.BLOCKSIZE
