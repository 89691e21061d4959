"""Which paths of users are opened, and that nothing gained by swapping a file is."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import ValidationError

from modelyard.core import paths
from modelyard.core.errors import Conflict, InvalidRequest, ModelyardError, PathNotAllowed
from modelyard.core.paths import PathRules, open_inside, open_real
from modelyard.core.settings import Settings

SECRET = b"the secret"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_bytes(b"{}")
    (tmp_path / "secret").write_bytes(SECRET)
    return folder


@pytest.fixture
def rules() -> PathRules:
    return PathRules(own=(), anywhere=True)


def test_a_plain_folder_is_listed_by_name(folder: Path, rules: PathRules) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "file").write_bytes(b"x")
    (folder / ".hidden").write_bytes(b"x")
    (folder / "again").symlink_to("config.json")
    (folder / "same").symlink_to("sub")
    found = rules.list_folder(folder)
    assert list(found) == ["again", "config.json", "sub/file"]
    assert found["again"].open().read() == b"{}"


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


ATTACKS: dict[str, Callable[[Path], None]] = {
    "a link to a file": lambda path: path.symlink_to(path.parent.parent / "secret"),
    "a relative link": lambda path: path.symlink_to("../secret"),
    "a link by detours": lambda path: path.symlink_to("../model/../secret"),
    "a link to a system file": lambda path: path.symlink_to("/etc/shadow"),
    "a link to a folder": lambda path: path.symlink_to("/etc"),
    "a link to nowhere": lambda path: path.symlink_to("/no/such/file"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to what is open": lambda path: path.symlink_to("/proc/self/environ"),
    "a FIFO": _fifo,
    "a socket": _socket,
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_leads_out_of_a_folder_is_refused_by_name(folder: Path, rules: PathRules, attack: str) -> None:
    ATTACKS[attack](folder / "model.safetensors")
    began = time.monotonic()
    with pytest.raises((PathNotAllowed, InvalidRequest), match=r"model\.safetensors") as refused:
        rules.list_folder(folder)
    assert refused.value.hint
    assert time.monotonic() - began < 60, "it waited for a writer"


def test_a_chain_of_links_is_followed_to_its_end(folder: Path, rules: PathRules) -> None:
    (folder / "first").symlink_to("second")
    (folder / "second").symlink_to("third")
    (folder / "third").symlink_to("../secret")
    with pytest.raises(PathNotAllowed):
        rules.list_folder(folder)


def test_a_hard_link_to_a_file_of_another_user_is_refused(folder: Path, rules: PathRules, tmp_path: Path) -> None:
    """Made with the system's protection off, as by somebody who may not read the file."""
    if os.geteuid() != 0:
        pytest.skip("only root gives files to others")
    os.chown(tmp_path / "secret", 12345, -1)
    os.link(tmp_path / "secret", folder / "model.safetensors")
    with pytest.raises(PathNotAllowed, match="hard link"):
        rules.list_folder(folder)


def test_a_snapshot_may_lead_into_the_blobs_of_its_own_repository_only(tmp_path: Path, rules: PathRules) -> None:
    hub = tmp_path / "hub"
    snapshot, other = (hub / f"models--a--{name}" / "snapshots" / "c0ffee" for name in ("mine", "private"))
    for each in (snapshot, other):
        each.mkdir(parents=True)
        (each.parent.parent / "blobs").mkdir()
        (each.parent.parent / "blobs" / "abc").write_bytes(b"content")
    (snapshot / "config.json").symlink_to("../../blobs/abc")
    assert rules.list_folder(snapshot)["config.json"].open().read() == b"content"
    assert open_inside(snapshot, "config.json").read() == b"content"

    (snapshot / "stolen").symlink_to("../../../models--a--private/blobs/abc")
    with pytest.raises(PathNotAllowed, match="stolen"):
        rules.list_folder(snapshot)
    with pytest.raises(PathNotAllowed, match="stolen"):
        open_inside(snapshot, "stolen")
    (snapshot / "stolen").unlink()
    (snapshot.parent.parent / "blobs" / "def").symlink_to("/etc/passwd")
    (snapshot / "chain").symlink_to("../../blobs/def")
    with pytest.raises(PathNotAllowed, match="chain"):
        open_inside(snapshot, "chain")


