"""What this installation can do with a repository, each limit as one true sentence with a code.

`static_support` needs only `config.json` and the file names, and imports neither torch nor transformers.
`full_support` adds what only the installed transformers can tell and belongs in the inspector.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from modelyard.core.adapters import is_adapter
from modelyard.core.errors import ModelyardError
from modelyard.core.model_types import ENCODERS
from modelyard.core.safetensors_header import QUANTIZATION_FILE, unscaled_message
from modelyard.core.weight_files import INDEX_PICKLE, SINGLE_PICKLE, missing_weights, weights_form

if TYPE_CHECKING:
    from modelyard.ml.inspect.memory import TiedParameter

Level = Literal["supported", "unverified", "unsupported"]

_ORDER: tuple[Level, ...] = ("supported", "unverified", "unsupported")
_FOREIGN = {".h5": "TensorFlow", ".msgpack": "Flax", ".onnx": "ONNX", ".nemo": "NeMo", ".mlmodel": "Core ML"}

# quant_method → (how people call it, packages without which transformers refuses to load it)
_NEEDS_PACKAGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "gptq": ("GPTQ", ("optimum", "gptqmodel")),
    "awq": ("AWQ", ("gptqmodel",)),
    "compressed-tensors": ("compressed-tensors", ("compressed_tensors",)),
    "hqq": ("HQQ", ("hqq",)),
    "aqlm": ("AQLM", ("aqlm",)),
    "quanto": ("Quanto", ("optimum",)),
    "torchao": ("torchao", ("torchao",)),
    "auto-round": ("AutoRound", ("auto_round",)),
    "eetq": ("EETQ", ("kernels",)),
    "vptq": ("VPTQ", ("vptq",)),
    "spqr": ("SpQR", ("spqr_quant",)),
    "quark": ("Quark", ("quark",)),
    "bitnet": ("BitNet", ()),
}
# quant_method → (name, how much larger it is once dequantized)
_DEQUANTIZED: dict[str, tuple[str, int]] = {
    "fp8": ("FP8", 2),
    "fbgemm_fp8": ("FP8", 2),
    "mxfp8": ("MXFP8", 2),
    "mxfp4": ("MXFP4", 4),
    "nvfp4": ("NVFP4", 4),
}
_ENCODER_HEADS = (
    "ForMaskedLM",
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
    "ForPreTraining",
)


@dataclass(frozen=True)
class Reason:
    """Why a repository is not plainly supported. `level` is what this reason alone makes of it."""

    code: str
    message: str
    level: Level


@dataclass(frozen=True)
class Support:
    """The verdict. `needs_custom_code` is `None` until the inspector has looked whether transformers knows the type.

    `num_parameters` is what the configuration describes, unquantized; `None` until the inspector has built the model.
    `tied` and `ignored` are as in a memory estimate. `unpacked_bytes` is what quantized weights take where they are
    unpacked while loading.
    """

    level: Level
    reasons: tuple[Reason, ...]
    already_quantized: str | None
    needs_custom_code: bool | None
    num_parameters: int | None = None
    tied: "tuple[TiedParameter, ...]" = ()
    ignored: tuple[str, ...] = ()
    unpacked_bytes: int | None = None


def static_support(
    config: Mapping[str, Any] | None,
    files: Iterable[str],
    *,
    weights_problem: str | None = None,
    unscaled: str | None = None,
) -> Support:
    """Classify a repository by its `config.json` (`None` if it has none) and its file names.

    `weights_problem` is why its weight files are not a whole checkpoint, `unscaled` a tensor of few bits whose scale
    transformers would ignore, where somebody looked into them. An adapter is no model by itself.
    """
    names = list(files)
    reasons = [*_file_reasons(config, names, weights_problem)]
    method = None
    if config is not None:
        method = quantization_method(config)
        reasons += _quantization_reasons(method)
        if method is None and (seen := unscaled or (QUANTIZATION_FILE if QUANTIZATION_FILE in names else None)):
            reasons.append(Reason("unknown_quantization", unscaled_message(seen), "unsupported"))
        reasons += _kind_reasons(config)
    custom = None if config is not None and "auto_map" in config else False
    return _verdict(reasons, method, custom)


def full_support(config: Mapping[str, Any], files: Iterable[str], *, held: int | None = None) -> Support:
    """`static_support`, and whether the installed transformers knows the model and can build it.

    `held` is how many parameters the weight files hold, None if that is not known.
    """
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    from modelyard.ml.inspect import memory, meta_model

    static = static_support(config, files)
    model_type = config.get("model_type")
    known = model_type in CONFIG_MAPPING
    if not known and "auto_map" in config:
        message = (
            f"This model is defined by code in the repository ({model_type!r}), which Modelyard never runs; "
            "only the size of its files is known."
        )
        return _verdict(
            [*static.reasons, Reason("needs_custom_code", message, "unsupported")], static.already_quantized, True
        )
    static = replace(static, needs_custom_code=False)
    if not worth_building(static):
        return static
    try:
        skeleton = meta_model.build(config, held=held)
    except ModelyardError as error:
        written_by = config.get("transformers_version")
        if known:
            message = error.message
        elif model_type is None:
            message = "config.json does not name a model type, so transformers cannot tell what this is."
        else:
            by = f" (the repository was made with {written_by})" if written_by else ""
            message = f"The installed transformers {transformers.__version__} does not know {model_type!r}{by}."
        code = "unsupported_architecture"
        return _verdict([*static.reasons, Reason(code, message, "unsupported")], static.already_quantized, False)
    return replace(
        static,
        num_parameters=sum(p.numel() for p in memory.resident_parameters(skeleton.model).values()),
        tied=memory.tied_parameters(skeleton),
        ignored=memory.ignored_patterns(skeleton.model),
        unpacked_bytes=memory.unpacked_bytes(skeleton) if static.already_quantized in _DEQUANTIZED else None,
    )


def worth_building(static: Support) -> bool:
    """Return whether the inspector could say more: not of a model without weights to load, but of packed ones."""
    return all(reason.level != "unsupported" or reason.code == "already_quantized" for reason in static.reasons)


def quantization_method(config: Mapping[str, Any]) -> str | None:
    """Return the method a checkpoint is already quantized with, `unknown` if it does not say which, else `None`."""
    for part in (config, *(value for value in config.values() if isinstance(value, Mapping))):
        section = part.get("quantization_config") or part.get("compression_config")
        if isinstance(section, Mapping):
            if section.get("load_in_4bit") or section.get("load_in_8bit"):
                return "bitsandbytes"
            method = section.get("quant_method")
            return method if isinstance(method, str) and method else "unknown"
    return None


def is_encoder(config: Mapping[str, Any]) -> bool:
    """Return whether a model without encoder-decoder halves reads in both directions, told by its type."""
    return config.get("model_type") in ENCODERS and not (config.get("is_decoder") or config.get("causal"))


def growth_when_loaded(method: str | None) -> int | None:
    """Return how many times its stored size a checkpoint quantized with `method` takes at most; None: not known."""
    if method in _DEQUANTIZED:
        return _DEQUANTIZED[method][1]
    return 1 if method in _NEEDS_PACKAGES else None


def _file_reasons(config: Mapping[str, Any] | None, names: list[str], weights_problem: str | None) -> list[Reason]:
    weights = weights_form(names)
    if "model_index.json" in names:
        return [
            Reason("not_a_language_model", "This is a Diffusers pipeline, not a transformers model.", "unsupported")
        ]
    if is_adapter(names):
        return [
            Reason("peft_adapter", "This is a PEFT adapter: it works only with the model it changes.", "unsupported")
        ]
    if not weights:
        return [_no_weights(names)]
    if weights_problem is not None:
        return [Reason("no_weights", weights_problem, "unsupported")]
    if config is None:
        return [
            Reason("no_config", "The repository has no config.json, so transformers cannot load it.", "unsupported")
        ]
    if weights in (SINGLE_PICKLE, INDEX_PICKLE):
        message = (
            "Only pickle weights: loading them can run code, so they are refused unless you allow them for this model. "
            "Memory figures come from config.json and are not checked against the files."
        )
        return [Reason("unsafe_weights", message, "unverified")]
    return []


def _no_weights(names: list[str]) -> Reason:
    suffixes = {PurePosixPath(name).suffix for name in names}
    if ".gguf" in suffixes:
        message = "Only GGUF files. Choose one of them: it is converted to safetensors, which can be loaded."
        return Reason("gguf_only", message, "unsupported")
    foreign = sorted(name for suffix, name in _FOREIGN.items() if suffix in suffixes)
    if foreign:
        return Reason(
            "no_weights", f"Only {' and '.join(foreign)} weights, which PyTorch does not load.", "unsupported"
        )
    return Reason("no_weights", missing_weights(names), "unsupported")


def _quantization_reasons(method: str | None) -> list[Reason]:
    if method is None:
        return []
    code = "already_quantized"
    if method == "bitsandbytes":
        message = "Already quantized with bitsandbytes: it loads as it is and cannot be quantized again."
        return [Reason(code, message, "supported")]
    if method in _DEQUANTIZED:
        name, factor = _DEQUANTIZED[method]
        message = (
            f"Already quantized ({name}); it cannot be quantized again. Without a GPU that computes in {name} it is "
            f"unpacked while loading and takes up to {factor} times its file size."
        )
        return [Reason(code, message, "unverified")]
    if method in _NEEDS_PACKAGES:
        name, packages = _NEEDS_PACKAGES[method]
        missing = [package for package in packages if find_spec(package) is None]
        message = f"Already quantized ({name}); it cannot be quantized again."
        if missing:
            verb = "is" if len(missing) == 1 else "are"
            message += f" Loading it needs {' and '.join(missing)}, which {verb} not installed here."
        return [Reason(code, message, "unsupported" if missing else "unverified")]
    message = "Quantized in a way transformers may silently ignore"
    message += "." if method == "unknown" else f" ({method})."
    return [Reason("unknown_quantization", f"{message} No memory figure for it is reliable.", "unverified")]


def _kind_reasons(config: Mapping[str, Any]) -> list[Reason]:
    architectures = [name for name in config.get("architectures") or () if isinstance(name, str)]
    first = architectures[0] if architectures else ""
    if config.get("is_encoder_decoder"):
        message = (
            "An encoder-decoder model: memory figures are exact, but only its decoder is offered for hooks, unverified."
        )
        return [Reason("encoder_decoder", message, "unverified")]
    if isinstance(config.get("vision_config"), Mapping) or isinstance(config.get("audio_config"), Mapping):
        message = (
            "A model that also takes images or sound: all of it is loaded, but only its language part is offered here."
        )
        return [Reason("vision_language", message, "unverified")]
    if is_encoder(config) or (first.endswith(_ENCODER_HEADS) and not config.get("is_decoder")):
        message = "An encoder: it reads text in both directions and does not generate any."
        return [Reason("encoder_only", message, "unverified")]
    return []


def _verdict(reasons: list[Reason], method: str | None, custom: bool | None) -> Support:
    levels: list[Level] = ["supported", *(reason.level for reason in reasons)]
    level = max(levels, key=_ORDER.index)
    return Support(level, tuple(reasons), method, custom)
