"""Comparing what two models write after the same prompt."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from modelyard.core.statuses import QuantizationName
from modelyard.schemas import examples
from modelyard.schemas.common import Schema
from modelyard.schemas.inference import MessagesField, PromptField

SideName = Literal["left", "right"]
ComparedName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=500,
        description="`owner/name[@revision][:8bit|:4bit][+adapter]`, as under `/v1`, or the id of a row.",
        examples=["Qwen/Qwen3-0.6B:4bit"],
    ),
]


class CompareRequest(Schema):
    """Have two models continue a prompt, or answer messages, always with the most likely token."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.COMPARE_REQUEST]})

    left: ComparedName
    right: ComparedName
    prompt: PromptField = None
    messages: MessagesField = None
    max_new_tokens: int = Field(default=64, ge=1, le=100_000, description="Limit of generated tokens for each model.")
    stream: bool = Field(default=False, description="Answer with server-sent events that report the current step.")


class PossibleToken(Schema):
    """A token that could have come, with its log-probability, a natural logarithm."""

    id: int
    text: str
    logprob: float


class ComparedToken(Schema):
    """A token of one model's text."""

    id: int
    text: str = Field(description="What it adds to the text; empty for a part of a character that is not complete yet.")
    logprob: float = Field(description="Its log-probability under the model that wrote it: a natural logarithm.")
    other_logprob: float | None = Field(
        description="The same token's log-probability under the other model after the same tokens; null: see `reason`."
    )
    other_choice: PossibleToken | None = Field(description="The token that the other model finds most likely there.")


class ComparedSide(Schema):
    """One model and what it wrote."""

    id: str = Field(description="The row's id.")
    model_id: str
    commit: str
    quantization: QuantizationName
    text: str
    tokens: list[ComparedToken] = Field(description="Tokens of the text, with the one that ended it.")
    finish_reason: Literal["stop", "length"]
    first_divergence: int | None = Field(
        description="Index in `tokens` of the first one that is not in the other text; the number of tokens if this"
        " text ends there, null if both texts are equal."
    )


class Agreement(Schema):
    """How close the two models are on both texts, over the tokens whose log-probability is known for both."""

    tokens: int
    same_choice: int = Field(description="Tokens that the other model finds the most likely ones too.")
    mean_difference: float = Field(description="Mean absolute difference of the log-probabilities, in nats.")
    largest_difference: float = Field(description="Largest absolute difference of the log-probabilities, in nats.")


class CompareResponse(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.COMPARE_RESPONSE]})

    left: ComparedSide
    right: ComparedSide
    first_divergence: int | None = Field(description="`first_divergence` of `left`.")
    agreement: Agreement | None = Field(description="Null if no token has a log-probability under both models.")
    reason: str | None = Field(
        description="Why log-probabilities under the other model are missing, for people; null if none is."
    )


class CompareStep(Schema):
    """What a comparison is doing."""

    side: SideName = Field(description="The model that is needed for it.")
    work: Literal["write", "score"] = Field(description="`score`: it reads the other model's text.")
    waiting: bool = Field(description="No worker has taken this work yet.")
    phase: str | None = Field(description="`loading`, `generating`, or `waiting` for other work with the model.")
    message: str | None = Field(description="For people only; its wording may change.")
    bytes_done: int
    bytes_total: int | None
