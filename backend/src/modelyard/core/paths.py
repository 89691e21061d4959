"""Open what a user names: only below allowed folders, and through no link that leads elsewhere.

A path is resolved once, the result is checked, and that result is opened component by component without following a
link. Whatever is swapped in between the check and the opening is therefore refused, never read.
"""

import ipaddress
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import Any

from huggingface_hub import constants

from modelyard.core.errors import Conflict, InvalidRequest, PathNotAllowed
from modelyard.core.settings import Settings

MAX_ENTRIES = 10_000
MAX_DEPTH = 50
"""Folders within one another."""
VARIABLE = "MODELYARD_ALLOWED_PATHS"

_SYSTEM_FOLDERS = ("/boot", "/dev", "/etc", "/proc", "/sys")
_REPO_PREFIXES = ("models--", "datasets--", "spaces--")
_NAMED_FOLDER = f"Name a folder below an allowed one, or add it to {VARIABLE} (folders with : between) on the server."
# O_PATH needs only the right to pass through a folder, as an ordinary look-up does; macOS has no such flag.
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO would wait for a writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True)
class FoundFile:
    """A regular file as it was when it was looked at. No component of `real` was a link then."""

    name: str
    real: Path
    status: os.stat_result

    def open(self) -> FileIO:
        """Open the very file that was looked at. Raises Conflict when another one is there now, InvalidRequest."""
        try:
            file = open_real(self.real)
        except OSError as error:
            raise _unreadable(self.name, error) from error
        if not os.path.samestat(os.fstat(file.fileno()), self.status):
            file.close()
            raise _changed(self.name)
        return file


