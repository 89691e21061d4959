"""Two models beside each other on a real server with real workers."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from sqlalchemy import select

from modelyard.core.database import Database
from modelyard.models import Job, JobControl, JobKind, JobState
from support.instance import Instance, standing_still

LLAMA = "modelyard-samples/tiny-llama"
GPT2 = "modelyard-samples/tiny-gpt2"
COPY = f"{GPT2}:4bit"
PROMPT = "The capital of France is"
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """A server with GPT-2, its 4-bit copy, and a model with another tokenizer and a chat template."""
    instance = Instance(tmp_path_factory.mktemp("compare"), {"MODELYARD_LEASE_SECONDS": "4"}).start()
    instance.use_builtin_hub()
    llama, gpt2 = (instance.download(name)["id"] for name in (LLAMA, GPT2))
    instance.wait_for(gpt2, "ready")
    copy = instance.api.post(f"/models/{gpt2}/quantize", json={"quantization": "4bit"}).json()["id"]
    for row_id in (llama, copy):
        instance.wait_for(row_id, "ready", seconds=300)
    yield instance
    instance.stop()


def ask(instance: Instance, **fields: Any) -> httpx.Response:
    body = {"left": GPT2, "right": COPY, "prompt": PROMPT, "max_new_tokens": 12} | fields
    return instance.api.post("/compare", json={name: value for name, value in body.items() if value is not None})


def compared(instance: Instance, **fields: Any) -> dict[str, Any]:
    answer = ask(instance, **fields)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.fixture(scope="module")
def with_its_copy(instance: Instance) -> dict[str, Any]:
    found = compared(instance)
    assert found["first_divergence"] is not None, "the copy writes the same; use another prompt"
    return found


@cache
def _loaded(folder: str) -> tuple[Any, Any]:
    from transformers import AutoTokenizer

    from modelyard.ml.loading.pretrained import load_model

    return load_model(Path(folder)), AutoTokenizer.from_pretrained(folder)


def test_log_probabilities_are_those_of_both_models(instance: Instance, with_its_copy: dict[str, Any]) -> None:
    """Against models that are loaded here with the same files."""
    import torch

    sides = with_its_copy["left"], with_its_copy["right"]
    assert [side["quantization"] for side in sides] == ["none", "4bit"]
    assert [len(side["tokens"]) for side in sides] == [12, 12]
    for side, other in (sides, sides[::-1]):
        ids = [token["id"] for token in side["tokens"]]
        expected = []
        for each in (side, other):
            model, tokenizer = _loaded(instance.model(each["id"])["snapshot_path"])
            prompt = tokenizer.encode(PROMPT)
            with torch.no_grad():
                expected.append(model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1].log_softmax(-1))
        for place, token in enumerate(side["tokens"]):
            own, others = (values[place] for values in expected)
            assert token["logprob"] == pytest.approx(float(own[token["id"]]), abs=1e-4)
            assert token["other_logprob"] == pytest.approx(float(others[token["id"]]), abs=1e-4)
            assert token["other_choice"]["logprob"] == pytest.approx(float(others.max()), abs=1e-4)
            assert float(others[token["other_choice"]["id"]]) == pytest.approx(float(others.max()), abs=1e-4)
        assert "".join(token["text"] for token in side["tokens"]) == side["text"]


def test_the_first_divergence_and_the_agreement(with_its_copy: dict[str, Any]) -> None:
    left, right, agreement = (with_its_copy[name] for name in ("left", "right", "agreement"))
    ids = [[token["id"] for token in side["tokens"]] for side in (left, right)]
    first = next(place for place, (a, b) in enumerate(zip(*ids, strict=True)) if a != b)
    assert (with_its_copy["first_divergence"], left["first_divergence"], right["first_divergence"]) == (first,) * 3
    tokens = left["tokens"] + right["tokens"]
    differences = [abs(token["logprob"] - token["other_logprob"]) for token in tokens]
    assert agreement["tokens"] == 24
    assert agreement["mean_difference"] == pytest.approx(sum(differences) / 24)
    assert agreement["largest_difference"] == max(differences) > 0
    assert agreement["same_choice"] == sum(token["other_choice"]["id"] == token["id"] for token in tokens) < 24
    assert with_its_copy["reason"] is None


def test_a_model_and_itself_agree(instance: Instance) -> None:
    row = next(row for row in instance.api.get("/models").json()["items"] if row["model_id"] == LLAMA)
    same = compared(instance, left=LLAMA, right=row["id"], prompt=None, messages=HELLO)
    assert same["left"] == same["right"]
    assert (same["first_divergence"], same["reason"]) == (None, None)
    answer = instance.api.post(f"/models/{row['id']}/generate", json={"messages": HELLO, "max_new_tokens": 12}).json()
    assert (same["left"]["text"], same["left"]["finish_reason"]) == (answer["text"], answer["finish_reason"])
    agreement = same["agreement"]
    assert (agreement["mean_difference"], agreement["largest_difference"]) == (0, 0)
    assert agreement["same_choice"] == agreement["tokens"] == 24


def test_models_of_one_tokenizer_are_compared_by_tokens(instance: Instance) -> None:
    found = compared(instance, left=LLAMA, right=GPT2)
    assert (found["reason"], found["agreement"]["tokens"]) == (None, 24)
    assert found["agreement"]["largest_difference"] > 0.1


def test_models_of_different_tokenizers_are_compared_by_texts(instance: Instance, tmp_path: Path) -> None:
    row = next(row for row in instance.api.get("/models").json()["items"] if row["model_id"] == GPT2)
    folder = tmp_path / "renumbered"
    shutil.copytree(row["snapshot_path"], folder)
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_bytes())
    vocabulary, (first, second) = tokenizer["model"]["vocab"], ("T", "\u0120t")
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    file.write_text(json.dumps(tokenizer))
    request = {"path": str(folder), "model_id": "local/renumbered", "mode": "copy"}
    instance.wait_for(instance.api.post("/models/import", json=request).json()["id"], "ready")
    found = compared(instance, right="local/renumbered", prompt="T t")
    assert "read the prompt as different tokens" in found["reason"]
    assert found["agreement"] is None
    for side in (found["left"], found["right"]):
        assert {token["other_logprob"] for token in side["tokens"]} == {None}
        assert all(token["logprob"] < 0 for token in side["tokens"])
        assert side["first_divergence"] is not None
    assert found["first_divergence"] == found["left"]["first_divergence"]


@pytest.mark.parametrize(
    ("fields", "status", "code", "said", "side"),
    [
        ({"right": "modelyard-samples/tiny-gtp2"}, 404, "model_not_found", GPT2, "right"),
        ({"left": f"{GPT2}:3bit"}, 422, "invalid_request", "is not a model's name", "left"),
        ({"left": LLAMA, "prompt": None, "messages": HELLO}, 422, "invalid_request", "no chat template", "right"),
        ({"prompt": None}, 422, "invalid_request", "either a prompt or messages", None),
        ({"messages": HELLO}, 422, "invalid_request", "either a prompt or messages", None),
        ({"max_new_tokens": 0}, 422, "invalid_request", "max_new_tokens", None),
        ({"temperature": 1}, 422, "invalid_request", "temperature", None),
        ({"prompt": "a b c d e f g " * 200}, 422, "context_length_exceeded", "this model reads at most", "left"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    instance: Instance, fields: dict[str, Any], status: int, code: str, said: str, side: str | None
) -> None:
    answer = ask(instance, **fields)
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem.get("side")) == (status, code, side), answer.text
    assert said in f"{problem['detail']} {problem['hint']}"
    assert problem["hint"]


def test_bodies_of_16_mb_are_taken(instance: Instance) -> None:
    def sent(size: int) -> httpx.Response:
        return instance.api.post("/compare", content=b'{"left": "' + b"x" * size + b'"}')

    assert sent(1_500_000).json()["code"] == "invalid_request"
    assert sent(16_500_000).status_code == 413


def events(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    return (json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line.startswith("data: "))


def stream(instance: Instance, **fields: Any) -> Any:
    body = {"left": GPT2, "right": COPY, "prompt": PROMPT, "max_new_tokens": 12, "stream": True} | fields
    return instance.api.stream("POST", "/compare", json=body)


def worker_of(instance: Instance) -> psutil.Process:
    found: psutil.Process = instance.wait_until(lambda: instance.children().get("inference"), 60, "the worker runs")
    return found


def unfinished(instance: Instance) -> list[Job]:
    database = Database(f"sqlite:///{instance.home}/modelyard.db")
    try:
        with database.reading() as session:
            states = (JobState.QUEUED, JobState.RUNNING)
            wanted = select(Job).where(Job.kind == JobKind.GENERATE, Job.state.in_(states))
            return list(session.scalars(wanted))
    finally:
        database.dispose()


def test_a_stream_says_what_it_waits_for_and_ends_with_the_result(
    instance: Instance, with_its_copy: dict[str, Any]
) -> None:
    instance.unload_all()
    with ExitStack() as answered:
        with standing_still(worker_of(instance)):
            told = events(answered.enter_context(stream(instance)))
            first = next(told)["step"]
        assert (first["side"], first["work"], first["waiting"]) == ("left", "write", True)
        *steps, last = told
    result = last["result"]
    assert [result[side]["text"] for side in ("left", "right")] == [
        with_its_copy[side]["text"] for side in ("left", "right")
    ]
    work = list(dict.fromkeys((event["step"]["work"], event["step"]["side"]) for event in steps))
    assert work == [("write", "left"), ("write", "right"), ("score", "right"), ("score", "left")]
    with stream(instance, prompt="a b c d e f g " * 200) as answer:
        error = list(events(answer))[-1]["error"]
    assert (error["code"], error["side"]) == ("context_length_exceeded", "left")


@pytest.mark.parametrize("streamed", [False, True])
def test_a_client_that_leaves_stops_the_work(instance: Instance, streamed: bool) -> None:
    async def leave() -> None:
        body = {"left": GPT2, "right": COPY, "prompt": "A", "stream": streamed}
        async with httpx.AsyncClient(timeout=60) as client:
            asking = asyncio.create_task(client.post(f"{instance.url}/api/v1/compare", json=body))
            await asyncio.to_thread(instance.wait_until, lambda: unfinished(instance), 30, "the first model is asked")
            asking.cancel()
            with suppress(asyncio.CancelledError):
                await asking

    with standing_still(worker_of(instance)):
        asyncio.run(leave())
        instance.wait_until(
            lambda: all(job.control is JobControl.CANCEL for job in unfinished(instance)), 30, "it is not wanted"
        )
    instance.wait_until(lambda: not unfinished(instance), 30, "nothing is left under way")
    assert compared(instance)["left"]["text"]
