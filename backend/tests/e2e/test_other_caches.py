"""Caches that other tools, other disks or people made differently: files instead of links, links instead of folders."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.instance import Instance

GPT2 = "modelyard-samples/tiny-gpt2"

PLAIN_DISK = """
    import errno, fcntl, os

    root = os.environ["PLAIN_DISK"]

    def refuse(function, code, path_of):
        def refusing(*arguments, **options):
            path = path_of(*arguments, **options)
            if isinstance(path, int):
                path = os.readlink(f"/proc/self/fd/{path}")
            if os.path.abspath(os.fspath(path)).startswith(root):
                raise OSError(code, os.strerror(code), path)
            return function(*arguments, **options)
        return refusing

    fcntl.flock = refuse(fcntl.flock, errno.ENOSYS, lambda file, *_: file if isinstance(file, int) else file.fileno())
    os.link = refuse(os.link, errno.EPERM, lambda source, target, **_: target)
    os.symlink = refuse(os.symlink, errno.EPERM, lambda source, target, *_, **__: target)
    os.setxattr = refuse(os.setxattr, errno.ENOTSUP, lambda path, *_, **__: path)
    os.getxattr = refuse(os.getxattr, errno.ENOTSUP, lambda path, *_, **__: path)
"""
"""Read by every process when it starts: below PLAIN_DISK there are no locks, links and attributes."""


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    instance = Instance(tmp_path_factory.mktemp("caches"), {"MODELYARD_LEASE_SECONDS": "4"}).start()
    instance.use_builtin_hub()
    yield instance
    instance.stop()


def test_snapshot_of_files_instead_of_links_is_adopted_mended_and_deleted(instance: Instance) -> None:
    """As HF_HUB_DISABLE_SYMLINKS, Windows and plain copies of a cache leave it."""
    _fetch_with_hub_library(instance, {"HF_HUB_DISABLE_SYMLINKS": "1"})
    repo = instance.hf_home / "hub" / "models--modelyard-samples--tiny-gpt2"
    assert not [path for path in repo.rglob("*") if path.is_symlink()]
    assert not list((repo / "blobs").iterdir())
    [listed] = instance.api.get("/models/cache").json()["items"]
    assert (listed["model_id"], listed["importable"]) == (GPT2, True)
    ready = _adopt(instance)
    assert ready["disk_bytes"] == _bytes_below(repo / "snapshots")

    weights = Path(ready["snapshot_path"]) / "model.safetensors"
    untouched = {path: path.stat().st_ino for path in weights.parent.iterdir() if path != weights}
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert instance.api.post(f"/models/{ready['id']}/verify").status_code == 202
    mended = instance.wait_for(ready["id"], "ready")
    assert weights.read_bytes() == content
    assert {path: path.stat().st_ino for path in weights.parent.iterdir() if path != weights} == untouched

    planned = instance.api.delete(f"/models/{ready['id']}", params={"dry_run": True}).json()["freed_bytes"]
    deleted = instance.api.delete(f"/models/{ready['id']}", params={"confirm_shared": True})
    assert deleted.status_code == 200, deleted.text
    assert deleted.json()["freed_bytes"] == planned == mended["disk_bytes"]
    assert not repo.exists()


def test_linked_repository_folder_is_neither_adopted_nor_followed(instance: Instance, tmp_path: Path) -> None:
    _fetch_with_hub_library(instance)
    repo = instance.hf_home / "hub" / "models--modelyard-samples--tiny-gpt2"
    elsewhere = tmp_path / "other-disk"
    repo.rename(elsewhere)
    repo.symlink_to(elsewhere)
    [listed] = instance.api.get("/models/cache").json()["items"]
    assert listed["importable"] is False
    assert "its folder is a link" in listed["problem"]
    refused = instance.api.post("/models/import", json={"cached": GPT2})
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert "its folder is a link" in refused.json()["detail"]
    repo.unlink()
    elsewhere.rename(repo)

    ready = _adopt(instance)
    repo.rename(elsewhere)
    repo.symlink_to(elsewhere)
    before = _bytes_below(elsewhere)
    refused = instance.api.delete(f"/models/{ready['id']}", params={"confirm_shared": True})
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert str(repo) in refused.json()["detail"]
    assert instance.model(ready["id"])["status"] == "ready"
    assert _bytes_below(elsewhere) == before
    repo.unlink()
    assert instance.api.delete(f"/models/{ready['id']}", params={"confirm_shared": True}).status_code == 200
    assert _bytes_below(elsewhere) == before


@pytest.mark.thorough
def test_disk_without_locks_links_and_attributes(tmp_path: Path) -> None:
    """Everything works there; only copies take room, and `disk_bytes` says so."""
    patch = tmp_path / "patch"
    patch.mkdir()
    (patch / "sitecustomize.py").write_text(textwrap.dedent(PLAIN_DISK))
    folder = tmp_path / "disk"
    instance = Instance(folder, {"PYTHONPATH": str(patch), "PLAIN_DISK": str(folder), "MODELYARD_LEASE_SECONDS": "4"})
    try:
        instance.start()
        instance.wait_until(lambda: len(instance.children()) == 4, 30, "all workers are started")
        second = subprocess.run(
            [sys.executable, "-m", "modelyard", "serve", "--port", "0"],
            env=instance.environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert second.returncode != 0
        assert "A server already runs on" in second.stderr + second.stdout
        instance.use_builtin_hub()
        ready = instance.wait_for(instance.download(GPT2)["id"], "ready", seconds=60)
        hub = instance.hf_home / "hub"
        assert not [path for path in hub.rglob("*") if path.is_symlink()]
        repo = next(hub.glob("models--*"))
        assert ready["disk_bytes"] == _bytes_below(repo / "blobs") + _bytes_below(repo / "snapshots")
        assert instance.api.post(f"/models/{ready['id']}/verify").status_code == 202
        instance.wait_for(ready["id"], "ready")
        planned = instance.api.delete(f"/models/{ready['id']}", params={"dry_run": True}).json()["freed_bytes"]
        assert planned == ready["disk_bytes"]
        assert instance.api.delete(f"/models/{ready['id']}").json()["freed_bytes"] == planned
        assert not repo.exists()
        logs = "".join(path.read_text() for path in (instance.home / "logs").glob("*.log"))
        assert "Traceback" not in logs
    finally:
        instance.stop()


def _adopt(instance: Instance) -> dict[str, Any]:
    answer = instance.api.post("/models/import", json={"cached": GPT2})
    assert answer.status_code == 202, answer.text
    return instance.wait_for(answer.json()["id"], "ready")


def _fetch_with_hub_library(instance: Instance, environment: dict[str, str] | None = None) -> None:
    code = "import sys; from huggingface_hub import snapshot_download; snapshot_download(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", code, GPT2],
        env=instance.environment | {"HF_ENDPOINT": f"{instance.url}/hub"} | (environment or {}),
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip


def _bytes_below(folder: Path) -> int:
    paths = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    return sum(path.lstat().st_size for path in paths if not path.is_symlink())
