"""Quantize once, load, generate, unload: on real worker processes with real bitsandbytes."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from support.instance import Instance

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
def quantized(instance: Instance, llama: dict[str, Any]) -> dict[str, Any]:
    answer = instance.api.post(f"/models/{llama['id']}/quantize", json={"quantization": "4bit"})
    assert answer.status_code == 202, answer.text
    assert answer.json()["status"] == "quantizing"
    return instance.wait_for(answer.json()["id"], "ready", seconds=120)


def test_a_quantized_copy_is_made_on_the_same_snapshot(
    instance: Instance, llama: dict[str, Any], quantized: dict[str, Any]
) -> None:
    assert quantized["id"] != llama["id"]
    assert (quantized["commit"], quantized["quantization"]) == (llama["commit"], "4bit")
    assert quantized["memory_measured_bytes"] < llama["memory_estimated_bytes"]
    assert quantized["drift"]["prompts"] > 0
    estimated = instance.wait_until(
        lambda: (m := instance.model(quantized["id"]))["memory_method"] == "exact" and m, 60, "the exact estimate"
    )
    assert estimated["memory_estimated_bytes"] == quantized["memory_measured_bytes"]
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


def test_what_cannot_be_generated_is_said(instance: Instance, quantized: dict[str, Any]) -> None:
    for body in ({}, {"prompt": "a", "messages": [{"role": "user", "content": "b"}]}, {"prompt": "a", "seed": -1}):
        answer = instance.api.post(f"/models/{quantized['id']}/generate", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert instance.api.post("/models/nothing/generate", json={"prompt": "a"}).status_code == 404


def test_what_is_loaded_is_true_after_a_crash(instance: Instance, quantized: dict[str, Any]) -> None:
    row_id = quantized["id"]
    instance.api.post(f"/models/{row_id}/load", json={})
    instance.wait_until(lambda: instance.model(row_id)["loaded"], 60, "it is loaded")
    instance.children()["inference"].kill()
    instance.wait_until(lambda: not instance.model(row_id)["loaded"], 20, "it is not loaded any more")
    assert instance.api.get("/models/loaded").json()["items"] == []


def test_a_direct_download_in_four_bits_may_drop_the_original(instance: Instance) -> None:
    row = instance.download(MOE, quantization="4bit", keep_original=False)
    ready = instance.wait_for(row["id"], "ready", seconds=120)
    assert ready["architecture"] == "Qwen3MoeForCausalLM"
    assert not (instance.hf_home / "hub" / "models--modelyard-samples--tiny-qwen-moe").exists()
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


def test_a_kill_in_the_middle_of_quantizing_leaves_nothing_half_made(instance: Instance, llama: dict[str, Any]) -> None:
    row = instance.api.post(f"/models/{llama['id']}/quantize", json={"quantization": "8bit"}).json()

    def child() -> psutil.Process | None:
        worker = instance.children().get("compute")
        found = worker.children(recursive=True) if worker else []
        return next((p for p in found if any("quantize_child" in word for word in p.cmdline())), None)

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
