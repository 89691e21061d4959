"""The inspector answers, gives up in time, and survives its child."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from modelyard.core.errors import ModelyardError, UnsupportedArchitecture
from modelyard.core.start_process import WARM_FD, can_fork
from modelyard.ml.inspect.inspector import Inspector, InspectorBusy, InspectorCrashed, InspectorTimeout, _Child
from support.secrets import SECRETS, environment_of
from support.warm import forking, warm_parent_of, without_channel

LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "vocab_size": 100,
    "torch_dtype": "bfloat16",
}
ENDLESS = {**LLAMA, "num_hidden_layers": 10_000}
TIMEOUT = 150.0  # a child with the lowest priority on a busy machine may take a minute to import torch


@pytest.fixture(scope="module", params=[pytest.param("afresh", marks=pytest.mark.thorough), "forked"])
def inspector(request: pytest.FixtureRequest) -> Iterator[Inspector]:
    with forking() if request.param == "forked" else without_channel():
        inspector = Inspector()
        yield inspector
        inspector.close()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set as soon as the child was sent a question."""
    event = threading.Event()
    send = _Child.send

    def tell(child: _Child, request: Mapping[str, Any]) -> None:
        send(child, request)
        event.set()

    monkeypatch.setattr(_Child, "send", tell)
    return event


def child_of(inspector: Inspector) -> psutil.Process:
    assert inspector._child is not None
    deadline = time.monotonic() + TIMEOUT
    while (process := inspector._child._process) is None:  # a thread starts it
        assert time.monotonic() < deadline, "the child does not start"
        time.sleep(0.01)
    return psutil.Process(process.pid)


def test_every_kind_of_question_is_answered(inspector: Inspector) -> None:
    memory = inspector.inspect("memory", LLAMA, timeout=TIMEOUT)
    cache = inspector.inspect("kv_cache", LLAMA, timeout=TIMEOUT)
    peak = inspector.inspect("activations", LLAMA, timeout=TIMEOUT, batch=1, sequence=16)
    found = inspector.inspect("architecture", LLAMA, timeout=TIMEOUT)
    support = inspector.inspect("support", LLAMA, timeout=TIMEOUT, files=["model.safetensors"])

    assert [option["quantization"] for option in memory["options"]] == ["none", "8bit", "4bit"]
    assert cache["segments"] == [{"from_tokens": 0, "bytes_at_from": 0, "bytes_per_token": 512}]
    assert peak["kv_cache_bytes"] == 16 * 512
    assert found["verified"]
    assert support["level"] == "supported"


def test_errors_keep_their_class_and_the_child(inspector: Inspector) -> None:
    inspector.inspect("warm_up", {}, timeout=TIMEOUT)
    before = child_of(inspector).pid

    with pytest.raises(UnsupportedArchitecture, match="from_the_future"):
        inspector.inspect("memory", {"model_type": "from_the_future"}, timeout=TIMEOUT)

    assert child_of(inspector).pid == before


def test_an_unexpected_failure_is_an_answer(inspector: Inspector) -> None:
    inspector.inspect("warm_up", {}, timeout=TIMEOUT)
    before = child_of(inspector).pid

    with pytest.raises(ModelyardError, match="TypeError") as error:
        inspector.inspect("support", [1], timeout=TIMEOUT, files=[7])  # type: ignore[arg-type]

    assert error.value.code == "internal_error"
    assert child_of(inspector).pid == before
    assert inspector.inspect("memory", LLAMA, timeout=TIMEOUT)["num_parameters"] > 0


def test_an_endless_build_is_given_up_in_time(inspector: Inspector) -> None:
    inspector.inspect("warm_up", {}, timeout=TIMEOUT)

    with pytest.raises(InspectorTimeout):
        inspector.inspect("memory", ENDLESS, timeout=3)

    assert inspector.inspect("memory", LLAMA, timeout=TIMEOUT)["num_parameters"] > 0


