"""This side of the warm process that tokenizers' processes are forked from. Imports no library of theirs."""

import os
import socket
import subprocess
import sys
import tempfile
import threading

from modelyard.core.child_environment import child_environment
from modelyard.ml.untrusted.protocol import END, PROCESS, START

# One thread each: threads cannot be forked, their stacks count as memory, and a limit of processor time is of them all.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "RUST_BACKTRACE": "0",
    "TRANSFORMERS_VERBOSITY": "error",
}


class WarmProcess:
    """Started with the first tokenizer, and again if it dies. Thread-safe.

    It ends when this process does, however that ends, because it reads the end of its socket.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Begin to start it, unless it runs; does not wait."""
        with self._lock:
            self._started()

    def fork(self) -> socket.socket:
        """Return the socket of a new process; does not wait for it."""
        ours, theirs = socket.socketpair()
        with theirs, self._lock:
            try:
                socket.send_fds(self._started(), [START], [theirs.fileno()])
            except OSError:  # it died just now
                socket.send_fds(self._started(), [START], [theirs.fileno()])
        return ours

    def end(self, pid: int) -> int | None:
        """Kill a forked process, unless it has ended by itself; its exit code as `subprocess` has it.

        None where the warm process is gone, and all that it forked with it.
        """
        with self._lock:
            if self._control is None:
                return None
            try:
                self._control.sendall(END + PROCESS.pack(pid))
                answer = self._control.recv(PROCESS.size, socket.MSG_WAITALL)
            except OSError:
                return None
        return os.waitstatus_to_exitcode(*PROCESS.unpack(answer)) if len(answer) == PROCESS.size else None

    def _started(self) -> socket.socket:
        if self._control is not None and self._process is not None and self._process.poll() is None:
            return self._control
        if self._control is not None:
            self._control.close()
        self._control, theirs = socket.socketpair()
        if self._scratch is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="modelyard-tokenizers-")
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "modelyard.ml.untrusted.child", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                env=child_environment(**_ENVIRONMENT, TMPDIR=self._scratch.name),
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        return self._control
