"""The speed of a training run and its remaining time."""

STEPS_BEFORE_ETA = 5


class TrainingSpeed:
    """Measures gathering activations and training steps separately.

    A buffer of activations is filled at once and followed by many fast steps. A rate over the last seconds would be
    that of only one of the two, while each has a steady time per token.
    """

    def __init__(self, *, tokens_total: int, batch_tokens: int, buffer_tokens: int) -> None:
        self._total, self._batch, self._buffer = tokens_total, batch_tokens, buffer_tokens
        self._gathered = self._trained = self._timed_tokens = self._steps = 0
        self._gather_seconds = self._step_seconds = 0.0
        self._last_step: float | None = None
        self._gathering_since_step = 0.0

    def gathered(self, tokens: int, seconds: float) -> None:
        """Count activations of so many tokens, which took so many seconds."""
        self._gathered += tokens
        self._gather_seconds += seconds
        self._gathering_since_step += seconds

    def stepped(self, now: float) -> None:
        """Count one step, done at `now` in seconds on any steady clock."""
        self._steps += 1
        self._trained += self._batch
        if self._last_step is not None:  # what lies before the first step belongs to no step
            self._step_seconds += max(0.0, now - self._last_step - self._gathering_since_step)
            self._timed_tokens += self._batch
        self._last_step, self._gathering_since_step = now, 0.0

    @property
    def tokens_per_second(self) -> float | None:
        """Return the rate over gathering and steps together; None before the second step."""
        seconds = self._seconds_per_token()
        return 1 / sum(seconds) if seconds is not None and sum(seconds) > 0 else None

    def eta_seconds(self, tokens_done: int) -> float | None:
        """Return the time left; None during the first steps."""
        seconds = self._seconds_per_token()
        if seconds is None or self._steps < STEPS_BEFORE_ETA:
            return None
        gather, step = seconds
        left = max(0, self._total - tokens_done)
        in_buffer = min(max(0, self._gathered - self._trained), self._buffer)
        return left * step + max(0, left - in_buffer) * gather

    def _seconds_per_token(self) -> tuple[float, float] | None:
        if not self._timed_tokens or not self._gathered:
            return None
        return self._gather_seconds / self._gathered, self._step_seconds / self._timed_tokens
