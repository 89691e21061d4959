"""The loader: one load for many users, eviction in the right order, and memory that really comes back."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from modelyard.core.errors import InvalidRequest, ModelInUse, NoTokenizer, NotReady, NoWeights, OutOfMemory
from modelyard.ml import devices, model_loader
from modelyard.ml.model_loader import LoadSpec, ModelLoader, Unloaded
from modelyard.ml.quantization import measured_bytes

TinyModel = Callable[[str], Path]


@pytest.fixture
def loader() -> Iterator[ModelLoader]:
    loader = ModelLoader()
    yield loader
    loader.close()


@pytest.fixture
def spec(tiny_model: TinyModel) -> LoadSpec:
    return LoadSpec("tests/llama", "c" * 40, "none", tiny_model("llama"), device="cpu")


def another(spec: LoadSpec, number: int, **changes: Any) -> LoadSpec:
    return replace(spec, model_id=f"tests/llama-{number}", **changes)


@pytest.fixture
def small_machine(loader: ModelLoader, spec: LoadSpec, monkeypatch: pytest.MonkeyPatch) -> int:
    """A machine with room for two and a half of the tiny models; returns the bytes of one."""
    one = spec.needed_bytes

    def free(_device: torch.device) -> int:
        return one * 5 // 2 - sum(one for _ in loader.loaded())

    monkeypatch.setattr(devices, "free_bytes", free)
    return one


def names(loader: ModelLoader) -> list[str]:
    return sorted(info.key.model_id for info in loader.loaded())


def test_many_callers_at_once_cause_one_load(
    loader: ModelLoader, spec: LoadSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[Path] = []
    real = model_loader.load_model

    def slow(folder: Path, **options: Any) -> Any:
        loads.append(folder)
        time.sleep(0.2)
        return real(folder, **options)

    monkeypatch.setattr(model_loader, "load_model", slow)
    together = threading.Barrier(8)

    def use() -> int:
        together.wait()
        with loader.get(spec) as loaded:
            return id(loaded.model)

    with ThreadPoolExecutor(8) as pool:
        models = [future.result() for future in [pool.submit(use) for _ in range(8)]]
    assert len(set(models)) == len(loads) == 1


def test_a_failed_load_fails_every_caller_and_can_be_tried_again(
    loader: ModelLoader, spec: LoadSpec, tmp_path: Path
) -> None:
    broken = replace(spec, folder=tmp_path)
    together = threading.Barrier(4)

    def use() -> None:
        together.wait()
        with loader.get(broken):
            pass

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(use) for _ in range(4)]
        assert all(isinstance(future.exception(), NoWeights) for future in futures)
    with loader.get(spec) as loaded:
        assert loaded.measured_bytes == measured_bytes(loaded.model)


def test_precisions_and_dtypes_are_different_models(loader: ModelLoader, spec: LoadSpec) -> None:
    for changes in ({}, {"quantization": "4bit"}, {"quantization": "8bit"}, {"dtype": "float32"}, {"commit": "d" * 40}):
        loader.load(replace(spec, **changes))  # type: ignore[arg-type]
    sizes = {(info.key.quantization, info.key.dtype): info.measured_bytes for info in loader.loaded()}
    assert len(loader.loaded()) == 5
    assert sizes["4bit", "auto"] < sizes["8bit", "auto"] < sizes["none", "auto"] < sizes["none", "float32"]


def test_auto_takes_the_copy_that_is_loaded_already(loader: ModelLoader, spec: LoadSpec) -> None:
    loader.load(spec)
    loader.load(replace(spec, device="auto"))
    assert [info.key.device for info in loader.loaded()] == ["cpu"]


def test_the_least_recently_used_idle_model_makes_room(loader: ModelLoader, spec: LoadSpec, small_machine: int) -> None:
    told: list[Unloaded] = []
    loader.on_unload = told.append
    for number in (1, 2):
        loader.load(another(spec, number))
    with loader.get(another(spec, 1)):
        pass  # now 2 is the older one
    loader.load(another(spec, 3))
    assert names(loader) == ["tests/llama-1", "tests/llama-3"]
    assert [unloaded.key.model_id for unloaded in told] == ["tests/llama-2"]


def test_pinned_models_and_models_in_use_are_never_evicted(
    loader: ModelLoader, spec: LoadSpec, small_machine: int
) -> None:
    loader.load(another(spec, 1, pinned=True))
    with loader.get(another(spec, 2)) as used:
        with pytest.raises(OutOfMemory):
            loader.load(another(spec, 3))
        assert used.model is not None
        assert names(loader) == ["tests/llama-1", "tests/llama-2"]
        with pytest.raises(ModelInUse):
            loader.unload_model(used.key)
    loader.load(another(spec, 3))
    assert names(loader) == ["tests/llama-1", "tests/llama-3"]
    pinned = next(info.key for info in loader.loaded() if info.pinned)
    loader.pin(pinned, False)
    loader.load(another(spec, 4))
    loader.load(another(spec, 5))
    assert names(loader) == ["tests/llama-4", "tests/llama-5"]


def test_make_room_evicts_no_more_than_needed(loader: ModelLoader, spec: LoadSpec, small_machine: int) -> None:
    for number in (1, 2):
        loader.load(another(spec, number))
    assert loader.make_room("cpu", small_machine) >= small_machine
    assert names(loader) == ["tests/llama-2"]


@pytest.mark.parametrize(
    ("quantization", "free", "hint"),
    [
        ("none", 700, "8bit"),  # the next smaller that fits
        ("none", 400, "4bit"),
        ("none", 200, "still more"),
        ("8bit", 400, "4bit"),
        ("4bit", 200, "smallest form"),
    ],
)
def test_out_of_memory_names_a_smaller_option(
    loader: ModelLoader, spec: LoadSpec, monkeypatch: pytest.MonkeyPatch, quantization: Any, free: int, hint: str
) -> None:
    monkeypatch.setattr(devices, "free_bytes", lambda _device: free)
    options = {"none": 1000, "8bit": 600, "4bit": 300}
    with pytest.raises(OutOfMemory) as caught:
        loader.load(replace(spec, quantization=quantization, option_bytes=options))
    assert hint in (caught.value.hint or "")
    smaller = [option for option in options if options[option] < options[quantization]]
    named = [option for option in options if f"to {option}" in (caught.value.hint or "")]
    assert set(named) <= set(smaller)
    assert loader.loaded() == []


def test_running_out_while_loading_is_torn_down_and_told(
    loader: ModelLoader, spec: LoadSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = model_loader.load_model

    def too_much(folder: Path, **options: Any) -> Any:
        model = real(folder, **options)
        torch.empty(1 << 60, dtype=torch.uint8)  # more than any machine has
        return model

    monkeypatch.setattr(model_loader, "load_model", too_much)
    with pytest.raises(OutOfMemory) as caught:
        loader.load(replace(spec, option_bytes={"none": 1000, "4bit": 300}))
    assert "4bit" in (caught.value.hint or "")
    assert caught.value.__context__ is None  # nothing keeps the half-loaded model's frames
    assert loader.loaded() == []


def test_idle_models_expire_each_after_its_own_time(loader: ModelLoader, spec: LoadSpec) -> None:
    told: list[Unloaded] = []
    loader.on_unload = told.append
    loader.load(another(spec, 1, ttl_seconds=0.3))
    loader.load(another(spec, 2, ttl_seconds=60))
    loader.load(another(spec, 3, ttl_seconds=0.3, pinned=True))
    with loader.get(another(spec, 4, ttl_seconds=0.3)):
        expiries = {info.key.model_id[-1]: info.expires_at for info in loader.loaded()}
        assert expiries["1"] is not None
        assert expiries["3"] is expiries["4"] is None
        deadline = time.monotonic() + 10
        while len(loader.loaded()) > 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.4)
        assert names(loader) == ["tests/llama-2", "tests/llama-3", "tests/llama-4"]
    while len(told) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert names(loader) == ["tests/llama-2", "tests/llama-3"]
    assert [unloaded.key.model_id[-1] for unloaded in told] == ["1", "4"]


def test_loading_again_renews_time_and_pin(loader: ModelLoader, spec: LoadSpec) -> None:
    assert loader.load(spec).pinned is False
    assert loader.load(replace(spec, pinned=True)).pinned is True
    assert loader.load(replace(spec, ttl_seconds=None)).pinned is False
    assert loader.loaded()[0].expires_at is None


def test_an_unloaded_model_is_gone_even_for_those_who_still_hold_it(loader: ModelLoader, spec: LoadSpec) -> None:
    with loader.get(spec) as loaded:
        held = measured_bytes(loaded.model)
    unloaded = loader.unload_model(loaded.key)
    assert unloaded.held_before_bytes == held
    with pytest.raises(NotReady):
        _ = loaded.model
    with pytest.raises(NotReady):
        loader.unload_model(loaded.key)
    loader.load(spec)
    assert loader.loaded()[0].last_unload == unloaded


def test_a_missing_tokenizer_is_told_when_it_is_needed(loader: ModelLoader, spec: LoadSpec) -> None:
    with loader.get(spec) as loaded, pytest.raises(NoTokenizer):
        _ = loaded.tokenizer


def test_a_device_that_is_not_here_is_refused(loader: ModelLoader, spec: LoadSpec) -> None:
    with pytest.raises(InvalidRequest), loader.get(replace(spec, device="cuda:99")):
        pass


def test_the_process_has_one_loader() -> None:
    assert ModelLoader.instance() is ModelLoader.instance()


def test_users_come_and_go_without_losing_count(loader: ModelLoader, spec: LoadSpec) -> None:
    """Readers, unloads and evictions at random: never a model taken from under its user, never a leaked use."""
    stop = time.monotonic() + 3
    failures: list[BaseException] = []

    def use(number: int) -> None:
        try:
            while time.monotonic() < stop:
                with loader.get(another(spec, number % 3)) as loaded:
                    assert loaded.model.config.vocab_size == 320
        except BaseException as error:
            failures.append(error)
            raise

    def disturb() -> None:
        while time.monotonic() < stop:
            for info in loader.loaded():
                try:
                    loader.unload_model(info.key)
                except (ModelInUse, NotReady):
                    continue
            time.sleep(0.01)

    with ThreadPoolExecutor(7) as pool:
        futures = [pool.submit(use, number) for number in range(6)] + [pool.submit(disturb)]
    assert [future.exception() for future in futures] == [None] * 7
    assert failures == []
    assert all(info.in_use == 0 for info in loader.loaded())


_UNLOAD_IN_A_FRESH_PROCESS = """
import json, sys
from pathlib import Path
import psutil, torch
from modelyard.ml.model_loader import LoadSpec, ModelLoader

