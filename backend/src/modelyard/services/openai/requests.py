"""Turns a request of `/v1` into the fields of a `GeneratePayload`."""

import secrets
from typing import Any

from modelyard.schemas.inference import Message
from modelyard.schemas.openai_requests import (
    ChatCompletionRequest,
    ChatMessage,
    CompletionRequest,
    GenerationRequest,
)
from modelyard.services.jobs.payloads import GenerateInput

_SEEDS = 2**63


def chat_fields(request: ChatCompletionRequest) -> dict[str, Any]:
    """Return the fields of a conversation; a missing limit means the rest of the model's context."""
    return _common(request) | {
        "inputs": [GenerateInput(messages=[_message(message) for message in request.messages])],
        "max_new_tokens": request.max_completion_tokens or request.max_tokens,
        "logprobs": (request.top_logprobs or 0) if request.logprobs else None,
    }


def completion_fields(request: CompletionRequest) -> dict[str, Any]:
    """Return the fields of texts to continue."""
    return _common(request) | {
        "inputs": [as_input(prompt) for prompt in request.prompts],
        "max_new_tokens": request.max_tokens,
        "logprobs": request.logprobs,
        "echo": request.echo,
    }


def as_input(prompt: str | list[int]) -> GenerateInput:
    """Return one prompt as an input: a text, or the ids of its tokens."""
    return GenerateInput(text=prompt) if isinstance(prompt, str) else GenerateInput(token_ids=prompt)


def _common(request: GenerationRequest) -> dict[str, Any]:
    stop = request.stop or []
    return {
        "n": request.n,
        "interventions": request.modelyard.interventions,
        # Of no probability at all, only the likeliest token is left.
        "temperature": 0.0 if request.top_p == 0 else request.temperature,
        "top_p": request.top_p or None,
        # Drawn here, so that a worker that takes over the job writes the text that was sent already.
        "seed": secrets.randbelow(_SEEDS) if request.seed is None else request.seed % _SEEDS,
        "stop": [stop] if isinstance(stop, str) else stop,
        "logit_bias": {int(token): bias for token, bias in request.logit_bias.items()},
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
    }


def _message(message: ChatMessage) -> Message:
    return Message(role="system" if message.role == "developer" else message.role, content=message.content)
