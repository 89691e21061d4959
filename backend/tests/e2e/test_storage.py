"""A disk that fills up, a cache that may not be written, under a real server: what it says, what resumes by itself."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from huggingface_hub import snapshot_download

from hub.hub_faults import serve
from modelyard.hub.server.app import create_hub_app
from support.folder_hub import FolderSource, make_llama, make_tiny
from support.instance import Instance
from support.storage import ReadOnly, SmallDisk, reachable_folder, read_only, small_disk

MODEL_BYTES = 20_000_000


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("repo")
    one = make_llama(folder / "one", weight_bytes=MODEL_BYTES)
    two = make_tiny(folder / "two")
    three = make_llama(folder / "three", weight_bytes=MODEL_BYTES)
    with serve(create_hub_app([FolderSource(lab__one=one, lab__two=two, lab__three=three)], api_key=None)) as endpoint:
        yield endpoint


def problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def logs(instance: Instance) -> str:
    return "".join(path.read_text() for path in sorted((instance.home / "logs").glob("*.log"))) + instance.console()


def send(instance: Instance) -> httpx.Response:
    lines = b"".join(b'{"text": "line %d"}\n' % n for n in range(5000))
    return instance.api.post("/datasets", files={"file": ("corpus.jsonl", lines)})


@pytest.mark.parametrize("stand_in", [False, pytest.param(True, marks=pytest.mark.thorough)], ids=["mounted", "limit"])
def test_full_home_is_told_and_everything_resumes(hub: str, tmp_path: Path, stand_in: bool) -> None:
    with small_disk(tmp_path / "home", stand_in=stand_in) as disk:
        # Elsewhere, so that the lines written meanwhile are there to be counted.
        (tmp_path / "logs").mkdir()
        (disk.folder / "logs").symlink_to(tmp_path / "logs")
        instance = Instance(tmp_path, {"HF_ENDPOINT": hub, "MODELYARD_LEASE_SECONDS": "3"}).start()
        try:
            _fill_and_mend(instance, disk)
        finally:
            print(instance.console())
            instance.stop()


def _fill_and_mend(instance: Instance, disk: SmallDisk) -> None:
    instance.wait_until(lambda: len(instance.children()) == 4, 30, "all workers are started")
    instance.api.put("/settings", json={"bandwidth_limit_bytes_per_second": 1_000_000})
    row = instance.download("lab/one")
    instance.wait_until(lambda: instance.model(row["id"])["progress"]["bytes_done"] > 500_000, 30, "it flows")
    children = {name: child.pid for name, child in instance.children().items()}
    assert instance.process is not None
    disk.fill(instance.process.pid)
    instance.api.put("/settings", json={"bandwidth_limit_bytes_per_second": None})
    refused = [
        instance.api.put("/settings", json={"connections": 3}),
        instance.api.post("/models/download", json={"model_id": "lab/two"}),
        send(instance),
    ]
    assert [problem(answer) for answer in refused] == [(507, "disk_full")] * 3
    assert all(str(instance.home) in answer.json()["detail"] for answer in refused)
    assert instance.api.get("/models").status_code == 200
    time.sleep(12)  # several heartbeats, maintenance rounds and leases
    assert {name: child.pid for name, child in instance.children().items()} == children
    disk.make_room()
    instance.wait_for(row["id"], "ready", seconds=60)
    assert send(instance).status_code == 201
    assert instance.download("lab/two")["status"] == "pending"
    assert {name: child.pid for name, child in instance.children().items()} == children
    told = (instance.home / "logs" / "api.log").read_text()
    assert "Traceback" not in logs(instance)
    if disk.is_whole:  # otherwise the log was full too
        assert told.count("The disk is full") == 1
    assert told.count("can be written again") == 1


def test_database_that_is_damaged_under_a_running_server(hub: str, tmp_path: Path) -> None:
    instance = Instance(tmp_path, _quick(hub))
    try:
        instance.start()
        instance.wait_until(lambda: len(instance.children()) == 4, 30, "all workers are started")
        instance.wait_for(instance.download("lab/two")["id"], "ready")
        children = {name: child.pid for name, child in instance.children().items()}
        database = instance.home / "modelyard.db"
        backup = tmp_path / "backup.db"
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(backup)) as target:
            source.backup(target)
            source.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # else the log has every page, and no damage is met
        database.write_bytes(b"garbage " * (database.stat().st_size // 8))
        instance.wait_until(lambda: instance.api.get("/models").status_code == 503, 30, "the damage is met")
        time.sleep(8)  # several heartbeats, maintenance rounds and leases, in every process
        for answer in (instance.api.get("/models"), instance.api.put("/settings", json={"connections": 3})):
            assert problem(answer) == (503, "database_damaged")
            assert str(database) in answer.json()["detail"]
            assert "backup" in answer.json()["hint"]
        assert "Traceback" not in logs(instance)
        for name in ("modelyard.db-wal", "modelyard.db-shm"):
            (instance.home / name).unlink(missing_ok=True)
        backup.replace(database)
        instance.wait_until(lambda: instance.api.get("/models").status_code == 200, 30, "it is used")
        assert [model["status"] for model in instance.api.get("/models").json()["items"]] == ["ready"]
        instance.wait_for(instance.download("lab/one")["id"], "ready")
        assert {name: child.pid for name, child in instance.children().items()} == children
        assert "Traceback" not in logs(instance)
        told = (instance.home / "logs" / "api.log").read_text()
        assert told.count("is damaged") == 1
        assert told.count("can be written again") == 1
    finally:
        print(logs(instance)[-20000:])
        instance.stop()


@pytest.mark.parametrize("stand_in", [True, False], ids=["permissions", "mounted"])
@pytest.mark.thorough
def test_cache_that_may_not_be_written(hub: str, stand_in: bool) -> None:
    """As a user to whom permissions apply (this one, nobody, or root without capabilities), or mounted read-only."""
    fault = read_only(stand_in=stand_in)
    with reachable_folder() as folder:
        fault.user.own(folder)
        _cache_walk(Instance(folder, _quick(hub), user=fault.user), fault)


@pytest.mark.thorough
def test_import_and_adoption_with_a_cache_that_may_not_be_written(hub: str) -> None:
    """An import waits and resumes; an adoption writes nothing and needs no more than reading."""
    fault = read_only(stand_in=True)
    with reachable_folder() as folder:
        make_tiny(folder / "own")
        instance = Instance(folder, _quick(hub), user=fault.user)
        snapshot_download("lab/two", endpoint=hub, cache_dir=instance.hf_home / "hub", token=False)
        fault.user.own(folder)
        try:
            instance.start()
            with fault.closed(instance.hf_home / "hub"):
                own = {"path": str(folder / "own"), "model_id": "local/own", "mode": "copy"}
                imported = instance.api.post("/models/import", json=own)
                assert imported.status_code == 202, imported.text
                waiting = instance.wait_for(imported.json()["id"], "paused", seconds=30)
                assert waiting["error"]["code"] == "storage_denied"
                assert fault.words in waiting["error"]["message"]
                adopted = instance.api.post("/models/import", json={"cached": "lab/two"})
                assert adopted.status_code == 202, adopted.text
                instance.wait_for(adopted.json()["id"], "ready", seconds=30)
            instance.wait_for(imported.json()["id"], "ready", seconds=60)
            assert "Traceback" not in logs(instance)
        finally:
            print(logs(instance)[-5000:])
            instance.stop()


def _quick(hub: str) -> dict[str, str]:
    return {"HF_ENDPOINT": hub, "MODELYARD_LEASE_SECONDS": "3"}


def _paused_halfway(instance: Instance, model_id: str) -> str:
    """Begin a download and pause it once some of it is on the disk; returns the row's id."""
    instance.api.put("/settings", json={"bandwidth_limit_bytes_per_second": 1_000_000})
    row_id: str = instance.download(model_id)["id"]
    instance.wait_until(lambda: instance.model(row_id)["progress"]["bytes_done"] > 500_000, 30, "it flows")
    assert instance.api.post(f"/models/{row_id}/pause").status_code == 202
    assert instance.wait_for(row_id, "paused", seconds=30)["disk_bytes"] > 0
    assert _blobs(instance, model_id)
    instance.api.put("/settings", json={"bandwidth_limit_bytes_per_second": None})
    return row_id


