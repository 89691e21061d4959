"""The parts of a decoder block that write into the residual stream, recognized by the names of modules."""

import re
from collections.abc import Iterator
from typing import Literal

from torch import nn
from transformers.pytorch_utils import Conv1D

Kind = Literal["residual", "attention", "mlp", "mixer", "norm"]

_NOT_A_SUBLAYER = re.compile(
    r"norm|ln|drop|act_fn|cross|encoder_attn|encdec|encodec|inter|rotary|rope|router|gate\Z|scale|hc\b"
)
_ATTENTION = re.compile(r"attn|attention|\Aatt\Z")
_MIXER = re.compile(r"linear_attn|mamba|mixer|ssm|\Aconv|temporal|recurrent|lru|delta|kda|mlstm|xlstm|\Assd")
_MLP = re.compile(r"mlp|feed_?forward|densereludense|ffn|\Aff\Z|\Aff_|moe|experts?\Z")


def sublayers(block: nn.Module, path: str) -> list[tuple[str, Kind]]:
    """Return the parts of one block that write into the residual stream, by the names of its children."""
    if _has(block, "attention.output.dense") and _has(block, "output.dense"):  # BERT adds the residual inside both
        return [(f"{path}.attention.output.dense", "attention"), (f"{path}.output.dense", "mlp")]
    parts: dict[Kind, str] = {}
    for name, child in _children(block):
        kind = _kind(name)
        if kind is not None and kind not in parts:
            parts[kind] = f"{path}.{_writer(child, name)}"
    if "mlp" not in parts and _has(block, "fc2"):
        parts["mlp"] = f"{path}.fc2"
    order: tuple[Kind, ...] = ("attention", "mixer", "mlp")
    return [(parts[kind], kind) for kind in order if kind in parts]


def _children(block: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, child in _unlisted(block):
        if _kind(name) is None and _has_sublayer_children(child):
            yield from ((f"{name}.{inner}", grandchild) for inner, grandchild in child.named_children())
        else:
            yield name, child


def _unlisted(block: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield a block's children; those that T5 keeps in a list called `layer`, one by one."""
    for name, child in block.named_children():
        if name == "layer" and isinstance(child, nn.ModuleList):
            yield from ((f"{name}.{index}", part) for index, part in child.named_children())
        else:
            yield name, child


def _has_sublayer_children(module: nn.Module) -> bool:
    return any(_kind(name) in ("attention", "mlp") for name, _ in module.named_children())


def _kind(name: str) -> Kind | None:
    own = name.rpartition(".")[2].lower()
    if _NOT_A_SUBLAYER.search(own):
        return None
    for pattern, kind in ((_MIXER, "mixer"), (_ATTENTION, "attention"), (_MLP, "mlp")):
        if pattern.search(own):
            return kind  # type: ignore[return-value]
    return None


def _writer(module: nn.Module, name: str) -> str:
    """The module that makes a sublayer's contribution: itself, or its last linear one if it adds the residual too."""
    if "residual" in module.forward.__code__.co_varnames[: module.forward.__code__.co_argcount]:
        linear = [inner for inner, child in module.named_children() if isinstance(child, (nn.Linear, Conv1D))]
        if linear:
            return f"{name}.{linear[-1]}"
    return name


def _has(module: nn.Module, path: str) -> bool:
    try:
        module.get_submodule(path)
    except AttributeError:
        return False
    return True
