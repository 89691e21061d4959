"""How a repository makes one vector of a text's hidden states: the files of sentence-transformers."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from modelyard.core.errors import InvalidRepository, UnsupportedArchitecture
from modelyard.core.repository_json import MAX_BYTES, parse_object, read_object, require_file
from modelyard.core.weight_files import MODULES

_FOLDER = re.compile(r"\d+_[A-Za-z0-9]+")

MODES = ("mean", "cls", "max", "lasttoken", "mean_sqrt_len_tokens")


@dataclass(frozen=True)
class Pooling:
    """`mode` is one of MODES; `normalize` gives vectors of length 1."""

    mode: str = "mean"
    normalize: bool = False

    def pool(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the vector [width] of one text's last hidden states [tokens, width], in float32."""
        hidden = hidden.float()
        match self.mode:
            case "cls":
                vector = hidden[0]
            case "lasttoken":
                vector = hidden[-1]
            case "max":
                vector = hidden.amax(0)
            case "mean_sqrt_len_tokens":
                vector = hidden.sum(0) / len(hidden) ** 0.5
            case _:
                vector = hidden.mean(0)
        return torch.nn.functional.normalize(vector, dim=0) if self.normalize else vector


def read_pooling(folder: Path, name: str) -> Pooling:
    """Return what `modules.json` says; the mean, unchanged, where there is none.

    Raises UnsupportedArchitecture for modules with weights of their own, and InvalidRepository.
    """
    if not (folder / MODULES).is_file():
        return Pooling()
    mode, normalize = "mean", False
    for module in _read_modules(folder / MODULES, name):
        match str(module.get("type")).rpartition(".")[2]:
            case "Transformer":
                continue
            case "Pooling":
                inside = str(module.get("path"))
                if not _FOLDER.fullmatch(inside):
                    raise InvalidRepository(f"{MODULES} of {name} names the folder {inside!r}.", file=MODULES)
                mode = _mode(folder / inside / "config.json", name)
            case "Normalize":
                normalize = True
            case other:
                raise UnsupportedArchitecture(
                    f"The embeddings of {name} need a {other} module, which is not supported.",
                    hint="Choose a model whose modules.json has a Transformer, a Pooling and a Normalize module only.",
                )
    return Pooling(mode, normalize)


def _read_modules(path: Path, name: str) -> list[dict[str, Any]]:
    with require_file(path.name, name), path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    # The one reader of such files takes objects.
    modules = parse_object(b'{"modules": %b}' % content, path.name, name, limit_bytes=MAX_BYTES + 20)["modules"]
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise InvalidRepository(f"{path.name} of {name} is not a list of modules.", file=path.name)
    return modules


def _mode(path: Path, name: str) -> str:
    config = read_object(path, name)
    named = config.get("pooling_mode")
    keys = {mode: f"pooling_mode_{mode}" for mode in MODES} | {
        "mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token", "max": "pooling_mode_max_tokens",
    }  # fmt: skip
    chosen = [named] if named is not None else [mode for mode, key in keys.items() if config.get(key) is True]
    if len(chosen) != 1 or chosen[0] not in MODES:
        raise UnsupportedArchitecture(
            f"The embeddings of {name} are pooled in a way that is not supported.",
            hint=f"Choose a model with one pooling mode of {', '.join(MODES)}.",
        )
    return str(chosen[0])
