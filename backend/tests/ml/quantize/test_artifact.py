"""Quantize once: artifacts are whole or not there, load like any checkpoint, and compute what they were made of."""

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from ml import zoo
from modelyard.core import units
from modelyard.core.errors import (
    AlreadyQuantized,
    ArtifactMismatch,
    Conflict,
    DiskFull,
    OutOfMemory,
    UnsupportedArchitecture,
)
from modelyard.core.process import ChildCrashed, ChildStopped, run_child
from modelyard.ml.inspect.memory import estimate_memory
from modelyard.ml.loading import devices
from modelyard.ml.loading.pretrained import load_model, read_config
from modelyard.ml.quantize import artifact, drift
from modelyard.ml.quantize.artifact import make_artifact
from modelyard.ml.quantize.artifact_folder import (
    ArtifactRequest,
    damaged_files,
    exclusive,
    partial_of,
    read_manifest,
    remove_leftovers,
)
from modelyard.ml.quantize.quantization import measured_bytes
from modelyard.ml.untrusted import tokenizer
from modelyard.ml.untrusted.warm_process import WarmProcess

TinyModel = Callable[[str], Path]
IDS = torch.arange(3, 43).view(1, -1)
CHILD = "modelyard.workers.processes.quantize_child"


def request(source: Path, target: Path, quantization: Any = "4bit") -> ArtifactRequest:
    return ArtifactRequest(str(source), str(target), quantization, model_id="tests/tiny", commit="c" * 40)


def ignore(_report: dict[str, Any]) -> None:
    """A reporter nobody listens to."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with a tokenizer, its layers as regular as real ones: stock bitsandbytes has to run it."""
    folder = tmp_path_factory.mktemp("source") / "tiny"
    config = zoo.tiny_config("llama")
    config.intermediate_size = 256
    torch.manual_seed(0)
    zoo.MODEL_FOR_CAUSAL_LM_MAPPING[type(config)](config).to(torch.bfloat16).save_pretrained(folder)
    words = {"<unk>": 0} | {
        word: index for index, word in enumerate(["The", "capital", "of", "France", "is", "and", "if", "return"], 1)
    }
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>").save_pretrained(folder)
    return folder


@torch.inference_mode()
def logits(model: Any) -> torch.Tensor:
    result: torch.Tensor = model(IDS).logits
    return result


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_an_artifact_is_what_quantizing_on_the_fly_gives(source: Path, tmp_path: Path, quantization: Any) -> None:
    target = tmp_path / "artifact"
    reports: list[dict[str, Any]] = []
    manifest = make_artifact(request(source, target, quantization), reports.append)
    on_the_fly = load_model(source, quantization=quantization)
    assert manifest["memory_measured_bytes"] == measured_bytes(on_the_fly)
    plain = AutoModelForCausalLM.from_pretrained(target)
    assert measured_bytes(plain) == measured_bytes(on_the_fly)
    assert torch.equal(logits(plain), logits(on_the_fly))
    assert len(AutoTokenizer.from_pretrained(target)) == len(AutoTokenizer.from_pretrained(source))
    assert manifest == read_manifest(target)
    assert damaged_files(target) == []
    assert manifest["loads_with"] == "from_pretrained"
    assert not partial_of(target).exists()
    assert [report["message"] for report in reports[:2]] == ["quantizing layer 1 of 2", "quantizing layer 2 of 2"]
    assert {report["phase"] for report in reports} == {"quantizing", "checking"}
    assert all(0 <= report["done"] <= report["total"] for report in reports)


