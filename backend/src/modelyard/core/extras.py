"""The extras of `pyproject.toml`: whether this installation has them, what needs them, and how they are added."""

import shlex
import sys
from enum import StrEnum
from importlib.util import find_spec

from modelyard.core.errors import ExtraMissing, SaeEngineMissing


class Extra(StrEnum):
    TORCH = "torch"
    SAE = "sae"
    GGUF = "gguf"
    POSTGRES = "postgres"
    REDIS = "redis"


NEEDED_FOR = {
    Extra.TORCH: "Exact figures, the architecture, loading, generating, quantizing and the sample models need it.",
    Extra.SAE: "Training sparse autoencoders needs it.",
    Extra.GGUF: "Converting GGUF files needs it.",
    Extra.POSTGRES: "A PostgreSQL database needs it.",
    Extra.REDIS: "Redis as the message broker needs it.",
}
_OF_TORCH = ("torch", "transformers", "accelerate", "bitsandbytes", "peft")
_MODULES = {
    Extra.TORCH: _OF_TORCH,
    Extra.SAE: ("sae_lens", *_OF_TORCH),
    Extra.GGUF: ("gguf", *_OF_TORCH),
    Extra.POSTGRES: ("psycopg",),
    Extra.REDIS: ("redis",),
}


def has(extra: Extra) -> bool:
    """Return whether everything that an extra brings can be imported; nothing is."""
    return all(find_spec(module) is not None for module in _MODULES[extra])


def require(extra: Extra) -> None:
    """Raise what `missing` returns unless this installation has the extra."""
    if not has(extra):
        raise missing(extra)


def missing(extra: Extra) -> ExtraMissing:
    """Return the error of whatever needs an extra that is not installed; it has the command that installs it."""
    kind = SaeEngineMissing if extra is Extra.SAE else ExtraMissing
    hint = f"{NEEDED_FOR[extra]} Run: {install_command(extra)} and restart Modelyard."
    return kind(f"modelyard[{extra}] is not installed.", hint=hint, extra=extra.value)


def install_command(extra: Extra) -> str:
    """Return the shell command that adds an extra to this installation and leaves its torch as it is."""
    python = shlex.quote(sys.executable)
    install = f"{python} -m pip install" if find_spec("pip") else f"uv pip install --python {python}"
    pinned = [f"{name}=={found}" for name in ("torch", "transformers") if (found := installed_version(name))]
    return " ".join([install, f"'modelyard[{extra}]'", *pinned])


def installed_version(name: str) -> str | None:
    """Return a package's version by its metadata, None where it is not installed; nothing is imported."""
    from importlib import metadata  # which takes its time, and every process imports this module

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
