"""`Popen` and `run` of subprocess, which fork this project's programs instead of starting Python anew.

What is forked has imported its libraries already and is otherwise as it would be if it had been started afresh; see
`preloaded`. What cannot be forked (another user, a terminal, another interpreter, an environment that changes what
libraries do when they are imported) is started afresh, as everything is on a system that cannot fork like that.
"""

import atexit
import os
import select
import socket
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from modelyard.core.start_process import STATUS, can_fork, receive_message, send_message
from support import preloaded
from support.preloaded import Program, surroundings


class Popen(subprocess.Popen):  # type: ignore[type-arg]
    """A program of this project, forked where that makes no difference to it."""

    _link: socket.socket | None = None
    """Tells how a forked program ended."""

    def __init__(self, args: Any, *, libraries: bool = False, **how: Any) -> None:
        """With `libraries`, torch, transformers and bitsandbytes are imported in the program already."""
        self._libraries = libraries
        super().__init__(args, **how)

    def _execute_child(self, *given: Any) -> None:
        args, _executable, preexec_fn, _close_fds, pass_fds, cwd, env, *_startup, shell = given[:10]
        pipes = given[10:16]
        p2cread, _, _, c2pwrite, _, errwrite = pipes
        _restore, *user, new_session, group = given[16:]
        plain = not shell and preexec_fn is None and not isinstance(args, str) and user == [None, None, None, -1]
        program = Program.of(args) if plain and can_fork() else None
        standard = [0 if p2cread < 0 else p2cread, 1 if c2pwrite < 0 else c2pwrite, 2 if errwrite < 0 else errwrite]
        if program is None or any(map(_is_terminal, standard)):
            super()._execute_child(*given)
            return
        around = surroundings(
            os.environ if env is None else env,
            None if cwd is None else os.fspath(cwd),
            new_session=new_session,
            group=group,
        )
        request = {
            "program": program._asdict(),
            "surroundings": around._asdict(),
            "descriptors": [0, 1, 2, *pass_fds],
        }
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            send_message(_preloaded(libraries=self._libraries), request, [theirs.fileno(), *standard, *pass_fds])
        answer, _ = receive_message(self._link)
        if "pid" not in answer:
            self._link.close()
            self._link = None
            super()._execute_child(*given)
            return
        self.pid = answer["pid"]
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]

    @property
    def is_forked(self) -> bool:
        return self._link is not None

    def _try_wait(self, flags: int) -> tuple[int, int]:
        if self._link is None:
            return super()._try_wait(flags)
        if flags & os.WNOHANG and not _readable(self._link):
            return 0, 0
        (status,) = STATUS.unpack(self._link.recv(STATUS.size))
        self._link.close()
        return self.pid, status

    def _internal_poll(self, *given: Any, **named: Any) -> int | None:
        if self._link is None:
            return super()._internal_poll(*given, **named)
        lock = self._waitpid_lock  # type: ignore[attr-defined]
        if self.returncode is None and lock.acquire(False):
            try:
                pid, status = self._try_wait(os.WNOHANG) if self.returncode is None else (0, 0)
                if pid:
                    self._handle_exitstatus(status)  # type: ignore[attr-defined]
            finally:
                lock.release()
        return self.returncode


def run(
    command: Sequence[str | Path],
    *,
    input: Any = None,
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    **how: Any,
) -> "subprocess.CompletedProcess[Any]":
    """As `subprocess.run`."""
    if input is not None:
        how["stdin"] = subprocess.PIPE
    if capture_output:
        how |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Popen(command, **how) as process:
        try:
            stdout, stderr = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
    if check:
        done.check_returncode()
    return done


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:  # it is closed
        return False


def _readable(link: socket.socket) -> bool:
    poll = select.poll()
    poll.register(link, select.POLLIN)
    return bool(poll.poll(0))


@cache
def _preloaded(*, libraries: bool) -> socket.socket:
    """Start the process that forks programs with or without the large libraries, once; return the socket to ask on.

    If it cannot be had, what is sent there is answered by nothing, and programs are started afresh.
    """
    asking, serving = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with serving:
        process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                preloaded.__file__,
                str(serving.fileno()),
                "libraries" if libraries else "",
                preloaded.ROOM,
            ],
            env=dict(os.environ),  # without what libraries of this process have set behind Python's back
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(serving.fileno(),),
        )

    def end() -> None:
        asking.close()
        process.wait()

    atexit.register(end)
    return asking
