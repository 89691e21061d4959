"""Content that several repositories of the cache have: found, linked, and counted when it really goes."""

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from huggingface_hub import scan_cache_dir

from hub.fault_hub import remote_file
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.hub.names import RemoteFile

COMMIT = "1" * 40
CONTENT = b"x" * 1000
FILE = remote_file("model.bin", CONTENT, lfs=True)


@pytest.fixture
def store(tmp_path: Path) -> HubCache:
    return HubCache(tmp_path / "cache")


def put(store: HubCache, repo_id: str, content: bytes = CONTENT) -> Path:
    store.prepare(repo_id)
    file = remote_file("model.bin", content, lfs=True)
    blob = store.blob_path(repo_id, file.blob)
    blob.write_bytes(content)
    store.link(repo_id, COMMIT, file)
    return blob


def put_link(store: HubCache, repo_id: str) -> Path:
    store.prepare(repo_id)
    source = store.find_elsewhere(repo_id, [FILE])[FILE.blob]
    assert store.link_content(repo_id, FILE, source)
    store.link(repo_id, COMMIT, FILE)
    return store.blob_path(repo_id, FILE.blob)


def put_in_shared_store(store: HubCache, repo_ids: Sequence[str]) -> Path:
    """As huggingface_hub does it: one payload, each repository with a link as its blob."""
    xet_hash = "ab" * 32
    payload = store.cache_dir / "blobs" / "ab" / xet_hash
    payload.parent.mkdir(parents=True)
    (store.cache_dir / "blobs" / ".huggingface-shared-blobs").write_text("1\n")
    payload.write_bytes(CONTENT)
    references = []
    for repo_id in repo_ids:
        store.prepare(repo_id)
        blob = store.blob_path(repo_id, FILE.blob)
        blob.symlink_to(os.path.relpath(payload, blob.parent))
        store.link(repo_id, COMMIT, FILE)
        references.append(f"{blob.relative_to(store.cache_dir).as_posix()}\n")
    payload.with_name(f"{xet_hash}.refs").write_text("".join(references))
    return payload


def content_bytes(store: HubCache) -> int:
    """What the content of all blobs takes, each counted once."""
    files = [path for path in store.cache_dir.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum({path.stat().st_ino: path.stat().st_size for path in files if path.stat().st_size == 1000}.values())


def test_content_is_found_by_hash_and_size(store: HubCache) -> None:
    blob = put(store, "lab/one")
    small = remote_file("config.json", b"{}", lfs=False)
    assert store.find_elsewhere("lab/two", [FILE, small]) == {FILE.blob: blob}
    assert store.find_elsewhere("lab/one", [FILE]) == {}
    other_size = RemoteFile("model.bin", 999, FILE.sha256, None)
    assert store.find_elsewhere("lab/two", [other_size]) == {}
    linked = put_link(store, "lab/two")
    assert linked.samefile(blob)
    assert store.verify_file("lab/two", COMMIT, FILE)
    assert not scan_cache_dir(store.cache_dir).warnings
    assert set(store.find_elsewhere("lab/three", [FILE])) == {FILE.blob}


def test_content_with_a_name_outside_of_the_cache_is_left_alone(store: HubCache, tmp_path: Path) -> None:
    os.link(put(store, "lab/one"), tmp_path / "mine.bin")
    assert store.find_elsewhere("lab/two", [FILE]) == {}
    plan = store.plan_deletion("lab/one", COMMIT)
    assert (plan.freed_bytes, plan.kept_bytes) == (0, 1000)
    assert store.execute_deletion(plan) == 0


def test_what_lies_in_the_way_is_replaced_and_what_vanished_is_not_linked(store: HubCache) -> None:
    blob = put(store, "lab/one")
    store.prepare("lab/two")
    mine = store.blob_path("lab/two", FILE.blob)
    mine.write_bytes(b"cut off")
    assert store.link_content("lab/two", FILE, blob)
    assert mine.read_bytes() == CONTENT
    blob.unlink()
    assert not store.link_content("lab/three", FILE, blob)
    blob.symlink_to("/etc/hostname")
    assert not store.link_content("lab/two", FILE, blob)
    assert mine.read_bytes() == CONTENT
    assert list(mine.parent.iterdir()) == [mine]


@pytest.mark.parametrize("shared", [(), ("lab/one",), ("lab/one", "lab/two")], ids=str)
@pytest.mark.parametrize("order", list(itertools.permutations(("lab/one", "lab/two", "lab/three"))), ids=str)
def test_deletions_free_what_they_plan_and_the_last_one_frees_all(
    store: HubCache, order: Sequence[str], shared: Sequence[str]
) -> None:
    payload = put_in_shared_store(store, shared) if shared else put(store, "lab/one")
    for repo_id in {"lab/one", "lab/two", "lab/three"} - {"lab/one", *shared}:
        assert put_link(store, repo_id).samefile(payload)
    together, released = 0, set[Path]()
    for repo_id in order:
        plan = store.plan_deletion(repo_id, COMMIT, released=released)
        together += plan.freed_bytes
        released |= set(plan.blobs)
        assert plan.freed_bytes + plan.kept_bytes == 1000
    assert together == 1000
    for number, repo_id in enumerate(order):
        before = content_bytes(store)
        plan = store.plan_deletion(repo_id, COMMIT)
        assert plan.freed_bytes == store.execute_deletion(plan) == before - content_bytes(store)
        assert content_bytes(store) == (0 if number == 2 else 1000)
