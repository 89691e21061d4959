"""Quantize once, load, generate, unload: on real worker processes with real bitsandbytes."""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from sqlalchemy import select

from ml import zoo
from modelyard.client.api_client import ApiClient
from modelyard.core.database import Database
from modelyard.models import LoadedModel
from modelyard.services.inspection.fast_dtype import remember_speed
from support.instance import Instance, running, standing_still

LLAMA = "modelyard-samples/tiny-llama"
MOE = "modelyard-samples/tiny-qwen-moe"


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    instance = Instance(tmp_path_factory.mktemp("inference"), {"MODELYARD_LEASE_SECONDS": "4"}).start()
    instance.use_builtin_hub()
    yield instance
    instance.stop()


@pytest.fixture(scope="module")
def llama(instance: Instance) -> dict[str, Any]:
    return instance.wait_for(instance.download(LLAMA)["id"], "ready")


@pytest.fixture(scope="module")
def large(instance: Instance, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A model whose conversion to float32 takes long enough to be watched and stopped."""
    folder = tmp_path_factory.mktemp("large")
    zoo.make_large(folder)
    answer = instance.api.post("/models/import", json={"path": str(folder), "model_id": "local/large"})
    assert answer.status_code == 202, answer.text
    return instance.wait_for(answer.json()["id"], "ready", seconds=120)


@pytest.fixture(scope="module")
def quantized(instance: Instance, llama: dict[str, Any]) -> dict[str, Any]:
    assert instance.api.get(f"/models/{llama['id']}/estimate-memory").json()["method"] == "exact"
    answer = instance.api.post(f"/models/{llama['id']}/quantize", json={"quantization": "4bit"})
    assert answer.status_code == 202, answer.text
    assert answer.json()["status"] == "quantizing"
    assert answer.json()["memory_method"] == "exact"
    return instance.wait_for(answer.json()["id"], "ready", seconds=120)


def test_a_quantized_copy_is_made_on_the_same_snapshot(
    instance: Instance, llama: dict[str, Any], quantized: dict[str, Any]
) -> None:
    assert quantized["id"] != llama["id"]
    assert (quantized["commit"], quantized["quantization"]) == (llama["commit"], "4bit")
    assert quantized["memory_measured_bytes"] < llama["memory_estimated_bytes"]
    assert quantized["drift"]["prompts"] > 0
    assert quantized["memory_estimated_bytes"] == quantized["memory_measured_bytes"]
    assert quantized["has_chat_template"] is llama["has_chat_template"] is True
    again = instance.api.post(f"/models/{llama['id']}/quantize", json={"quantization": "4bit"})
    assert (again.status_code, again.json()["code"]) == (409, "already_exists")
    plan = instance.api.delete(f"/models/{quantized['id']}", params={"dry_run": True}).json()
    artifact = Path(quantized["snapshot_path"])
    assert plan["freed_bytes"] == sum(p.stat().st_size for p in artifact.rglob("*") if p.is_file())
    assert plan["kept_bytes"] == llama["disk_bytes"]


def test_load_generate_unload(instance: Instance, quantized: dict[str, Any]) -> None:
    row_id = quantized["id"]
    assert instance.api.post(f"/models/{row_id}/unload").json()["code"] == "conflict"
    assert instance.api.post(f"/models/{row_id}/load", json={}).status_code == 202
    instance.wait_until(lambda: instance.model(row_id)["loaded"], 60, "it is loaded")
    loaded = instance.api.get("/models/loaded").json()["items"]
    assert [(item["id"], item["device"]) for item in loaded] == [(row_id, "cpu")]
    assert loaded[0]["measured_bytes"] == quantized["memory_measured_bytes"]
    refused = instance.api.delete(f"/models/{row_id}")
    assert (refused.status_code, refused.json()["code"]) == (409, "model_in_use")
    assert refused.json()["used_by"][0]["kind"] == "loaded"

    request = {"prompt": "The", "max_new_tokens": 12}
    first = instance.api.post(f"/models/{row_id}/generate", json=request).json()
    second = instance.api.post(f"/models/{row_id}/generate", json=request).json()
    assert first["text"] == second["text"]
    assert first["new_tokens"] > 0
    assert first["load_seconds"] == 0.0
    chat = instance.api.post(
        f"/models/{row_id}/generate", json={"messages": [{"role": "user", "content": "Hello"}], "max_new_tokens": 4}
    )
    assert chat.status_code == 200, chat.text

    assert instance.api.post(f"/models/{row_id}/unload").status_code == 202
    instance.wait_until(lambda: not instance.model(row_id)["loaded"], 30, "it is unloaded")
    assert instance.api.get("/models/loaded").json()["items"] == []


def test_streaming_and_stopping(instance: Instance, quantized: dict[str, Any]) -> None:
    address = f"{instance.url}/api/v1/models/{quantized['id']}/generate"
    body = {"prompt": "The", "max_new_tokens": 24, "stream": True}
    with httpx.stream("POST", address, json=body, timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line]
    assert events[-1]["done"] is True
    assert "".join(event.get("delta", "") for event in events) == events[-1]["text"]

    body["max_new_tokens"] = 1500
    with httpx.stream("POST", address, json=body, timeout=60) as answer:
        next(line for line in answer.iter_lines() if line)
    instance.wait_until(
        lambda: instance.api.get("/models/loaded").json()["items"][0]["in_use"] == 0, 10, "the generation stopped"
    )


def test_a_copy_is_compared_with_its_original_on_a_text(
    instance: Instance, llama: dict[str, Any], quantized: dict[str, Any]
) -> None:
    address = f"/models/{quantized['id']}/drift"
    text = "The heart pumps blood through the body, and the lungs fill it with oxygen. " * 20
    found = instance.api.post(address, json={"text": text}).json()
    assert found["reason"] is None
    assert 250 < found["tokens"] <= 1024
    assert found["prompts"] == -(-found["tokens"] // 256)
    assert 0 < found["kl_mean"] <= found["kl_max"]
    assert 0 < found["top1_agreement"] <= 1
    assert found["compared_dtype"] == llama["dtype"]
    assert len(found["residual_cosine"]) == llama["num_layers"] + 1
    assert found["perplexity"] == pytest.approx(found["source_perplexity"], rel=0.1)
    assert instance.model(quantized["id"])["drift"] == quantized["drift"], "what was measured at first stays"
    assert instance.api.get(f"/models/{quantized['id']}/history").json()["items"][0]["kind"] != "drift"

    original = instance.api.post(f"/models/{llama['id']}/drift", json={"text": text})
    assert (original.status_code, original.json()["code"]) == (409, "conflict")
    assert "no quantized copy" in original.json()["detail"]
    for nothing in ({}, {"text": ""}, {"text": "x" * 200_001}):
        assert instance.api.post(address, json=nothing).json()["code"] == "invalid_request"
    for row in (llama, quantized):
        instance.api.post(f"/models/{row['id']}/unload")
        instance.wait_until(lambda row_id=row["id"]: not instance.model(row_id)["loaded"], 30, "it is unloaded")


def test_what_cannot_be_generated_is_said(instance: Instance, quantized: dict[str, Any]) -> None:
    for body in ({}, {"prompt": "a", "messages": [{"role": "user", "content": "b"}]}, {"prompt": "a", "seed": -1}):
        answer = instance.api.post(f"/models/{quantized['id']}/generate", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert instance.api.post("/models/nothing/generate", json={"prompt": "a"}).status_code == 404


@pytest.mark.thorough
def test_what_is_loaded_is_true_after_a_crash(instance: Instance, quantized: dict[str, Any]) -> None:
    row_id = quantized["id"]
    instance.api.post(f"/models/{row_id}/load", json={})
    instance.wait_until(lambda: instance.model(row_id)["loaded"], 60, "it is loaded")
    instance.children()["inference"].kill()
    instance.wait_until(lambda: not instance.model(row_id)["loaded"], 20, "it is not loaded any more")
    assert instance.api.get("/models/loaded").json()["items"] == []


FLOAT32 = {"dtype": "float32"}
Progress = dict[str, Any]


def test_nothing_is_loaded_after_a_stop(instance: Instance, quantized: dict[str, Any]) -> None:
    """Even before the next worker has started, which may wait for its libraries."""
    assert instance.api.post(f"/models/{quantized['id']}/load", json={}).status_code == 202
    instance.wait_until(lambda: instance.model(quantized["id"])["loaded"], 60, "it is loaded")
    instance.stop()
    with Database(f"sqlite:///{instance.home / 'modelyard.db'}").reading() as session:
        assert session.scalars(select(LoadedModel)).all() == []
    instance.start()
    assert not instance.model(quantized["id"])["loaded"]


def held(instance: Instance) -> AbstractContextManager[psutil.Process]:
    return standing_still(instance.children()["inference"])


@contextmanager
def held_when(
    instance: Instance, large: dict[str, Any], begin: Callable[[], object], is_so: Callable[[], bool]
) -> Iterator[psutil.Process]:
    """The worker stands still at a moment of the large model's load when `is_so`; a fast machine gets three tries."""
    for _attempt in range(3):
        instance.unload_all()
        begin()
        while not instance.model(large["id"])["loaded"]:
            with held(instance) as worker:
                if is_so():
                    yield worker
                    return
            time.sleep(0.05)
    pytest.fail("the large model was always loaded before it could be held")


class Watcher:
    """What the events' socket tells of a row's loads, in a thread of its own."""

    def __init__(self, instance: Instance, row_id: str) -> None:
        self.seen: list[Progress] = []
        self._ended = threading.Event()
        self._client, self._row_id = ApiClient(instance.url), row_id
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        for row in self._client.watch(self._row_id):
            if self._ended.is_set():
                return
            if row["progress"] is not None:
                self.seen.append(dict(row["progress"]))

    def end(self) -> list[Progress]:
        self._ended.set()
        return self.seen


def early(instance: Instance, row: dict[str, Any]) -> bool:
    """Whether less than half of a load's bytes are read."""
    found = progress(instance, row)
    return found is not None and 2 * found["bytes_done"] < (found["bytes_total"] or 0)


def progress(instance: Instance, row: dict[str, Any]) -> Progress | None:
    found: Progress | None = instance.model(row["id"])["progress"]
    return found


def reads(instance: Instance, row: dict[str, Any]) -> bool:
    now = progress(instance, row)
    return now is not None and now["bytes_done"] > 0


def test_a_generation_uses_the_copy_that_is_loaded_whatever_its_dtype(
    instance: Instance, llama: dict[str, Any]
) -> None:
    instance.unload_all()
    path = f"/models/{llama['id']}"
    instance.api.post(f"{path}/load", json={"device": "cuda:9"})
    failed = instance.wait_until(lambda: (m := instance.model(llama["id"]))["error"] and m, 60, "it is refused")
    assert failed["error"]["during"] == "load"
    made = instance.api.post(f"{path}/generate", json={"prompt": "The", "max_new_tokens": 1})
    assert made.status_code == 200, made.text
    assert instance.model(llama["id"])["error"] is None  # what failed before is no news
    instance.unload_all()
    instance.api.post(f"{path}/load", json=FLOAT32)
    instance.wait_until(lambda: instance.model(llama["id"])["loaded"], 60, "it is loaded")
    made = instance.api.post(f"{path}/generate", json={"prompt": "The", "max_new_tokens": 1})
    assert (made.status_code, made.json()["load_seconds"]) == (200, 0.0), made.text
    assert [item["dtype"] for item in instance.api.get("/models/loaded").json()["items"]] == ["float32"]
    instance.unload_all()


def test_a_host_that_is_slow_in_bfloat16_loads_in_float32_where_that_is_preferred(
    instance: Instance, llama: dict[str, Any]
) -> None:
    path = f"/models/{llama['id']}"
    database = Database(f"sqlite:///{instance.home / 'modelyard.db'}")

    def weights(dtype: str) -> int:
        def exact() -> dict[str, Any] | None:
            query = {"dtype": dtype, "parts": "weights"}
            found: dict[str, Any] = instance.api.get(f"{path}/estimate-memory", params=query).json()
            return found if found["method"] == "exact" else None

        size: int = instance.wait_until(exact, 120, "the estimate is exact")["options"][0]["weights_bytes"]
        return size

    def loaded(bfloat16_seconds: float) -> tuple[str, int, str]:
        remember_speed(database, {"float32_seconds": 1.0, "bfloat16_seconds": bfloat16_seconds})
        assert instance.api.post(f"{path}/load", json={}).status_code == 202
        row = instance.wait_until(lambda: (m := instance.model(llama["id"]))["loaded"] and m, 60, "it is loaded")
        (item,) = instance.api.get("/models/loaded").json()["items"]
        instance.unload_all()
        return item["dtype"], item["measured_bytes"], row["used_by"][0]["name"]

    instance.unload_all()
    instance.api.put("/settings", json={"prefer_fast_dtype": True})
    try:
        dtype, size, name = loaded(12.0)
        assert (dtype, size) == ("float32", weights("float32"))
        assert "in float32" in name
        estimate = instance.api.get(f"{path}/estimate-memory", params={"parts": "weights"}).json()
        assert estimate["fast_dtype"] == {"dtype": "float32", "prefill_speedup": 12.0}
        made = instance.api.post(f"{path}/generate", json={"prompt": "The", "max_new_tokens": 1})
        assert made.status_code == 200, made.text
        assert [item["dtype"] for item in instance.api.get("/models/loaded").json()["items"]] == ["float32"]
        instance.unload_all()
        assert loaded(1.0)[:2] == ("auto", weights("auto"))
        instance.api.put("/settings", json={"prefer_fast_dtype": False})
        assert loaded(12.0)[:2] == ("auto", weights("auto"))
    finally:
        instance.api.put("/settings", json={"prefer_fast_dtype": False})
        database.dispose()


def settled(instance: Instance, row: dict[str, Any], seconds: float = 60) -> dict[str, Any]:
    """The row when no load of it waits or runs any more."""
    return instance.wait_until(
        lambda: (m := instance.model(row["id"]))["progress"] is None and m, seconds, "the load has ended"
    )


def test_how_far_a_load_is_and_what_it_waits_for_is_told_live(
    instance: Instance, large: dict[str, Any], llama: dict[str, Any]
) -> None:
    instance.unload_all()
    watchers = [Watcher(instance, row["id"]) for row in (large, llama)]
    path = f"/models/{large['id']}/load"

    def begin() -> None:
        first = instance.api.post(path, json=FLOAT32)
        assert (first.status_code, first.json()["progress"]["phase"]) == (202, "loading")

    def waits() -> bool:
        """From here to the end of the large load takes a second at most: the worker gets it in small pieces."""
        with held(instance):
            time.sleep(0.2)
            assert not instance.model(large["id"])["loaded"]
            now = progress(instance, llama)
        return now is not None and now["message"] == "waiting for another load"

    with held_when(instance, large, begin, lambda: reads(instance, large)):
        assert instance.api.post(f"/models/{llama['id']}/load", json={}).status_code == 202
    instance.wait_until(waits, 60, "the other load waits for the large one")
    for row in (large, llama):
        assert settled(instance, row)["loaded"] is True
    of_large, of_llama = (watcher.end() for watcher in watchers)
    assert {step["phase"] for step in (*of_large, *of_llama)} == {"loading"}
    reading = [step for step in of_large if step["message"] == "reading weights" and step["bytes_total"]]
    stored = sum(path.stat().st_size for path in Path(large["snapshot_path"]).glob("*.safetensors"))
    assert reading
    assert all(0 <= stored - step["bytes_total"] < 100_000 for step in reading)  # the files' headers
    assert [step["bytes_done"] for step in reading] == sorted(step["bytes_done"] for step in reading)
    assert "waiting for another load" in [step["message"] for step in of_llama]


def test_a_load_that_waits_is_taken_back(instance: Instance, llama: dict[str, Any]) -> None:
    instance.unload_all()
    with held(instance):
        for way_back in ("unload", "cancel"):
            waiting = instance.api.post(f"/models/{llama['id']}/load", json={}).json()
            assert waiting["progress"]["waiting"] is True
            answer = instance.api.post(f"/models/{llama['id']}/{way_back}")
            assert answer.status_code == 202, answer.text
            assert (answer.json()["progress"], answer.json()["loaded"]) == (None, False)
        nothing = instance.api.post(f"/models/{llama['id']}/cancel")
        assert (nothing.status_code, nothing.json()["code"]) == (409, "conflict")
    # The next load is the only one there is.
    instance.api.post(f"/models/{llama['id']}/load", json={})
    assert settled(instance, llama)["loaded"] is True
    instance.unload_all()


def test_a_load_under_way_is_dropped_and_its_memory_comes_back(instance: Instance, large: dict[str, Any]) -> None:
    instance.unload_all()
    before = instance.children()["inference"].memory_info().rss
    path = f"/models/{large['id']}"
    with held_when(
        instance, large, lambda: instance.api.post(f"{path}/load", json=FLOAT32), lambda: reads(instance, large)
    ) as worker:
        answer = instance.api.post(f"{path}/cancel")
        assert answer.status_code == 202, answer.text
        told = answer.json()["progress"]
        assert (told["stopping"], told["waiting"]) == (True, False)
        assert 0 < told["bytes_done"] <= told["bytes_total"]
    row = settled(instance, large)
    assert (row["loaded"], row["error"], row["status"]) == (False, None, "ready")
    assert instance.api.get("/models/loaded").json()["items"] == []
    instance.wait_until(
        lambda: worker.memory_info().rss < before + 0.1 * large["size_bytes"], 20, "its memory came back"
    )


def test_who_takes_a_load_back_harms_nobody_who_asked_for_the_same(instance: Instance, llama: dict[str, Any]) -> None:
    instance.unload_all()
    with held(instance):
        for _user in range(2):
            instance.api.post(f"/models/{llama['id']}/load", json={})
        answer = instance.api.post(f"/models/{llama['id']}/cancel").json()
        assert (answer["progress"]["waiting"], answer["progress"]["stopping"]) == (True, False)
    assert settled(instance, llama)["loaded"] is True


def test_stopping_the_load_a_generation_waits_for_is_told_to_who_asked(
    instance: Instance, large: dict[str, Any], llama: dict[str, Any]
) -> None:
    asked: list[Future[httpx.Response]] = []
    with ThreadPoolExecutor(3) as pool:

        def begin() -> None:
            instance.api.post(f"/models/{large['id']}/load", json=FLOAT32)
            address, body = f"{instance.url}/api/v1/models/{llama['id']}/generate", {"prompt": "A", "max_new_tokens": 1}
            asked.append(pool.submit(httpx.post, address, json=body, timeout=60))

        # Early in the large load: what is asked while it stands still has to be seen before it ends.
        with held_when(
            instance, large, begin, lambda: progress(instance, llama) is not None and early(instance, large)
        ):
            assert instance.api.post(f"/models/{llama['id']}/cancel").status_code == 202
        answer = asked[-1].result(60)
    assert (answer.status_code, answer.json().get("code")) == (409, "conflict"), answer.text
    assert "was stopped" in answer.json()["detail"]
    settled(instance, large)


def test_offload_is_for_unquantized_models(instance: Instance, quantized: dict[str, Any]) -> None:
    instance.api.post(f"/models/{quantized['id']}/load", json={"allow_offload": True})
    row = settled(instance, quantized)
    assert row["error"]["code"] == "invalid_request"
    assert "4-bit" in row["error"]["message"]


@pytest.mark.thorough
def test_a_direct_download_in_four_bits_may_drop_the_original(instance: Instance) -> None:
    for left in instance.api.get("/models", params={"q": MOE}).json()["items"]:  # by a run of this test that failed
        assert instance.api.delete(f"/models/{left['id']}").status_code == 200
    row = instance.download(MOE, quantization="4bit", keep_original=False)
    ready = instance.wait_for(row["id"], "ready", seconds=120)
    assert ready["architecture"] == "Qwen3MoeForCausalLM"
    original = instance.hf_home / "hub" / "models--modelyard-samples--tiny-qwen-moe"
    instance.wait_until(lambda: not original.exists(), 30, "the original's files are removed")
    artifact = Path(ready["snapshot_path"])
    size = sum(path.stat().st_size for path in artifact.rglob("*") if path.is_file())
    assert ready["disk_bytes"] == size < 0.6 * ready["size_bytes"]
    here = f"/models/{row['id']}"
    assert instance.api.get(f"{here}/architecture").json()["layers_path"] == "model.layers"
    estimate = instance.api.get(f"{here}/estimate-memory").json()
    assert estimate["method"] == "exact"
    assert estimate["options"][2]["weights_bytes"] == ready["memory_measured_bytes"]
    made = instance.api.post(f"/models/{row['id']}/generate", json={"prompt": "A", "max_new_tokens": 3})
    assert made.status_code == 200, made.text
    instance.api.post(f"/models/{row['id']}/unload")
    instance.wait_until(lambda: not instance.model(row["id"])["loaded"], 30, "it is unloaded")
    assert instance.api.delete(f"/models/{row['id']}").json()["freed_bytes"] == size
    assert not artifact.exists()


@pytest.mark.thorough
def test_a_kill_in_the_middle_of_quantizing_leaves_nothing_half_made(instance: Instance, llama: dict[str, Any]) -> None:
    row = instance.api.post(f"/models/{llama['id']}/quantize", json={"quantization": "8bit"}).json()

    def child() -> psutil.Process | None:
        return running("modelyard.workers.processes.quantize_child")

    instance.wait_until(child, 30, "the child quantizes").send_signal(signal.SIGKILL)
    failed = instance.wait_until(
        lambda: (m := instance.model(row["id"]))["status"] == "failed" and m, 30, "the failure is told"
    )
    assert failed["error"]["hint"]
    assert instance.api.post(f"/models/{row['id']}/resume").status_code == 202
    instance.wait_until(child, 30, "the child quantizes again")
    instance.children()["compute"].kill()
    ready = instance.wait_for(row["id"], "ready", seconds=120)
    left = sorted(path.name for path in (instance.home / "artifacts").iterdir())
    assert Path(ready["snapshot_path"]).name in left
    assert not [name for name in left if name.endswith(".partial")]
