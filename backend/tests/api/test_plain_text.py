"""Bodies are read strictly, and large ones beside everything else."""

import asyncio
import threading
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI

from modelyard.api import plain_text

WAIT_SECONDS = 30.0


def test_others_are_answered_while_a_large_body_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    router, answered = APIRouter(route_class=plain_text.PlainTextRoute), threading.Event()

    @router.post("/large")
    async def large(body: dict[str, Any]) -> int:
        return len(body["text"])

    @router.get("/small")
    async def small() -> str:
        return "here"

    def read(digits: str) -> int:
        assert answered.wait(WAIT_SECONDS), "the event loop stood still"
        return int(digits)

    monkeypatch.setattr(plain_text, "_int", read)
    app = FastAPI()
    app.include_router(router)

    async def ask() -> tuple[httpx.Response, httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            sent = asyncio.create_task(client.post("/large", json={"number": 1, "text": "a" * 200_000}))
            await asyncio.sleep(0)  # it is sent first
            other = await client.get("/small")
            answered.set()
            return await sent, other

    sent, other = asyncio.run(ask())
    assert (sent.json(), other.json()) == (200_000, "here")
