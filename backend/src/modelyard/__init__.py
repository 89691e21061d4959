"""Modelyard: a self-hosted manager of Hugging Face transformer models.

`modelyard.load("owner/name")` gives a model that is here to this process.
"""

from typing import TYPE_CHECKING, Any

from modelyard.core.environment import forget_empty_variables

if TYPE_CHECKING:
    from modelyard.notebook import load as load

__version__ = "0.1.0"

forget_empty_variables()


def __getattr__(name: str) -> Any:
    # Every part of Modelyard imports this module; only who loads a model needs more than the version.
    if name == "load":
        from modelyard.notebook import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), "load"]
