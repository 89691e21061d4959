"""Activations of a real server: at once, into files, killed and resumed."""

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from support.instance import Instance

LLAMA = "modelyard-samples/tiny-llama"
ROWS = [[3 + number % 90] * (4 + number % 9) for number in range(160)]
LONG = {"hook_points": ["model.layers.0", "model.layers.1"], "token_ids": ROWS, "batch_size": 1, "shard_bytes": 30_000}


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    environment = {"MODELYARD_LEASE_SECONDS": "4", "OMP_NUM_THREADS": "1"}
    instance = Instance(tmp_path_factory.mktemp("activations"), environment).start()
    instance.use_builtin_hub()
    instance.wait_for(instance.download(LLAMA)["id"], "ready")
    yield instance
    instance.stop()


@pytest.fixture(scope="module")
def row_id(instance: Instance) -> str:
    return str(instance.api.get("/models").json()["items"][0]["id"])


@pytest.fixture(scope="module")
def model(instance: Instance, row_id: str) -> Any:
    torch.set_num_threads(1)
    row = instance.model(row_id)
    folder = instance.hf_home / "hub" / f"models--{LLAMA.replace('/', '--')}" / "snapshots" / row["commit"]
    return AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()


@torch.no_grad()
def local(model: Any, ids: list[int], path: str) -> torch.Tensor:
    found = []

    def keep(_module: Any, _inputs: Any, output: Any) -> None:
        found.append((output if isinstance(output, torch.Tensor) else output[0])[0])

    handle = model.get_submodule(path).register_forward_hook(keep)
    model(input_ids=torch.tensor([ids]))
    handle.remove()
    return found[0].float()


def tensor_of(answer: dict[str, Any]) -> torch.Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(answer["data"])), dtype=torch.float32).view(answer["shape"])


def ask(instance: Instance, row_id: str, expected: int = 200, **fields: Any) -> Any:
    answer = instance.api.post(f"/models/{row_id}/activations", json=fields, timeout=400)
    assert answer.status_code == expected, answer.text
    return answer.json()


def state(instance: Instance, capture: dict[str, Any]) -> dict[str, Any]:
    return dict(instance.api.get(f"/activations/{capture['id']}").json())


def ended(instance: Instance, capture: dict[str, Any], status: str = "completed") -> dict[str, Any]:
    def reached() -> dict[str, Any] | None:
        now = state(instance, capture)
        assert now["status"] in (status, "pending", "running"), now
        return now if now["status"] == status else None

    return dict(instance.wait_until(reached, 400, status))


def files_of(folder: str) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in Path(folder).iterdir()}


def shards(capture: dict[str, Any]) -> list[Path]:
    return sorted(Path(capture["folder"]).glob("activations-*.safetensors"))


def test_a_small_answer_comes_at_once(instance: Instance, row_id: str, model: Any) -> None:
    names = ["model.layers.1", "blocks.0.hook_resid_post", "lm_head"]
    answer = ask(instance, row_id, hook_points=names, texts=["import os", "def main():"])
    assert list(answer["tensors"]) == names
    rows: dict[int, list[int]] = {}
    for token in answer["tokens"]:
        assert token["position"] == len(rows.setdefault(token["row"], []))
        rows[token["row"]].append(token["id"])
    assert "".join(token["text"] for token in answer["tokens"] if token["row"] == 0).endswith("import os")
    for name, path in zip(names, ("model.layers.1", "model.layers.0", "lm_head"), strict=True):
        expected = torch.cat([local(model, ids, path) for ids in rows.values()])
        assert torch.equal(tensor_of(answer["tensors"][name]), expected)
    assert instance.api.get("/activations").json()["total"] == 0


def test_errors_name_what_is_wrong(instance: Instance, row_id: str) -> None:
    error = ask(instance, row_id, 422, hook_points=["model.layer.1"], texts=["a"])
    assert error["code"] == "invalid_request"
    assert "model.layers.1" in error["hint"]
    error = ask(instance, row_id, 422, hook_points=["blocks.0.hook_resid_pos"], texts=["a"])
    assert "blocks.0.hook_resid_post" in error["hint"]
    assert ask(instance, row_id, 422, hook_points=["model.layers.1"])["code"] == "invalid_request"
    error = ask(instance, row_id, 422, hook_points=["model.layer.1"], texts=["a"], save=True)
    assert "model.layers.1" in error["hint"]
    assert ask(instance, row_id, 404, hook_points=["model.layers.1"], dataset={"id": "no.txt"})
    assert instance.api.get("/activations").json()["total"] == 0
    assert instance.api.get("/activations/nothing").json()["code"] == "activations_not_found"


