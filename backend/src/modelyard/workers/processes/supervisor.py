"""`modelyard serve` and `modelyard worker`: child processes that are started again when they die.

For `serve` these are the API and three workers, for `worker` one worker, and for both the processes that workers and
children of these are forked from (`fork_parents`). The supervisor opens the API's port itself and hands it down, so a
taken port is found before anything starts, and nobody is refused while the API is started again. It has one thread and
sleeps until a signal or a timer wakes it.
"""

import contextlib
import errno
import http.client
import ipaddress
import os
import select
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import FrameType

from modelyard.core import locks
from modelyard.core.broker import broker_options
from modelyard.core.errors import ModelyardError
from modelyard.core.extras import Extra, has, missing, require
from modelyard.core.process import CONSOLE_FD, EXIT_CONFIGURATION, describe_exit, end_group, parent_pipe
from modelyard.core.queues import QUEUES, Queue
from modelyard.core.settings import Settings
from modelyard.workers.processes import child_log
from modelyard.workers.processes.child_log import ChildLog
from modelyard.workers.processes.fork_parents import ForkParents
from modelyard.workers.processes.supervised_child import SupervisedChild, say

_API_ATTEMPTS = 3
_SAID_ABOVE = "what it said is above"
MIN_KEY_CHARACTERS = 16
"""Of a key that other machines can try."""

