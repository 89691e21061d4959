"""A model without its weights, built on the meta device from a `config.json` as `from_pretrained` would build it."""

import json
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoConfig, initialization
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_MAPPING

from modelyard.core.config_limits import absurd_size, main_sizes, parameter_limit
from modelyard.core.errors import InvalidRequest, ModelyardError, NeedsCustomCode, UnsupportedArchitecture
from modelyard.ml.inspect.bounded_build import BuildLimits, bounded_build
from modelyard.ml.inspect.config_sources import foreign_source

BUILD_SECONDS = 10.0
"""Of processor time, for a skeleton; the deepest and widest released models take less than three."""

BAD_CONFIG = "Choose another revision or model, or tell the author of this one."

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}

# What a config may ask for and a skeleton must not have: quantized modules hide the shapes of what they replace,
# and attention kernels named in a config are fetched from a Hub.
_NOT_FOR_A_SKELETON = ("quantization_config", "compression_config", "attn_implementation", "_attn_implementation")


_MAIN_SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")


@dataclass(frozen=True)
class MetaModel:
    """A model on the meta device: every module and shape, no memory, nothing quantized.

    `dtype` is what its weights would be loaded in; `stored_quantization` is the config's section on how a checkpoint
    that is quantized already is stored. `findings` keeps what one question found out about the model and the next
    needs too.
    """

    model: nn.Module
    config: Any
    dtype: torch.dtype
    dtype_assumed: bool
    stored_quantization: Mapping[str, Any] | None = None
    findings: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def text_config(self) -> Any:
        """The language model's part of a composite config, or the whole config."""
        return self.config.get_text_config(decoder=True)


def dtype_name(dtype: torch.dtype) -> str:
    """`torch.bfloat16` as `bfloat16`."""
    return str(dtype).removeprefix("torch.")


def load_config(config: Mapping[str, Any]) -> Any:
    """Return the transformers config object of a `config.json`.

    Raises `NeedsCustomCode` if only the repository's own code knows the type, `UnsupportedArchitecture` if the
    installed transformers does not know it or refuses the values, a size in it is absurd, or it names another model.
    """
    if problem := absurd_size(config):
        raise UnsupportedArchitecture(f"config.json is not that of a model: {problem}.", hint=BAD_CONFIG)
    if source := foreign_source(config):
        raise UnsupportedArchitecture(
            f"In config.json, {source}; Modelyard reads only the repository's own files.",
            hint="Choose a model that is whole in one repository.",
        )
    model_type = config.get("model_type")
    if "auto_map" in config and model_type not in CONFIG_MAPPING:
        raise NeedsCustomCode(f"The model type {model_type!r} exists only as code in the repository.")
    values = {key: value for key, value in config.items() if key not in _NOT_FOR_A_SKELETON}
    # AutoConfig knows renamed types and other special cases, and it reads folders only.
    with tempfile.TemporaryDirectory(prefix="modelyard-config-") as folder:
        (Path(folder) / "config.json").write_text(json.dumps(values), encoding="utf-8")
        try:
            parsed = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        except Exception as error:  # config classes raise whatever their validation happens to raise
            raise UnsupportedArchitecture(
                f"transformers {transformers.__version__} cannot read this config.json: {first_line(error)}",
                hint="A newer transformers may know this model.",
            ) from error
    _require_sizes_read(values, parsed)
    return parsed


def _require_sizes_read(values: Mapping[str, Any], parsed: Any) -> None:
    """Raise UnsupportedArchitecture where sizes are written outside of the part of a config that is read for them."""
    text = parsed.get_text_config(decoder=True)
    part = next((name for name in parsed.sub_configs if getattr(parsed, name, None) is text), None)
    if part is None or part in values:
        return
    for name in _MAIN_SIZES:
        written = values.get(name)
        if type(written) is int and getattr(text, name, None) != written:
            raise UnsupportedArchitecture(
                f"config.json gives {name} as {written}, but {type(parsed).__name__} reads the sizes of its language"
                f" model from {part}, which is missing: it would take {getattr(text, name, None)}.",
                hint=BAD_CONFIG,
            )


