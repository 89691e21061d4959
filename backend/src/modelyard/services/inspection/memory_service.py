"""What a model needs in each precision, and whether that fits this machine: exact where the inspector can tell."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple

from modelyard.core.database import Database
from modelyard.schemas.memory import EstimateParts, FastDtype, MemoryEstimate
from modelyard.schemas.system import Device
from modelyard.services.facts.config_facts import read_config
from modelyard.services.inspection.checkpoint import Checkpoint
from modelyard.services.inspection.fast_dtype import fast_dtype
from modelyard.services.inspection.inspection_service import InspectionService
from modelyard.services.inspection.memory_option import memory_option
from modelyard.services.inspection.runtime_memory import RuntimeMemories
from modelyard.services.inspection.weight_memory import QUANTIZATIONS, ExactFigures, FoundWeights, WeightMemory

EXACT_SECONDS = 20.0
"""How long an answer may wait for the inspector; then it is approximate and says why."""


class MemoryService:
    """Memory figures. Each exact answer is asked of the inspector once and then read from the database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        inspections = InspectionService(database)
        self._weights, self._runtime = WeightMemory(inspections), RuntimeMemories(inspections)

    def estimate(
        self,
        checkpoint: Checkpoint,
        devices: Sequence[Device],
        *,
        context: int,
        batch: int,
        dtype: str,
        parts: EstimateParts = "all",
        seconds: float = EXACT_SECONDS,
        copies: Collection[str] = (),
    ) -> MemoryEstimate:
        """Three options with a verdict for each device; waits at most `seconds` for exact figures.

        A context beyond the model's own limit counts as that limit. `parts="weights"` leaves out the KV cache and the
        activations, which take longest to find. `copies` are the precisions of which a quantized copy is here: loading
        one takes less than making it.
        """
        deadline = time.monotonic() + seconds
        facts = read_config(checkpoint.config)
        context = min(context, facts.dimensions["max_position_embeddings"] or context)
        found = self._weights.find(checkpoint, dtype, deadline)
        use = self._runtime.find(checkpoint, found, context, batch, parts, deadline)
        name, commit, extra = checkpoint.model_id, checkpoint.commit, 0
        if checkpoint.adapter is not None:
            name, commit, extra = astuple(checkpoint.adapter)
            found = found.with_more(extra)
        faster, more = self._faster(checkpoint, found, devices, dtype, deadline)
        remarks = [remark for remark in (found.reason, found.remark, *use.remarks) if remark is not None]
        return MemoryEstimate(
            model_id=name,
            commit=commit,
            adapter_bytes=extra,
            method="exact" if found.reason is None else "approximate",
            method_reason="; ".join(remarks) or None,
            may_improve=found.may_improve or use.may_improve,
            num_parameters=found.num_parameters,
            dtype=found.dtype,
            fast_dtype=faster,
            kv_cache_segments=use.segments,
            context=context,
            batch=batch,
            options=[
                memory_option(name, found.to_load(name, copies), use, checkpoint.size_bytes, devices, more.get(name))
                for name in QUANTIZATIONS
            ],
        )

    def _faster(
        self, checkpoint: Checkpoint, found: FoundWeights, devices: Sequence[Device], dtype: str, deadline: float
    ) -> tuple[FastDtype | None, dict[str, int]]:
        """The dtype in which this host is faster than as stored, and how much more each precision takes in it."""
        if dtype != "auto" or not any(option.available for option in found.options.values()):
            return None, {}
        faster = fast_dtype(self.database, found.dtype, devices, seconds=deadline - time.monotonic())
        if faster is None:
            return None, {}
        wanted = self.options(checkpoint, dtype=faster.dtype, seconds=deadline - time.monotonic())
        return faster, {
            name: wanted[name] - option.weights
            for name, option in found.options.items()
            if option.weights is not None and name in wanted
        }

    def exact(self, checkpoint: Checkpoint, *, dtype: str = "auto", seconds: float) -> ExactFigures | None:
        """Return what `WeightMemory.exact` does."""
        return self._weights.exact(checkpoint, dtype=dtype, seconds=seconds)

    def options(self, checkpoint: Checkpoint, *, dtype: str = "auto", seconds: float) -> Mapping[str, int]:
        """Return the resident bytes of the weights loaded in `dtype` per precision; empty where not known exactly."""
        found = self.exact(checkpoint, dtype=dtype, seconds=seconds)
        return {} if found is None else found.weights_bytes
