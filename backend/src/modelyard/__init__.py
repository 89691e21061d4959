"""Modelyard: a self-hosted manager of Hugging Face transformer models.

`modelyard.load("owner/name")` gives a model that is here to this process; `modelyard.remote("owner/name")` uses the
server's.
"""

from functools import cache
from typing import TYPE_CHECKING, Any

from modelyard.core.environment import forget_empty_variables

if TYPE_CHECKING:
    from modelyard.notebook import load as load
    from modelyard.notebook_remote import activations as activations
    from modelyard.notebook_remote import remote as remote

    __version__: str

forget_empty_variables()


def __getattr__(name: str) -> Any:
    # Every part of Modelyard imports this module; what not every part needs is imported when it is used.
    if name == "__version__":
        return _version()
    if name == "load":
        from modelyard.notebook import load

        return load
    if name in ("activations", "remote"):
        from modelyard import notebook_remote as module

        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), "__version__", "activations", "load", "remote"]


@cache
def _version() -> str:
    """Return the version that was built from git (`pyproject.toml`), as the installation has recorded it."""
    from importlib.metadata import version

    return version("modelyard")
