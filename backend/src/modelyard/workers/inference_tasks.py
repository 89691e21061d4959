"""Celery tasks that need a model in memory. This process's one `ModelLoader` holds them."""

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil

from modelyard.core import units
from modelyard.core.database import get_database
from modelyard.core.errors import DatabaseUnavailable, ModelInUse, NotReady
from modelyard.models import JobControl, JobKind, Model, Worker
from modelyard.services.inference.load_spec import load_spec, original_spec, weights_folder
from modelyard.services.inference.loaded_models import LoadedModels
from modelyard.services.inference.served import Served
from modelyard.services.inspection.fast_dtype import options_here
from modelyard.services.jobs.control import IMPORTING_MESSAGE, STARTING, JobProgress
from modelyard.services.jobs.job_service import JobService
from modelyard.services.jobs.kinds import LOADING_PHASE
from modelyard.services.jobs.payloads import (
    DriftPayload,
    EmbedPayload,
    GeneratePayload,
    LoadOptions,
    LoadPayload,
    UnloadPayload,
)
from modelyard.services.model_files import hub_cache
from modelyard.services.model_service import ModelService
from modelyard.services.quantization_service import QuantizationService
from modelyard.workers.celery_app import celery_app, restart_process, stopping
from modelyard.workers.interventions import read_interventions
from modelyard.workers.job_runner import RequestStopped, RunningJob, owner_name, run_request

if TYPE_CHECKING:
    from modelyard.ml.generation.generation_request import Options, Prompt
    from modelyard.ml.loading.load_progress import LoadStep
    from modelyard.ml.model_loader import LoadedInfo, LoadedModel, ModelLoader

logger = logging.getLogger(__name__)

PUBLISH_SECONDS = 2.0
_news = threading.Event()
"""Set to have what is loaded published at once."""
EMPTY_RSS_BYTES = 2_000_000_000
"""A worker that holds no model and still takes more than this restarts itself; torch alone is about 0.5 GB."""


@celery_app.task(name="models.load")
def load_model_task(job_id: str) -> None:
    """Have a model in memory."""
    run_with_model(job_id, _load, on_failure=partial(_note_failure, JobKind.LOAD))


@celery_app.task(name="models.unload")
def unload_model_task(job_id: str) -> None:
    """Free a model's memory and measure what came back."""
    run_with_model(job_id, _unload, on_failure=partial(_note_failure, JobKind.UNLOAD))


@celery_app.task(name="models.generate")
def generate_task(job_id: str) -> None:
    """Generate text, publishing it as it comes."""
    run_with_model(job_id, _generate)


@celery_app.task(name="models.embed")
def embed_task(job_id: str) -> None:
    """Make embeddings of texts."""
    run_with_model(job_id, _embed)


@celery_app.task(name="models.drift")
def drift_task(job_id: str) -> None:
    """Compare a quantized copy with its original on a text."""
    run_with_model(job_id, _drift)


def run_with_model(
    job_id: str,
    work: Callable[[RunningJob], dict[str, Any]],
    on_failure: Callable[[str, dict[str, Any]], None] | None = None,
) -> None:
    """Run a request."""
    with no_threads_left():
        run_request(job_id, work, on_failure=on_failure)


@contextmanager
def no_threads_left() -> Iterator[None]:
    """Leave no threads behind that would slow those of the next request."""
    try:
        yield
    finally:
        if "torch" in sys.modules:
            from modelyard.ml.loading.threads import end_team

            end_team()


@lru_cache
def _loader() -> "ModelLoader":
    # Before bitsandbytes is imported, which otherwise may ask the Hub for kernels. Everything loaded here is local.
    os.environ["HF_HUB_OFFLINE"] = "1"
    from transformers.utils import logging as transformers_logging

    from modelyard.ml.model_loader import ModelLoader
    from modelyard.ml.untrusted import warm_up

    warm_up()
    transformers_logging.disable_progress_bar()
    loader = ModelLoader.instance()
    loader.on_unload = partial(_loaded_models().note_unload, loader)
    threading.Thread(target=_keep_published, args=(loader,), name="loaded", daemon=True).start()
    return loader


def _load(job: RunningJob) -> dict[str, Any]:
    row = model_row(job.subject_id)
    with get_database().reading() as session:
        served = Served.of(session, row)
    loader = loader_for(job)
    with _stoppable():
        options = options_here(get_database(), served.row.dtype, LoadPayload.of(job.job))
        spec = load_spec(served.row, options, served.adapter)
        info = loader.load(spec, on_step=_telling(job), is_cancelled=taken_back(job))
    _loaded_models().publish(loader)
    _loaded_models().note_measured(row.id, info)
    _loaded_models().forget_failure(row.id)
    return {"measured_bytes": info.measured_bytes, "load_seconds": info.load_seconds}


