"""Sessions, instants and columns, on SQLite and on PostgreSQL."""

import multiprocessing
import re
import sys
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import exc, insert, select, text, update
from sqlalchemy.orm import Session

from modelyard.core import database as core_database
from modelyard.core.database import Database, DatabaseChanges, UtcDateTime
from modelyard.core.errors import DatabaseDamaged, DatabaseFull
from modelyard.models import Job, JobKind, JobState, Model, Setting, Worker
from support.storage import reachable_folder, read_only, small_disk

WRITERS = 4
WRITES = 40


def a_model(**fields: object) -> Model:
    return Model(
        **{
            "model_id": "owner/name",
            "canonical_id": "owner/name",
            "endpoint": "https://huggingface.co",
            "commit": "a" * 40,
            **fields,
        }
    )


def test_instants_come_back_aware_and_equal(database: Database) -> None:
    moment = datetime(2026, 3, 29, 3, 30, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    with database.session() as session:
        session.add(Worker(name="w", host="h", pid=1, queues="downloads", seen_at=moment))
    with database.reading() as session:
        seen = session.get_one(Worker, "w").seen_at
        found = session.scalars(select(Worker.name).where(Worker.seen_at == moment)).all()
    assert seen == moment
    assert seen.utcoffset() == timedelta(0)
    assert found == ["w"]


def test_instants_compare_across_zones(database: Database) -> None:
    noon = datetime(2026, 6, 1, 12, tzinfo=UTC)
    with database.session() as session:
        session.add(Worker(name="w", host="h", pid=1, queues="", seen_at=noon))
    earlier = datetime(2026, 6, 1, 13, 59, tzinfo=timezone(timedelta(hours=2)))
    with database.reading() as session:
        assert session.scalars(select(Worker).where(Worker.seen_at > earlier)).one()
        assert not session.scalars(select(Worker).where(Worker.seen_at < earlier)).all()


def test_changes_are_those_of_all_connections_and_of_no_reader(database: Database) -> None:
    changes, other = DatabaseChanges(database), Database(database.engine.url.render_as_string(hide_password=False))
    assert changes.any()
    if not changes.are_known:
        assert changes.any()  # whoever asks looks
        other.dispose()
        return
    assert not changes.any()
    for writer in (database, other):
        with writer.reading() as session:
            session.scalars(select(Worker)).all()
        assert not changes.any()
        with writer.session() as session:
            session.add(Worker(name=f"w{id(writer)}", host="h", pid=1, queues="", seen_at=datetime.now(UTC)))
            session.flush()
            assert not changes.any()  # not before the commit
        assert changes.any()
        assert not changes.any()
    changes.close()
    other.dispose()
    assert changes.any()  # looked at anew
    changes.close()


def test_changes_of_a_file_that_is_away_may_be_there(tmp_path: Path) -> None:
    gone = Database(f"sqlite:///{tmp_path / 'gone' / 'none.db'}")
    changes = DatabaseChanges(gone)
    assert changes.are_known
    assert changes.any()
    assert changes.any()
    gone.dispose()


def test_naive_instants_are_refused(database: Database) -> None:
    with pytest.raises(exc.StatementError, match="naive"), database.session() as session:
        session.add(Worker(name="w", host="h", pid=1, queues="", seen_at=datetime(2026, 1, 1)))


class _Dialect:
    def __init__(self, name: str) -> None:
        self.name = name


@given(st.datetimes(timezones=st.timezones()), st.sampled_from(["sqlite", "postgresql"]))
def test_any_instant_survives_the_column_type(moment: datetime, dialect: str) -> None:
    column = UtcDateTime()
    try:
        moment.astimezone(UTC)
    except OverflowError:
        return  # outside the years of datetime once in UTC
    stored = column.process_bind_param(moment, _Dialect(dialect))  # type: ignore[arg-type]
    back = column.process_result_value(stored, _Dialect(dialect))  # type: ignore[arg-type]
    assert back == moment.astimezone(UTC)
    assert back is not None
    assert back.tzinfo is UTC


@pytest.mark.parametrize(
    ("table", "column"), [("models", "status"), ("models", "quantization"), ("jobs", "kind"), ("jobs", "state")]
)
def test_a_word_that_is_none_of_the_enum_is_refused(database: Database, table: str, column: str) -> None:
    with database.session() as session:
        session.add_all([a_model(), Job(kind=JobKind.DOWNLOAD, queue="downloads", subject_id="x")])
    with pytest.raises(exc.IntegrityError), database.session() as session:
        session.execute(text(f"UPDATE {table} SET \"{column}\" = 'nonsense'"))  # noqa: S608


def test_one_row_per_model_commit_and_precision(database: Database) -> None:
    with database.session() as session:
        session.add_all([a_model(), a_model(quantization="4bit"), a_model(commit="b" * 40)])
    with pytest.raises(exc.IntegrityError), database.session() as session:
        session.add(a_model(revision="other"))


def test_a_models_job_may_vanish(database: Database) -> None:
    with database.session() as session:
        job = Job(kind=JobKind.DOWNLOAD, queue="downloads", subject_id="x")
        session.add(job)
        session.flush()
        session.add(a_model(job_id=job.id))
    with database.session() as session:
        session.delete(session.scalars(select(Job)).one())
    with database.reading() as session:
        assert session.scalars(select(Model)).one().job_id is None


def test_json_none_is_null_and_sizes_are_wide(database: Database) -> None:
    size = 2**53
    with database.session() as session:
        session.add(a_model(files=[{"path": "ünïcode", "size_bytes": size}], size_bytes=size, error=None))
    with database.reading() as session:
        row = session.scalars(select(Model).where(Model.error.is_(None), Model.files.is_not(None))).one()
        assert row.files == [{"path": "ünïcode", "size_bytes": size}]
        assert row.size_bytes == size


def test_an_error_rolls_back(database: Database) -> None:
    with pytest.raises(exc.IntegrityError), database.session() as session:
        session.execute(insert(Setting).values([{"key": key, "value": {}} for key in ("k", "l", "k")]))
    with database.reading() as session:
        assert session.get(Setting, "k") is None


def test_reading_does_not_wait_for_a_writer(database: Database) -> None:
    with database.session() as writer:
        writer.add(Setting(key="k", value={"value": 1}))
        writer.flush()
        with database.reading() as reader:
            assert reader.get(Setting, "k") is None


def test_a_reader_sees_no_half_transaction(database: Database) -> None:
    with database.reading() as reader:
        assert not reader.scalars(select(Setting)).all()
        with database.session() as writer:
            writer.add_all([Setting(key="a", value={}), Setting(key="b", value={})])
    with database.reading() as reader:
        assert len(reader.scalars(select(Setting)).all()) == 2


def test_writers_of_one_process_wait_for_each_other(database: Database) -> None:
    _fill_counter(database)
    threads = [threading.Thread(target=_count_up, args=(database,)) for _ in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert _counter(database) == WRITERS * WRITES


def test_read_then_write_by_several_processes_is_never_locked_out(database: Database, database_url: str) -> None:
    _fill_counter(database)
    context = multiprocessing.get_context("spawn")
    with context.Pool(WRITERS) as pool:
        results = pool.map(_count_up_in_process, [database_url] * WRITERS)
    assert results == ["ok"] * WRITERS
    assert _counter(database) == WRITERS * WRITES


def test_new_sqlite_files_are_opened_by_many_at_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Switching a new file to WAL needs a lock of its own."""
    path = tmp_path_factory.mktemp("new") / "new.db"
    databases = [Database(f"sqlite:///{path}") for _ in range(8)]
    errors: list[BaseException] = []
    start = threading.Barrier(len(databases))

    def open_it(database: Database) -> None:
        start.wait()
        try:
            with database.session() as session:
                session.execute(text("CREATE TABLE IF NOT EXISTS t (x INTEGER)"))
                session.execute(text("INSERT INTO t VALUES (1)"))
        except exc.OperationalError as error:
            errors.append(error)

    threads = [threading.Thread(target=open_it, args=(database,)) for database in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with databases[0].reading() as session:
        assert session.execute(text("SELECT count(*) FROM t")).scalar() == len(databases)
        assert session.execute(text("PRAGMA journal_mode")).scalar() == "wal"
    for database in databases:
        database.dispose()


def _fill_counter(database: Database) -> None:
    with database.session() as session:
        session.execute(insert(Job).values(id="counter", kind=JobKind.DOWNLOAD, queue="q", subject_id="x"))


def _counter(database: Database) -> int:
    with database.reading() as session:
        return session.get_one(Job, "counter").attempts


def _count_up(database: Database) -> None:
    for _ in range(WRITES):
        with database.session() as session:
            _read_then_write(session)


def _read_then_write(session: Session) -> None:
    attempts = session.scalars(select(Job.attempts).where(Job.id == "counter").with_for_update()).one()
    session.execute(update(Job).where(Job.id == "counter").values(attempts=attempts + 1, state=JobState.QUEUED))


def _count_up_in_process(url: str) -> str:
    database = Database(url)
    try:
        _count_up(database)
    except exc.OperationalError as error:
        return str(error)
    finally:
        database.dispose()
    return "ok"


@pytest.mark.parametrize("stand_in", [False, True], ids=["mounted", "limit"])
def test_a_full_disk_is_told_once_and_ends_by_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, stand_in: bool
) -> None:
    """Reading goes on; writing is an error that names the folder, until there is room again."""
    monkeypatch.setattr(core_database, "CHECK_SECONDS", 0.0)
    with small_disk(tmp_path / "home", stand_in=stand_in) as disk:
        database = Database(f"sqlite:///{disk.folder / 'modelyard.db'}")
        with database.session() as session:
            session.execute(text("CREATE TABLE notes (content TEXT)"))
        disk.fill()
        for _ in range(5):
            with pytest.raises(DatabaseFull, match=re.escape(str(disk.folder))), database.session() as session:
                session.execute(text("INSERT INTO notes VALUES (hex(zeroblob(1000000)))"))
            with database.reading() as session:
                assert session.execute(text("SELECT count(*) FROM notes")).scalar_one() == 0
            with database.session() as session:  # which writes nothing, and so does not tell that it could
                session.execute(text("DELETE FROM notes WHERE content = 'y'"))
        disk.make_room()
        with database.session() as session:
            session.execute(text("INSERT INTO notes VALUES (hex(zeroblob(1000000)))"))
        database.dispose()
    assert [record.levelname for record in caplog.records if record.name == "modelyard.core.database"] == [
        "ERROR",
        "WARNING",
    ]


def test_a_damaged_file_is_named_and_one_that_replaces_it_is_used(tmp_path: Path) -> None:
    path = tmp_path / "modelyard.db"
    database = Database(f"sqlite:///{path}")
    with database.session() as session:
        session.execute(text("CREATE TABLE notes (content TEXT)"))
    database.dispose()
    backup = path.read_bytes()
    path.write_bytes(b"garbage " * 2000)
    for _ in range(2):
        with pytest.raises(DatabaseDamaged, match=re.escape(str(path))), database.session() as session:
            session.execute(text("SELECT * FROM notes"))
    path.write_bytes(backup)
    with database.session() as session:
        session.execute(text("INSERT INTO notes VALUES ('x')"))
    database.dispose()


@pytest.mark.parametrize("stand_in", [False, True], ids=["mounted", "permissions"])
def test_a_file_that_may_not_be_written_is_named(stand_in: bool) -> None:
    script = (
        "import sys; from sqlalchemy import text\n"
        "from modelyard.core.database import Database\n"
        "from modelyard.core.errors import DatabaseDenied\n"
        "try:\n"
        "    with Database(f'sqlite:///{sys.argv[1]}').session() as session:\n"
        "        session.execute(text('CREATE TABLE IF NOT EXISTS notes (content TEXT)'))\n"
        "        session.execute(text(\"INSERT INTO notes VALUES ('x')\"))\n"
        "    print('written')\n"
        "except DatabaseDenied as error: print(error.message)"
    )
    fault = read_only(stand_in=stand_in)
    with reachable_folder() as home:
        fault.user.own(home)

        def write() -> str:
            return fault.user.run(sys.executable, "-c", script, str(home / "modelyard.db")).stdout

        assert write() == "written\n"
        with fault.closed(home):
            assert fault.words in write()
        assert write() == "written\n"
