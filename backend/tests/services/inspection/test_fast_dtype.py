"""Which hosts compute faster in float32 than in bfloat16, and how a load is carried out on them."""

import os
import socket
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from modelyard.core.database import Database, utc_now
from modelyard.models import Worker
from modelyard.schemas.memory import FastDtype
from modelyard.schemas.system import Device
from modelyard.services.inspection import fast_dtype, inspection_service
from modelyard.services.inspection.fast_dtype import FAST, SLOW, measure_here, options_here, remember_speed
from modelyard.services.inspection.inspection_service import InspectionService
from modelyard.services.jobs.payloads import FasterLoad, LoadOptions, LoadPayload
from support.warm import forking

CPU = Device(id="cpu", name="memory", total_bytes=1, free_bytes=1, used_by_us_bytes=0)
GPU = Device(id="cuda:0", name="gpu", total_bytes=1, free_bytes=1, used_by_us_bytes=0)
FASTER = FasterLoad(dtype=FAST, option_bytes={"none": 2})
REQUEST = LoadPayload(option_bytes={"none": 1}, faster=FASTER)


def speed(bfloat16_seconds: float) -> dict[str, float]:
    return {"float32_seconds": 1.0, "bfloat16_seconds": bfloat16_seconds}


class Measured:
    """Stands in for this host's measurement, by the inspector or by a worker."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bfloat16_seconds = 12.0
        self.times = 0
        monkeypatch.setattr(inspection_service, "get_inspector", lambda: self)
        monkeypatch.setattr(fast_dtype, "_measure", self.inspect)

    def inspect(self, *_question: Any, **_options: Any) -> dict[str, float]:
        self.times += 1
        return speed(self.bfloat16_seconds)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Measured:
    return Measured(monkeypatch)


def work(database: Database, host: str, queues: str = "inference", *, seen: timedelta = timedelta()) -> None:
    with database.session() as session:
        session.add(
            Worker(name=f"{host}:{queues}", host=host, pid=os.getpid(), queues=queues, seen_at=utc_now() + seen)
        )


def told(database: Database, **options: Any) -> FastDtype | None:
    return fast_dtype.fast_dtype(database, SLOW, [CPU], **options)


def test_with_no_worker_this_host_is_measured_once(database: Database, measured: Measured) -> None:
    assert told(database) == told(database) == FastDtype(dtype=FAST, prefill_speedup=12.0)
    assert measured.times == 1


def test_hosts_that_load_count_and_not_the_one_that_answers(database: Database, measured: Measured) -> None:
    work(database, "elsewhere")
    work(database, socket.gethostname(), "downloads")
    work(database, "gone", seen=timedelta(hours=-1))
    assert told(database) is None, "nobody measured it"
    remember_speed(database, speed(4.0), host="elsewhere")
    assert told(database) == FastDtype(dtype=FAST, prefill_speedup=4.0)
    work(database, "other")
    assert told(database) is None
    remember_speed(database, speed(1.0), host="other")
    assert told(database) is None, "a load may come to the host that gains nothing"
    assert measured.times == 0


def test_a_host_counts_for_the_queues_it_serves(database: Database, measured: Measured) -> None:
    work(database, "elsewhere")
    work(database, socket.gethostname(), "compute")
    assert told(database) is None
    assert told(database, queue="compute") == FastDtype(dtype=FAST, prefill_speedup=12.0)
    assert measured.times == 1


def test_a_host_that_is_slow_takes_the_faster_options(database: Database, measured: Measured) -> None:
    work(database, "elsewhere")
    remember_speed(database, speed(1.0), host="elsewhere")
    expected = LoadOptions(dtype=FAST, option_bytes={"none": 2})
    assert options_here(database, SLOW, REQUEST) == options_here(database, SLOW, REQUEST) == expected
    assert measured.times == 1
    assert told(database) is None


def test_a_processor_that_was_replaced_is_measured_again(
    database: Database, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert options_here(database, SLOW, REQUEST).dtype == FAST
    monkeypatch.setattr(fast_dtype, "processor_identity", lambda: "another")
    measured.bfloat16_seconds = 1.0
    assert options_here(database, SLOW, REQUEST).dtype == "auto"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_host_is_measured_before_its_first_load(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a real inspector, once, and not where models are computed on an accelerator."""
    question = fast_dtype._question()
    recall = partial(InspectionService(database).recall, fast_dtype._HOST, fast_dtype._key(socket.gethostname()))
    monkeypatch.setattr(fast_dtype.system_service, "devices", lambda _pids: [GPU, CPU])
    measure_here(database)
    assert recall(question) is None
    monkeypatch.setattr(fast_dtype.system_service, "devices", lambda _pids: [CPU])
    with forking():
        measure_here(database)
    found = recall(question)
    assert found is not None
    assert min(found["float32_seconds"], found["bfloat16_seconds"]) > 0
    monkeypatch.setattr(fast_dtype, "_ask_own_inspector", None)  # nobody asks again
    measure_here(database)
    assert recall(question) == found


@pytest.mark.parametrize("stored", [SLOW, FAST, None])
@pytest.mark.parametrize("devices", [[CPU], [GPU, CPU]])
@pytest.mark.parametrize("device", ["auto", "cpu", "cuda:0"])
@pytest.mark.parametrize("dtype", ["auto", "bfloat16"])
@pytest.mark.parametrize("prefers", [True, False])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_only_a_load_as_stored_on_a_processor_is_changed(
    database: Database,
    measured: Measured,
    monkeypatch: pytest.MonkeyPatch,
    stored: str | None,
    devices: list[Device],
    device: str,
    dtype: str,
    prefers: bool,
) -> None:
    monkeypatch.setattr(fast_dtype.system_service, "devices", lambda _pids: devices)
    asked = {"device": device, "dtype": dtype, "faster": FASTER if prefers else None}
    found = options_here(database, stored, REQUEST.model_copy(update=asked))

    on_processor = device == "cpu" or (device == "auto" and devices == [CPU])
    measures = stored == SLOW and dtype == "auto" and on_processor
    assert measured.times == measures, "measured also for others to be told"
    assert found.dtype == (FAST if measures and prefers else dtype)
    assert type(found) is LoadOptions
