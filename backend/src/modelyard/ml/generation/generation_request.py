"""What a generation is asked for, and what it answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from modelyard.ml.hooks.interventions import Intervention

FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True)
class Prompt:
    """One input: exactly one of a text, token ids, and messages for the tokenizer's chat template."""

    text: str | None = None
    token_ids: Sequence[int] | None = None
    messages: Sequence[Mapping[str, str]] | None = None


@dataclass(frozen=True)
class Options:
    """How every input is continued; `GeneratePayload` explains the fields."""

    n: int = 1
    max_new_tokens: int | None = None
    temperature: float = 0.0
    top_p: float | None = None
    seed: int | None = 0
    stop: Sequence[str] = ()
    logprobs: int | None = None
    echo: bool = False
    prompt_ids: bool = False
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    adapter: str | None = None
    interventions: Sequence["Intervention"] = ()


@dataclass(frozen=True)
class Choice:
    """One continuation of one input. `tokens` are objects as the API has them; None where no logprobs were wanted.

    `prompt_ids` are the tokens of its prompt, where they were wanted.
    """

    text: str
    finish_reason: FinishReason | None
    tokens: list[dict[str, Any]] | None
    prompt_tokens: int
    new_tokens: int
    prompt_ids: list[int] | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class Generated:
    """All choices, input by input. `prompt_tokens` counts each input once.

    `tokens_per_second` counts new tokens from the start of the first prompt's processing to the last token.
    """

    choices: list[Choice]
    prompt_tokens: int
    new_tokens: int
    tokens_per_second: float
