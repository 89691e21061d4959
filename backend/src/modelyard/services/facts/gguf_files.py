"""The GGUF files among others: which are offered, what each holds, and which of them can be converted."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from modelyard.core.errors import InvalidRequest, ModelyardError, NoTokenizer, NoWeights, UnsupportedArchitecture
from modelyard.core.gguf_header import GgufHeader

READABLE = frozenset(
    {
        "bloom", "falcon", "gemma2", "gemma3", "gemma4", "gpt-oss", "gpt2", "lfm2", "llama", "mamba", "minimax-m2",
        "nemotron", "phi3", "qwen2", "qwen2moe", "qwen3", "qwen35", "qwen35moe", "qwen3moe", "stablelm", "starcoder2",
    }
)  # fmt: skip
"""Architectures, as GGUF files name them, of which transformers makes a causal language model."""

SCALED = frozenset({"gpt-oss"})
"""Architectures whose RoPE scaling transformers reads."""

DOCUMENTS = re.compile(r"(LICEN[CS]E|NOTICE|USE_POLICY|README)[^/]*", re.IGNORECASE)
"""What is fetched beside a GGUF file."""

_PART = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)
_PROJECTOR = re.compile(r"(^|[-_./])mmproj", re.IGNORECASE)
_CHOOSE = "Choose another GGUF file, or the repository it was made from."


@dataclass(frozen=True)
class GgufChoice:
    """One model in GGUF: a file, or the parts of one in their order. `problem`: why it cannot be had, or None."""

    paths: tuple[str, ...]
    problem: str | None = None

    @property
    def path(self) -> str:
        return self.paths[0]


@dataclass(frozen=True)
class GgufFacts:
    """What the headers of a choice say."""

    architecture: str | None
    quantization_type: str
    num_parameters: int
    dtype: str
    weights_bytes: int
    """Of the dense model, in `dtype`."""
    context_length: int | None
    rope_scaling: str | None
    """What scales its position embeddings in a way that transformers leaves out."""
    has_tokenizer: bool
    has_chat_template: bool

    @classmethod
    def of(cls, headers: Sequence[GgufHeader]) -> "GgufFacts":
        """Read the headers of a choice's parts, of which the first describes the model."""
        first = headers[0]
        whole = GgufHeader(first.values, {}, tuple(tensor for each in headers for tensor in each.tensors), 0)
        return cls(
            architecture=first.architecture,
            quantization_type=whole.quantization_type,
            num_parameters=whole.num_parameters,
            dtype=whole.dense_dtype,
            weights_bytes=whole.dense_bytes,
            context_length=first.context_length,
            rope_scaling=None if first.architecture in SCALED else whole.rope_scaling,
            has_tokenizer=first.has_tokenizer,
            has_chat_template=first.has_chat_template,
        )

    def problem(self, name: str) -> ModelyardError | None:
        """Return why transformers cannot make a model of it, or None."""
        if self.architecture not in READABLE:
            called = "no architecture" if self.architecture is None else f"the architecture {self.architecture[:100]!a}"
            return UnsupportedArchitecture(
                f"{name} has {called}, which transformers does not read from GGUF files.", hint=_CHOOSE
            )
        if self.rope_scaling is not None:
            return UnsupportedArchitecture(
                f"{name} scales its position embeddings (RoPE, {self.rope_scaling[:100]!a}), which transformers does"
                " not read from GGUF files.",
                hint=_CHOOSE,
            )
        if not self.has_tokenizer:
            return NoTokenizer(f"{name} holds no tokenizer.", hint=_CHOOSE)
        if not self.num_parameters:
            return NoWeights(f"{name} holds no weights.", hint=_CHOOSE)
        return None

    def stored(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_stored(cls, stored: Mapping[str, Any]) -> "GgufFacts":
        return cls(**stored)


def gguf_choices(names: Collection[str]) -> list[GgufChoice]:
    """Return what is offered of a repository's files, by name; projectors of images (mmproj) are no models."""
    choices: dict[str, GgufChoice] = {}
    for name in sorted(names):
        if not name.lower().endswith(".gguf") or _PROJECTOR.search(name):
            continue
        part = _PART.fullmatch(name)
        choice = GgufChoice((name,)) if part is None else _joined(part, names)
        choices.setdefault(choice.path, choice)
    return list(choices.values())


def _joined(part: re.Match[str], names: Collection[str]) -> GgufChoice:
    count = int(part["count"])
    stem, end = part["stem"], f"-of-{part['count']}.{part[0].rpartition('.')[2]}"
    if not 0 < count <= len(names):
        return GgufChoice((part[0],), f"Not all {count} parts of {stem}.gguf are there.")
    paths = tuple(f"{stem}-{number:05}{end}" for number in range(1, count + 1))
    missing = next((path for path in paths if path not in names), None)
    return GgufChoice(paths, None if missing is None else f"{missing} is not there.")


def choose(names: Collection[str], wanted: str, repository: str) -> GgufChoice:
    """Find the choice a user names, by any of its parts. Raises InvalidRequest, NoWeights."""
    choices = gguf_choices(names)
    found = next((choice for choice in choices if wanted in choice.paths), None)
    if found is None:
        offered = ", ".join(choice.path for choice in choices[:20])
        raise InvalidRequest(
            f"{wanted[:200]!a} is no GGUF model of {repository}.",
            hint=f"Choose one of these: {offered}." if offered else "It holds none; leave gguf_file out.",
        )
    if found.problem is not None:
        raise NoWeights(f"{repository}: {found.problem}", hint=_CHOOSE)
    return found
