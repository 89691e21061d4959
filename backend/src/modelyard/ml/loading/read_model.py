"""Reading a model into memory, with nothing left of it where that ends early."""

import threading
import time

import torch

from modelyard.core import units
from modelyard.core.checkpoint_folder import weight_files
from modelyard.core.errors import OutOfMemory
from modelyard.ml.loading import devices
from modelyard.ml.loading.load_progress import LoadStep, OnStep, telling_steps
from modelyard.ml.loading.load_spec import LoadSpec, ModelKey
from modelyard.ml.loading.loaded_model import LoadedModel
from modelyard.ml.loading.placement import OFFLOADED, SPREAD, free_bytes, out_of_memory, shares, where
from modelyard.ml.loading.pretrained import load_model, read_config, stored_quantization

READERS_SECONDS = 5.0
"""How long the threads of a load that ended early may take to come to their ends; each reads one tensor at most."""


class LoadCancelled(Exception):
    """The load was taken back, and nothing of it is left."""


def read_model(key: ModelKey, spec: LoadSpec, step: OnStep) -> LoadedModel:
    """Load a model to the device of its key; `step` hears what is being done, and may raise LoadCancelled.

    Raises OutOfMemory, and whatever `load_model` raises.
    """
    device = key.device
    started, threads = time.monotonic(), set(threading.enumerate())
    failure: BaseException | None = None
    try:
        made = spec.quantization == "none" or stored_quantization(read_config(spec.folder)) is not None
        with telling_steps(weight_files(spec.folder), "reading" if made else "quantizing", step):
            model = load_model(
                spec.folder,
                quantization=spec.quantization,
                device_map={"": torch.device(device)} if device not in (SPREAD, OFFLOADED) else "auto",
                max_memory=shares(device),
                dtype=spec.dtype,
                allow_pickle=spec.allow_pickle,
                on_build=lambda: step(LoadStep("building", "building the model")),
            )
    except (RuntimeError, MemoryError, OutOfMemory, LoadCancelled) as error:
        if isinstance(error, RuntimeError | MemoryError) and not devices.is_out_of_memory(error):
            raise
        failure = error.with_traceback(None)  # the traceback holds what was loaded so far
    if failure is not None:
        _await_readers(threads)
        devices.release_memory()
        if isinstance(failure, LoadCancelled):
            raise failure
        if isinstance(failure, OutOfMemory):
            raise out_of_memory(spec, device, f"does not fit {where(device)}")
        free = free_bytes(device)
        raise out_of_memory(
            spec, device, f"ran out of memory while loading {where(device)}, where {units.size(free)} are free"
        )
    return LoadedModel(key, model, spec.folder, time.monotonic() - started)


def _await_readers(known: set[threading.Thread]) -> None:
    """transformers does not wait for its pool's threads when a load ends early, and each still holds a tensor."""
    deadline = time.monotonic() + READERS_SECONDS
    for thread in set(threading.enumerate()) - known:
        if thread.name.startswith("ThreadPoolExecutor"):
            thread.join(max(0.0, deadline - time.monotonic()))
