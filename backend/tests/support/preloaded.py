"""The process that `support.programs` forks programs from: it has imported what they import, and read no settings.

It has one thread. A forked program gets its own environment, descriptors, folder, limits and arguments, and then runs
as `python -m MODULE` or `python -c TEXT` would. It is refused, and then started afresh, where a variable differs that
something has read while it was imported.

A supervisor that was forked here forks its own children in the same way, instead of starting Python again.
"""

import atexit
import ctypes
import fcntl
import functools
import gc
import importlib
import os
import pkgutil
import resource
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import ItemsView, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

from modelyard.core.start_process import STATUS, receive_message, send_message

_MODULES = (
    "modelyard.main",
    "modelyard.workers",
    "modelyard.workers.http_protocol",
    "modelyard.workers.websocket_protocol",
    "modelyard.workers.processes.supervisor",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "celery",
    "celery.apps.worker",
    "celery.concurrency.thread",
    "celery.events.state",
    "celery.worker.components",
    "celery.worker.consumer",
    "kombu.transport.filesystem",
    "kombu.transport.virtual",
    "psycopg",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "alembic.command",
)
_LIBRARIES = (
    "torch",
    "transformers",
    "modelyard.ml.loading.import_bitsandbytes",
    "modelyard.notebook",
    "modelyard.ml.sample_models",
    "modelyard.ml.inspect.activations",
    "modelyard.ml.inspect.architecture",
    "modelyard.ml.inspect.kv_cache",
    "modelyard.ml.inspect.memory",
    "modelyard.ml.inspect.support",
    "modelyard.ml.quantize.artifact",
    "modelyard.ml.generation.text_generation",
    "modelyard.ml.model_loader",
    "transformers.models.gpt2.modeling_gpt2",
    "transformers.models.llama.modeling_llama",
)
_READ_BY_LIBRARIES = (
    "ATEN_", "BNB_", "CUDA_", "DNNL_", "GOMP_", "KMP_", "MKL_", "OMP_", "ONEDNN_", "OPENBLAS_", "PYTORCH_", "TORCH",
)  # fmt: skip
_WHILE_LIBRARIES_ARE_IMPORTED = {
    "GOMP_SPINCOUNT": "20000",
    "HF_HUB_OFFLINE": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "OPENBLAS_NUM_THREADS": "1",  # it starts its threads when it is loaded
}
_READ_UNNOTICED = ("GLIBC_", "LANG", "LC_", "LD_", "MALLOC_", "PYTHON", "TQDM_")
_READ_AGAIN = frozenset(
    {
        "HF_ENDPOINT", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_DISABLE_IMPLICIT_TOKEN", "HF_HUB_DISABLE_TELEMETRY",
        "HF_HUB_OFFLINE", "HF_STORED_TOKENS_PATH", "HF_TOKEN_PATH",
    }
)  # fmt: skip
"""What huggingface_hub reads when it is imported, and reads again in each forked program."""

_CUSTOMIZE = ("sitecustomize", "usercustomize")
"""Modules that Python imports by itself where they are found."""

_ACCELERATORS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd", "/dev/dri")
_PR_SET_NAME = 15
ROOM = "-" * 1000
"""The last argument, which means nothing: a forked program writes its command line over this one's."""


