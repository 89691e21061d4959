"""The official `openai` client against a real server with real workers."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest
from sqlalchemy import select

from modelyard.core.database import Database
from modelyard.core.errors import OutOfMemory
from modelyard.models import Job, JobKind, JobState
from modelyard.services.jobs.job_service import JobService
from support.instance import Instance, standing_still
from support.smollm2 import NotAvailable, smollm2
from support.tools import missing

LLAMA = "modelyard-samples/tiny-llama"
GPT2 = "modelyard-samples/tiny-gpt2"
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """A server with a chat model and one without a template."""
    instance = Instance(tmp_path_factory.mktemp("openai"), {"MODELYARD_LEASE_SECONDS": "4"}).start()
    instance.use_builtin_hub()
    for row in [instance.download(name) for name in (LLAMA, GPT2)]:
        instance.wait_for(row["id"], "ready")
    yield instance
    instance.stop()


@pytest.fixture(scope="module")
def client(instance: Instance) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{instance.url}/v1", api_key="any", max_retries=0, timeout=120) as client:
        yield client


def worker_of(instance: Instance) -> psutil.Process:
    found: psutil.Process = instance.wait_until(lambda: instance.children().get("inference"), 60, "the worker runs")
    return found


def greedy(client: openai.OpenAI, **fields: Any) -> Any:
    settings: Any = {"model": GPT2, "prompt": "The", "max_tokens": 8, "temperature": 0}
    return client.completions.create(**settings | fields)


def chat(client: openai.OpenAI, **fields: Any) -> Any:
    settings: Any = {"model": LLAMA, "messages": HELLO, "max_tokens": 8, "temperature": 0}
    return client.chat.completions.create(**settings | fields)


def test_models_are_listed_and_found(client: openai.OpenAI, instance: Instance) -> None:
    assert [model.id for model in client.models.list() if "+" not in model.id] == [GPT2, LLAMA]
    found = client.models.retrieve(LLAMA)
    assert (found.id, found.object, found.owned_by) == (LLAMA, "model", "modelyard-samples")
    row = next(row for row in instance.api.get("/models").json()["items"] if row["model_id"] == LLAMA)
    assert client.models.retrieve(row["id"]).id == row["id"]
    assert client.models.retrieve(f"{LLAMA}@{row['commit']}").created == found.created


def test_a_conversation_is_answered(client: openai.OpenAI, instance: Instance) -> None:
    answer = chat(client)
    [choice] = answer.choices
    row = next(row for row in instance.api.get("/models").json()["items"] if row["model_id"] == LLAMA)
    same = instance.api.post(f"/models/{row['id']}/generate", json={"messages": HELLO, "max_new_tokens": 8}).json()
    assert (choice.index, choice.message.role, choice.message.content) == (0, "assistant", same["text"])
    assert (choice.finish_reason, choice.logprobs, answer.object) == ("length", None, "chat.completion")
    assert (answer.model, answer.system_fingerprint) == (LLAMA, f"{row['commit']}-none")
    assert answer.usage.completion_tokens == 8
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 8
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    again = chat(client, messages=[{"role": "user", "content": parts}], user="ada", store=False, metadata={"a": "b"})
    assert again.choices[0].message.content == choice.message.content
    assert again.usage == answer.usage


def test_a_streamed_conversation_is_the_whole_one(client: openai.OpenAI) -> None:
    whole = chat(client, max_tokens=40)
    chunks = list(chat(client, max_tokens=40, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1
    told = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert "".join(choice.delta.content or "" for choice in told) == whole.choices[0].message.content
    assert [choice.finish_reason for choice in told if choice.finish_reason] == [whole.choices[0].finish_reason]
    assert (chunks[-1].choices, chunks[-1].usage) == ([], whole.usage)
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_a_text_is_continued_and_streamed(client: openai.OpenAI) -> None:
    whole = greedy(client)
    assert (whole.object, whole.usage.completion_tokens, whole.choices[0].finish_reason) == (
        "text_completion",
        8,
        "length",
    )
    chunks = list(greedy(client, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] == ["length"]


def test_the_asynchronous_client_and_its_stream(instance: Instance, client: openai.OpenAI) -> None:
    async def ask() -> tuple[str, str]:
        settings: dict[str, Any] = {"model": LLAMA, "messages": HELLO, "max_tokens": 8, "temperature": 0}
        async with openai.AsyncOpenAI(base_url=f"{instance.url}/v1", api_key="any", max_retries=0) as async_client:
            whole = await async_client.chat.completions.create(**settings)
            stream = await async_client.chat.completions.create(**settings, stream=True)
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        return whole.choices[0].message.content or "", text

    expected = chat(client).choices[0].message.content
    assert asyncio.run(ask()) == (expected, expected)


def test_every_form_of_a_prompt_and_several_choices(client: openai.OpenAI) -> None:
    alone = [greedy(client, prompt=prompt).choices[0].text for prompt in ("The", "A list")]
    both = greedy(client, prompt=["The", "A list"], n=2)
    assert [choice.index for choice in both.choices] == [0, 1, 2, 3]
    assert [choice.text for choice in both.choices] == [alone[0], alone[0], alone[1], alone[1]]
    single = [greedy(client, prompt=prompt).usage for prompt in ("The", "A list")]
    assert both.usage.prompt_tokens == sum(usage.prompt_tokens for usage in single)
    assert both.usage.completion_tokens == 32
    by_ids = greedy(client, prompt=[5, 6, 7])
    assert greedy(client, prompt=[[5, 6, 7], [8]]).choices[0].text == by_ids.choices[0].text
    assert by_ids.usage.prompt_tokens == 3
    streamed: dict[int, str] = {}
    for chunk in greedy(client, prompt=["The", "A list"], stream=True):
        for choice in chunk.choices:
            streamed[choice.index] = streamed.get(choice.index, "") + choice.text
    assert streamed == dict(enumerate(alone))


def test_sampling_is_repeated_by_its_seed(client: openai.OpenAI) -> None:
    drawn = [greedy(client, temperature=1, seed=seed).choices[0].text for seed in (7, 7, 8)]
    assert drawn[0] == drawn[1] != drawn[2]
    first, second = greedy(client, temperature=1, seed=7, n=2).choices
    assert first.text == drawn[0] != second.text
    assert greedy(client, temperature=1).choices[0].text != greedy(client, temperature=1).choices[0].text
    assert greedy(client, temperature=2, top_p=0).choices[0].text == greedy(client).choices[0].text


def test_stop_bias_and_penalties(client: openai.OpenAI) -> None:
    whole = greedy(client, max_tokens=24).choices[0].text
    part = whole[3:6]
    stopped = greedy(client, max_tokens=24, stop=["no such text", part]).choices[0]
    assert (stopped.text, stopped.finish_reason) == (whole[: whole.index(part)], "stop")
    chunks = list(greedy(client, max_tokens=24, stop=part, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == stopped.text
    biased = greedy(client, logit_bias={"300": 100}, logprobs=0).choices[0]
    assert len(set(biased.logprobs.tokens)) == 1
    penalized = greedy(client, logit_bias={"300": 50}, frequency_penalty=2, presence_penalty=2, max_tokens=30)
    assert penalized.choices[0].text != greedy(client, logit_bias={"300": 50}, max_tokens=30).choices[0].text


def test_log_probabilities_of_a_text_and_of_an_answer(client: openai.OpenAI) -> None:
    scored = greedy(client, prompt="The capital of France", max_tokens=0, echo=True, logprobs=2).choices[0]
    logprobs = scored.logprobs
    assert (scored.text, "".join(logprobs.tokens)) == ("The capital of France",) * 2
    assert logprobs.text_offset == [len("".join(logprobs.tokens[:n])) for n in range(len(logprobs.tokens))]
    assert (logprobs.token_logprobs[0], logprobs.top_logprobs[0]) == (None, None)
    assert all(value < 0 for value in logprobs.token_logprobs[1:])
    told = zip(logprobs.tokens[1:], logprobs.token_logprobs[1:], logprobs.top_logprobs[1:], strict=True)
    for token, value, top in told:
        assert top[token] == value
        assert len(top) in (2, 3)  # the token that came may be none of the likeliest
    answer = chat(client, logprobs=True, top_logprobs=3).choices[0]
    content = answer.logprobs.content
    assert len(content) == 8
    for token in content:
        assert len(token.top_logprobs) == 3
        assert (token.top_logprobs[0].token, token.top_logprobs[0].logprob) == (token.token, token.logprob)
        assert token.bytes is not None
    chunks = list(chat(client, logprobs=True, top_logprobs=3, stream=True))
    streamed = [c.choices[0].logprobs.content for c in chunks if c.choices and c.choices[0].logprobs]
    assert [token for content in streamed for token in content] == content


@pytest.mark.thorough
def test_log_probabilities_are_those_of_the_model(
    client: openai.OpenAI, instance: Instance, gpt2_copies: list[dict[str, Any]]
) -> None:
    """In every precision, against a model that is loaded here with the same files."""
    import torch

    from modelyard.ml.loading.pretrained import load_model

    ids = [464, 3139, 300, 4881, 318, 77, 5000]
    for row in gpt2_copies:
        name = GPT2 if row["quantization"] == "none" else f"{GPT2}:{row['quantization']}"
        scored = greedy(client, model=name, prompt=ids, max_tokens=4, echo=True, logprobs=1).choices[0].logprobs
        folder = Path(row["snapshot_path"])
        model = load_model(folder)
        assert model.dtype == torch.float32
        with torch.no_grad():
            expected = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        for place, token in enumerate(ids[1:]):
            assert scored.token_logprobs[place + 1] == pytest.approx(float(expected[place, token]), abs=1e-4)
        assert scored.token_logprobs[len(ids)] == pytest.approx(float(expected[-1].max()), abs=1e-4)


@pytest.fixture(scope="module")
def gpt2_copies(instance: Instance) -> list[dict[str, Any]]:
    row = next(row for row in instance.api.get("/models").json()["items"] if row["model_id"] == GPT2)
    made = [
        instance.api.post(f"/models/{row['id']}/quantize", json={"quantization": quantization}).json()
        for quantization in ("8bit", "4bit")
    ]
    return [instance.model(row["id"]), *(instance.wait_for(copy["id"], "ready", seconds=300) for copy in made)]


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_does_not_fit_is_refused(client: openai.OpenAI, instance: Instance, stream: bool) -> None:
    """What its worker writes is written here, because no test's model is as large as a machine."""
    too_large = OutOfMemory(f"{GPT2} needs 1.00 TB on cpu, where 8.00 GB are free.").as_dict()
    database = Database(f"sqlite:///{instance.home}/modelyard.db")
    with standing_still(worker_of(instance)), ThreadPoolExecutor(1) as pool:
        answer = pool.submit(greedy, client, stream=stream)
        job_id = instance.wait_until(lambda: _queued(database), 30, "it is asked for")
        with database.session() as session:
            claimed = JobService(session).claim(job_id, session.get_one(Job, job_id).worker or "another")
            assert claimed is not None
            JobService(session).finish(job_id, claimed.owner or "", JobState.FAILED, error=too_large)
        with pytest.raises(openai.InternalServerError) as refused:
            answer.result(60)
    database.dispose()
    assert (refused.value.status_code, refused.value.code) == (503, "out_of_memory")
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert greedy(client).choices[0].text


