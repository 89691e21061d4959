"""Modelyard: a self-hosted manager of Hugging Face transformer models.

`modelyard.load("owner/name")` gives a model that is here to this process.
"""

from functools import cache
from typing import TYPE_CHECKING, Any

from modelyard.core.environment import forget_empty_variables

if TYPE_CHECKING:
    from modelyard.notebook import load as load

    __version__: str

forget_empty_variables()


def __getattr__(name: str) -> Any:
    # Every part of Modelyard imports this module; what not every part needs is imported when it is used.
    if name == "__version__":
        return _version()
    if name == "load":
        from modelyard.notebook import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), "__version__", "load"]


@cache
def _version() -> str:
    """Return the version that was built from git (`pyproject.toml`), as the installation has recorded it."""
    from importlib.metadata import version

    return version("modelyard")
