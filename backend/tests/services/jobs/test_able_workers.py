"""Without torch here, work with a model is queued only for a live worker that has it."""

import pytest

from modelyard.core import extras
from modelyard.core.database import Database
from modelyard.core.errors import ExtraMissing
from modelyard.core.extras import Extra
from modelyard.models import JobKind, Worker
from modelyard.models.worker import ALIVE_SECONDS
from modelyard.services.jobs import able_workers
from modelyard.services.jobs.job_service import JobService
from services.conftest import Clock

NEED_TORCH = (
    JobKind.QUANTIZE,
    JobKind.MERGE,
    JobKind.TRAIN,
    JobKind.LOAD,
    JobKind.GENERATE,
    JobKind.DRIFT,
    JobKind.EMBED,
)


@pytest.fixture(autouse=True)
def _no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(extras._MODULES, Extra.TORCH, ("no_such_module",))


def enqueue(database: Database, kind: JobKind) -> None:
    with database.session() as session:
        JobService(session).enqueue(kind, "row")


@pytest.mark.parametrize("kind", [JobKind.DOWNLOAD, JobKind.VERIFY, JobKind.IMPORT])
def test_files_of_models_need_no_torch(database: Database, kind: JobKind) -> None:
    enqueue(database, kind)


@pytest.mark.parametrize("kind", NEED_TORCH)
def test_what_nobody_could_do_is_not_queued(database: Database, kind: JobKind) -> None:
    with pytest.raises(ExtraMissing, match=r"modelyard\[torch\] is not installed"):
        enqueue(database, kind)


@pytest.mark.parametrize("kind", NEED_TORCH)
def test_a_live_worker_of_another_installation_does_it(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch, kind: JobKind
) -> None:
    monkeypatch.setattr(able_workers, "database_now", lambda _session: clock())
    with database.session() as session:
        session.add(Worker(name="gpu-box", host="gpu-box", pid=1, queues="compute,inference", seen_at=clock.now))
    enqueue(database, kind)

    clock.advance(ALIVE_SECONDS + 1)
    with pytest.raises(ExtraMissing):
        enqueue(database, kind)