def _queued(database: Database) -> str | None:
    with database.reading() as session:
        wanted = Job.kind == JobKind.GENERATE, Job.state == JobState.QUEUED
        return session.scalar(select(Job.id).where(*wanted))


def test_a_client_that_leaves_stops_its_generation(client: openai.OpenAI, instance: Instance) -> None:
    stream = greedy(client, prompt="The", max_tokens=480, temperature=1, stream=True)
    next(iter(stream))
    stream.close()
    idle = lambda: all(item["in_use"] == 0 for item in instance.api.get("/models/loaded").json()["items"])  # noqa: E731
    instance.wait_until(idle, 30, "the generation stopped")
    assert greedy(client).choices[0].finish_reason == "length"


def test_a_client_that_leaves_while_its_model_loads_takes_the_load_back(
    client: openai.OpenAI, instance: Instance
) -> None:
    instance.unload_all()
    with standing_still(worker_of(instance)):
        with pytest.raises(openai.APITimeoutError):
            greedy(client, timeout=1)
        with pytest.raises(openai.APITimeoutError):
            greedy(client, timeout=1, stream=True)
        rows = instance.api.get("/models").json()["items"]
        instance.wait_until(lambda: not _waiting(instance, rows), 30, "nobody waits for the model")
    assert greedy(client).choices[0].text


