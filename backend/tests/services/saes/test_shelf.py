"""What training runs leave on the shelf, and what becomes of it with them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from modelyard.core import migrate
from modelyard.core.database import Database
from modelyard.core.errors import Conflict, ModelInUse
from modelyard.core.settings import get_settings
from modelyard.models import JobKind, JobState, Sae, SaeSource, Training, TrainingStatus
from modelyard.services.jobs.job_service import JobService
from modelyard.services.saes.actions import delete_sae
from modelyard.services.saes.sae_folder import own_folder
from modelyard.services.saes.sae_response import SaeResponses
from modelyard.services.saes.sae_service import SaeService
from modelyard.services.training.actions import delete_training
from modelyard.services.training.training_service import TrainingService
from modelyard.workers.training_tasks import TRAINING_ENDINGS
from support.saes import make_sae

CONFIG: dict[str, Any] = {"architecture": "batchtopk", "dtype": "bfloat16", "context_size": 64}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(get_settings(), "home", tmp_path)
    return tmp_path


def completed_run(database: Database, home: Path) -> str:
    """A run as its worker leaves it: its SAE in its folder, and its job ended."""
    with database.session() as session:
        training = Training(
            model_id="lab/base", commit="c" * 40, quantization="4bit", config=CONFIG, hook_point="model.layers.1",
            d_in=64, d_sae=128, plan={}, tokens_total=1000, status=TrainingStatus.RUNNING,
        )  # fmt: skip
        session.add(training)
        session.flush()
        job = JobService(session).enqueue(JobKind.TRAIN, training.id)
        training.job_id, training.output_path = job.id, str(home / "trainings" / training.id / "sae")
        training_id = training.id
    make_sae(home / "trainings" / training_id / "sae")
    with database.session() as session:
        claimed = JobService(session).claim(job.id, "w")
        assert claimed is not None
    TRAINING_ENDINGS.completed(database, job.id, claimed.owner or "", training_id, JobKind.TRAIN)
    return training_id


def only_sae(database: Database) -> Sae:
    with database.reading() as session:
        [sae] = SaeService(session).list(limit=10, offset=0)[0]
        return sae


def test_a_completed_run_is_on_the_shelf(database: Database, home: Path) -> None:
    training_id = completed_run(database, home)
    sae = only_sae(database)
    assert (sae.source, sae.ready, sae.training_id) == (SaeSource.TRAINED, True, training_id)
    assert (sae.name, sae.model_id, sae.commit) == ("base model.layers.1", "lab/base", "c" * 40)
    assert (sae.architecture, sae.quantization, sae.dtype) == ("jumprelu", "4bit", "bfloat16")
    with database.reading() as session:
        row = SaeResponses(session).of_id(sae.id)
    answer = row.response()
    assert Path(answer.folder) == home / "trainings" / training_id / "sae"
    assert [warning.code for warning in answer.warnings] == ["model_not_installed"]


def test_deleting_it_keeps_the_run(database: Database, home: Path) -> None:
    training_id = completed_run(database, home)
    sae = only_sae(database)
    own_folder(sae.id).mkdir(parents=True)
    (own_folder(sae.id) / "features.sqlite").write_bytes(b"f" * 100)
    folder = home / "trainings" / training_id / "sae"
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert delete_sae(database, sae.id).freed_bytes == size + 100
    assert not folder.exists()
    assert not own_folder(sae.id).exists()
    with database.reading() as session:
        assert TrainingService(session).get_by_id(training_id).output_path is None


def test_deleting_the_run_deletes_it(database: Database, home: Path) -> None:
    training_id = completed_run(database, home)
    sae = only_sae(database)
    own_folder(sae.id).mkdir(parents=True)
    assert delete_training(database, training_id) > 0
    assert not own_folder(sae.id).exists()
    with database.reading() as session:
        assert SaeService(session).list(limit=10, offset=0) == ([], 0)


def test_work_under_way_keeps_it_and_its_run(database: Database, home: Path) -> None:
    training_id = completed_run(database, home)
    sae = only_sae(database)
    with database.session() as session:
        saes = SaeService(session)
        saes.start_work(saes.get_by_id(sae.id), JobKind.FETCH_SAE)
    with pytest.raises(ModelInUse):
        delete_sae(database, sae.id)
    with pytest.raises(Conflict):
        delete_training(database, training_id)
    with database.session() as session:
        saes = SaeService(session)
        with pytest.raises(Conflict):
            saes.start_work(saes.get_by_id(sae.id), JobKind.FETCH_SAE)
        saes.cancel(sae.id)
        assert saes.work_of([saes.get_by_id(sae.id)])[sae.id].state is JobState.CANCELLED
    delete_training(database, training_id)


def test_runs_of_earlier_versions_are_put_on_the_shelf(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    migrate.upgrade(database, "0024")
    with database.engine.begin() as connection:
        for run_id, status, output in (("a", "completed", "/x/sae"), ("b", "completed", None), ("c", "failed", None)):
            connection.execute(
                text(
                    'INSERT INTO trainings (id, status, model_id, "commit", quantization, config, hook_point, d_in,'
                    " d_sae, plan, tokens_done, tokens_total, output_path, removal_due, created_at, updated_at)"
                    " VALUES (:id, :status, 'lab/base', 'c1', 'none', :config, 'model.layers.1', 64, 512, '{}', 1, 1,"
                    " :output, false, '2026-01-01', '2026-01-02')"
                ),
                {
                    "id": run_id,
                    "status": status,
                    "output": output,
                    "config": '{"architecture": "matryoshka", "context_size": 64}',
                },
            )
    migrate.upgrade(database)
    sae = only_sae(database)
    assert (sae.training_id, sae.source, sae.ready) == ("a", SaeSource.TRAINED, True)
    assert (sae.name, sae.architecture, sae.d_sae, sae.dtype) == ("base model.layers.1", "jumprelu", 512, None)
    assert sae.created_at == datetime(2026, 1, 1, tzinfo=UTC)
    database.dispose()
