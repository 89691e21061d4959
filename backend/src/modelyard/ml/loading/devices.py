"""The devices torch can compute on: which one to use, and what is free on it, in bytes."""

import ctypes
import gc
import sys

import psutil
import torch
from accelerate.hooks import AlignDevicesHook, SequentialHook
from torch import nn

from modelyard.core.container import memory_limit
from modelyard.core.errors import InvalidRequest

_OUT_OF_MEMORY = (
    "out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory",
    "cublas_status_alloc_failed",
)  # fmt: skip


def accelerators() -> list[torch.device]:
    if torch.cuda.is_available():
        return [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    return [torch.device("mps")] if torch.backends.mps.is_available() else []


def parse_device(name: str) -> torch.device:
    """`cpu`, `cuda:N` or `mps`, if this machine has it. Raises InvalidRequest."""
    known = {"cpu": torch.device("cpu")} | {str(device): device for device in accelerators()}
    known |= {"cuda": known["cuda:0"]} if "cuda:0" in known else {}
    if name not in known:
        raise InvalidRequest(f"There is no device {name!r} here.", hint=f"Use auto or one of {', '.join(known)}.")
    return known[name]


def free_bytes(device: torch.device) -> int:
    """Return what can still be allocated: free memory, and what this process has cached but does not use."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + cached
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    available = int(psutil.virtual_memory().available) - _mapped_bytes()
    limit = memory_limit()
    return available if limit is None else min(available, limit.free_bytes)


def held_bytes(device: torch.device) -> int:
    """Return what this process holds on the device, as the system (not the allocator's user) sees it."""
    if device.type == "cuda":
        return int(torch.cuda.memory_reserved(device))
    if device.type == "mps":
        return int(torch.mps.driver_allocated_memory())
    return int(psutil.Process().memory_info().rss)


def release_memory() -> None:
    """Give memory that nothing refers to any more back to the system and the devices."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
        if trim is not None:
            trim(0)


def placement_hooks(module: nn.Module) -> list[AlignDevicesHook]:
    """Return what accelerate moves a module's weights and inputs with, where a model is not on one device."""
    hook = getattr(module, "_hf_hook", None)
    hooks = hook.hooks if isinstance(hook, SequentialHook) else [hook]
    return [each for each in hooks if isinstance(each, AlignDevicesHook)]


def input_device(model: nn.Module) -> torch.device:
    """Return where a model takes its inputs; the weights of one that is offloaded are nowhere between two passes."""
    placed = [hook.execution_device for hook in placement_hooks(model) if hook.execution_device is not None]
    return torch.device(placed[0]) if placed else next(model.parameters()).device


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error, of torch or of what it calls, says that memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def _mapped_bytes() -> int:
    """Pages of files in this process's memory: to the system they are available, to us they are models' weights."""
    return int(getattr(psutil.Process().memory_info(), "shared", 0))
