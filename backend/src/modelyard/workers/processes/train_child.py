"""The process of one training run: `run_child("modelyard.workers.processes.train_child", asdict(TrainingRun(…)), …)`.

It loads its own copy of the model and frees it by ending. SIGTERM makes it save a checkpoint and end; it may also be
killed at any time, and the next attempt continues from the last checkpoint.

Reports: `{"phase"}`, `{"live": reason or None}` after the live check, and `{"step", "tokens", …, "point"}` while it
trains, of which those with `point` belong to the curve. Its result is `{"engine", "output"}`. What it prints is the
run's log.
"""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from modelyard.core import locks
from modelyard.core.errors import Conflict, ModelyardError, NoTokenizer, OutOfMemory, TrainingIncompatible
from modelyard.core.paths import PathRules
from modelyard.core.process import Report, child_main, configure_logging
from modelyard.core.settings import get_settings
from modelyard.core.storage import room_problem
from modelyard.workers.processes.library_process import prepare, try_tokenizer
from modelyard.workers.training_speed import TrainingSpeed

if TYPE_CHECKING:
    from modelyard.ml.sae.engine import Metrics, TrainingRun

REPORT_SECONDS = 0.5
CURVE_POINTS = 400
PREDECESSOR_SECONDS = 150.0
LOG_SECONDS = 10.0

log = logging.getLogger("modelyard.workers.processes.train_child")

_stop = threading.Event()
_begun = threading.Event()
"""From here on there may be something to save."""


def _on_sigterm(_signal: int, _frame: FrameType | None) -> None:
    _stop.set()
    if not _begun.is_set():
        sys.exit(0)


def _work(request: dict[str, Any], report: Report) -> dict[str, Any]:
    try:
        return _attempt(request, report)
    except ModelyardError as error:
        log.error("%s %s", error.message, error.hint or "")
        raise


