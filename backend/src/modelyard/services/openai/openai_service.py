"""The OpenAI API's side of inference: its models, and requests that become generations."""

import time
from dataclasses import dataclass
from typing import Any

from modelyard.core.database import Database
from modelyard.schemas.openai import OpenAIModel, OpenAIModelList
from modelyard.schemas.openai_requests import (
    ChatCompletionRequest,
    CompletionRequest,
    EmbeddingRequest,
    GenerationRequest,
)
from modelyard.services.inference.inference_service import InferenceService, require_chat_template
from modelyard.services.inference.served import Served
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
            return OpenAIModelList(data=[_card(served, name) for served, name in model_names.served_names(session)])

    def get_model(self, name: str) -> OpenAIModel:
        """Return one model. Raises what `find_served` raises."""
        return _card(self._served(name), name)

    def start_chat(self, request: ChatCompletionRequest) -> StartedAnswer:
        """Queue a conversation. Raises what `find_served` and `InferenceService.start` raise."""
        served = self._served(request.model, request.modelyard.adapter)
        require_chat_template(
            served.row,
            request.model,
            hint="Send its text to /v1/completions, or use a model that was trained on conversations.",
        )
        return self._start(served, request, chat_fields(request), ChatForm(), "chatcmpl")

    def start_completion(self, request: CompletionRequest) -> StartedAnswer:
        """Queue texts to continue. Raises what `find_served` and `InferenceService.start` raise."""
        served = self._served(request.model, request.modelyard.adapter)
        return self._start(served, request, completion_fields(request), TextForm(), "cmpl")

    def start_embeddings(self, request: EmbeddingRequest) -> str:
        """Queue texts to embed. Returns the job's id. Raises what `find_served` raises."""
        served = self._served(request.model, request.modelyard.adapter)
        return InferenceService(self.database).start_embed(
            served.row, request.inputs, adapter=served.adapter_id, ttl_seconds=request.modelyard.ttl_seconds
        )

    def _served(self, name: str, adapter: str | None = None) -> Served:
        with self.database.reading() as session:
            return model_names.find_served(session, name, adapter)

    def _start(
        self, served: Served, request: GenerationRequest, fields: dict[str, Any], form: Form, prefix: str
    ) -> StartedAnswer:
        row, adapter = served.row, served.adapter
        job_id, warnings = InferenceService(self.database).start(
            row, fields | {"adapter": served.adapter_id}, ttl_seconds=request.modelyard.ttl_seconds
        )
        heading = Heading(
            id=f"{prefix}-{job_id}",
            created=int(time.time()),
            model=request.model,
            system_fingerprint=f"{row.commit}-{row.quantization}" + (f"+{adapter.commit}" if adapter else ""),
            warnings=warnings,
        )
        return StartedAnswer(job_id, heading, form, request.n)


def _card(served: Served, name: str) -> OpenAIModel:
    row = served.named
    owner = row.model_id.rpartition("/")[0] or "modelyard"
    return OpenAIModel(id=name, created=int(row.created_at.timestamp()), owned_by=owner)