def rss():
    return psutil.Process().memory_info().rss

def use(folder, **options):
    spec = LoadSpec(folder, "c", folder=Path(folder), device="cpu", **options)
    before = rss()
    with loader.get(spec) as loaded, torch.inference_mode():
        loaded.model(torch.arange(64).view(1, -1))
        loaded.model.get_input_embeddings().weight.sum()  # mapped: only rows that were read are in memory
        took = rss() - before
    unloaded = loader.unload_model(loaded.key)
    return {"took": took, "left": rss() - before, "freed": unloaded.freed_bytes, "held": unloaded.held_before_bytes}

loader = ModelLoader()
warm, large = sys.argv[1:3]
for quantization in ("none", "4bit"):
    use(warm, quantization=quantization)
print(json.dumps([use(large, quantization="none"), use(large, quantization="none", dtype="float32")]))
"""


def test_unloading_gives_the_memory_back_to_the_system(spec: LoadSpec, tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=8192,
        hidden_size=1536,
        intermediate_size=6144,
        num_hidden_layers=7,
        num_attention_heads=16,
        num_key_value_heads=16,
    )
    config.dtype = torch.bfloat16
    with torch.device("meta"):
        model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.to_empty(device="cpu")
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data.fill_(0.01)
    size = measured_bytes(model)
    assert size > 500 * 10**6
    model.save_pretrained(tmp_path)
    del model
    done = subprocess.run(
        [sys.executable, "-c", _UNLOAD_IN_A_FRESH_PROCESS, str(spec.folder), str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
    )
    for measured in json.loads(done.stdout):
        assert measured["took"] > 0.98 * size
        assert measured["left"] <= 0.02 * measured["took"]
        assert measured["freed"] >= 0.98 * measured["held"]
