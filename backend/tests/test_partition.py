"""`make test` and `make test-thorough` run every test once between them."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.thorough

PROJECT = Path(__file__).parents[2]
NO_EXTRA = "import sys\nsys.modules['sae_lens'] = None\n"
"""A sitecustomize that hides SAELens, as if the training extra were not installed."""
SKIPPED = "modelyard-skipped"
PLUGIN = f"""
def pytest_collection_finish(session):
    for item in session.items:
        print("{SKIPPED}" if item.get_closest_marker("skip") else "runs", item.nodeid)
"""


def arguments_of(target: str) -> list[str]:
    """What a make target passes to pytest, without what distributes the tests."""
    written = subprocess.run(
        ["make", "--dry-run", "--always-make", target],
        cwd=PROJECT,
        env={name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    [line] = [line for line in written.splitlines() if "-m pytest" in line]
    words = shlex.split(line)
    return words[words.index("-m", words.index("pytest")) :]


def run_by(arguments: list[str], folder: Path, *, extra: bool) -> set[str]:
    """The tests that run with these arguments."""
    folder.mkdir()
    (folder / "list_tests.py").write_text(PLUGIN)
    if not extra:
        (folder / "sitecustomize.py").write_text(NO_EXTRA)
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "backend/tests", "--collect-only", "-qqs", "-p", "list_tests", *arguments],
        cwd=PROJECT,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert listed.returncode == 0, listed.stdout[-2000:] + listed.stderr[-2000:]
    return {line.removeprefix("runs ") for line in listed.stdout.splitlines() if line.startswith("runs ")}


def test_every_test_runs_once(tmp_path: Path) -> None:
    first = run_by(arguments_of("test"), tmp_path / "first", extra=False)
    second = run_by(arguments_of("test-thorough"), tmp_path / "second", extra=True)
    everything = run_by([], tmp_path / "everything", extra=True)

    assert first
    assert second
    assert not first & second
    assert first | second == everything
