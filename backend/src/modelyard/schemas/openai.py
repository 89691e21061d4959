"""What `/v1` answers, in the forms of OpenAI's API."""

from typing import Literal

from pydantic import ConfigDict, Field

from modelyard.schemas import openai_examples as examples
from modelyard.schemas.common import Schema


class OpenAIErrorBody(Schema):
    message: str = Field(description="What happened, and what to do next.")
    type: str = Field(examples=["invalid_request_error"])
    code: str = Field(description="A stable name for this kind of error.", examples=["model_not_found"])
    param: str | None = Field(default=None, description="The field of the request that is at fault, if one is.")


class OpenAIError(Schema):
    """The body of every error answer under `/v1`."""

    error: OpenAIErrorBody


class OpenAIModel(Schema):
    """A model that can be named in a request."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.MODEL]})

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="When it came here, in seconds since 1970.")
    owned_by: str


class OpenAIModelList(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [{"object": "list", "data": [examples.MODEL]}]})

    object: Literal["list"] = "list"
    data: list[OpenAIModel]


class Usage(Schema):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class LikelyToken(Schema):
    token: str
    logprob: float | None
    bytes: list[int] | None


class ChatToken(LikelyToken):
    top_logprobs: list[LikelyToken]


class ChatLogprobs(Schema):
    content: list[ChatToken]
    refusal: None = None


class AnsweredMessage(Schema):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class ChatChoice(Schema):
    index: int
    message: AnsweredMessage
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length"]


class AnswerNotes(Schema):
    """What Modelyard has to say of an answer beside OpenAI's fields."""

    warnings: list[str] = Field(
        description="Where an SAE of the interventions was trained on another precision or commit.", examples=[[]]
    )


class ChatCompletion(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.CHAT_COMPLETION]})

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    system_fingerprint: str = Field(description="The commit and the precision of the model.")
    modelyard: AnswerNotes | None = Field(default=None, description="Only where there is something to say.")


class CompletionLogprobs(Schema):
    """One entry per token. The first token of an echoed prompt has no log-probability."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int] = Field(description="Where in the choice's text each token begins, in characters.")


class CompletionChoice(Schema):
    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Literal["stop", "length"]


class Completion(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.COMPLETION]})

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage
    system_fingerprint: str
    modelyard: AnswerNotes | None = Field(default=None, description="Only where there is something to say.")


class Embedding(Schema):
    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(Schema):
    prompt_tokens: int
    total_tokens: int


class EmbeddingList(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.EMBEDDINGS]})

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
