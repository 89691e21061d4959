import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="torch brings GNU's OpenMP on Linux only")

TinyModel = Callable[[str], Path]

_PROGRAM = """
import os, sys, time
from pathlib import Path
import torch
from modelyard.ml.loading.threads import end_team
from modelyard.ml.model_loader import LoadSpec, ModelLoader

def compute():
    return torch.ones(1_000_000).exp().sum().item()

def threads():
    return set(os.listdir("/proc/self/task"))

def ended(team):
    deadline = time.monotonic() + 20
    while team & threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    return not team & threads()

torch.set_num_threads(3)
alone, total = threads(), compute()
team = threads() - alone
end_team()
print(len(team), ended(team))

alone = threads()
assert compute() == total
team = threads() - alone
folder = sys.argv[1]
ModelLoader().load(LoadSpec(folder, "c", "none", folder=Path(folder), device="cpu"))
print(len(team), ended(team))
"""


def test_who_has_computed_or_loaded_leaves_no_threads_that_wait(tiny_model: TinyModel) -> None:
    command = [sys.executable, "-c", _PROGRAM, str(tiny_model("llama"))]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines() == ["2 True", "2 True"]
