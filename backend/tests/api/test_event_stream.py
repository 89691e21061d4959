"""Streamed generations: what is sent while the model is silent, and that a proxy passes every piece on at once."""

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import httpx
import pytest
from fastapi import FastAPI

from hub.hub_faults import serve
from modelyard.api import event_stream
from modelyard.api.deps import InferenceDep
from modelyard.api.v1.endpoints import inference
from modelyard.schemas.inference import GenerateRequest
from modelyard.services.inference.generation_result import Choice
from modelyard.services.inference.inference_service import Generation
from support.instance import free_port
from support.nginx import running_nginx, server_block

WORDS = ["one", " two", " three"]
FIGURES = {"prompt_tokens": 1, "new_tokens": 3, "tokens_per_second": 1.0, "load_seconds": 0.0}
RESULT = FIGURES | {"text": "one two three", "finish_reason": "stop"}
WAIT_SECONDS = 30.0
"""For what comes at once, or never."""


def written(text: str, finish_reason: Literal["stop"] | None = None) -> Choice:
    return Choice(text=text, finish_reason=finish_reason, tokens=None, prompt_tokens=1, new_tokens=3)


@dataclass
class SlowModel:
    """Writes a word, and each of the others when it may."""

    may_write: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    closed: threading.Event = field(default_factory=threading.Event)

    def start_generate(self, row_id: str, request: GenerateRequest) -> str:
        return f"{row_id}/{request.prompt}"

    async def follow(self, _: str) -> AsyncGenerator[Generation]:
        text = WORDS[0]
        try:
            for word in WORDS[1:]:
                yield Generation([written(text)], None)
                while not self.may_write.acquire(blocking=False):
                    await asyncio.sleep(0.01)
                    yield Generation([written(text)], None)
                text += word
            whole = [written(text, "stop")]
            yield Generation(whole, FIGURES | {"choices": whole})
        finally:
            self.closed.set()


@pytest.fixture
def model() -> SlowModel:
    return SlowModel()


@pytest.fixture
def endpoint(model: SlowModel) -> Iterator[str]:
    app = FastAPI()
    app.include_router(inference.router)
    app.dependency_overrides[get_args(InferenceDep)[1].dependency] = lambda: model
    with serve(app, prefix="/api") as url:
        yield url


def lines_of(url: str) -> Iterator[str]:
    """The lines of a streamed generation as they come."""
    body = {"prompt": "count", "stream": True}
    with httpx.stream("POST", f"{url}/models/row/generate", json=body, timeout=WAIT_SECONDS) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-cache"
        yield from (line for line in answer.iter_lines() if line)


def test_nginx_passes_every_piece_on_at_once(model: SlowModel, endpoint: str, tmp_path: Path) -> None:
    port = free_port()
    # It compresses what it collects, so nothing arrives before enough has come.
    compressed = "gzip on; gzip_types text/event-stream;"
    servers = {port: server_block(port, f"proxy_pass {endpoint.removesuffix('/api')}; {compressed}")}
    with running_nginx(tmp_path / "nginx", servers):
        lines = lines_of(f"http://127.0.0.1:{port}/api")
        for word in WORDS:
            # The model writes no further before this has arrived.
            assert json.loads(next(lines).removeprefix("data: ")) == {"delta": word}
            model.may_write.release()
        assert json.loads(next(lines).removeprefix("data: ")) == {"done": True} | RESULT


def test_a_silent_model_keeps_the_connection_alive(
    model: SlowModel, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "KEEPALIVE_SECONDS", 0.0)
    lines = lines_of(endpoint)
    assert next(lines).startswith("data: ")
    assert next(lines) == ": ping"
    model.may_write.release(2)
    events = [json.loads(line.removeprefix("data: ")) for line in lines if not line.startswith(":")]
    assert events == [{"delta": " two"}, {"delta": " three"}, {"done": True} | RESULT]


def test_a_client_that_leaves_ends_the_generation(model: SlowModel, endpoint: str) -> None:
    with httpx.stream(
        "POST", f"{endpoint}/models/row/generate", json={"prompt": "count", "stream": True}, timeout=WAIT_SECONDS
    ) as answer:
        next(answer.iter_lines())
    assert model.closed.wait(WAIT_SECONDS)
