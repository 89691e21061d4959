"""The OpenAI API's side of inference: its models, and requests that become generations."""

import time
from dataclasses import dataclass
from typing import Any

from modelyard.core.database import Database
from modelyard.models import Model
from modelyard.schemas.openai import OpenAIModel, OpenAIModelList
from modelyard.schemas.openai_requests import (
    ChatCompletionRequest,
    CompletionRequest,
    EmbeddingRequest,
    GenerationRequest,
)
from modelyard.services.inference.inference_service import InferenceService, require_chat_template
from modelyard.services.openai import model_names
from modelyard.services.openai.answers import ChatForm, Form, Heading, TextForm
from modelyard.services.openai.requests import chat_fields, completion_fields


@dataclass(frozen=True)
class StartedAnswer:
    """A request that became a job, and what its answer looks like."""

    job_id: str
    heading: Heading
    form: Form
    n: int


class OpenAIService:
    """Finds the model of a request and queues the job; owns its transactions."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def list_models(self) -> OpenAIModelList:
        """Return the ready models, by name."""
        with self.database.reading() as session:
            return OpenAIModelList(data=[_card(row, name) for row, name in model_names.named_rows(session)])

    def get_model(self, name: str) -> OpenAIModel:
        """Return one model. Raises what `find_row` raises."""
        return _card(self._row(name), name)

    def start_chat(self, request: ChatCompletionRequest) -> StartedAnswer:
        """Queue a conversation. Raises what `find_row` and `InferenceService.start` raise."""
        row = self._row(request.model)
        require_chat_template(
            row,
            request.model,
            hint="Send its text to /v1/completions, or use a model that was trained on conversations.",
        )
        return self._start(row, request, chat_fields(request), ChatForm(), "chatcmpl")

    def start_completion(self, request: CompletionRequest) -> StartedAnswer:
        """Queue texts to continue. Raises what `find_row` and `InferenceService.start` raise."""
        return self._start(self._row(request.model), request, completion_fields(request), TextForm(), "cmpl")

    def start_embeddings(self, request: EmbeddingRequest) -> str:
        """Queue texts to embed. Returns the job's id. Raises what `find_row` raises."""
        inference = InferenceService(self.database)
        return inference.start_embed(
            self._row(request.model), request.inputs, ttl_seconds=request.modelyard.ttl_seconds
        )

    def _row(self, name: str) -> Model:
        with self.database.reading() as session:
            return model_names.find_row(session, name)

    def _start(
        self, row: Model, request: GenerationRequest, fields: dict[str, Any], form: Form, prefix: str
    ) -> StartedAnswer:
        job_id = InferenceService(self.database).start(row, fields, ttl_seconds=request.modelyard.ttl_seconds)
        heading = Heading(
            id=f"{prefix}-{job_id}",
            created=int(time.time()),
            model=request.model,
            system_fingerprint=f"{row.commit}-{row.quantization}",
        )
        return StartedAnswer(job_id, heading, form, request.n)


def _card(row: Model, name: str) -> OpenAIModel:
    owner = row.model_id.rpartition("/")[0] or "modelyard"
    return OpenAIModel(id=name, created=int(row.created_at.timestamp()), owned_by=owner)
