"""Turns what a generation has written into the answers and chunks of OpenAI's API."""

import base64
import codecs
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from modelyard.core.errors import Conflict
from modelyard.schemas.openai import (
    AnsweredMessage,
    ChatChoice,
    ChatCompletion,
    ChatLogprobs,
    Completion,
    CompletionChoice,
    CompletionLogprobs,
    Embedding,
    EmbeddingList,
    EmbeddingUsage,
    Usage,
)
from modelyard.schemas.openai_requests import EmbeddingRequest
from modelyard.services.inference.generation_result import Choice, LikelyToken, WrittenToken


@dataclass(frozen=True)
class Heading:
    """What every answer and chunk of one request begins with; `created` is in seconds since 1970."""

    id: str
    created: int
    model: str
    system_fingerprint: str
    warnings: Sequence[str] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return its fields; warnings, if there are any, below `modelyard`, as OpenAI's API has none."""
        fields = {name: value for name, value in vars(self).items() if name != "warnings"}
        return fields | ({"modelyard": {"warnings": list(self.warnings)}} if self.warnings else {})


@dataclass
class TextPosition:
    """How far the text of one choice has been told in tokens, in characters."""

    characters: int = 0
    _decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace")
    )

    def pass_over(self, token: LikelyToken) -> int:
        """Return where a token begins, and go on behind it."""
        begin = self.characters
        self.characters += len(self._decoder.decode(bytes(token["bytes"])))
        return begin


class Form(Protocol):
    """One of the two kinds of answers: a message, or a text."""

    chunk_object: str

    def whole(self, heading: Heading, choices: Sequence[Choice], n: int) -> ChatCompletion | Completion:
        """Return the whole answer. Raises Conflict where the generation was stopped."""

    def begin(self) -> dict[str, Any] | None:
        """Return what a choice's first chunk holds, if there is one before its text."""

    def piece(self, delta: str, tokens: Sequence[WrittenToken] | None, position: TextPosition) -> dict[str, Any]:
        """Return what a chunk holds of a choice's text."""


class ChatForm:
    chunk_object = "chat.completion.chunk"

    def whole(self, heading: Heading, choices: Sequence[Choice], n: int) -> ChatCompletion:
        return ChatCompletion(
            **heading.as_dict(),
            choices=[
                ChatChoice(
                    index=index,
                    message=AnsweredMessage(content=choice["text"]),
                    logprobs=_chat_logprobs(choice["tokens"]),
                    finish_reason=finish_reason(choice),
                )
                for index, choice in enumerate(choices)
            ],
            usage=usage(choices, n),
        )

    def begin(self) -> dict[str, Any] | None:
        return {"delta": {"role": "assistant", "content": ""}, "logprobs": None}

    def piece(self, delta: str, tokens: Sequence[WrittenToken] | None, _position: TextPosition) -> dict[str, Any]:
        logprobs = _chat_logprobs(tokens)
        return {"delta": {"content": delta} if delta else {}, "logprobs": logprobs.model_dump() if logprobs else None}


class TextForm:
    chunk_object = "text_completion"

    def whole(self, heading: Heading, choices: Sequence[Choice], n: int) -> Completion:
        return Completion(
            **heading.as_dict(),
            choices=[
                CompletionChoice(
                    index=index,
                    text=choice["text"],
                    logprobs=_completion_logprobs(choice["tokens"], TextPosition()),
                    finish_reason=finish_reason(choice),
                )
                for index, choice in enumerate(choices)
            ],
            usage=usage(choices, n),
        )

    def begin(self) -> dict[str, Any] | None:
        return None

    def piece(self, delta: str, tokens: Sequence[WrittenToken] | None, position: TextPosition) -> dict[str, Any]:
        logprobs = _completion_logprobs(tokens, position)
        return {"text": delta, "logprobs": logprobs.model_dump() if logprobs else None}


def usage(choices: Sequence[Choice], n: int) -> Usage:
    """Return the tokens of a request: its prompts counted once, whatever `n` is."""
    prompts, written = sum(choice["prompt_tokens"] for choice in choices[::n]), sum(c["new_tokens"] for c in choices)
    return Usage(prompt_tokens=prompts, completion_tokens=written, total_tokens=prompts + written)


def finish_reason(choice: Choice) -> Literal["stop", "length"]:
    """Return why a choice ended. Raises Conflict where it was stopped from outside."""
    reason = choice["finish_reason"]
    if reason is None or reason == "cancelled":
        raise Conflict("The generation was stopped before its end.", hint="Ask again.")
    return reason


def _chat_logprobs(tokens: Sequence[WrittenToken] | None) -> ChatLogprobs | None:
    if tokens is None:
        return None
    return ChatLogprobs.model_validate(
        {"content": [_likely(token) | {"top_logprobs": [_likely(top) for top in token["top"]]} for token in tokens]}
    )


def _likely(token: LikelyToken) -> dict[str, Any]:
    return {"token": token["text"], "logprob": token["logprob"], "bytes": token["bytes"]}


def _completion_logprobs(tokens: Sequence[WrittenToken] | None, position: TextPosition) -> CompletionLogprobs | None:
    if tokens is None:
        return None
    return CompletionLogprobs(
        tokens=[_readable(token) for token in tokens],
        token_logprobs=[token["logprob"] for token in tokens],
        top_logprobs=[_top(token) for token in tokens],
        text_offset=[position.pass_over(token) for token in tokens],
    )


def _top(token: WrittenToken) -> dict[str, float] | None:
    """Return the likeliest tokens and the one that was taken; of two with the same text the likelier one."""
    if token["logprob"] is None:
        return None
    found: dict[str, float] = {}
    for each in (*token["top"], token):
        if each["logprob"] is not None:
            found.setdefault(_readable(each), each["logprob"])
    return found


def _readable(token: LikelyToken) -> str:
    """Return a token's text; a token that is a part of a character is written as OpenAI does, as its bytes."""
    content = bytes(token["bytes"])
    try:
        content.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in content)
    return token["text"]


def embeddings(request: EmbeddingRequest, result: Mapping[str, Any]) -> EmbeddingList:
    """Return the answer to a request for embeddings; in base64 a vector is little-endian float32."""
    vectors: list[list[float]] = result["vectors"]
    as_text = request.encoding_format == "base64"
    tokens = result["prompt_tokens"]
    return EmbeddingList(
        data=[
            Embedding(index=index, embedding=_base64(vector) if as_text else vector)
            for index, vector in enumerate(vectors)
        ],
        model=request.model,
        usage=EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens),
    )


def _base64(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def chunk(heading: Heading, form: Form, choices: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one chunk of a streamed answer."""
    return heading.as_dict() | {"object": form.chunk_object, "choices": choices}
