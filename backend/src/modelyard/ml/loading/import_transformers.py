"""Imports what transformers' models are made of, without SciPy.

transformers imports it where it is installed (the training extra brings it) and uses it only to train object detectors:
35 MB and a third of a second in every process that loads or builds a model.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import cast


@contextmanager
def not_installed(name: str) -> Iterator[None]:
    """Have imports of a package fail, if nobody has imported it; for a process with one thread."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = cast(ModuleType, None)
    try:
        yield
    finally:
        del sys.modules[name]


with not_installed("scipy"):
    import transformers.modeling_utils

transformers.utils.is_scipy_available.cache_clear()