def _unload(job: RunningJob) -> dict[str, Any]:
    """With `only_idle`, made room for something else: what is pinned or in use stays, and that is no error.

    Nor is it one that the model went meanwhile: its time was over, its base went, or this process began anew.
    """
    row, loader = model_row(job.subject_id), _loader()
    held = [info for info in loader.loaded() if _is_of(info, row)]
    freed = []
    if UnloadPayload.of(job.job).only_idle:
        for info in held:
            with suppress(NotReady, ModelInUse):  # it has expired, or somebody uses it now
                freed += [] if info.pinned else [loader.unload_model(info.key)]
        if not freed:
            return {}
    else:
        for info in held:
            with suppress(NotReady):
                freed.append(loader.unload_model(info.key))
    _loaded_models().publish(loader)
    _loaded_models().forget_failure(row.id)
    return {
        "freed_bytes": sum(unloaded.freed_bytes for unloaded in freed),
        "held_before_bytes": sum(unloaded.held_before_bytes for unloaded in freed),
        "mapped_bytes": sum(unloaded.mapped_bytes for unloaded in freed),
    }


def _generate(job: RunningJob) -> dict[str, Any]:
    from modelyard.ml.generation.text_generation import generate, require_language_head

    row, loader = model_row(job.subject_id), loader_for(job)
    if not any(_is_of(info, row) for info in loader.loaded()):
        require_language_head(weights_folder(row))  # before it is loaded; one in memory is asked itself
    wanted = GeneratePayload.of(job.job)
    waiting = JobProgress("waiting", message="waiting for other work with the model")
    with held_model(job, loader, row, wanted.load, waiting, wanted.adapter) as held:
        made = generate(
            held.loaded,
            *_request(wanted, job),
            on_text=lambda snapshot: job.publish(lambda: {"choices": [asdict(choice) for choice in snapshot()]}),
            should_stop=taken_back(job),
            on_start=lambda: job.report(JobProgress("generating")),
            on_wait=lambda: job.report(JobProgress("waiting", message="waiting for the memory of other generations")),
        )
    load_seconds = 0.0 if held.was_loaded else held.loaded.load_seconds
    return asdict(made) | {"load_seconds": load_seconds, "warnings": wanted.warnings}


def _embed(job: RunningJob) -> dict[str, Any]:
    from modelyard.ml.generation.embedding import embed
    from modelyard.ml.generation.pooling import read_pooling

    row, loader = model_row(job.subject_id), loader_for(job)
    wanted = EmbedPayload.of(job.job)
    pooling = read_pooling(hub_cache().snapshot_path(row.model_id, row.commit), row.model_id)
    with held_model(job, loader, row, wanted.load, JobProgress("embedding"), wanted.adapter) as held:
        made = embed(held.loaded, wanted.inputs, pooling, taken_back(job), wanted.adapter)
    return asdict(made)


class _Held(NamedTuple):
    loaded: "LoadedModel"
    was_loaded: bool
    """Whether it was in memory before."""


@contextmanager
def held_model(
    job: RunningJob,
    loader: "ModelLoader",
    row: Model,
    load: LoadPayload,
    progress: JobProgress,
    adapter_id: str | None = None,
) -> Iterator[_Held]:
    """Yield the model, and an adapter, loaded if they are not; `progress` is reported when they are there.

    Their use is published. Such work names no dtype: whatever copy there is will do.
    """
    before = {info.key for info in loader.loaded()}
    adapter = None if adapter_id is None else model_row(adapter_id)
    options = options_here(get_database(), row.dtype, load)
    held = QuantizationService(get_database()).load_model(
        row,
        options.model_copy(update={"any_dtype": True}),
        adapter,
        on_step=_telling(job),
        is_cancelled=taken_back(job),
    )
    with _stoppable(), held as loaded:
        job.report(progress)
        if loaded.key in before:
            _news.set()  # that it is in use may be known a moment later
        else:
            _loaded_models().publish(loader)
        yield _Held(loaded, loaded.key in before)
    _loaded_models().publish(loader)
    used = [row] if adapter is None else [row, adapter]
    for info in loader.loaded():
        if info.key not in before and (measured := next((each for each in used if _is_of(info, each)), None)):
            _loaded_models().note_measured(measured.id, info)
    _loaded_models().forget_failure(row.id)


