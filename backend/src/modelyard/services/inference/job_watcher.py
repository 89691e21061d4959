"""The jobs whose answers are awaited in this process, looked at together."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Sequence

from sqlalchemy import select

from modelyard.core.database import Database, DatabaseChanges
from modelyard.core.errors import Conflict, DatabaseUnavailable
from modelyard.models import Job

CHECK_SECONDS = 0.01
"""How often an embedded database is asked whether it was written, which costs next to nothing."""
POLL_SECONDS = 0.05
"""How often to look at a database that does not tell."""
FIRST_POLL_SECONDS = 0.01
FIRST_POLL_SHARE = 0.05
"""Until there is a first result, this share of what was waited so far; at least FIRST_POLL_SECONDS."""
QUIET_SECONDS = 0.25
"""After so long without news who waits is told so."""
RETRY_SECONDS = 0.5

logger = logging.getLogger(__name__)


class _Watch:
    """One who waits for news of a job."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.job: Job | None = None
        self.error: Exception | None = None
        self.told = asyncio.Event()
        self._began = self._told_at = time.monotonic()

    def tell(self, news: Job | Exception | None) -> None:
        """Wake who waits, if there is news or was none for long."""
        if isinstance(news, Exception):
            self.error = news
        elif news is not None:
            self.job = news
        elif time.monotonic() - self._told_at < QUIET_SECONDS:
            return
        self._told_at = time.monotonic()
        self.told.set()

    def poll_seconds(self) -> float:
        """Return when to look again: soon at the beginning, where the first token is waited for."""
        if self.job is not None and self.job.result:
            return POLL_SECONDS
        return min(POLL_SECONDS, max(FIRST_POLL_SECONDS, (time.monotonic() - self._began) * FIRST_POLL_SHARE))


class JobWatcher:
    """Looks at all watched jobs with one query, in a task that is there while there are any."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._changes = DatabaseChanges(database)
        self._watches: set[_Watch] = set()
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def watch(self, job_id: str) -> AsyncGenerator[Job]:
        """A job as it is now, whenever it has changed, and every QUIET_SECONDS."""
        watch = _Watch(job_id)
        self._watches.add(watch)
        if self._task is None or self._task.done():
            self._news = asyncio.Event()
            self._task = asyncio.create_task(self._run())
        self._news.set()
        try:
            while True:
                await watch.told.wait()
                watch.told.clear()
                if watch.error is not None:
                    raise watch.error
                if watch.job is not None:
                    yield watch.job
        finally:
            self._watches.discard(watch)

    async def _run(self) -> None:
        try:
            await self._follow()
        finally:
            self._changes.close()

    async def _follow(self) -> None:
        while watches := list(self._watches):
            self._news.clear()
            self._changes.any()  # noted before the look, so that none is missed
            try:
                found = await asyncio.to_thread(self._look, watches)
            except DatabaseUnavailable:  # workers go on meanwhile
                await asyncio.sleep(RETRY_SECONDS)
                continue
            except Exception as error:
                logger.exception("The jobs that are waited for cannot be read")
                found = dict.fromkeys(watches, error)
            for watch in watches:
                watch.tell(found.get(watch))
            await self._pause()

    async def _pause(self) -> None:
        """Wait until the next look is due, or somebody begins to wait."""
        if not self._changes.are_known:
            await self._is_news(min((watch.poll_seconds() for watch in self._watches), default=0.0))
            return
        due = time.monotonic() + QUIET_SECONDS
        while self._watches and time.monotonic() < due:
            if await self._is_news(CHECK_SECONDS) or self._changes.any():
                return

    async def _is_news(self, seconds: float) -> bool:
        """Return whether somebody begins to wait within so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                return await self._news.wait()
        except TimeoutError:
            return False

    def _look(self, watches: Sequence[_Watch]) -> dict[_Watch, Job | Exception]:
        """Return the jobs that have changed. Their results, which may be long, are read of no others."""
        with self._database.reading() as session:
            ids = {watch.job_id for watch in watches}
            now = {
                row.id: row for row in session.execute(select(Job.id, Job.state, Job.updated_at).where(Job.id.in_(ids)))
            }
            changed = [
                watch
                for watch in watches
                if watch.job is None
                or (row := now.get(watch.job_id)) is None
                or (row.state, row.updated_at) != (watch.job.state, watch.job.updated_at)
            ]
            if not changed:
                return {}
            jobs = {
                job.id: job for job in session.scalars(select(Job).where(Job.id.in_({each.job_id for each in changed})))
            }
        gone = Conflict("The request is not known any more.", hint="Ask again.")
        return {watch: jobs.get(watch.job_id, gone) for watch in changed}
