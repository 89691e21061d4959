"""The page in a real browser, on a real server with real workers; what is done there is in `frontend/e2e`.

Several files, so that they can run at the same time.
"""

from pathlib import Path

import pytest

from support.browser import served, walk


def test_the_main_job_from_an_empty_home(tmp_path: Path) -> None:
    with served(tmp_path) as instance:
        walk(instance, "walk", "chat", "compare")


@pytest.mark.thorough
def test_what_a_model_is_and_needs(tmp_path: Path) -> None:
    with served(tmp_path) as instance:
        walk(instance, "architecture", "code", "docs", "memory")
