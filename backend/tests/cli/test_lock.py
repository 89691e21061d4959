"""Lock files: what is written is read again, what strangers wrote is refused, and a server is made as one says."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.hub_faults import serve
from modelyard.client.lock_file import (
    InvalidLockFile,
    Lock,
    LockedFile,
    LockedModel,
    file_differences,
    library_differences,
    read_lock,
    write_lock,
)
from modelyard.hub.server.app import create_hub_app
from support.folder_hub import FolderSource, make_llama

from .conftest import Server

MODEL = "lab/moving"

hexadecimal = st.text("0123456789abcdef", min_size=40, max_size=40)
files = st.builds(
    LockedFile,
    path=st.text(min_size=1, max_size=30).filter(lambda text: "\x00" not in text),
    size=st.integers(0, 2**50),
    git_sha1=hexadecimal,
)
models = st.builds(
    LockedModel,
    model_id=st.sampled_from(("a/b", "lab/model-1.5", "gpt2")),
    endpoint=st.sampled_from(("https://huggingface.co", "local")),
    commit=hexadecimal,
    quantization=st.sampled_from(("none", "8bit", "4bit")),
    files=st.lists(files, max_size=3).map(tuple),
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lock")


@settings(deadline=None, max_examples=40)
@given(st.lists(models, max_size=4), st.dictionaries(st.sampled_from(("torch", "transformers")), st.text(max_size=9)))
def test_what_is_written_is_read_again(scratch: Path, locked: list[LockedModel], libraries: dict[str, str]) -> None:
    path = scratch / "modelyard.lock"
    path.write_text(write_lock(Lock(model=tuple(locked), libraries=libraries)), encoding="utf-8", newline="")
    found = read_lock(path)
    assert sorted(found.model, key=repr) == sorted(locked, key=repr)
    assert found.libraries == libraries
    assert write_lock(found).encode() == path.read_bytes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models = ", "is not TOML"),
        ("\xff\xfe", "is not TOML"),
        ("version = 7", "is of version 7"),
        ("[[model]]\nmodel_id = 'a/b'", "model.0.endpoint: Field required"),
        ("[[model]]\nmodel_id='a/b'\nendpoint='x'\ncommit='main'\nquantization='none'\nfiles=[]", "model.0.commit"),
        ("other = 1", "other: Extra inputs"),
        ("x = " + "[" * 3000, "is not TOML"),
        ("libraries = {torch = 2}", "libraries.torch"),
    ],
)
def test_what_is_no_lock_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "modelyard.lock"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(InvalidLockFile, match=message):
        read_lock(path)


def test_a_name_that_is_no_model(tmp_path: Path) -> None:
    locked = LockedModel(model_id="lab/own", endpoint="local", commit="0" * 40, quantization="none", files=())
    path = tmp_path / "modelyard.lock"
    path.write_text(write_lock(Lock(model=(locked,))).replace("lab/own", "../etc"), encoding="utf-8")
    with pytest.raises(InvalidLockFile, match="etc"):
        read_lock(path)
    with pytest.raises(InvalidLockFile, match="cannot be read"):
        read_lock(tmp_path)


def test_differences_name_what_differs() -> None:
    def file(path: str, digit: str) -> LockedFile:
        return LockedFile(path=path, size=1, git_sha1=digit * 40)

    locked = LockedModel(
        model_id="a/b", endpoint="local", commit="0" * 40, quantization="4bit", files=(file("x", "1"), file("y", "1"))
    )
    found = file_differences(locked, [file("x", "2"), file("z", "1")])
    assert [(each.subject, each.message) for each in found] == [
        ("a/b (4bit)", "x has another content"),
        ("a/b (4bit)", "y is not here"),
        ("a/b (4bit)", "z is not in the lock file"),
    ]
    assert file_differences(locked, locked.files) == []
    libraries = library_differences({"torch": "2.13.0", "peft": "1"}, {"torch": "2.13.0", "peft": None})
    assert [(each.subject, each.message) for each in libraries] == [("peft", "not installed, locked is 1")]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> FolderSource:
    return FolderSource(lab__moving=make_llama(tmp_path_factory.mktemp("hub") / "first", weight_bytes=100_000))


@pytest.fixture(scope="module")
def endpoint(source: FolderSource) -> Iterator[str]:
    with serve(create_hub_app([source], api_key=None)) as endpoint:
        yield endpoint


@pytest.fixture
def at_hub(server: Server, endpoint: str) -> Server:
    server.client.put("/settings", {"endpoint": endpoint})
    return server


def test_a_repository_that_moved_is_synced_back(at_hub: Server, source: FolderSource, tmp_path: Path) -> None:
    modelyard, path = at_hub.modelyard, tmp_path / "modelyard.lock"
    first = source.repos[MODEL].commit
    assert modelyard("pull", MODEL).returncode == 0
    written = modelyard("lock", "-o", str(path))
    assert (written.returncode, written.stdout) == (0, ""), written.stderr
    assert "names 1 model." in written.stderr
    assert modelyard("lock").stdout == path.read_text(encoding="utf-8")
    assert modelyard("lock", "--check", str(path)).stdout == "1 model as locked.\n"

    second = source.move(MODEL, make_llama(tmp_path / "second", weight_bytes=120_000))
    assert modelyard("rm", MODEL, "--yes").returncode == 0
    assert modelyard("pull", MODEL).returncode == 0
    differs = modelyard("lock", "--check", str(path))
    assert differs.returncode == 1
    assert f"is here at {second[:12]}, locked is {first[:12]}" in " ".join(differs.stdout.split())
    (told,) = json.loads(modelyard("lock", "--check", str(path), "--json").stdout)
    assert (told["kind"], told["subject"]) == ("commit", MODEL)

    planned = modelyard("sync", str(path), "--plan")
    assert planned.stdout.startswith(f"Would download {MODEL} at {first[:12]}: ")
    assert modelyard("lock", "--check", str(path)).returncode == 1  # nothing was done
    synced = modelyard("sync", str(path))
    assert (synced.returncode, synced.stdout) == (0, "1 model as locked, 1 of them new.\n"), synced.stderr
    assert modelyard("lock", "--check", str(path)).returncode == 0
    assert modelyard("sync", str(path)).stdout == "1 model as locked.\n"
    rows = at_hub.client.get("/models")["items"]
    assert sorted(row["commit"] for row in rows) == sorted((first, second))


def test_other_content_and_other_libraries_are_named(at_hub: Server, tmp_path: Path) -> None:
    modelyard, path = at_hub.modelyard, tmp_path / "modelyard.lock"
    assert modelyard("pull", MODEL).returncode == 0
    assert modelyard("lock", "-o", str(path)).returncode == 0
    locked = read_lock(path)
    model = locked.model[0]
    config = next(file for file in model.files if file.path == "config.json")
    other = config.model_copy(update={"sha256": None, "git_sha1": "0" * 40})
    files = tuple(other if file is config else file for file in model.files)
    changed = Lock(model=(model.model_copy(update={"files": files}),), libraries={"transformers": "1.0"})
    path.write_text(write_lock(changed), encoding="utf-8")

    checked = modelyard("lock", "--check", str(path))
    assert checked.returncode == 1
    assert "config.json has another content" in checked.stdout
    assert "locked is 1.0" in checked.stdout
    synced = modelyard("sync", str(path))
    assert synced.returncode != 0
    assert "config.json has another content" in synced.stderr


def test_what_no_hub_has_is_said(server: Server, tmp_path: Path) -> None:
    modelyard, path = server.modelyard, tmp_path / "modelyard.lock"
    imported = LockedModel(model_id="local/own", endpoint="local", commit="1" * 40, quantization="none", files=())
    path.write_text(write_lock(Lock(model=(imported,))), encoding="utf-8")
    checked = modelyard("lock", "--check", str(path))
    assert (checked.returncode, "is not here" in checked.stdout) == (1, True)
    synced = modelyard("sync", str(path))
    assert synced.returncode != 0
    assert "was imported from a folder" in synced.stderr
    assert modelyard("lock", "no/such-model").returncode != 0
    assert modelyard("lock", "--check", str(path), "-o", "x").returncode == 2