@dataclass(frozen=True)
class PathRules:
    """Which paths a user may name.

    `named` are the folders of MODELYARD_ALLOWED_PATHS, `own` those that are always allowed, `private` is Modelyard's
    home, of which `public` are the folders that hold what users made. `anywhere` allows every other path, too, except
    those of the system. The deepest folder that a rule names decides.
    """

    own: tuple[Path, ...]
    named: tuple[Path, ...] = ()
    anywhere: bool = False
    private: Path | None = None
    public: tuple[Path, ...] = ()

    @classmethod
    def of(cls, settings: Settings, stored: Mapping[str, Any] | None = None) -> "PathRules":
        """Return the rules of this server, or in a worker those that the API `stored`, for the folders here."""
        if stored is None:
            named, anywhere = settings.allowed_paths, settings.allowed_paths is None and _is_private(settings)
        else:
            named, anywhere = tuple(map(Path, stored["named"])), stored["anywhere"]
        return cls(
            own=(settings.datasets_folder, settings.bundle_uploads_folder, Path(constants.HF_HUB_CACHE)),
            named=named or (),
            anywhere=anywhere,
            private=settings.home,
            public=(
                settings.samples_folder,
                settings.artifacts_folder,
                settings.trainings_folder,
                settings.saes_folder,
            ),
        )

    @classmethod
    def of_this_user(cls) -> "PathRules":
        """Return the rules of a command that reads for the very user who runs it: links may lead anywhere."""
        return cls(own=(), named=(Path("/"),), anywhere=True)

    def stored(self) -> dict[str, Any]:
        """Return what workers need to apply the same rules, as JSON."""
        return {"named": list(map(str, self.named)), "anywhere": self.anywhere}

    def is_file(self, path: Path) -> bool:
        """Return whether a user names a file and no folder. Raises PathNotAllowed, InvalidRequest."""
        return path.is_absolute() and self._real_folder(path, asked=path).is_file()

    def find_file(self, path: Path) -> FoundFile:
        """Find the file that a user names. Raises PathNotAllowed, InvalidRequest."""
        if not path.is_absolute() or path.name in ("", ".."):
            raise InvalidRequest(f"{_shown(str(path))} is no absolute path.", hint="Give the file's absolute path.")
        folder = self._real_folder(path.parent, asked=path)
        found = self._look(folder, folder / path.name)
        if found is None:
            raise InvalidRequest(
                f"{_shown(str(path))} is no file on the server's machine.", hint="Give the absolute path of a file."
            )
        return found

    def list_folder(self, path: Path) -> dict[str, FoundFile]:
        """Find the regular files below a folder, by name; what begins with a dot is left out.

        Raises PathNotAllowed for the folder, and for anything in it that leads out of it or is no file, by name;
        InvalidRequest for what is no folder or holds more than MAX_ENTRIES entries, or
        more than MAX_DEPTH folders within one another.
        """
        if not path.is_absolute():
            raise InvalidRequest(f"{_shown(str(path))} is no absolute path.", hint="Give the folder's absolute path.")
        folder = self._real_folder(path, asked=path)
        if folder == folder.parent:
            raise self._refusal(path)
        if not folder.is_dir():
            raise InvalidRequest(
                f"{_shown(str(path))} is not a folder on the server's machine.", hint="Give its absolute path."
            )
        found: dict[str, FoundFile] = {}
        waiting, seen = [folder], 0
        while waiting:
            for entry in _entries(waiting.pop()):
                seen += 1
                if seen > MAX_ENTRIES:
                    raise InvalidRequest(
                        f"{path} holds more than {MAX_ENTRIES:,} files and folders, so it is not a model's folder.",
                        hint="Name the folder that holds config.json and the weights, and nothing else.",
                    )
                if stat.S_ISDIR(entry.lstat().st_mode):
                    if len(entry.parts) - len(folder.parts) > MAX_DEPTH:
                        raise InvalidRequest(
                            f"{path} holds more than {MAX_DEPTH} folders within one another, so it is not a model's"
                            " folder.",
                            hint="Name the folder that holds config.json and the weights, and nothing else.",
                        )
                    if self._allows(entry):
                        waiting.append(entry)
                elif (file := self._look(folder, entry)) is not None:
                    found[file.name] = file
        return dict(sorted(found.items()))

    def _look(self, folder: Path, path: Path) -> FoundFile | None:
        """Return a file of `folder` (resolved); None for one that is gone, or for a link to a folder inside."""
        name = path.relative_to(folder).as_posix()
        try:
            real = resolve_link(folder, path)
            if real is None and self.named:
                target = Path(os.path.realpath(path))
                real = target if self._allows(target, self.named) else None
            if real is None:
                raise _leads_out(name, folder)
            if not self._allows(real):
                raise self._refusal(path)
            status = real.lstat()
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise _unreadable(name, error) from error
        if stat.S_ISDIR(status.st_mode):
            return None
        _require_plain(name, folder, status)
        return FoundFile(name, real, status)

    def _real_folder(self, path: Path, *, asked: Path) -> Path:
        """Resolve a folder; says whether it may be read before whether it exists. Raises PathNotAllowed."""
        try:
            real = Path(os.path.realpath(path))
        except (OSError, ValueError) as error:
            raise _unreadable(str(asked), error) from error
        if not self._allows(real):
            raise self._refusal(asked)
        return real

    @cached_property
    def _verdicts(self) -> dict[Path, bool]:
        found = {Path(folder): False for folder in _SYSTEM_FOLDERS}
        found |= {_real(folder): True for folder in self.named}
        if self.private is not None:
            found[_real(self.private)] = False
        return found | {_real(folder): True for folder in self.own}

    @cached_property
    def _public(self) -> set[Path]:
        return {_real(folder) for folder in self.public}

    def _allows(self, real: Path, named: tuple[Path, ...] | None = None) -> bool:
        """Return whether a resolved path may be read; with `named`, whether one of those folders is what allows it."""
        home = None if self.private is None else _real(self.private)
        is_public = False
        for folder in (real, *real.parents):
            is_public = is_public or folder in self._public
            if is_public and folder == home:
                continue
            verdict = self._verdicts.get(folder)
            if verdict is not None:
                return verdict and (named is None or any(real.is_relative_to(_real(root)) for root in named))
        return self.anywhere and named is None

    def _refusal(self, path: Path) -> PathNotAllowed:
        if self.anywhere:
            return PathNotAllowed(
                f"{_shown(str(path))} belongs to the system or to Modelyard itself, and is not read for users.",
                hint=_NAMED_FOLDER,
            )
        allowed = " and ".join(str(folder) for folder in dict.fromkeys((*self.named, *self.own)))
        return PathNotAllowed(
            f"{_shown(str(path))} is not below a folder that this server reads for users.",
            hint=f"Allowed are {allowed}. {_NAMED_FOLDER}",
        )


