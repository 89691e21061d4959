"""What a user is told of a download whose Hub fails before the first byte, as the row tells it at that moment."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hub.hub_faults import HubFaults, serve
from modelyard.commands import _format
from modelyard.core.database import Database
from modelyard.hub.server.app import create_hub_app
from modelyard.models import JobControl
from modelyard.schemas.download import ModelDownloadRequest
from modelyard.schemas.system import SettingsUpdate
from modelyard.services.huggingface_model_service import HuggingFaceModelService
from modelyard.services.jobs.control import JobPaused, JobProgress
from modelyard.services.jobs.job_service import JobService
from modelyard.services.model_response import ModelResponses
from modelyard.services.model_service import ModelService
from modelyard.services.settings_service import SettingsService
from support.folder_hub import FolderSource, make_llama

MODEL_ID = "lab/early"


@pytest.fixture
def hub(database: Database, tmp_path: Path) -> Iterator[HubFaults]:
    folder = make_llama(tmp_path / "model", weight_bytes=100_000)
    faults = HubFaults(create_hub_app([FolderSource(lab__early=folder)], api_key=None))
    with serve(faults) as endpoint:
        with database.session() as session:
            SettingsService(session).update(SettingsUpdate(endpoint=endpoint))
        yield faults


def phase(database: Database, row_id: str) -> tuple[str, str]:
    with database.reading() as session:
        row: Any = ModelResponses(session).of_id(row_id).response().model_dump()
    return row["status"], _format.phase(row)


@dataclass
class Worker:
    """Reports as a heartbeat does, and looks at the row then; gives up once it has to wait for the Hub."""

    database: Database
    row_id: str
    job_id: str
    owner: str
    seen: list[tuple[str, str]] = field(default_factory=list)

    def report(self, progress: JobProgress) -> None:
        with self.database.session() as session:
            JobService(session).heartbeat(self.job_id, self.owner, progress)
        self.seen.append(phase(self.database, self.row_id))

    def control(self) -> JobControl:
        return JobControl.PAUSE if len(self.seen) > 1 else JobControl.RUN


def test_a_hub_that_fails_early_is_told_as_it_is_and_not_as_waiting_for_a_worker(
    database: Database, hub: HubFaults
) -> None:
    service = HuggingFaceModelService(database)
    row_id = service.start_download(ModelDownloadRequest(model_id=MODEL_ID))
    assert phase(database, row_id) == ("pending", _format.WAITING)

    with database.session() as session:
        row = ModelService(session).get_by_id(row_id)
        job = JobService(session).claim(row.job_id or "", "host:downloads")
        assert job is not None
        worker = Worker(database, row_id, job.id, job.owner or "")
    hub.fail("/api/models/", 503, times=-1)
    with pytest.raises(JobPaused):
        service.download_model(row, worker)
    assert worker.seen[0] == ("pending", "looking up files")
    status, said = worker.seen[1]
    assert status == "pending"
    assert said.startswith("retrying in ")
    assert "answers, but with an error (HTTP 503)" in said

    with database.session() as session:
        JobService(session).requeue(worker.job_id, worker.owner)
    assert phase(database, row_id) == ("pending", _format.WAITING)
