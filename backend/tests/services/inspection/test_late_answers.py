"""What the inspector had no time for is not remembered as an answer, and is answered when it has."""

import os
import signal
import time
from collections.abc import Iterator
from itertools import count

import pytest
from sqlalchemy import select

from modelyard.core.database import Database
from modelyard.models import Inspection
from modelyard.schemas.memory import MemoryEstimate
from modelyard.schemas.system import Device
from modelyard.services.inspection import inspection_service, runtime_memory
from modelyard.services.inspection.checkpoint import Checkpoint
from modelyard.services.inspection.inspection_service import InspectionService
from modelyard.services.inspection.memory_service import MemoryService
from support.warm import forking

DEEP = {
    "model_type": "qwen3_moe",
    "architectures": ["Qwen3MoeForCausalLM"],
    "num_hidden_layers": 94,
    "num_experts": 128,
    "torch_dtype": "bfloat16",
}
NEVER_SEEN = count(1000)  # vocabularies: the inspector keeps the last models that it built
SHORT = 0.2
PATIENCE = 120.0


@pytest.fixture(scope="module", autouse=True)
def _warm_inspector() -> Iterator[None]:
    with forking():
        inspection_service.warm_up_inspector()
        yield
        inspection_service.close_inspector()


@pytest.fixture(autouse=True)
def _nothing_asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(inspection_service, "_unanswered", inspection_service._Unanswered())
    yield
    runtime_memory._recent_timeouts.clear()


def test_parts_that_were_late_are_answered_by_themselves(database: Database) -> None:
    config = {**DEEP, "vocab_size": next(NEVER_SEEN)}
    checkpoint = Checkpoint("lab/deep", "ab" * 20, config, (), 1, ("config.json", "model.safetensors"))
    device = Device(id="cpu", name="here", total_bytes=10**12, free_bytes=10**12, used_by_us_bytes=0)
    inspections = InspectionService(database)

    def estimate() -> MemoryEstimate:
        return MemoryService(database).estimate(
            checkpoint, [device], context=4096, batch=1, dtype="auto", seconds=SHORT
        )

    def remembered() -> set[str]:
        with database.reading() as session:
            kinds = {question.split()[0] for question in session.scalars(select(Inspection.question))}
            return kinds - {"dtype_speed"}  # of this host, and quick to answer

    with inspection_service.get_inspector()._lock:  # as while it answers others, however fast the machine is
        late = estimate()
    assert (late.method, late.may_improve, remembered()) == ("approximate", True, set())

    end = time.monotonic() + PATIENCE
    while remembered() != {"memory", "described", "kv_cache", "activations"}:
        assert time.monotonic() < end, remembered()
        if not inspections.answer_late():
            time.sleep(0.2)  # a child that was too busy to give up in time is replaced, which takes seconds
    answered = estimate()
    assert (answered.method, answered.method_reason, answered.may_improve) == ("exact", None, False)
    assert all(option.total_bytes and not option.total_is_lower_bound for option in answered.options)


def test_a_question_that_nothing_came_of_is_given_up(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection_service, "LATE_ANSWER_SECONDS", SHORT)
    inspections = InspectionService(database)
    config = {**DEEP, "vocab_size": next(NEVER_SEEN)}
    inspection_service.warm_up_inspector()
    inspector = inspection_service.get_inspector()
    with inspector._lock, pytest.raises(inspection_service.InspectionFailed, match="busy"):
        inspections.ask("memory", "lab/deep", "ab" * 20, config, seconds=SHORT)

    assert inspector._child is not None
    assert inspector._child._process is not None
    os.kill(inspector._child._process.pid, signal.SIGSTOP)  # an answer that never comes; such a child is replaced
    assert inspections.answer_late()
    assert not inspections.answer_late()
    assert not inspections.is_known("memory", "lab/deep", "ab" * 20)