def _waiting(instance: Instance, rows: list[dict[str, Any]]) -> bool:
    return any(instance.model(row["id"])["progress"] for row in rows)


@pytest.mark.thorough
def test_a_worker_that_is_killed_is_replaced_and_the_answer_goes_on(client: openai.OpenAI, instance: Instance) -> None:
    whole = greedy(client, max_tokens=200).choices[0].text
    stream = greedy(client, max_tokens=200, stream=True)
    worker = worker_of(instance)
    first = next(iter(stream))
    with standing_still(worker):
        worker.kill()
    rest = "".join(chunk.choices[0].text for chunk in stream)
    assert first.choices[0].text + rest == whole
    instance.wait_until(
        lambda: all(item["in_use"] == 0 for item in instance.api.get("/models/loaded").json()["items"]),
        30,
        "nothing is left locked",
    )


@pytest.mark.thorough
def test_a_worker_that_is_killed_in_a_batch_ends_nobodys_answer(client: openai.OpenAI, instance: Instance) -> None:
    prompts = ["The", "A list", "An object", "A function"]
    alone = [greedy(client, prompt=prompt, max_tokens=150).choices[0].text for prompt in prompts]
    streams = [greedy(client, prompt=prompt, max_tokens=150, stream=True) for prompt in prompts]
    firsts = [next(iter(stream)).choices[0].text for stream in streams]
    with standing_still(worker := worker_of(instance)):
        worker.kill()
    with ThreadPoolExecutor(len(streams)) as pool:
        rests = list(pool.map(lambda stream: "".join(chunk.choices[0].text for chunk in stream), streams))
    assert [first + rest for first, rest in zip(firsts, rests, strict=True)] == alone
    instance.wait_until(
        lambda: all(item["in_use"] == 0 for item in instance.api.get("/models/loaded").json()["items"]),
        30,
        "nothing is left locked",
    )


