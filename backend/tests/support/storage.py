"""Disks that fill up and folders that may not be used, for real: a file system of the test's own, or what stands in.

Where this process may not mount one, `small_disk` limits the size of files instead and `read_only` takes permissions
away from a process without privileges. Each says so; with `stand_in` it does that everywhere.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from support.tools import missing

NOBODY = 65534
ROOMY_BYTES = 1 << 30
_PAGE = os.sysconf("SC_PAGE_SIZE")
_REFUSALS = ("Permission denied", "Read-only file system")


class SmallDisk(ABC):
    """A disk at `folder` that can be filled. `is_whole` is False if every other disk fills up with it."""

    is_whole: bool

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def fill(self, pid: int | None = None) -> None:
        """Leave no room for another page, and show that a plain write fails.

        Where a limit stands in, it is one of the process `pid` (this one, if None) and all below it.
        """

    @abstractmethod
    def make_room(self) -> None: ...

    def _assert_full(self) -> None:
        probe = self.folder / "probe"
        try:
            probe.write_bytes(bytes(_PAGE))
        except OSError:
            return
        finally:
            probe.unlink(missing_ok=True)
        raise AssertionError(f"{self.folder} still takes content")


class _MountedDisk(SmallDisk):
    """A tmpfs of its own, whose size follows what is asked of it; it takes memory for content only."""

    is_whole = True

    def fill(self, pid: int | None = None) -> None:  # noqa: ARG002
        (self.folder / ".page").write_bytes(bytes(_PAGE))  # no disk can be of no size
        self._shrink()
        self._assert_full()

    def _shrink(self, attempts: int = 1000) -> None:
        """To what is used, which may have grown between the look at it and the change."""
        for attempt in range(attempts):
            try:
                self._resize(shutil.disk_usage(self.folder).used)
            except subprocess.CalledProcessError:
                if attempt + 1 == attempts:
                    raise
            else:
                return

    def make_room(self) -> None:
        self._resize(ROOMY_BYTES)

    def _resize(self, size: int) -> None:
        _run("mount", "-o", f"remount,size={size}", str(self.folder))


class _FileSizeLimit(SmallDisk):
    """Processes that may not write to any file, wherever it is."""

    is_whole = False

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._pid = os.getpid()

    def fill(self, pid: int | None = None) -> None:
        _limit_files(psutil.Process(), limited=True)
        try:
            self._assert_full()
        finally:
            _limit_files(psutil.Process(), limited=False)
        self._pid = os.getpid() if pid is None else pid
        # A process that is started meanwhile has the limit of the one that starts it.
        for process in self._processes():
            _limit_files(process, limited=True)

    def make_room(self) -> None:
        for process in self._processes():
            _limit_files(process, limited=False)

    def _processes(self) -> list[psutil.Process]:
        first = psutil.Process(self._pid)
        return [first, *first.children(recursive=True)]


def _limit_files(process: psutil.Process, *, limited: bool) -> None:
    """Python ignores the signal that comes with the error. A child of another user, a database server, has its own."""
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        _, hard = process.rlimit(psutil.RLIMIT_FSIZE)
        process.rlimit(psutil.RLIMIT_FSIZE, (0 if limited else hard, hard))


@contextmanager
def small_disk(folder: Path, *, stand_in: bool = False) -> Iterator[SmallDisk]:
    """A disk at `folder` that tests can fill; a file-size limit stands in where this process may not mount one."""
    folder.mkdir(parents=True, exist_ok=True)
    if not _stands_in(stand_in, "a file-size limit"):
        with _mounted("-t", "tmpfs", "-o", f"size={ROOMY_BYTES},mode=0700", "modelyard-test", str(folder)):
            yield _MountedDisk(folder)
        return
    if not hasattr(psutil, "RLIMIT_FSIZE"):
        missing("no file system can be mounted here, nor can the files of a process be limited")
    disk = _FileSizeLimit(folder)
    try:
        yield disk
    finally:
        with suppress(psutil.NoSuchProcess):
            disk.make_room()


@dataclass(frozen=True)
class Unprivileged:
    """How to start a process to which permissions apply. `who` says as whom it runs."""

    who: str
    uid: int
    prefix: tuple[str, ...] = ()
    popen: dict[str, Any] = field(default_factory=dict)

    def own(self, folder: Path) -> None:
        """Give the folder and everything in it to this user."""
        for path in (folder, *folder.rglob("*")):
            os.chown(path, self.uid, -1, follow_symlinks=False)

    def assert_refused(self, folder: Path) -> None:
        """Show that the fault bites: a plain write into `folder` by such a process fails."""
        script = "import sys; open(sys.argv[1], 'w')"
        done = self.run(sys.executable, "-c", script, str(folder / "probe"))
        assert done.returncode != 0, f"{self.who} may write to {folder}"
        assert any(words in done.stderr for words in _REFUSALS), done.stderr

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([*self.prefix, *command], capture_output=True, text=True, cwd="/", **self.popen)


class ReadOnly(ABC):
    """Closes folders to the processes of `user`; the product's `words` for that go into its messages."""

    user: Unprivileged
    words: str

    @abstractmethod
    def closed(self, folder: Path) -> AbstractContextManager[None]:
        """While this lasts, nothing below `folder` can be written; shows that a plain write fails."""