def test_the_tokenizers_process_gets_ready_while_the_model_is_quantized(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = WarmProcess()
    monkeypatch.setattr(tokenizer, "_warm", process)
    ready: list[bool] = []
    make_artifact(request(source, tmp_path / "copy"), lambda _report: ready.append(process.pid is not None))
    assert ready[0]


def test_the_manifest_tells_how_far_the_artifact_is_from_its_source(source: Path, tmp_path: Path) -> None:
    eight = make_artifact(request(source, tmp_path / "8", "8bit"), ignore)["drift"]
    four = make_artifact(request(source, tmp_path / "4", "4bit"), ignore)["drift"]
    assert eight["prompts"] == four["prompts"] == len(drift.PROMPTS)
    assert 0 < eight["kl_mean"] < four["kl_mean"] < 0.1
    assert 0 <= four["top1_agreement"] <= 1
    assert len(four["residual_cosine"]) == 3  # what enters the two layers, and what leaves the last
    assert four["residual_cosine"][0] == pytest.approx(1)
    assert four["residual_cosine"][-1] < eight["residual_cosine"][-1] < 1
    assert four["compared_dtype"] == "bfloat16"


def test_experts_are_in_the_artifact_and_the_manifest_says_what_reads_it(tiny_model: TinyModel, tmp_path: Path) -> None:
    target = tmp_path / "artifact"
    manifest = make_artifact(request(tiny_model("mixtral"), target), ignore)
    assert manifest["loads_with"] == "modelyard.load"
    assert manifest["loads_with_reason"]
    assert manifest["memory_measured_bytes"] == measured_bytes(load_model(target))


def test_an_artifact_that_is_there_is_kept_and_another_commits_is_replaced(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "artifact"
    first = request(source, target, "8bit")
    make_artifact(first, ignore)
    made = target.stat().st_ino
    reports: list[dict[str, Any]] = []
    make_artifact(first, reports.append)
    assert (target.stat().st_ino, reports) == (made, [])
    manifest = make_artifact(replace(first, commit="d" * 40), ignore)
    assert manifest["commit"] == "d" * 40
    assert damaged_files(target) == []


def test_damage_is_found(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "artifact"
    make_artifact(request(source, target, "8bit"), ignore)
    with (target / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    (target / "tokenizer.json").unlink()
    assert damaged_files(target) == ["model.safetensors", "tokenizer.json"]


def test_a_folder_that_is_no_artifact_is_left_alone(source: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("three years of work")
    with pytest.raises(Conflict):
        make_artifact(request(source, tmp_path / "mine"), ignore)
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_two_makers_of_one_artifact_do_not_meet(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "artifact"
    with exclusive(partial_of(target)), pytest.raises(Conflict):
        make_artifact(request(source, target), ignore)
    assert remove_leftovers(target) == 0
    make_artifact(request(source, target, "8bit"), ignore)


@pytest.mark.parametrize("free_bytes", [10**6, artifact.SPARE_BYTES + 300_000])
def test_a_full_disk_is_told_in_numbers_before_anything_is_written(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_bytes: int
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=free_bytes)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(DiskFull, match=f"{units.size(free_bytes)} are free"):
        make_artifact(request(source, tmp_path / "artifact"), ignore)
    assert list(tmp_path.iterdir()) == []


def test_what_is_quantized_already_is_refused(source: Path, tmp_path: Path) -> None:
    make_artifact(request(source, tmp_path / "8", "8bit"), ignore)
    for quantization in ("8bit", "4bit"):
        with pytest.raises(AlreadyQuantized):
            make_artifact(request(tmp_path / "8", tmp_path / "again", quantization), ignore)


@pytest.mark.thorough
def test_kill_9_leaves_nothing_half_made_and_the_next_run_succeeds(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "artifact"
    wanted = asdict(request(source, target))

    def kill(report: dict[str, Any]) -> None:
        if report["phase"] == "checking":  # everything is written, nothing is checked
            for child in psutil.Process().children():
                if CHILD in child.cmdline():
                    child.send_signal(signal.SIGKILL)

    with pytest.raises(ChildCrashed, match="SIGKILL"):
        run_child(CHILD, wanted, on_report=kill, should_stop=lambda: False)
    assert not target.exists()
    assert (partial_of(target) / "model.safetensors").exists()
    manifest = run_child(CHILD, wanted, on_report=ignore, should_stop=lambda: False)
    assert manifest == read_manifest(target)
    assert damaged_files(target) == []
    assert not partial_of(target).exists()


def test_a_cancelled_run_stops_and_its_leftovers_can_be_removed(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "artifact"
    reports: list[dict[str, Any]] = []
    before = set(psutil.Process().children())
    with pytest.raises(ChildStopped):
        run_child(
            CHILD,
            asdict(request(source, target)),
            on_report=reports.append,
            should_stop=lambda: any(report["phase"] == "checking" for report in reports),
            poll_seconds=0.02,
        )
    assert not target.exists()
    assert remove_leftovers(target) > 0
    assert list(tmp_path.iterdir()) == []
    assert not set(psutil.Process().children()) - before


def test_what_cannot_fit_in_memory_is_refused_before_the_work(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "free_bytes", lambda _device: 1000)
    with pytest.raises(OutOfMemory, match=r"1\.00 kB are free"):
        make_artifact(request(source, tmp_path / "artifact"), ignore)
    assert list(tmp_path.iterdir()) == []


def test_without_memory_for_the_source_the_drift_says_so(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = (source / "model.safetensors").stat().st_size
    monkeypatch.setattr(devices, "free_bytes", lambda _device: size)
    found = make_artifact(request(source, tmp_path / "artifact"), ignore)["drift"]
    assert found["kl_mean"] is None
    assert units.size(size) in found["reason"]


@pytest.mark.parametrize(("quantization", "wide"), [("8bit", False), ("4bit", True)], ids=["8bit-tiny", "4bit-wide"])
@pytest.mark.parametrize("model_type", zoo.cases(sample=("laguna",)))
def test_a_copy_of_every_type_is_exact_or_refused(
    tmp_path: Path, model_type: str, quantization: Any, wide: bool
) -> None:
    folder = zoo.make(model_type, tmp_path / "source", wide=wide)
    option = next(each for each in estimate_memory(read_config(folder)).options if each.quantization == quantization)
    if not option.available:
        with pytest.raises((ArtifactMismatch, UnsupportedArchitecture)):
            make_artifact(request(folder, tmp_path / "artifact", quantization), ignore)
        return
    manifest = make_artifact(request(folder, tmp_path / "artifact", quantization), ignore)
    assert manifest["memory_measured_bytes"] == option.weights_bytes


def test_a_format_that_does_not_come_back_is_not_kept(tiny_model: TinyModel, tmp_path: Path) -> None:
    # transformers reads 8-bit Llama 4 into other modules than those it makes it of.
    with pytest.raises(ArtifactMismatch, match="cannot be loaded back"):
        make_artifact(request(tiny_model("llama4_text"), tmp_path / "8", "8bit"), ignore)
    assert list(tmp_path.iterdir()) == []
    assert make_artifact(request(tiny_model("llama4_text"), tmp_path / "4"), ignore)["loads_with"] == "modelyard.load"


def test_a_model_with_nothing_to_quantize_is_refused(tiny_model: TinyModel, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedArchitecture, match="nothing to quantize to 8bit"):
        make_artifact(request(tiny_model("falcon"), tmp_path / "artifact", "8bit"), ignore)


def test_a_model_that_quantization_keeps_from_running_is_refused(tiny_model: TinyModel, tmp_path: Path) -> None:
    # Its scan multiplies with a layer's weight itself, which is no matrix any more.
    with pytest.raises(UnsupportedArchitecture, match="not with its weights in 4bit"):
        make_artifact(request(tiny_model("mamba"), tmp_path / "artifact"), ignore)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_does_not_run_on_text_is_kept_and_that_is_said(tiny_model: TinyModel, tmp_path: Path) -> None:
    found = make_artifact(request(tiny_model("xlstm"), tmp_path / "artifact"), ignore)["drift"]
    assert found["kl_mean"] is None
    assert "does not run" in found["reason"]
