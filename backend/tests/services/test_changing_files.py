"""Ready means that every file can be opened: whatever a Hub sends, and whatever becomes of a folder while it is read.

Imports are attacked at certain moments, not by chance: the change is made by what the import calls there.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hub.hub_faults import HubFaults, serve
from modelyard.core.database import Database
from modelyard.core.errors import InvalidRepository, ModelyardError, NoWeights
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.hub.server.app import create_hub_app
from modelyard.models import JobControl, Model
from modelyard.schemas.cache import ModelImportRequest
from modelyard.schemas.download import ModelDownloadRequest
from modelyard.schemas.system import SettingsUpdate
from modelyard.services import local_model_service
from modelyard.services.huggingface_model_service import HuggingFaceModelService
from modelyard.services.jobs.control import JobProgress
from modelyard.services.jobs.payloads import ImportPayload
from modelyard.services.local_model_service import LocalModelService
from modelyard.services.model_service import ModelService
from modelyard.services.settings_service import SettingsService
from support.folder_hub import FolderSource
from support.odd_repositories import tensors, write_model

SECRET = b"of another user"
WEIGHTS = "model.safetensors"
NAME = "local/changing"

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


class Quiet:
    def report(self, progress: JobProgress) -> None:
        pass

    def control(self) -> JobControl:
        return JobControl.RUN


def with_header(header: bytes, size_bytes: int = 64) -> bytes:
    return len(header).to_bytes(8, "little") + header + bytes(size_bytes)


_TWICE = b'"dtype":"U8","shape":[64],"data_offsets":[0,64]'
DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    "cut short": lambda content: content[:-4],
    "longer than its header says": lambda content: content + bytes(4),
    "tensors that overlap": lambda _content: with_header(b'{"a":{%s},"b":{%s}}' % (_TWICE, _TWICE)),
    "a gap": lambda _content: with_header(b'{"a":{"dtype":"U8","shape":[60],"data_offsets":[4,64]}}'),
    "a size that is not the shape's": lambda _content: with_header(
        b'{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,64]}}'
    ),
}


@pytest.fixture
def served(tmp_path: Path, database: Database) -> Iterator[Callable[[bytes], HuggingFaceModelService]]:
    """Serve a repository whose weight file has this content."""
    source = FolderSource()
    with serve(HubFaults(create_hub_app([source], api_key=None))) as endpoint:
        with database.session() as session:
            SettingsService(session).update(SettingsUpdate(endpoint=endpoint))

        def put(content: bytes) -> HuggingFaceModelService:
            folder = tmp_path / "served"
            write_model(folder)
            (folder / WEIGHTS).write_bytes(content)
            source.repos |= FolderSource(lab__damaged=folder).repos
            return HuggingFaceModelService(database)

        yield put


def row_of(database: Database, row_id: str) -> Model:
    with database.reading() as session:
        return ModelService(session).get_by_id(row_id)


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_download_of_what_no_load_opens_fails_with_the_reason(
    served: Callable[[bytes], HuggingFaceModelService], database: Database, tmp_path: Path, damage: str
) -> None:
    write_model(tmp_path / "whole")
    service = served(DAMAGED[damage]((tmp_path / "whole" / WEIGHTS).read_bytes()))
    refusal = pytest.raises((NoWeights, InvalidRepository), match=rf"{WEIGHTS} of lab/damaged")
    with refusal:  # before it is fetched, where the header alone shows it
        row_id = service.start_download(ModelDownloadRequest(model_id="lab/damaged"))
        service.download_model(row_of(database, row_id), Quiet())


def _rewrite(path: Path) -> None:
    """Other bytes of the same size, in the same file."""
    with path.open("r+b") as file:
        file.write(b"\x7f" * path.stat().st_size)


def _rewrite_unseen(path: Path) -> None:
    before = path.stat()
    _rewrite(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _replace(path: Path) -> None:
    other = path.with_name(".other")
    other.write_bytes(b"\x7f" * path.stat().st_size)
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(bytes(5000))


def _link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent.parent / "secret")


def _link_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("aside"))
    path.parent.symlink_to("elsewhere")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


CHANGES: dict[str, Callable[[Path], None]] = {
    "rewritten": _rewrite,
    "rewritten, with its times put back": _rewrite_unseen,
    "replaced": _replace,
    "truncated": _truncate,
    "grown": _grow,
    "a link to a secret": _link,
    "its folder is a link": _link_folder,
    "a pipe": _pipe,
    "removed": Path.unlink,
}
MOMENTS = {"checked": "list_importable", "hashed": "hash_content", "stored": "take_file"}
"""What has just been done to the file, and by what."""


class Once:
    """Changes a file when a function of the import has returned for it, once."""

    def __init__(self, moment: str, change: Callable[[Path], None], path: Path) -> None:
        self.done = False
        self._moment, self._change, self._path, self._inode = moment, change, path, path.stat().st_ino

    def arm(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real: Callable[..., Any] = getattr(local_model_service, MOMENTS[self._moment])

        def then_change(*arguments: Any) -> Any:
            result = real(*arguments)
            if not self.done and (self._moment == "checked" or self._is_about(arguments)):
                self.done = True
                self._change(self._path)
            return result

        monkeypatch.setattr(local_model_service, MOMENTS[self._moment], then_change)

    def _is_about(self, arguments: tuple[Any, ...]) -> bool:
        files = [each for each in arguments if hasattr(each, "fileno")]
        return any(os.fstat(file.fileno()).st_ino == self._inode for file in files)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(SECRET)
    folder, elsewhere = tmp_path / "model", tmp_path / "elsewhere"
    write_model(folder, tensors() | {"pad": ("F32", (700_000,), bytes(2_800_000))})  # more than one piece of a hash
    elsewhere.mkdir()
    for path in folder.iterdir():
        (elsewhere / path.name).write_bytes(SECRET)
    return folder


CASES = [
    (change, moment, mode)
    for change in CHANGES
    for moment in MOMENTS
    for mode in ("copy", "link")
    # Nothing tells such a change of a linked file: its size, its time and its inode are those that were hashed.
    if mode == "copy" or moment == "checked" or "put back" not in change
]


@pytest.mark.parametrize(("change", "moment", "mode"), CASES)
@pytest.mark.parametrize("victim", [WEIGHTS, pytest.param("config.json", marks=pytest.mark.thorough)])
def test_a_file_that_changes_while_it_is_imported(
    database: Database,
    cache: HubCache,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    victim: str,
    change: str,
    moment: str,
    mode: Any,
) -> None:
    monkeypatch.setattr(local_model_service, "hub_cache", lambda: cache)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    service = LocalModelService(database)
    row = row_of(database, service.start_import(ModelImportRequest(path=str(folder), model_id=NAME, mode=mode)))
    once = Once(moment, CHANGES[change], folder / victim)
    once.arm(monkeypatch)  # only now: queueing an import checks the folder as well
    refused: ModelyardError | None = None
    try:
        service.import_folder(row, ImportPayload(path=str(folder), mode=mode), Quiet())
    except ModelyardError as error:
        refused = error
    assert once.done
    if refused is None:
        snapshot = cache.snapshot_path(NAME, row.commit)
        assert {path.name: path.read_bytes() for path in snapshot.iterdir()} == before, "as it was, or not at all"
    else:
        assert refused.code in ("conflict", "invalid_request", "path_not_allowed", "no_weights", "invalid_repository")
        assert refused.hint
    for blob in cache.cache_dir.rglob("blobs/*"):
        content = blob.read_bytes()
        assert SECRET not in content
        assert mode == "link" or hashlib.sha256(content).hexdigest() == blob.name