def _request(wanted: GeneratePayload, job: RunningJob) -> tuple[list["Prompt"], "Options"]:
    """Return what a payload asks of the model."""
    from modelyard.ml.generation.generation_request import Options, Prompt

    prompts = [
        Prompt(
            text=given.text,
            token_ids=given.token_ids,
            messages=None if given.messages is None else [message.model_dump() for message in given.messages],
        )
        for given in wanted.inputs
    ]
    left_out = ("inputs", "load", "interventions", "warnings", "path_rules")
    return prompts, Options(
        **{name: value for name, value in wanted if name not in left_out},
        interventions=read_interventions(wanted.interventions, wanted.path_rules, job),
    )


def _drift(job: RunningJob) -> dict[str, Any]:
    from modelyard.ml.inspect.meta_model import dtype_name
    from modelyard.ml.quantize.drift import compare
    from modelyard.ml.quantize.text_drift import read_text, run_text

    row, loader, should_stop = model_row(job.subject_id), loader_for(job), taken_back(job)
    wanted = DriftPayload.of(job.job)
    options = LoadOptions(option_bytes=wanted.option_bytes)
    with _stoppable():
        with loader.get(load_spec(row, options), on_step=_telling(job), is_cancelled=should_stop) as copy:
            _loaded_models().publish(loader)
            job.report(JobProgress("comparing", message="running the quantized model"))
            prompts = read_text(copy, wanted.text, should_stop)
            quantized = run_text(copy, prompts, should_stop)
        with loader.get(original_spec(row, options), on_step=_telling(job), is_cancelled=should_stop) as original:
            _loaded_models().publish(loader)
            job.report(JobProgress("comparing", message="running the original"))
            source, dtype = run_text(original, prompts, should_stop), dtype_name(original.model.dtype)
    _loaded_models().publish(loader)
    return asdict(compare(source, quantized, prompts, dtype))


def loader_for(job: RunningJob) -> "ModelLoader":
    """Return the loader; its libraries take seconds to import where this process was not forked, which is reported."""
    if "torch" not in sys.modules:
        job.report(JobProgress(LOADING_PHASE, message=IMPORTING_MESSAGE, step=STARTING))
    return _loader()


def _telling(job: RunningJob) -> Callable[["LoadStep"], None]:
    """Makes a load's steps known."""

    def tell(step: "LoadStep") -> None:
        job.report(
            JobProgress(
                LOADING_PHASE,
                bytes_done=step.bytes_done,
                bytes_total=step.bytes_total,
                message=step.message,
                step={"name": step.name, "done": step.done, "total": step.total},
            )
        )
        if step.is_last:
            job.flush()  # whether it is still wanted must be known now, not at the next heartbeat

    return tell


def taken_back(job: RunningJob) -> Callable[[], bool]:
    return lambda: job.control() is not JobControl.RUN


@contextmanager
def _stoppable() -> Iterator[None]:
    from modelyard.ml.model_loader import LoadCancelled
    from modelyard.ml.untrusted import TokenizerStopped

    try:
        yield
    except (LoadCancelled, TokenizerStopped):
        raise RequestStopped from None


def _loaded_models() -> LoadedModels:
    return LoadedModels(get_database(), owner_name())


def _note_failure(kind: JobKind, row_id: str, error: dict[str, Any]) -> None:
    _loaded_models().note_failure(kind, row_id, error)


def _keep_published(loader: "ModelLoader") -> None:
    while not stopping.is_set():
        _news.wait(PUBLISH_SECONDS)
        _news.clear()
        try:
            _loaded_models().publish(loader)
            if not loader.loaded() and psutil.Process().memory_info().rss > EMPTY_RSS_BYTES and not _busy():
                # What a library keeps for ever, only the end of the process gives back.
                logger.warning(
                    "Nothing is loaded, but this process holds more than %s: it starts again",
                    units.size(EMPTY_RSS_BYTES),
                )
                restart_process()
                return
        except DatabaseUnavailable:
            continue
        except Exception:
            logger.warning("Cannot write what is loaded", exc_info=True)


def _busy() -> bool:
    """Return whether somebody waits for this worker, or it is at work: on any of its queues."""
    name = owner_name()
    with get_database().reading() as session:
        queues = session.get_one(Worker, name).queues.split(",")
        return JobService(session).has_work_for(name, queues)


def _is_of(info: "LoadedInfo", row: Model) -> bool:
    return (info.key.model_id, info.key.commit, info.key.quantization) == (
        row.model_id,
        row.commit,
        row.quantization.value,
    )


def model_row(row_id: str) -> Model:
    with get_database().reading() as session:
        return ModelService(session).get_by_id(row_id)
