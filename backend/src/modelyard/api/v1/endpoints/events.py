"""The WebSocket of live events."""

from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from modelyard.services.event_hub import EventHub

router = APIRouter(tags=["events"])


@router.websocket("/events")
async def events(socket: WebSocket) -> None:
    """A snapshot of what is under way, then every change; see `docs/api.md`."""
    hub: EventHub = socket.app.state.event_hub
    await socket.accept()
    async with hub.subscribe() as messages:
        reader = _until_closed(socket)
        async for message in messages.until(reader):
            try:
                await socket.send_text(message)
            except WebSocketDisconnect:  # gone before the reader heard of it
                return


async def _until_closed(socket: WebSocket) -> None:
    """Read, and drop, whatever the client says; it has nothing to say."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
