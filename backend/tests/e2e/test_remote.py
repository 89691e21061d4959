"""The server's one model in memory, used by a notebook and by the command line."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import modelyard
from modelyard.core.errors import ModelNotFound
from modelyard.core.settings import get_settings
from modelyard.notebook_remote import RemoteModel, open_activations
from support.instance import Instance

LLAMA = "modelyard-samples/tiny-llama"
WIDTH = 256


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    instance = Instance(tmp_path_factory.mktemp("remote"), {"OMP_NUM_THREADS": "1"}).start()
    instance.use_builtin_hub()
    instance.wait_for(instance.download(LLAMA)["id"], "ready")
    yield instance
    instance.stop()


@pytest.fixture
def model(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> Iterator[RemoteModel]:
    monkeypatch.setenv("MODELYARD_SERVER", instance.url)
    get_settings.cache_clear()
    yield modelyard.remote(LLAMA)
    get_settings.cache_clear()


def test_a_handle_uses_the_model_of_the_server(instance: Instance, model: RemoteModel) -> None:
    text = model.generate("import", max_new_tokens=4)
    same = instance.api.post(f"/models/{model.id}/generate", json={"prompt": "import", "max_new_tokens": 4}).json()
    assert text == same["text"]
    assert model.chat([{"role": "user", "content": "Hello"}], max_new_tokens=4)
    [loaded] = instance.api.get("/models/loaded").json()["items"]
    assert loaded["id"] == model.id
    with pytest.raises(ModelNotFound):
        modelyard.remote(LLAMA, "4bit")


def test_interventions_change_logits_of_this_request_alone(instance: Instance, model: RemoteModel) -> None:
    ids = [5, 6, 7]
    before = model.logits(ids)
    vector = torch.randn(WIDTH, generator=torch.Generator().manual_seed(1))
    steer = {"hook_point": "blocks.11.hook_resid_post", "op": "add", "vector": vector, "value": 4.0}
    changed = model.logits(ids, interventions=[steer])
    assert before.shape == changed.shape == (3, before.shape[1])
    assert not torch.equal(before, changed)
    assert torch.equal(model.logits(ids, positions="last"), before[-1:])
    completion = {"model": LLAMA, "prompt": ids, "max_tokens": 1, "temperature": 0, "logprobs": 1}
    listed = dict(steer, vector=vector.tolist())
    for options, logits in (({}, before), ({"modelyard": {"interventions": [listed]}}, changed)):
        answer = instance.api.post(f"{instance.url}/v1/completions", json=completion | options).json()
        told = answer["choices"][0]["logprobs"]["token_logprobs"][0]
        assert told == pytest.approx(float(logits[-1].log_softmax(-1).max()), abs=1e-3)
    clamp = {"op": "sae_clamp", "sae_id": "nowhere", "feature": 1}
    refused = instance.api.post(f"/models/{model.id}/generate", json={"prompt": "a", "interventions": [clamp]})
    assert refused.json()["code"] in ("sae_not_found", "sae_engine_missing")


def test_activations_in_files_are_mapped(model: RemoteModel) -> None:
    ids = [[5, 6, 7], [8, 9]]
    at_once = model.activations(["model.layers.4"], token_ids=ids)
    stored = model.activations(["model.layers.4"], token_ids=ids, save=True, batch_size=1, shard_bytes=1000)
    assert torch.equal(stored["model.layers.4"], at_once["model.layers.4"])
    assert [len(shard) for shard in stored.shards("model.layers.4")] == [3, 2]
    assert (stored.rows.tolist(), stored.positions.tolist()) == ([0, 0, 0, 1, 1], [0, 1, 2, 0, 1])
    assert stored.token_ids.tolist() == at_once.token_ids.tolist() == [5, 6, 7, 8, 9]
    assert stored.folder is not None
    assert list(open_activations(stored.folder)) == ["model.layers.4"]


def test_the_logit_lens_ends_with_what_the_model_says(instance: Instance, model: RemoteModel) -> None:
    answer = instance.api.post(f"/models/{model.id}/logit-lens", json={"prompt": "import os", "top": 2}).json()
    assert len(answer["layers"]) == 12
    best = answer["layers"][-1]["positions"][-1][0]
    expected = model.logits("import os", positions="last")[0].softmax(-1)
    assert int(expected.argmax()) == best["id"]
    assert best["probability"] == pytest.approx(float(expected.max()), abs=1e-3)


def test_the_command_line_writes_and_removes(instance: Instance, model: RemoteModel) -> None:
    def command(*words: str) -> str:
        program = [sys.executable, "-c", "from modelyard.cli import app; app()", "activations"]
        run: Any = subprocess.run(
            [*program, *words, "--server", instance.url], capture_output=True, text=True, timeout=300
        )
        assert run.returncode == 0, run.stderr
        return str(run.stdout)

    said = command("start", LLAMA, "--hook", "model.layers.0", "--text", "import os", "--positions", "0,-1")
    assert "completed" in said
    folder = next(line.split()[1] for line in said.splitlines() if line.startswith("folder"))
    assert open_activations(folder)["model.layers.0"].shape == (2, WIDTH)
    capture_id = Path(folder).name
    assert capture_id[:12] in command("ls")
    assert "completed" in command("show", capture_id[:8])
    assert "Freed" in command("rm", capture_id[:8])
    assert not Path(folder).exists()