_HUB_SECRETS = frozenset({"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "MODELYARD_API_KEY"})
"""What only the API and downloads need: the built-in Hub takes the server's key."""


class CannotStart(ModelyardError):
    code = "cannot_start"


class Supervisor:
    """Runs child processes until SIGINT, SIGTERM or SIGHUP.

    `run` runs the API and, with `workers`, a Celery worker for each queue; `run_worker` runs one worker alone. `host`
    and `port` default to the settings'; port 0 takes a free one. `application` is the ASGI application factory and
    `celery` the Celery app, both as `module:name`; `concurrency` is the number of threads for a queue where it is not
    the default. After a signal the children have `grace_seconds` to end; a second one kills them.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        host: str | None = None,
        port: int | None = None,
        workers: bool = True,
        concurrency: Mapping[str, int] | None = None,
        application: str = "modelyard.main:create_app",
        celery: str = "modelyard.workers.celery_app:celery_app",
        grace_seconds: float = 10.0,
    ) -> None:
        self._settings = settings
        self._host = settings.host if host is None else host
        self._port = settings.port if port is None else port
        self._models = has(Extra.TORCH)
        self._queues = _queues_here(self._models) if workers else ()
        self._concurrency = concurrency or {}
        self._application = application
        self._celery = celery
        self._grace_seconds = grace_seconds
        self._signals = 0
        self._failure: str | None = None

    def run(self) -> int:
        """Block until told to stop; return 0, or 1 after one line on stderr that says what to do.

        To be called in the main thread, because it handles signals.
        """
        return self._run(self._serve)

    def run_worker(self, queues: Sequence[str]) -> int:
        """As `run`, for a worker of these queues, whose output goes where this process's own goes.

        Without torch it works on downloads alone.
        """
        return self._run(lambda stack: self._work(stack, queues))

    def _run(self, work: Callable[[contextlib.ExitStack], None]) -> int:
        try:
            broker_options(self._settings)
            self._settings.prepare_home()
            if self._settings.home.stat().st_mode & 0o022:
                home = self._settings.home
                say(f"Others may write to {home}: `chmod go-w {home}` takes that right away.", problem=True)
            with contextlib.ExitStack() as stack:
                work(stack)
        except ModelyardError as error:
            self._failure = f"{error.message} {error.hint or ''}".strip()
        if self._failure is not None:
            say(f"Modelyard cannot run: {self._failure}", problem=True)
            return 1
        say("Modelyard has stopped.")
        return 0

    def _serve(self, stack: contextlib.ExitStack) -> None:
        if not self._models:
            error = missing(Extra.TORCH)
            say(f"{error.message} {error.hint}")
        lock = stack.enter_context(self._alone_in_its_home())
        listener = stack.enter_context(self._listen())
        if lock is not None:
            lock.write({"pid": os.getpid(), "port": listener.getsockname()[1]})
        wakeups = stack.enter_context(_waking(self._on_signal))
        parent, environment = stack.enter_context(parent_pipe())
        console = os.dup(sys.stderr.fileno())
        stack.callback(os.close, console)
        common = {
            **environment,
            CONSOLE_FD: str(console),
            "MODELYARD_HOME": str(self._settings.home),
            "MODELYARD_HOST": self._host,
            "MODELYARD_PORT": str(listener.getsockname()[1]),
            "MODELYARD_SERVER": _url_of(listener),
        }

        def log(name: str) -> ChildLog:
            return ChildLog(self._settings.logs_folder / f"{name}.log")

        parents = ForkParents.open(stack, wanted=self._settings.warm, models=self._models)
        common |= parents.warm.environment
        inherited = (parent, console, *parents.warm.descriptors)
        api = SupervisedChild(
            "api",
            ["modelyard.workers", "api", "--application", self._application, "--fd", str(listener.fileno())],
            (*inherited, *parents.workers.descriptors, listener.fileno()),
            os.environ | common | parents.workers.environment,
            log("api"),
        )
        # Only later, because the API brings the database up to date and then no longer needs the processor.
        workers = [
            SupervisedChild(
                name,
                self._worker_arguments([name]),
                inherited,
                _environment_for([name]) | common,
                log(name),
                parents.asked_for([name]),
            )
            for name in self._queues
        ]
        self._supervise(api, _url_of(listener), workers, parents.children(parent, environment, log), wakeups)

    def _work(self, stack: contextlib.ExitStack, queues: Sequence[str]) -> None:
        if set(queues) - set(_queues_here(self._models)):
            require(Extra.TORCH)
        wakeups = stack.enter_context(_waking(self._on_signal))
        parent, environment = stack.enter_context(parent_pipe())
        parents = ForkParents.open(stack, wanted=self._settings.warm, models=self._models)
        common = {**environment, **parents.warm.environment, "MODELYARD_HOME": str(self._settings.home)}
        variables = _environment_for(queues) | common
        inherited = (parent, *parents.warm.descriptors)
        asked = parents.asked_for(queues)
        worker = SupervisedChild("worker", self._worker_arguments(queues), inherited, variables, None, asked)
        self._supervise(None, None, [worker], parents.children(parent, environment, lambda _name: None), wakeups)

    @contextlib.contextmanager
    def _alone_in_its_home(self) -> Iterator[locks.FileLock | None]:
        """Held by the one server of this home, unless both the database and the broker are servers of their own.

        Raises CannotStart.
        """
        if self._settings.is_shareable:
            yield None
            return
        try:
            lock = locks.take(self._settings.home / "serve.lock")
        except locks.Held as held:
            who = ", ".join(f"{name} {held.note[name]}" for name in ("pid", "port") if name in held.note)
            raise CannotStart(
                f"A server already runs on {self._settings.home}" + (f" ({who})." if who else "."),
                hint="Use that one, stop it, or set MODELYARD_HOME to another folder. Several servers can share a home"
                " with PostgreSQL and a message broker.",
            ) from None
        try:
            yield lock
        finally:
            lock.close()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1

    def _listen(self) -> socket.socket:
        """Return the listening socket.

        Raises CannotStart if the address cannot be used, or may not be without a key.
        """
        host, port = self._host, self._port
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except OSError as error:
            raise CannotStart(
                f"{host!r} is not an address of this machine.", hint="Set MODELYARD_HOST (or --host)."
            ) from error
        # `localhost` is often ::1 first, while people and programs say 127.0.0.1.
        family, *_, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
        if not ipaddress.ip_address(address[0]).is_loopback:
            self._require_key(host)
        try:
            return socket.create_server((str(address[0]), port), family=family, backlog=2048)
        except OSError as error:
            match error.errno:
                case errno.EADDRINUSE:
                    raise CannotStart(
                        f"Port {port} on {host} is already in use.",
                        hint="Set MODELYARD_PORT (or --port) to a free one.",
                    ) from error
                case errno.EACCES:
                    raise CannotStart(
                        f"Port {port} is reserved for the administrator.",
                        hint="Set MODELYARD_PORT (or --port) to 1024 or more.",
                    ) from error
                case _:
                    raise CannotStart(
                        f"Cannot listen on {host}: {error.strerror}.", hint="Set MODELYARD_HOST (or --host)."
                    ) from error

    def _require_key(self, host: str) -> None:
        """Raise CannotStart unless there is a key that cannot be guessed."""
        key = self._settings.api_key
        if key is None:
            raise CannotStart(
                f"Listening on {host} would open this server to other machines.",
                hint="Set MODELYARD_API_KEY to a long secret, or MODELYARD_HOST to 127.0.0.1.",
            )
        if len(key.get_secret_value()) < MIN_KEY_CHARACTERS:
            raise CannotStart(
                f"MODELYARD_API_KEY is shorter than {MIN_KEY_CHARACTERS} characters, too short for a server on {host}.",
                hint="`python3 -c 'import secrets; print(secrets.token_urlsafe(32))'` makes a good one.",
            )

    def _supervise(
        self,
        api: SupervisedChild | None,
        url: str | None,
        others: "list[SupervisedChild]",
        parents: "list[SupervisedChild]",
        wakeups: int,
    ) -> None:
        """Keep the children running until a signal or a failure; the others start once the API, if any, is healthy."""
        children = [*(others if api is None else [api]), *parents]
        healthy = api is None
        check_logs_at = 0.0
        try:
            while not self._signals and self._failure is None:
                for each in children:
                    if each.request is not None:
                        each.take_answer()
                    elif each.process is None:
                        if time.monotonic() >= each.start_at:
                            each.start()
                    elif (exit_code := each.process.poll()) is not None:
                        end_group(each.process, 0)
                        self._on_exit(each, exit_code, can_wait=healthy or each is not api)
                _reap_orphans({each.process.pid for each in children if each.process is not None})
                if not healthy and _answers(f"{url}/healthz"):
                    healthy = True
                    say(f"Modelyard is ready: {url}")
                    children = [*children, *others]
                    continue
                if self._failure is not None:
                    return
                if time.monotonic() >= check_logs_at:
                    _rotate_logs(children)
                    check_logs_at = time.monotonic() + child_log.CHECK_SECONDS
                wake_at = min([check_logs_at, *(each.due_at for each in children if each.process is None)])
                _sleep(wakeups, wake_at - time.monotonic() if healthy else 0.05, children)
        finally:
            self._stop(children, wakeups)

    def _worker_arguments(self, queues: Sequence[str]) -> list[str]:
        arguments = ["modelyard.workers", "worker", "--celery", self._celery]
        if any(queue in self._concurrency for queue in queues):
            arguments += ["--concurrency", str(sum(self._concurrency.get(queue, 1) for queue in queues))]
        return [*arguments, "--queues", ",".join(queues)]

    def _on_exit(self, child: SupervisedChild, exit_code: int, *, can_wait: bool) -> None:
        if exit_code == EXIT_CONFIGURATION:
            self._failure = child.last_log_line()
            return
        delay = child.failed()
        why = f" ({child.last_log_line()})" if exit_code > 0 and child.log is not None else ""
        log = "" if child.log is None else f" Its log: {child.log.path}"
        if not can_wait and child.failures >= _API_ATTEMPTS:
            self._failure = f"{child.name} {describe_exit(exit_code)}{why}.{log}"
            return
        say(f"{child.name} {describe_exit(exit_code)}{why}; it starts again in {delay:g} s.{log}", problem=True)

    def _stop(self, children: "list[SupervisedChild]", wakeups: int) -> None:
        for each in children:
            each.terminate()
        deadline = time.monotonic() + self._grace_seconds
        signals = min(self._signals, 1)  # that the first made it stop; another may have come before it got here
        processes = [each.process for each in children if each.process is not None]
        while any(process.poll() is None for process in processes):
            if time.monotonic() >= deadline or self._signals > signals:
                break
            _sleep(wakeups, deadline - time.monotonic(), children)
        for process in processes:
            end_group(process, 0)


def _queues_here(models: bool) -> Sequence[Queue]:
    """Return the queues whose jobs can be done here: without torch only the files of models are handled."""
    return QUEUES if models else (Queue.DOWNLOADS,)


def _rotate_logs(children: "list[SupervisedChild]") -> None:
    for each in children:
        if each.log is not None:
            with contextlib.suppress(OSError):  # a full disk, for example: again at the next look
                each.log.rotate()


def _environment_for(queues: Sequence[str]) -> dict[str, str]:
    """Return the variables of this process's environment that a worker of these queues gets, and what is added."""
    if Queue.DOWNLOADS in queues:
        return dict(os.environ)
    # Whatever a library would look for on a Hub; read when huggingface_hub is first imported.
    return {name: value for name, value in os.environ.items() if name not in _HUB_SECRETS} | {"HF_HUB_OFFLINE": "1"}


@contextlib.contextmanager
def _waking(on_signal: "signal._HANDLER") -> Iterator[int]:
    """Yield a descriptor that becomes readable with every signal that matters here, a child's death included."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    handlers = {signal.SIGINT: on_signal, signal.SIGTERM: on_signal, signal.SIGCHLD: lambda *_: None}
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        handlers[signal.SIGHUP] = on_signal
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    previous_descriptor = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(previous_descriptor)
        for number, handler in previous.items():
            signal.signal(number, handler)
        os.close(writing)
        os.close(reading)


def _reap_orphans(ours: Collection[int]) -> None:
    """Wait for what has ended and was not started here: in a container, processes whose parents died become ours."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid not in ours:
            os.waitpid(ended.si_pid, 0)


def _sleep(wakeups: int, seconds: float | None, children: Sequence[SupervisedChild]) -> None:
    """Until a signal, or news of a child that the system does not signal, or until so many seconds are over."""
    news = [each.news for each in children if each.news is not None]
    if wakeups in select.select([wakeups, *news], [], [], None if seconds is None else max(0.0, seconds))[0]:
        os.read(wakeups, 4096)


def _url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "::1" if listener.family == socket.AF_INET6 else "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


# An HTTP_PROXY in the environment is for the Hub, not for this machine.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _answers(url: str) -> bool:
    try:
        with _direct.open(url, timeout=0.5) as response:
            return bool(response.status == 200)
    except (OSError, http.client.HTTPException):  # URLError and timeouts are OSErrors
        return False
