"""What of `benchmarks/gpu.py` does not need the GPU."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from support.samples import sample_models

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    spec = importlib.util.spec_from_file_location("gpu", BENCHMARKS / "gpu.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_model_is_measured_and_shown(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "NEW_TOKENS", 4)
    model = sample_models() / "tiny-llama"
    figures = benchmark.measure(model, model, "none", "cpu")
    assert figures["held_bytes"] == figures["estimated_bytes"] == benchmark.estimated_bytes(model, "none")
    assert figures["tokens_per_second_8"] > 0
    assert (figures["context_bytes"], figures["left_bytes"]) == (None, 0)
    copied = figures | {"precision": "4bit", "quantize_seconds": 12.34, "estimated_bytes": figures["held_bytes"] * 2}
    head, line, plain, quantized = benchmark.table([figures | {"context_bytes": 512_000_000}, copied]).splitlines()
    assert len({row.count("|") for row in (head, line, plain, quantized)}) == 1
    assert "| none | 26 MB | 26 MB | +0.00% | 512 MB |  |" in plain
    assert "| 4bit | 52 MB | 26 MB | -50.00% | unknown | 12.3 s |" in quantized


def test_a_training_run_is_shown_against_its_plan(benchmark: ModuleType) -> None:
    planned = benchmark.planned_training(sample_models() / "tiny-llama", "cuda:0")
    assert planned > 600_000_000
    assert "not measured" in benchmark.training_line(None, planned)
    assert "(0.50 of it)" in benchmark.training_line({"peak_bytes": planned / 2}, planned)


def test_without_a_gpu_it_says_so(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    benchmark.main()
    assert capsys.readouterr().out == "There is no CUDA device on this machine, so nothing was measured.\n"
