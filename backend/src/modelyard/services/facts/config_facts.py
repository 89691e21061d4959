"""What a model's `config.json` says by itself, read without torch or transformers.

Configurations spell the same fact in many ways; the spellings here are those of transformers' own `attribute_map`s.
A fact that is not written down is None, unless the model's own code in transformers says what follows then: nothing is
guessed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from modelyard.core.model_dimensions import names_layers, read_dimensions, unusable_sizes
from modelyard.core.repository_json import kind_of

_MAX_NAME = 100
_TEXT_PARTS = ("text_config", "llm_config", "language_config", "thinker_config", "decoder")
_DTYPES = {"float32", "bfloat16", "float16"}


@dataclass(frozen=True)
class ConfigFacts:
    """What a configuration says of its model."""

    architecture: str | None
    model_type: str | None
    dtype: str | None
    dimensions: dict[str, int | None]
    quantization_method: str | None
    auto_map: bool
    problems: tuple[str, ...] = ()
    """Fields of which nothing is read because their values are of a wrong type, each as a sentence."""


def read_config(config: Mapping[str, Any]) -> ConfigFacts:
    """Facts of a configuration; the text part where a model has several."""
    architectures = config.get("architectures")
    text = text_part(config)
    return ConfigFacts(
        architecture=_string(architectures[0]) if isinstance(architectures, list) and architectures else None,
        model_type=_string(config.get("model_type")),
        dtype=_dtype(text) or _dtype(config),
        dimensions=read_dimensions(text.get),
        quantization_method=_quantization_method(config) or _quantization_method(text),
        auto_map=isinstance(config.get("auto_map"), dict),
        problems=tuple(_problems(config, text)),
    )


def text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the configuration of the language model, where a model has other parts too."""
    if names_layers(config.get):
        return config
    for name in _TEXT_PARTS:
        part = config.get(name)
        if isinstance(part, dict):
            return text_part(part)
    return config


def _problems(config: Mapping[str, Any], text: Mapping[str, Any]) -> Iterator[str]:
    """The types of the other fields are checked where a config.json is read."""
    for name, value in unusable_sizes(text.get).items():
        what = str(value) if isinstance(value, float) else kind_of(value)
        yield f"{name} in config.json is {what}, not a whole number, and is ignored."
    for part in (text, config) if text is not config else (config,):
        for name in ("dtype", "torch_dtype"):
            # Some give each part of the model its own.
            if not isinstance(part.get(name), str | dict | None):
                yield f"{name} in config.json is {kind_of(part[name])}, not a string, and is ignored."
    if not isinstance(config.get("auto_map"), dict | None):
        yield f"auto_map in config.json is {kind_of(config['auto_map'])}, not an object, and is ignored."


def _dtype(config: Mapping[str, Any]) -> str | None:
    value = config.get("dtype") or config.get("torch_dtype")
    value = value.removeprefix("torch.") if isinstance(value, str) else None
    return value if value in _DTYPES else None


def _quantization_method(config: Mapping[str, Any]) -> str | None:
    section = config.get("quantization_config") or config.get("compression_config")
    if not isinstance(section, dict):
        return None
    method = section.get("quant_method")
    if method is None and (section.get("load_in_4bit") or section.get("load_in_8bit")):
        return "bitsandbytes"
    return _string(method) or "unknown"


def _string(value: Any) -> str | None:
    return value[:_MAX_NAME] if isinstance(value, str) else None
