"""The official `openai` client against a real server with real workers."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from support.instance import Instance

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


def greedy(client: openai.OpenAI, **fields: Any) -> Any:
    settings: Any = {"model": GPT2, "prompt": "The", "max_tokens": 8, "temperature": 0}
    return client.completions.create(**settings | fields)


def chat(client: openai.OpenAI, **fields: Any) -> Any:
    settings: Any = {"model": LLAMA, "messages": HELLO, "max_tokens": 8, "temperature": 0}
    return client.chat.completions.create(**settings | fields)


def test_models_are_listed_and_found(client: openai.OpenAI, instance: Instance) -> None:
    assert [model.id for model in client.models.list()] == [GPT2, LLAMA]
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
        greedy(client, prompt=" the" * 600)
    assert too_long.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError) as streamed:
        list(greedy(client, prompt=" the" * 600, stream=True))
    assert streamed.value.code == "context_length_exceeded"


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
