"""What a generation has written so far: the JSON in `result` of its job, while it runs and at its end."""

from typing import Literal, NotRequired, TypedDict


class LikelyToken(TypedDict):
    """A token that could have come. `bytes` are those of its text, also where they are only a part of a character."""

    id: int
    text: str
    bytes: list[int]
    logprob: float | None


class WrittenToken(LikelyToken):
    """A token of the answer; `logprob` is None for the first one of a prompt, which nothing comes before."""

    top: list[LikelyToken]


class Choice(TypedDict):
    """One answer. Choices are ordered input by input."""

    text: str
    finish_reason: Literal["stop", "length", "cancelled"] | None
    tokens: list[WrittenToken] | None
    """With `logprobs` only; with `echo` the prompt's come first."""
    prompt_tokens: int
    new_tokens: int
    prompt_ids: NotRequired[list[int] | None]
    """With `prompt_ids` only."""


class GenerationResult(TypedDict):
    choices: list[Choice]
    prompt_tokens: int
    new_tokens: int
    tokens_per_second: float
    load_seconds: float
