"""The main job on real processes: find a model, download it, use it elsewhere, delete it; with kills in the middle."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from support.instance import Instance

LLAMA = "modelyard-samples/tiny-llama"
GPT2 = "modelyard-samples/tiny-gpt2"
SLOW = 5_000_000


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    instance = Instance(tmp_path_factory.mktemp("walk"), {"MODELYARD_LEASE_SECONDS": "4"}, afresh=True)
    instance.start()
    instance.use_builtin_hub()
    yield instance
    if instance.process is not None:
        assert instance.stop() == 0


@pytest.fixture
def slow(instance: Instance) -> Iterator[Instance]:
    """Downloads take a few seconds, so that something can happen in the middle."""
    instance.api.put("/settings", json={"bandwidth_limit_bytes_per_second": SLOW})
    yield instance
    instance.api.put("/settings", json={"bandwidth_limit_bytes_per_second": None})


@pytest.fixture(autouse=True)
def _nothing_left(instance: Instance) -> Iterator[None]:
    yield
    for model in instance.api.get("/models").json()["items"]:
        assert instance.api.delete(f"/models/{model['id']}").status_code == 200


class Listener:
    """Collects the events of the WebSocket in a thread."""

    def __init__(self, instance: Instance) -> None:
        self.events: list[dict[str, Any]] = []
        self._connection = connect(f"ws://127.0.0.1:{instance.port}/api/v1/events")
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> "Listener":
        self._socket = self._connection.__enter__()
        self.events.append(json.loads(self._socket.recv(10)))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.__exit__(None, None, None)
        self._thread.join(5)

    def _listen(self) -> None:
        for message in self._socket:
            self.events.append(json.loads(message))


def test_search_preview_download_use_delete(slow: Instance) -> None:
    hits = slow.api.get("/models/search", params={"q": "tiny-llama"}).json()["items"]
    assert [hit["model_id"] for hit in hits] == [LLAMA]
    info = slow.api.get(f"/models/info/{LLAMA}").json()
    assert info["support"]["level"] == "supported"
    assert info["dimensions"]["hidden_size"] == 256

    with Listener(slow) as listener:
        row = slow.download(LLAMA)
        assert row["status"] in ("pending", "downloading")
        ready = slow.wait_for(row["id"], "ready")
        slow.wait_until(lambda: listener.events[-1]["type"] == "model.download.completed", 5, "the completed event")

    assert listener.events[0]["type"] == "snapshot"
    seqs = [event["seq"] for event in listener.events]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    progress = [e["model"]["progress"] for e in listener.events if e["type"] == "model.download.progress"]
    done = [p["bytes_done"] for p in progress]
    assert done == sorted(done)
    assert any(0 < p["bytes_done"] < p["bytes_total"] and p["bytes_per_second"] for p in progress)
    assert {p["bytes_total"] for p in progress if p["bytes_total"]} == {info["size_bytes"]}

    assert ready["architecture"] == "LlamaForCausalLM"
    assert ready["num_parameters"] == info["num_parameters"] == 13_048_064
    assert ready["disk_bytes"] == ready["downloaded_bytes"] == info["size_bytes"] == slow.cache_bytes() - 40
    assert _generates_offline(slow, LLAMA) == "LlamaForCausalLM"

    plan = slow.api.delete(f"/models/{row['id']}", params={"dry_run": True}).json()
    assert plan["freed_bytes"] == info["size_bytes"]
    assert slow.api.delete(f"/models/{row['id']}").json()["freed_bytes"] == info["size_bytes"]
    assert slow.cache_bytes() == 0
    assert slow.api.get(f"/models/{row['id']}").json()["code"] == "model_not_found"


@pytest.mark.thorough
def test_killed_worker_finishes_where_it_was(slow: Instance) -> None:
    row = slow.download(LLAMA)
    slow.wait_until(lambda: slow.model(row["id"])["downloaded_bytes"] > 3_000_000, 20, "some bytes")
    worker = slow.children()["downloads"]
    before = slow.model(row["id"])["downloaded_bytes"]
    worker.kill()
    seen = []

    def ready() -> bool:
        model = slow.model(row["id"])
        seen.append(model["downloaded_bytes"])
        return bool(model["status"] == "ready")

    slow.wait_until(ready, 40, "the download ends after a kill -9")
    assert min(seen) >= before - 40_000_000
    assert seen == sorted(seen)
    assert slow.children()["downloads"].pid != worker.pid
    assert slow.model(row["id"])["disk_bytes"] == slow.cache_bytes() - 40


@pytest.mark.thorough
def test_killed_server_goes_on_after_a_restart(slow: Instance) -> None:
    row = slow.download(LLAMA)
    slow.wait_until(lambda: slow.model(row["id"])["downloaded_bytes"] > 3_000_000, 20, "some bytes")
    children = slow.children().values()
    slow.kill()
    slow.wait_until(lambda: not any(child.is_running() for child in children), 20, "no orphans")
    slow.start()
    ready = slow.wait_for(row["id"], "ready", seconds=40)
    assert ready["disk_bytes"] == slow.cache_bytes() - 40


@pytest.mark.thorough
def test_the_rate_of_a_resumed_download_is_that_of_what_came_since(slow: Instance) -> None:
    """Under a bandwidth limit: all its bytes over the seconds since it was resumed would be above it."""
    row = slow.download(LLAMA)
    slow.wait_until(lambda: slow.model(row["id"])["downloaded_bytes"] > row["size_bytes"] // 2, 60, "half of it")
    slow.api.post(f"/models/{row['id']}/pause")
    slow.wait_for(row["id"], "paused", seconds=5)
    slow.api.post(f"/models/{row['id']}/resume")
    slow.wait_for(row["id"], "ready")
    events = slow.api.get(f"/models/{row['id']}/history").json()["items"]
    done, paused = (next(e for e in events if e["event"] == name) for name in ("done", "paused"))
    assert done["bytes"] == row["size_bytes"]
    assert 0 < done["moved_bytes"] <= row["size_bytes"] // 2
    assert done["moved_bytes"] + paused["moved_bytes"] >= row["size_bytes"]
    for event in (done, paused):
        assert event["moved_bytes"] <= 1.1 * SLOW * event["seconds"] + 1_000_000


def test_pause_keeps_and_cancel_removes(slow: Instance) -> None:
    row = slow.download(LLAMA)
    slow.wait_until(lambda: slow.model(row["id"])["downloaded_bytes"] > 3_000_000, 20, "some bytes")
    assert slow.api.post(f"/models/{row['id']}/pause").status_code == 202
    paused = slow.wait_for(row["id"], "paused", seconds=5)
    assert 0 < paused["downloaded_bytes"] < paused["size_bytes"]
    assert slow.api.post(f"/models/{row['id']}/resume").status_code == 202
    resumed = slow.wait_until(
        lambda: (m := slow.model(row["id"]))["downloaded_bytes"] > paused["downloaded_bytes"] and m, 20, "more bytes"
    )
    assert resumed["status"] in ("downloading", "ready")
    assert slow.api.post(f"/models/{row['id']}/cancel").status_code == 202
    slow.wait_for(row["id"], "cancelled", seconds=5)
    assert slow.cache_bytes() == 0
    assert slow.download(LLAMA)["id"] == row["id"]
    slow.api.put("/settings", json={"bandwidth_limit_bytes_per_second": None})
    slow.wait_for(row["id"], "ready")


def test_delete_while_downloading_leaves_nothing(slow: Instance) -> None:
    row = slow.download(LLAMA)
    slow.wait_until(lambda: slow.model(row["id"])["downloaded_bytes"] > 1_000_000, 20, "some bytes")
    assert slow.api.delete(f"/models/{row['id']}").status_code == 200
    assert slow.cache_bytes() == 0


def test_the_same_model_twice_is_a_conflict(slow: Instance) -> None:
    row = slow.download(LLAMA)
    again = slow.api.post("/models/download", json={"model_id": LLAMA})
    assert (again.status_code, again.json()["code"], again.json()["id"]) == (409, "already_exists", row["id"])


@pytest.mark.thorough
def test_an_instance_is_a_hub_for_another(instance: Instance, tmp_path: Path) -> None:
    row = instance.download(GPT2)
    instance.wait_for(row["id"], "ready")
    other = Instance(tmp_path / "other", {"HF_ENDPOINT": f"{instance.url}/hub"})
    try:
        other.start()
        copy = other.wait_for(other.download(GPT2)["id"], "ready")
        assert copy["commit"] == row["commit"]
        assert copy["endpoint"] == f"{instance.url}/hub"
        assert _generates_offline(other, GPT2) == "GPT2LMHeadModel"
    finally:
        other.stop()


def test_files_that_vanish_are_missing_and_come_back(instance: Instance) -> None:
    row = instance.download(GPT2)
    ready = instance.wait_for(row["id"], "ready")
    weights = Path(ready["snapshot_path"]) / "model.safetensors"
    hidden = weights.resolve().with_name("hidden")
    weights.resolve().rename(hidden)
    missing = instance.wait_for(row["id"], "missing", seconds=20)
    assert missing["error"]["code"] == "files_missing"
    assert instance.download(GPT2)["id"] == row["id"]
    instance.wait_for(row["id"], "ready")
    hidden.unlink()


def test_the_api_process_stays_light(instance: Instance) -> None:
    api = instance.children()["api"]
    assert not [m.path for m in api.memory_maps() if "libtorch" in m.path]
    assert api.memory_info().rss < 150_000_000


@pytest.mark.thorough
def test_the_models_may_move_to_another_disk_in_the_middle_of_a_download(slow: Instance, tmp_path: Path) -> None:
    """Comes last, because the folders are others from then on."""
    ready = slow.wait_for(slow.download(GPT2)["id"], "ready")
    quantized = slow.wait_for(slow.download(GPT2, quantization="4bit")["id"], "ready")
    row = slow.download(LLAMA)
    slow.wait_until(lambda: slow.model(row["id"])["downloaded_bytes"] > 5_000_000, 20, "some bytes")
    slow.api.post(f"/models/{row['id']}/pause")
    paused = slow.wait_for(row["id"], "paused", seconds=5)
    assert slow.stop() == 0
    moved = tmp_path / "larger disk" / "hub"
    moved.parent.mkdir()
    (slow.hf_home / "hub").rename(moved)
    slow.home.rename(moved.with_name("home"))
    slow.home = moved.with_name("home")
    slow.environment |= {"HF_HUB_CACHE": str(moved), "MODELYARD_HOME": str(slow.home)}
    slow.start()
    assert slow.model(row["id"])["downloaded_bytes"] == paused["downloaded_bytes"]
    slow.api.post(f"/models/{row['id']}/resume")
    for each in (row, ready, quantized):
        found = slow.wait_for(each["id"], "ready")
        assert Path(found["snapshot_path"]).is_relative_to(moved.parent)
        assert slow.model(each["id"])["disk_bytes"] > 0
    answer = slow.api.post(f"/models/{quantized['id']}/generate", json={"prompt": "A", "max_new_tokens": 1})
    assert answer.status_code == 200, answer.text
    slow.unload_all()
    assert not (slow.hf_home / "hub").exists()


def _generates_offline(instance: Instance, model_id: str) -> str:
    code = (
        "import sys; from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        "model = AutoModelForCausalLM.from_pretrained(sys.argv[1])\n"
        "tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])\n"
        "out = model.generate(**tokenizer('The', return_tensors='pt'), max_new_tokens=3, min_new_tokens=3)\n"
        "assert out.shape[1] >= 4; print(type(model).__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, model_id],
        env=instance.environment | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
