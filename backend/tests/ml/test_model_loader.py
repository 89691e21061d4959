"""The loader: one load for many users, eviction in the right order, and memory that really comes back."""

import gc
import json
import shutil
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
from safetensors.torch import load_file

from ml import zoo
from modelyard.core.errors import InvalidRequest, ModelInUse, NoTokenizer, NotReady, NoWeights, OutOfMemory
from modelyard.ml.loading import devices, read_model
from modelyard.ml.loading.load_progress import LoadStep
from modelyard.ml.model_loader import LoadCancelled, LoadSpec, ModelLoader, Unloaded, never
from modelyard.ml.quantize import quantization as quantization_module
from modelyard.ml.quantize.quantization import measured_bytes

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


class Held:
    """A load in a thread of its own that stays where it has begun to read until `go_on` is set."""

    def __init__(self, loader: ModelLoader, spec: LoadSpec, *, is_cancelled: Callable[[], bool] = never) -> None:
        self.go_on, self._begun = threading.Event(), threading.Event()
        self._pool = ThreadPoolExecutor(1)
        self._future = self._pool.submit(loader.load, spec, on_step=self._stay, is_cancelled=is_cancelled)

    def __enter__(self) -> "Held":
        assert self._begun.wait(30)
        return self

    def __exit__(self, *_error: object) -> None:
        self.go_on.set()
        self._pool.shutdown()

    def result(self) -> BaseException | None:
        return self._future.exception(30)

    def _stay(self, _step: LoadStep) -> None:
        self._begun.set()
        assert self.go_on.wait(30)


