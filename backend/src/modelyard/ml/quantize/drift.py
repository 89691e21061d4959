"""Compare a quantized model's answers and residual streams with its source's, on the same token ids."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from modelyard.core.errors import TemplateFailed
from modelyard.ml.inspect.layers import find_layers
from modelyard.ml.untrusted import Tokenizer

PROMPTS = (
    "The capital of France is Paris, and the capital of Italy is",
    "Water boils at 100 degrees Celsius because",
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
    "She opened the letter, read it twice, and then said:",
    "Question: If a train travels 60 km in 45 minutes, what is its speed in km/h?\nAnswer:",
    "Die Sonne scheint, und die Kinder spielen im Garten.",
    "The heart is a muscular organ that pumps blood through the body. It has four chambers: two atria, which receive"
    " blood from the veins, and two ventricles, which push it into the arteries. Valves between the chambers keep the"
    " blood from flowing back, and their closing makes the sound that a doctor hears through a stethoscope.",
    "import json\nfrom pathlib import Path\n\n\n"
    "def read_settings(path):\n    if not path.exists():\n        return {}\n"
    '    with path.open(encoding="utf-8") as file:\n        return json.load(file)\n\n\n'
    'if __name__ == "__main__":\n    settings = read_settings(Path("settings.json"))\n    for name, value in sorted('
    "settings.items()):\n        print(name, value)",
    "The town council voted on Tuesday to rebuild the old bridge over the river. The work is expected to take two years"
    " and to cost about twelve million euros. Until it is finished, buses will use the northern road, and residents"
    " have been asked to leave their cars at home where they can.",
    "To bake a simple loaf of bread, mix 500 grams of flour with 350 grams of water, 10 grams of salt and a little"
    " yeast. Let the dough rest for an hour, fold it twice, and shape it into a ball. Bake it in a hot oven for about"
    " forty minutes, until the crust is dark and sounds hollow when you knock on it.",
    "In mathematics, a prime number is a natural number greater than 1 that is not a product of two smaller natural"
    " numbers. Every natural number greater than 1 is either a prime itself or can be written as a product of primes,"
    " and this product is unique up to the order of its factors.",
)
CHAT = (
    {"role": "user", "content": "What is the capital of France, and what is it known for?"},
    {
        "role": "assistant",
        "content": "The capital of France is Paris. It is known for the Eiffel Tower, its museums, its food, and the"
        " river Seine, which runs through the middle of the city.",
    },
)
PROMPT_TOKENS = 128
"""A prompt's longest length."""
RANDOM_PROMPTS, RANDOM_TOKENS = 6, 64
"""How many prompts of token ids stand in where there is no tokenizer, and their length."""
WINDOW_TOKENS = 256
"""The length of the pieces into which a long text is cut."""
TEXT_TOKENS = 1024
"""How much of a text is compared; the logits of both models are held meanwhile."""

RESIDUAL_LIMIT_BYTES = 512 * 10**6
"""Residual streams are compared on the first prompts, as many as fit in this in float32."""
_SLICE = 64
"""Positions whose distributions are compared at once: of large vocabularies they take much memory."""
_LARGEST_LOSS = 700.0
"""The exponential of more is no number."""


@dataclass(frozen=True)
class Prompts:
    """Token ids, each [1, tokens]. `is_text` is false for random ids, whose perplexity means nothing."""

    ids: list[torch.Tensor]
    is_text: bool

    @property
    def tokens(self) -> int:
        """The number of tokens of all prompts together."""
        return sum(ids.numel() for ids in self.ids)


@dataclass(frozen=True)
class Observation:
    """What a model made of the prompts.

    `answers` are its logits [tokens, vocabulary] per prompt, or what it puts out instead [tokens, width] where it has
    no head over the vocabulary (`has_head`). `residuals` are [tokens, width]: what enters the first block, and what
    each block returns. `predicts_next` says whether the logits at a position are about the token after it.
    """

    answers: list[torch.Tensor]
    residuals: list[torch.Tensor]
    has_head: bool
    predicts_next: bool


