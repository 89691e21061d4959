"""Quantizing, loading and comparing models, and generating text."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from modelyard.core.statuses import CopyQuantizationName, QuantizationName
from modelyard.schemas import examples
from modelyard.schemas.common import DtypeName, Schema, UtcTime
from modelyard.schemas.interventions import InterventionsField
from modelyard.schemas.model import LastUnload


class QuantizeRequest(Schema):
    """Make a quantized copy of an installed model."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.QUANTIZE_REQUEST]})

    quantization: CopyQuantizationName = Field(description="The precision of the copy.", examples=["4bit"])
    keep_original: bool = Field(default=True, description="Keep the unquantized model as well.")


MAX_TTL_SECONDS = 10**8
"""Three years: what clocks and dates can be added to; longer is `null`, never."""


class LoadRequest(Schema):
    """Load a model into memory."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.LOAD_REQUEST]})

    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|mps|cuda:\d{1,3})$",
        description="The device; auto: the accelerator with the most free memory, otherwise the CPU.",
        examples=["auto", "cpu", "cuda:0"],
    )
    dtype: DtypeName = Field(default="auto", description="Dtype of unquantized weights; auto: as stored.")
    ttl_seconds: float | None = Field(
        default=3600,
        gt=0,
        le=MAX_TTL_SECONDS,
        description="Seconds after the last use until it is unloaded; null: never.",
    )
    pinned: bool = Field(default=False, description="Never unloaded to make room for another model.")
    allow_offload: bool = Field(
        default=False,
        description="Keep in main memory what the accelerators cannot hold, which is slow. Only for unquantized models"
        " with device auto.",
    )


class LoadedModelResponse(Schema):
    """A model in the memory of an inference worker."""

    id: str
    model_id: str
    quantization: QuantizationName
    device: str
    dtype: str
    host: str
    measured_bytes: int
    load_seconds: float
    in_use: int
    pinned: bool
    expires_at: UtcTime | None
    last_unload: LastUnload | None


class LoadedPage(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.LOADED_PAGE]})

    items: list[LoadedModelResponse]


MAX_CONTENT = 200_000
"""Characters of one turn of a conversation."""


class Message(Schema):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"] = Field(description="The speaker.", examples=["user"])
    content: str = Field(max_length=MAX_CONTENT, description="The text.", examples=["What is the capital of France?"])


PromptField = Annotated[
    str | None,
    Field(
        max_length=200_000,
        description="Text to continue; null if messages are sent.",
        examples=["The capital of France is"],
    ),
]
MessagesField = Annotated[
    list[Message] | None,
    Field(
        min_length=1,
        max_length=1000,
        description="A conversation to answer, latest turn last; null if a prompt is sent.",
        examples=[None],
    ),
]


class GenerateRequest(Schema):
    """Continue a prompt, or answer messages with the tokenizer's chat template."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.GENERATE_REQUEST]})

    prompt: PromptField = None
    messages: MessagesField = None
    max_new_tokens: int = Field(default=64, ge=1, le=100_000, description="Limit of generated tokens.")
    temperature: float = Field(default=0.0, ge=0, le=10, description="0 always takes the most likely token.")
    seed: int = Field(default=0, ge=0, lt=2**63, description="The same seed draws the same tokens.")
    stream: bool = Field(default=False, description="Answer with server-sent events, piece by piece.")
    interventions: InterventionsField = []


class DriftRequest(Schema):
    """Compare a quantized copy with its original on a text."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.DRIFT_REQUEST]})

    text: str = Field(
        min_length=1,
        max_length=200_000,
        description="The text; its first 1,024 tokens are compared.",
        examples=["It was the best of times, it was the worst of times."],
    )


class GenerateResponse(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.GENERATE_RESPONSE]})

    text: str
    new_tokens: int
    tokens_per_second: float
    load_seconds: float = Field(description="0 if the model was already loaded.")
    finish_reason: Literal["stop", "length", "cancelled"]
    warnings: list[str] = Field(
        default=[], description="Where an SAE of the interventions was trained on another precision or commit."
    )
