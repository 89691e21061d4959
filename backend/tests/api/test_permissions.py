"""What other users of the machine may read: nothing of this server's home, and of the cache what the umask says."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.instance import Instance

SAMPLE = "modelyard-samples/tiny-gpt2"


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """For the processes that are started meanwhile."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def open_to_others(folder: Path) -> list[str]:
    return [
        f"{path.relative_to(folder)} {stat.filemode(path.lstat().st_mode)}"
        for path in folder.rglob("*")
        if not path.is_symlink() and path.lstat().st_mode & 0o077
    ]


def modes(folder: Path) -> tuple[set[int], set[int]]:
    """Of the folders and of the files in it."""
    found = [path for path in folder.rglob("*") if not path.is_symlink()]
    return (
        {stat.S_IMODE(path.stat().st_mode) for path in found if path.is_dir()},
        {stat.S_IMODE(path.stat().st_mode) for path in found if path.is_file()},
    )


@pytest.mark.parametrize(
    "mask", [pytest.param(0o022, marks=pytest.mark.thorough), 0o000], ids=["umask 022", "umask 000"]
)
def test_home_is_private_and_the_cache_follows_the_umask(tmp_path: Path, mask: int) -> None:
    instance = Instance(tmp_path / "server")
    with umask(mask):
        probe = tmp_path / "probe"
        probe.touch()
        assert stat.S_IMODE(probe.stat().st_mode) == 0o666 & ~mask, "the umask is in force"
        instance.start()
    try:
        instance.use_builtin_hub()
        text = "\n\n".join(f"Paragraph {number} of a text." for number in range(50)).encode()
        assert instance.api.post("/datasets", files={"file": ("corpus.txt", text)}).status_code == 201
        row = instance.download(SAMPLE, quantization="8bit")
        instance.wait_for(row["id"], "ready", seconds=120)
        assert {path.name for path in instance.home.glob("modelyard.db*")} >= {"modelyard.db", "modelyard.db-wal"}
        assert list((instance.home / "artifacts").iterdir())
        assert (instance.home / "logs" / "api.log").exists()
        assert open_to_others(instance.home) == []
        folders, files = modes(instance.hf_home / "hub" / f"models--{SAMPLE.replace('/', '--')}")
        assert (folders, files) == ({0o777 & ~mask}, {0o666 & ~mask})
    finally:
        instance.stop()


def test_what_older_versions_left_open_is_closed_at_the_start(tmp_path: Path) -> None:
    instance = Instance(tmp_path / "server", arguments=("--no-workers",))
    instance.start()
    instance.stop()
    outside = tmp_path / "outside"
    outside.write_text("somebody else's")
    outside.chmod(0o644)
    (instance.home / "logs" / "api.log.1").write_text("an older log")
    (instance.home / "trainings" / "linked").symlink_to(outside)
    for path in instance.home.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o777 if path.is_dir() else 0o644)
    instance.home.chmod(0o777)
    instance.start()
    try:
        assert open_to_others(instance.home) == []
        assert stat.S_IMODE(outside.stat().st_mode) == 0o644
        assert stat.S_IMODE(instance.home.stat().st_mode) == 0o777, "the owner's own choice"
        assert f"Others may write to {instance.home}" in instance.console()
    finally:
        instance.stop()
