"""Limits how many requests wait for a Hub at once, so that a Hub that stalls leaves threads for everything else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

import anyio
from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool

from modelyard.api.v1.endpoints._common import RowId
from modelyard.core.database import Database
from modelyard.core.errors import HubBusy
from modelyard.models import ModelStatus
from modelyard.services.model_service import ModelService
from modelyard.services.settings_service import LOCAL

SLOTS = 16
"""Of the 40 threads that answer requests."""
WAIT_SECONDS = 2.0
RETRY_AFTER_SECONDS = 10


class HubSlots:
    """Counts the requests that are waiting for a Hub. Belongs to the event loop."""

    def __init__(self, slots: int = SLOTS) -> None:
        self._free = anyio.Semaphore(slots)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Hold a slot, after a short wait if none is free. Raises HubBusy."""
        with anyio.move_on_after(WAIT_SECONDS) as waiting:
            await self._free.acquire()
        if waiting.cancelled_caught:
            raise HubBusy(
                f"{SLOTS} other requests are waiting for the Hub already.", retry_after_seconds=RETRY_AFTER_SECONDS
            )
        try:
            yield
        finally:
            self._free.release()


async def _slot(request: Request) -> AsyncIterator[None]:
    slots: HubSlots = request.app.state.hub_slots
    async with slots.one():
        yield


async def _slot_unless_here(row_id: RowId, request: Request) -> AsyncIterator[None]:
    slots: HubSlots = request.app.state.hub_slots
    here = await run_in_threadpool(_is_here, request.app.state.database, row_id)
    async with nullcontext() if here else slots.one():
        yield


def _is_here(database: Database, row_id: str) -> bool:
    with database.reading() as session:
        row = ModelService(session).get_by_id(row_id)
        return row.status is ModelStatus.READY or row.endpoint == LOCAL


# scope="function": the slot is free before the answer is sent, which a slow reader may draw out.
TALKS_TO_A_HUB = [Depends(_slot, scope="function")]
"""The `dependencies=` of an endpoint whose thread may wait for a Hub."""
TALKS_TO_A_HUB_UNLESS_HERE = [Depends(_slot_unless_here, scope="function")]
"""The same where only a model that is not here yet needs its Hub."""
