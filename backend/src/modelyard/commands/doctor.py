"""`modelyard doctor`: checks of the installation, and what to do about each problem."""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import typer
from rich.text import Text

import modelyard
from modelyard.client.settings import load_settings
from modelyard.commands import _format
from modelyard.commands._connect import ClientCommand, connect
from modelyard.commands._options import SERVER_PANEL, JsonOption
from modelyard.commands._output import out, print_json
from modelyard.core.extras import Extra
from modelyard.core.printable import printable
from modelyard.core.queues import QUEUES, Queue

if TYPE_CHECKING:
    from modelyard.client.api_client import ApiClient
    from modelyard.core.database import Database
    from modelyard.schemas.system import Device, Disk, HubStatus, System

State = Literal["ok", "warning", "broken"]

HUB_SECONDS = 8.0
SYSTEM_SECONDS = 12.0
STARTING_SECONDS = 30.0
"""A missing worker is no error for so long after the server's start."""

MIN_FREE_BYTES = 1_000_000_000
LOW_FREE_BYTES = 20_000_000_000
_MARKS = {"ok": ("ok     ", "green"), "warning": ("warning", "yellow"), "broken": ("broken ", "bold red")}


@dataclass(frozen=True)
class Check:
    """One line of the list; `hint` says what to do if the state is not ok."""

    name: str
    state: State
    detail: str
    hint: str | None = None


def register(app: typer.Typer) -> None:
    app.command(cls=ClientCommand, rich_help_panel=SERVER_PANEL)(doctor)


def doctor(context: typer.Context, as_json: JsonOption = False) -> None:
    """Check the installation, server, Hub, devices and disks, and show what to do about problems.

    Exit code 1 if something is broken that stops downloads or loading.
    """
    checks: list[Check] = []
    for check in _checks(connect(context)):
        checks.append(check)
        if not as_json:
            _print(check)
    healthy = all(check.state != "broken" for check in checks)
    if as_json:
        print_json({"ok": healthy, "checks": [asdict(check) for check in checks]})
    if not healthy:
        raise typer.Exit(1)


def _print(check: Check) -> None:
    mark, style = _MARKS[check.state]
    console = out()
    console.print(Text.assemble((mark, style), f"  {check.name:<13} {printable(check.detail)}"), soft_wrap=True)
    if check.hint:
        console.print(f"{'':22} {printable(check.hint)}", soft_wrap=True)


def _checks(client: "ApiClient") -> Iterator[Check]:
    from pydantic import ValidationError

    from modelyard.client.api_client import ApiError, ServerUnreachable
    from modelyard.ml.untrusted import landlock
    from modelyard.schemas.system import System

    try:
        answer = client.get("/system", timeout_seconds=SYSTEM_SECONDS)
        system, served = System.model_validate(answer), True
        yield _server(client, system)
    except ValidationError:
        system, served = _local_system(), False
        detail = f"{client.url} is another version, whose answers {modelyard.__version__} does not understand"
        yield Check("server", "warning", detail, "Use the same version on both sides.")
    except ServerUnreachable as error:
        system, served = _local_system(), False
        yield Check("server", "warning", error.message, error.hint)
    except ApiError as error:
        system, served = _local_system(), False
        yield Check("server", "broken", f"{client.url}: {error.message}", error.hint)
    yield from _libraries(system)
    yield from _devices(system.devices)
    for disk in system.disks:
        yield _disk(disk, here=client.is_local or not served)
    yield _hub(system.hub)
    if served:
        yield _workers(system)
    if client.is_local or not served:
        yield from _network()
        yield _database()
        yield _broker()
        yield _landlock(landlock.version())


def _server(client: "ApiClient", system: "System") -> Check:
    readiness = client.is_ready()
    if not readiness.get("ready"):
        return Check("server", "broken", str(readiness.get("reason")), "See the API's log in MODELYARD_HOME/logs.")
    if system.version != modelyard.__version__:
        return Check(
            "server",
            "warning",
            f"{client.url} runs version {system.version}, this command is {modelyard.__version__}",
            "Use the same version on both sides.",
        )
    return Check("server", "ok", f"{client.url}, version {system.version}")


