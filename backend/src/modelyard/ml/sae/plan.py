"""What a run will take in memory, before it starts. Arithmetic only; all figures in bytes."""

import math
from dataclasses import asdict, dataclass

from modelyard.core import units
from modelyard.core.errors import OutOfMemory

FLOAT32_BYTES = 4
USABLE_FRACTION = 0.9
"""A plan that needs more than this part of the free memory is refused: the rest is for what nobody can count."""

PROCESS_BYTES = {"cpu": 750_000_000, "cuda": 600_000_000}
"""torch, transformers and SAELens themselves, before the first weight: resident memory, or the CUDA context."""

PLACE_WORDS = {"cpu": "system memory"}
_PART_WORDS = {
    "model_bytes": ("the loaded model", "Use a smaller or a quantized model"),
    "forward_bytes": ("the model's forward pass", "Use a shorter context"),
    "sae_bytes": ("the SAE with its optimizer", "Use a smaller expansion factor"),
    "batch_bytes": ("one batch of activations", "Use a smaller batch or a smaller expansion factor"),
    "buffer_bytes": ("the buffer of activations", "Use a smaller batch or a shorter context"),
    "process_bytes": ("the libraries", "Free memory"),
}
"""What each part of a plan is, and what makes it smaller."""

SMALLER = "Use a smaller expansion factor, a smaller batch, a shorter context, or a quantized model."
STEP_TENSORS = {"standard": 9, "topk": 12, "batchtopk": 13, "matryoshka": 14}
"""How many tensors of (batch_tokens, d_sae) are alive at the worst moment of a step, as measured: activations before
and after the nonlinearity, their gradients, and the loss that revives dead features."""

LM_BATCH_TOKENS = 8192
HELD_OUT_TOKENS = 4096
"""How many activations of text that is not trained on are kept, to compare the SAE with."""
MAX_LM_PROMPTS = 16


@dataclass(frozen=True)
class Size:
    """What a plan is made for. `model_bytes` is the loaded model, `element_bytes` one of its activations."""

    d_in: int
    d_sae: int
    batch_tokens: int
    context_size: int
    model_bytes: int
    hidden_size: int
    intermediate_size: int
    vocab_size: int
    architecture: str = "topk"
    element_bytes: int = 2
    device_type: str = "cpu"
    whole_model: bool = False
    """The hook is behind the last block, so the logits are computed too."""


@dataclass(frozen=True)
class MemoryPlan:
    """`total_bytes` is the sum of the parts; a checkpoint takes `checkpoint_bytes` of disk, for a moment twice."""

    parameters: int
    model_bytes: int
    forward_bytes: int
    sae_bytes: int
    batch_bytes: int
    buffer_bytes: int
    process_bytes: int
    total_bytes: int
    checkpoint_bytes: int
    output_bytes: int

    def hint(self) -> str:
        """Return what would help most where the plan does not fit."""
        largest = max(_PART_WORDS, key=lambda part: int(getattr(self, part)))
        words, remedy = _PART_WORDS[largest]
        return f"{remedy}: the largest part is {words}, {units.size(getattr(self, largest))}."

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


def lm_prompts(context_size: int) -> int:
    """Return how many contexts the language model reads at once."""
    return max(1, min(MAX_LM_PROMPTS, LM_BATCH_TOKENS // context_size))


def buffer_contexts(batch_tokens: int, context_size: int) -> int:
    """Return how many contexts of activations are kept to be mixed: four training batches at least."""
    return math.ceil(4 * batch_tokens / context_size)


def memory_plan(size: Size) -> MemoryPlan:
    """The parts of a run's memory: the model and its forward pass, the SAE with gradients and Adam's two moments,
    one training batch, and the buffer with the copies that shuffling makes and the text that is kept back."""
    parameters = 2 * size.d_in * size.d_sae + size.d_in + size.d_sae
    lm_tokens = lm_prompts(size.context_size) * size.context_size
    width = 8 * size.hidden_size + 3 * size.intermediate_size + (2 * size.vocab_size if size.whole_model else 0)
    buffered = buffer_contexts(size.batch_tokens, size.context_size) * size.context_size + lm_tokens
    step_width = STEP_TENSORS[size.architecture] * size.d_sae + 6 * size.d_in
    parts = {
        "model_bytes": size.model_bytes,
        "forward_bytes": lm_tokens * width * size.element_bytes,
        "sae_bytes": 4 * FLOAT32_BYTES * parameters,
        "batch_bytes": FLOAT32_BYTES * size.batch_tokens * step_width,
        "buffer_bytes": int(FLOAT32_BYTES * size.d_in * (2.5 * buffered + HELD_OUT_TOKENS)),
        "process_bytes": PROCESS_BYTES.get(size.device_type, 0),
    }
    return MemoryPlan(
        parameters=parameters,
        total_bytes=sum(parts.values()),
        checkpoint_bytes=3 * FLOAT32_BYTES * parameters,
        output_bytes=FLOAT32_BYTES * parameters,
        **parts,
    )


def refusal(needed_bytes: int, free_bytes: int, device: str, hint: str = SMALLER) -> OutOfMemory | None:
    """Return why a run cannot be held by a device, with the figures; None if it can."""
    if needed_bytes <= USABLE_FRACTION * free_bytes:
        return None
    place = PLACE_WORDS.get(device, device)
    return OutOfMemory(
        f"The run needs {units.size(needed_bytes)} of {place}, of which {units.size(free_bytes)} are free"
        f" ({USABLE_FRACTION:.0%} of that may be planned).",
        hint=hint,
        needed_bytes=needed_bytes,
        free_bytes=free_bytes,
    )