class Program(NamedTuple):
    """What to run: a module (`-m`) or a text (`-c`), and the words after it."""

    kind: str
    code: str
    arguments: Sequence[str]
    safe_path: bool
    """Whether the folder it is started in holds nothing that it may import (`-P`)."""

    @classmethod
    def of(cls, words: Sequence[Any]) -> "Program | None":
        """The program that a command line starts with this Python; None for anything else."""
        python, *rest = map(os.fspath, words)
        if safe_path := rest[:1] == ["-P"]:
            del rest[0]
        if python != sys.executable or len(rest) < 2 or rest[0] not in ("-m", "-c"):
            return None
        return cls(rest[0], rest[1], rest[2:], safe_path)

    def run(self) -> None:
        started_in = [] if self.safe_path else [str(Path.cwd()) if self.kind == "-m" else ""]
        sys.path[:] = [*started_in, *_folders(os.environ), *_PATH]
        if self.kind == "-m":
            sys.argv[:] = [self.code, *self.arguments]
            runpy.run_module(self.code, run_name="__main__", alter_sys=True)
        else:
            sys.argv[:] = ["-c", *self.arguments]
            main = sys.modules["__main__"] = ModuleType("__main__")
            exec(compile(self.code, "<string>", "exec"), main.__dict__)  # noqa: S102


def _folders(environment: Mapping[str, str]) -> list[str]:
    return [folder for folder in environment.get("PYTHONPATH", "").split(os.pathsep) if folder]


_PATH = [folder for folder in sys.path if folder not in _folders(os.environ)]


class Surroundings(NamedTuple):
    """What a process has from the one that starts it. `limits` are kinds with a soft and a hard limit."""

    environment: Mapping[str, str]
    folder: str
    umask: int
    limits: Sequence[tuple[int, int, int]]
    new_session: bool
    group: int
    """As of `setpgid`; -1: it stays in the starter's."""

    def take_on(self, descriptors: Mapping[int, int]) -> None:
        """Give this forked process these surroundings, and the descriptors by the numbers they are to have."""
        if self.new_session:
            os.setsid()
        elif self.group >= 0:
            os.setpgid(0, self.group)
        _take_descriptors(descriptors)
        _forget_handlers()
        for kind, *limits in self.limits:
            if resource.getrlimit(kind) != tuple(limits):
                resource.setrlimit(kind, (limits[0], limits[1]))
        os.chdir(self.folder)
        os.umask(self.umask)
        os.environ.clear()
        os.environ.update(self.environment)
        time.tzset()
        tempfile.tempdir = None
        _forget_answers()
        _read_environment_again()


def surroundings(environment: Mapping[str, str], folder: str | None, *, new_session: bool, group: int) -> Surroundings:
    """Those that a child of this process would have."""
    kinds = sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})
    limits = [(kind, *resource.getrlimit(kind)) for kind in kinds]
    status = Path("/proc/self/status").read_text()
    umask = int(status.partition("\nUmask:")[2].split()[0], 8)
    return Surroundings(dict(environment), folder or str(Path.cwd()), umask, limits, new_session, group)


def _take_descriptors(descriptors: Mapping[int, int]) -> None:
    """Give descriptors these numbers, and close all others."""
    above = max(2, *descriptors) + 1
    moved = {number: fcntl.fcntl(descriptor, fcntl.F_DUPFD, above) for number, descriptor in descriptors.items()}
    for number, descriptor in moved.items():
        os.dup2(descriptor, number)
    for number in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if number not in descriptors:
            with suppress(OSError):  # the folder's own
                os.close(number)


def _forget_handlers() -> None:
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def _ours() -> Iterator[ModuleType]:
    return (module for name, module in list(sys.modules.items()) if name.partition(".")[0] == "modelyard")


def _caches() -> Iterator[Any]:
    """Functions of ours that remember their answers."""
    for module in _ours():
        for value in list(vars(module).values()):
            if isinstance(value, functools._lru_cache_wrapper) and value.__module__ == module.__name__:
                yield value


def _forget_answers() -> None:
    for function in _caches():
        function.cache_clear()


def _read_environment_again() -> None:
    from huggingface_hub import constants

    importlib.reload(constants)
    for name, module in list(sys.modules.items()):
        if name.startswith("huggingface_hub.") and module is not constants:
            for known in vars(module).keys() & vars(constants).keys():
                if known.isupper():
                    setattr(module, known, getattr(constants, known))
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()  # or all programs would draw the same numbers
    if "torch" in sys.modules:
        sys.modules["torch"].default_generator.seed()


