"""A database file that is not one any more is told in one sentence, before anything is written to it."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from modelyard.core import migrate
from modelyard.core.database import Database
from modelyard.core.errors import DatabaseDamaged, DatabaseTooNew
from modelyard.core.sqlite_file import check_database_file
from support.instance import free_port
from support.storage import reachable_folder, unprivileged


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "modelyard.db"
    database = Database(f"sqlite:///{path}")
    migrate.upgrade(database)
    database.dispose()
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "host:downloads.lock").touch()
    return path


def garbage(path: Path) -> None:
    path.write_bytes(b"not a database " * 1000)


def garbage_inside(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096 : len(content)] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:9000])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def lost_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/nowhere/at/all.db")


@pytest.mark.parametrize("fault", [garbage, garbage_inside, truncated, emptied, folder, lost_link])
def test_damage_is_named_and_nothing_is_changed(path: Path, fault: Callable[[Path], None]) -> None:
    check_database_file(path)
    fault(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(DatabaseDamaged) as caught:
        check_database_file(path)
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message
    assert "backup" in (caught.value.hint or "")
    assert (path.read_bytes() if path.is_file() else None) == before


def test_an_empty_file_beside_a_log_is_not_begun_anew(path: Path) -> None:
    """SQLite would delete the log, in which everything may be that was not written back yet."""
    path.write_bytes(b"")
    path.with_name("modelyard.db-wal").write_bytes(b"\x37\x7f\x06\x82" * 100)
    with pytest.raises(DatabaseDamaged, match="the log beside it is not"):
        check_database_file(path)


def test_what_a_first_start_leaves_when_it_is_killed_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "modelyard.db"
    check_database_file(path)
    path.touch()
    check_database_file(path)


def test_a_schema_of_a_newer_version_is_named(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseTooNew, match="9999"):
        check_database_file(path)


@pytest.mark.parametrize("name", ["modelyard.db", "modelyard.db-wal", "."])
def test_a_file_that_the_servers_user_may_not_use_is_named(name: str) -> None:
    user = unprivileged()
    script = (
        "import sys; from pathlib import Path\n"
        "from modelyard.core.errors import ModelyardError\n"
        "from modelyard.core.sqlite_file import check_database_file\n"
        "try: check_database_file(Path(sys.argv[1]))\n"
        "except ModelyardError as error: print(error.code, error.message)"
    )
    with reachable_folder() as home:
        path = home / "modelyard.db"
        database = Database(f"sqlite:///{path}")
        migrate.upgrade(database)
        path.with_name("modelyard.db-wal").touch()
        user.own(home)
        target = home / name
        target.chmod(0o500 if target.is_dir() else 0)
        if target.is_dir():
            user.assert_refused(target)
        told = user.run(sys.executable, "-c", script, str(path))
        target.chmod(0o700)
        database.dispose()
        assert told.stdout.startswith("storage_denied"), told
        assert str(target) in told.stdout


def test_commands_end_with_one_sentence(path: Path) -> None:
    """And does not begin an empty list over what was there."""
    garbage(path)
    environment = {
        "PATH": "/usr/bin:/bin",
        "MODELYARD_HOME": str(path.parent),
        "MODELYARD_PORT": str(free_port()),
        "HF_HOME": str(path.parent / "hf"),
        "HF_ENDPOINT": "http://127.0.0.1:9",
    }
    told = subprocess.run(
        [sys.executable, "-m", "modelyard", "doctor"], env=environment, capture_output=True, text=True, timeout=120
    )
    assert told.returncode == 1
    assert f"broken   database      The database {path} is damaged" in told.stdout
    for command in ("serve", "worker"):
        ended = subprocess.run(
            [sys.executable, "-m", "modelyard", command],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ended.returncode == 1
        said = ended.stderr.strip().splitlines()
        assert len(" ".join(said)) < 700, said
        assert str(path) in " ".join(said).replace("\n", "")
        assert "Traceback" not in ended.stderr
        assert path.read_bytes().startswith(b"not a database")
