"""A repository's chat template or tokenizer against a real server: one request fails, all else goes on."""

import contextlib
import json
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from transformers import AutoTokenizer

from support.instance import Instance

SAMPLE = "modelyard-samples/tiny-llama"
CAP_BYTES = 8_000_000_000
"""Of each of the server's processes: a guard that does not work fails a test, and does not take the machine."""
GROWTH_BYTES = 150_000_000
CHAT = {"messages": [{"role": "user", "content": "Hello"}], "max_new_tokens": 4}

DOUBLING = "{% set ns = namespace(x='xxxxxxxx') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}"
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% set c = a %}{% endfor %}{% endfor %}"
TEMPLATES = {
    "doubling": (DOUBLING, "used more than 512 MB of memory"),
    "long": ("{% for a in range(2000) %}{{ 'x' * 10000 }}{% endfor %}", "wrote more than 16 MB of text"),
    "raising": ("{{ raise_exception('Only system messages') }}", "refuses these messages: Only system messages"),
    "recursing": ("{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}", "RecursionError"),
    "broken": ("{% for %}", "has a syntax error in line 1"),
}


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    instance = Instance(tmp_path_factory.mktemp("hostile")).start()
    instance.use_builtin_hub()
    instance.wait_until(lambda: set(instance.children()) >= {"inference", "compute"}, 60, "the workers run")
    for process in instance.children().values():
        resource.prlimit(process.pid, resource.RLIMIT_DATA, (CAP_BYTES, CAP_BYTES))
    yield instance
    instance.stop()


@pytest.fixture(scope="module")
def good(instance: Instance) -> str:
    """A model like any other, in memory."""
    row_id: str = instance.wait_for(instance.download(SAMPLE)["id"], "ready")["id"]
    assert instance.api.post(f"/models/{row_id}/generate", json=CHAT).status_code == 200
    return row_id


@pytest.fixture(scope="module")
def hostile(instance: Instance, good: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[str, str]]:
    """Imports a copy of the sample with another template, or another tokenizer; its name and the row's id."""
    snapshot = Path(instance.model(good)["snapshot_path"])

    def make(name: str, template: str | None = None, **tokenizer: Any) -> tuple[str, str]:
        folder = tmp_path_factory.mktemp(name)
        for path in snapshot.iterdir():
            shutil.copy(path, folder / path.name)
        if template is not None:
            (folder / "chat_template.jinja").write_text(template)
        if tokenizer:
            path = folder / "tokenizer.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | tokenizer))
        model_id = f"hostile/{name}"
        answer = instance.api.post("/models/import", json={"path": str(folder), "model_id": model_id, "mode": "copy"})
        assert answer.status_code == 202, answer.text
        return model_id, instance.wait_for(answer.json()["id"], "ready")["id"]

    return make


@pytest.fixture
def worker(instance: Instance, good: str) -> Iterator[psutil.Process]:
    """The process that has the models: the same one before and after, and no larger."""
    assert instance.api.post(f"/models/{good}/generate", json=CHAT).status_code == 200
    process = instance.children()["inference"]
    before = process.memory_info().rss
    yield process
    assert instance.children()["inference"].pid == process.pid
    assert process.memory_info().rss - before < GROWTH_BYTES


def tokenizers_at_work(worker: psutil.Process) -> list[psutil.Process]:
    """Tokenizers' processes that take the processor right now."""
    found = []
    for process in worker.children(recursive=True):
        try:
            if "modelyard.ml.untrusted.child" in process.cmdline() and process.cpu_percent(0.2) > 2:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_that_does_wrong_is_named(
    instance: Instance, hostile: Callable[..., tuple[str, str]], worker: psutil.Process, name: str
) -> None:
    template, said = TEMPLATES[name]
    model_id, row_id = hostile(name, template)
    answer = instance.api.post(f"/models/{row_id}/generate", json=CHAT)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "template_failed"), answer.text
    assert problem["detail"].startswith(f"The chat template of {model_id} ")
    assert said in problem["detail"]
    assert problem["hint"]

    streamed = instance.api.post(f"/models/{row_id}/generate", json=CHAT | {"stream": True}).text
    last = json.loads(streamed.strip().splitlines()[-1].removeprefix("data: "))
    assert (last["done"], last["error"]["code"]) == (True, "template_failed")

    for stream in (False, True):
        asked = {"model": model_id, "messages": CHAT["messages"], "max_tokens": 4, "stream": stream}
        answer = httpx.post(f"{instance.url}/v1/chat/completions", json=asked, timeout=60)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["type"]) == (400, "template_failed", "invalid_request_error")
        assert said in error["message"]

    prompted = instance.api.post(f"/models/{row_id}/generate", json={"prompt": "Hello", "max_new_tokens": 4})
    assert prompted.status_code == 200, "as the hint says"


