"""Where a model goes: one device, several accelerators, or these and system memory; and what is free there."""

import torch

from modelyard.core import units
from modelyard.core.errors import InvalidRequest, OutOfMemory
from modelyard.ml.loading import devices
from modelyard.ml.loading.load_spec import LoadSpec

SPREAD = "auto"
"""The device of a model that needs several accelerators."""

OFFLOADED = "auto+cpu"
"""The device of a model that the accelerators hold in part; the rest is in system memory between two passes."""

SHARE = 0.9
"""How much of what is free a spread model may take of each device; the rest is for caches and activations."""

_PRECISION_WORD = {"8bit": "8-bit", "4bit": "4-bit"}


def resolve_device(spec: LoadSpec) -> str:
    """Return the device that `auto` means: the accelerator with the most free memory, all of them if it takes them all.

    Main memory besides only on request. Raises InvalidRequest for a request that cannot be met.
    """
    if spec.allow_offload and spec.quantization != "none":
        raise InvalidRequest(
            f"A model in {_PRECISION_WORD[spec.quantization]} cannot be kept in system memory in part.",
            hint="Load it without offload, or load the unquantized model with it.",
        )
    if spec.device != SPREAD:
        if spec.allow_offload:
            raise InvalidRequest("Offload needs the device auto.", hint="Leave the device out.")
        return str(devices.parse_device(spec.device))
    found = devices.accelerators()
    if not found:
        return "cpu"
    roomiest = max(found, key=devices.free_bytes)
    if spec.needed_bytes <= devices.free_bytes(roomiest):
        return str(roomiest)
    # Metal's memory is the machine's.
    if spec.allow_offload and roomiest.type == "cuda" and spec.needed_bytes > free_bytes(SPREAD) * SHARE:
        return OFFLOADED
    return SPREAD if len(found) > 1 else str(roomiest)


def places(device: str) -> list[torch.device]:
    """Return the devices that one place is made of."""
    if device in (SPREAD, OFFLOADED):
        return devices.accelerators() + ([torch.device("cpu")] if device == OFFLOADED else [])
    return [torch.device(device)]


def free_bytes(device: str) -> int:
    """Return what is free there now, in bytes."""
    return sum(map(devices.free_bytes, places(device)))


def where(device: str) -> str:
    """Return a place in words."""
    return {
        "cpu": "in system memory",
        SPREAD: "on all accelerators together",
        OFFLOADED: "on the accelerators and in system memory together",
    }.get(device, f"on {device}")


def shares(device: str) -> dict[int | str, int] | None:
    """Return what each device may take of a model that is on several."""
    if device not in (SPREAD, OFFLOADED):
        return None
    return {
        "cpu" if place.type == "cpu" else place.index: int(devices.free_bytes(place) * SHARE)
        for place in places(device)
    }


def out_of_memory(spec: LoadSpec, device: str, what: str) -> OutOfMemory:
    """Return the error, with a hint that names the next smaller way to have the model, never a larger one."""
    free = free_bytes(device)
    smaller = sorted(
        (
            (size, option)
            for option, size in spec.option_bytes.items()
            if option in _PRECISION_WORD and size < spec.needed_bytes
        ),
        reverse=True,
    )
    fitting = [(size, option) for size, option in smaller if size <= free]
    if fitting or smaller:
        size, option = (fitting or smaller[-1:])[0]
        hint = f"Quantize it to {_PRECISION_WORD[option]}: about {units.size(size)}."
        if not fitting:
            hint += f" That is still more than the {units.size(free)} that are free: unload other models first."
    elif spec.dtype == "float32":
        hint = "Load it in bfloat16, which takes half of float32."
    else:
        hint = "This is its smallest form: unload other models, use another device, or choose a smaller model."
    if device != "cpu" and spec.quantization == "none" and not spec.allow_offload:
        hint += " With allow_offload (--offload), what does not fit stays in system memory, which is slow."
    precision = "" if spec.quantization == "none" else f" in {_PRECISION_WORD[spec.quantization]}"
    return OutOfMemory(f"{spec.model_id}{precision} {what}.", hint=hint)