def _local_system() -> "System":
    from modelyard.client.offline import database
    from modelyard.services import system_service

    with database() as found, found.reading() as session:
        return system_service.system(session, lambda: _local_hub(found))


def _local_hub(found: "Database") -> "HubStatus":
    """Return what `system_service.hub_status` does, with an end to waiting for a name server."""
    from modelyard.client.offline import within
    from modelyard.core.errors import HubError
    from modelyard.schemas.system import HubStatus
    from modelyard.services.settings_service import SettingsService
    from modelyard.services.system_service import HUB_CHECK_SECONDS

    with found.reading() as session:
        settings = SettingsService(session)
        client, source = settings.hub_client(), settings.endpoint_source()
    status = HubStatus(
        endpoint=client.endpoint,
        endpoint_source=source,
        reachable=True,
        reason=None,
        user=None,
        token="unknown",  # noqa: S106 - the token's state
    )
    try:
        within(HUB_SECONDS, lambda: client.check(HUB_CHECK_SECONDS))
        token, user = within(HUB_SECONDS, client.user)
    except HubError as error:
        return status.model_copy(update={"reachable": False, "reason": error.message})
    except TimeoutError as error:
        return status.model_copy(update={"reachable": False, "reason": f"{client.endpoint} gave {error}."})
    return status.model_copy(update={"token": token, "user": user})


def _libraries(system: "System") -> Iterator[Check]:
    versions = system.libraries
    yield Check("python", "ok", f"{versions['python']}")
    for name in ("torch", "transformers", "bitsandbytes"):
        if version := versions.get(name):
            yield Check(name, "ok", version)
    for each in system.missing:
        if each.extra == Extra.TORCH:
            hint = f"{each.needed_for} Run: {each.install} and restart Modelyard."
            yield Check(each.extra, "warning", f"modelyard[{each.extra}] is not installed", hint)
    if any(device.id != "cpu" for device in system.devices) and "+cpu" in (versions.get("torch") or ""):
        yield Check(
            "torch",
            "warning",
            "a build for the CPU only, although there is a GPU",
            "Install a build with CUDA: in a checkout, remove .venv and run `make setup` without TORCH_INDEX.",
        )


def _devices(devices: "list[Device]") -> Iterator[Check]:
    for device in devices:
        name = "memory" if device.id == "cpu" else device.id
        label = "" if device.id == "cpu" else f"{device.name}: "
        yield Check(name, "ok", f"{label}{_format.size(device.free_bytes)} free of {_format.size(device.total_bytes)}")
    if all(device.id == "cpu" for device in devices):
        yield Check("gpu", "ok", "none (no NVIDIA driver answers): models run on the CPU")


def _disk(disk: "Disk", *, here: bool) -> Check:
    detail = f"{_format.size(disk.free_bytes)} free of {_format.size(disk.total_bytes)} at {disk.path} ({disk.purpose})"
    hint = "Free space, or set HF_HUB_CACHE (models) and MODELYARD_HOME (the rest) to a larger disk."
    if here and not os.access(_nearest_existing(Path(disk.path)), os.W_OK):
        return Check("disk", "broken", f"{disk.path} cannot be written", "Set HF_HUB_CACHE and MODELYARD_HOME.")
    if disk.free_bytes < MIN_FREE_BYTES:
        return Check("disk", "broken", detail, hint)
    if disk.free_bytes < LOW_FREE_BYTES:
        return Check("disk", "warning", detail, hint)
    return Check("disk", "ok", detail)


def _nearest_existing(path: Path) -> Path:
    return path if path.exists() else _nearest_existing(path.parent)