def test_the_store_that_repositories_of_a_cache_share_belongs_to_its_snapshots(tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    snapshot, shared = hub / "models--a--b" / "snapshots" / "c0ffee", hub / "blobs" / "ab" / "abc"
    for each in (snapshot, snapshot.parent.parent / "blobs", shared.parent):
        each.mkdir(parents=True)
    shared.write_bytes(b"content")
    (snapshot.parent.parent / "blobs" / "abc").symlink_to("../../blobs/ab/abc")
    (snapshot / "config.json").symlink_to("../../blobs/abc")
    assert open_inside(snapshot, "config.json").read() == b"content"


def test_named_folders_are_where_paths_and_links_may_lead(tmp_path: Path, folder: Path) -> None:
    (folder / "model.safetensors").symlink_to(tmp_path / "big" / "weights")
    (tmp_path / "big").mkdir()
    (tmp_path / "big" / "weights").write_bytes(b"w")
    both = PathRules(own=(), named=(folder, tmp_path / "big"))
    assert both.list_folder(folder)["model.safetensors"].open().read() == b"w"
    with pytest.raises(PathNotAllowed, match=r"model\.safetensors"):
        PathRules(own=(), named=(folder,)).list_folder(folder)
    for outside in (tmp_path, tmp_path / "big" / "..", tmp_path / "gone", Path("/etc")):
        with pytest.raises(PathNotAllowed, match="not below") as refused:
            both.list_folder(outside)
        assert str(folder) in (refused.value.hint or "")
        assert "MODELYARD_ALLOWED_PATHS" in (refused.value.hint or "")
    # A named folder may be reached by a link, and a link of a user may lead below one.
    (tmp_path / "alias").symlink_to(folder)
    assert PathRules(own=(), named=(tmp_path / "alias", tmp_path / "big")).list_folder(folder)
    assert both.list_folder(tmp_path / "alias")


def test_a_data_set_is_under_the_same_rules(tmp_path: Path, folder: Path) -> None:
    (folder / "corpus.txt").symlink_to("../secret")
    (folder / "good.txt").write_bytes(b"text")
    for rules in (PathRules(own=(), anywhere=True), PathRules(own=(folder,))):
        assert rules.find_file(folder / "good.txt").open().read() == b"text"
        for name in ("corpus.txt", "../model/corpus.txt"):
            with pytest.raises(PathNotAllowed, match=r"corpus\.txt"):
                rules.find_file(folder / name)
        with pytest.raises(InvalidRequest):
            rules.find_file(Path("good.txt"))
        with pytest.raises(InvalidRequest):
            rules.find_file(folder / "gone.txt")
        with pytest.raises(InvalidRequest):
            rules.find_file(folder / "bad\0name.txt")
    with pytest.raises(PathNotAllowed):
        PathRules(own=(folder,)).find_file(tmp_path / "secret")


def test_what_is_modelyards_own_or_the_systems_is_not_read(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "datasets").mkdir(parents=True)
    (home / "samples" / "one").mkdir(parents=True)
    for name in ("modelyard.db", "datasets/a.txt", "samples/one/a.txt"):
        (home / name).write_bytes(b"x")
    settings = Settings(home=home)
    for named in (None, (tmp_path,), (Path("/"),)):
        rules = PathRules.of(settings.model_copy(update={"allowed_paths": named}))
        assert rules.find_file(home / "datasets" / "a.txt")
        assert rules.find_file(home / "samples" / "one" / "a.txt")
        for path in (home / "modelyard.db", Path("/etc/passwd"), Path("/proc/self/environ")):
            with pytest.raises(PathNotAllowed):
                rules.find_file(path)
        for path in (home, Path("/etc"), Path("/proc/self/root/etc")):
            with pytest.raises(PathNotAllowed):
                rules.list_folder(path)
        link = tmp_path / "database.txt"
        link.unlink(missing_ok=True)
        link.symlink_to(home / "modelyard.db")
        with pytest.raises(PathNotAllowed):
            rules.find_file(link)


@pytest.mark.parametrize(
    ("environment", "anywhere"),
    [
        ({"host": "127.0.0.1"}, True),
        ({"host": "localhost"}, True),
        ({"host": "::1"}, True),
        ({"host": "127.0.0.1", "api_key": "k" * 32}, False),
        ({"host": "0.0.0.0", "api_key": "k" * 32}, False),
        ({"host": "lab.example", "api_key": "k" * 32}, False),
        ({"host": "127.0.0.1", "allowed_paths": "/data"}, False),
    ],
)
def test_who_reaches_the_server_decides_what_it_reads(
    environment: dict[str, str], anywhere: bool, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path / "home", **environment)  # type: ignore[arg-type]
    settings.prepare_home()
    (tmp_path / "model").mkdir()
    (settings.datasets_folder / "a.txt").write_bytes(b"x")
    rules = PathRules.of(settings)
    assert rules.find_file(settings.datasets_folder / "a.txt")
    if anywhere:
        rules.list_folder(tmp_path / "model")
    else:
        with pytest.raises(PathNotAllowed):
            rules.list_folder(tmp_path / "model")
    # A worker's own environment does not matter.
    elsewhere = PathRules.of(Settings(home=tmp_path / "home"), rules.stored())
    assert elsewhere.named == rules.named
    assert elsewhere.anywhere is anywhere


def test_allowed_paths_are_absolute_folders() -> None:
    assert Settings(allowed_paths="/a::~/b").allowed_paths == (Path("/a"), Path("~/b").expanduser())  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="not an absolute path"):
        Settings(allowed_paths="/a:b/../../etc")  # type: ignore[arg-type]