@pytest.mark.thorough
def test_what_was_asked_of_a_server_that_died_is_not_done_for_nobody(client: openai.OpenAI, instance: Instance) -> None:
    database = Database(f"sqlite:///{instance.home / 'modelyard.db'}")
    with standing_still(worker_of(instance)), ThreadPoolExecutor(1) as pool:
        asked = pool.submit(greedy, client)
        job_id = instance.wait_until(lambda: _queued(database), 30, "it waits for the worker")
        killed = instance.children()["api"]
        killed.kill()
        with pytest.raises(openai.APIConnectionError):
            asked.result(60)
        instance.wait_until(lambda: _state(database, job_id) is JobState.CANCELLED, 60, "it is cancelled")
        instance.wait_until(instance.healthy, 60, "the next one answers")
    database.dispose()
    assert greedy(client).choices[0].text


def _state(database: Database, job_id: str) -> JobState:
    with database.reading() as session:
        return session.get_one(Job, job_id).state


def test_errors_are_the_clients_exceptions(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        chat(client, model="modelyard-samples/tiny-lama")
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    assert LLAMA in unknown.value.message
    with pytest.raises(openai.BadRequestError) as unsupported:
        chat(client, tools=[{"type": "function", "function": {"name": "f"}}])
    assert (unsupported.value.code, unsupported.value.param) == ("unsupported_parameter", "tools")
    with pytest.raises(openai.BadRequestError) as invalid:
        chat(client, temperature=3)
    assert (invalid.value.code, invalid.value.param, invalid.value.type) == (
        "invalid_request",
        "temperature",
        "invalid_request_error",
    )
    with pytest.raises(openai.BadRequestError, match="chat template"):
        chat(client, model=GPT2)
    with pytest.raises(openai.BadRequestError) as too_long:
        greedy(client, prompt=[5] * 600)
    assert too_long.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError) as streamed:
        list(greedy(client, prompt=[5] * 600, stream=True))
    assert streamed.value.code == "context_length_exceeded"