def _hub(hub: "HubStatus") -> Check:
    where = f"{hub.endpoint} ({_format.ENDPOINT_SOURCES[hub.endpoint_source]})"
    if not hub.reachable:
        builtin = hub.endpoint_source == "builtin"
        return Check(
            "hub",
            "broken",
            hub.reason or f"{where} cannot be reached",
            "It is part of the server: start that with `modelyard serve`."
            if builtin
            else "Wait if the Hub itself has a problem, otherwise check the network or proxy (HTTPS_PROXY); choose a"
            " mirror with `modelyard hub URL`, or try the sample models with `modelyard hub builtin`.",
        )
    if hub.token == "invalid":  # noqa: S105 - the token's state
        return Check(
            "hub", "warning", f"{where} answers, but refuses the stored token", "Store a valid one in Settings."
        )
    if hub.endpoint_source == "builtin":
        return Check("hub", "ok", f"{where} answers")
    token = {"none": "no token for it: gated models cannot be downloaded", "valid": f"token of {hub.user}"}.get(
        hub.token
    )
    return Check("hub", "ok", f"{where} answers" + (f"; {token}" if token else ""))


def _network() -> Iterator[Check]:
    """Yield the variables of this command's environment, which `modelyard serve` would get from the same shell."""
    from modelyard.hub.network_check import network_problems

    for problem in network_problems():
        yield Check("network", "broken", problem.message, problem.hint)


def _workers(system: "System") -> Check:
    alive = [worker for worker in system.workers if worker.alive]
    served = {queue for worker in alive for queue in worker.queues}
    wanted = QUEUES if system.extras.torch else (Queue.DOWNLOADS,)
    idle = [queue for queue in wanted if queue not in served]
    if not idle:
        queues = "every queue has one" if system.extras.torch else "for downloads"
        return Check("workers", "ok", f"{len(alive)} alive, {queues}")
    if system.uptime_seconds is not None and system.uptime_seconds < STARTING_SECONDS:
        detail = f"starting; not running yet for: {', '.join(idle)}"
        return Check("workers", "warning", detail, "They take a few seconds: run the command again.")
    return Check(
        "workers",
        "broken",
        f"no worker is alive for: {', '.join(idle)}",
        f"`modelyard worker --queues {','.join(idle)}` starts one; `modelyard serve` starts them all, and shows why"
        " one ends.",
    )


def _database() -> Check:
    from modelyard.client import offline
    from modelyard.core.errors import ModelyardError
    from modelyard.core.sqlite_file import check_database_file

    file = load_settings().database_file
    try:
        if file is not None:
            check_database_file(file)
        if not offline.database_exists():
            return Check("database", "ok", f"{offline.database_name()}: the first `modelyard serve` creates it")
        offline.open_database().dispose()
    except ModelyardError as error:
        return Check("database", "broken", error.message, error.hint)
    return Check("database", "ok", offline.database_name())


def _broker() -> Check:
    from kombu import Connection
    from kombu.exceptions import KombuError

    from modelyard.client.offline import ANSWER_SECONDS, within
    from modelyard.core.broker import broker_options
    from modelyard.core.errors import InvalidRequest

    settings = load_settings()
    try:
        url, options = broker_options(settings)
    except InvalidRequest as error:
        return Check("broker", "broken", error.message, error.hint)
    if settings.broker_url is None:
        return Check("broker", "ok", f"embedded, in {settings.broker_folder}")
    parts = urlsplit(url)
    name = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")

    def ask() -> None:
        with Connection(url, connect_timeout=ANSWER_SECONDS, transport_options=options) as connection:
            connection.ensure_connection(max_retries=1)

    try:
        within(2 * ANSWER_SECONDS, ask)
    except (KombuError, OSError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        return Check(
            "broker", "broken", f"{name} does not answer: {reason}", "Start it, or check MODELYARD_BROKER_URL."
        )
    return Check("broker", "ok", f"{name} answers")


def _landlock(version: int) -> Check:
    """Check whether the kernel of this machine confines the processes that read tokenizers of repositories."""
    if version == 0:
        return Check(
            "landlock",
            "warning",
            "not available: a repository's tokenizer is checked, but its process can read what the server's user can",
            "Linux 5.13 or later has it, unless a container's seccomp profile or the boot parameter lsm= turns it off.",
        )
    network = "can open no TCP connection" if version >= 4 else "can open TCP connections (before Linux 6.7)"
    return Check(
        "landlock", "ok", f"ABI {version}: a tokenizer's process reads only its repository and libraries, and {network}"
    )
