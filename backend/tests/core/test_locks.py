"""Locks that end with their process, and what tells homes and machines apart."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelyard.core import locks
from modelyard.core.settings import Settings
from modelyard.workers import celery_app

HOLD = """
import sys, time
from pathlib import Path
from modelyard.core import locks
lock = locks.take(Path(sys.argv[1]))
lock.write({"pid": 7})
print("held", flush=True)
time.sleep(60)
"""


def test_a_lock_names_its_holder_and_ends_with_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(locks.Held) as refused:
            locks.take(path)
        assert refused.value.note == {"pid": 7}
        holder.kill()
    with locks.held(path):
        pass


def test_who_waits_gets_the_lock_when_it_is_let_go_of(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = locks.take(path)
    first.write({"pid": 8})
    with pytest.raises(locks.Held) as refused:
        locks.take(path, wait_seconds=0.2)
    assert refused.value.note == {"pid": 8}
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(locks.take, path, wait_seconds=60)
        first.close()
        waiting.result().close()


WITHOUT_LOCKS = """
import errno, fcntl, os, sys
real = fcntl.flock
def refuse(descriptor, operation):
    if os.readlink(f"/proc/self/fd/{descriptor}").startswith(os.path.dirname(sys.argv[1])):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    real(descriptor, operation)
fcntl.flock = refuse
"""


def test_disk_without_locks_has_them_within_one_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    (tmp_path / "disk").mkdir()
    path = tmp_path / "disk" / "lock"
    take: list[str | Path] = [
        sys.executable,
        "-c",
        f"{WITHOUT_LOCKS}{HOLD.replace('time.sleep(60)', 'lock.close()')}",
        path,
    ]
    with subprocess.Popen(
        [sys.executable, "-c", WITHOUT_LOCKS + HOLD, path], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        refused = subprocess.run(take, capture_output=True, text=True, check=False)
        assert "modelyard.core.locks.Held: {'pid': 7}" in refused.stderr
        holder.kill()
    assert subprocess.run(take, capture_output=True, text=True, check=True).stdout == "held\n"
    assert not list((tmp_path / "tmp" / f"modelyard-locks-{os.geteuid()}").iterdir())


def test_a_folder_has_one_id_whoever_asks_first(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    ids = []
    for folder in folders:
        folder.mkdir()
        with ThreadPoolExecutor(16) as pool:
            ids.append(set(pool.map(lambda _: locks.folder_id(folder), range(64))))  # noqa: B023
        assert [path.name for path in folder.iterdir()] == ["id"]
    assert [len(found) for found in ids] == [1, 1]
    assert ids[0] != ids[1]


def test_workers_of_other_homes_and_machines_have_other_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All on hosts of the same name, as containers may be."""
    monkeypatch.setattr(celery_app.socket, "gethostname", lambda: "worker")

    def name(home: Path) -> str:
        with celery_app._claimed_name(Settings(home=home), ["downloads"]) as found:
            return found

    ours = name(tmp_path / "one")
    assert name(tmp_path / "one") == ours, "a process that starts again releases what it had"
    (tmp_path / "one").rename(tmp_path / "moved")
    assert name(tmp_path / "one") != ours, "another home at the same path"
    with celery_app._claimed_name(Settings(home=tmp_path / "moved"), ["downloads"]) as held:
        assert held == ours
        assert name(tmp_path / "moved") == f"{ours}.2"
    monkeypatch.setattr(locks, "machine_id", lambda: "another")
    assert name(tmp_path / "moved") != ours, "another machine, on a disk that does not pass on locks"
