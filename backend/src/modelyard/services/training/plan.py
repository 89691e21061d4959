"""What a training run would take, and whether its settings go together."""

from typing import TYPE_CHECKING

from modelyard.core import units
from modelyard.core.errors import DiskFull, InvalidRequest, TrainingIncompatible
from modelyard.core.settings import get_settings
from modelyard.core.storage import DISK_RESERVE_BYTES, free_bytes
from modelyard.models import Model, Quantization
from modelyard.schemas.architecture import HookPoint
from modelyard.schemas.system import Device
from modelyard.schemas.training import TrainingCompatibility, TrainingCreate
from modelyard.services.training.text import wrong_field

if TYPE_CHECKING:
    from modelyard.ml.sae.plan import MemoryPlan

TOPK_FAMILY = ("topk", "batchtopk", "matryoshka")
WIDE_D_IN = 1024
_ELEMENT_BYTES = {"float32": 4}
"""Dtypes that do not take 2 bytes a value."""


def hook_point(verdict: TrainingCompatibility, path: str) -> HookPoint:
    """Return the hook point at a path. Raises TrainingIncompatible, InvalidRequest."""
    if verdict.compatible is False:
        reason = verdict.reasons[0]
        raise TrainingIncompatible(reason.message, hint="Choose another model.", reason=reason.code)
    for point in verdict.hook_points:
        if point.path == path:
            return point
    if not verdict.hook_points:
        why = verdict.reasons[0].message if verdict.reasons else "Its hook points are not known."
        raise TrainingIncompatible(f"The model's hook points could not be found: {why}", reason="not_inspected")
    raise InvalidRequest(
        f"The model has no hook point {path!r}.",
        hint=f"Use one of its {len(verdict.hook_points)}, such as {verdict.hook_points[0].path}.",
        errors=[{"field": "hook_point", "message": "not among the hook points of the model"}],
    )


def active_features(request: TrainingCreate, d_in: int) -> int | None:
    """Return k, the features active at once; None for an architecture that has no k."""
    if request.architecture not in TOPK_FAMILY:
        return None
    return request.k or (32 if d_in < WIDE_D_IN else 64)


def check_request(request: TrainingCreate, row: Model, d_in: int, verdict: TrainingCompatibility) -> None:
    """Check what no single field can tell. Raises InvalidRequest."""
    d_sae = d_in * request.expansion_factor
    longest = verdict.dimensions.max_position_embeddings
    k = active_features(request, d_in)
    if request.dtype != "auto" and row.quantization is not Quantization.NONE:
        raise wrong_field(
            "dtype", f"A model in {row.quantization} is trained on in the precision it is stored in.", "Use auto."
        )
    if request.k is not None and request.architecture not in TOPK_FAMILY:
        raise wrong_field("k", f"The architecture {request.architecture} has no k.", "Leave k out.")
    if request.l1_coefficient is not None and request.architecture in TOPK_FAMILY:
        raise wrong_field(
            "l1_coefficient", f"The architecture {request.architecture} has no l1_coefficient.", "Leave it out."
        )
    if k is not None and k > d_sae:
        raise wrong_field("k", f"k is {k}, but there are only {d_sae} features.", "Use a smaller k.")
    if longest is not None and request.context_size > longest:
        raise wrong_field(
            "context_size", f"The model reads at most {longest} tokens at once.", "Use a smaller context_size."
        )
    if request.training_tokens < request.batch_tokens:
        raise wrong_field(
            "training_tokens",
            f"{request.training_tokens} tokens are less than one batch of {request.batch_tokens}.",
            "Use more training_tokens or fewer batch_tokens.",
        )


def no_room(memory: "MemoryPlan") -> DiskFull | None:
    """Return why the disk cannot hold what a run writes: two checkpoints while one is replaced, then the SAE."""
    folder = get_settings().trainings_folder
    needed = 2 * memory.checkpoint_bytes + memory.output_bytes + DISK_RESERVE_BYTES
    free = free_bytes(folder)
    if needed <= free:
        return None
    return DiskFull(
        f"The run writes {units.size(needed)}, and {units.size(free)} are free in {folder}.",
        hint="Free space, or use a smaller expansion_factor.",
    )


def model_bytes(row: Model, request: TrainingCreate) -> int | None:
    """Return the bytes of the model in the precision that is asked for; what is known is of the stored one."""
    known = row.memory_measured_bytes or row.memory_estimated_bytes or row.size_bytes
    return None if known is None else known * _element_bytes(row, request) // _ELEMENT_BYTES.get(row.dtype or "", 2)


def _element_bytes(row: Model, request: TrainingCreate) -> int:
    return _ELEMENT_BYTES.get((row.dtype or "") if request.dtype == "auto" else request.dtype, 2)


def memory_needed(
    row: Model, request: TrainingCreate, point: HookPoint, verdict: TrainingCompatibility, device: Device | None
) -> "MemoryPlan":
    """Plan a run's memory on a device, in bytes."""
    from modelyard.ml.sae.plan import Size, memory_plan

    hidden = verdict.dimensions.hidden_size or point.width
    return memory_plan(
        Size(
            d_in=point.width,
            d_sae=point.width * request.expansion_factor,
            batch_tokens=request.batch_tokens,
            context_size=request.context_size,
            model_bytes=model_bytes(row, request) or 0,
            hidden_size=hidden,
            intermediate_size=verdict.dimensions.intermediate_size or 4 * hidden,
            vocab_size=verdict.dimensions.vocab_size or 0,
            architecture=request.architecture,
            element_bytes=_element_bytes(row, request),
            device_type="cpu" if device is None else device.id.partition(":")[0],
            whole_model=point.layer is None,
        )
    )
