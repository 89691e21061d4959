"""How long a training run still takes: activations come in bursts, the figures do not."""

from types import SimpleNamespace
from typing import Any

from modelyard.ml.sae.engine import Metrics
from modelyard.workers.processes.train_child import _Progress
from modelyard.workers.training_speed import TrainingSpeed

BATCH, BUFFER, TOTAL = 4096, 16 * 4096, 60 * 4096
GATHER, STEP = 0.01, 0.001
"""Seconds per token."""


def test_rate_and_time_left_hold_while_the_buffer_is_filled_again_and_again() -> None:
    speed = TrainingSpeed(tokens_total=TOTAL, batch_tokens=BATCH, buffer_tokens=BUFFER)
    now, buffered = 0.0, 0
    told: list[tuple[float, float]] = []
    for done in range(BATCH, TOTAL + 1, BATCH):
        if buffered < BUFFER / 2:
            fresh = min(BUFFER, TOTAL - done + BATCH) - buffered
            speed.gathered(fresh, fresh * GATHER)
            now, buffered = now + fresh * GATHER, buffered + fresh
        now, buffered = now + BATCH * STEP, buffered - BATCH
        speed.stepped(now)
        left = speed.eta_seconds(done)
        if done < 5 * BATCH:
            assert left is None
        else:
            assert left is not None
            told.append((now, left))
        rate = speed.tokens_per_second
        assert (rate is None) is (done == BATCH)
        assert rate is None or abs(rate * (GATHER + STEP) - 1) < 0.01
    assert told[-1][1] == 0
    for at, left in told:
        # What is in the buffer at the end is gathered for nothing at most once.
        assert abs(left - (now - at)) <= 0.05 * now, (at, left, now - at)


def test_activations_gathered_for_something_else_are_not_in_the_buffer() -> None:
    """A norm is estimated on batches that are not trained on."""
    speed = TrainingSpeed(tokens_total=TOTAL, batch_tokens=BATCH, buffer_tokens=BUFFER)
    speed.gathered(10 * BUFFER, 10 * BUFFER * GATHER)
    for step in range(5):
        speed.stepped(step * BATCH * STEP)
    left = speed.eta_seconds(5 * BATCH)
    rest = TOTAL - 5 * BATCH
    assert left is not None
    assert abs(left - (rest * STEP + (rest - BUFFER) * GATHER)) < 0.01


def test_nothing_is_told_before_there_is_something_to_go_by() -> None:
    speed = TrainingSpeed(tokens_total=TOTAL, batch_tokens=BATCH, buffer_tokens=BUFFER)
    assert (speed.tokens_per_second, speed.eta_seconds(0)) == (None, None)
    speed.gathered(BUFFER, 60.0)
    assert (speed.tokens_per_second, speed.eta_seconds(0)) == (None, None)


def test_training_begins_with_the_first_step_and_saving_with_the_last() -> None:
    told: list[dict[str, Any]] = []
    run = SimpleNamespace(steps=3, training_tokens=3 * BATCH, batch_tokens=BATCH, context_size=128)
    progress = _Progress(run, told.append)  # type: ignore[arg-type]
    for step in range(1, 4):
        figures = Metrics(step, step * BATCH, 1.0, 0.5, 0.5, 0.5, 0.5, 32.0, None)
        progress(step, step * BATCH, lambda figures=figures: figures)  # type: ignore[misc]
    phases = [report.get("phase", report.get("step")) for report in told]
    assert phases == ["training", 1, 2, 3, "saving"]
