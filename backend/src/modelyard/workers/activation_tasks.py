"""Celery tasks that read what happens inside a model in memory: activations at once or into files."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.core.database import Database, get_database
from modelyard.core.paths import PathRules
from modelyard.core.settings import get_settings
from modelyard.models import JobKind, JobState
from modelyard.services.activations.activation_service import capture_folder, end_capture, remove_files
from modelyard.services.activations.captures import CaptureService
from modelyard.services.jobs.control import JobPaused, JobProgress, raise_if_stopped
from modelyard.services.jobs.payloads import ActivationsPayload, CapturePayload, FeaturesOfText, LensPayload
from modelyard.workers.celery_app import celery_app
from modelyard.workers.inference_tasks import (
    held_model,
    loader_for,
    model_row,
    no_threads_left,
    run_with_model,
    taken_back,
)
from modelyard.workers.interventions import loaded_sae, read_interventions
from modelyard.workers.job_runner import Endings, RequestStopped, RunningJob, run_job

if TYPE_CHECKING:
    from modelyard.ml.hooks.capture_run import CaptureProgress, CaptureRun
    from modelyard.ml.hooks.direct import Wanted

READING = JobProgress("reading", message="reading activations")


@celery_app.task(name="models.activations")
def activations_task(job_id: str) -> None:
    """Read activations for an answer at once."""
    run_with_model(job_id, _activations)


@celery_app.task(name="activations.capture")
def capture_task(job_id: str) -> None:
    """Write activations to files."""
    with no_threads_left():
        run_job(job_id, _capture, CAPTURE_ENDINGS)


@celery_app.task(name="models.lens")
def lens_task(job_id: str) -> None:
    """Read a prompt layer by layer."""
    run_with_model(job_id, _lens)


def _activations(job: RunningJob) -> dict[str, Any]:
    from modelyard.ml.hooks.direct import read_directly
    from modelyard.ml.hooks.reading import token_rows

    row, loader = model_row(job.subject_id), loader_for(job)
    wanted, stop = ActivationsPayload.of(job.job), taken_back(job)
    if wanted.sae_features is not None:
        return _features_of_text(job, wanted, wanted.sae_features)
    with held_model(job, loader, row, wanted.load, READING, wanted.adapter) as held:
        rows = token_rows(held.loaded, _given(wanted), wanted.max_tokens, stop)
        answer = read_directly(held.loaded, _wanted(wanted, job), rows, _first_row(wanted), stop)
    return answer or {}


def _features_of_text(job: RunningJob, wanted: ActivationsPayload, of: FeaturesOfText) -> dict[str, Any]:
    from modelyard.ml.hooks.sae_features import read_features

    row, loader, stop = model_row(job.subject_id), loader_for(job), taken_back(job)
    sae = loaded_sae(of.sae_id, job)
    [path], [text] = wanted.hook_points.values(), wanted.texts or [""]
    with held_model(job, loader, row, wanted.load, READING) as held:
        return read_features(held.loaded, sae, path, text, of.top, wanted.max_tokens or 0, stop)


def _lens(job: RunningJob) -> dict[str, Any]:
    from modelyard.ml.hooks.logit_lens import read_lens

    row, loader = model_row(job.subject_id), loader_for(job)
    wanted, stop = LensPayload.of(job.job), taken_back(job)
    with held_model(job, loader, row, wanted.load, READING, wanted.adapter) as held:
        return read_lens(
            held.loaded, wanted.text, wanted.layers, wanted.final_norm, wanted.top, stop, adapter=wanted.adapter
        )


def _capture(job: RunningJob) -> None:
    try:
        _write_capture(job)
    except RequestStopped:
        raise_if_stopped(job)
        raise JobPaused from None


def _write_capture(job: RunningJob) -> None:
    from modelyard.ml.hooks.capture_run import CaptureRun
    from modelyard.ml.hooks.reading import token_rows

    with get_database().reading() as session:
        capture, _ = CaptureService(session).get(job.subject_id)
    row, loader = model_row(capture.model_row_id or ""), loader_for(job)
    wanted, stop = CapturePayload.of(job.job), taken_back(job)
    with held_model(job, loader, row, wanted.load, JobProgress("counting"), wanted.adapter) as held:
        run = CaptureRun(
            capture_folder(capture.id),
            held.loaded,
            _wanted(wanted, job),
            first_row=_first_row(wanted),
            batch_size=wanted.batch_size,
            shard_bytes=wanted.shard_bytes,
            should_stop=stop,
        )
        plan = run.plan(lambda: token_rows(held.loaded, _given(wanted), wanted.max_tokens, stop))
        with get_database().session() as session:
            CaptureService(session).note_plan(
                capture.id, rows=plan.rows, tokens=plan.tokens, size_bytes=plan.size_bytes
            )
        facts: dict[str, Any] = {"model_id": row.model_id, "commit": row.commit, "quantization": row.quantization.value}
        facts |= {"adapter": None if wanted.adapter is None else model_row(wanted.adapter).model_id}
        facts |= {"interventions": [each.model_dump() for each in wanted.interventions]}
        run.run(partial(_tell, job, run), facts)


def _tell(job: RunningJob, run: "CaptureRun", now: "CaptureProgress") -> None:
    left = run.activation_bytes - now.bytes_done
    job.report(
        JobProgress(
            "capturing",
            bytes_done=now.bytes_done,
            bytes_total=run.activation_bytes,
            bytes_per_second=now.bytes_per_second,
            eta_seconds=left / now.bytes_per_second if now.bytes_per_second else None,
            step={"name": "batches", "done": now.batches_done, "total": now.batches},
        )
    )


def _wanted(payload: ActivationsPayload, job: RunningJob) -> "Wanted":
    from modelyard.ml.hooks.direct import Wanted

    return Wanted(
        hook_points=payload.hook_points,
        positions=payload.positions,
        dtype=payload.dtype,
        adapter=payload.adapter,
        interventions=read_interventions(payload.interventions, payload.path_rules, job),
    )


def _given(payload: ActivationsPayload) -> Iterable[str | Sequence[int]]:
    from modelyard.ml.hooks.reading import dataset_rows
    from modelyard.ml.sae.text_rows import texts

    if payload.dataset is None:
        return payload.texts or payload.token_ids or ()
    found = texts(Path(payload.dataset.path), payload.dataset.column, PathRules.of(get_settings(), payload.path_rules))
    return dataset_rows(found, payload.dataset.begin, payload.dataset.end)


def _first_row(payload: ActivationsPayload) -> int:
    return 0 if payload.dataset is None else payload.dataset.begin


def _completed(database: Database, job_id: str, owner: str, _capture_id: str, _kind: JobKind) -> None:
    end_capture(database, job_id, owner, JobState.DONE)


def _failed(database: Database, job_id: str, owner: str, _capture_id: str, error: dict[str, Any]) -> None:
    end_capture(database, job_id, owner, JobState.FAILED, error)


def _stopped(database: Database, job_id: str, owner: str, _capture_id: str, error: dict[str, Any] | None) -> None:
    """Pause it, or fail it where a disk is full: it can be resumed then, too."""
    end_capture(database, job_id, owner, JobState.PAUSED if error is None else JobState.FAILED, error)


def _cancelled(database: Database, job_id: str, owner: str, capture_id: str, _kind: JobKind) -> None:
    remove_files(capture_id)
    end_capture(database, job_id, owner, JobState.CANCELLED)


CAPTURE_ENDINGS = Endings(completed=_completed, failed=_failed, paused=_stopped, cancelled=_cancelled)
