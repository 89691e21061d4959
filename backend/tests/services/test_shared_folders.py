"""The id that an API puts into the folders it shares with its workers."""

from pathlib import Path

import pytest
from huggingface_hub import constants, scan_cache_dir

from modelyard.core.database import Database
from modelyard.core.settings import get_settings
from modelyard.services.shared_folders import FoldersNotShared, mark_folders, require_shared_folders


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(get_settings(), "home", tmp_path / "home")


def test_an_id_stays_and_other_tools_do_not_see_it(database: Database, tmp_path: Path) -> None:
    assert require_shared_folders(database, ["compute"]) is False, "no API has started yet"
    mark_folders(database)
    marks = [path.read_text() for path in tmp_path.rglob("modelyard-id")]
    assert len(marks) == 2
    assert require_shared_folders(database, ["compute"]) is True
    mark_folders(database)
    assert [path.read_text() for path in tmp_path.rglob("modelyard-id")] == marks
    assert not scan_cache_dir(tmp_path / "hub").warnings


def test_a_folder_that_cannot_be_marked_is_not_compared(database: Database, tmp_path: Path) -> None:
    (tmp_path / "hub").write_text("not a folder")  # a plain write below it fails, also for root
    with pytest.raises(OSError, match=r"."):
        (tmp_path / "hub" / "x").write_text("x")
    mark_folders(database)
    assert require_shared_folders(database, ["compute"]) is True
    (tmp_path / "home" / "modelyard-id").unlink()
    with pytest.raises(FoldersNotShared):
        require_shared_folders(database, ["compute"])
    assert require_shared_folders(database, ["downloads"]) is True