@dataclass(frozen=True)
class Drift:
    """The distance between a quantized model and its source.

    `kl_*` in nats, of the quantized model's distribution over tokens from the source's, over all positions;
    `perplexity` of the quantized model and `source_perplexity` of its source on the prompts. These are None for a model
    without a head over the vocabulary; perplexities also where the prompts are no text or no next token is predicted.
    `residual_cosine` is the mean cosine similarity of what enters the first block and of what each block returns;
    empty where no list of blocks is known. `output_cosine` is that of what a model without a head puts out.
    `compared_dtype` is the dtype the source was run in. Where no comparison was possible, every figure is None and
    `reason` says why.
    """

    prompts: int
    tokens: int
    compared_dtype: str | None = None
    kl_mean: float | None = None
    kl_max: float | None = None
    top1_agreement: float | None = None
    perplexity: float | None = None
    source_perplexity: float | None = None
    residual_cosine: list[float] = field(default_factory=list)
    output_cosine: float | None = None
    reason: str | None = None


def fixed_prompts(tokenizer: Tokenizer | None, vocab_size: int) -> Prompts:
    """Return the fixed texts as token ids, and a conversation where the tokenizer has a chat template.

    Without a tokenizer, or with that of another model, fixed pseudo-random ids.
    """
    tokenized = [] if tokenizer is None else [*map(tokenizer.encode, PROMPTS), *_conversation(tokenizer)]
    texts = _known((ids[:PROMPT_TOKENS] for ids in tokenized), vocab_size)
    if texts:
        return Prompts(texts, is_text=True)
    generator = torch.Generator().manual_seed(0)
    shape = (1, RANDOM_TOKENS)
    ids = [torch.randint(vocab_size, shape, generator=generator) for _ in range(RANDOM_PROMPTS)]
    return Prompts(ids, is_text=False)


def _conversation(tokenizer: Tokenizer) -> list[list[int]]:
    """Return the conversation's ids; none where the template is missing or refuses it, as some do to any of two."""
    if not tokenizer.has_chat_template():
        return []
    try:
        text = tokenizer.render_chat(CHAT)
    except TemplateFailed:
        return []
    return [tokenizer.encode(text, add_special_tokens=False)]


def text_prompts(ids: Sequence[int], vocab_size: int, longest: int | None) -> Prompts:
    """Cut the first TEXT_TOKENS of a text's ids into windows no longer than `longest`, the model's own limit."""
    window = min(WINDOW_TOKENS, longest or WINDOW_TOKENS)
    kept = ids[:TEXT_TOKENS]
    return Prompts(_known((kept[at : at + window] for at in range(0, len(kept), window)), vocab_size), is_text=True)


def _known(tokenized: Iterable[Sequence[int]], vocab_size: int) -> list[torch.Tensor]:
    return [torch.tensor([list(ids)]) for ids in tokenized if ids and max(ids) < vocab_size]


@torch.inference_mode()
def observe(model: PreTrainedModel, prompts: Iterable[torch.Tensor]) -> Observation:
    """Run the prompts one by one and keep the results in main memory, in the dtype they came in."""
    text = model.config.get_text_config(decoder=True)
    room = RESIDUAL_LIMIT_BYTES // (4 * text.hidden_size * (text.num_hidden_layers + 1))
    answers: list[torch.Tensor] = []
    streams: list[list[torch.Tensor]] = []
    has_head = False
    for ids in prompts:
        inputs: dict[str, Any] = {"input_ids": ids.to(model.device)}
        if model.config.is_encoder_decoder:
            inputs["decoder_input_ids"] = inputs["input_ids"]
        else:
            inputs["use_cache"] = False
        room -= ids.numel()
        with _residuals(model, keep=room >= 0) as stream:
            output = model(**inputs, return_dict=True)
        logits = output.get("logits")
        has_head = logits is not None and logits.dim() == 3 and logits.shape[-1] == text.vocab_size
        answer = logits if logits is not None else output["last_hidden_state"]
        answers.append(answer[0].reshape(-1, answer.shape[-1]).to("cpu"))
        if room >= 0:
            streams.append(stream)
    residuals = [torch.cat(layer) for layer in zip(*streams, strict=True)]
    predicts_next = has_head and model.can_generate() and not model.config.is_encoder_decoder
    return Observation(answers, residuals, has_head, predicts_next)