class _MountedReadOnly(ReadOnly):
    """For whichever user."""

    def __init__(self) -> None:
        self.user, self.words = Unprivileged("this user", os.geteuid()), "mounted read-only"

    @contextmanager
    def closed(self, folder: Path) -> Iterator[None]:
        with _mounted("--bind", str(folder), str(folder)):
            _run("mount", "-o", "remount,bind,ro", str(folder))
            self.user.assert_refused(folder)
            yield


class _WithoutPermission(ReadOnly):
    def __init__(self) -> None:
        self.user, self.words = unprivileged(), "may not use"

    @contextmanager
    def closed(self, folder: Path) -> Iterator[None]:
        modes = {path: path.stat().st_mode for path in (folder, *folder.rglob("*")) if not path.is_symlink()}
        for path, mode in modes.items():
            path.chmod(mode & 0o555)
        try:
            self.user.assert_refused(folder)
            yield
        finally:
            for path, mode in modes.items():
                if path.exists():
                    path.chmod(mode)


def read_only(*, stand_in: bool = False) -> ReadOnly:
    """How folders are closed: mounted read-only; permissions stand in where this process may not mount."""
    if not _stands_in(stand_in, "permissions"):
        return _MountedReadOnly()
    fault = _WithoutPermission()
    print(f"the tested processes run as {fault.user.who}")
    return fault


def _stands_in(asked: bool, what: str) -> bool:
    """Whether something else takes the place of a mount; says so, and why."""
    reason = "asked for" if asked else _why_no_mount()
    if reason is not None:
        print(f"{what} stands in for a file system of the test's own: {reason}")
    return reason is not None


@cache
def _why_no_mount() -> str | None:
    """What keeps this process from mounting a file system, None if nothing does."""
    with tempfile.TemporaryDirectory(prefix="modelyard-mount-") as folder:
        try:
            with _mounted("-t", "tmpfs", "modelyard-test", folder):
                _run("mount", "-o", f"remount,size={ROOMY_BYTES}", folder)
        except OSError as error:
            return str(error)
        except subprocess.CalledProcessError as error:
            return str(error.stderr).strip()
    return None


@contextmanager
def _mounted(*arguments: str) -> Iterator[None]:
    """`mount` with these arguments, of which the last is the folder."""
    _run("mount", *arguments)
    try:
        yield
    finally:
        _run("umount", "--lazy", arguments[-1])


@cache
def unprivileged() -> Unprivileged:
    """This user, if it is not root; else `nobody`, or root without any capability where nobody cannot reach Python.

    Permissions apply to root without capabilities as they do to any owner of a file.
    """
    if os.geteuid() != 0:
        return Unprivileged("this user", os.geteuid())
    as_nobody = Unprivileged("nobody", NOBODY, popen={"user": NOBODY, "group": NOBODY, "extra_groups": []})
    without = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    for candidate in (as_nobody, Unprivileged("root without capabilities", 0, prefix=without)):
        try:
            if candidate.run(sys.executable, "-c", "import modelyard.main").returncode == 0:
                return candidate
        except OSError:
            continue
    return missing("no unprivileged process can be started here")


@contextmanager
def reachable_folder() -> Iterator[Path]:
    """A temporary folder that every user may pass through; pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="modelyard-open-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