@pytest.mark.parametrize("opened", ["secret.txt", "/proc/self/environ"])
def test_a_tokenizer_that_names_a_file_of_the_machine_is_refused(
    instance: Instance, good: str, worker: psutil.Process, tmp_path: Path, opened: str
) -> None:
    folder, secret = tmp_path / "repository", tmp_path / opened
    shutil.copytree(instance.model(good)["snapshot_path"], folder)
    if not secret.exists():
        secret.write_text("[UNK]\nhunter2\n")
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("[UNK]\nhello\n")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "vocab": str(secret)})
    )
    opened_by_transformers = AutoTokenizer.from_pretrained(folder).get_vocab()
    assert any(text in word for word in opened_by_transformers for text in ("hunter2", "PATH=")), "it bites"
    model_id = f"hostile/opens-{secret.name}"
    answer = instance.api.post("/models/import", json={"path": str(folder), "model_id": model_id, "mode": "copy"})
    row_id = instance.wait_for(answer.json()["id"], "ready")["id"]
    generated = instance.api.post(f"/models/{row_id}/generate", json={"prompt": "hello", "max_new_tokens": 4})
    assert (generated.status_code, generated.json()["code"]) == (422, "no_tokenizer"), generated.text
    assert "tokenizer_config.json names in 'vocab' a file" in generated.json()["detail"]
    command = [sys.executable, "-m", "modelyard", "generate", model_id, "hello"]
    environment = instance.environment | {"MODELYARD_SERVER": instance.url}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (said.returncode, said.stdout) == (1, "")
    assert "tokenizer_config.json names in 'vocab' a file" in said.stderr
    assert not any(text in said.stderr for text in ("hunter2", "PATH="))


@pytest.mark.thorough
def test_a_tokenizer_that_multiplies_is_named(
    instance: Instance, hostile: Callable[..., tuple[str, str]], worker: psutil.Process
) -> None:
    replaces = [{"type": "Replace", "pattern": {"String": "l"}, "content": "ll"}] * 40
    model_id, row_id = hostile("multiplying", normalizer={"type": "Sequence", "normalizers": replaces})
    answer = instance.api.post(f"/models/{row_id}/generate", json={"prompt": "Hello", "max_new_tokens": 4})
    assert (answer.status_code, answer.json()["code"]) == (422, "template_failed"), answer.text
    assert answer.json()["detail"].startswith(f"The tokenizer of {model_id} ")

    quantized = instance.api.post(f"/models/{row_id}/quantize", json={"quantization": "4bit"}).json()
    instance.wait_for(quantized["id"], "ready", seconds=180)


@pytest.mark.thorough
def test_others_generate_and_unload_while_a_template_runs(
    instance: Instance, good: str, hostile: Callable[..., tuple[str, str]], worker: psutil.Process
) -> None:
    _, row_id = hostile("endless", ENDLESS)
    assert instance.api.post(f"/models/{row_id}/load", json={}).status_code == 202
    instance.wait_until(lambda: instance.model(row_id)["loaded"], 60, "it is loaded")
    with ThreadPoolExecutor(1) as pool:
        attack = pool.submit(httpx.post, f"{instance.api.base_url}models/{row_id}/generate", json=CHAT, timeout=60)
        instance.wait_until(lambda: tokenizers_at_work(worker), 10, "the template runs")
        assert instance.api.post(f"/models/{good}/generate", json=CHAT).status_code == 200
        assert instance.api.post(f"/models/{good}/unload").status_code == 202
        instance.wait_until(lambda: not instance.model(good)["loaded"], 10, "the other is unloaded")
        assert not attack.done(), "all that was meanwhile"
        answer = attack.result()
    assert (answer.status_code, answer.json()["code"]) == (422, "template_failed")
    assert "took more than" in answer.json()["detail"]


@pytest.mark.thorough
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_takes_the_template_with_it(
    instance: Instance, hostile: Callable[..., tuple[str, str]], worker: psutil.Process, stream: bool
) -> None:
    _, row_id = hostile(f"left-{stream}", ENDLESS)
    assert instance.api.post(f"/models/{row_id}/load", json={}).status_code == 202
    instance.wait_until(lambda: instance.model(row_id)["loaded"], 60, "it is loaded")
    leave = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=instance.api.base_url) as client:
            try:
                client.post(f"/models/{row_id}/generate", json=CHAT | {"stream": stream}, timeout=2)
            except httpx.ReadTimeout:
                leave.set()

    thread = threading.Thread(target=ask)
    thread.start()
    running = instance.wait_until(lambda: tokenizers_at_work(worker), 10, "the template runs")
    thread.join()
    assert leave.is_set(), "it ended before its client left"
    used = 0.0

    def stopped() -> bool:
        nonlocal used
        for each in running:
            with contextlib.suppress(psutil.NoSuchProcess):
                used = max(used, each.cpu_times().user)
        return not any(each.is_running() for each in running)

    instance.wait_until(stopped, 60, "the template is stopped")
    assert used < 4.5, "its own limit of processor time ended it"