@contextmanager
def _residuals(model: PreTrainedModel, *, keep: bool) -> Iterator[list[torch.Tensor]]:
    """Collect what enters the first block and what each block returns, each [tokens, width].

    transformers' own hidden states end behind the final norm instead.
    """
    stream: list[torch.Tensor] = []
    path = find_layers(model, model.config.get_text_config(decoder=True).num_hidden_layers) if keep else None
    blocks = [] if path is None else list(model.get_submodule(path).children())

    def note(value: Any) -> None:
        first = next((each for each in _flat(value) if isinstance(each, torch.Tensor)), None)
        if first is not None:
            stream.append(first.reshape(-1, first.shape[-1]).to("cpu", copy=True))  # blocks may add in place

    def entering(_block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not stream:
            note((*args, *kwargs.values()))

    def leaving(_block: nn.Module, _args: Any, output: Any) -> None:
        note(output)

    handles = [block.register_forward_pre_hook(entering, with_kwargs=True) for block in blocks[:1]]
    handles += [block.register_forward_hook(leaving) for block in blocks]
    try:
        yield stream
    finally:
        for handle in handles:
            handle.remove()


def _flat(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def identical(first: Observation, second: Observation) -> bool:
    """Return whether two runs gave the same bits (so that NaN equals NaN)."""
    return all(
        torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))
        for a, b in zip(first.answers, second.answers, strict=True)
    )


def is_finite(observed: Observation) -> bool:
    """Return whether each position has a likeliest token; minus infinity alone is a mask, which models have."""
    return all(bool(answer.amax(-1).isfinite().all()) for answer in observed.answers)


def compare(source: Observation, quantized: Observation, prompts: Prompts, dtype: str) -> Drift:
    """Return the drift of `quantized` from `source`, which both ran `prompts`; the source in `dtype`."""
    found = Drift(prompts=len(prompts.ids), tokens=prompts.tokens, compared_dtype=dtype)
    cosines = [round(_cosine(a, b), 6) for a, b in zip(source.residuals, quantized.residuals, strict=True)]
    if not source.has_head:
        output = _cosine(torch.cat(source.answers), torch.cat(quantized.answers))
        if not math.isfinite(output):
            return replace(found, reason="The output of the source or of the quantized model is not finite.")
        return replace(found, residual_cosine=cosines, output_cosine=round(output, 6))
    pairs = [*zip(source.answers, quantized.answers, strict=True)]
    divergence = torch.cat([_divergence(a, b) for a, b in pairs])
    if not torch.isfinite(divergence).all():
        return replace(found, reason="The logits of the source or of the quantized model are not finite.")
    agreement = torch.cat([a.argmax(-1) == b.argmax(-1) for a, b in pairs])
    return replace(
        found,
        kl_mean=float(divergence.mean()),
        kl_max=float(divergence.max()),
        top1_agreement=float(agreement.float().mean()),
        perplexity=_perplexity(quantized, prompts),
        source_perplexity=_perplexity(source, prompts),
        residual_cosine=cosines,
    )


def _cosine(first: torch.Tensor, second: torch.Tensor) -> float:
    return float(functional.cosine_similarity(first.float(), second.float(), dim=-1).mean())


def _divergence(reference: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
    """Return the KL divergence at each position, in nats: [tokens]."""
    parts = []
    for expected, actual in zip(torch.split(reference, _SLICE), torch.split(answer, _SLICE), strict=True):
        logs = functional.log_softmax(actual.float(), dim=-1), functional.log_softmax(expected.float(), dim=-1)
        parts.append(functional.kl_div(*logs, log_target=True, reduction="none").sum(-1))
    return torch.cat(parts)


def _perplexity(observed: Observation, prompts: Prompts) -> float | None:
    """Return the exponential of the mean cross-entropy of each token after a prompt's first."""
    if not (observed.predicts_next and prompts.is_text):
        return None
    losses = [
        functional.cross_entropy(logits.float(), wanted, reduction="none")
        for answer, ids in zip(observed.answers, prompts.ids, strict=True)
        for logits, wanted in zip(torch.split(answer[:-1], _SLICE), torch.split(ids[0, 1:], _SLICE), strict=True)
    ]
    loss = float(torch.cat(losses).mean()) if losses else math.inf
    return math.exp(loss) if loss < _LARGEST_LOSS else None
