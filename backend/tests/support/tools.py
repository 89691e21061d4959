"""Programs and packages that a test needs: without them it is skipped on a user's machine, and fails in CI."""

import os
import shutil
from typing import NoReturn

import pytest

from modelyard.ml.sae.engine import engine_installed


def require(program: str, *, package: str) -> str:
    """The program's path."""
    path = shutil.which(program)
    if path is None:
        missing(f"{program} is not installed (Debian package {package})")
    return path


def require_training_extra() -> None:
    """SAELens and what comes with it."""
    if not engine_installed():
        missing("the training extra is not installed (make sae)")


longer_walk = pytest.mark.skipif(
    os.environ.get("MODELYARD_WALKS") != "all", reason="one of the longer walks: MODELYARD_WALKS=all, as in .ci/run"
)
"""For tests of minutes that `make test` leaves to CI."""


def missing(reason: str) -> NoReturn:
    """Skip this test for want of something, or fail it where everything has to be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
