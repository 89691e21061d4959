"""Which of the system's errors are about a disk, and which file or folder they name."""

import errno
import re
import sys
from pathlib import Path

import pytest

from modelyard.core.errors import DatabaseFull, DiskFull, error_from
from modelyard.core.storage import require_room, storage_error, storage_errors
from support.storage import reachable_folder, read_only, small_disk


def test_a_full_disk_is_named_by_what_was_being_written(tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    source, target = tmp_path / "from" / "file", tmp_path / "to" / "file"
    found = storage_error(OSError(errno.ENOSPC, "No space left on device", str(source), None, str(target)))
    assert isinstance(found, DiskFull)
    assert found.extra["folder"] == str(tmp_path / "to")


def test_other_errors_stay_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), storage_errors(tmp_path):
        (tmp_path / "missing").read_bytes()


@pytest.mark.parametrize("stand_in", [False, True], ids=["mounted", "permissions"])
def test_a_folder_that_may_not_be_written_is_said(stand_in: bool) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from modelyard.core.errors import StorageDenied\n"
        "from modelyard.core.storage import is_usable, require_room\n"
        "folder = Path(sys.argv[1])\n"
        "print(is_usable(folder / 'new' / 'folder'))\n"
        "try: require_room(folder)\n"
        "except StorageDenied as error: print(error.message)"
    )
    fault = read_only(stand_in=stand_in)
    with reachable_folder() as folder:
        fault.user.own(folder)
        with fault.closed(folder):
            usable, message = fault.user.run(sys.executable, "-c", script, str(folder)).stdout.splitlines()
        assert usable == "False"
        assert fault.words in message
        assert fault.user.run(sys.executable, "-c", script, str(folder)).stdout == "True\n"
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize("stand_in", [False, True], ids=["mounted", "limit"])
def test_a_full_disk_is_found_before_anything_starts(tmp_path: Path, stand_in: bool) -> None:
    with small_disk(tmp_path / "home", stand_in=stand_in) as disk:
        disk.fill()
        with pytest.raises(DiskFull, match=re.escape(str(disk.folder))):
            require_room(disk.folder)
        disk.make_room()
        require_room(disk.folder)


@pytest.mark.parametrize("number", [errno.EDQUOT, errno.EFBIG])
def test_a_quota_is_not_told_as_a_disk_with_room(tmp_path: Path, number: int) -> None:
    found = storage_error(OSError(number, "No", str(tmp_path)))
    assert isinstance(found, DiskFull)
    assert "free" not in found.message


def test_what_a_child_reports_is_no_error_of_the_database() -> None:
    """The job of that child waits for the disk; with an error of the database it would be queued again at once."""
    found = error_from(DiskFull("Full.", folder="/x").as_dict())
    assert not isinstance(found, DatabaseFull)
    assert found.extra == {"folder": "/x"}