def resolve_link(folder: Path, path: Path) -> Path | None:
    """Resolve a path below `folder`, which is resolved already; None if it leads out of it, or nowhere.

    A snapshot of a Hugging Face cache may lead into the blobs of its own repository, and those into the store that all
    repositories of a cache share. Raises OSError, ValueError.
    """
    if not path.is_symlink() and path.parent == folder:
        return path
    try:
        real = Path(os.path.realpath(path, strict=True))
    except FileNotFoundError:
        if path.is_symlink():
            return None
        raise
    if real.is_relative_to(folder):
        return real
    for parent in (folder, *folder.parents):
        repo = parent.parent.parent
        if parent.parent.name == "snapshots" and repo.name.startswith(_REPO_PREFIXES):
            blobs = (repo / "blobs", repo.parent / "blobs")
            return real if any(real.is_relative_to(place) for place in blobs) else None
    return None


def resolve_inside(folder: Path, name: str) -> Path:
    """Resolve a file of a folder that Modelyard keeps: a sample, a snapshot. Raises PathNotAllowed, OSError."""
    here = _real(folder)
    real = None if folder.is_symlink() else resolve_link(here, here / name)
    if real is None:
        raise _leads_out(name, folder)
    return real


def open_inside(folder: Path, name: str) -> FileIO:
    """Open such a file, whatever is swapped in meanwhile. Raises PathNotAllowed, OSError."""
    return open_real(resolve_inside(folder, name))


def open_real(path: Path) -> FileIO:
    """Open a regular file at an absolute path without following any link. Raises OSError."""
    folder = _open_folder(path.parent)
    try:
        before = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISREG(before.st_mode):
            raise OSError(0, "it is not a regular file")
        file = open(os.open(path.name, _FILE, dir_fd=folder), "rb", buffering=0)  # noqa: PTH123, SIM115 - of a descriptor
    finally:
        os.close(folder)
    if not os.path.samestat(before, os.fstat(file.fileno())):
        file.close()
        raise OSError(0, "it was replaced while it was opened")
    return file


def _open_folder(path: Path) -> int:
    folder = os.open("/", _FOLDER)
    for name in path.parts[1:]:
        try:
            inner = os.open(name, _FOLDER, dir_fd=folder)
        finally:
            os.close(folder)
        folder = inner
    return folder


def _entries(folder: Path) -> Iterator[Path]:
    """Return what a folder holds while it is still that folder and no link; nothing where it may not be listed."""
    try:
        above = _open_folder(folder)
        try:
            descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=above)
        finally:
            os.close(above)
    except OSError:
        return
    try:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    yield folder / entry.name
    finally:
        os.close(descriptor)


def _require_plain(name: str, folder: Path, status: os.stat_result) -> None:
    """Raises PathNotAllowed for a device, a socket or a FIFO, and for a hard link to a file of another user.

    Whoever may not read a file can still make a hard link to it on some systems, and would have the server read it.
    """
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "a special file")
        raise PathNotAllowed(
            f"{_shown(name)} in {folder} is not a regular file but {kind}.",
            hint="Remove it from the folder.",
        )
    if status.st_nlink > 1 and status.st_uid not in (folder.lstat().st_uid, os.geteuid()):
        raise PathNotAllowed(
            f"{_shown(name)} in {folder} is a hard link to a file of another user.", hint="Replace it with a copy."
        )


_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def _shown(name: str) -> str:
    """Return a name as it is, unless it holds what no terminal and no JSON shows."""
    return name if name.isprintable() else ascii(name)


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _is_private(settings: Settings) -> bool:
    """Return whether only users of this machine reach the server: it listens on loopback and has no key."""
    host = settings.host.strip("[]")
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host.lower() == "localhost"
    return loopback and settings.api_key is None


def _leads_out(name: str, folder: Path) -> PathNotAllowed:
    return PathNotAllowed(
        f"{_shown(name)} in {folder} is a link that leads out of the folder, or nowhere.",
        hint=f"Replace it with the file itself, or let {VARIABLE} name a folder that holds the file it leads to.",
    )


def _changed(name: str) -> Conflict:
    return Conflict(f"{_shown(name)} changed while it was read.", hint="Try again when nothing writes to the folder.")


def _unreadable(name: str, error: Exception) -> InvalidRequest:
    reason = error.strerror if isinstance(error, OSError) else None
    return InvalidRequest(
        f"{_shown(name)} cannot be read: {reason or error}.",
        hint="Check the path and who may read it on the server's machine.",
    )
