"""Requests of OpenAI's API: what is read, what is accepted because it changes nothing, and what is refused by name."""

import tracemalloc
from contextlib import suppress
from typing import Any

import pytest
from pydantic import ValidationError

from modelyard.schemas.openai_requests import (
    MAX_TOKENS,
    ChatCompletionRequest,
    CompletionRequest,
    EmbeddingRequest,
    OpenAIRequest,
)

HELLO = [{"role": "user", "content": "Hello"}]


def chat(**fields: Any) -> ChatCompletionRequest:
    return ChatCompletionRequest.model_validate({"model": "owner/name", "messages": HELLO} | fields)


def completion(**fields: Any) -> CompletionRequest:
    return CompletionRequest.model_validate({"model": "owner/name", "prompt": "Hello"} | fields)


def refused(kind: type[OpenAIRequest], **fields: Any) -> tuple[str, str]:
    """The field that an error is about, and the error's type."""
    base: dict[str, Any] = {"messages": HELLO} if kind is ChatCompletionRequest else {"prompt": "Hello"}
    with pytest.raises(ValidationError) as error:
        kind.model_validate({"model": "owner/name"} | base | fields)
    first = error.value.errors()[0]
    return ".".join(str(part) for part in first["loc"]), first["type"]


@pytest.mark.parametrize(
    "fields",
    [
        {"user": "ada", "metadata": {"run": "1"}, "store": False, "service_tier": "auto", "safety_identifier": "x"},
        {"tools": [], "tool_choice": "none", "parallel_tool_calls": True, "functions": [], "function_call": "auto"},
        {"tools": None, "response_format": None, "audio": None, "reasoning_effort": None, "stop": None, "n": None},
        {"response_format": {"type": "text"}, "modalities": ["text"], "prediction": {"type": "content"}},
        {"prompt_cache_key": "a", "prompt_cache_retention": "24h", "verbosity": "medium"},
        {"stream": True, "stream_options": {"include_usage": True, "include_obfuscation": False}},
        {"modelyard": {"interventions": [], "adapter": None, "ttl_seconds": 60}},
    ],
)
def test_what_changes_nothing_is_accepted(fields: dict[str, Any]) -> None:
    chat(**fields)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"functions": [{}]}, "functions"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "alloy"}}, "audio"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"store": True}, "store"),
        ({"top_k": 5}, "top_k"),
        ({"max_token": 5}, "max_token"),
        ({"modelyard": {"intervention": []}}, "modelyard.intervention"),
        ({"messages": [{"role": "user", "content": "a", "name": "ada"}]}, "messages.0.name"),
        ({"messages": [{"role": "assistant", "content": "a", "tool_calls": [{}]}]}, "messages.0.tool_calls"),
    ],
)
def test_what_is_not_supported_in_a_chat_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    assert refused(ChatCompletionRequest, **fields) == (param, "extra_forbidden")


@pytest.mark.parametrize("fields", [{"best_of": 1, "suffix": "", "user": "a"}, {"best_of": None, "logprobs": 0}])
def test_what_changes_nothing_in_a_completion_is_accepted(fields: dict[str, Any]) -> None:
    completion(**fields)


@pytest.mark.parametrize(("fields", "param"), [({"best_of": 3}, "best_of"), ({"suffix": "end"}, "suffix")])
def test_what_is_not_supported_in_a_completion_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    assert refused(CompletionRequest, **fields) == (param, "extra_forbidden")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": True}, "n"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"temperature": "0.5"}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"seed": 2**63}, "seed"),
        ({"seed": 0.5}, "seed"),
        ({"stop": ""}, "stop"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"stop": [1]}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"logit_bias": {"x": 1}}, "logit_bias.x.[key]"),
        ({"logit_bias": {"1": 101}}, "logit_bias.1"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"frequency_penalty": -3}, "frequency_penalty"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_completion_tokens"),
        ({"logprobs": 1}, "logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"modelyard": {"ttl_seconds": 0}}, "modelyard.ttl_seconds"),
        ({"modelyard": {"ttl_seconds": 1e10}}, "modelyard.ttl_seconds"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": "a" * 200_001}]}, "messages.0.content"),
        ({"messages": "Hello"}, "messages"),
        ({"model": ""}, "model"),
        ({"model": 5}, "model"),
    ],
)
def test_a_bad_value_of_a_chat_is_named(fields: dict[str, Any], param: str) -> None:
    assert refused(ChatCompletionRequest, **fields)[0] == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": [True]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": {"text": "a"}}, "prompt"),
        ({"prompt": ["a"] * 20, "n": 128}, "prompt"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 0, "echo": False}, "max_tokens"),
        ({"logprobs": 21}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
    ],
)
def test_a_bad_value_of_a_completion_is_named(fields: dict[str, Any], param: str) -> None:
    assert refused(CompletionRequest, **fields)[0] == param


MANY = 100_000


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (CompletionRequest, {"prompt": [[1]] * MANY}),
        (CompletionRequest, {"prompt": ["a"] * MANY}),
        (CompletionRequest, {"prompt": [1] * (MAX_TOKENS + 1)}),
        (CompletionRequest, {"prompt": [[1] * MAX_TOKENS, [1]]}),
        (EmbeddingRequest, {"input": [[1]] * MANY}),
        (ChatCompletionRequest, {"messages": [{"role": "user", "content": [{"type": "text", "text": ""}] * MANY}]}),
    ],
)
def test_nothing_is_made_of_what_is_too_much(kind: type[OpenAIRequest], fields: dict[str, Any]) -> None:
    """A body of 12 MB took 700 MB, and the event loop for seconds."""
    tracemalloc.start()
    try:
        with suppress(ValidationError):  # a message of many empty parts is an empty one
            kind.model_validate({"model": "owner/name"} | fields)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 * MANY


def test_as_many_token_ids_as_a_request_may_have_are_read() -> None:
    assert len(completion(prompt=[1] * MAX_TOKENS).prompts[0]) == MAX_TOKENS
    assert refused(CompletionRequest, prompt=[1] * (MAX_TOKENS + 1)) == ("prompt", "prompt")
    assert refused(CompletionRequest, prompt=["a"] * 2049) == ("prompt", "prompt")


def test_the_parts_of_a_message_are_its_text() -> None:
    made = chat(messages=[{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}])
    assert made.messages[0].content == "ab"


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([[1, 2], [3]], [[1, 2], [3]]),
    ],
)
def test_every_form_of_a_prompt_is_read(prompt: Any, prompts: list[Any]) -> None:
    assert completion(prompt=prompt).prompts == prompts


def test_scoring_needs_no_new_token() -> None:
    assert completion(max_tokens=0, echo=True, logprobs=5).max_tokens == 0
