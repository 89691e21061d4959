"""One precision's figures put together, and whether they fit a device."""

from collections.abc import Sequence

from modelyard.core.statuses import QuantizationName
from modelyard.schemas.memory import MemoryOption, Verdict, VerdictName
from modelyard.schemas.system import Device
from modelyard.services.inspection.runtime_memory import RuntimeMemory
from modelyard.services.inspection.weight_memory import OptionWeights

FITS_FRACTION = 0.85


def memory_option(
    name: QuantizationName,
    weights: OptionWeights,
    use: RuntimeMemory,
    size_bytes: int,
    devices: Sequence[Device],
    fast_dtype_bytes: int | None,
) -> MemoryOption:
    activations = use.activations.get(name)
    known = None
    if weights.weights is not None:
        known = weights.weights + (use.kv_cache or 0) + (activations or 0)
    at_most = None
    if weights.at_most is not None and use.unknown_at_most is not None:
        at_most = weights.at_most + (use.kv_cache or 0) + (activations or 0) + use.unknown_at_most
    partial = None in (use.kv_cache, activations) or weights.weights != weights.at_most
    return MemoryOption(
        quantization=name,
        weights_bytes=weights.weights,
        quantization_state_bytes=weights.state,
        quantized_fraction=weights.fraction,
        kv_cache_bytes=use.kv_cache,
        activation_bytes=activations,
        # On a CPU a model adds nothing beside its tensors; what a GPU's context takes is not known before it is there.
        overhead_bytes=0 if all(device.id == "cpu" for device in devices) else None,
        total_bytes=known,
        total_is_lower_bound=known is not None and partial,
        load_peak_bytes=weights.load_peak,
        download_bytes=size_bytes,
        disk_bytes=size_bytes if name == "none" else weights.weights,
        fast_dtype_bytes=fast_dtype_bytes,
        available=weights.available,
        note=weights.note,
        verdicts=[
            _verdict(known, at_most, weights.load_peak or 0, device) if weights.available else _no_verdict(device)
            for device in devices
        ],
    )


def _verdict(known: int | None, at_most: int | None, load_peak: int, device: Device) -> Verdict:
    """`fits` and `tight` are said of the most that it may take, `does_not_fit` of the least that it takes."""
    word: VerdictName = "unknown"
    if known is not None and max(known, load_peak) > device.free_bytes:
        word = "does_not_fit"
    elif at_most is not None and max(at_most, load_peak) <= device.free_bytes:
        word = "fits" if max(at_most, load_peak) <= FITS_FRACTION * device.free_bytes else "tight"
    return Verdict(device=device.id, verdict=word, free_bytes=device.free_bytes, total_bytes=device.total_bytes)


def rough_verdict(weights_bytes: int | None, devices: Sequence[Device]) -> VerdictName:
    """Return whether the weights alone fit the roomiest accelerator or, failing that, the machine's memory."""
    by_room = sorted(devices, key=lambda device: (device.id == "cpu", -device.free_bytes))
    words = [_verdict(weights_bytes, weights_bytes, 0, device).verdict for device in by_room]
    return next((word for word in words if word != "does_not_fit"), words[0] if words else "unknown")


def _no_verdict(device: Device) -> Verdict:
    return Verdict(device=device.id, verdict="unknown", free_bytes=device.free_bytes, total_bytes=device.total_bytes)
