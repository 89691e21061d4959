"""What `/v1` is sent: the requests of OpenAI's API, as far as they are supported."""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from modelyard.schemas import openai_examples as examples
from modelyard.schemas.common import Schema
from modelyard.schemas.inference import MAX_CONTENT, MAX_TTL_SECONDS
from modelyard.schemas.interventions import InterventionsField

MAX_SEQUENCES = 2048
"""Of one request: its prompts times `n`."""
MAX_TOKENS = 2_000_000
"""Token ids of one request."""


def _is_token(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**31


def _are(kind: Callable[[Any], bool], value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(kind, value))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _are_tokens(value: Any) -> bool:
    return _are(_is_token, value)


def _check_prompt(value: Any) -> Any:
    _require_few(value)
    if _is_text(value) or any(_are(kind, value) for kind in (_is_text, _is_token, _are_tokens)):
        return value
    raise PydanticCustomError("prompt", "Send a text, a list of texts, a list of token ids, or a list of such lists")


def _require_few(value: Any) -> None:
    """Refuse what is too much before anything is made of it: every element becomes some objects, and a body has
    millions."""
    if not isinstance(value, list) or not value:
        return
    is_one = isinstance(value[0], int)
    if not is_one and len(value) > MAX_SEQUENCES:
        raise PydanticCustomError("prompt", f"A request may have {MAX_SEQUENCES:,} prompts or inputs")
    tokens = len(value) if is_one else sum(len(each) for each in value if isinstance(each, list))
    if tokens > MAX_TOKENS:
        raise PydanticCustomError("prompt", f"A request may have {MAX_TOKENS:,} token ids")


def _check_stop(value: Any) -> Any:
    texts = [value] if _is_text(value) else value
    if isinstance(texts, list) and len(texts) <= 16 and all(_is_text(text) and 0 < len(text) <= 1000 for text in texts):
        return value
    raise PydanticCustomError("stop", "Send a text, or a list of at most 16 texts, of 1 to 1000 characters each")


def _read_content(value: Any) -> Any:
    """Check a message's content and return its text."""
    if _is_text(value):
        return _short_enough(value)
    if not isinstance(value, list) or not all(isinstance(part, dict) for part in value):
        raise PydanticCustomError("content", "Send a text, or a list of parts of the type text")
    for part in value:
        if part.get("type") != "text":
            raise PydanticCustomError("content", "Only parts of the type text are supported")
        if not _is_text(part.get("text")) or part.keys() - {"type", "text"}:
            raise PydanticCustomError("content", "A part of the type text has a text and nothing else")
    return _short_enough("".join(part["text"] for part in value))


def _short_enough(text: str) -> str:
    if len(text) > MAX_CONTENT:
        raise PydanticCustomError("content", f"A message may have {MAX_CONTENT:,} characters")
    return text


class TextPart(Schema):
    type: Literal["text"]
    text: str


Prompt = Annotated[str | list[str] | list[int] | list[list[int]], BeforeValidator(_check_prompt)]
Stop = Annotated[str | list[str], BeforeValidator(_check_stop)]
Content = Annotated[str, BeforeValidator(_read_content, json_schema_input_type=str | list[TextPart])]
Bias = Annotated[float, Field(ge=-100, le=100)]
TokenId = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
MAX_NAME = 500


class OpenAIRequest(Schema):
    """A request whose null fields count as left out, as clients send them."""

    model_config = ConfigDict(strict=True)

    changes_nothing: ClassVar[dict[str, tuple[Any, ...] | None]] = {}
    """Fields of OpenAI's API that are accepted although there is nothing to do: with these values, or with any (None).

    Every other field is refused by its name, because it would change the answer.
    """

    @model_validator(mode="before")
    @classmethod
    def _leave_out(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {name: value for name, value in data.items() if value is not None and not cls._is_idle(name, value)}

    @classmethod
    def _is_idle(cls, name: str, value: Any) -> bool:
        if name not in cls.changes_nothing:
            return False
        allowed = cls.changes_nothing[name]
        return allowed is None or value in allowed


class StreamOptions(OpenAIRequest):
    changes_nothing = {"include_obfuscation": None}

    include_usage: bool = Field(default=False, description="Send the usage in a last chunk without choices.")


class ModelyardOptions(OpenAIRequest):
    """What Modelyard adds to OpenAI's API."""

    adapter: str | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_NAME,
        description="The LoRA adapter to run the model with: `owner/name`, or the id of its row.",
        examples=[None],
    )
    ttl_seconds: float | None = Field(
        default=None,
        gt=0,
        le=MAX_TTL_SECONDS,
        description="The model is unloaded so long after its last use, in seconds; left out: as loaded, or 3600.",
        examples=[600],
    )
    interventions: InterventionsField = []


class ModelRequest(OpenAIRequest):
    changes_nothing = {
        "user": None,
        "metadata": None,
        "safety_identifier": None,
        "service_tier": None,
        "prompt_cache_key": None,
        "prompt_cache_retention": None,
        "prompt_cache_options": None,
        "store": (False,),
    }

    model: str = Field(
        min_length=1,
        max_length=MAX_NAME,
        description="`owner/name[@revision][:8bit|:4bit][+owner/adapter]`, as in `GET /v1/models`, or the id of a row.",
        examples=["Qwen/Qwen3-0.6B:4bit"],
    )
    modelyard: ModelyardOptions = Field(default=ModelyardOptions(), description="Options that OpenAI's API has not.")


class GenerationRequest(ModelRequest):
    """What chat and plain completions have in common."""

    temperature: float = Field(default=1.0, ge=0, le=2, description="0 takes the likeliest token.")
    top_p: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Draw from the likeliest tokens of this probability; left out: as the model's own settings say.",
        examples=[0.95],
    )
    n: int = Field(default=1, ge=1, le=128, description="Choices for each prompt.")
    stop: Stop | None = Field(default=None, description="The text ends before any of these.", examples=[["\n\n"]])
    seed: int | None = Field(
        default=None, ge=-(2**63), lt=2**63, description="The same seed draws the same tokens.", examples=[0]
    )
    stream: bool = Field(default=False, description="Server-sent events with the text as it comes.")
    stream_options: StreamOptions | None = Field(default=None, description="Only with stream.", examples=[None])
    logit_bias: dict[TokenId, Bias] = Field(
        default={}, max_length=1000, description="What is added to the logits of tokens, by token id."
    )
    presence_penalty: float = Field(
        default=0.0, ge=-2, le=2, description="Subtracted from the logits of tokens that are in the text already."
    )
    frequency_penalty: float = Field(
        default=0.0, ge=-2, le=2, description="The same, times how often the token is in the text."
    )

    @field_validator("stream_options")
    @classmethod
    def _streams(cls, options: StreamOptions, info: ValidationInfo) -> StreamOptions:
        if info.data.get("stream") is False:
            raise PydanticCustomError("stream_options", "It belongs to a request with stream")
        return options


