"""Commands and servers in surroundings that lack something, or name what cannot be used."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.client.api_client import ApiClient, ServerUnreachable
from modelyard.core.keys import clean_key
from support.instance import free_port

from .conftest import COMMAND, SAMPLE, Commands, Server, clean_environment, wait_for

PROXY = "socks5h://ada:secret-word@127.0.0.1:1080"


@pytest.fixture(scope="module")
def misled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a proxy of the wrong kind, certificates that are gone, variables without values, no console."""
    folder = tmp_path_factory.mktemp("misled")
    variables = {
        "ALL_PROXY": PROXY,
        "SSL_CERT_FILE": str(folder / "gone.pem"),
        "HF_ENDPOINT": "",
        "HF_TOKEN": "",
        "HF_HUB_CACHE": "",
        "HF_HUB_DOWNLOAD_TIMEOUT": "",
        "HF_HUB_DISABLE_SYMLINKS": "1",
    }
    server = Server(folder, variables=variables)
    yield server
    server.stop()


def test_the_start_names_what_cannot_be_used(misled: Server) -> None:
    assert (
        "ALL_PROXY is 'socks5h://***@127.0.0.1:1080': proxies of the kind 'socks5h' are not supported" in misled.output
    )
    assert "SSL_CERT_FILE is " in misled.output
    assert "no such file" in misled.output
    assert "secret-word" not in misled.output
    assert "Traceback" not in misled.output


def test_calls_that_need_the_network_name_it_and_others_work(misled: Server) -> None:
    modelyard, client = misled.modelyard, misled.client
    assert client.get("/settings")["endpoint_source"] == "default"
    status = client.get("/system")["hub"]
    assert status["endpoint"] == "https://huggingface.co"
    assert status["reachable"] is False
    assert str(status["reason"]).startswith("ALL_PROXY is ")
    for arguments in (("info", "gpt2"), ("estimate", "gpt2"), ("search", "gpt2"), ("pull", "gpt2")):
        refused = modelyard(*arguments, "--json")
        assert refused.returncode == 1
        error = json.loads(refused.stderr)
        assert error["code"] == "hub_unreachable"
        assert error["message"].startswith("ALL_PROXY is ")
        assert "ALL_PROXY" in error["hint"]
    checked = modelyard("doctor")
    assert checked.returncode == 1
    assert re.search(r"broken +network +ALL_PROXY is ", checked.stdout)
    assert re.search(r"broken +network +SSL_CERT_FILE is ", checked.stdout)
    assert re.search(r"broken +hub +ALL_PROXY is ", checked.stdout)
    assert "secret-word" not in checked.stdout
    assert "Traceback" not in checked.stderr

    assert modelyard("hub", "builtin").returncode == 0
    pulled = modelyard("pull", SAMPLE)
    assert pulled.returncode == 0, pulled.stderr
    shown = modelyard("show", SAMPLE.rpartition("/")[2], "--json")
    assert shown.returncode == 0
    cache = misled.folder / "hf" / "hub"
    files = [path for path in cache.glob("models--*/*/**/*") if path.is_file() and path.parent.name != "refs"]
    assert not [path for path in files if path.is_symlink()]
    assert json.loads(shown.stdout)["disk_bytes"] == sum(path.stat().st_size for path in files)
    assert modelyard("hub", "default").returncode == 0


def test_a_distant_server_is_asked_through_what_the_environment_names(alone: Commands) -> None:
    server = "http://modelyard.example.org"
    refused = alone("ls", "--json", MODELYARD_SERVER=server, ALL_PROXY=PROXY)
    error = json.loads(refused.stderr)
    assert error["code"] == "server_unreachable"
    assert error["message"].startswith("ALL_PROXY is ")
    refused = alone("ls", "--json", MODELYARD_SERVER="https://modelyard.example.org", SSL_CERT_FILE="/gone.pem")
    assert json.loads(refused.stderr)["message"].startswith("SSL_CERT_FILE is ")
    # This machine needs neither.
    refused = alone("ls", "--json", MODELYARD_SERVER="http://127.0.0.1:9", ALL_PROXY=PROXY, SSL_CERT_FILE="/gone.pem")
    assert json.loads(refused.stderr)["message"] == "No Modelyard server answers at http://127.0.0.1:9."


def test_a_key_that_no_header_can_carry_is_refused(alone: Commands) -> None:
    key = "schlüssel-mit-umlaut"
    for refused in (
        alone("serve", "--port", "0", MODELYARD_API_KEY=key),
        alone("ls", MODELYARD_API_KEY=key),
        alone("ls", "--api-key", key),
    ):
        assert refused.returncode == 1
        assert re.search("(MODELYARD_API_KEY|--api-key) cannot be used: a key is sent in a header", refused.stderr)
        assert key not in refused.stdout + refused.stderr


@pytest.mark.parametrize(
    "key", ["umläut", "two\nlines", "tab\tin-it", "del\x7f", "nul\0", "\N{NO-BREAK SPACE}a\u2028b"]
)
def test_what_a_header_carries(key: str) -> None:
    with pytest.raises(ValueError, match="ASCII"):
        clean_key(key)
    assert clean_key(" correct horse \r\n") == "correct horse"


def test_secrets_are_not_shown(alone: Commands) -> None:
    for variable in ("MODELYARD_DATABASE_URL", "MODELYARD_BROKER_URL"):
        refused = alone("serve", "--port", "0", **{variable: "nonsense://ada:secret-word@nowhere\n"})
        assert refused.returncode == 1
        assert "secret-word" not in refused.stdout + refused.stderr