def _blobs(instance: Instance, model_id: str) -> list[Path]:
    """What the cache holds of a repository's content, finished or not."""
    return list((instance.hf_home / "hub" / f"models--{model_id.replace('/', '--')}").glob("blobs/*"))


def _cache_walk(instance: Instance, fault: ReadOnly) -> None:
    """Downloads wait and resume; what only reads works; what would remove files is refused before it begins."""
    try:
        instance.start()
        here = instance.download("lab/two")["id"]
        instance.wait_for(here, "ready")
        begun = _paused_halfway(instance, "lab/three")
        with fault.closed(instance.hf_home / "hub"):
            assert problem(instance.api.post(f"/models/{begun}/cancel")) == (507, "storage_denied")
            cancelled = instance.model(begun)
            assert (cancelled["status"], cancelled["error"]["code"]) == ("cancelled", "storage_denied")
            assert cancelled["disk_bytes"] > 0
            coming = instance.download("lab/one")["id"]
            waiting = instance.wait_for(coming, "paused", seconds=30)
            assert waiting["error"]["code"] == "storage_denied"
            assert fault.words in waiting["error"]["message"]
            assert "resumes by itself" in waiting["error"]["hint"]

            assert instance.api.post(f"/models/{here}/verify").status_code == 202
            time.sleep(1)
            instance.wait_for(here, "ready")
            assert instance.api.post(f"/models/{here}/load", json={"device": "cpu"}).status_code == 202
            instance.wait_until(lambda: instance.model(here)["loaded"], 60, "it is loaded")
            instance.unload_all()

            refused = instance.api.delete(f"/models/{here}")
            assert problem(refused) == (507, "storage_denied")
            assert instance.model(here)["status"] == "ready"
            assert instance.api.delete("/models/cache/leftovers").status_code in (200, 507)
            assert instance.api.get("/models/cache").status_code == 200
        instance.wait_until(lambda: instance.model(begun)["disk_bytes"] == 0, 60, "what was cancelled is removed")
        assert instance.model(begun)["error"] is None
        assert _blobs(instance, "lab/three") == []
        instance.wait_for(coming, "ready", seconds=60)
        assert instance.api.delete(f"/models/{here}").status_code == 200
        assert "Traceback" not in logs(instance)
    finally:
        print(logs(instance)[-5000:])
        instance.stop()
