"""The progress of work: its state is fields, and its message is only shown."""

from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest

from modelyard.models import Job, JobControl, JobKind, JobState, Model, ModelStatus
from modelyard.schemas.model import Progress
from modelyard.services import model_response

WORDS = "Reworded: nobody compares this"
ASKED_AT = datetime(2026, 11, 24, 10, tzinfo=UTC)
STEP = {"name": "reading", "done": 3, "total": 7}


def job(kind: JobKind, state: JobState, control: JobControl, message: str | None) -> Job:
    said = {"phase": "quantizing", "message": message, "step": STEP}
    return Job(kind=kind, state=state, control=control, bytes_done=1, files_done=0, created_at=ASKED_AT, **said)


def of_model(work: Job) -> Progress | None:
    return model_response._progress(Model(status=ModelStatus.QUANTIZING), work)


def of_load(work: Job) -> Progress | None:
    return model_response._load_progress(work)


def fields(found: Progress | None) -> dict[str, Any] | None:
    return None if found is None else found.model_dump(exclude={"message"})


@pytest.mark.parametrize(("kind", "read"), [(JobKind.QUANTIZE, of_model), (JobKind.LOAD, of_load)])
def test_only_the_message_changes_when_messages_are_reworded(
    monkeypatch: pytest.MonkeyPatch, kind: JobKind, read: Any
) -> None:
    cases = list(product(JobState, JobControl))
    messages = ("waiting for a worker", "stopping", "layer 3 of 9", None)
    before = [fields(read(job(kind, *case, message))) for case in cases for message in messages]
    monkeypatch.setattr(model_response, "WAITING_MESSAGE", WORDS)
    after = [fields(read(job(kind, *case, WORDS))) for case in cases for _message in messages]
    assert before == after


@pytest.mark.parametrize(
    ("state", "control", "waiting", "stopping", "step"),
    [
        (JobState.QUEUED, JobControl.RUN, True, False, None),
        (JobState.RUNNING, JobControl.RUN, False, False, STEP),
        (JobState.RUNNING, JobControl.CANCEL, False, True, STEP),
    ],
)
def test_the_state_of_a_load_is_in_fields(
    state: JobState, control: JobControl, waiting: bool, stopping: bool, step: dict[str, Any] | None
) -> None:
    found = of_load(job(JobKind.LOAD, state, control, "anything"))
    assert found is not None
    assert (found.waiting, found.stopping, found.started_at) == (waiting, stopping, ASKED_AT)
    assert (found.step and found.step.model_dump()) == step