def _attempt(request: dict[str, Any], report: Report) -> dict[str, Any]:
    signal.signal(signal.SIGTERM, _on_sigterm)
    folder = Path(request["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    prepare(folder)
    from modelyard.ml.sae.engine import TrainingRun, TrainingStopped

    run = TrainingRun(**request)
    _alone(folder)
    if run.output.is_dir():
        # It was finished, and its worker died before it could tell.
        return {"engine": None, "output": str(run.output)}
    from transformers.utils import logging

    from modelyard.ml.loading.devices import accelerators, is_out_of_memory
    from modelyard.ml.loading.threads import obey_environment
    from modelyard.ml.sae.plan import PLACE_WORDS, SMALLER

    obey_environment()
    if run.device == "auto":
        run = replace(run, device=str(next(iter(accelerators()), "cpu")))
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        engine = _train(run, report)
    except TrainingStopped:
        log.info("stopped, because it was asked to")
        sys.exit(0)
    except ModelyardError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise OutOfMemory(
                f"The {PLACE_WORDS.get(run.device, f'memory of {run.device}')} ran out while training.",
                hint=SMALLER,
            ) from error
        # torch and safetensors report a full disk in words of their own.
        if (problem := room_problem(folder)) is not None:
            raise problem from error
        raise
    return {"engine": engine, "output": str(run.output)}


def _alone(folder: Path) -> None:
    """Wait for a predecessor that lost its job and is still saving. Raises Conflict if it does not end."""
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)  # held until this process ends
    deadline = time.monotonic() + PREDECESSOR_SECONDS
    while True:
        try:
            locks.lock(lock)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Conflict("Another process is still at work on this run.", hint="Resume it later.") from None
            time.sleep(0.2)
        else:
            return


def _train(run: "TrainingRun", report: Report) -> str:
    """Train and return the engine's name. Quick checks come first."""
    from modelyard.ml.loading.devices import free_bytes, parse_device
    from modelyard.ml.loading.pretrained import load_model, load_tokenizer
    from modelyard.ml.sae.engine import load_engine
    from modelyard.ml.sae.live_check import check_live, first_tokens
    from modelyard.ml.sae.plan import refusal
    from modelyard.ml.sae.text_rows import texts

    rules = PathRules.of(get_settings(), run.path_rules)

    def rows() -> Any:
        return texts(Path(run.dataset_path), run.dataset_column, rules)

    weights = Path(run.weights_folder)
    try_tokenizer(weights, run.model_id, rows())
    tokenizer = load_tokenizer(weights)
    ids = first_tokens(tokenizer, rows(), run.context_size)
    engine = load_engine()
    refused = refusal(run.planned_bytes, free_bytes(parse_device(run.device)), run.device)
    if refused is not None:
        raise refused
    report({"phase": "loading"})
    log.info("loading %s at %s (%s, %s) onto %s", run.model_id, run.commit, run.quantization, run.dtype, run.device)
    model = load_model(weights, device_map=run.device, dtype=run.dtype, allow_pickle=run.allow_pickle)
    report({"phase": "checking"})
    try:
        check_live(model, tokenizer, run.hook_point, run.d_in, ids)
    except (TrainingIncompatible, NoTokenizer) as error:
        report({"live": error.as_dict()})
        raise
    report({"live": None})
    log.info("%s puts out %d values per token, as expected", run.hook_point, run.d_in)
    report({"phase": "filling_buffer", "engine": engine.name})
    log.info("training with %s: %s, %d features, %d steps", engine.name, run.architecture, run.d_sae, run.steps)
    _begun.set()
    progress = _Progress(run, report)
    engine.train(
        run,
        model,
        tokenizer,
        rows,
        on_step=progress,
        on_gathered=progress.speed.gathered,
        should_stop=_stop.is_set,
    )
    log.info("the SAE is in %s", run.output)
    return engine.name


def _shorten_lines() -> None:
    """Leave module names out of the log, whose lines all come from this process."""
    formatter = logging.Formatter("{asctime}Z {levelname} {message}", "%Y-%m-%dT%H:%M:%S", style="{")
    formatter.converter = time.gmtime
    for handler in logging.getLogger().handlers:
        handler.setFormatter(formatter)


class _Progress:
    """Turns steps into reports, a few a second at most. Figures are computed only when they are sent.

    The first step ends the phase before it, and after the last one the SAE is saved.
    """

    def __init__(self, run: "TrainingRun", report: Report) -> None:
        from modelyard.ml.sae.plan import buffer_contexts

        self._run, self._report = run, report
        self.speed = TrainingSpeed(
            tokens_total=run.training_tokens,
            batch_tokens=run.batch_tokens,
            buffer_tokens=buffer_contexts(run.batch_tokens, run.context_size) * run.context_size,
        )
        self._stride = max(1, run.steps // CURVE_POINTS)
        self._sent = self._logged = 0.0
        self._steps = 0

    def __call__(self, step: int, tokens: int, metrics: "Callable[[], Metrics]") -> None:
        now = time.monotonic()
        self._steps += 1
        self.speed.stepped(now)
        first, last = self._steps == 1, tokens >= self._run.training_tokens
        if first:
            self._report({"phase": "training"})
        point = first or last or step % self._stride == 0
        if not point and now - self._sent < REPORT_SECONDS:
            return
        self._sent = now
        rate, eta = self.speed.tokens_per_second, self.speed.eta_seconds(tokens)
        figures = metrics()
        self._report(asdict(figures) | {"tokens_per_second": rate, "eta_seconds": eta, "point": point})
        if last:
            self._report({"phase": "saving"})
        if first or last or now - self._logged >= LOG_SECONDS:
            self._logged = now
            self._log(figures)

    def _log(self, figures: "Metrics") -> None:
        told = {name: value for name, value in asdict(figures).items() if value is not None}
        step, tokens = told.pop("step"), told.pop("tokens")
        words = ", ".join(f"{name} {value:.4g}" for name, value in told.items())
        log.info("step %d of %d, %s tokens: %s", step, self._run.steps, f"{tokens:,}", words)


if __name__ == "__main__":
    os.umask(0o077)  # it writes into MODELYARD_HOME only
    configure_logging("train")
    _shorten_lines()
    child_main(_work)
