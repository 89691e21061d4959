"""Everybody can use the page: without sight, without a mouse, on a phone."""

from pathlib import Path

import pytest

from support.browser import served, walk
from support.instance import free_port
from support.nginx import running_nginx, server_block

pytestmark = pytest.mark.thorough


@pytest.mark.timeout(1000)
@pytest.mark.parametrize("spec", ["a11y", "keyboard", "narrow"])
def test_for_everybody(tmp_path: Path, spec: str) -> None:
    with served(tmp_path) as instance:
        walk(instance, spec)


def test_where_a_key_is_needed(tmp_path: Path) -> None:
    with served(tmp_path, {"MODELYARD_API_KEY": "a-key-of-this-test"}) as instance:
        walk(instance, "sign-in")


def test_below_a_path_that_the_server_is_not_told_of(tmp_path: Path) -> None:
    port = free_port()
    with served(tmp_path, {"MODELYARD_PUBLIC_URL": f"http://127.0.0.1:{port}"}) as instance:
        instance.use_builtin_hub()
        instance.api.get("/models/search", params={"q": "tiny"})  # makes the samples
        directives = f"proxy_pass {instance.url}/;"
        with running_nginx(tmp_path / "nginx", {port: server_block(port, directives, location="/tools/yard/")}):
            walk(instance, "below-a-path", url=f"http://127.0.0.1:{port}/tools/yard/")
