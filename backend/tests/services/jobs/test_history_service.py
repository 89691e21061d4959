"""The history of a model: what jobs leave behind, what else is noted, and how much of it is kept."""

import pytest

from modelyard.core.errors import ModelNotFound
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.models import EventKind, EventName, JobControl, JobKind, JobState, ModelStatus
from modelyard.services.jobs.control import JobProgress
from modelyard.services.jobs.history_service import KEPT_PER_MODEL, HistoryService
from modelyard.services.jobs.job_service import JobService
from modelyard.services.model_service import ModelService
from services.cache import COMMIT, MODEL_ID, differing, new_row, ready_row
from services.conftest import Clock

ERROR = {"code": "hub_unreachable", "message": "The Hub does not answer.", "hint": "Retry."}


def told(models: ModelService, row_id: str) -> list[tuple[str, str]]:
    """Kind and event, the oldest first."""
    page = HistoryService(models.session).page(row_id, limit=200, offset=0)
    assert page.total == len(page.items)
    return [(event.kind, event.event) for event in reversed(page.items)]


def claim(jobs: JobService, job_id: str) -> str:
    job = jobs.claim(job_id, "w")
    assert job is not None
    assert job.owner is not None
    return job.owner


def test_a_download_with_a_stop_a_failure_and_a_dead_worker(
    models: ModelService, cache: HubCache, clock: Clock
) -> None:
    row, jobs = new_row(models.session, cache), models.jobs
    job = models.start_download(row)

    owner = claim(jobs, job.id)
    clock.advance(10)
    jobs.heartbeat(job.id, owner, JobProgress(phase="downloading", bytes_done=400, bytes_total=1000, bytes_moved=300))
    jobs.heartbeat(job.id, owner, JobProgress(phase="verifying", bytes_done=400))
    jobs.finish(job.id, owner, JobState.PAUSED)
    clock.advance(3600)
    jobs.resume(job.id)

    owner = claim(jobs, job.id)
    clock.advance(5)
    jobs.finish(job.id, owner, JobState.FAILED, error=ERROR)
    jobs.resume(job.id)

    claim(jobs, job.id)
    clock.advance(1000)  # its lease runs out
    owner = claim(jobs, job.id)
    clock.advance(2)
    jobs.heartbeat(job.id, owner, JobProgress(phase="downloading", bytes_done=1000, bytes_total=1000, bytes_moved=16))
    jobs.finish(job.id, owner, JobState.DONE)

    page = HistoryService(models.session).page(row.id, limit=50, offset=0)
    assert [(event.event, event.seconds, event.bytes, event.moved_bytes) for event in reversed(page.items)] == [
        ("started", None, None, None),
        ("paused", 10.0, 400, 300),  # the rest was there before
        ("resumed", None, None, None),
        ("failed", 5.0, 400, None),
        ("resumed", None, None, None),
        ("taken_over", None, None, None),
        ("done", 2.0, 1000, 16),  # what the dead worker moved, and how long it was silent, nobody knows
    ]
    failed = next(event for event in page.items if event.event == "failed")
    assert failed.error is not None
    assert failed.error.message == ERROR["message"]
    assert page.items[0].at == clock.now


def test_what_nobody_works_on_is_stopped_without_a_duration(models: ModelService, cache: HubCache) -> None:
    row = new_row(models.session, cache)
    models.start_download(row)
    models.pause(row.id)
    models.pause(row.id)
    models.cancel(row.id)
    page = HistoryService(models.session).page(row.id, limit=50, offset=0)
    assert [(event.event, event.seconds) for event in reversed(page.items)] == [("paused", None), ("cancelled", None)]


def test_giving_up_a_failed_download_is_told(models: ModelService, cache: HubCache) -> None:
    row = new_row(models.session, cache)
    job = models.start_download(row)
    models.jobs.finish(job.id, claim(models.jobs, job.id), JobState.FAILED, error=ERROR)
    models.mark_ended(row, ModelStatus.FAILED, ERROR)
    models.cancel(row.id)
    assert told(models, row.id) == [("download", "started"), ("download", "failed"), ("download", "cancelled")]


@pytest.mark.parametrize("kind", [JobKind.LOAD, JobKind.UNLOAD, JobKind.GENERATE])
def test_of_requests_only_failures_are_told(models: ModelService, cache: HubCache, kind: JobKind) -> None:
    """That a model is in memory, or no longer, is noted by the worker that holds it."""
    row, jobs = new_row(models.session, cache), models.jobs
    for state, error in ((JobState.DONE, None), (JobState.FAILED, ERROR)):
        job = jobs.enqueue(kind, row.id)
        jobs.finish(job.id, claim(jobs, job.id), state, error=error)
    jobs.request(jobs.enqueue(kind, row.id).id, JobControl.CANCEL)
    assert told(models, row.id) == [(kind.value, "failed")]


def test_a_comparison_is_no_part_of_the_history(models: ModelService, cache: HubCache) -> None:
    row, jobs = new_row(models.session, cache), models.jobs
    job = jobs.enqueue(JobKind.DRIFT, row.id)
    jobs.finish(job.id, claim(jobs, job.id), JobState.FAILED, error=ERROR)
    assert told(models, row.id) == []


def test_files_that_vanish_and_come_back(models: ModelService, cache: HubCache) -> None:
    row = ready_row(models.session, cache)
    snapshot = cache.snapshot_path(MODEL_ID, COMMIT)
    snapshot.rename(snapshot.with_name("elsewhere"))
    assert models.files.mark_missing(differing(models)) == 1
    snapshot.with_name("elsewhere").rename(snapshot)
    assert models.files.mark_missing(differing(models)) == 1
    assert told(models, row.id) == [("files", "missing"), ("files", "found")]


def test_only_the_newest_are_kept_and_pages_go_back(models: ModelService, cache: HubCache) -> None:
    row, other = new_row(models.session, cache), new_row(models.session, cache, quantization="4bit")
    history = HistoryService(models.session)
    history.note(other.id, EventKind.LOAD, EventName.DONE)
    for number in range(KEPT_PER_MODEL + 3):
        history.note(row.id, EventKind.LOAD, EventName.DONE, size_bytes=number)
    newest = history.page(row.id, limit=2, offset=0)
    assert newest.total == KEPT_PER_MODEL
    assert [event.bytes for event in newest.items] == [KEPT_PER_MODEL + 2, KEPT_PER_MODEL + 1]
    assert [event.bytes for event in history.page(row.id, limit=2, offset=KEPT_PER_MODEL - 1).items] == [3]
    assert history.page(other.id, limit=2, offset=0).total == 1


def test_it_goes_with_its_model(models: ModelService, cache: HubCache) -> None:
    row = new_row(models.session, cache)
    models.jobs.history.note(row.id, EventKind.LOAD, EventName.DONE)
    models.deletion.end(row)
    models.session.expire_all()
    with pytest.raises(ModelNotFound):
        models.jobs.history.page(row.id, limit=1, offset=0)
    again = new_row(models.session, cache)
    again.id = row.id
    models.session.flush()
    assert told(models, row.id) == []
