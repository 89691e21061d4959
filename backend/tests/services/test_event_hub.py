"""Live events: every socket gets a snapshot and then every change, in order, once, and not too often."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, event, select, update

from modelyard.core.database import Database, utc_now
from modelyard.core.errors import DatabaseUnavailable
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.models import (
    Deletion,
    Job,
    JobKind,
    JobState,
    LoadedModel,
    Model,
    ModelStatus,
    Training,
    TrainingStatus,
)
from modelyard.schemas.event import BatchEvent
from modelyard.services import deletion_log, event_feed, event_hub, maintenance, model_response, model_service
from modelyard.services.deletion_log import DeletionLog
from modelyard.services.event_hub import EventHub, Subscription
from modelyard.services.jobs.control import JobProgress
from modelyard.services.jobs.job_service import JobService
from modelyard.services.model_deletion import ModelDeletion
from modelyard.services.model_response import ModelResponses
from modelyard.services.model_service import ModelService
from modelyard.services.training.training_service import TrainingService

from .cache import new_row

Message = dict[str, Any]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubCache:
    cache = HubCache(tmp_path / "hub")
    monkeypatch.setattr(model_service, "hub_cache", lambda: cache)
    return cache


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_hub, "TICK_SECONDS", 0.02)


class Rows:
    """Changes rows as workers and users do."""

    def __init__(self, database: Database, cache: HubCache) -> None:
        self.database, self.cache = database, cache
        self.owners: dict[str, str] = {}

    def add(self, number: int = 0, status: ModelStatus = ModelStatus.PENDING) -> str:
        with self.database.session() as session:
            row = new_row(session, self.cache, commit=f"{number:040x}")
            row.status = status
            return row.id

    def start(self, row_id: str) -> None:
        with self.database.session() as session:
            models = ModelService(session, self.cache)
            row = models.get_by_id(row_id)
            job = JobService(session).claim(models.start_download(row).id, "w")
            assert job is not None
            self.owners[row_id] = job.owner or ""
            models.mark_downloading(row)

    def progress(self, row_id: str, bytes_done: int) -> None:
        with self.database.session() as session:
            row = session.get_one(Model, row_id)
            progress = JobProgress("downloading", bytes_done, 1000)
            JobService(session).heartbeat(row.job_id or "", self.owners[row_id], progress)

    def set(self, row_id: str, status: ModelStatus, **fields: Any) -> None:
        with self.database.session() as session:
            row = session.get_one(Model, row_id)
            row.status = status
            for name, value in fields.items():
                setattr(row, name, value)

    def age(self, seconds: float = 3600) -> None:
        """Nothing changed for an hour."""
        with self.database.session() as session:
            session.execute(update(Model).values(updated_at=utc_now() - timedelta(seconds=seconds)))
            session.execute(update(Job).values(updated_at=utc_now() - timedelta(seconds=seconds)))

    def delete(self, row_id: str) -> None:
        with self.database.session() as session:
            ModelDeletion(session).end(session.get_one(Model, row_id))

    def add_run(self) -> str:
        with self.database.session() as session:
            run = Training(
                status=TrainingStatus.FAILED, model_id="a/b", commit="c" * 40, quantization="none", config={},
                hook_point="h", d_in=8, d_sae=64, plan={}, tokens_total=10,
            )  # fmt: skip
            session.add(run)
            session.flush()
            return run.id

    def delete_run(self, run_id: str) -> None:
        with self.database.session() as session:
            TrainingService(session).end_deletion(run_id)

    def load(self, row_id: str) -> None:
        with self.database.session() as session:
            session.add(
                LoadedModel(
                    model_row_id=row_id, worker="w", device="cpu", dtype="float32", host="h", measured_bytes=1,
                    load_seconds=1.0, lease_expires_at=utc_now() + timedelta(seconds=30),
                )
            )  # fmt: skip

    def unload(self) -> None:
        with self.database.session() as session:
            session.execute(delete(LoadedModel))


@pytest.fixture
def rows(database: Database, cache: HubCache) -> Rows:
    return Rows(database, cache)


@asynccontextmanager
async def running(database: Database) -> AsyncIterator[EventHub]:
    hub = EventHub(database)
    task = asyncio.create_task(hub.run())
    try:
        yield hub
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def receive(subscription: Subscription) -> Message:
    message: Message = json.loads(await asyncio.wait_for(subscription.next(), 10))
    return message


async def until(subscription: Subscription, found: Callable[[Message], bool]) -> list[Message]:
    """Messages up to the one that was looked for."""
    messages = [await receive(subscription)]
    while not found(messages[-1]):
        messages.append(await receive(subscription))
    return messages


def told(messages: list[Message]) -> list[tuple[str, str]]:
    return [(message["type"], message.get("id") or message["model"]["id"]) for message in messages]


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """pytest calls plain functions."""

    def run(database: Database, rows: Rows, quick: None) -> None:
        asyncio.run(test(database, rows))

    run.__doc__, run.__name__ = test.__doc__, test.__name__
    return run


@in_a_loop
async def test_a_snapshot_comes_first(database: Database, rows: Rows) -> None:
    active, ready = rows.add(1), rows.add(2, ModelStatus.READY)
    rows.start(active)
    async with running(database) as hub, hub.subscribe() as subscription:
        snapshot = await receive(subscription)
    assert (snapshot["type"], snapshot["epoch"]) == ("snapshot", hub.feed.epoch)
    assert [model["id"] for model in snapshot["models"]] == [active]
    assert snapshot["counts"] == {"downloading": 1, "ready": 1}
    assert snapshot["seq"] == hub.feed.seq
    assert ready not in json.dumps(snapshot["models"])


@in_a_loop
async def test_a_download_as_it_goes(database: Database, rows: Rows) -> None:
    async with running(database) as hub, hub.subscribe() as subscription:
        seq = (await receive(subscription))["seq"]
        row = rows.add()
        messages = await until(subscription, lambda message: message["type"] == "model.updated")
        rows.start(row)
        messages += await until(subscription, lambda message: message["type"] == "model.download.progress")
        rows.progress(row, 400)
        messages += await until(subscription, lambda message: message["model"]["downloaded_bytes"] == 400)
        rows.set(row, ModelStatus.READY)
        messages += await until(subscription, lambda message: message["type"] == "model.download.completed")
        rows.load(row)
        messages += await until(subscription, lambda message: message["type"] == "model.loaded")
        rows.unload()
        messages += await until(subscription, lambda message: message["type"] == "model.unloaded")
        rows.delete(row)
        messages += await until(subscription, lambda message: message["type"] == "model.deleted")
    assert [message["seq"] for message in messages] == list(range(seq + 1, seq + 1 + len(messages)))
    assert {message["epoch"] for message in messages} == {hub.feed.epoch}
    assert {id for _type, id in told(messages)} == {row}


@in_a_loop
async def test_a_load_as_it_goes(database: Database, rows: Rows) -> None:
    row = rows.add(status=ModelStatus.READY)
    rows.age()
    async with running(database) as hub, hub.subscribe() as subscription:
        await receive(subscription)
        with database.session() as session:
            jobs = JobService(session)
            job = jobs.claim(jobs.enqueue(JobKind.LOAD, row).id, "w")
            assert job is not None
        messages = await until(subscription, lambda message: message["type"] == "model.updated")
        assert messages[-1]["model"]["progress"]["phase"] == "loading"
        for step in (
            JobProgress("loading", message="waiting for another load"),
            JobProgress("loading", 400, 1000, message="reading weights"),
        ):
            with database.session() as session:
                JobService(session).heartbeat(job.id, job.owner or "", step)
            messages = await until(
                subscription, lambda message, step=step: message["model"]["progress"]["message"] == step.message
            )
        assert messages[-1]["model"]["progress"]["bytes_done"] == 400
        assert messages[-1]["model"]["progress"]["bytes_total"] == 1000
        with database.session() as session:
            JobService(session).finish(job.id, job.owner or "", JobState.CANCELLED)
        messages = await until(subscription, lambda message: message["model"]["progress"] is None)
        assert {message["type"] for message in messages} == {"model.updated"}
        assert messages[-1]["model"]["loaded"] is False


@in_a_loop
async def test_all_sockets_hear_the_same(database: Database, rows: Rows) -> None:
    row = rows.add()
    rows.start(row)
    async with running(database) as hub, hub.subscribe() as first:
        await receive(first)
        rows.progress(row, 1)
        early = await until(first, lambda message: message["model"]["downloaded_bytes"] == 1)
        async with hub.subscribe() as second:
            snapshot = await receive(second)
            assert snapshot["models"][0]["downloaded_bytes"] == 1
            for number in range(2, 6):
                rows.progress(row, number)
                await asyncio.sleep(0.05)
            rows.set(row, ModelStatus.READY)
            ended = lambda message: message["type"] == "model.download.completed"  # noqa: E731
            heard = [early + await until(first, ended), await until(second, ended)]
    assert heard[1] == heard[0][-len(heard[1]) :]
    assert heard[1][0]["seq"] == snapshot["seq"] + 1
    for messages in heard:
        assert all(after["seq"] == before["seq"] + 1 for before, after in pairwise(messages))


@in_a_loop
async def test_nothing_happens_between_a_snapshot_and_the_next_event(database: Database, rows: Rows) -> None:
    """Whatever changes while sockets come and go is in the snapshot or told after it."""
    row = rows.add()
    rows.start(row)

    done = 0
    enough = asyncio.Event()

    async def changes() -> None:
        nonlocal done
        while not enough.is_set():
            done += 1
            await asyncio.to_thread(rows.progress, row, done)

    async with running(database) as hub:
        work = asyncio.create_task(changes())
        for _ in range(10):
            async with hub.subscribe() as subscription:
                seen = (await receive(subscription))["models"][0]["downloaded_bytes"]
                assert (await receive(subscription))["model"]["downloaded_bytes"] >= seen
        async with hub.subscribe() as subscription:
            await receive(subscription)
            enough.set()
            await work
            await until(subscription, lambda message: message["model"]["downloaded_bytes"] == done)


@in_a_loop
async def test_ends_are_told_however_late_or_oddly_they_are_written(database: Database, rows: Rows) -> None:
    """A worker on another machine may write with a clock that is an hour behind."""
    row = rows.add()
    rows.start(row)
    rows.age()
    async with running(database) as hub, hub.subscribe() as subscription:
        await receive(subscription)
        error = {"code": "x", "message": "y.", "hint": None}
        rows.set(row, ModelStatus.FAILED, error=error, updated_at=utc_now() - timedelta(hours=1))
        (message,) = await until(subscription, lambda message: message["type"] != "model.download.progress")
        assert message["type"] == "model.download.failed"
        assert message["model"]["error"] == error | {"during": None}


@in_a_loop
async def test_old_rows_are_not_news(database: Database, rows: Rows) -> None:
    row = rows.add(1, ModelStatus.READY)
    failed = rows.add(2, ModelStatus.FAILED)
    rows.age()
    async with running(database) as hub, hub.subscribe() as subscription:
        await receive(subscription)
        rows.set(row, ModelStatus.READY, memory_measured_bytes=5)
        rows.set(failed, ModelStatus.FAILED, disk_bytes=7)
        messages = [await receive(subscription), await receive(subscription)]
        assert sorted(told(messages)) == sorted([("model.updated", row), ("model.updated", failed)])
        rows.load(row)
        assert told([await receive(subscription)]) == [("model.loaded", row)]
        rows.set(row, ModelStatus.MISSING)
        rows.set(row, ModelStatus.READY)
        rows.unload()
        await until(subscription, lambda message: message["type"] == "model.unloaded")
        rows.set(row, ModelStatus.MISSING)
        assert told([await receive(subscription)]) == [("model.updated", row)]
        rows.set(row, ModelStatus.READY)
        assert told([await receive(subscription)]) == [("model.updated", row)]


@in_a_loop
async def test_rows_that_come_and_go_at_once(database: Database, rows: Rows) -> None:
    old = rows.add(1, ModelStatus.READY)
    rows.age()
    async with running(database) as hub, hub.subscribe() as subscription:
        await receive(subscription)
        with database.session() as session:
            ModelDeletion(session).end(session.get_one(Model, old))
            new = new_row(session, rows.cache, commit=f"{2:040x}").id
        messages = [await receive(subscription), await receive(subscription)]
        assert set(told(messages)) == {("model.deleted", old), ("model.updated", new)}
        rows.delete(new)
        assert told([await receive(subscription)]) == [("model.deleted", new)]


@in_a_loop
async def test_rows_that_came_and_went_between_two_looks(database: Database, rows: Rows) -> None:
    """A page may have read them in between, so their deletion is told: once, and to each API process."""
    hubs = [EventHub(database), EventHub(database)]
    async with hubs[0].subscribe() as first, hubs[1].subscribe() as second:
        for subscription in (first, second):
            await receive(subscription)
        model, run = rows.add(), rows.add_run()
        rows.delete(model)
        rows.delete_run(run)
        for hub in hubs:
            for _ in range(2):
                await hub._tick()
        for subscription in (first, second):
            messages = [await receive(subscription), await receive(subscription)]
            assert set(told(messages)) == {("model.deleted", model), ("training.deleted", run)}
        assert [hub.feed.seq for hub in hubs] == [2, 2]


@in_a_loop
async def test_old_deletions_are_forgotten_and_new_ones_told(database: Database, rows: Rows) -> None:
    old, kept, new = rows.add(1), rows.add(2), rows.add(3)
    hub = EventHub(database)
    async with hub.subscribe() as subscription:
        await receive(subscription)
        rows.delete(old)
        with database.session() as session:
            session.execute(update(Deletion).values(at=utc_now() - deletion_log.KEPT - timedelta(seconds=1)))
        rows.delete(kept)
        await hub._tick()
        assert [(await receive(subscription))["id"] for _ in range(2)] == [old, kept]
        maintenance.reconcile_jobs(database)
        with database.reading() as session:
            assert session.scalars(select(Deletion.id)).all() == [kept]
        rows.delete(new)
        await hub._tick()
        assert told([await receive(subscription)]) == [("model.deleted", new)]
        assert hub.feed.seq == subscription.seq


@contextmanager
def reading_deletions() -> Iterator[list[int]]:
    """How many deletions each reading of them returns."""
    read: list[int] = []
    real = DeletionLog.after

    def counted(log: DeletionLog, at: datetime | None) -> Sequence[Deletion]:
        notes = real(log, at)
        read.append(len(notes))
        return notes

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(DeletionLog, "after", counted)
        yield read


@in_a_loop
async def test_only_new_deletions_are_read(database: Database, rows: Rows) -> None:
    """Also those that a longer transaction noted before others that were told already."""
    hub = EventHub(database)
    async with hub.subscribe() as subscription:
        await receive(subscription)
        for number in range(20):
            rows.delete(rows.add(number))
        with reading_deletions() as read:
            for _ in range(3):
                await hub._tick()
        assert read == [20, 0, 0]
        assert len({(await receive(subscription))["id"] for _ in range(20)}) == 20

        with database.session() as session:
            session.add(Deletion(id="e" * 32, table=Model.__tablename__, at=utc_now() - timedelta(seconds=30)))
        await hub._tick()
        assert told([await receive(subscription)]) == [("model.deleted", "e" * 32)]
        with reading_deletions() as read:
            await hub._tick()
        assert read == [0]
        assert hub.feed.seq == subscription.seq


@in_a_loop
async def test_each_server_life_is_another_epoch(database: Database, rows: Rows) -> None:
    epochs = set()
    for _ in range(2):
        async with running(database) as hub, hub.subscribe() as subscription:
            epochs.add((await receive(subscription))["epoch"])
    assert len(epochs) == 2


@in_a_loop
async def test_whoever_returns_later_hears_of_what_is_now(database: Database, rows: Rows) -> None:
    row = rows.add()
    async with running(database) as hub:
        async with hub.subscribe() as subscription:
            await receive(subscription)
        rows.delete(row)
        other = rows.add(3)
        async with hub.subscribe() as subscription:
            snapshot = await receive(subscription)
            assert [model["id"] for model in snapshot["models"]] == [other]
            rows.start(other)
            messages = await until(subscription, lambda message: message["type"] == "model.download.progress")
    assert row not in json.dumps(messages)
    assert messages[0]["seq"] == snapshot["seq"] + 1


@in_a_loop
async def test_an_outage_of_the_database_is_waited_out(database: Database, rows: Rows) -> None:
    row = rows.add()
    async with running(database) as hub, hub.subscribe() as subscription:
        await receive(subscription)
        working, hub.database = hub.database, Database("sqlite:////nowhere/at/all.db")
        await asyncio.sleep(0.1)
        hub.database = working
        rows.start(row)
        await until(subscription, lambda message: message["type"] == "model.download.progress")


@in_a_loop
async def test_a_batch_holds_the_newest_state_of_each_row(database: Database, rows: Rows) -> None:
    first, second, gone = rows.add(1), rows.add(2), rows.add(3)
    async with running(database) as hub, hub.subscribe(batch=True) as batches, hub.subscribe() as single:
        snapshot = await receive(batches)
        await receive(single)
        rows.start(first)
        for number in range(1, 4):
            rows.progress(first, number)
            await until(single, lambda message, number=number: message["model"]["downloaded_bytes"] == number)  # type: ignore[misc]
        rows.set(second, ModelStatus.FAILED)
        rows.delete(gone)
        messages = await until(single, lambda message: message["type"] == "model.deleted")
        batch = await receive(batches)
        while batch["seq"] < messages[-1]["seq"]:
            before, batch = batch, await receive(batches)
            assert batch["from_seq"] == before["seq"] + 1
            batch["from_seq"] = before["from_seq"]
            batch["models"] = [row for row in before["models"] if row["id"] == first] + batch["models"]
    assert (batch["type"], batch["epoch"], batch["from_seq"]) == ("batch", hub.feed.epoch, snapshot["seq"] + 1)
    states = {row["id"]: row for row in batch["models"]}
    assert states[first]["downloaded_bytes"] == 3
    assert states[second]["status"] == "failed"
    assert batch["deleted"] == [gone]
    assert batch["trainings"] == []
    BatchEvent.model_validate(batch)


@in_a_loop
async def test_a_batch_is_made_and_encoded_once_for_all(database: Database, rows: Rows) -> None:
    row = rows.add()
    rows.start(row)
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(running(database))
        sockets = [await stack.enter_async_context(hub.subscribe(batch=True)) for _ in range(5)]
        snapshots = [await socket.next() for socket in sockets]
        rows.progress(row, 7)
        batches = [await asyncio.wait_for(socket.next(), 10) for socket in sockets]
    assert len({id(text.encode()) for text in batches}) == len({id(text) for text in snapshots}) == 1


@in_a_loop
async def test_a_client_gets_no_more_than_five_batches_a_second(database: Database, rows: Rows) -> None:
    row = rows.add()
    rows.start(row)
    async with running(database) as hub, hub.subscribe(batch=True) as batches:  # which looks fifty times a second
        await receive(batches)
        times = []
        for number in range(1, 6):
            rows.progress(row, number)
            await receive(batches)
            times.append(time.monotonic())
    assert all(after - before > 0.9 * event_hub.MIN_BATCH_SECONDS for before, after in pairwise(times))


@pytest.mark.parametrize("batch", [False, True])
def test_a_socket_that_does_not_keep_up_gets_a_new_snapshot(
    database: Database, rows: Rows, quick: None, monkeypatch: pytest.MonkeyPatch, *, batch: bool
) -> None:
    monkeypatch.setattr(event_feed, "KEPT_CHANGES", 3)
    row = rows.add()
    rows.start(row)

    async def scene() -> None:
        async with running(database) as hub, hub.subscribe(batch=batch) as slow, hub.subscribe() as quick:
            await receive(slow)
            await receive(quick)
            for number in range(1, 8):
                rows.progress(row, number)
                await until(quick, lambda message, number=number: message["model"]["downloaded_bytes"] == number)  # type: ignore[misc]
            again = await receive(slow)
            assert (again["type"], again["models"][0]["downloaded_bytes"]) == ("snapshot", 7)
            rows.progress(row, 8)
            after = await receive(slow)
            assert after.get("from_seq", after["seq"]) == again["seq"] + 1

    asyncio.run(scene())


class Page:
    """What a client makes of the messages: all rows, read again with every snapshot."""

    def __init__(self, database: Database, subscription: Subscription) -> None:
        self.database, self.subscription = database, subscription
        self.rows: dict[str, Message] = {}
        self.seq: int | None = None
        self.snapshots = 0

    async def take(self) -> None:
        message = json.loads(await asyncio.wait_for(self.subscription.next(), 10))
        if message["type"] == "snapshot":
            self.rows = stored(self.database)
            self.snapshots += 1
        else:
            assert message.get("from_seq", message["seq"]) == (self.seq or 0) + 1, "a gap"
            for model in message.get("models", [message["model"]] if "model" in message else []):
                self.rows[model["id"]] = model
            for gone in message.get("deleted", [message["id"]] if "id" in message else []):
                self.rows.pop(gone, None)
        self.seq = message["seq"]

    async def catch_up(self, hub: EventHub) -> None:
        while self.seq != hub.feed.seq:
            await self.take()


def stored(database: Database) -> dict[str, Message]:
    with database.reading() as session:
        facts = ModelResponses(session).of_all(session.scalars(select(Model)).all())
    return {each.model.id: each.response().model_dump(mode="json") for each in facts}


ROWS, PAGES = st.integers(0, 5), st.integers(0, 3)
STEPS = st.lists(
    st.one_of(
        *(st.tuples(st.just(step), ROWS) for step in ("add", "add", "progress", "end", "delete")),
        *(st.tuples(st.just(step), st.just(0)) for step in ("look", "look", "look")),
        *(st.tuples(st.just(step), PAGES) for step in ("read", "reconnect")),
    ),
    min_size=20,
    max_size=60,
)


@given(steps=STEPS)
@example(steps=[("add", 0), ("reconnect", 0), ("read", 0), ("delete", 0)])  # it comes and goes between two looks
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_a_client_at_any_pace_ends_with_what_is_stored(
    tmp_path_factory: pytest.TempPathFactory,
    _sqlite_template: Path,  # noqa: PT019
    steps: list[tuple[str, int]],
) -> None:
    folder = tmp_path_factory.mktemp("pace")
    (folder / "modelyard.db").write_bytes(_sqlite_template.read_bytes())
    database = Database(f"sqlite:///{folder / 'modelyard.db'}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_feed, "KEPT_CHANGES", 6)
        patch.setattr(event_hub, "MIN_BATCH_SECONDS", 0)
        patch.setattr(model_service, "hub_cache", lambda: HubCache(folder / "hub"))
        patch.setattr(model_response, "hub_cache", lambda: HubCache(folder / "hub"))
        asyncio.run(_at_any_pace(database, Rows(database, HubCache(folder / "hub")), steps))
    database.dispose()


async def _at_any_pace(database: Database, rows: Rows, steps: list[tuple[str, int]]) -> None:
    hub = EventHub(database)
    ids: dict[int, str] = {}
    async with AsyncExitStack() as stack:

        async def connect(number: int) -> Page:
            return Page(database, await stack.enter_async_context(hub.subscribe(batch=number % 2 == 0)))

        pages = [await connect(number) for number in range(4)]
        for page in pages:
            await page.take()
        for step, number in steps:
            if step == "add" and number not in ids:
                ids[number] = rows.add(number)
                rows.start(ids[number])
            elif step == "progress" and number in ids:
                with database.session() as session:
                    session.execute(update(Job).values(bytes_done=Job.bytes_done + 1))
            elif step == "end" and number in ids:
                rows.set(ids[number], ModelStatus.READY)
            elif step == "delete" and number in ids:
                rows.delete(ids.pop(number))
            elif step == "look":
                await hub._tick()
            elif step == "read" and pages[number].seq != hub.feed.seq:
                await pages[number].take()
            elif step == "reconnect":
                pages[number] = await connect(number)
        await hub._tick()
        for page in pages:
            await page.catch_up(hub)
            assert page.rows == stored(database)


@in_a_loop
async def test_a_socket_that_comes_during_an_outage_gets_its_snapshot_after_it(database: Database, rows: Rows) -> None:
    row = rows.add()
    away = Database("sqlite:////nowhere/at/all.db")

    def refuse(*_: object) -> None:
        raise DatabaseUnavailable("The database is away.")

    event.listen(away.engine, "do_connect", refuse)
    async with running(database) as hub, hub.subscribe(batch=True) as subscription:
        hub.database = away
        coming = asyncio.create_task(subscription.next())
        await asyncio.sleep(0.2)
        assert not coming.done()
        hub.database = database
        snapshot = json.loads(await asyncio.wait_for(coming, 10))
        assert [model["id"] for model in snapshot["models"]] == [row]


def test_at_most_five_a_second_for_a_model_however_many_sockets_come(database: Database, rows: Rows) -> None:
    row = rows.add()
    rows.start(row)

    async def scene() -> int:
        count = 0
        async with running(database) as hub, hub.subscribe() as subscription:
            await receive(subscription)
            begun = time.monotonic()
            number = 0
            while time.monotonic() - begun < 2:
                number += 1
                rows.progress(row, number)
                async with hub.subscribe():
                    await asyncio.sleep(0.01)
            while subscription.seq != hub.feed.seq:
                await receive(subscription)
                count += 1
        assert number > 12
        return count

    assert 2 <= asyncio.run(scene()) <= 10
