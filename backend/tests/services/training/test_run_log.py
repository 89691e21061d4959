from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.core.settings import get_settings
from modelyard.services.training import run_log

RUN = "00log"


@pytest.fixture
def file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    monkeypatch.setenv("MODELYARD_HOME", str(tmp_path))
    get_settings.cache_clear()
    path = run_log.log_file(RUN)
    path.parent.mkdir(parents=True)
    yield path
    get_settings.cache_clear()


def test_nothing_is_there_before_a_run_begins(file: Path) -> None:
    log = run_log.read(RUN)
    assert (log.text, log.position, log.skipped_bytes) == ("", 0, 0)


def test_it_is_read_in_whole_lines_as_it_grows(file: Path) -> None:
    file.write_text("one\ntwo\nthr")
    first = run_log.read(RUN)
    assert (first.text, first.position) == ("one\ntwo\n", 8)
    with file.open("a") as log:
        log.write("ee\n")
    second = run_log.read(RUN, first.position)
    assert (second.text, second.position, second.skipped_bytes) == ("three\n", 14, 0)
    nothing = run_log.read(RUN, second.position)
    assert (nothing.text, nothing.position, nothing.skipped_bytes) == ("", 14, 0)


def test_of_a_long_one_the_end_is_read_and_what_is_left_out_is_told(file: Path) -> None:
    lines = [f"{number:06}\n" for number in range(20_000)]
    file.write_text("".join(lines))
    log = run_log.read(RUN, after=70)
    assert log.position == 140_000
    assert 70 + log.skipped_bytes + len(log.text) == log.position
    assert log.text == "".join(lines[-(len(log.text) // 7) :])
    assert run_log.MOST_BYTES - 7 < len(log.text) <= run_log.MOST_BYTES


def test_bytes_that_are_no_text_do_not_stop_it(file: Path) -> None:
    file.write_bytes(b"a \xff byte\n")
    run_log.append(RUN, "The process was killed by SIGKILL.")
    lines = run_log.read(RUN).text.splitlines()
    assert lines[0] == "a \N{REPLACEMENT CHARACTER} byte"
    assert lines[1].endswith("Z ERROR The process was killed by SIGKILL.")
