"""Lines that a client can repeat: a few are written, the others are counted."""

import logging
import threading
from collections.abc import Iterator

import pytest

from modelyard.core import repeated_lines
from modelyard.core.repeated_lines import BURST, limit_repeated_lines


@pytest.fixture
def limited() -> Iterator[logging.Logger]:
    logger = logging.getLogger("tests.limited")
    limit_repeated_lines(logger.name)
    yield logger
    logger.filters.clear()


def test_a_few_lines_of_each_kind_and_the_count_of_the_others(
    limited: logging.Logger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    timers: list[threading.Timer] = []

    class Held(threading.Timer):
        """Ends when the test says so."""

        def start(self) -> None:
            timers.append(self)

    monkeypatch.setattr(repeated_lines.threading, "Timer", Held)
    with caplog.at_level(logging.INFO):
        for round_number in range(1, 3):
            caplog.clear()
            for number in range(100):
                limited.warning("request %d cannot be read", number)
            limited.warning("another")
            assert [record.getMessage() for record in caplog.records] == [
                *(f"request {number} cannot be read" for number in range(BURST)),
                "another",
            ]
            assert len(timers) == round_number, "one for all kinds"
            timers[-1].function()
            (counted,) = caplog.messages[BURST + 1 :]
            assert counted == f"{100 - BURST} more lines like this within 60 s: request %d cannot be read"


def test_the_count_comes_by_itself(
    limited: logging.Logger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeated_lines, "SECONDS", 0.05)
    counted = threading.Event()

    class Waited(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002
            counted.set()

    handler = Waited()
    repeated_lines.logger.addHandler(handler)
    try:
        while not counted.wait(0.01):
            for _ in range(BURST + 1):
                limited.warning("again")
    finally:
        repeated_lines.logger.removeHandler(handler)