class ChatMessage(OpenAIRequest):
    """One turn of a conversation."""

    # What the client's own answers hold when they are sent back, and what lm_eval adds.
    changes_nothing = {
        "type": ("text",),
        "annotations": ([],),
        "tool_calls": ([],),
    }

    role: Literal["system", "developer", "user", "assistant"] = Field(
        description="Who says it; developer counts as system.", examples=["user"]
    )
    content: Content = Field(
        description="A text, or parts of the type text.", examples=["What is the capital of France?"]
    )


class ChatCompletionRequest(GenerationRequest):
    """Answer a conversation with the model's chat template."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.CHAT_REQUEST]})
    changes_nothing = ModelRequest.changes_nothing | {
        "tools": ([],),
        "tool_choice": ("none", "auto"),
        "parallel_tool_calls": (True, False),
        "functions": ([],),
        "function_call": ("none", "auto"),
        "modalities": (["text"],),
        "response_format": ({"type": "text"},),
        "reasoning_effort": ("none",),
        "verbosity": ("medium",),
        "prediction": None,
    }

    messages: list[ChatMessage] = Field(
        min_length=1, max_length=10_000, description="The conversation, the latest turn last."
    )
    max_tokens: int | None = Field(
        default=None,
        ge=1,
        le=10_000_000,
        description="Where to stop at the latest; left out: the end of the model's context.",
        examples=[64],
    )
    max_completion_tokens: int | None = Field(
        default=None, ge=1, le=10_000_000, description="The newer name of max_tokens.", examples=[None]
    )
    logprobs: bool = Field(default=False, description="Answer the log-probability of each token.")
    top_logprobs: int | None = Field(
        default=None,
        ge=0,
        le=20,
        description="How many of the likeliest tokens to answer at each place; needs logprobs.",
        examples=[None],
    )

    @field_validator("top_logprobs")
    @classmethod
    def _has_logprobs(cls, count: int, info: ValidationInfo) -> int:
        if info.data.get("logprobs") is False:
            raise PydanticCustomError("top_logprobs", "It needs logprobs to be true")
        return count

    @field_validator("max_completion_tokens")
    @classmethod
    def _is_one_limit(cls, limit: int, info: ValidationInfo) -> int:
        if info.data.get("max_tokens") not in (None, limit):
            raise PydanticCustomError("max_completion_tokens", "It differs from max_tokens; send one of the two")
        return limit


class CompletionRequest(GenerationRequest):
    """Continue texts."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.COMPLETION_REQUEST]})
    changes_nothing = ModelRequest.changes_nothing | {"suffix": ("",), "best_of": (1,)}

    prompt: Prompt = Field(
        description="A text, a list of texts, a list of token ids, or a list of such lists.",
        examples=["The capital of France is"],
    )
    echo: bool = Field(default=False, description="Begin the answer with the prompt.")
    max_tokens: int = Field(
        default=16, ge=0, le=10_000_000, description="Where to stop at the latest; 0 only with echo."
    )
    logprobs: int | None = Field(
        default=None,
        ge=0,
        le=20,
        description="Answer the log-probability of each token and of this many of the likeliest.",
        examples=[None],
    )

    @field_validator("max_tokens")
    @classmethod
    def _makes_something(cls, limit: int, info: ValidationInfo) -> int:
        if limit == 0 and info.data.get("echo") is False:
            raise PydanticCustomError("max_tokens", "It may be 0 only with echo")
        return limit

    @field_validator("prompt")
    @classmethod
    def _is_not_too_much(cls, prompt: Any, info: ValidationInfo) -> Any:
        if len(_prompts(prompt)) * info.data.get("n", 1) > MAX_SEQUENCES:
            raise PydanticCustomError("prompt", f"A request may have {MAX_SEQUENCES} choices, of all prompts together")
        return prompt

    @property
    def prompts(self) -> list[str | list[int]]:
        """The prompts, each a text or the ids of its tokens."""
        return _prompts(self.prompt)


class EmbeddingRequest(ModelRequest):
    """Turn texts into vectors."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.EMBEDDING_REQUEST]})

    input: Prompt = Field(
        description="A text, a list of texts, a list of token ids, or a list of such lists.",
        examples=["The capital of France is Paris."],
    )
    encoding_format: Literal["float", "base64"] = Field(
        default="float", description="Numbers, or little-endian float32 in base64."
    )

    @field_validator("input")
    @classmethod
    def _is_not_too_much(cls, given: Any) -> Any:
        if len(_prompts(given)) > MAX_SEQUENCES:
            raise PydanticCustomError("input", f"A request may have {MAX_SEQUENCES} texts")
        return given

    @property
    def inputs(self) -> list[str | list[int]]:
        """The inputs, each a text or the ids of its tokens."""
        return _prompts(self.input)


def _prompts(sent: Any) -> list[Any]:
    return sent if isinstance(sent, list) and not isinstance(sent[0], int) else [sent]
