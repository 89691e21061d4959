"""Programs of the system that a test needs: without them it is skipped on a user's machine, and fails in CI."""

import os
import shutil

import pytest


def require(program: str, *, package: str) -> str:
    """The program's path."""
    path = shutil.which(program)
    if path is None:
        reason = f"{program} is not installed (Debian package {package})"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path
