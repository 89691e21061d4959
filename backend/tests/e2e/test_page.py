"""The page in a real browser, on a real server with real workers; what is done there is in `frontend/e2e`.

Several files, so that they can run at the same time.
"""

import shutil
from pathlib import Path

import pytest

from hub.hub_faults import serve
from modelyard.hub.server.app import create_hub_app
from support.browser import served, walk
from support.folder_hub import FolderSource, make_llama


def test_the_main_job_from_an_empty_home(tmp_path: Path) -> None:
    with served(tmp_path) as instance:
        walk(instance, "walk", "chat", "compare")


@pytest.mark.thorough
def test_a_repository_that_moves(tmp_path: Path) -> None:
    first = make_llama(tmp_path / "first", weight_bytes=1_000_000)
    second = Path(shutil.copytree(first, tmp_path / "second"))
    (second / "README.md").write_text("Second.")
    source = FolderSource(lab__moving=first)
    with (
        serve(create_hub_app([source], api_key=None)) as endpoint,
        served(tmp_path / "home", {"HF_ENDPOINT": endpoint}) as instance,
    ):
        walk(instance, "versions", steps={"move": lambda: source.move("lab/moving", second)})


@pytest.mark.thorough
def test_what_a_model_is_and_needs(tmp_path: Path) -> None:
    with served(tmp_path) as instance:
        walk(instance, "architecture", "code", "docs", "memory")


@pytest.mark.thorough
def test_a_hub_with_more_models_than_a_page(tmp_path: Path) -> None:
    card = "---\nlicense: mit\n---\nA card of this test.\n"
    plain, llama = tmp_path / "plain", make_llama(tmp_path / "llama", weight_bytes=1_000_000)
    plain.mkdir()
    (plain / "README.md").write_text(card)
    (llama / "README.md").write_text(card.replace("mit", "apache-2.0"))
    folders = {f"lab__model-{number:02}": plain for number in range(30)} | {"lab__llama": llama}
    with (
        serve(create_hub_app([FolderSource(**folders)], api_key=None)) as endpoint,
        served(tmp_path / "home", {"HF_ENDPOINT": endpoint}) as instance,
    ):
        walk(instance, "hub")
