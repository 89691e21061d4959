"""How many parameters a model has once it is loaded, and which tensors of its weight files are not among them."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelyard.services.facts.config_facts import read_config
from modelyard.services.facts.header_estimate import Tensor

CROSS_CHECK_FRACTION = 0.001
"""Checkpoints also store buffers, which are no parameters."""

_MTP = re.compile(r"(^|\.)mtp\w*\.")
_LAYER = re.compile(r"((?:model\.)?(?:language_model\.)?(?:model\.)?layers\.(\d+))\.")  # not those of other towers
_NUMBER = re.compile(r"\.\d+(?=\.)")
_NAMED = 3

Compare = Callable[[str, str], bool | None]
"""Whether two tensors, by name, have the same content; None where nobody can tell."""


@dataclass(frozen=True)
class Tied:
    """A parameter that is another one, unless the weight files hold a different content for it."""

    name: str
    source: str
    num_parameters: int
    bytes: int


@dataclass(frozen=True)
class Described:
    """What a configuration describes. `ignored` are patterns of names that transformers does not load."""

    num_parameters: int
    tied: tuple[Tied, ...] = ()
    ignored: tuple[str, ...] = ()

    @staticmethod
    def of(answer: Mapping[str, Any]) -> "Described | None":
        """From an inspector's answer; those that were remembered before it told more lack a part."""
        if answer.get("num_parameters") is None:
            return None
        tied = tuple(Tied(**pair) for pair in answer.get("tied", ()))
        return Described(answer["num_parameters"], tied, tuple(answer.get("ignored", ())))


@dataclass(frozen=True)
class Count:
    """`num_parameters` of the loaded model, `untied_bytes` of them beyond what the configuration describes.

    `lacking` is how many of them the files do not hold. `doubt` is why the count is not sure, `left_out` what of the
    files is not counted; None where there is nothing to say.
    """

    num_parameters: int
    untied_bytes: int = 0
    lacking: int = 0
    doubt: str | None = None
    left_out: str | None = None


def count_parameters(described: Described, tensors: Sequence[Tensor], num_layers: int | None, same: Compare) -> Count:
    """Count what transformers makes of the tensors in the weight files; none where nobody looked into them."""
    loaded, ignored, left_out = _without_ignored(tensors, described.ignored, num_layers)
    held = sum(tensor.elements for tensor in loaded)
    names = {tensor.name: tensor for tensor in loaded}
    total, untied_bytes, doubt = described.num_parameters, 0, None
    for pair in described.tied:
        twin, source = _stored(pair.name, names), _stored(pair.source, names)
        if twin is None or source is None or twin.shape != source.shape:
            continue
        equal = same(twin.name, source.name)
        if equal:
            held -= twin.elements
            continue
        total, untied_bytes = total + pair.num_parameters, untied_bytes + pair.bytes
        if equal is None:
            doubt = f"config.json ties {twin.name} to {source.name} and the weight files hold both: they may differ"
    if tensors and abs(held - total) > CROSS_CHECK_FRACTION * total:
        doubt = f"the weight files hold {held:,} parameters, the configuration describes {total:,}"
    # Files may hold a little more, as buffers are no parameters. Whatever is less is missing. A pattern for what is
    # ignored may fit names of parameters as well, which are loaded: `attn.bias` that of `c_attn.bias`.
    lacking = max(0, total - held - ignored) if tensors else 0
    return Count(total, untied_bytes, lacking, doubt, _sentence(left_out))


def parameter_count(
    config: Mapping[str, Any], tensors: Sequence[Tensor], described: Described | None, same: Compare
) -> int | None:
    """Return the one number of parameters that is told of a model.

    Without a description, the elements of its weight files.
    """
    facts = read_config(config)
    if facts.quantization_method is not None:
        # Quantized tensors are packed: their elements are not parameters.
        return None if described is None else described.num_parameters
    if described is None:
        return sum(tensor.elements for tensor in tensors) or None
    return count_parameters(described, tensors, facts.dimensions["num_layers"], same).num_parameters


def _without_ignored(
    tensors: Sequence[Tensor], patterns: Sequence[str], num_layers: int | None
) -> tuple[list[Tensor], int, dict[str, int]]:
    """The tensors that are loaded, the elements of those that a pattern leaves out, and the elements of all that are
    left out by the part of the model they belong to.
    """
    ignored = re.compile("|".join(f"(?:{pattern})" for pattern in patterns)) if patterns else None
    loaded, others, by_pattern = list[Tensor](), list[tuple[Tensor, str | None]](), 0
    for tensor in tensors:
        layer = _LAYER.match(tensor.name)
        beyond = layer[1] if layer is not None and num_layers is not None and int(layer[2]) >= num_layers else None
        if beyond or _MTP.search(tensor.name):
            others.append((tensor, beyond))
        elif ignored and ignored.search(tensor.name):
            others.append((tensor, None))
            by_pattern += tensor.elements
        else:
            loaded.append(tensor)
    counted = {_part(tensor) for tensor in loaded}
    left_out = dict[str, int]()
    for tensor, beyond in others:
        part = beyond or _part(tensor)
        if part in counted:  # only something within it is left out
            part = _NUMBER.sub(".*", tensor.name)
        left_out[part] = left_out.get(part, 0) + tensor.elements
    return loaded, by_pattern, left_out


def _part(tensor: Tensor) -> str:
    return ".".join(tensor.name.split(".")[:-1][:2])


def _stored(parameter: str, names: Mapping[str, Tensor]) -> Tensor | None:
    """Return the tensor of a parameter; checkpoints of a model's inner part lack the beginning of its name."""
    found = [name for name in names if parameter == name or parameter.endswith(f".{name}")]
    return names[max(found, key=len)] if found else None


def _sentence(left_out: Mapping[str, int]) -> str | None:
    if not left_out:
        return None
    largest = sorted(left_out, key=lambda part: -left_out[part])
    named = ", ".join(f"{part} ({left_out[part]:,})" for part in largest[:_NAMED])
    others = f" and {len(largest) - _NAMED} more parts" if len(largest) > _NAMED else ""
    return f"not counted, as transformers does not load it: {named}{others}"
