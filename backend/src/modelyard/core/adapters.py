"""PEFT adapters: a small change to another model, which their configuration names.

Only plain LoRA is supported (rank-stabilized LoRA too): everything else is refused by its name, before anything of it
is fetched. Nothing that a repository ships is trusted.
"""

import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from modelyard.core.errors import InvalidRepository, UnsupportedAdapter
from modelyard.core.paths import open_inside
from modelyard.core.repository_json import MAX_BYTES, kind_of, parse_object
from modelyard.core.safetensors_header import read_header
from modelyard.core.weight_files import WeightFiles, weights_form

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

MEMORY_BYTES = 4
"""Of one parameter in memory: PEFT holds matrices of float16 and bfloat16 in float32 (`autocast_adapter_dtype`)."""

_TASKS = (None, "CAUSAL_LM", "SEQ_2_SEQ_LM", "FEATURE_EXTRACTION")
_INITIAL = (None, True, False, "gaussian", "eva", "orthogonal")
"""How matrices began; all other ways change the base's weights as well."""
_UNSUPPORTED = {
    "use_dora": "DoRA",
    "lora_bias": "a bias of LoRA's own matrices",
    "modules_to_save": "whole modules of its own",
    "trainable_token_indices": "trained tokens",
    "target_parameters": "LoRA on single parameters",
    "layer_replication": "replicated layers",
    "alora_invocation_tokens": "activated LoRA",
    "use_qalora": "QALoRA",
    "use_bdlora": "BD-LoRA",
    "arrow_config": "Arrow",
    "kasa_config": "KaSA",
    "monteclora_config": "MonteCLoRA",
    "velora_config": "VeLoRA",
    "megatron_config": "Megatron",
}
_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_MATRIX = re.compile(
    r"base_model\.model\.(?P<module>[\w.-]{1,500})\.lora_(?:(?P<linear>[AB])\.weight|embedding_(?P<table>[AB]))",
    re.ASCII,
)
_NAME = re.compile(r"[\w.-]+")
"""Of a module, or the end of one: what PEFT would run as a regular expression, and strangers write."""
_MAX_TARGETS = 50
_MAX_TEXT = 200


@dataclass(frozen=True)
class AdapterConfig:
    """What `adapter_config.json` says. `ranks` are those that its matrices may have, `alphas` those of some modules."""

    base_model: str
    base_revision: str | None
    ranks: frozenset[int]
    alpha: float
    alphas: Mapping[str, float]
    use_rslora: bool
    fan_in_fan_out: bool

    def alpha_of(self, module: str) -> float:
        """Return the alpha of a module, by its path: that of the first name in `alphas` with which the path ends."""
        named = (alpha for name, alpha in self.alphas.items() if module == name or module.endswith(f".{name}"))
        return next(named, self.alpha)


@dataclass(frozen=True)
class AdapterWeights:
    """What the header of the weight file says. `rank` is the largest, `target_modules` the last parts of the names.

    `dtype` is that of the first matrix, `ranks` has the path of every module that is changed.
    """

    num_parameters: int
    dtype: str
    rank: int
    target_modules: tuple[str, ...]
    ranks: Mapping[str, int]

    @property
    def memory_bytes(self) -> int:
        return self.num_parameters * MEMORY_BYTES


@dataclass(frozen=True)
class Adapter:
    """An adapter whose configuration and weights fit each other."""

    config: AdapterConfig
    weights: AdapterWeights


def is_adapter(names: Collection[str]) -> bool:
    """Return whether a repository is an adapter, by its files; one with the weights of a whole model is none."""
    return ADAPTER_CONFIG in names and weights_form(names) is None


def adapter_files(names: Collection[str]) -> WeightFiles:
    """Return the weight file of an adapter: safetensors only."""
    if ADAPTER_WEIGHTS in names:
        return WeightFiles((ADAPTER_WEIGHTS,))
    pickle = next((name for name in sorted(names) if name.startswith("adapter_model.")), None)
    why = "has no weights" if pickle is None else f"has its weights only in {pickle}, which is never read"
    return WeightFiles(problem=f"The adapter {why}; there is no {ADAPTER_WEIGHTS}.")


def parse_adapter_config(content: bytes, repository: str) -> AdapterConfig:
    """Parse an `adapter_config.json`. Raises InvalidRepository, and UnsupportedAdapter for anything but plain LoRA."""
    config = parse_object(content, ADAPTER_CONFIG, repository)
    method = config.get("peft_type")
    if method != "LORA":
        raise UnsupportedAdapter(f"{repository} is a PEFT adapter of type {_shown(method)}.")
    _require_plain(config, repository)
    _require_types(config, repository)
    ranks = frozenset({config["r"], *(config.get("rank_pattern") or {}).values()})
    return AdapterConfig(
        base_model=_base_of(config, repository),
        base_revision=config.get("revision") or None,
        ranks=ranks,
        alpha=config.get("lora_alpha", 8),
        alphas=config.get("alpha_pattern") or {},
        use_rslora=bool(config.get("use_rslora")),
        fan_in_fan_out=bool(config.get("fan_in_fan_out")),
    )


def read_adapter_config(folder: Path, repository: str) -> AdapterConfig:
    """Parse the configuration of a folder on this machine. Raises what `parse_adapter_config` does, and OSError."""
    with open_inside(folder, ADAPTER_CONFIG) as file:
        return parse_adapter_config(file.read(MAX_BYTES + 1), repository)


def read_adapter(folder: Path, repository: str) -> Adapter:
    """Read the configuration and the header of an adapter on this machine.

    Raises what `parse_adapter_config` and `check_adapter_weights` do, NoWeights for a damaged file, and OSError.
    """
    config = read_adapter_config(folder, repository)
    header = read_header(folder / ADAPTER_WEIGHTS, repository)
    tensors = ((name, tensor.dtype, tensor.shape) for name, tensor in header.items())
    return Adapter(config, check_adapter_weights(config, tensors, repository))


