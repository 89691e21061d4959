"""How far a quantized model's answers are from its source's, on a small fixed set of prompts."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.nn import functional
from transformers import PreTrainedModel

from modelyard.ml.untrusted import Tokenizer

PROMPTS = (
    "The capital of France is Paris, and the capital of Italy is",
    "Water boils at 100 degrees Celsius because",
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
    "She opened the letter, read it twice, and then said:",
    "Question: If a train travels 60 km in 45 minutes, what is its speed in km/h?\nAnswer:",
    "Die Sonne scheint, und die Kinder spielen im Garten.",
)
PROMPT_TOKENS = 64
"""A prompt's longest length; also the length of the prompts made of token ids where there is no tokenizer."""

RESIDUAL_LIMIT_BYTES = 512 * 10**6
"""Residual streams are compared for models whose streams on all prompts fit in this."""


@dataclass(frozen=True)
class Observation:
    """What a model made of the prompts: logits [tokens, vocabulary], and hidden states per layer [tokens, width]."""

    logits: list[torch.Tensor]
    residuals: list[torch.Tensor]


@dataclass(frozen=True)
class Drift:
    """`kl_*` in nats, of the quantized model's next-token distribution from the source's, over all positions.

    `residual_cosine` is the mean cosine similarity of the hidden states that enter layer 0, 1, … and leave the last
    one; empty for very large models. `compared_dtype` is the dtype the source was run in. Where no comparison was
    possible, every figure is None and `reason` says why.
    """

    prompts: int
    tokens: int
    compared_dtype: str | None = None
    kl_mean: float | None = None
    kl_max: float | None = None
    top1_agreement: float | None = None
    residual_cosine: list[float] = field(default_factory=list)
    reason: str | None = None


def prompt_ids(tokenizer: Tokenizer | None, vocab_size: int) -> list[torch.Tensor]:
    """The prompts as token ids; without a tokenizer, fixed pseudo-random ids."""
    if tokenizer is not None:
        tokenized = [torch.tensor([tokenizer.encode(prompt)[:PROMPT_TOKENS]]) for prompt in PROMPTS]
        return [ids for ids in tokenized if ids.numel() and int(ids.max()) < vocab_size]
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(vocab_size, (1, PROMPT_TOKENS), generator=generator) for _ in PROMPTS]


@torch.inference_mode()
def observe(model: PreTrainedModel, prompts: Sequence[torch.Tensor]) -> Observation:
    """Run the prompts one by one and keep the results in main memory, in the dtype they came in."""
    text = model.config.get_text_config(decoder=True)
    tokens = sum(ids.numel() for ids in prompts)
    stream_bytes = tokens * text.hidden_size * (text.num_hidden_layers + 1) * model.dtype.itemsize
    keep_residuals = stream_bytes <= RESIDUAL_LIMIT_BYTES
    logits: list[torch.Tensor] = []
    streams: list[list[torch.Tensor]] = []
    for ids in prompts:
        inputs: dict[str, Any] = {"input_ids": ids.to(model.device), "output_hidden_states": keep_residuals}
        if model.config.is_encoder_decoder:
            inputs["decoder_input_ids"] = inputs["input_ids"]
        else:
            inputs["use_cache"] = False
        output = model(**inputs, return_dict=True)
        # A model without a language head is judged by its last hidden state.
        answer = output["logits"] if "logits" in output else output["last_hidden_state"]
        logits.append(answer[0].to("cpu"))
        name = "decoder_hidden_states" if model.config.is_encoder_decoder else "hidden_states"
        states = output.get(name) if keep_residuals else None
        streams.append([state.reshape(-1, state.shape[-1]).to("cpu") for state in states or ()])
    residuals = [torch.cat(layer) for layer in zip(*streams, strict=True)]
    return Observation(logits, residuals)


def identical(first: Observation, second: Observation) -> bool:
    """Whether two runs gave the same bits (so that NaN equals NaN)."""
    return all(
        torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))
        for a, b in zip(first.logits, second.logits, strict=True)
    )


def is_finite(observed: Observation) -> bool:
    """Whether each position has a likeliest token; minus infinity alone is a mask, which models have."""
    return all(bool(logits.amax(-1).isfinite().all()) for logits in observed.logits)


def compare(source: Observation, quantized: Observation, dtype: str) -> Drift:
    """The drift of `quantized` from `source`, which ran the same prompts."""
    divergences, agreements = [], []
    for reference, answer in zip(source.logits, quantized.logits, strict=True):
        expected = functional.log_softmax(reference.float(), dim=-1)
        actual = functional.log_softmax(answer.float(), dim=-1)
        divergences.append(functional.kl_div(actual, expected, log_target=True, reduction="none").sum(-1))
        agreements.append(expected.argmax(-1) == actual.argmax(-1))
    divergence, agreement = torch.cat(divergences), torch.cat(agreements)
    counts = Drift(prompts=len(source.logits), tokens=divergence.numel(), compared_dtype=dtype)
    if not torch.isfinite(divergence).all():
        return replace(counts, reason="The logits of the source or of the quantized model are not finite.")
    cosines = [
        float(functional.cosine_similarity(a.float(), b.float(), dim=-1).mean())
        for a, b in zip(source.residuals, quantized.residuals, strict=True)
    ]
    return replace(
        counts,
        kl_mean=float(divergence.mean()),
        kl_max=float(divergence.max()),
        top1_agreement=float(agreement.float().mean()),
        residual_cosine=[round(cosine, 6) for cosine in cosines],
    )
