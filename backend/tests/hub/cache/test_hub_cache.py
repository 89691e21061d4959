"""The cache folder: layout, deletion plans, garbage, links that lead out."""

import hashlib
import os
import time
from pathlib import Path

import pytest
from huggingface_hub import constants, scan_cache_dir, try_to_load_from_cache

from hub.fault_hub import remote_file
from modelyard.core.errors import Conflict, DiskFull, HubMisbehaved, InvalidRequest
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.hub.download.part_file import PartialFile
from modelyard.hub.names import RemoteFile

REPO = "owner/model"
FIRST = "1" * 40
SECOND = "2" * 40


@pytest.fixture
def store(tmp_path: Path) -> HubCache:
    return HubCache(tmp_path / "cache")


def put(store: HubCache, commit: str, contents: dict[str, bytes], repo_id: str = REPO) -> list[RemoteFile]:
    store.prepare(repo_id)
    files = []
    for path, content in contents.items():
        file = remote_file(path, content, lfs=not path.endswith(".json"))
        store.blob_path(repo_id, file.blob).write_bytes(content)
        store.link(repo_id, commit, file)
        files.append(file)
    return files


def everything(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_layout_is_the_one_huggingface_hub_reads(store: HubCache) -> None:
    put(store, FIRST, {"config.json": b"{}", "sub/model.safetensors": b"weights"})
    store.write_ref(REPO, "main", FIRST)
    found = try_to_load_from_cache(REPO, "sub/model.safetensors", cache_dir=store.cache_dir)
    assert isinstance(found, str)
    assert Path(found).read_bytes() == b"weights"
    assert str(Path(found).readlink()) == f"../../../blobs/{hashlib.sha256(b'weights').hexdigest()}"
    info = scan_cache_dir(store.cache_dir)
    assert not info.warnings
    assert info.size_on_disk == store.snapshot_bytes(REPO, FIRST) == len(b"{}weights")


def test_repository_without_owner_keeps_its_short_folder(store: HubCache) -> None:
    assert store.repo_folder("gpt2").name == "models--gpt2"


def test_ref_of_a_branch_with_slashes_and_none_for_a_commit(store: HubCache) -> None:
    put(store, FIRST, {"config.json": b"{}"})
    store.write_ref(REPO, "refs/pr/1", FIRST)
    store.write_ref(REPO, FIRST, FIRST)
    assert everything(store.repo_folder(REPO) / "refs") == ["refs", "refs/pr", "refs/pr/1"]
    with pytest.raises(InvalidRequest):
        store.write_ref(REPO, "../../escape", FIRST)


def test_linking_twice_changes_nothing_and_a_wrong_link_is_replaced(store: HubCache) -> None:
    [file] = put(store, FIRST, {"config.json": b"{}"})
    path = store.snapshot_path(REPO, FIRST) / "config.json"
    before = path.lstat().st_ino
    store.link(REPO, FIRST, file)
    assert path.lstat().st_ino == before
    path.unlink()
    path.symlink_to("/etc/hostname")
    store.link(REPO, FIRST, file)
    assert path.read_bytes() == b"{}"


@pytest.mark.parametrize("unwanted", [False, True])
def test_copy_where_links_cannot_be_made(store: HubCache, monkeypatch: pytest.MonkeyPatch, unwanted: bool) -> None:
    def no_links(*arguments: object, **options: object) -> None:
        raise PermissionError(1, "not here")

    if unwanted:
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", True)
    else:
        monkeypatch.setattr(Path, "symlink_to", no_links)
    [file] = put(store, FIRST, {"config.json": b"{}"})
    path = store.snapshot_path(REPO, FIRST) / "config.json"
    assert not path.is_symlink()
    assert path.read_bytes() == b"{}"
    assert store.verify_file(REPO, FIRST, file)
    assert store.plan_deletion(REPO, FIRST).freed_bytes == 4
    assert store.execute_deletion(store.plan_deletion(REPO, FIRST)) == 4


def test_inventory_goes_by_size_and_verification_by_content(store: HubCache) -> None:
    good, short, flipped = put(store, FIRST, {"a.bin": b"aaaa", "b.bin": b"bbbb", "c.bin": b"cccc"})
    store.blob_path(REPO, short.blob).write_bytes(b"b")
    store.blob_path(REPO, flipped.blob).write_bytes(b"ccxc")
    gone = remote_file("d.bin", b"dd")
    inventory = store.inventory(REPO, FIRST, [good, short, flipped, gone])
    assert inventory.present == (good, flipped)
    assert inventory.missing == (short, gone)
    assert (inventory.present_bytes, inventory.missing_bytes) == (8, 6)
    verified = [file for file in (good, short, flipped, gone) if store.verify_file(REPO, FIRST, file)]
    assert verified == [good]


def test_git_hash_verifies_small_files(store: HubCache) -> None:
    [file] = put(store, FIRST, {"config.json": b'{"a": 1}'})
    assert file.sha256 is None
    assert store.verify_file(REPO, FIRST, file)


def test_mark_of_verification_ends_with_a_change(store: HubCache) -> None:
    [file] = put(store, FIRST, {"a.bin": b"aaaa"})
    assert not store.is_marked_verified(REPO, file)
    store.mark_verified(REPO, file)
    if not store.is_marked_verified(REPO, file):
        pytest.skip("this disk keeps no attributes")
    path = store.blob_path(REPO, file.blob)
    path.write_bytes(b"aaab")
    os.utime(path, ns=(1, 1))
    assert not store.is_marked_verified(REPO, file)


def test_plan_counts_shared_content_once_and_says_why_it_stays(store: HubCache) -> None:
    put(store, FIRST, {"model.bin": b"x" * 1000, "copy.bin": b"x" * 1000, "config.json": b"{}"})
    put(store, SECOND, {"model.bin": b"x" * 1000, "config.json": b'{"b": 1}'})
    store.write_ref(REPO, "main", SECOND)
    store.write_ref(REPO, "old", FIRST)
    plan = store.plan_deletion(REPO, FIRST)
    assert plan.freed_bytes == 2
    assert plan.kept_bytes == 1000
    assert [kept.reason for kept in plan.kept_because] == [f"revision {SECOND[:12]} (main) uses it"]
    assert store.execute_deletion(plan) == 2
    assert not store.snapshot_path(REPO, FIRST).exists()
    assert everything(store.repo_folder(REPO) / "refs") == ["main"]
    assert (store.snapshot_path(REPO, SECOND) / "model.bin").read_bytes() == b"x" * 1000

    last = store.plan_deletion(REPO, SECOND)
    assert (last.freed_bytes, last.kept_bytes) == (1008, 0)
    assert store.execute_deletion(last) == 1008
    assert everything(store.cache_dir) == []


def test_snapshot_that_is_needed_frees_nothing(store: HubCache) -> None:
    put(store, FIRST, {"model.bin": b"x" * 10})
    plan = store.plan_deletion(REPO, FIRST, also_needed_by=[FIRST], reason="4bit uses it")
    assert (plan.freed_bytes, plan.kept_bytes) == (0, 10)
    assert plan.kept_because[0].reason == "4bit uses it"
    assert store.execute_deletion(plan) == 0
    assert (store.snapshot_path(REPO, FIRST) / "model.bin").exists()


def test_last_snapshot_takes_unnamed_content_and_metadata_with_it(store: HubCache) -> None:
    put(store, FIRST, {"model.bin": b"x" * 10})
    folder = store.repo_folder(REPO)
    (folder / "blobs" / ("f" * 64)).write_bytes(b"y" * 5)
    (folder / ".no_exist" / FIRST).mkdir(parents=True)
    (folder / ".no_exist" / FIRST / "x.json").touch()
    (folder / "trees").mkdir()
    (folder / "trees" / f"{FIRST}.json").write_text("[]")
    plan = store.plan_deletion(REPO, FIRST)
    assert plan.freed_bytes == 15
    assert store.execute_deletion(plan) == 15
    assert not folder.exists()


def test_deletion_leaves_unfinished_files_of_others(store: HubCache) -> None:
    put(store, FIRST, {"model.bin": b"x" * 10})
    part = store.part_path(REPO, "e" * 64)
    part.write_bytes(b"half")
    store.execute_deletion(store.plan_deletion(REPO, FIRST))
    assert part.read_bytes() == b"half"


def test_deleting_what_is_not_there_is_no_error(store: HubCache) -> None:
    plan = store.plan_deletion(REPO, FIRST)
    assert plan.freed_bytes == 0
    assert store.execute_deletion(plan) == 0


def test_links_that_lead_elsewhere_are_not_removed_with_a_snapshot(store: HubCache, tmp_path: Path) -> None:
    put(store, FIRST, {"model.bin": b"x" * 10})
    precious = tmp_path / "precious"
    precious.write_bytes(b"keep me")
    (store.snapshot_path(REPO, FIRST) / "evil.bin").symlink_to(precious)
    plan = store.plan_deletion(REPO, FIRST)
    assert plan.freed_bytes == 10
    store.execute_deletion(plan)
    assert precious.read_bytes() == b"keep me"


@pytest.mark.parametrize("place", ["blobs", "snapshots", "refs", "."])
def test_links_inside_the_cache_are_not_followed_for_writing(store: HubCache, tmp_path: Path, place: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    target = store.repo_folder(REPO) / place
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(outside)
    with pytest.raises(Conflict):
        store.prepare(REPO)
    assert everything(outside) == []


def test_link_inside_a_snapshot_is_not_followed_for_writing(store: HubCache, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    put(store, FIRST, {"config.json": b"{}"})
    (store.snapshot_path(REPO, FIRST) / "sub").symlink_to(outside)
    with pytest.raises(Conflict):
        put(store, FIRST, {"sub/model.bin": b"x"})
    assert everything(outside) == []


def test_part_that_is_a_link_is_refused(store: HubCache, tmp_path: Path) -> None:
    store.prepare(REPO)
    file = remote_file("model.bin", b"x" * 10)
    victim = tmp_path / "victim"
    victim.write_bytes(b"important")
    store.part_path(REPO, file.blob).symlink_to(victim)
    with pytest.raises(Conflict):
        PartialFile.open(store, REPO, file)
    store.part_path(REPO, file.blob).unlink()
    os.link(victim, store.part_path(REPO, file.blob))
    with pytest.raises(Conflict):
        PartialFile.open(store, REPO, file)
    assert victim.read_bytes() == b"important"


def test_partials_are_listed_and_removed_unless_in_use(store: HubCache) -> None:
    store.prepare(REPO)
    idle, busy = remote_file("idle.bin", b"x" * 5000), remote_file("busy.bin", b"y" * 5000)
    store.part_path(REPO, idle.blob).write_bytes(b"x" * 4096)
    store.journal_path(REPO, idle.blob).write_text("garbage")
    os.utime(store.part_path(REPO, idle.blob), (time.time() - 60, time.time() - 60))
    owner = PartialFile.open(store, REPO, busy)
    assert owner is not None
    assert PartialFile.open(store, REPO, busy) is None
    listed = {partial.blob: partial for partial in store.partials()}
    assert set(listed) == {idle.blob, busy.blob}
    assert listed[idle.blob].repo_id == REPO
    assert listed[idle.blob].size_bytes == 4096
    assert 59 < listed[idle.blob].age_seconds < 120
    assert store.remove_partials(REPO) == 4096
    assert [partial.blob for partial in store.partials(REPO)] == [busy.blob]
    owner.discard()
    assert store.remove_partials(REPO) == 0
    assert not store.repo_folder(REPO).exists()


def test_scan_survives_garbage(store: HubCache) -> None:
    put(store, FIRST, {"model.bin": b"x" * 10, "config.json": b"{}"})
    store.write_ref(REPO, "main", FIRST)
    put(store, SECOND, {"model.bin": b"y" * 20}, repo_id="gpt2")
    store.blob_path("gpt2", hashlib.sha256(b"y" * 20).hexdigest()).unlink()
    (store.cache_dir / "models--empty--folder").mkdir()
    (store.cache_dir / "models--not-a-folder").write_text("x")
    (store.cache_dir / "datasets--a--b").mkdir()
    (store.cache_dir / "version.txt").write_text("1")
    (store.repo_folder(REPO) / "snapshots" / "stray").write_text("x")
    (store.repo_folder(REPO) / "refs" / "binary").write_bytes(b"\xff\xfe")
    (store.repo_folder(REPO) / "refs" / "loop").symlink_to("loop")
    assert [store.read_ref(REPO, name) for name in ("main", "binary", "loop", "gone")] == [FIRST, None, None, None]
    repos = {repo.repo_id: repo for repo in store.scan()}
    assert set(repos) == {REPO, "gpt2", "empty/folder"}
    assert repos[REPO].size_bytes == 12
    assert repos[REPO].problem == "snapshots/stray is not a folder"
    [snapshot] = repos[REPO].snapshots
    assert (snapshot.commit, snapshot.refs, snapshot.size_bytes) == (FIRST, ("main",), 12)
    assert snapshot.files == ("config.json", "model.bin")
    assert repos["gpt2"].snapshots[0].missing == ("model.bin",)
    assert repos["gpt2"].problem == "1 of its links lead nowhere"
    assert repos["empty/folder"].problem == "it has no snapshots folder"
    assert HubCache(store.cache_dir / "nothing here").scan() == []


def test_disk_full_is_said_with_numbers(store: HubCache) -> None:
    store.ensure_free(1, reserve_bytes=0)
    with pytest.raises(DiskFull, match=r"PB are needed and 1\.00 GB must stay free") as caught:
        store.ensure_free(2**60, reserve_bytes=10**9)
    assert caught.value.extra["needed_bytes"] == 2**60


def test_a_disk_that_filled_up_is_said_with_where_a_download_stops(store: HubCache) -> None:
    with pytest.raises(DiskFull, match=r"^Only .* left on the disk of .*; Modelyard stops at 1153 PB, so") as caught:
        store.ensure_free(0, reserve_bytes=2**60)
    assert "resumes by itself" in (caught.value.hint or "")


def test_blob_names_are_hashes(store: HubCache) -> None:
    with pytest.raises(HubMisbehaved):
        store.blob_path(REPO, "../../escape")
    with pytest.raises(HubMisbehaved):
        store.snapshot_path(REPO, "../escape")
    with pytest.raises(InvalidRequest):
        store.repo_folder("../escape")


def test_content_shared_by_repositories_is_counted_when_it_really_goes(store: HubCache) -> None:
    """huggingface_hub may keep one payload for several repositories, each with a link as its blob."""
    content = b"z" * 100
    sha256 = hashlib.sha256(content).hexdigest()
    xet_hash = "ab" * 32
    payload = store.cache_dir / "blobs" / "ab" / xet_hash
    payload.parent.mkdir(parents=True)
    (store.cache_dir / "blobs" / ".huggingface-shared-blobs").write_text("1\n")
    payload.write_bytes(content)
    references = []
    for repo_id in (REPO, "other/model"):
        store.prepare(repo_id)
        blob = store.blob_path(repo_id, sha256)
        blob.symlink_to(os.path.relpath(payload, blob.parent))
        references.append(f"{blob.relative_to(store.cache_dir).as_posix()}\n")
        store.link(repo_id, FIRST, RemoteFile("model.bin", 100, sha256, None))
    payload.with_name(f"{xet_hash}.refs").write_text("".join(references))
    plan = store.plan_deletion(REPO, FIRST)
    assert (plan.freed_bytes, plan.kept_bytes) == (0, 100)
    assert store.execute_deletion(plan) == 0
    last = store.plan_deletion("other/model", FIRST)
    assert last.freed_bytes == 100
    assert store.execute_deletion(last) == 100
    assert not payload.exists()