def check_adapter_weights(
    config: AdapterConfig, tensors: Iterable[tuple[str, str, tuple[int, ...]]], repository: str
) -> AdapterWeights:
    """Compare a weight file's tensors (name, dtype, shape) with the configuration. Raises UnsupportedAdapter."""
    count, ranks, dtypes = 0, {}, []
    for name, dtype, shape in tensors:
        match = _MATRIX.fullmatch(name)
        if match is None:
            raise UnsupportedAdapter(f"{repository} holds {_shown(name)}, which is no matrix of LoRA.")
        if dtype not in _DTYPES:
            raise UnsupportedAdapter(f"{repository} stores {_shown(name)} as {_shown(dtype)}.")
        side, down = match["linear"] or match["table"], (match["linear"] or match["table"]) == "A"
        if len(shape) < 2 or (rank := shape[0 if down else 1]) not in config.ranks:
            raise UnsupportedAdapter(
                f"{_shown(name)} of {repository} has the shape {list(shape[:4])}, which contradicts the rank in"
                f" {ADAPTER_CONFIG}."
            )
        ranks[match["module"], bool(match["table"]), side] = rank
        count += math.prod(shape)
        dtypes.append(_DTYPES[dtype])
    if not ranks:
        raise UnsupportedAdapter(f"{ADAPTER_WEIGHTS} of {repository} holds no matrices.")
    for (module, table, side), rank in ranks.items():
        if ranks.get((module, table, "B" if side == "A" else "A")) != rank:
            raise UnsupportedAdapter(f"{repository} holds only half of the LoRA of {_shown(module)}.")
    targets = sorted({module.rpartition(".")[2][:_MAX_TEXT] for module, _, _ in ranks})[:_MAX_TARGETS]
    by_module = {module: rank for (module, _, _), rank in ranks.items()}
    return AdapterWeights(count, dtypes[0], max(ranks.values()), tuple(targets), by_module)


def adapter_message(base: str) -> str:
    return f"A PEFT adapter: a small change to {base}, which it needs."


def _base_of(config: Mapping[str, Any], repository: str) -> str:
    base = config.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise UnsupportedAdapter(f"{ADAPTER_CONFIG} of {repository} does not name the model that it changes.")
    try:
        validate_repo_id(base)
    except HFValidationError as error:
        raise UnsupportedAdapter(
            f"{ADAPTER_CONFIG} of {repository} names {_shown(base)} as the model that it changes. That is a folder, or"
            " no name; it must be a repository.",
            hint="Set base_model_name_or_path to the repository of that model (owner/name).",
        ) from error
    if base.lower() == repository.lower():
        raise UnsupportedAdapter(f"{repository} names itself as the model that it changes.")
    return base


def _require_plain(config: Mapping[str, Any], repository: str) -> None:
    """Raise UnsupportedAdapter for what is not served rightly, by its name."""
    for field, name in _UNSUPPORTED.items():
        if config.get(field):
            raise UnsupportedAdapter(f"{repository} uses {name} ({field}).")
    if config.get("bias") not in (None, "none"):
        raise UnsupportedAdapter(f"{repository} changes biases of its base (bias {_shown(config['bias'])}).")
    for field, allowed in (("task_type", _TASKS), ("init_lora_weights", _INITIAL)):
        value = config.get(field)
        if not isinstance(value, str | bool | None) or value not in allowed:
            raise UnsupportedAdapter(f"{repository} has the {field} {_shown(value)}.")


def _require_types(config: Mapping[str, Any], repository: str) -> None:
    """Raise InvalidRepository for a field of a type that PEFT would fail on, or silently take for something else."""

    def require(field: str, expected: str, *, fine: bool) -> None:
        if not fine:
            raise InvalidRepository(
                f"{ADAPTER_CONFIG} of {repository}: {field} is {kind_of(config.get(field))}, not {expected}.",
                file=ADAPTER_CONFIG,
            )

    require("r", "a whole number above 0", fine=_is_rank(config.get("r")))
    require("lora_alpha", "a number", fine=_is_number(config.get("lora_alpha", 8)))
    for field in ("use_rslora", "fan_in_fan_out"):
        require(field, "a boolean", fine=isinstance(config.get(field), bool | None))
    require("revision", "a string", fine=isinstance(revision := config.get("revision"), str | None))
    require("revision", "the name of a revision", fine=len(revision or "") <= _MAX_TEXT)
    for field in ("target_modules", "exclude_modules", "layers_pattern"):
        require(field, "a string or a list of strings", fine=_is_texts(config.get(field)))
    layers = config.get("layers_to_transform")
    numbers = layers if isinstance(layers, list) else [layers or 0]
    require("layers_to_transform", "a list of whole numbers", fine=all(type(number) is int for number in numbers))
    for field, is_value in (("rank_pattern", _is_rank), ("alpha_pattern", _is_number)):
        pattern = config.get(field) or {}
        fine = isinstance(pattern, dict) and all(map(is_value, pattern.values()))
        require(field, "an object of numbers", fine=fine)
    if unknown := next((name for name in config.get("alpha_pattern") or {} if not _NAME.fullmatch(name)), None):
        raise UnsupportedAdapter(f"{repository} has the pattern {_shown(unknown)} in alpha_pattern.")


def _is_rank(value: object) -> bool:
    return type(value) is int and value > 0


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _is_texts(value: object) -> bool:
    texts = value if isinstance(value, list) else [value or ""]
    return all(isinstance(text, str) for text in texts)


def _shown(value: object) -> str:
    return ascii(value)[:100]