def show(program: Program) -> None:
    """Have `ps` and /proc show a program as this process's command line, as far as there is room."""
    words = [sys.executable, "-P", program.kind, program.code, *program.arguments]
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    size = end - start
    # Linux takes the text up to the first NUL for the whole line where the last byte is none.
    line = " ".join(words).encode()[: size - 2].ljust(size - 1, b"\0") + b" "
    ctypes.memmove(start, line, size)
    ctypes.CDLL(None).prctl(_PR_SET_NAME, b"python", 0, 0, 0)


class _Noticing(os._Environ):  # type: ignore[type-arg]
    """An environment that notes which variables are read by name; tqdm goes through all for those that are its own."""

    def __init__(self, environment: Any) -> None:
        super().__init__(
            environment._data, environment.encodekey, environment.decodekey, environment.encodevalue,
            environment.decodevalue,
        )  # fmt: skip
        self.read: set[str] | None = set()

    def __getitem__(self, key: str) -> str:
        if self.read is not None:
            self.read.add(key)
        return super().__getitem__(key)

    def items(self) -> ItemsView[str, str]:
        return {name: super(_Noticing, self).__getitem__(name) for name in self}.items()


class Rules:
    """Which environments programs can be forked in: those that what is imported has read nothing different of."""

    def __init__(self, read: set[str], environment: Mapping[str, str], *, libraries: bool) -> None:
        self._read = read - _READ_AGAIN
        self._known = dict(environment)
        self._prefixes = (*_READ_UNNOTICED, *_READ_BY_LIBRARIES) if libraries else _READ_UNNOTICED

    def differing(self, environment: Mapping[str, str]) -> list[str]:
        """The variables for which a program in this environment has to be started afresh."""
        names = (self._known.keys() | environment.keys()) - {"PYTHONPATH"}
        found = [
            name
            for name in names
            if self._known.get(name) != environment.get(name)
            and (name in self._read or name.startswith(self._prefixes))
        ]
        if any((Path(folder) / f"{name}.py").exists() for folder in _folders(environment) for name in _CUSTOMIZE):
            found.append("PYTHONPATH")
        return sorted(found)


class ForkingPopen(subprocess.Popen):  # type: ignore[type-arg]
    """In a forked supervisor: forks `python -m modelyard.workers…` from this process, and starts all else afresh."""

    rules: Rules

    def _execute_child(self, *given: Any) -> None:
        args, _executable, preexec_fn, _close_fds, pass_fds, cwd, env, *_startup, shell = given[:10]
        pipes = given[10:16]
        p2cread, _, _, c2pwrite, _, errwrite = pipes
        *_user, new_session, group = given[16:]
        program = None if shell or preexec_fn or isinstance(args, str) else Program.of(args)
        environment = os.environ if env is None else env
        if (
            program is None
            or not program.code.startswith("modelyard.workers")
            or len(list(Path("/proc/self/task").iterdir())) > 1
            or self.rules.differing(environment)
        ):
            super()._execute_child(*given)
            return
        standard = {0: p2cread, 1: c2pwrite, 2: errwrite}
        descriptors = {number: number if given < 0 else given for number, given in standard.items()}
        around = surroundings(environment, cwd, new_session=new_session, group=group)
        gc.collect()  # what would close descriptors when it is found in the child
        ready, begun = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            try:
                around.take_on(descriptors | {number: number for number in pass_fds})  # closes `begun` too
                show(program)
            except BaseException:  # noqa: BLE001
                traceback.print_exc()
                os._exit(1)
            _live(program)
        os.close(begun)
        os.read(ready, 1)
        os.close(ready)
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]


def _live(program: Program) -> NoReturn:
    """Be a program until its end, somewhere in the stack of the process it was forked from.

    What Python does when it ends is done, save that nothing is taken apart that the system takes back anyway.
    """
    status = 1
    try:
        program.run()
        status = 0
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        if leaving.code is not None and not isinstance(leaving.code, int):
            print(leaving.code, file=sys.stderr)
    except KeyboardInterrupt:
        traceback.print_exc()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(status & 0xFF)