def without_home(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """A command of a user without HOME, whom the system does not know either."""
    program = (
        "import pwd\n"
        "def unknown(_): raise KeyError('uid not found')\n"
        "pwd.getpwuid = unknown\n"
        "from modelyard.cli import app; app(prog_name='modelyard')"
    )
    environment = clean_environment(**variables)
    environment = {name: value for name, value in environment.items() if name not in ("HOME", "XDG_CACHE_HOME")}
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], env=environment, capture_output=True, text=True, timeout=120
    )


def test_without_a_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hf, home = str(tmp_path / "hf"), str(tmp_path / "home")
    for variables in ({}, {"MODELYARD_HOME": home}, {"HOME": ""}):
        refused = without_home("serve", "--port", "0", **variables)
        assert refused.returncode == 1
        assert "HOME is not set" in refused.stderr
        assert "HF_HOME" in refused.stderr
    refused = without_home("serve", "--port", "0", HF_HOME=hf)
    assert refused.returncode == 1
    assert "MODELYARD_HOME" in refused.stderr
    assert list(tmp_path.iterdir()) == []
    unreachable = without_home("doctor", HF_HOME=hf, MODELYARD_HOME=home, HF_HUB_OFFLINE="1")
    assert "Traceback" not in unreachable.stderr
    assert "database" in unreachable.stdout


def test_a_home_that_only_the_system_knows(alone: Commands) -> None:
    environment = {name: value for name, value in alone.environment.items() if name not in ("HOME", "MODELYARD_HOME")}
    said = subprocess.run(
        [sys.executable, "-c", "from modelyard.core.settings import Settings; print(Settings().home)"],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert Path(said.stdout.strip()).is_absolute()
    assert "~" not in said.stdout


def test_variables_without_values_are_unset() -> None:
    environment = clean_environment(HF_ENDPOINT="", HF_HOME="  ", HF_HUB_CACHE="", HF_TOKEN="", XDG_CACHE_HOME="")
    program = (
        "import modelyard; from huggingface_hub import constants as c; print(c.ENDPOINT, c.HF_HOME, c.HF_HUB_CACHE)"
    )
    said = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    endpoint, home, cache = said.stdout.split()
    assert endpoint == "https://huggingface.co"
    assert Path(home) == Path.home() / ".cache" / "huggingface"
    assert Path(cache) == Path(home) / "hub"


def closed(*streams: str) -> list[str]:
    """A command after which a shell closes the streams and becomes what follows."""
    return ["/bin/sh", "-c", f'exec "$@" {" ".join(streams)}', "sh"]


@pytest.mark.parametrize("streams", [(">&-",), (">&-", "2>&-"), ("<&-", ">&-", "2>&-")])
def test_commands_with_closed_streams(server: Server, streams: tuple[str, ...]) -> None:
    for command, code in ((["ls"], 0), (["ls", "--json"], 0), (["doctor"], 0), (["show", "nothing"], 1)):
        done = subprocess.run(
            [*closed(*streams), *COMMAND, *command],
            env=server.modelyard.environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [["ls"], ["ls", "--json"], ["--help"], ["info", SAMPLE]])
def test_a_reader_that_has_seen_enough(server: Server, command: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*COMMAND, *command], env=server.modelyard.environment, stdout=writing, stderr=subprocess.PIPE, text=True,
            timeout=120,
        )  # fmt: skip
    finally:
        os.close(writing)
    assert not any(words in done.stderr for words in ("Traceback", "Exception", "Broken pipe"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", [["--help"], ["--version"], ["ls", "--help"], ["doctor"], ["doctor", "--json"]])
def test_output_that_cannot_be_written(alone: Commands, command: list[str], unbuffered: str) -> None:
    environment = alone.environment | {"PYTHONUNBUFFERED": unbuffered, "HF_HUB_OFFLINE": "1"}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, *command], env=environment, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120
        )
    assert (done.returncode, done.stderr) == (1, "Error: The output cannot be written: No space left on device.\n")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "ls", "--json"], env=environment, stdout=subprocess.PIPE, stderr=full, text=True, timeout=120
        )
    assert (done.returncode, done.stdout.strip()) == (1, "")


def test_a_server_with_closed_streams(tmp_path: Path) -> None:
    """What it opens first would otherwise take the place of its console."""
    environment = clean_environment(MODELYARD_HOME=str(tmp_path / "home"), HF_HOME=str(tmp_path / "hf"))
    program = (
        "import os, sys\n"
        "from modelyard.core.environment import open_closed_streams\n"
        "open_closed_streams()\n"
        "assert [os.path.samefile(f'/dev/fd/{number}', os.devnull) for number in range(3)] == [True] * 3\n"
        "assert all(os.get_inheritable(number) for number in range(3))\n"
        "print('nobody reads this'); print('nor this', file=sys.stderr); sys.exit(len(sys.stdin.read()) + 7)\n"
    )
    command = [*closed("<&-", ">&-", "2>&-"), sys.executable, "-c", program]
    assert subprocess.run(command, env=environment, timeout=60).returncode == 7
    port = free_port()
    process = subprocess.Popen(
        [*closed("<&-", ">&-", "2>&-"), *COMMAND, "serve", "--no-workers", "--port", str(port)],
        env=environment,
        start_new_session=True,
    )
    try:
        client = ApiClient(f"http://127.0.0.1:{port}")
        wait_for(lambda: process.poll() is not None or _is_ready(client))
        assert process.poll() is None
        assert client.models()["items"] == []
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(30)
    assert code == 0


def _is_ready(client: ApiClient) -> bool:
    try:
        return client.is_ready()["ready"] is True
    except ServerUnreachable:
        return False
