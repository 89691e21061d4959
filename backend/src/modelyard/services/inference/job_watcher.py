"""The jobs whose answers are awaited in this process, looked at together."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime

from sqlalchemy import select

from modelyard.core.database import Database, DatabaseChanges
from modelyard.core.errors import Conflict, DatabaseUnavailable
from modelyard.models import Job, JobState

CHECK_SECONDS = 0.02
"""How often an embedded database is asked whether it was written, which costs little."""
POLL_SECONDS = 0.05
"""How often to look at a database that does not tell."""
FIRST_SECONDS = 0.01
"""How often at the beginning, of either kind, where the first token is waited for."""
FIRST_POLL_SHARE = 0.05
"""Until there is a first result, look after this share of what was waited so far; at least FIRST_SECONDS."""
QUIET_SECONDS = 0.25
"""After so long without news who waits is told so."""
RETRY_SECONDS = 0.5

logger = logging.getLogger(__name__)

News = Job | Exception | None


class _Watch:
    """One who waits for news of a job. What is known of the job belongs to the thread that looks, the rest to the
    event loop."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.seen: tuple[JobState, datetime] | None = None
        self.has_result = False
        self.told_at = self._began = time.monotonic()
        self.loop = asyncio.get_running_loop()
        self.job: Job | None = None
        self.error: Exception | None = None
        self.told = asyncio.Event()

    def tell(self, news: News) -> None:
        """Wake who waits; None is no news."""
        if isinstance(news, Exception):
            self.error = news
        elif news is not None:
            self.job = news
        self.told.set()

    def note(self, job: Job) -> None:
        """Remember what is told of a job."""
        self.seen, self.has_result = (job.state, job.updated_at), bool(job.result)

    @property
    def is_quiet(self) -> bool:
        """Return whether there was nothing to tell for long."""
        return time.monotonic() - self.told_at >= QUIET_SECONDS

    def poll_seconds(self) -> float:
        """Return when to look again: soon at the beginning, where the first token is waited for."""
        if self.has_result:
            return POLL_SECONDS
        return min(POLL_SECONDS, max(FIRST_SECONDS, (time.monotonic() - self._began) * FIRST_POLL_SHARE))


class JobWatcher:
    """Looks at all watched jobs with one query, in a thread that is there while there are any.

    On a machine with few processors each look, and each question whether to look, takes time from the model that
    writes; an event loop's timers alone take several times as much as a thread that sleeps.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._changes = DatabaseChanges(database)
        self._lock = threading.Lock()
        self._watches: set[_Watch] = set()
        self._is_new = threading.Event()
        self._thread: threading.Thread | None = None

    async def watch(self, job_id: str) -> AsyncGenerator[Job]:
        """Yield a job as it is now, whenever it has changed, and every QUIET_SECONDS."""
        watch = _Watch(job_id)
        self._add(watch)
        try:
            while True:
                await watch.told.wait()
                watch.told.clear()
                if watch.error is not None:
                    raise watch.error
                if watch.job is not None:
                    yield watch.job
        finally:
            with self._lock:
                self._watches.discard(watch)

    def _add(self, watch: _Watch) -> None:
        with self._lock:
            self._watches.add(watch)
            self._is_new.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="job watcher", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while watches := self._watched():
            self._changes.any()  # noted before the look, so that none is missed
            try:
                found = self._look(watches)
            except DatabaseUnavailable:  # workers go on meanwhile
                time.sleep(RETRY_SECONDS)
                continue
            except Exception as error:
                logger.exception("The jobs that are waited for cannot be read")
                found = dict.fromkeys(watches, error)
            self._tell(watches, found)
            self._pause(watches)

    def _watched(self) -> list[_Watch]:
        """Return who waits; with nobody there, this thread is the watcher's no more."""
        with self._lock:
            self._is_new.clear()
            if not self._watches:
                self._thread = None
                self._changes.close()
            return list(self._watches)

    def _tell(self, watches: Sequence[_Watch], found: Mapping[_Watch, Job | Exception]) -> None:
        for watch in watches:
            news = found.get(watch)
            if news is None and not watch.is_quiet:
                continue
            if isinstance(news, Job):
                watch.note(news)
            watch.told_at = time.monotonic()
            try:
                watch.loop.call_soon_threadsafe(watch.tell, news)
            except RuntimeError:  # the loop was closed, and nobody waits any more
                with self._lock:
                    self._watches.discard(watch)

    def _pause(self, watches: Sequence[_Watch]) -> None:
        """Wait until the next look is due, or somebody begins to wait."""
        if not self._changes.are_known:
            self._is_new.wait(min(watch.poll_seconds() for watch in watches))
            return
        due = time.monotonic() + QUIET_SECONDS
        seconds = CHECK_SECONDS if all(watch.has_result for watch in watches) else FIRST_SECONDS
        while time.monotonic() < due:
            if self._is_new.wait(seconds) or self._changes.any() or not self._watches:
                return

    def _look(self, watches: Sequence[_Watch]) -> dict[_Watch, Job | Exception]:
        """Return the jobs that have changed. Their results, which may be long, are read of no others."""
        with self._database.reading() as session:
            ids = {watch.job_id for watch in watches}
            now = {
                row.id: (row.state, row.updated_at)
                for row in session.execute(select(Job.id, Job.state, Job.updated_at).where(Job.id.in_(ids)))
            }
            changed = [watch for watch in watches if watch.seen is None or now.get(watch.job_id) != watch.seen]
            if not changed:
                return {}
            jobs = {
                job.id: job for job in session.scalars(select(Job).where(Job.id.in_({each.job_id for each in changed})))
            }
        gone = Conflict("The request is not known any more.", hint="Ask again.")
        return {watch: jobs.get(watch.job_id, gone) for watch in changed}
