"""Warm parents for tests: one with nothing but small children, and the real one that a test run shares."""

import atexit
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from typing import Any

from modelyard.core.child_environment import child_environment
from modelyard.core.process import parent_pipe
from modelyard.core.start_process import WARM_FD, can_fork
from modelyard.workers.processes.warm_channel import ROOM, open_channel
from support import programs


class WarmParent:
    """A warm parent and its channel; processes with `environment` and `descriptor` may ask it."""

    def __init__(self, stack: ExitStack, *program: str) -> None:
        channel = open_channel(stack, wanted=True)
        self._program = program
        self._parent_pipe, self._environment = stack.enter_context(parent_pipe())
        assert channel.serving is not None
        self._serving = channel.serving
        self.environment = channel.environment
        (self.descriptor,) = channel.descriptors
        stack.callback(self.kill)

    def start(self) -> "subprocess.Popen[bytes]":
        """Start it, or start it again, without waiting until it serves."""
        command = [sys.executable, "-P", *self._program, str(self._serving), ROOM]
        how: dict[str, Any] = {
            "env": child_environment(**self._environment),
            "stdin": subprocess.DEVNULL,
            "pass_fds": (self._parent_pipe, self._serving),
            "start_new_session": True,
        }
        shared = self._program[0] == "-m"
        self.process = programs.Popen(command, libraries=True, **how) if shared else subprocess.Popen(command, **how)
        return self.process

    def kill(self) -> None:
        with suppress(AttributeError):  # it was never started
            self.process.kill()
            self.process.wait()


@contextmanager
def warm_parent_of(*children: str) -> Iterator[WarmParent]:
    """One that imports no library and may fork these modules; this process is not told of it."""
    program = f"from modelyard.workers.processes.warm_parent import main; main({children!r}, ())"
    with ExitStack() as stack, without_channel():
        parent = WarmParent(stack, "-c", program)
        yield parent


@contextmanager
def without_channel() -> Iterator[None]:
    """What is started meanwhile is started as on a machine that cannot fork, or gets a warm parent of its own."""
    given = os.environ.pop(WARM_FD, None)
    try:
        yield
    finally:
        if given is not None:
            os.environ[WARM_FD] = given


@contextmanager
def forking() -> Iterator[None]:
    """Children of this process are forked from the warm parent that all tests of this process share."""
    with without_channel():
        os.environ.update(shared_channel()[0])
        yield
        os.environ.pop(WARM_FD, None)


@cache
def shared_channel() -> tuple[dict[str, str], tuple[int, ...]]:
    """What a server is given (variables, descriptors) to use the warm parent that all tests of this process share.

    It is started by the first call, and again by nobody.
    """
    if not can_fork():
        return {"MODELYARD_WARM": "0"}, ()
    stack = ExitStack()
    with without_channel():
        shared = WarmParent(stack, "-m", "modelyard.workers.processes.warm_parent")
    shared.start()
    atexit.register(stack.close)
    return {"MODELYARD_WARM": "1", **shared.environment}, (shared.descriptor,)
