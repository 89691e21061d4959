"""The WebSocket of live events."""

import asyncio

from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from modelyard.api.plain_text import PlainTextRoute
from modelyard.services.event_hub import EventHub, Subscription

router = APIRouter(tags=["events"], route_class=PlainTextRoute)


@router.websocket("/events")
async def events(socket: WebSocket, batch: bool = False) -> None:
    """Send a snapshot of the work in progress, then every change; see `docs/api.md`."""
    hub: EventHub = socket.app.state.event_hub
    await socket.accept()
    async with hub.subscribe(batch=batch) as messages, asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(_send(socket, messages))
        await _until_closed(socket)
        sending.cancel()


async def _send(socket: WebSocket, messages: Subscription) -> None:
    try:
        while True:
            await socket.send_text(await messages.next())
    except WebSocketDisconnect:  # gone before the reader heard of it
        return


async def _until_closed(socket: WebSocket) -> None:
    """Read and discard messages of the client until it disconnects."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
