"""What tests fork is as it would be if it had been started afresh."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from modelyard.core.start_process import can_fork
from support import preloaded, programs
from support.instance import Instance

pytestmark = pytest.mark.skipif(not can_fork(), reason="nothing is forked on this system")

TELL = """
import json, logging, os, resource, signal, sys, threading
from pathlib import Path
from huggingface_hub import constants, file_download
from huggingface_hub.utils import _cache_manager
from modelyard.core.settings import Settings, get_settings

limits = sorted(name for name in dir(resource) if name.startswith("RLIMIT_"))
status = Path("/proc/self/status").read_text()
told = {
    "arguments": sys.argv,
    "path": sys.path,
    "environment": dict(os.environ),
    "folder": os.getcwd(),
    "descriptors": sorted(map(int, os.listdir("/proc/self/fd"))),
    "streams": [(each.name, each.mode, each.encoding, each.errors, each.line_buffering) for each in
                (sys.stdin, sys.stdout, sys.stderr)],
    "said": sys.stdin.read(),
    "limits": [resource.getrlimit(getattr(resource, name)) for name in limits],
    "umask": status.partition("Umask:")[2].split()[0],
    "threads": threading.active_count(),
    "signals": {number: str(signal.getsignal(number)).partition(" at 0x")[0] for number in signal.valid_signals()},
    "blocked": status.partition("SigBlk:")[2].split()[0],
    "leads": [os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid()],
    "loggers": len(logging.getLogger().handlers),
    "hub": {name: sorted(value) if isinstance(value, (set, frozenset)) else str(value)
            for name, value in vars(constants).items() if name.isupper()},
    "cache": [str(_cache_manager.HF_HUB_CACHE)],
    "settings": json.loads(get_settings().model_dump_json()),
    "afresh": get_settings() == Settings(),
}
print(json.dumps(told))
print("the end", file=sys.stderr)
sys.exit(int(sys.argv[1]))
"""


def both(*arguments: str, program: str = TELL, **how: Any) -> "list[subprocess.CompletedProcess[str]]":
    """A program that is started afresh, and one that is forked."""
    command = [sys.executable, "-c", program, *arguments]
    how = {"capture_output": True, "text": True, "timeout": 60} | how
    return [subprocess.run(command, **how), programs.run(command, **how)]  # type: ignore[call-overload]


def assert_same(afresh: "subprocess.CompletedProcess[str]", forked: "subprocess.CompletedProcess[str]") -> None:
    assert afresh.returncode == forked.returncode, forked.stderr
    assert afresh.stderr == forked.stderr
    told, other = json.loads(afresh.stdout), json.loads(forked.stdout)
    for name in told:
        assert other[name] == told[name], name


@contextmanager
def changed(tmp_path: Path) -> Iterator[None]:
    """Another mask of modes and a limit, as a child has from the process that starts it."""
    mask, limit = os.umask(0o027), resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, limit[1]))
    try:
        yield
    finally:
        os.umask(mask)
        resource.setrlimit(resource.RLIMIT_CORE, limit)


def test_surroundings_are_the_same(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    environment = os.environ | {
        "MODELYARD_HOME": str(tmp_path / "home"),
        "MODELYARD_LEASE_SECONDS": "7",
        "HF_HOME": str(tmp_path / "hf"),
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(tmp_path),
        "TZ": "Asia/Kathmandu",
    }
    del environment["HF_HUB_CACHE"]
    with changed(tmp_path):
        how: dict[str, Any] = {
            "env": environment,
            "cwd": tmp_path,
            "pass_fds": [writing],
            "start_new_session": True,
            "input": "é",
        }
        assert_same(*both("3", "ä b", **how))
    assert_same(*both("0", env=environment, process_group=0, stdin=subprocess.DEVNULL))
    assert_same(*both("0", env=dict(os.environ)))
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("raise SystemExit('a reason')", 1),
        ("raise SystemExit", 0),
        ("1 / 0", 1),
        ("import os; os._exit(9)", 9),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("import os, signal; os.kill(os.getpid(), signal.SIGINT)", -signal.SIGINT),
        ("import atexit, threading; atexit.register(print, 'left')\n"
         "threading.Timer(0.2, print, ['late']).start(); print('first')", 0),
    ],
)  # fmt: skip
def test_ends_are_the_same(program: str, code: int) -> None:
    afresh, forked = both(program=program)
    assert (forked.returncode, forked.stdout) == (afresh.returncode, afresh.stdout)
    assert forked.returncode == code
    assert forked.stderr.splitlines()[-1:] == afresh.stderr.splitlines()[-1:]


@pytest.mark.parametrize(
    "variables", [{"HF_HUB_DISABLE_SYMLINKS": "1"}, {"LC_ALL": "C"}, {"PYTHONUTF8": "0"}, {"HOME": "/"}]
)
def test_what_is_read_on_import_is_started_afresh(variables: dict[str, str]) -> None:
    with programs.Popen([sys.executable, "-c", "pass"], env=os.environ | variables) as process:
        assert not process.is_forked
    assert process.returncode == 0


def test_what_python_imports_by_itself_is_imported(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('customized')")
    afresh, forked = both(program="print('run')", env=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert afresh.stdout == forked.stdout == "customized\nrun\n"


@pytest.mark.skipif(preloaded.has_accelerator(), reason="the driver of an accelerator does not survive a fork")
def test_libraries_are_imported_already() -> None:
    program = (
        "import sys\n"
        "assert 'torch' in sys.modules\n"
        "import torch\n"
        "print(torch.get_num_threads(), (torch.ones(99, 99) @ torch.ones(99, 99)).sum().item())"
    )
    with programs.Popen([sys.executable, "-c", program], libraries=True, stdout=subprocess.PIPE, text=True) as process:
        assert process.is_forked
        told, _ = process.communicate(timeout=500)
    assert told == subprocess.run(
        [sys.executable, "-c", program.replace("assert", "import torch; assert")],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip


def test_a_server_and_its_children_are_forked(tmp_path: Path) -> None:
    """Otherwise everything passes, and takes several times as long."""
    instance = Instance(tmp_path).start()
    try:
        instance.wait_until(lambda: {"downloads", "compute"} <= instance.children().keys(), 60, "they run")
        assert instance.process is not None
        children = instance.children()
        for pid in (instance.process.pid, *(children[name].pid for name in ("api", "downloads", "compute"))):
            process = psutil.Process(pid)
            assert "MODELYARD_PORT" not in process.environ(), "it was started with an environment of its own"
            assert not [each.path for each in process.memory_maps() if "libtorch" in each.path]
    finally:
        assert instance.stop() == 0
