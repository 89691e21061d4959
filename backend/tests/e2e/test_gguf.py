"""GGUF files: told by their headers, fetched one by one, imported, converted, and taken up again after a kill."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from huggingface_hub import snapshot_download

from hub.hub_faults import HubFaults, serve
from modelyard.core.gguf_header import FIRST_READ_BYTES
from modelyard.hub.server.app import create_hub_app
from support.browser import walk
from support.folder_hub import FolderSource
from support.gguf_models import PARAMETERS, make_source, write_gguf
from support.instance import Instance, running, standing_still
from support.samples import sample_models
from support.smollm2 import NotAvailable, smollm2_gguf

REPO, SPLIT, OTHER = "lab/llama", "lab/split", "lab/other"
FILE = "model.Q8_0.gguf"
CHILD = "modelyard.workers.processes.convert_child"
WEIGHTS = 2 * PARAMETERS["llama"]
QUESTION, ANSWER = "What is the capital of France?", "The capital of France is Paris."


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_source(tmp_path_factory.mktemp("source") / "llama", sample_models() / "tiny-llama")


@pytest.fixture(scope="module")
def repositories(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("repositories")
    llama, split, other = (folder / name for name in ("llama", "split", "other"))
    for each in (llama, split, other):
        each.mkdir()
    write_gguf(source, llama / FILE)
    write_gguf(source, llama / "model.F32.gguf", quantization="F32")
    shutil.copyfile(llama / FILE, llama / "mmproj-model-f16.gguf")
    (llama / "README.md").write_text("A model.")
    write_gguf(source, split / "model.gguf", split=3)
    write_gguf(source, other / "clip.gguf", architecture="clip")
    write_gguf(source, other / "no-words.gguf", with_tokenizer=False)
    (other / "cut.gguf").write_bytes((llama / FILE).read_bytes()[:5000])
    greedy = [letter * (1 + length) for letter in "ab" for length in range(4096)]
    write_gguf(source, other / "greedy.gguf", tokens=greedy)
    (other / "part-00002-of-00002.gguf").write_bytes(b"GGUF")
    return {"llama": llama, "split": split, "other": other}


@pytest.fixture(scope="module")
def faults(repositories: dict[str, Path]) -> HubFaults:
    folders = {f"lab__{name}": folder for name, folder in repositories.items()}
    return HubFaults(create_hub_app([FolderSource(**folders)], api_key=None))


@pytest.fixture(scope="module")
def instance(faults: HubFaults, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    folder = tmp_path_factory.mktemp("gguf")
    with serve(faults) as endpoint:
        environment = {"HF_ENDPOINT": endpoint, "MODELYARD_LEASE_SECONDS": "4", "OLLAMA_MODELS": str(folder / "ollama")}
        instance = Instance(folder, environment).start()
        yield instance
        instance.stop()


@pytest.fixture(autouse=True)
def _nothing_left(instance: Instance, faults: HubFaults) -> Iterator[None]:
    faults.clear()
    yield
    instance.unload_all()
    for model in instance.api.get("/models").json()["items"]:
        deleted = instance.api.delete(f"/models/{model['id']}")
        assert deleted.status_code == 200, deleted.text
    assert not instance.cache_bytes()
    artifacts = instance.home / "artifacts"
    assert not artifacts.exists() or not list(artifacts.iterdir())


def _choices(instance: Instance, model_id: str) -> dict[str, dict[str, Any]]:
    """What the info tells, once every header was read."""

    def all_read() -> dict[str, dict[str, Any]] | None:
        info = instance.api.get(f"/models/info/{model_id}").json()
        found = {file["path"]: file for file in info["gguf_files"]}
        return found if all(file["problem"] or file["weights_bytes"] for file in found.values()) else None

    found: dict[str, dict[str, Any]] = instance.wait_until(all_read, 60, "the headers are read")
    return found


def _asked_bytes(faults: HubFaults) -> int:
    """How far into files of the Hub anybody asked."""
    ranges = [request.range for request in faults.requests if "/resolve/" in request.path and request.method == "GET"]
    return max((int(text.rpartition("-")[2]) + 1 if text else 2**60) for text in ranges)


def test_a_repository_offers_its_files_by_their_headers(
    instance: Instance, repositories: dict[str, Path], faults: HubFaults
) -> None:
    found = _choices(instance, REPO)

    assert list(found) == ["model.F32.gguf", FILE]
    assert found[FILE] == {
        "path": FILE,
        "size_bytes": (repositories["llama"] / FILE).stat().st_size,
        "quantization_type": "Q8_0",
        "weights_bytes": WEIGHTS,
        "num_parameters": PARAMETERS["llama"],
        "dtype": "bfloat16",
        "architecture": "llama",
        "context_length": 512,
        "has_chat_template": True,
        "problem": None,
    }
    assert (found["model.F32.gguf"]["dtype"], found["model.F32.gguf"]["weights_bytes"]) == ("float32", 2 * WEIGHTS)
    info = instance.api.get(f"/models/info/{REPO}").json()
    assert [reason["code"] for reason in info["support"]["reasons"]] == ["gguf_only"]
    assert 0 < _asked_bytes(faults) <= 4 * FIRST_READ_BYTES


def test_what_cannot_be_converted_says_why(instance: Instance) -> None:
    found = _choices(instance, OTHER)

    assert "'clip'" in found["clip.gguf"]["problem"]
    assert "no tokenizer" in found["no-words.gguf"]["problem"]
    assert "cut short" in found["cut.gguf"]["problem"]
    assert "part-00001-of-00002.gguf is not there" in found["part-00001-of-00002.gguf"]["problem"]


@pytest.mark.parametrize(
    ("file", "code", "words"),
    [
        ("clip.gguf", "unsupported_architecture", "'clip'"),
        ("no-words.gguf", "no_tokenizer", "no-words.gguf"),
        ("cut.gguf", "no_weights", "cut short"),
        ("part-00002-of-00002.gguf", "no_weights", "part-00001-of-00002.gguf"),
        ("gone.gguf", "invalid_request", "clip.gguf"),
        (None, "no_weights", "clip.gguf"),
    ],
)
def test_a_download_of_it_is_refused_before_its_weights_are_fetched(
    instance: Instance, file: str | None, code: str, words: str
) -> None:
    answer = instance.api.post("/models/download", json={"model_id": OTHER, "gguf_file": file})

    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert words in answer.json()["detail"] + answer.json()["hint"]
    assert instance.api.get("/models").json()["total"] == 0


def test_a_file_is_fetched_and_converted(instance: Instance, repositories: dict[str, Path]) -> None:
    row = instance.download(REPO, gguf_file=FILE)
    assert row["converted_from"] == "Q8_0"
    ready = instance.wait_for(row["id"], "ready", seconds=120)

    assert ready["architecture"] == "LlamaForCausalLM"
    assert (ready["dtype"], ready["num_parameters"]) == ("bfloat16", PARAMETERS["llama"])
    assert ready["has_chat_template"]
    assert ready["update_available"] is False
    files = {file["path"]: file for file in instance.api.get(f"/models/{row['id']}/files").json()["items"]}
    original = (repositories["llama"] / FILE).read_bytes()
    assert files[FILE]["sha256"] == hashlib.sha256(original).hexdigest()
    assert {"README.md", "config.json", "tokenizer.json", "model.safetensors"} <= files.keys()
    assert not any(name.startswith(("mmproj", "model.F32")) for name in files)
    total = sum(file["size_bytes"] for file in files.values())
    assert ready["size_bytes"] == ready["disk_bytes"] == total > len(original) + WEIGHTS
    plan = instance.api.delete(f"/models/{row['id']}", params={"dry_run": True}).json()
    assert (plan["freed_bytes"], plan["kept_bytes"]) == (total, 0)
    estimate = instance.api.get(f"/models/{row['id']}/estimate-memory").json()
    assert estimate["options"][0]["weights_bytes"] >= WEIGHTS
    again = instance.api.post("/models/download", json={"model_id": REPO, "gguf_file": FILE})
    assert (again.status_code, again.json()["code"]) == (409, "already_exists")

    _damage(Path(ready["snapshot_path"]) / "model.safetensors")
    assert instance.api.post(f"/models/{row['id']}/verify").status_code == 202
    mended = instance.wait_for(row["id"], "ready", seconds=120)
    assert mended["size_bytes"] == mended["disk_bytes"] == total
    made = instance.api.post(f"/models/{row['id']}/generate", json={"prompt": "A", "max_new_tokens": 3})
    assert made.status_code == 200, made.text


def test_a_converted_model_is_like_any_other(instance: Instance, tmp_path: Path) -> None:
    """It is quantized, has hook points, may be trained on, and is served to other tools."""
    row = instance.wait_for(instance.download(REPO, gguf_file=FILE)["id"], "ready", seconds=120)

    copy = instance.api.post(f"/models/{row['id']}/quantize", json={"quantization": "4bit"}).json()
    quantized = instance.wait_for(copy["id"], "ready", seconds=120)
    assert quantized["converted_from"] == "Q8_0"
    for each in (row, quantized):
        instance.wait_until(
            lambda each=each: instance.model(each["id"])["memory_method"] == "exact", 120, "its estimate is exact"
        )
        made = instance.api.post(f"/models/{each['id']}/generate", json={"prompt": "A", "max_new_tokens": 3})
        assert (made.status_code, made.json()["new_tokens"]) == (200, 3), made.text
        loaded = instance.model(each["id"])
        assert loaded["memory_measured_bytes"] == loaded["memory_estimated_bytes"]

    architecture = instance.api.get(f"/models/{row['id']}/architecture").json()
    assert {"model.layers.0.mlp", "model.layers.1"} <= {point["path"] for point in architecture["hook_points"]}
    fit = instance.api.get(f"/models/{row['id']}/training-compatibility").json()
    assert (fit["compatible"], fit["dimensions"]["hidden_size"]) == (True, 64)

    served = snapshot_download(REPO, endpoint=f"{instance.url}/hub", cache_dir=tmp_path, token=False)
    for name in ("model.safetensors", "config.json", FILE):
        assert (Path(served) / name).read_bytes() == (Path(row["snapshot_path"]) / name).read_bytes()


def _damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.resolve().write_bytes(content)


@pytest.mark.thorough
def test_a_file_that_asks_for_all_memory_fails_by_itself(instance: Instance) -> None:
    """Its header is in order; what is made of its vocabulary would fill any machine."""
    row = instance.download(OTHER, gguf_file="greedy.gguf")
    error = instance.wait_for(row["id"], "failed", seconds=120)["error"]
    assert error["code"] == "unsupported_architecture", error
    assert re.match(r"Converting greedy\.gguf of lab/other used more than .* of memory", error["message"]), error
    assert error["hint"]


@pytest.mark.thorough
def test_a_kill_in_the_middle_is_taken_up_again(instance: Instance) -> None:
    row = instance.download(SPLIT, gguf_file="model-00001-of-00003.gguf")
    child: psutil.Process = instance.wait_until(lambda: running(CHILD), 60, "the child converts")
    with standing_still(child):
        instance.wait_until(
            lambda: instance.model(row["id"])["progress"]["phase"] == "converting", 30, "the conversion is told of"
        )
        instance.children()["downloads"].kill()
    ready = instance.wait_for(row["id"], "ready", seconds=120)
    assert ready["num_parameters"] == PARAMETERS["llama"]
    assert not list((instance.home / "artifacts").iterdir())


@pytest.mark.parametrize("action", ["cancel", "pause"])
def test_a_conversion_stops_on_request(instance: Instance, action: str) -> None:
    row = instance.download(REPO, gguf_file=FILE)
    child: psutil.Process = instance.wait_until(lambda: running(CHILD), 60, "the child converts")
    with standing_still(child):
        assert instance.api.post(f"/models/{row['id']}/{action}").status_code == 202
    stopped = instance.wait_for(row["id"], {"cancel": "cancelled", "pause": "paused"}[action])
    assert not list((instance.home / "artifacts").iterdir())
    instance.wait_until(lambda: running(CHILD) is None, 30, "the child is gone")
    if action == "pause":
        assert instance.api.post(f"/models/{stopped['id']}/resume").status_code == 202
        instance.wait_for(row["id"], "ready", seconds=120)
    else:
        instance.wait_until(lambda: not instance.cache_bytes(), 30, "what was fetched is removed")


def _import(instance: Instance, path: str | Path) -> Any:
    return instance.api.post("/models/import", json={"path": str(path), "model_id": "local/imported"})


def test_files_of_this_machine_are_imported(instance: Instance, repositories: dict[str, Path], tmp_path: Path) -> None:
    """Whatever they are called, and by the names that Ollama gives them; they stay as they are."""
    content = (repositories["llama"] / FILE).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    store = instance.folder / "ollama"
    (store / "blobs").mkdir(parents=True)
    blob = store / "blobs" / f"sha256-{digest}"
    blob.write_bytes(content)
    manifest = store / "manifests/registry.ollama.ai/library/llama3.2/1b"
    manifest.parent.mkdir(parents=True)
    layers = [
        {"mediaType": "application/vnd.ollama.image.template", "digest": "sha256:" + "0" * 64},
        {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}", "size": len(content)},
    ]
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": layers}))

    row = _import(instance, "llama3.2:1b").json()
    ready = instance.wait_for(row["id"], "ready", seconds=120)

    assert (ready["converted_from"], ready["endpoint"]) == ("Q8_0", "local")
    assert ready["disk_bytes"] == ready["size_bytes"] > WEIGHTS
    assert blob.read_bytes() == content
    assert blob.stat().st_nlink == 1
    assert instance.api.post(f"/models/{row['id']}/verify").status_code == 202
    instance.wait_for(row["id"], "ready")
    assert instance.api.delete(f"/models/{row['id']}").json()["freed_bytes"] == ready["disk_bytes"]

    odd = tmp_path / "model of mine"
    odd.write_bytes((repositories["llama"] / "model.F32.gguf").read_bytes())
    ready = instance.wait_for(_import(instance, odd).json()["id"], "ready", seconds=120)
    assert (ready["converted_from"], ready["dtype"]) == ("F32", "float32")


def test_what_is_no_gguf_model_is_not_imported(
    instance: Instance, repositories: dict[str, Path], tmp_path: Path
) -> None:
    other, text = repositories["other"], tmp_path / "notes.gguf"
    text.write_text("no model")
    (tmp_path / "link.gguf").symlink_to(other / "clip.gguf")
    refused: dict[str | Path, tuple[int, str]] = {
        other / "clip.gguf": (422, "unsupported_architecture"),
        other / "no-words.gguf": (422, "no_tokenizer"),
        other / "cut.gguf": (422, "no_weights"),
        other / "part-00002-of-00002.gguf": (422, "no_weights"),
        text: (422, "invalid_request"),
        tmp_path / "link.gguf": (403, "path_not_allowed"),
        other: (422, "no_weights"),
        "no-such-model:7b": (404, "model_not_found"),
        "/etc/hostname": (403, "path_not_allowed"),
    }
    for path, expected in refused.items():
        answer = _import(instance, path)
        assert (answer.status_code, answer.json()["code"]) == expected, path
        assert answer.json()["hint"], path
    assert instance.api.get("/models").json()["total"] == 0


@pytest.mark.thorough
def test_a_trained_model_speaks_after_its_import(instance: Instance) -> None:
    """Through the API, `/v1`, the command line and the page."""
    try:
        path = smollm2_gguf()
    except NotAvailable as reason:
        pytest.skip(f"SmolLM2-135M-Instruct is not available here: {reason}")
    ready = instance.wait_for(_import(instance, path).json()["id"], "ready", seconds=300)
    assert (ready["converted_from"], ready["dtype"], ready["num_parameters"]) == ("Q4_1", "bfloat16", 134_515_008)
    messages = [{"role": "user", "content": QUESTION}]
    answer = instance.api.post(
        f"/models/{ready['id']}/generate", json={"messages": messages, "max_new_tokens": 16}, timeout=300
    ).json()
    assert answer["text"].strip() == ANSWER
    told = httpx.post(
        f"{instance.url}/v1/chat/completions",
        json={"model": ready["model_id"], "messages": messages, "max_tokens": 16, "temperature": 0},
        timeout=300,
        trust_env=False,
    ).json()
    assert told["choices"][0]["message"]["content"].strip() == ANSWER
    command = [sys.executable, "-m", "modelyard", "generate", "--chat", "--max-new-tokens", "16"]
    printed = subprocess.run(
        [*command, ready["model_id"], QUESTION],
        env=instance.environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert ANSWER in printed.stdout
    walk(instance, "speaks")