@pytest.mark.parametrize("seconds", [1e10, 1e308])
def test_a_time_beyond_every_date_is_refused_and_stops_nothing(
    client: openai.OpenAI, instance: Instance, seconds: float
) -> None:
    """Such a time cannot be told as a date: a worker that took it could tell of no model any more."""
    with pytest.raises(openai.BadRequestError) as refused:
        greedy(client, extra_body={"modelyard": {"ttl_seconds": seconds}})
    assert refused.value.param == "modelyard.ttl_seconds"
    row_id = instance.api.get("/models").json()["items"][0]["id"]
    answer = instance.api.post(f"/models/{row_id}/load", json={"ttl_seconds": seconds})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "ttl_seconds")
    assert greedy(client, extra_body={"modelyard": {"ttl_seconds": 10**8}}).choices[0].text


@pytest.mark.thorough
def test_a_trained_model_answers_a_question(client: openai.OpenAI, instance: Instance) -> None:
    try:
        folder = smollm2()
    except NotAvailable as reason:
        missing(f"SmolLM2-135M-Instruct is not available here: {reason}")
    request = {"path": str(folder), "model_id": "local/smollm2", "mode": "link"}
    row = instance.wait_for(instance.api.post("/models/import", json=request).json()["id"], "ready", seconds=300)
    question: Any = {
        "model": "local/smollm2",
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "max_tokens": 32,
    }
    answer = chat(client, **question).choices[0]
    assert (answer.message.content, answer.finish_reason) == ("The capital of France is Paris.", "stop")
    chunks = chat(client, **question, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == answer.message.content
    assert instance.api.post(f"/models/{row['id']}/unload").status_code == 202


def test_characters_of_several_tokens_are_not_split(client: openai.OpenAI) -> None:
    text = "🦙 é́ 漢字 👩‍👩‍👧"
    scored = greedy(client, prompt=text, echo=True, max_tokens=0, logprobs=0).choices[0]
    assert scored.text == text
    assert any(token.startswith("bytes:") for token in scored.logprobs.tokens)
    # Drawn from all of a byte-level vocabulary, most texts have such characters, and some that are none.
    for seed in range(5):
        drawn = {"prompt": text, "temperature": 2, "seed": seed, "max_tokens": 40}
        whole = greedy(client, **drawn).choices[0].text
        assert "".join(chunk.choices[0].text for chunk in greedy(client, **drawn, stream=True)) == whole


def test_texts_are_embedded(client: openai.OpenAI) -> None:
    texts = ["The capital of France", "A list"]
    plain = client.embeddings.create(model=GPT2, input=texts, encoding_format="float")
    assert [item.index for item in plain.data] == [0, 1]
    assert {len(item.embedding) for item in plain.data} == {128}
    packed = client.embeddings.create(model=GPT2, input=texts)  # the client asks for base64 and unpacks it
    for one, other in zip(plain.data, packed.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, rel=1e-6)
    by_ids = client.embeddings.create(model=GPT2, input=[[5, 6, 7], [8]], encoding_format="float")
    assert (by_ids.usage.prompt_tokens, by_ids.usage.total_tokens, len(by_ids.data)) == (4, 4, 2)
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model=GPT2, input="a", dimensions=8)
    assert refused.value.param == "dimensions"


def test_what_is_not_there_and_what_is_no_json(instance: Instance) -> None:
    for answer, status, code in (
        (httpx.get(f"{instance.url}/v1/nothing"), 404, "not_found"),
        (httpx.get(f"{instance.url}/v1/completions"), 404, "not_found"),
        (httpx.put(f"{instance.url}/v1/completions", json={}), 405, "method_not_allowed"),
        (httpx.post(f"{instance.url}/v1/completions", content=b"{"), 400, "invalid_request"),
        (httpx.post(f"{instance.url}/v1/completions", json={"model": "\0", "prompt": ""}), 400, "invalid_request"),
        (httpx.get(f"{instance.url}/v1/models/%00"), 400, "invalid_request"),
    ):
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (status, code), answer.text
        assert error.keys() == {"message", "type", "code", "param"}
    # lm_eval asks whether there is one; a page would be no answer.
    assert httpx.get(f"{instance.url}/tokenizer_info").status_code == 404
