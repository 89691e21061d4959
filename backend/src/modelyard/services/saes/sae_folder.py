"""A folder in SAELens's format, read within limits: cfg.json, and the header of the weights. Needs no torch."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from modelyard.core.errors import InvalidRepository, UnsupportedArchitecture
from modelyard.core.repository_json import parse_object
from modelyard.core.safetensors_header import StoredTensor, parse_header
from modelyard.core.settings import get_settings
from modelyard.models import Sae, SaeSource

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
OPTIONAL = ("sparsity.safetensors", "runner_cfg.json")
"""What SAELens's own runner writes beside them."""

ARCHITECTURES = (
    "standard", "topk", "batchtopk", "jumprelu", "gated", "abstopk", "matching_pursuit", "matryoshka_batchtopk",
)  # fmt: skip
"""Those of SAELens that reconstruct the place they read; a transcoder reconstructs another one."""

MAX_WIDTH = 10_000_000
_LINE = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class SaeFacts:
    """What the files say of a sparse autoencoder; None where they do not."""

    model_id: str | None
    commit: str | None
    quantization: str | None
    dtype: str | None
    hook_point: str | None
    d_in: int
    d_sae: int
    architecture: str
    context_size: int | None

    def store(self, sae: Sae) -> None:
        for name, value in vars(self).items():
            setattr(sae, name, value)


def sae_folder(sae: Sae) -> Path:
    """Return where the files of an SAE are, or will be, on a machine with this home."""
    if sae.source is SaeSource.TRAINED:
        return get_settings().trainings_folder / (sae.training_id or "") / "sae"
    return own_folder(sae.id) / "sae"


def own_folder(sae_id: str) -> Path:
    """Return the folder with what was made for an SAE: imported files, feature pages."""
    return get_settings().saes_folder / sae_id


def read_facts(config: bytes, name: str) -> SaeFacts:
    """Read a cfg.json of any version of SAELens. Raises InvalidRepository, UnsupportedArchitecture."""
    found = parse_object(config, CONFIG, name)
    nested = found.get("metadata")
    metadata = nested if isinstance(nested, dict) else found
    architecture = _architecture(found)
    if architecture not in ARCHITECTURES:
        raise UnsupportedArchitecture(
            f"{name} is of the architecture {architecture!r}.", hint=f"Use one of {', '.join(ARCHITECTURES)}."
        )
    return SaeFacts(
        model_id=_text(metadata, "model_name", 200),
        commit=_text(metadata, "model_commit", 64),
        quantization=_one_of(metadata, "model_quantization", ("none", "8bit", "4bit")),
        dtype=_text(metadata, "model_dtype", 32),
        hook_point=_text(metadata, "hook_name", 500) or _text(metadata, "hook_point", 500),
        d_in=_width(found, "d_in", name),
        d_sae=_width(found, "d_sae", name),
        architecture=architecture,
        context_size=_count(metadata, "context_size"),
    )


def check_weights(file: BinaryIO, size_bytes: int, facts: SaeFacts, name: str) -> None:
    """Raise NoWeights or InvalidRepository unless the open file holds the weights that the configuration promises."""
    decoder: StoredTensor | None = parse_header(file, size_bytes, WEIGHTS, name).get("W_dec")
    if decoder is None:
        raise InvalidRepository(f"{WEIGHTS} of {name} has no decoder (W_dec).", file=WEIGHTS)
    if decoder.shape != (facts.d_sae, facts.d_in):
        found = " by ".join(map(str, decoder.shape))
        raise InvalidRepository(
            f"The decoder of {name} is {found}, where {CONFIG} says {facts.d_sae} by {facts.d_in}.", file=WEIGHTS
        )


def _architecture(config: Mapping[str, Any]) -> str:
    # Before version 6 an activation function made an SAE a TopK one.
    named = config.get("architecture", "standard")
    activation = config.get("activation_fn_str", config.get("activation_fn"))
    return "topk" if named == "standard" and activation == "topk" else str(named)[:64]


def _width(config: Mapping[str, Any], key: str, name: str) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_WIDTH:
        raise InvalidRepository(f"{CONFIG} of {name} has no {key} between 1 and {MAX_WIDTH:,}.", file=CONFIG)
    return value


def _count(config: Mapping[str, Any], key: str) -> int | None:
    value = config.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**31 else None


def _text(config: Mapping[str, Any], key: str, longest: int) -> str | None:
    value = config.get(key)
    return value if isinstance(value, str) and 0 < len(value) <= longest and not _LINE.search(value) else None


def _one_of(config: Mapping[str, Any], key: str, allowed: tuple[str, ...]) -> str | None:
    value = config.get(key)
    return value if isinstance(value, str) and value in allowed else None
