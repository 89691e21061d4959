"""The migrations make the tables the models describe, and undo it."""

import multiprocessing
import os
import subprocess
import sys

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, String, create_engine, inspect, text

from modelyard.core import migrate
from modelyard.core.database import Database
from modelyard.models import Base, EventKind, EventName, Job, JobEvent, JobKind, Model


def test_up_nothing_left_down_and_up_again(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    for _ in range(2):
        migrate.upgrade(database)
        migrate.upgrade(database)  # with nothing to do
        with database.engine.begin() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, Base.metadata) == []
        migrate.downgrade(database)
        assert set(inspect(database.engine).get_table_names()) <= {"alembic_version"}
    database.dispose()


def test_constraints_and_indexes_are_those_of_the_models(empty_database_url: str) -> None:
    """Autogenerate does not look at CHECK constraints, so they are compared here."""
    database = Database(empty_database_url)
    migrate.upgrade(database)
    with database.engine.begin() as connection:
        migrated = _constraints(connection)
    migrate.downgrade(database)
    with database.engine.begin() as connection:
        Base.metadata.create_all(connection)
        described = _constraints(connection)
    database.dispose()
    assert migrated == described
    assert migrated["jobs"]["checks"]


def test_history_begins_with_what_is_known_of_earlier_jobs(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    migrate.upgrade(database, "0004")
    jobs = [
        ("a", "download", "done", "2026-01-02", 7),
        ("b", "verify", "failed", "2026-01-01", 0),
        ("c", "load", "done", "2026-01-03", 0),
        ("d", "download", "running", None, 5),
    ]
    with database.engine.begin() as connection:
        for job_id, kind, state, finished_at, done in jobs:
            connection.execute(
                text(
                    "INSERT INTO jobs (id, kind, queue, subject_id, state, control, wake_after, attempts, bytes_done,"
                    " files_done, created_at, updated_at, finished_at) VALUES (:id, :kind, 'q', 'm', :state, 'run',"
                    " '2026-01-01', 1, :done, 0, '2026-01-01', '2026-01-01', :finished)"
                ),
                {"id": job_id, "kind": kind, "state": state, "done": done, "finished": finished_at},
            )
    migrate.upgrade(database)
    with database.reading() as session:
        page = session.query(JobEvent).order_by(JobEvent.id).all()
    assert [(event.job_id, event.kind, event.event, event.bytes) for event in page] == [
        ("b", EventKind.VERIFY, EventName.FAILED, None),
        ("a", EventKind.DOWNLOAD, EventName.DONE, 7),
    ]
    migrate.downgrade(database, "0004")
    assert "job_events" not in inspect(database.engine).get_table_names()
    database.dispose()


def test_rows_survive_a_table_that_is_altered_by_copying(database: Database) -> None:
    """SQLite drops the old table then, which would clear what refers to it while foreign keys are enforced."""
    with database.session() as session:
        job = Job(kind=JobKind.DOWNLOAD, queue="downloads", subject_id="x")
        session.add(job)
        session.flush()
        session.add(Model(model_id="a/b", canonical_id="a/b", endpoint="e", commit="c" * 40, job_id=job.id))
        job_id = job.id
    with migrate.migrating(database) as connection:
        operations = Operations(MigrationContext.configure(connection))
        with operations.batch_alter_table("jobs") as jobs:
            jobs.alter_column("phase", type_=String(64))
    with database.session() as session:
        assert session.get_one(Job, job_id)
        assert session.query(Model).one().job_id == job_id
        assert database.engine.dialect.name != "sqlite" or session.execute(text("PRAGMA foreign_keys")).scalar() == 1


def test_several_processes_that_start_at_once(empty_database_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(3) as pool:
        results = pool.map(_upgrade_in_process, [empty_database_url] * 3)
    assert len(set(results)) == 1
    database = Database(empty_database_url)
    assert {"models", "jobs"} <= set(inspect(database.engine).get_table_names())
    database.dispose()


def test_alembic_alone_uses_the_settings(empty_database_url: str) -> None:
    """`alembic -c …` without an open connection: the way to write a new migration."""
    code = (
        "from alembic import command\n"
        "from modelyard.core.migrate import alembic_config\n"
        "command.upgrade(alembic_config(), 'head')\n"
        "command.check(alembic_config())\n"
    )
    environment = {**os.environ, "MODELYARD_DATABASE_URL": empty_database_url}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    engine = create_engine(empty_database_url)
    assert "models" in inspect(engine).get_table_names()
    engine.dispose()


def test_one_line_of_migrations() -> None:
    scripts = ScriptDirectory.from_config(migrate.alembic_config())
    assert len(scripts.get_heads()) == 1


def _constraints(connection: Connection) -> dict[str, dict[str, object]]:
    inspector = inspect(connection)
    return {
        table: {
            "checks": {check["name"]: check["sqltext"] for check in inspector.get_check_constraints(table)},
            "indexes": sorted(str(index) for index in inspector.get_indexes(table)),
            "foreign": sorted(str(key) for key in inspector.get_foreign_keys(table)),
            "primary": inspector.get_pk_constraint(table),
        }
        for table in Base.metadata.tables
    }


def _upgrade_in_process(url: str) -> str:
    database = Database(url)
    migrate.upgrade(database)
    with database.engine.connect() as connection:
        version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    database.dispose()
    return str(version)