@pytest.mark.thorough
def test_an_import_is_not_given_up_halfway(tmp_path: Path) -> None:
    (tmp_path / "slow_package").mkdir()
    (tmp_path / "slow_package" / "__init__.py").write_text("from . import part\nimport time\ntime.sleep(0.5)\n")
    (tmp_path / "slow_package" / "part.py").write_text("")
    program = (
        "import itertools, signal, sys\n"
        "from modelyard.ml.inspect import inspector_child as child\n"
        "signal.signal(signal.SIGALRM, child._expire)\n"
        "try:\n"
        "    with child._time_limit(0.1):\n"
        "        import slow_package\n"
        "        print('imported', slow_package.part.__name__)\n"
        "        for _ in itertools.count(): pass\n"
        "except child._TimeLimit:\n"
        "    print('given up')\n"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.stdout == "imported slow_package.part\ngiven up\n", done.stderr


def test_a_frozen_child_is_replaced(inspector: Inspector) -> None:
    inspector.inspect("warm_up", {}, timeout=TIMEOUT)
    frozen = child_of(inspector)
    frozen.send_signal(signal.SIGSTOP)

    with pytest.raises(InspectorTimeout):
        inspector.inspect("memory", LLAMA, timeout=1)

    assert not frozen.is_running()
    assert inspector.inspect("memory", LLAMA, timeout=TIMEOUT)["num_parameters"] > 0


def test_a_killed_child_is_an_error_once(inspector: Inspector, asked: threading.Event) -> None:
    inspector.inspect("warm_up", {}, timeout=TIMEOUT)
    child = child_of(inspector)
    asked.clear()

    def kill() -> None:
        asked.wait(TIMEOUT)
        child.kill()

    killing = threading.Thread(target=kill)
    killing.start()
    with pytest.raises(InspectorCrashed):
        inspector.inspect("memory", ENDLESS, timeout=TIMEOUT)
    killing.join()

    assert inspector.inspect("memory", LLAMA, timeout=TIMEOUT)["num_parameters"] > 0


def test_a_child_that_is_still_starting_is_left_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WARM_FD, raising=False)  # a forked child starts in less time than is given here
    inspector = Inspector()
    with pytest.raises(InspectorTimeout, match="starting"):
        inspector.inspect("memory", LLAMA, timeout=0.05)
    starting = child_of(inspector).pid

    assert inspector.inspect("memory", LLAMA, timeout=TIMEOUT)["num_parameters"] > 0
    assert child_of(inspector).pid == starting
    inspector.close()


@pytest.mark.parametrize(
    "config",
    [
        {**LLAMA, "quantization_config": "x"},
        {**LLAMA, "num_hidden_layers": -3},
        {**LLAMA, "architectures": "LlamaForCausalLM"},
        {**LLAMA, "hidden_size": 10**19},
        {**LLAMA, "dtype": "bogus"},
        {**LLAMA, "attn_implementation": "somebody/kernel"},
        {"model_type": "gptj", "n_positions": 10**11, "n_layer": 1},
        {"model_type": ["llama"]},
    ],
)
def test_senseless_configs_do_no_harm(inspector: Inspector, config: dict[str, object]) -> None:
    inspector.inspect("warm_up", {}, timeout=TIMEOUT)
    child = child_of(inspector).pid
    for kind in ("memory", "kv_cache", "architecture"):
        with contextlib.suppress(UnsupportedArchitecture):
            inspector.inspect(kind, config, timeout=TIMEOUT)

    assert child_of(inspector).pid == child


def test_callers_on_several_threads_get_their_own_answers(inspector: Inspector) -> None:
    answers: dict[int, int] = {}

    def ask(layers: int) -> None:
        result = inspector.inspect("memory", {**LLAMA, "num_hidden_layers": layers}, timeout=TIMEOUT)
        answers[layers] = result["num_parameters"]

    threads = [threading.Thread(target=ask, args=(layers,)) for layers in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    steps = {answers[layers + 1] - answers[layers] for layers in range(1, 6)}
    assert len(steps) == 1


def test_waiting_for_others_counts_towards_the_limit(inspector: Inspector) -> None:
    inspector.inspect("warm_up", {}, timeout=TIMEOUT)

    with inspector._lock, pytest.raises(InspectorTimeout, match="busy"):
        inspector.inspect("memory", LLAMA, timeout=1)


def test_a_question_that_gives_way_is_dropped_for_another(inspector: Inspector, asked: threading.Event) -> None:
    inspector.inspect("warm_up", {}, timeout=TIMEOUT)
    asked.clear()
    child = child_of(inspector).pid
    dropped: list[InspectorBusy] = []

    def ask_for_too_much() -> None:
        with pytest.raises(InspectorBusy, match="something else") as refusal:
            inspector.inspect("memory", ENDLESS, timeout=TIMEOUT, gives_way=True)
        dropped.append(refusal.value)

    busy = threading.Thread(target=ask_for_too_much)
    busy.start()
    assert asked.wait(TIMEOUT)

    assert inspector.inspect("memory", LLAMA, timeout=TIMEOUT)["num_parameters"] > 0
    busy.join(timeout=TIMEOUT)
    assert dropped
    assert child_of(inspector).pid == child


def test_a_question_that_gives_way_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WARM_FD, raising=False)
    inspector = Inspector()
    with pytest.raises(InspectorBusy, match="starting"):
        inspector.inspect("memory", LLAMA, timeout=TIMEOUT, gives_way=True)
    inspector.close()


