"""Which of the system's errors are about a disk, and which file or folder they name."""

import errno
from pathlib import Path

import pytest

from modelyard.core.errors import DatabaseFull, DiskFull, StorageDenied, error_from
from modelyard.core.storage import is_usable, require_room, storage_error, storage_errors
from support.storage import read_only, small_disk


def test_a_full_disk_is_named_by_what_was_being_written(tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    source, target = tmp_path / "from" / "file", tmp_path / "to" / "file"
    found = storage_error(OSError(errno.ENOSPC, "No space left on device", str(source), None, str(target)))
    assert isinstance(found, DiskFull)
    assert found.extra["folder"] == str(tmp_path / "to")


def test_other_errors_stay_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), storage_errors(tmp_path):
        (tmp_path / "missing").read_bytes()


def test_a_file_system_that_is_mounted_read_only_is_said(tmp_path: Path) -> None:
    with read_only(tmp_path):
        assert not is_usable(tmp_path / "new" / "folder")
        with pytest.raises(StorageDenied, match="mounted read-only"):
            require_room(tmp_path)
    assert is_usable(tmp_path / "new" / "folder")
    require_room(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_found_before_anything_starts(tmp_path: Path) -> None:
    with small_disk(tmp_path / "home") as disk:
        disk.fill()
        with pytest.raises(DiskFull):
            require_room(disk.folder)
        disk.make_room()
        require_room(disk.folder)


def test_what_a_child_reports_is_no_error_of_the_database() -> None:
    """The job of that child waits for the disk; with an error of the database it would be queued again at once."""
    found = error_from(DiskFull("Full.", folder="/x").as_dict())
    assert not isinstance(found, DatabaseFull)
    assert found.extra == {"folder": "/x"}
