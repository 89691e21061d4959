"""What holds for every test: an environment of its own, and no network beyond this machine.

The variables are set when this file is read, because huggingface_hub and Modelyard read them when they are imported.
"""

import atexit
import errno
import gc
import ipaddress
import os
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

_FOLDER = Path(tempfile.mkdtemp(prefix="modelyard-tests-"))
os.environ.setdefault("TESTS_FOLDER", str(_FOLDER))  # that of the process which starts all others of this run
_LONGEST = ("e2e", "cli", "ml")
_PROXIES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}


# Other work may take the processor for seconds in the middle of an example.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def _isolate_environment() -> None:
    assert not {"modelyard", "huggingface_hub"} & set(sys.modules), "imported before the environment was isolated"
    for name in list(os.environ):
        if name.startswith(("MODELYARD_", "HF_", "HUGGING_FACE_", "TRANSFORMERS_")) or name.lower() in _PROXIES:
            del os.environ[name]
    os.environ |= {
        "HF_HOME": str(_FOLDER / "hf"),
        "HF_HUB_CACHE": str(_FOLDER / "hf" / "hub"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "MODELYARD_HOME": str(_FOLDER / "home"),
    }


def _hear_ctrl_c() -> None:
    """A shell starts what it puts in the background with SIGINT ignored, and so would everything started from here."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_local(host: object) -> bool:
    if not host or host in ("localhost", socket.gethostname()):
        return True
    try:
        return ipaddress.ip_address(str(host).partition("%")[0]).is_loopback
    except ValueError:
        return False


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        if isinstance(address, tuple) and not _is_local(address[0]):
            raise OSError(errno.ENETUNREACH, f"Network is unreachable: tests stay on this machine, not {address[0]}")
    elif event == "socket.getaddrinfo":
        host = arguments[0].decode() if isinstance(arguments[0], bytes) else arguments[0]
        if not _is_local(host) and not _is_number(host):
            raise socket.gaierror(socket.EAI_NONAME, f"Name or service not known: tests ask no DNS for {host}")


_isolate_environment()
_hear_ctrl_c()
sys.addaudithook(_refuse_network)
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)

pytest_plugins = ["support.databases"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take minutes go first, so that no worker is left alone with one at the end."""
    from support.tools import skip_without_training_extra

    skip_without_training_extra(items)
    folders = Path(__file__).parent

    def rank(item: pytest.Item) -> int:
        folder = item.path.relative_to(folders).parts[0]
        return _LONGEST.index(folder) if folder in _LONGEST else len(_LONGEST)

    items.sort(key=rank)


def pytest_collection_finish() -> None:
    """Keep garbage collections from looking through thousands of tests and libraries: an unload makes several."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from support.distribution import ByFileOrModelType

    return ByFileOrModelType(config, log)
