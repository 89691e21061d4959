"""On a GPU: what a model takes there, that it comes back, and what happens when it is too little."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ml import zoo
from ml.measure import device_bytes, estimated_bytes
from modelyard.core.errors import OutOfMemory
from modelyard.ml.loading import devices
from modelyard.ml.model_loader import OFFLOADED, SPREAD, LoadedModel, LoadSpec, ModelLoader
from modelyard.ml.quantize.artifact import make_artifact
from modelyard.ml.quantize.artifact_folder import ArtifactRequest

PRECISIONS = ("none", "8bit", "4bit")
NEAR = 0.01
IDS = torch.arange(3, 67).view(1, -1)

FreeBytes = Callable[[torch.device], int]


@pytest.fixture(scope="module")
def gpu() -> torch.device:
    # No failure in CI either: unlike a missing program, a GPU cannot be installed there.
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    return torch.device("cuda", 0)


@pytest.fixture(scope="module")
def checkpoint(gpu: torch.device, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    zoo.make_large(folder)
    return folder


@pytest.fixture
def loader() -> Iterator[ModelLoader]:
    loader = ModelLoader()
    yield loader
    loader.close()


@pytest.fixture
def spec(gpu: torch.device, checkpoint: Path) -> LoadSpec:
    options = {name: estimated_bytes(checkpoint, name) for name in PRECISIONS}
    return LoadSpec("tests/large", "c" * 40, "none", checkpoint, device=str(gpu), option_bytes=options)


@pytest.fixture
def artifact(gpu: torch.device, checkpoint: Path, tmp_path: Path) -> Callable[[Any], tuple[Path, dict[str, Any]]]:
    def make(quantization: Any) -> tuple[Path, dict[str, Any]]:
        target = tmp_path / quantization
        request = ArtifactRequest(
            str(checkpoint), str(target), quantization, model_id="tests/large", commit="c" * 40, device=str(gpu)
        )
        return target, make_artifact(request, lambda _report: None)

    return make


@torch.inference_mode()
def logits(loaded: LoadedModel) -> torch.Tensor:
    result: torch.Tensor = loaded.model(IDS.to(devices.input_device(loaded.model))).logits.float().cpu()
    return result


@pytest.mark.parametrize("quantization", PRECISIONS)
def test_a_loaded_model_takes_what_was_estimated(
    loader: ModelLoader, spec: LoadSpec, gpu: torch.device, quantization: Any
) -> None:
    before = device_bytes(gpu)
    info = loader.load(replace(spec, quantization=quantization))
    taken = device_bytes(gpu) - before
    assert taken == pytest.approx(spec.option_bytes[quantization], rel=NEAR)
    assert info.measured_bytes == pytest.approx(spec.option_bytes[quantization], rel=NEAR)


@pytest.mark.parametrize("quantization", PRECISIONS)
def test_unloading_gives_the_device_its_memory_back(
    loader: ModelLoader, spec: LoadSpec, gpu: torch.device, quantization: Any
) -> None:
    chosen = replace(spec, quantization=quantization)

    def used_and_unloaded() -> tuple[int, int]:
        """Bytes the process holds on the device afterwards, and bytes that came back."""
        with loader.get(chosen) as loaded:
            logits(loaded)
        unloaded = loader.unload_model(loaded.key)
        assert unloaded.freed_bytes >= 0.98 * unloaded.held_before_bytes
        return devices.held_bytes(gpu), unloaded.held_before_bytes

    first, held = used_and_unloaded()  # libraries keep workspaces of their own from their first use on
    again, _ = used_and_unloaded()
    assert again - first <= 0.02 * held
    assert device_bytes(gpu) <= first


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_an_artifact_is_on_the_device_what_quantizing_on_the_fly_gives(
    loader: ModelLoader, spec: LoadSpec, gpu: torch.device, artifact: Any, quantization: Any
) -> None:
    folder, manifest = artifact(quantization)

    def loaded_from(source: Path) -> tuple[int, torch.Tensor]:
        before = device_bytes(gpu)
        with loader.get(replace(spec, quantization=quantization, folder=source)) as loaded:
            taken = device_bytes(gpu) - before
            answer = logits(loaded)
        loader.unload_model(loaded.key)
        return taken, answer

    on_the_fly, made = loaded_from(spec.folder)
    from_artifact, reloaded = loaded_from(folder)
    assert from_artifact == pytest.approx(on_the_fly, rel=NEAR)
    assert manifest["memory_measured_bytes"] == pytest.approx(spec.option_bytes[quantization], rel=NEAR)
    assert torch.equal(made, reloaded)


def test_the_allocators_own_refusal_names_the_next_smaller_precision(
    loader: ModelLoader, spec: LoadSpec, gpu: torch.device
) -> None:
    before = device_bytes(gpu)
    total = torch.cuda.mem_get_info(gpu)[1]
    room = devices.held_bytes(gpu) + spec.option_bytes["none"] // 2
    torch.cuda.set_per_process_memory_fraction(room / total, gpu)  # the device says there is more
    try:
        with pytest.raises(OutOfMemory, match="ran out of memory while loading on cuda:0") as refused:
            loader.load(spec)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, gpu)
    assert "Quantize it to 8-bit" in (refused.value.hint or "")
    assert loader.loaded() == []
    assert device_bytes(gpu) <= before + 0.02 * spec.option_bytes["none"]


def pretend_free(monkeypatch: pytest.MonkeyPatch, share_of: int, share: float) -> None:
    """Every GPU has room for a share of so many bytes; main memory is as it is."""
    real: FreeBytes = devices.free_bytes
    monkeypatch.setattr(
        devices, "free_bytes", lambda device: int(share_of * share) if device.type == "cuda" else real(device)
    )


def test_what_the_gpus_cannot_hold_stays_in_main_memory_on_request_only(
    loader: ModelLoader, spec: LoadSpec, gpu: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = spec.option_bytes["none"]
    with loader.get(spec) as whole:
        expected, measured = logits(whole), whole.measured_bytes
    loader.unload_model(whole.key)
    pretend_free(monkeypatch, size, 0.6 / torch.cuda.device_count())
    anywhere = replace(spec, device="auto")
    with pytest.raises(OutOfMemory, match="needs about"):
        loader.load(anywhere)
    before = device_bytes(gpu)
    with loader.get(replace(anywhere, allow_offload=True)) as loaded:
        assert loaded.key.device == OFFLOADED
        assert loaded.measured_bytes == pytest.approx(measured, rel=NEAR)
        assert device_bytes(gpu) - before < 0.6 * size
        assert torch.allclose(logits(loaded), expected, rtol=0.02, atol=0.02)
    assert loader.unload_model(loaded.key).held_before_bytes == loaded.measured_bytes


@pytest.mark.parametrize("quantization", PRECISIONS)
def test_a_model_larger_than_one_gpu_is_spread_over_several(
    loader: ModelLoader, spec: LoadSpec, gpu: torch.device, monkeypatch: pytest.MonkeyPatch, quantization: Any
) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("one CUDA device only on this machine")
    size = spec.option_bytes[quantization]
    pretend_free(monkeypatch, size, 0.8)
    with loader.get(replace(spec, device="auto", quantization=quantization)) as loaded:
        assert loaded.key.device == SPREAD
        assert device_bytes(gpu) < 0.8 * size
        assert loaded.measured_bytes == pytest.approx(size, rel=NEAR)
        assert torch.isfinite(logits(loaded)).all()
