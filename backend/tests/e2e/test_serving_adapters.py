"""Adapters on a real server: through /v1 and the REST API, one base in memory, errors in each API's form."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest

from support import programs
from support.adapters import install_adapter, make_adapter
from support.instance import Instance, running, standing_still
from support.samples import sample_models

LLAMA, GPT2 = "modelyard-samples/tiny-llama", "modelyard-samples/tiny-gpt2"
FIRST, SECOND, FOREIGN, BROKEN = "lab/first", "lab/second", "lab/foreign", "lab/broken"
MERGE_CHILD = "modelyard.workers.processes.merge_child"
DEADLY = 2
"""After so many workers died of an answer, it is not tried again."""
ROUNDING = 0.05
"""What bfloat16, in which the server runs the model, may change of a log-probability."""


class Served:
    """A server with a base, adapters of it, and one of a model that is not there."""

    def __init__(self, folder: Path) -> None:
        self.instance = Instance(folder, {"MODELYARD_LEASE_SECONDS": "4"}).start()
        self.folder = folder
        self.instance.use_builtin_hub()
        self.ids = {name: self.instance.download(name)["id"] for name in (LLAMA, GPT2)}
        for row_id in self.ids.values():
            self.instance.wait_for(row_id, "ready")
        base = sample_models() / "tiny-llama"
        first, second = (make_adapter(base, folder / f"adapter{seed}", of=LLAMA, seed=seed) for seed in (0, 1))
        broken = make_adapter(base, folder / "broken", of=LLAMA)
        (broken / "adapter_model.safetensors").write_bytes(b"not safetensors")
        for name, made, of in (
            (FIRST, first, LLAMA),
            (SECOND, second, LLAMA),
            (FOREIGN, first, "lab/not-here"),
            (BROKEN, broken, LLAMA),
        ):
            self.ids[name] = install_adapter(self.instance.home, self.instance.hf_home, made, name, of)

    def loaded(self) -> dict[str, int]:
        items = self.instance.api.get("/models/loaded").json()["items"]
        return {item["model_id"]: item["measured_bytes"] for item in items}

    def modelyard(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "modelyard", "--server", self.instance.url, *arguments]
        environment = {**os.environ, "MODELYARD_HOME": str(self.instance.home), "COLUMNS": "300"}
        return programs.run(command, capture_output=True, text=True, timeout=240, env=environment)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(tmp_path_factory.mktemp("adapters"))
    yield served
    served.instance.stop()


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.instance.url}/v1", api_key="any", max_retries=0, timeout=120) as client:
        yield client


def text(client: openai.OpenAI, model: str, **fields: Any) -> str:
    settings: Any = {"model": model, "prompt": "The import", "max_tokens": 12, "temperature": 0}
    return client.completions.create(**settings | fields).choices[0].text


def generate(served: Served, name: str) -> dict[str, Any]:
    answer = served.instance.api.post(
        f"/models/{served.ids[name]}/generate", json={"prompt": "The import", "max_new_tokens": 12}
    )
    return {"status": answer.status_code} | answer.json()


def test_an_adapter_answers_under_its_names_with_one_base_in_memory(client: openai.OpenAI, served: Served) -> None:
    listed = {model.id for model in client.models.list()}
    assert {f"{LLAMA}+{FIRST}", f"{LLAMA}+{SECOND}"} < listed
    assert not any(FOREIGN in name for name in listed)
    bare = text(client, LLAMA)
    first, second = text(client, f"{LLAMA}+{FIRST}"), text(client, f"{LLAMA}+{SECOND}")
    assert len({bare, first, second}) == 3
    for name in (FIRST, served.ids[FIRST]):
        assert text(client, name) == first
        assert text(client, LLAMA, extra_body={"modelyard": {"adapter": name}}) == first
    assert generate(served, FIRST)["text"] == first
    assert text(client, LLAMA) == bare
    chat: Any = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8, "temperature": 0}
    answers = [client.chat.completions.create(model=model, **chat) for model in (LLAMA, f"{LLAMA}+{FIRST}")]
    assert answers[0].choices[0].message.content != answers[1].choices[0].message.content
    assert answers[1].system_fingerprint.startswith(answers[0].system_fingerprint)
    vectors = [client.embeddings.create(model=model, input="Hello").data[0].embedding for model in (LLAMA, FIRST)]
    assert vectors[0] != vectors[1]
    loaded = served.loaded()
    assert loaded.keys() == {LLAMA, FIRST, SECOND}
    assert loaded[FIRST] == loaded[SECOND] < loaded[LLAMA] / 10


def test_an_adapter_is_loaded_and_unloaded_and_goes_with_its_base(served: Served) -> None:
    api, instance = served.instance.api, served.instance

    def is_loaded(name: str, wanted: bool) -> None:
        instance.wait_until(lambda: (name in served.loaded()) is wanted, 60, f"{name} loaded: {wanted}")

    instance.unload_all()
    assert api.post(f"/models/{served.ids[FIRST]}/load", json={}).status_code == 202
    is_loaded(FIRST, True)
    assert LLAMA in served.loaded()
    assert api.get(f"/models/{served.ids[FIRST]}").json()["loaded"] is True
    assert api.post(f"/models/{served.ids[SECOND]}/load", json={}).status_code == 202
    is_loaded(SECOND, True)
    assert api.post(f"/models/{served.ids[FIRST]}/unload").status_code == 202
    is_loaded(FIRST, False)
    assert served.loaded().keys() == {LLAMA, SECOND}
    assert api.post(f"/models/{served.ids[LLAMA]}/unload").status_code == 202
    is_loaded(LLAMA, False)
    is_loaded(SECOND, False)


def test_what_an_adapter_cannot_do_is_said(client: openai.OpenAI, served: Served) -> None:
    with pytest.raises(openai.ConflictError) as missing:
        text(client, FOREIGN)
    assert missing.value.code == "base_missing"
    assert "modelyard pull lab/not-here" in missing.value.message
    assert generate(served, FOREIGN)["code"] == "base_missing"
    with pytest.raises(openai.ConflictError, match="adapter of") as other:
        text(client, f"{GPT2}+{FIRST}")
    assert (other.value.code, other.value.param) == ("conflict", "model")
    with pytest.raises(openai.ConflictError) as named:
        text(client, GPT2, extra_body={"modelyard": {"adapter": FIRST}})
    assert named.value.param == "modelyard.adapter"
    with pytest.raises(openai.NotFoundError) as unknown:
        text(client, f"{LLAMA}+lab/firs")
    assert FIRST in unknown.value.message
    with pytest.raises(openai.APIStatusError) as broken:
        text(client, BROKEN)
    assert broken.value.code == "no_weights"
    assert generate(served, BROKEN)["code"] == "no_weights"
    assert BROKEN not in served.loaded()
    assert text(client, f"{LLAMA}+{FIRST}") != text(client, LLAMA)


def test_a_base_and_its_adapter_are_compared(client: openai.OpenAI, served: Served) -> None:
    """Against the same files, loaded here with PEFT."""
    import peft
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    asked = {"left": LLAMA, "right": f"{LLAMA}+{FIRST}", "prompt": "The import", "max_new_tokens": 12}
    answer = served.instance.api.post("/compare", json=asked)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    left, right = found["left"], found["right"]
    assert [(side["id"], side["model_id"]) for side in (left, right)] == [(served.ids[n], n) for n in (LLAMA, FIRST)]
    assert [left["text"], right["text"]] == [text(client, LLAMA), text(client, FIRST)]

    base = sample_models() / "tiny-llama"
    prompt = AutoTokenizer.from_pretrained(base).encode("The import")
    model = peft.PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), served.folder / "adapter0"
    )

    def logprobs(ids: list[int]) -> torch.Tensor:
        found: torch.Tensor = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        return found

    differences = []
    for side in (left, right):
        ids = [token["id"] for token in side["tokens"]]
        with torch.no_grad(), model.disable_adapter():
            bare = logprobs(ids)
        with torch.no_grad():
            adapted = logprobs(ids)
        own, other = (bare, adapted) if side is left else (adapted, bare)
        for place, token in enumerate(side["tokens"]):
            assert token["logprob"] == pytest.approx(float(own[place, token["id"]]), abs=ROUNDING)
            assert token["other_logprob"] == pytest.approx(float(other[place, token["id"]]), abs=ROUNDING)
            differences.append(abs(token["logprob"] - token["other_logprob"]))

    pairs = zip(*([token["id"] for token in side["tokens"]] for side in (left, right)), strict=False)
    first = next(place for place, (mine, others) in enumerate(pairs) if mine != others)
    assert (found["first_divergence"], left["first_divergence"], right["first_divergence"]) == (first,) * 3
    assert (found["agreement"]["tokens"], found["reason"]) == (len(differences), None)
    assert found["agreement"]["mean_difference"] == pytest.approx(sum(differences) / len(differences))
    assert found["agreement"]["largest_difference"] == max(differences) > 10 * ROUNDING


@pytest.mark.thorough
def test_a_worker_that_is_killed_while_an_adapter_answers_leaves_nothing_behind(
    client: openai.OpenAI, served: Served
) -> None:
    instance, name = served.instance, f"{LLAMA}+{FIRST}"
    bare, whole = text(client, LLAMA), text(client, name, max_tokens=120)
    worker = instance.children()["inference"]
    stream: Any = client.completions.create(model=name, prompt="The import", max_tokens=120, temperature=0, stream=True)
    told = next(iter(stream)).choices[0].text
    with standing_still(worker):
        worker.kill()
    assert told + "".join(chunk.choices[0].text for chunk in stream) == whole

    def uses() -> dict[str, int]:
        items = instance.api.get("/models/loaded").json()["items"]
        return {item["model_id"]: item["in_use"] for item in items}

    instance.wait_until(lambda: uses() == {LLAMA: 0, FIRST: 0}, 30, "the new worker has both, and nothing is in use")
    assert text(client, LLAMA) == bare
    instance.unload_all()
    assert text(client, name, max_tokens=120) == whole


def attempts_of_the_last_answer(instance: Instance) -> int:
    """How many workers have begun it."""
    query = "SELECT attempts FROM jobs WHERE kind = 'generate' AND state = 'running' ORDER BY created_at DESC LIMIT 1"
    with closing(sqlite3.connect(instance.home / "modelyard.db")) as database:
        found = database.execute(query).fetchone()
    return found[0] if found else 0


@pytest.mark.thorough
def test_an_answer_whose_workers_are_killed_again_and_again_ends_with_an_error_in_openais_form(
    client: openai.OpenAI, served: Served
) -> None:
    instance, name = served.instance, f"{LLAMA}+{FIRST}"
    stream: Any = client.completions.create(model=name, prompt="The import", max_tokens=400, temperature=0, stream=True)
    told = iter(stream)
    next(told)

    def kill_the_next(times_before: int) -> bool:
        if attempts_of_the_last_answer(instance) != times_before + 1:
            return False
        instance.children()["inference"].kill()
        return True

    def kill_all() -> None:
        for number in range(DEADLY):
            instance.wait_until(partial(kill_the_next, number), 60, "a worker is at it")

    with ThreadPoolExecutor(1) as killer:
        kills = killer.submit(kill_all)
        with pytest.raises(openai.APIError) as refused:
            for _ in told:
                pass
        kills.result()
    assert refused.value.code == "out_of_memory"
    assert "2 workers died" in refused.value.message
    assert generate(served, FIRST)["status"] == 200


def test_a_merged_adapter_is_a_model_of_its_own(client: openai.OpenAI, served: Served) -> None:
    api, instance = served.instance.api, served.instance
    before = instance.cache_bytes()
    told = served.modelyard("merge", FIRST)
    assert told.returncode == 0, told.stderr
    assert f"{FIRST}-merged is ready" in told.stdout
    assert "KL divergence" in told.stdout
    assert f"{FIRST}-merged is already installed." in served.modelyard("merge", FIRST).stdout
    rows = api.get("/models").json()["items"]
    row = next(row for row in rows if row["model_id"] == f"{FIRST}-merged")
    assert f"{FIRST} ({row['merged_from']['adapter_commit']})" in served.modelyard("show", row["id"]).stdout

    first, base = (instance.model(served.ids[name]) for name in (FIRST, LLAMA))
    assert (row["model_id"], row["kind"], row["endpoint"]) == (f"{FIRST}-merged", "model", "local")
    assert row["merged_from"] == {
        "adapter_model": FIRST,
        "adapter_commit": first["commit"],
        "base_model": LLAMA,
        "base_commit": base["commit"],
    }
    for fact in ("architecture", "num_parameters", "dtype", "has_chat_template"):
        assert row[fact] == base[fact]
    assert row["drift"]["kl_mean"] < 0.05
    assert row["drift"]["reason"] is None
    snapshot = Path(row["snapshot_path"])
    assert FIRST in (snapshot / "README.md").read_text()
    assert (snapshot.parents[1] / "refs/main").read_text() == row["commit"]
    assert text(client, row["model_id"]) != text(client, LLAMA)
    assert not list((instance.home / "artifacts").iterdir())

    again = api.post(f"/models/{served.ids[FIRST]}/merge")
    assert (again.status_code, again.json()["code"], again.json()["id"]) == (409, "already_exists", row["id"])
    assert api.post(f"/models/{row['id']}/verify").status_code == 202
    instance.wait_for(row["id"], "ready")
    history = [event["kind"] for event in api.get(f"/models/{row['id']}/history").json()["items"]]
    assert "merge" in history
    instance.unload_all()
    assert api.delete(f"/models/{row['id']}").json()["freed_bytes"] == row["disk_bytes"] == row["size_bytes"]
    assert instance.cache_bytes() == before
    assert api.post(f"/models/{served.ids[FOREIGN]}/merge").json()["code"] == "base_missing"
    assert api.post(f"/models/{served.ids[LLAMA]}/merge").json()["code"] == "invalid_request"


@pytest.mark.thorough
def test_a_merge_pauses_survives_a_kill_and_is_cancelled(served: Served) -> None:
    api, instance = served.instance.api, served.instance
    before = instance.cache_bytes()

    def child() -> psutil.Process:
        found: psutil.Process = instance.wait_until(lambda: running(MERGE_CHILD), 60, "the child merges")
        return found

    row_id = api.post(f"/models/{served.ids[SECOND]}/merge").json()["id"]
    with standing_still(child()):
        instance.wait_until(lambda: instance.model(row_id)["progress"]["phase"] == "merging", 60, "it is told of")
        assert api.post(f"/models/{row_id}/pause").status_code == 202
    instance.wait_for(row_id, "paused")
    instance.wait_until(lambda: running(MERGE_CHILD) is None, 60, "the child is gone")
    assert not list((instance.home / "artifacts").iterdir())
    assert api.post(f"/models/{row_id}/resume").status_code == 202
    killed = child()
    with standing_still(killed):
        instance.children()["compute"].kill()
    instance.wait_until(lambda: not killed.is_running(), 60, "the child goes with its worker")
    with standing_still(child()):
        assert api.post(f"/models/{row_id}/cancel").status_code == 202
    instance.wait_for(row_id, "cancelled")
    instance.wait_until(lambda: running(MERGE_CHILD) is None, 60, "the child is gone")
    assert not list((instance.home / "artifacts").iterdir())
    assert api.delete(f"/models/{row_id}").status_code == 200
    assert instance.cache_bytes() == before