def test_a_large_or_a_whole_disk_is_refused_at_once(
    tmp_path: Path, rules: PathRules, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "MAX_ENTRIES", 50)
    for number in range(60):
        (tmp_path / f"d{number}").mkdir()
    for path in (tmp_path, Path("/"), Path("/etc"), Path("/proc"), Path("/usr")):
        began = time.monotonic()
        with pytest.raises((InvalidRequest, PathNotAllowed)):
            rules.list_folder(path)
        assert time.monotonic() - began < 10


def test_many_folders_within_one_another_are_refused(tmp_path: Path, rules: PathRules) -> None:
    tmp_path.joinpath(*["d"] * 100).mkdir(parents=True)
    with pytest.raises(InvalidRequest, match="50 folders within one another"):
        rules.list_folder(tmp_path)


@contextmanager
def swapping(path: Path, other: Path) -> Iterator[None]:
    """A thread that lets `path` be a file, a link to `other`, a file, … as fast as it can."""
    stop = threading.Event()
    drafts = path.with_name("draft"), path.with_name("draft-link")
    swaps = 0

    def swap() -> None:
        nonlocal swaps
        while not stop.is_set():
            drafts[1].symlink_to(other)
            drafts[1].replace(path)
            drafts[0].write_bytes(b"harmless")
            drafts[0].replace(path)
            swaps += 1

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert swaps > 20


def test_a_file_that_is_swapped_for_a_link_is_never_read(folder: Path, rules: PathRules) -> None:
    target = folder / "corpus.txt"
    target.write_bytes(b"harmless")
    read: set[bytes] = set()
    naive: set[bytes] = set()
    refused = 0
    end = time.monotonic() + 3
    with swapping(target, folder.parent / "secret"):
        while (now := time.monotonic()) < end or (not (refused and read and SECRET in naive) and now < end + 60):
            naive.add(target.read_bytes())
            try:
                with rules.find_file(target).open() as file:
                    read.add(file.read())
            except ModelyardError:
                refused += 1
    assert SECRET in naive, "the swap bites"
    assert read == {b"harmless"}
    assert refused


def test_a_folder_that_is_swapped_for_a_link_is_never_entered(folder: Path, rules: PathRules) -> None:
    inner, aside = folder / "sub", folder / "aside"
    inner.mkdir()
    (inner / "secret").write_bytes(b"harmless")
    found = rules.find_file(inner / "secret")
    inner.rename(aside)
    inner.symlink_to(folder.parent)
    assert (inner / "secret").read_bytes() == SECRET, "the swap bites"
    with pytest.raises(InvalidRequest):
        found.open()
    with pytest.raises(OSError, match=r"."):
        open_real(inner / "secret")


def test_a_file_that_is_replaced_after_it_was_looked_at_is_not_taken(folder: Path, rules: PathRules) -> None:
    found = rules.find_file(folder / "config.json")
    (folder / "new").write_bytes(b"other")
    (folder / "new").replace(folder / "config.json")
    with pytest.raises(Conflict):
        found.open()
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    with pytest.raises(InvalidRequest):
        found.open()
