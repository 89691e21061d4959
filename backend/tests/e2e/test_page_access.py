"""Everybody can use the page: without sight, without a mouse, on a phone."""

from pathlib import Path

import pytest

from support.browser import served, walk

pytestmark = pytest.mark.thorough


@pytest.mark.timeout(500)
def test_for_everybody(tmp_path: Path) -> None:
    with served(tmp_path) as instance:
        walk(instance, "a11y", "keyboard", "narrow")


@pytest.mark.timeout(300)
def test_where_a_key_is_needed(tmp_path: Path) -> None:
    with served(tmp_path, {"MODELYARD_API_KEY": "a-key-of-this-test"}) as instance:
        walk(instance, "sign-in")