def model_class(config: Any) -> type[Any]:
    """Return the class a checkpoint with this config is loaded with: what the config names, else the type's causal LM.

    Raises `UnsupportedArchitecture` if the installed transformers has no such class.
    """
    for name in config.architectures or ():
        named = getattr(transformers, name, None)
        if not (isinstance(named, type) and issubclass(named, transformers.PreTrainedModel)):
            continue
        if type(config) not in _parts(named):  # the language model of a composite one has a class of its own
            return named
    for mapping in (MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_MAPPING):
        if type(config) in mapping:
            found: type[Any] = mapping[type(config)]
            return found
    named = ", ".join(repr(name) for name in config.architectures or ()) or repr(config.model_type)
    raise UnsupportedArchitecture(
        f"transformers {transformers.__version__} has no class for {named} (model type {config.model_type!r})."
    )


def _parts(cls: type[Any]) -> tuple[type[Any], ...]:
    """Return the configuration classes of a composite model's parts."""
    whole = getattr(cls, "config_class", None)
    return () if whole is None else tuple(part for part in whole.sub_configs.values() if part is not whole)


def resolve_dtype(config: Any, dtype: str = "auto", checkpoint_dtype: str | None = None) -> tuple[torch.dtype, bool]:
    """Return the dtype weights are loaded in, and whether it is only assumed.

    `auto` follows transformers: the config's own, else that of the checkpoint's first floating tensor. Where neither
    is known, float32 is assumed.
    """
    if dtype != "auto":
        if dtype not in DTYPES:
            raise InvalidRequest(f"Unknown dtype {dtype!r}.", hint=f"Use auto or one of {', '.join(DTYPES)}.")
        return DTYPES[dtype], False
    declared = config.dtype
    if isinstance(declared, str):
        declared = DTYPES.get(declared)
    if isinstance(declared, torch.dtype):
        return declared, False
    if checkpoint_dtype in DTYPES:
        return DTYPES[checkpoint_dtype], False
    inner = config.get_text_config(decoder=True).dtype
    return (inner, True) if isinstance(inner, torch.dtype) else (torch.float32, True)


def build_limits(config: Mapping[str, Any], held: int | None) -> BuildLimits:
    """Return what a model of this configuration may consist of, beside weight files that hold `held` parameters."""
    return BuildLimits(parameter_limit(held), main_sizes(config), held, cpu_seconds=BUILD_SECONDS)


def build(
    config: Mapping[str, Any], *, dtype: str = "auto", checkpoint_dtype: str | None = None, held: int | None = None
) -> MetaModel:
    """Build a model's skeleton in the state `from_pretrained` has it in before it reads weights (nothing is tied yet).

    `held` is how many parameters the weight files hold, None if that is not known.

    Patches transformers process-wide while it runs, so a process that loads models must not call it.
    Raises `UnsupportedArchitecture` if transformers cannot build the model.
    """
    parsed = load_config(config)
    stored = config.get("quantization_config") or config.get("compression_config")
    if stored is not None and not isinstance(stored, Mapping):
        raise UnsupportedArchitecture("The quantization_config in config.json is not an object.")
    resolved, assumed = resolve_dtype(parsed, dtype, checkpoint_dtype)
    cls = model_class(parsed)
    if cls.config_class is not type(parsed) and cls.config_class is parsed.sub_configs.get("text_config"):
        parsed = parsed.get_text_config()  # a language model alone, taken out of a composite checkpoint
    parsed.dtype = resolved
    for key in parsed.sub_configs:
        part = getattr(parsed, key, None)
        if part is not None:
            part.dtype = resolved
    try:
        with ExitStack() as contexts:
            for context in cls.get_init_context(resolved, False, False, None):
                contexts.enter_context(context)
            contexts.enter_context(initialization.no_init_weights())
            contexts.enter_context(bounded_build(build_limits(config, held)))
            model = cls(parsed)
    except ModelyardError:
        raise
    except Exception as error:  # a constructor fails with whatever its arithmetic on bad values raises
        raise UnsupportedArchitecture(
            f"{cls.__name__} cannot be built from this config.json: {first_line(error)}"
        ) from error
    model.eval()
    return MetaModel(model, parsed, resolved, assumed, stored_quantization=stored)


def first_line(error: BaseException) -> str:
    """Return an exception's first line, with the next where it only announces that, short enough for a message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    announced = lines[0].endswith(":") and len(lines) > 1
    return " ".join(lines[: 1 + announced])[:300]