class _Preloaded:
    """Forks programs on request and reports how they end."""

    def __init__(self, control: socket.socket, rules: Rules) -> None:
        self._control = control
        self._rules = rules
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._running: dict[int, tuple[int, socket.socket]] = {}
        """Process ids and links to those who started them, by the descriptors of the processes."""

    def serve(self) -> Program:
        """Answer requests until the process that makes them is gone; return only in a forked program."""
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor in self._running:
                    self._report_end(descriptor)
                elif (program := self._answer()) is not None:
                    return program

    def _answer(self) -> Program | None:
        request, received = receive_message(self._control)
        if not received:
            sys.exit(0)
        link = socket.socket(fileno=received[0])
        around = Surroundings(**request["surroundings"])
        if differing := self._rules.differing(around.environment):
            send_message(link, {"refused": differing})
        elif pid := os.fork():
            descriptor = os.pidfd_open(pid)
            self._running[descriptor] = pid, link.dup()
            self._poll.register(descriptor, select.POLLIN)
        else:
            return self._become(Program(**request["program"]), around, request["descriptors"], received, link)
        for number in (link.detach(), *received[1:]):
            os.close(number)
        return None

    def _become(
        self,
        program: Program,
        around: Surroundings,
        numbers: Sequence[int],
        received: Sequence[int],
        link: socket.socket,
    ) -> Program:
        for each in (self._control, *(running for _, running in self._running.values())):
            each.detach()  # it is closed below, and must not be again
        told = max(numbers) + 1
        descriptors = dict(zip(numbers, received[1:], strict=True)) | {told: link.detach()}
        try:
            around.take_on(descriptors)
        finally:
            link = socket.socket(fileno=told)
        show(program)
        send_message(link, {"pid": os.getpid()})
        link.close()
        return program

    def _report_end(self, descriptor: int) -> None:
        pid, link = self._running.pop(descriptor)
        self._poll.unregister(descriptor)
        os.close(descriptor)
        _, status = os.waitpid(pid, 0)
        with link, suppress(OSError):  # nobody waits for it
            link.send(STATUS.pack(status))


def has_accelerator() -> bool:
    return any(Path(node).exists() for node in _ACCELERATORS)


def import_all(*, libraries: bool) -> Rules:
    """Import what programs will import, with the large `libraries` too.

    Raises RuntimeError where that has read settings or started a thread.
    """
    environment = dict(os.environ)
    if libraries:
        os.environ |= _WHILE_LIBRARIES_ARE_IMPORTED
    os.environ = noticing = _Noticing(os.environ)
    import modelyard.cli
    import modelyard.client
    import modelyard.commands

    for package in (modelyard.commands, modelyard.client):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    for name in (*_MODULES, *(_LIBRARIES if libraries else ())):
        importlib.import_module(name)
    read, noticing.read = noticing.read, None
    assert read is not None
    remembered = [function.__qualname__ for function in _caches() if function.cache_info().currsize]
    threads = len(list(Path("/proc/self/task").iterdir()))
    if remembered or threads > 1 or ("torch" in sys.modules) != libraries:
        raise RuntimeError(f"not as before the first use: {remembered}, {threads} threads")
    return Rules(read, environment, libraries=libraries)


def main() -> None:
    libraries = sys.argv[2] == "libraries"
    if libraries and has_accelerator():
        return  # its driver does not survive a fork
    subprocess.Popen = ForkingPopen  # type: ignore[misc]
    ForkingPopen.rules = import_all(libraries=libraries)
    gc.collect()
    gc.freeze()
    _live(_Preloaded(socket.socket(fileno=int(sys.argv[1])), ForkingPopen.rules).serve())


if __name__ == "__main__":
    main()