@pytest.mark.skipif(not can_fork(), reason="there is no warm parent on this system")
def test_an_inspector_waits_for_the_warm_parent_and_outlives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with warm_parent_of("modelyard.ml.inspect.inspector_child") as parent:
        monkeypatch.setenv(WARM_FD, parent.environment[WARM_FD])
        given_up, inspector = Inspector(), Inspector()
        for each in (given_up, inspector):
            with pytest.raises(InspectorBusy, match="starting"):
                each.inspect("memory", LLAMA, timeout=0.2)
        given_up.close()
        parent.start()
        inspector.inspect("memory", LLAMA, timeout=TIMEOUT)
        child = child_of(inspector)
        assert child.ppid() == parent.process.pid
        parent.kill()
        assert inspector.inspect("memory", ENDLESS | {"num_hidden_layers": 3}, timeout=TIMEOUT)["num_parameters"] > 0
        assert child_of(inspector).pid == child.pid
        inspector.close()
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_an_idle_child_ends_and_the_next_question_starts_another() -> None:
    with forking():
        inspector = Inspector(idle_seconds=0.05)
        for _ in range(2):
            assert inspector.inspect("memory", LLAMA, timeout=TIMEOUT)["num_parameters"] > 0
            deadline = time.monotonic() + TIMEOUT
            while inspector._child is not None:
                assert time.monotonic() < deadline, "the child stays"
                time.sleep(0.01)
        inspector.close()

        kept = Inspector(idle_seconds=TIMEOUT)
        kept.inspect("memory", LLAMA, timeout=TIMEOUT)
        child = child_of(kept)
        kept.inspect("memory", LLAMA, timeout=TIMEOUT)
        assert child_of(kept).pid == child.pid
        kept.close()
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_closing_ends_a_question_under_way() -> None:
    inspector = Inspector()
    failures: list[InspectorCrashed] = []

    def ask() -> None:
        with pytest.raises(InspectorCrashed) as failure:
            inspector.inspect("memory", ENDLESS, timeout=TIMEOUT)
        failures.append(failure.value)

    asking = threading.Thread(target=ask)
    asking.start()
    while inspector._child is None:
        time.sleep(0.01)
    child = child_of(inspector)
    inspector.close()
    asking.join(timeout=TIMEOUT)

    assert failures
    assert not child.is_running()
    with pytest.raises(InspectorCrashed, match="closed"):
        inspector.inspect("warm_up", {}, timeout=TIMEOUT)


def test_the_child_has_no_credentials_and_low_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    inspector = Inspector()
    for name in SECRETS:
        monkeypatch.setenv(name, "secret")
    inspector.inspect("warm_up", {}, timeout=TIMEOUT)
    child = child_of(inspector)

    assert not set(SECRETS) & set(environment_of(child.pid))
    assert environment_of(child.pid)["HF_HUB_OFFLINE"] == "1"
    assert child.nice() > psutil.Process().nice()
    inspector.close()


@pytest.mark.parametrize("config", ["LLAMA", "ENDLESS"], ids=["idle", "busy"])
def test_the_child_ends_when_its_parent_is_killed(config: str) -> None:
    program = (
        "import sys, threading; sys.path.insert(0, sys.argv[1]);"
        "from ml.inspect.test_inspector import Inspector, LLAMA, ENDLESS, child_of;"
        "inspector = Inspector(); inspector.inspect('memory', LLAMA, timeout=150);"
        f"threading.Thread(target=inspector.inspect, args=('memory', {config}), kwargs={{'timeout': 150}}).start();"
        "import time; time.sleep(0.5); print(child_of(inspector).pid, flush=True); time.sleep(60)"
    )
    tests = os.fspath(__file__).removesuffix("/ml/inspect/test_inspector.py")
    with subprocess.Popen([sys.executable, "-c", program, tests], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()

    child.wait(timeout=60)
