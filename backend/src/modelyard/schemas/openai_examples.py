"""The examples of `/v1` in the API's description; a test keeps them valid."""

from typing import Any

NAME = "Qwen/Qwen3-0.6B:4bit"
_COMMIT = "c1899de289a04d12100db370d81485cdf75e47ca-4bit"
_USAGE = {"prompt_tokens": 13, "completion_tokens": 8, "total_tokens": 21}

CHAT_REQUEST: dict[str, Any] = {
    "model": NAME,
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
    "max_tokens": 64,
    "temperature": 0.0,
}

COMPLETION_REQUEST: dict[str, Any] = {
    "model": NAME,
    "prompt": "The capital of France is",
    "max_tokens": 2,
    "temperature": 0.0,
    "logprobs": 1,
}

EMBEDDING_REQUEST: dict[str, Any] = {"model": "Qwen/Qwen3-0.6B", "input": ["The capital of France is Paris."]}

MODEL: dict[str, Any] = {"id": NAME, "object": "model", "created": 1795514400, "owned_by": "Qwen"}

CHAT_COMPLETION: dict[str, Any] = {
    "id": "chatcmpl-0b9c1d2e3f4a5b6c7d8e9f0a1b2c3d4e",
    "object": "chat.completion",
    "created": 1795514400,
    "model": NAME,
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "The capital of France is Paris.", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": _USAGE,
    "system_fingerprint": _COMMIT,
}

COMPLETION: dict[str, Any] = {
    "id": "cmpl-0b9c1d2e3f4a5b6c7d8e9f0a1b2c3d4e",
    "object": "text_completion",
    "created": 1795514400,
    "model": NAME,
    "choices": [
        {
            "index": 0,
            "text": " Paris.",
            "logprobs": {
                "tokens": [" Paris", "."],
                "token_logprobs": [-0.21, -0.63],
                "top_logprobs": [{" Paris": -0.21}, {".": -0.63}],
                "text_offset": [0, 6],
            },
            "finish_reason": "length",
        }
    ],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    "system_fingerprint": _COMMIT,
}

EMBEDDINGS: dict[str, Any] = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.0131, -0.0442, 0.0027]}],
    "model": "Qwen/Qwen3-0.6B",
    "usage": {"prompt_tokens": 7, "total_tokens": 7},
}


def _stream(chunks: list[str]) -> str:
    return "".join(f"data: {chunk}\n\n" for chunk in [*chunks, "[DONE]"])


CHAT_STREAM = _stream(
    [
        '{"id": "chatcmpl-0b9c…", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta":'
        ' {"role": "assistant", "content": ""}, "finish_reason": null}]}',
        '{"id": "chatcmpl-0b9c…", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta":'
        ' {"content": "The"}, "finish_reason": null}]}',
    ]
)
COMPLETION_STREAM = _stream(
    [
        '{"id": "cmpl-0b9c…", "object": "text_completion", "choices": [{"index": 0, "text": " Paris",'
        ' "finish_reason": null}]}'
    ]
)