def wait_until(probe: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not probe():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def living_tensors(spec: LoadSpec) -> int:
    """Tensors in memory whose shape is that of one of the model's matrices."""
    shapes = {tuple(tensor.shape) for tensor in load_file(spec.folder / "model.safetensors").values()}
    shapes = {shape for shape in shapes if len(shape) > 1}
    gc.collect()
    return sum(
        issubclass(type(each), torch.Tensor) and each.device.type != "meta" and tuple(each.shape) in shapes
        for each in gc.get_objects()
    )


def names(loader: ModelLoader) -> list[str]:
    return sorted(info.key.model_id for info in loader.loaded())


def test_many_callers_at_once_cause_one_load(
    loader: ModelLoader, spec: LoadSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[Path] = []
    real = read_model.load_model

    def slow(folder: Path, **options: Any) -> Any:
        loads.append(folder)
        time.sleep(0.2)
        return real(folder, **options)

    monkeypatch.setattr(read_model, "load_model", slow)
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


def test_any_dtype_takes_the_copy_there_is_and_rather_the_one_as_stored(loader: ModelLoader, spec: LoadSpec) -> None:
    any_copy = replace(spec, device="auto", any_dtype=True)
    loader.load(replace(spec, dtype="float32"))
    with loader.get(any_copy) as loaded:
        assert loaded.key.dtype == "float32"
    assert len(loader.loaded()) == 1
    loader.load(spec)
    loader.load(replace(spec, dtype="float32"))
    with loader.get(any_copy) as loaded:
        assert loaded.key.dtype == "auto"
    assert len(loader.loaded()) == 2


def test_any_dtype_with_nothing_there_is_as_stored(loader: ModelLoader, spec: LoadSpec) -> None:
    with loader.get(replace(spec, any_dtype=True)) as loaded:
        assert loaded.key.dtype == "auto"


def test_any_dtype_waits_for_the_copy_that_is_being_loaded(loader: ModelLoader, spec: LoadSpec) -> None:
    with Held(loader, replace(spec, dtype="float32")) as first, ThreadPoolExecutor(1) as pool:
        second = pool.submit(loader.load, replace(spec, any_dtype=True))
        time.sleep(0.1)
        first.go_on.set()
        assert second.result(30).key.dtype == "float32"
    assert len(loader.loaded()) == 1


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
    loader.load(another(spec, 1))
    loader.load(another(spec, 3))
    loader.load(another(spec, 4))
    loader.load(another(spec, 5))
    assert names(loader) == ["tests/llama-4", "tests/llama-5"]


@pytest.mark.parametrize(
    ("quantization", "free", "hint"),
    [
        ("none", 700, "8-bit"),  # the next smaller that fits
        ("none", 400, "4-bit"),
        ("none", 200, "still more"),
        ("8bit", 400, "4-bit"),
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
    assert "in system memory, where" in caught.value.message
    assert hint in (caught.value.hint or "")
    smaller = [option for option in options if options[option] < options[quantization]]
    named = [option for option in options if f"to {option.replace('bit', '-bit')}" in (caught.value.hint or "")]
    assert set(named) <= set(smaller)
    assert loader.loaded() == []


def test_running_out_while_loading_is_torn_down_and_told(
    loader: ModelLoader, spec: LoadSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = read_model.load_model

    def too_much(folder: Path, **options: Any) -> Any:
        model = real(folder, **options)
        torch.empty(1 << 60, dtype=torch.uint8)  # more than any machine has
        return model

    monkeypatch.setattr(read_model, "load_model", too_much)
    with pytest.raises(OutOfMemory) as caught:
        loader.load(replace(spec, option_bytes={"none": 1000, "4bit": 300}))
    assert "4-bit" in (caught.value.hint or "")
    assert caught.value.__context__ is None  # nothing keeps the half-loaded model's frames
    assert loader.loaded() == []


def stored_bytes(folder: Path) -> int:
    """Bytes of the tensors in a folder's safetensors files."""
    return sum(tensor.nbytes for path in folder.glob("*.safetensors") for tensor in load_file(path).values())


@pytest.mark.parametrize("model_type", ["llama", "mixtral", "gpt2"])
@pytest.mark.parametrize(("quantization", "doing"), [("none", "reading weights"), ("4bit", "quantizing")])
def test_a_load_tells_how_many_bytes_of_the_files_it_has_read(
    loader: ModelLoader, tiny_model: TinyModel, model_type: str, quantization: Any, doing: str
) -> None:
    folder, steps = tiny_model(model_type), list[LoadStep]()
    spec = LoadSpec(f"tests/{model_type}", "c" * 40, quantization, folder, device="cpu")
    loader.load(spec, on_step=steps.append)
    # A fast machine is seldom seen building.
    assert {step.message for step in steps} - {"building the model"} == {doing, "finishing"}
    assert {step.name for step in steps} - {"building"} == {doing.removesuffix(" weights"), "finishing"}
    assert [step.is_last for step in steps] == [False] * (len(steps) - 1) + [True]
    counted = [step for step in steps if step.bytes_total is not None]
    assert {step.bytes_total for step in counted} == {stored_bytes(folder)}
    done = [step.bytes_done for step in counted]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, stored_bytes(folder))
    assert len(set(done)) > 5


def test_an_artifact_tells_its_own_bytes(loader: ModelLoader, spec: LoadSpec, tmp_path: Path) -> None:
    with loader.get(replace(spec, quantization="8bit")) as loaded:
        loaded.model.save_pretrained(tmp_path)
    steps = list[LoadStep]()
    loader.load(another(spec, 1, quantization="8bit", folder=tmp_path), on_step=steps.append)
    read = steps[-2]
    assert (read.name, read.bytes_done, read.bytes_total) == ("reading", stored_bytes(tmp_path), stored_bytes(tmp_path))
    assert read.done == read.total


def test_pickle_files_tell_no_bytes_but_how_many_tensors(loader: ModelLoader, spec: LoadSpec, tmp_path: Path) -> None:
    shutil.copy(spec.folder / "config.json", tmp_path)
    torch.save(load_file(spec.folder / "model.safetensors"), tmp_path / "pytorch_model.bin")
    steps = list[LoadStep]()
    loader.load(replace(spec, folder=tmp_path, allow_pickle=True), on_step=steps.append)
    assert all(step.bytes_total is None for step in steps)
    assert steps[1].message.startswith("reading weights, tensor 1 of ")


def test_what_a_load_waits_for_and_what_makes_room_for_it_is_told(
    loader: ModelLoader, spec: LoadSpec, small_machine: int
) -> None:
    for number in (1, 2):
        loader.load(another(spec, number))
    steps = list[LoadStep]()
    with Held(loader, another(spec, 3)) as held, ThreadPoolExecutor(1) as pool:
        loading = pool.submit(loader.load, another(spec, 4), on_step=steps.append)
        wait_until(lambda: bool(steps))
        held.go_on.set()
        loading.result(30)
    assert (steps[0].name, steps[0].message) == ("waiting", "waiting for another load")
    assert "making_room" in [step.name for step in steps]
    assert "making room: unloading tests/llama-2" in [step.message for step in steps]
    assert names(loader) == ["tests/llama-3", "tests/llama-4"]


def test_a_load_that_waits_is_taken_back_at_once(loader: ModelLoader, spec: LoadSpec) -> None:
    taken_back = threading.Event()
    with Held(loader, spec) as held, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(loader.load, another(spec, 2), is_cancelled=taken_back.is_set)
        time.sleep(0.1)
        assert not waiting.done()
        taken_back.set()
        with pytest.raises(LoadCancelled):
            waiting.result(30)
        held.go_on.set()
    assert names(loader) == [spec.model_id]


def test_a_load_under_way_is_dropped_with_all_it_had_read(loader: ModelLoader, spec: LoadSpec) -> None:
    held: list[int] = []

    def halfway() -> bool:
        # Live tensors of this model's shape: what the load has put in place so far.
        held.append(living_tensors(spec))
        return len(held) > 12

    before = living_tensors(spec)
    with pytest.raises(LoadCancelled):
        loader.load(spec, is_cancelled=halfway)
    assert max(held) > before
    assert living_tensors(spec) == before
    assert loader.loaded() == []
    loader.load(spec)
    assert names(loader) == [spec.model_id]


def test_a_load_taken_back_at_its_very_end_is_dropped(loader: ModelLoader, spec: LoadSpec) -> None:
    ended = threading.Event()

    def on_step(step: LoadStep) -> None:
        if step.is_last:
            ended.set()

    before = living_tensors(spec)
    with pytest.raises(LoadCancelled):
        loader.load(spec, on_step=on_step, is_cancelled=ended.is_set)
    assert loader.loaded() == []
    assert living_tensors(spec) == before


@pytest.mark.parametrize("first_gives_up", [True, False])
def test_who_gives_up_harms_nobody_who_waits_for_the_same_model(
    loader: ModelLoader, spec: LoadSpec, first_gives_up: bool
) -> None:
    gave_up = threading.Event()
    never = threading.Event()
    first, second = (gave_up, never) if first_gives_up else (never, gave_up)
    with Held(loader, spec, is_cancelled=first.is_set) as held, ThreadPoolExecutor(1) as pool:
        steps = list[LoadStep]()
        other = pool.submit(loader.load, spec, on_step=steps.append, is_cancelled=second.is_set)
        wait_until(lambda: bool(steps))
        assert steps[0].message == "reading weights"  # of the load it waits for
        gave_up.set()
        if first_gives_up:
            held.go_on.set()
            assert other.result(30).key.model_id == spec.model_id
            assert isinstance(held.result(), LoadCancelled)
        else:
            with pytest.raises(LoadCancelled):
                other.result(2)
            held.go_on.set()
            assert held.result() is None
    assert [info.in_use for info in loader.loaded()] == [0]


GB = 10**9


@pytest.fixture
def devices_of(monkeypatch: pytest.MonkeyPatch, spec: LoadSpec) -> Callable[..., list[dict[str, Any]]]:
    """Makes this a machine with GPUs of so much free memory (bytes) and 100 GB of main memory free.

    Returns the options `load_model` is called with; it loads on the CPU all the same.
    """
    real = read_model.load_model

    def machine(*gpus: int) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = []
        table = {torch.device("cuda", index): free for index, free in enumerate(gpus)}
        monkeypatch.setattr(devices, "accelerators", lambda: list(table))
        monkeypatch.setattr(devices, "free_bytes", lambda device: table.get(device, 100 * GB))
        monkeypatch.setattr(devices, "held_bytes", lambda _device: 0)

        def load(folder: Path, **options: Any) -> Any:
            calls.append(options)
            return real(folder, allow_pickle=options["allow_pickle"])

        monkeypatch.setattr(read_model, "load_model", load)
        return calls

    return machine


def of_size(spec: LoadSpec, **option_gb: float) -> LoadSpec:
    return replace(spec, device="auto", option_bytes={name: int(size * GB) for name, size in option_gb.items()})


def test_auto_takes_the_gpu_with_the_most_free_memory(
    loader: ModelLoader, spec: LoadSpec, devices_of: Callable[..., list[dict[str, Any]]]
) -> None:
    calls = devices_of(8 * GB, 24 * GB)
    assert loader.load(of_size(spec, none=16)).key.device == "cuda:1"
    assert calls[0]["device_map"] == {"": torch.device("cuda", 1)}
    assert calls[0]["max_memory"] is None


def test_a_model_larger_than_one_gpu_is_spread_over_all_and_never_over_main_memory(
    loader: ModelLoader, spec: LoadSpec, devices_of: Callable[..., list[dict[str, Any]]]
) -> None:
    calls = devices_of(10 * GB, 24 * GB)
    assert loader.load(of_size(spec, none=30)).key.device == "auto"
    assert calls[0]["device_map"] == "auto"
    assert calls[0]["max_memory"] == {0: 9 * GB, 1: int(21.6 * GB)}


def test_a_model_larger_than_the_gpus_is_refused_with_figures_and_the_way_to_have_it(
    loader: ModelLoader, spec: LoadSpec, devices_of: Callable[..., list[dict[str, Any]]]
) -> None:
    calls = devices_of(8 * GB)
    with pytest.raises(OutOfMemory) as refused:
        loader.load(of_size(spec, none=16, **{"8bit": 9, "4bit": 5}))
    assert "needs about 16.0 GB on cuda:0, where 8.00 GB are free" in refused.value.message
    assert "Quantize it to 4-bit: about 5.00 GB." in (refused.value.hint or "")
    assert "allow_offload" in (refused.value.hint or "")
    assert calls == []


def test_main_memory_takes_what_the_gpu_cannot_hold_on_request(
    loader: ModelLoader, spec: LoadSpec, devices_of: Callable[..., list[dict[str, Any]]]
) -> None:
    calls = devices_of(8 * GB)
    offloaded = replace(of_size(spec, none=16), allow_offload=True)
    assert loader.load(offloaded).key.device == "auto+cpu"
    assert calls[0]["device_map"] == "auto"
    assert calls[0]["max_memory"] == {0: int(7.2 * GB), "cpu": 90 * GB}
    loader.close()
    fits = replace(of_size(spec, none=7), allow_offload=True)
    assert loader.load(fits).key.device == "cuda:0"  # what fits is not offloaded
    with pytest.raises(InvalidRequest, match="4-bit cannot be kept in system memory in part"):
        loader.load(replace(offloaded, quantization="4bit"))
    with pytest.raises(InvalidRequest, match="needs the device auto"):
        loader.load(another(offloaded, 1, device="cuda:0"))


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_a_quantized_model_that_the_gpus_cannot_hold_is_out_of_memory(
    loader: ModelLoader, spec: LoadSpec, quantization: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """accelerate places its layers and finds no room; bitsandbytes refuses with an error of its own."""
    table = {torch.device("cuda", index): 2000 for index in range(2)}
    monkeypatch.setattr(devices, "accelerators", lambda: list(table))
    monkeypatch.setattr(devices, "free_bytes", lambda device: table.get(device, 0))
    monkeypatch.setattr(quantization_module, "best_compute_dtype", lambda _device: torch.bfloat16)
    with pytest.raises(OutOfMemory, match="does not fit on all accelerators together") as refused:
        loader.load(replace(spec, device="auto", quantization=quantization, option_bytes={quantization: 3000}))
    assert "smallest form" in (refused.value.hint or "")


def test_idle_models_expire_each_after_its_own_time(loader: ModelLoader, spec: LoadSpec) -> None:
    told: list[Unloaded] = []
    loader.on_unload = told.append
    loader.load(another(spec, 1, ttl_seconds=0.3))
    loader.load(another(spec, 2, ttl_seconds=60))
    loader.load(another(spec, 3, ttl_seconds=0.3, pinned=True))
    with loader.get(another(spec, 4, ttl_seconds=0.3)):
        expiries = {info.key.model_id[-1]: info.expires_at for info in loader.loaded()}
        assert expiries["2"] is not None
        assert expiries["3"] is expiries["4"] is None
        wait_until(lambda: len(loader.loaded()) == 3)
        time.sleep(0.4)
        assert names(loader) == ["tests/llama-2", "tests/llama-3", "tests/llama-4"]
    wait_until(lambda: len(told) == 2)
    assert names(loader) == ["tests/llama-2", "tests/llama-3"]
    assert [unloaded.key.model_id[-1] for unloaded in told] == ["1", "4"]


def test_loading_again_renews_time_and_pin(loader: ModelLoader, spec: LoadSpec) -> None:
    assert loader.load(spec).pinned is False
    assert loader.load(replace(spec, pinned=True)).pinned is True
    assert loader.load(replace(spec, ttl_seconds=None)).pinned is False
    assert loader.loaded()[0].expires_at is None
    with loader.get(replace(spec, ttl_seconds=60)):
        pass
    assert loader.loaded()[0].expires_at is None  # who only uses it changes nothing
    with loader.get(replace(spec, ttl_seconds=60, sets_ttl=True)):
        pass
    assert loader.loaded()[0].expires_at is not None


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
from modelyard.core.process import prepare_process

prepare_process()

import psutil, torch
from modelyard.ml.model_loader import LoadSpec, ModelLoader

def rss():
    return psutil.Process().memory_info().rss

def use(folder, run=True, **options):
    spec = LoadSpec(folder, "c", folder=Path(folder), device="cpu", **options)
    before = rss()
    with loader.get(spec) as loaded, torch.inference_mode():
        if run:
            loaded.model(torch.arange(64).view(1, -1))
            loaded.model.get_input_embeddings().weight.sum()  # mapped: only rows that were read are in memory
        took = rss() - before
    told = loader.unload_model(loaded.key)
    held = {"freed": told.freed_bytes, "held": told.held_before_bytes, "mapped": told.mapped_bytes}
    return {"took": took, "left": rss() - before, **held}

loader = ModelLoader()
warm, large = sys.argv[1:3]
for quantization in ("none", "4bit"):
    use(warm, quantization=quantization)
plain = {"quantization": "none"}
print(json.dumps([use(large, **plain), use(large, dtype="float32", **plain), use(large, run=False, **plain)]))
"""


def test_unloading_gives_the_memory_back_to_the_system(spec: LoadSpec, tmp_path: Path) -> None:
    size = zoo.make_large(tmp_path)
    assert size > 500 * 10**6
    done = subprocess.run(
        [sys.executable, "-c", _UNLOAD_IN_A_FRESH_PROCESS, str(spec.folder), str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
    )
    none, float32, never_run = json.loads(done.stdout)
    assert float32["held"] >= 10**9
    for measured in (none, float32):
        assert measured["took"] > 0.98 * size
        assert measured["left"] <= 0.02 * measured["took"]
        assert measured["freed"] >= 0.98 * measured["held"]
        assert measured["mapped"] <= 0.02 * measured["held"]
    # Weights that nobody read are mapped and not in memory: they cannot come back, and nobody says that they held it.
    assert never_run["held"] == none["held"]
    assert never_run["mapped"] > 0.5 * never_run["held"]
    assert never_run["freed"] >= 0.98 * (never_run["held"] - never_run["mapped"])
    assert never_run["took"] < 0.5 * never_run["held"]
