"""Disks that fill up and folders that may not be used, for real: a small file system, a process without privileges."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.tools import missing

NOBODY = 65534
ROOMY_BYTES = 1 << 30
_PAGE = os.sysconf("SC_PAGE_SIZE")


class SmallDisk:
    """A tmpfs of its own at `folder`, whose size follows what is asked of it; it takes memory for content only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self) -> None:
        """Leave no room for another page, and show that a plain write fails."""
        (self.folder / ".page").write_bytes(bytes(_PAGE))  # no disk can be of no size
        self._resize(shutil.disk_usage(self.folder).used)
        probe = self.folder / "probe"
        try:
            probe.write_bytes(bytes(_PAGE))
        except OSError:
            return
        finally:
            probe.unlink(missing_ok=True)
        raise AssertionError(f"{self.folder} still takes content")

    def make_room(self) -> None:
        self._resize(ROOMY_BYTES)

    def _resize(self, size: int) -> None:
        _run("mount", "-o", f"remount,size={size}", str(self.folder))


@contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk]:
    """Mount a disk that tests can fill at `folder`; skips (in CI: fails) where this process may not mount."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _run("mount", "-t", "tmpfs", "-o", f"size={ROOMY_BYTES},mode=0700", "modelyard-test", str(folder))
    except (OSError, subprocess.CalledProcessError) as error:
        missing(f"no file system can be mounted here: {error}")
    try:
        yield SmallDisk(folder)
    finally:
        _run("umount", "--lazy", str(folder))


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Mount `folder` onto itself read-only, and show that a plain write fails, for whichever user."""
    try:
        _run("mount", "--bind", str(folder), str(folder))
    except (OSError, subprocess.CalledProcessError) as error:
        missing(f"no file system can be mounted here: {error}")
    try:
        _run("mount", "-o", "remount,bind,ro", str(folder))
        try:
            (folder / "probe").touch()
        except OSError:
            yield
        else:
            raise AssertionError(f"{folder} can be written")
    finally:
        _run("umount", "--lazy", str(folder))


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
        assert "Permission denied" in done.stderr, done.stderr

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([*self.prefix, *command], capture_output=True, text=True, cwd="/", **self.popen)


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
