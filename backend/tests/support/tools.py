"""Programs and packages that a test needs.

Without a program a test is skipped on a user's machine, and fails in CI. Without the training extra a test marked
`sae` is skipped everywhere; `make test-thorough` installs the extra and runs it.
"""

import os
import shutil
from collections.abc import Iterable
from typing import NoReturn

import pytest

from modelyard.core.extras import Extra, has


def require(program: str, *, package: str) -> str:
    """The program's path."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin")
    if path is None:
        missing(f"{program} is not installed (Debian package {package})")
    return path


def skip_without_training_extra(items: Iterable[pytest.Item]) -> None:
    """Skip the tests marked `sae` where SAELens is not installed."""
    if has(Extra.SAE):
        return
    skip = pytest.mark.skip(reason="the training extra is not installed; make test-thorough installs it")
    for item in items:
        if item.get_closest_marker("sae"):
            item.add_marker(skip)


def missing(reason: str) -> NoReturn:
    """Skip this test for want of something, or fail it where everything has to be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
