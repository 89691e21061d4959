"""Chunks of a streamed answer: together they are the whole one, however the generation tells of it."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Literal

import pytest

from modelyard.core.errors import Conflict
from modelyard.services.inference.generation_result import Choice, WrittenToken
from modelyard.services.inference.inference_service import Generation
from modelyard.services.openai.answers import ChatForm, Form, Heading, TextForm, chunk
from modelyard.services.openai.stream import stream_chunks

HEADING = Heading(id="x", created=1, model="owner/name", system_fingerprint="f")
EMOJI = "🦙"


def token(content: bytes, logprob: float | None = -0.5, number: int = 1) -> WrittenToken:
    text = content.decode("utf-8", "replace")
    likely: Any = {"id": number, "text": text, "bytes": list(content), "logprob": logprob}
    written: WrittenToken = likely | {"top": [likely | {"id": 9, "logprob": -0.25, "text": "b", "bytes": [98]}]}
    return written


def choice(
    text: str,
    reason: Literal["stop", "length", "cancelled"] | None = None,
    tokens: Sequence[WrittenToken] | None = None,
    new_tokens: int = 2,
) -> Choice:
    written = None if tokens is None else list(tokens)
    return Choice(text=text, finish_reason=reason, tokens=written, prompt_tokens=3, new_tokens=new_tokens)


def chunks(form: Form, *steps: list[Choice], n: int = 1, include_usage: bool = False) -> list[dict[str, Any]]:
    async def told() -> AsyncGenerator[Generation]:
        for choices in steps:
            ended = choices is steps[-1]
            yield Generation(choices, {"choices": choices} if ended else None)

    async def gather() -> list[dict[str, Any]]:
        made = stream_chunks(told(), HEADING, form, n, include_usage=include_usage)
        return [chunk async for chunk in made if chunk is not None]

    return asyncio.run(gather())


def parts(made: list[dict[str, Any]], index: int = 0) -> list[dict[str, Any]]:
    return [part for chunk in made for part in chunk["choices"] if part["index"] == index]


def test_a_message_begins_with_its_role_and_ends_with_a_reason() -> None:
    made = chunks(ChatForm(), [], [choice("")], [choice("a")], [choice("a")], [choice("ab", "stop")])
    assert [(part["delta"], part["finish_reason"]) for part in parts(made)] == [
        ({"role": "assistant", "content": ""}, None),
        ({"content": "a"}, None),
        ({"content": "b"}, None),
        ({}, "stop"),
    ]
    assert all(chunk["object"] == "chat.completion.chunk" and "usage" not in chunk for chunk in made)


def test_warnings_stand_in_each_chunk_and_in_the_whole_answer() -> None:
    heading = Heading(**HEADING.as_dict(), warnings=["it was trained on 8-bit"])
    said = {"warnings": ["it was trained on 8-bit"]}
    assert chunk(heading, TextForm(), [])["modelyard"] == said
    for form in (ChatForm(), TextForm()):
        assert form.whole(heading, [choice("a", "stop")], 1).model_dump()["modelyard"] == said
        assert form.whole(HEADING, [choice("a", "stop")], 1).modelyard is None
        assert "modelyard" not in chunk(HEADING, form, [])


def test_choices_end_each_in_its_own_time() -> None:
    made = chunks(
        TextForm(),
        [choice("a", "stop"), choice("x")],
        [choice("a", "stop"), choice("xy", "length")],
        n=2,
        include_usage=True,
    )
    assert [part["text"] for part in parts(made)] == ["a", ""]
    assert [part["finish_reason"] for part in parts(made)] == [None, "stop"]
    assert "".join(part["text"] for part in parts(made, 1)) == "xy"
    # The prompt of both is one.
    assert made[-1]["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    assert made[-1]["choices"] == []
    assert all(chunk["usage"] is None for chunk in made[:-1])


def test_log_probabilities_come_with_their_text() -> None:
    a, b = token(b"a"), token(b"b")
    made = chunks(ChatForm(), [choice("a", tokens=[a])], [choice("ab", "length", [a, b])])
    told = [part["logprobs"]["content"] for part in parts(made) if part["logprobs"]]
    assert [[each["token"] for each in content] for content in told] == [["a"], ["b"]]
    assert told[0][0] == {
        "token": "a",
        "bytes": [97],
        "logprob": -0.5,
        "top_logprobs": [{"token": "b", "bytes": [98], "logprob": -0.25}],
    }


def test_offsets_count_characters_over_chunks_and_tokens() -> None:
    first, second, after = token(EMOJI.encode()[:2]), token(EMOJI.encode()[2:]), token(b"a")
    tokens = [token(b"Hi", None), first, second, after]
    made = chunks(
        TextForm(),
        [choice("Hi", tokens=tokens[:2])],
        [choice(f"Hi{EMOJI}", tokens=tokens[:3])],
        [choice(f"Hi{EMOJI}a", "stop", tokens)],
    )
    told = [part["logprobs"] for part in parts(made) if part["logprobs"]]
    assert [offset for each in told for offset in each["text_offset"]] == [0, 2, 2, 3]
    names = [name for each in told for name in each["tokens"]]
    assert names == ["Hi", r"bytes:\xf0\x9f", r"bytes:\xa6\x99", "a"]
    assert told[0]["token_logprobs"] == [None, -0.5]
    assert told[0]["top_logprobs"][0] is None
    assert told[0]["top_logprobs"][1] == {"b": -0.25, r"bytes:\xf0\x9f": -0.5}
    whole = TextForm().whole(HEADING, [choice(f"Hi{EMOJI}a", "stop", tokens)], 1).choices[0].logprobs
    assert whole is not None
    assert whole.text_offset == [0, 2, 2, 3]
    assert whole.tokens == names


def test_of_two_tokens_with_one_text_the_likelier_one_is_told() -> None:
    tokens = [token(b"b", -0.5)]
    answer = TextForm().whole(HEADING, [choice("b", "stop", tokens)], 1)
    assert answer.choices[0].logprobs is not None
    assert answer.choices[0].logprobs.top_logprobs == [{"b": -0.25}]


def test_a_worker_that_begins_again_is_not_told_twice() -> None:
    made = chunks(TextForm(), [choice("abc")], [], [choice("a")], [choice("abcd", "stop")])
    assert "".join(part["text"] for part in parts(made)) == "abcd"
    with pytest.raises(Conflict):
        chunks(TextForm(), [choice("abc")], [choice("x")], [choice("xyzzy", "stop")])


def test_a_generation_that_was_stopped_is_an_error() -> None:
    with pytest.raises(Conflict):
        chunks(TextForm(), [choice("abc")], [choice("abc", "cancelled")])
    with pytest.raises(Conflict):
        ChatForm().whole(HEADING, [choice("abc", "cancelled")], 1)
