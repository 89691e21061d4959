"""Lists of models and collections."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.hub_faults import serve
from modelyard.commands._wanted import address, read_list
from modelyard.core.errors import HubModelNotFound, InvalidRequest
from modelyard.core.model_ids import parse_collection
from modelyard.hub.client import HubClient
from modelyard.hub.server.app import create_hub_app
from support.collections_hub import WithCollections
from support.folder_hub import FolderSource, make_llama

from .conftest import Server

SLUG = "lab/small-64f9a55bb3115b4f513ec026"
ITEMS = [("model", "lab/one"), ("dataset", "lab/texts"), ("model", "lab/two"), ("model", "lab/one")]


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[str]:
    folders = {f"lab__{name}": make_llama(tmp_path / f"several-{name}", weight_bytes=50_000) for name in ("one", "two")}
    app = create_hub_app([FolderSource(**folders)], api_key=None)
    with serve(WithCollections(app, {SLUG: ITEMS})) as endpoint:
        yield endpoint


def test_lists_and_collections(server: Server, endpoint: str, tmp_path: Path) -> None:
    modelyard = server.modelyard
    server.client.put("/settings", {"endpoint": endpoint})
    planned = modelyard("pull", f"collection:{SLUG}", "--plan", "--json")
    assert planned.returncode == 0, planned.stderr
    assert [(step["action"], step["subject"].split()[0]) for step in json.loads(planned.stdout)] == [
        ("download", "lab/one"),
        ("download", "lab/two"),
    ]
    assert "Small models: 2 models, without 1 that are no models." in planned.stderr
    assert server.client.models()["items"] == []

    listed = tmp_path / "models.txt"
    listed.write_text("# for the course\nlab/one   # the first\n\nlab/nowhere\n")
    pulled = modelyard("pull", "-f", str(listed))
    assert pulled.returncode == 1
    assert "lab/one is ready" in pulled.stdout
    assert pulled.stdout.endswith("1 of 2 models are ready; not lab/nowhere.\n")
    assert "lab/nowhere: " in pulled.stderr

    rest = modelyard("pull", SLUG, "-f", "-", "--json", stdin="hf://lab/two@main\n")
    assert rest.returncode == 0, rest.stderr
    assert [row["model_id"] for row in json.loads(rest.stdout)] == ["lab/one", "lab/two", "lab/two"]
    assert modelyard("pull").returncode == 2
    assert modelyard("pull", "a", "b", "--gguf", "x").returncode == 2
    missing = modelyard("pull", "collection:lab/none")
    assert (missing.returncode, "There is no collection lab/none" in missing.stderr) == (1, True)


def test_what_the_hub_says_of_a_collection(endpoint: str) -> None:
    found = HubClient(endpoint, False).collection(SLUG)
    assert (found.title, found.model_ids, found.left_out) == ("Small models", ("lab/one", "lab/two"), 1)
    with pytest.raises(HubModelNotFound, match="no collection"):
        HubClient(endpoint, False).collection("lab/none")


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        (SLUG, SLUG),
        (f"collection:{SLUG}", SLUG),
        ("collection:lab/any-name", "lab/any-name"),
        (f"https://huggingface.co/collections/{SLUG}?x=1", SLUG),
        (f"hf.co/collections/{SLUG}/", SLUG),
        ("lab/one", None),
        ("https://huggingface.co/lab/one", None),
        ("hf://lab/one", None),
    ],
)
def test_names_of_collections(text: str, slug: str | None) -> None:
    assert parse_collection(text) == slug


@pytest.mark.parametrize("text", ["collection:", "collection:a", "collection:../etc/passwd", "x/collections/a b/c"])
def test_names_of_no_collection(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_collection(text)


def test_what_a_list_holds(tmp_path: Path) -> None:
    path = tmp_path / "models.txt"
    path.write_bytes(b"\xef\xbb\xbfa/b\r\n # none\r\na/b\nc@v1 # tag\n")
    assert read_list(str(path)) == ["a/b", "c@v1"]
    assert [address(name) for name in ("a/b", "c@v1", "hf://c@v1", "https://hf.co/c@v1")] == [
        "a/b",
        "hf://c@v1",
        "hf://c@v1",
        "https://hf.co/c@v1",
    ]
    path.write_text("# nothing\n")
    for wrong in (path, tmp_path / "missing"):
        with pytest.raises(InvalidRequest):
            read_list(str(wrong))
