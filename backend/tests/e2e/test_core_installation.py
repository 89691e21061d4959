"""An installation without extras: files of models are handled in full, and whatever needs more says what brings it."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from hub.hub_faults import serve
from modelyard.core.extras import Extra
from modelyard.hub.server.app import create_hub_app
from modelyard.hub.server.samples import SampleSource
from support.core_installation import environment_without_ours, make_core_installation
from support.instance import Instance
from support.samples import sample_models

LLAMA = "modelyard-samples/tiny-llama"
GPT2 = "modelyard-samples/tiny-gpt2"
SAID = "modelyard[torch] is not installed."


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_core_installation(tmp_path_factory.mktemp("core") / "venv")


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    with serve(create_hub_app([SampleSource(sample_models())], api_key=None)) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory, python: Path, hub: str) -> Iterator[Instance]:
    folder = tmp_path_factory.mktemp("server")
    instance = Instance(folder, as_users_do=True, python=python, environment={"HF_ENDPOINT": hub})
    instance.environment = environment_without_ours(instance.environment)
    instance.home.mkdir(mode=0o700)  # with no samples in it
    yield instance.start()
    assert instance.stop() == 0


@pytest.fixture(scope="module")
def model(instance: Instance) -> dict[str, Any]:
    return instance.wait_for(instance.download(LLAMA)["id"], "ready")


def modelyard(instance: Instance, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(instance.python), "-m", "modelyard", *arguments]
    return subprocess.run(
        command, env=instance.environment | environment, capture_output=True, text=True, timeout=60, check=False
    )


def assert_missing(answer: httpx.Response, extra: str = "torch") -> None:
    assert (answer.status_code, answer.json()["code"]) == (409, "extra_missing"), answer.text
    assert answer.json()["detail"] == f"modelyard[{extra}] is not installed."
    assert f"'modelyard[{extra}]'" in answer.json()["hint"]


def test_no_process_is_started_that_needs_torch(instance: Instance) -> None:
    instance.wait_until(lambda: len(instance.children()) == 2, 30, "the API and one worker run")
    assert set(instance.children()) == {"api", "downloads"}
    assert instance.process is not None
    words = [child.cmdline() for child in psutil.Process(instance.process.pid).children(recursive=True)]
    assert not [each for each in words if "modelyard.workers.processes.warm_parent" in each]
    assert SAID in instance.console()


def test_the_server_says_what_is_missing(instance: Instance) -> None:
    system = instance.api.get("/system").json()
    assert (system["extras"]["torch"], system["extras"]["sae"], system["warm"]) == (False, False, False)
    assert [each["extra"] for each in system["missing"]] == list(Extra)
    assert all(f"'modelyard[{each['extra']}]'" in each["install"] for each in system["missing"])
    assert "torch" in system["libraries"]
    assert system["libraries"]["torch"] is None


def test_a_model_is_estimated_downloaded_and_served_as_a_hub(instance: Instance, model: dict[str, Any]) -> None:
    info = instance.api.get("/models/info/" + LLAMA).json()
    assert info["num_parameters"] == 13_048_064
    assert {"code": "not_inspected", "message": SAID} in info["support"]["reasons"]
    estimate = instance.api.get("/models/estimate-memory", params={"model_id": LLAMA}).json()
    assert (estimate["method"], estimate["may_improve"]) == ("approximate", False)
    assert SAID.rstrip(".") in estimate["method_reason"]
    assert [option["weights_bytes"] is not None for option in estimate["options"]] == [True] * 3
    assert estimate["kv_cache_segments"] != []

    assert (model["status"], model["memory_method"]) == ("ready", "approximate")
    address = f"{instance.url}/hub/{LLAMA}/resolve/main/config.json"
    assert httpx.get(address, follow_redirects=True).json()["model_type"] == "llama"
    assert "<title>Modelyard" in httpx.get(instance.url).text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/models/{id}/load", {}),
        ("/models/{id}/generate", {"prompt": "Hello"}),
        ("/models/{id}/quantize", {"quantization": "4bit"}),
        ("/models/download", {"model_id": GPT2, "quantization": "8bit"}),
        ("/compare", {"left": LLAMA, "right": LLAMA, "prompt": "Hello"}),
    ],
)
def test_what_needs_torch_says_so(instance: Instance, model: dict[str, Any], path: str, body: dict[str, Any]) -> None:
    before = instance.api.get("/models").json()["total"]
    assert_missing(instance.api.post(path.format(id=model["id"]), json=body))
    assert instance.api.get("/models").json()["total"] == before


def test_what_is_asked_of_the_inspector_says_so(instance: Instance, model: dict[str, Any]) -> None:
    assert_missing(instance.api.get(f"/models/{model['id']}/architecture"))
    assert_missing(instance.api.get("/models/architecture", params={"model_id": GPT2}))
    verdict = instance.api.get(f"/models/{model['id']}/training-compatibility").json()
    assert (verdict["compatible"], verdict["reasons"]) == (None, [{"code": "extra_missing", "message": SAID}])


def test_training_names_its_own_extra(instance: Instance, model: dict[str, Any]) -> None:
    body = {"model_id": model["id"], "hook_point": "model.layers.1", "dataset": {"path": "/x"}, "training_tokens": 4096}
    refused = instance.api.post("/trainings", json=body)
    assert (refused.status_code, refused.json()["code"]) == (409, "sae_engine_missing")
    assert refused.json()["detail"] == "modelyard[sae] is not installed."


def test_openai_clients_are_told(instance: Instance, model: dict[str, Any]) -> None:
    body = {"model": LLAMA, "messages": [{"role": "user", "content": "Hello"}]}
    for path, asked in (("chat/completions", body), ("embeddings", {"model": LLAMA, "input": "Hello"})):
        error = httpx.post(f"{instance.url}/v1/{path}", json=asked).json()["error"]
        assert (error["code"], error["message"].startswith(SAID)) == ("extra_missing", True)


def test_a_gguf_file_is_not_taken_for_conversion(instance: Instance, tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    file.write_bytes(b"GGUF")
    answer = instance.api.post("/models/import", json={"path": str(file), "model_id": "local/tiny"})
    assert_missing(answer, "gguf")


def test_the_sample_hub_lists_what_it_has_and_says_what_makes_the_rest(instance: Instance) -> None:
    instance.api.put("/settings", json={"endpoint": "builtin"})
    try:
        found = instance.api.get("/models/search", params={"q": "tiny"}).json()["items"]
        assert [item["model_id"] for item in found] == [LLAMA]
        assert_missing(instance.api.get("/models/info/" + GPT2))
    finally:
        instance.api.put("/settings", json={"endpoint": None})


def test_commands_say_the_same(instance: Instance, model: dict[str, Any]) -> None:
    loaded = modelyard(instance, "load", model["id"], "--server", instance.url)
    assert loaded.returncode == 1
    assert SAID in loaded.stderr
    checked = json.loads(modelyard(instance, "doctor", "--json", "--server", instance.url).stdout)
    assert checked["ok"]
    (torch,) = (check for check in checked["checks"] if check["name"] == "torch")
    assert (torch["state"], torch["detail"]) == ("warning", SAID.rstrip("."))
    worker = modelyard(instance, "worker", "--queues", "inference")
    assert worker.returncode == 1
    assert SAID in worker.stderr
    code = f"import modelyard; modelyard.load({model['id']!r})"
    notebook = subprocess.run(
        [instance.python, "-c", code], env=instance.environment, capture_output=True, text=True, check=False
    )
    assert f"ExtraMissing: {SAID}" in notebook.stderr


@pytest.mark.parametrize(
    ("variable", "value", "extra"),
    [
        ("MODELYARD_BROKER_URL", "redis://127.0.0.1:1/0", "redis"),
        ("MODELYARD_DATABASE_URL", "postgresql+psycopg://127.0.0.1:1/modelyard", "postgres"),
    ],
)
def test_a_database_or_broker_that_needs_an_extra_is_refused_at_once(
    instance: Instance, tmp_path: Path, variable: str, value: str, extra: str
) -> None:
    answer = modelyard(instance, "serve", "--port", "0", MODELYARD_HOME=str(tmp_path / "home"), **{variable: value})
    assert answer.returncode == 1
    assert f"Modelyard cannot run: modelyard[{extra}] is not installed." in answer.stderr
