"""Names from a hostile Hub never become paths outside the snapshot."""

import string
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import HubMisbehaved, InvalidRequest
from modelyard.hub.names import (
    RemoteFile,
    odd_name,
    validate_commit,
    validate_files,
    validate_path,
    validate_repo_id,
    validate_revision,
)

SHA256 = "a" * 64


def entry(path: str, size_bytes: int = 1, sha256: str | None = SHA256, git_sha1: str | None = None) -> RemoteFile:
    return RemoteFile(path, size_bytes, sha256, git_sha1)


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "..",
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a/./b",
        "a//b",
        "a/",
        "a\\..\\b",
        "C:/x",
        "c:x",
        "con.txt:ads",
        "a\nb",
        "a\x00b",
        "a\x7fb",
        "a\u202egnp.exe",
        "a\u200bb",
        "a\u2028b",
        "\ud800",
        " a",
        "a ",
        "a /b",
        "a/ b",
        "a.",
        "a./b",
        "...",
        ".git/config",
        "sub/.GIT/hooks/post-checkout",
        ".cache/huggingface/download/x.metadata",
        ".Cache/HuggingFace/x",
        "x" * 300,
        "é" * 200,
        "/".join(["folder"] * 300),
    ],
)
def test_hostile_path_is_refused(path: str) -> None:
    with pytest.raises(HubMisbehaved) as caught:
        validate_path(path)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    "path",
    ["config.json", ".gitattributes", "onnx/model.onnx", "a..b", ".cache/other", "модель.bin", "-rf", "a b.txt", "git"],
)
def test_ordinary_path_is_accepted(path: str) -> None:
    validate_path(path)


@pytest.mark.parametrize("path", ["results: run 1.json", " notes.txt", "end.", "x\\y.txt", "x" * 300])
def test_an_odd_name_is_told_from_one_that_leaves(path: str) -> None:
    assert odd_name(path) is not None


@pytest.mark.parametrize(
    "path", ["config.json", "../x", "a/../x", "/etc/passwd", "\\\\host\\x", "..\\x", "a\u202etxt", "a\0", "a//b"]
)
def test_a_usual_or_a_hostile_name_is_not_odd(path: str) -> None:
    assert odd_name(path) is None


@given(st.text())
def test_what_is_accepted_stays_below_its_folder(path: str) -> None:
    try:
        validate_path(path)
    except HubMisbehaved:
        return
    parts = PurePosixPath("/snapshot", path).parts
    assert parts[:2] == ("/", "snapshot")
    assert len(parts) == 2 + len(path.split("/"))
    assert not {"", ".", ".."} & set(parts[2:])
    assert path.isprintable() or not any(ord(character) < 32 for character in path)


@given(st.lists(st.text(alphabet=string.ascii_letters + "/._-", min_size=1, max_size=12), max_size=8, unique=True))
def test_accepted_list_has_no_clashes(paths: list[str]) -> None:
    try:
        validate_files([entry(path) for path in paths])
    except HubMisbehaved:
        return
    folded = [path.casefold() for path in paths]
    assert len(set(folded)) == len(folded)
    for path in folded:
        assert not any(other != path and path.startswith(other + "/") for other in folded)


@pytest.mark.parametrize(
    "paths",
    [
        ["Config.json", "config.json"],
        ["config.json", "config.json"],
        ["config.json", "config.json/x"],
        ["A/b", "a"],
        ["caf\u00e9", "cafe\u0301"],
        ["straße", "STRASSE"],
    ],
)
def test_clashing_paths_are_refused(paths: list[str]) -> None:
    with pytest.raises(HubMisbehaved, match="lists"):
        validate_files([entry(path) for path in paths])


@pytest.mark.parametrize(
    "file",
    [
        entry("a", -1),
        entry("a", 2**60),
        entry("a", sha256="../../x"),
        entry("a", sha256="A" * 64),
        entry("a", sha256=None, git_sha1="zz"),
        entry("a", sha256=None),
    ],
)
def test_content_that_cannot_be_verified_is_refused(file: RemoteFile) -> None:
    with pytest.raises(HubMisbehaved):
        validate_files([file])


def test_one_content_has_one_size() -> None:
    with pytest.raises(HubMisbehaved, match="two sizes"):
        validate_files([entry("a", 1), entry("b", 2)])


@pytest.mark.parametrize("commit", ["", "main", "../x", "A" * 40, "a" * 65, "abcdef\n"])
def test_commit_is_a_hash(commit: str) -> None:
    with pytest.raises(HubMisbehaved):
        validate_commit(commit)


@pytest.mark.parametrize("revision", ["../main", "/x", "", "a\\b", "refs/../../x"])
def test_revision_stays_below_refs(revision: str) -> None:
    with pytest.raises(InvalidRequest, match="is not the name of a branch, tag or commit") as caught:
        validate_revision(revision)
    assert "leave the revision out" in (caught.value.hint or "")
    validate_revision("refs/pr/1")


@pytest.mark.parametrize("repo_id", ["", "a/b/c", "../x", "a/..", "a b/c", "a--b/c"])
def test_repo_id_is_owner_and_name(repo_id: str) -> None:
    with pytest.raises(InvalidRequest):
        validate_repo_id(repo_id)
    validate_repo_id("gpt2")
    validate_repo_id("Qwen/Qwen3-0.6B")