def test_rows_of_a_data_set_become_files(instance: Instance, row_id: str, model: Any) -> None:
    texts = [f"def function_{number}(): pass" for number in range(30)]
    content = "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()
    sent = instance.api.post("/datasets", files={"file": ("some.jsonl", content)}).json()
    dataset = {"path": sent["path"], "rows": [5, 15]}
    fields = {"hook_points": ["model.layers.0"], "dataset": dataset, "positions": [0, -1], "batch_size": 1}
    capture = ask(instance, row_id, 202, save=True, **fields)
    done = ended(instance, capture)
    folder = Path(done["folder"])
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert done["estimated_bytes"] == sum(sizes.values()) - sizes["manifest.json"]
    assert (done["rows"], done["tokens"], done["progress"]) == (10, 20, None)
    index, tokens = load_file(folder / "index.safetensors"), load_file(folder / "tokens.safetensors")
    assert index["row"].tolist() == [row for row in range(5, 15) for _ in range(2)]
    found = load_file(folder / "activations-00001.safetensors")["model.layers.0"]
    rows = tokens["ids"].split(tokens["lengths"].tolist())
    expected = [local(model, ids.tolist(), "model.layers.0")[[0, -1]] for ids in rows]
    assert torch.equal(found, torch.cat(expected))
    assert json.loads((folder / "manifest.json").read_text())["commit"] == done["commit"]
    at_once = ask(instance, row_id, hook_points=["model.layers.0"], dataset={"id": Path(sent["path"]).name})
    assert at_once["tokens"][-1]["row"] == 29
    freed = instance.api.delete(f"/activations/{done['id']}").json()["freed_bytes"]
    assert freed == sum(sizes.values())
    assert not folder.exists()


@pytest.mark.thorough
def test_a_killed_worker_leaves_identical_files(instance: Instance, row_id: str) -> None:
    whole = ended(instance, ask(instance, row_id, 202, save=True, **LONG))
    capture = ask(instance, row_id, 202, save=True, **LONG)
    instance.wait_until(lambda: len(shards(capture)) > 1, 200, "some files are there")
    instance.children()["inference"].kill()
    early = {path.name: path.stat().st_mtime_ns for path in shards(capture)}
    assert len(early) < len(shards(whole))
    assert not (Path(capture["folder"]) / "manifest.json").exists()
    done = ended(instance, capture)
    assert files_of(done["folder"]) == files_of(whole["folder"])
    again = {path.name: path.stat().st_mtime_ns for path in shards(done)}
    assert sum(again[name] == changed for name, changed in early.items()) >= len(early) - 1
    for each in (whole, done):
        assert instance.api.delete(f"/activations/{each['id']}").status_code == 200


def test_writing_is_paused_resumed_and_cancelled(instance: Instance, row_id: str) -> None:
    capture = ask(instance, row_id, 202, save=True, **LONG)
    instance.wait_until(lambda: len(shards(capture)) > 1, 200, "some files are there")
    # Others use the model meanwhile.
    answer = instance.api.post(f"/models/{row_id}/generate", json={"prompt": "import", "max_new_tokens": 4}).json()
    assert answer["new_tokens"] == 4
    assert instance.api.delete(f"/activations/{capture['id']}").json()["code"] == "conflict"
    assert instance.api.post(f"/activations/{capture['id']}/pause").status_code == 202
    paused = ended(instance, capture, "paused")
    assert paused["progress"]["step"] is None
    assert len(shards(capture)) > 0
    assert instance.api.post(f"/activations/{capture['id']}/resume").json()["status"] == "pending"
    instance.wait_until(lambda: state(instance, capture)["progress"]["step"] is not None, 200, "it goes on")
    assert instance.api.post(f"/activations/{capture['id']}/cancel").status_code == 202
    ended(instance, capture, "cancelled")
    assert not Path(capture["folder"]).exists()
    assert instance.api.post(f"/activations/{capture['id']}/resume").json()["code"] == "conflict"
    assert instance.api.delete(f"/activations/{capture['id']}").json() == {"freed_bytes": 0}
