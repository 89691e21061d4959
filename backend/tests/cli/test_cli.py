import http.client
import http.server
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from modelyard.commands import _format
from modelyard.commands._find_model import Ambiguous, find_row
from modelyard.core.errors import ModelNotFound
from modelyard.core.printable import printable, printable_json
from modelyard.ml.untrusted import landlock
from support import programs

from .conftest import COMMAND, LARGER_SAMPLE, SAMPLE, Commands, Server, clean_environment, wait_for

CLOSED = "http://127.0.0.1:9"


def test_a_model_is_found_pulled_shown_and_deleted(server: Server) -> None:
    modelyard = server.modelyard

    found = modelyard("search", "gpt2", "--json")
    assert [item["model_id"] for item in json.loads(found.stdout)["items"]] == [SAMPLE]
    assert modelyard("ls").stderr.startswith("No models yet.")

    pulled = modelyard("pull", SAMPLE)
    assert pulled.returncode == 0, pulled.stderr
    assert pulled.stdout.startswith(f"{SAMPLE} is ready: 8.19 MB in ")

    listed = json.loads(modelyard("ls", "--json").stdout)
    assert listed["total"] == 1
    row = listed["items"][0]
    assert (row["model_id"], row["status"], row["architecture"]) == (SAMPLE, "ready", "GPT2LMHeadModel")
    assert SAMPLE in modelyard("ls", "--status", "ready").stdout
    assert modelyard("ls", "no such thing").stdout == ""
    assert "sample, installed" in modelyard("search", "gpt2").stdout
    assert modelyard("search", "--max-parameters", "2M", "--fits", "--licence", "apache-2.0").stdout.count(SAMPLE) == 1
    assert modelyard("search", "tiny", "--architecture", "gpt2", "--min-parameters", "0.1B").stdout == ""
    # Installed models come first.
    paged = modelyard("search", "tiny", "--limit", "2")
    assert SAMPLE in paged.stdout
    assert paged.stderr == "There are more: the same command with --cursor 2\n"
    further = modelyard("search", "tiny", "--limit", "2", "--cursor", "2")
    assert LARGER_SAMPLE in paged.stdout + further.stdout
    assert further.stderr == ""
    assert "500M or 7B" in modelyard("search", "--min-parameters", "many").stderr

    for name in (SAMPLE, row["id"], row["id"][:6]):
        assert json.loads(modelyard("show", name, "--json").stdout)["id"] == row["id"]
    shown = modelyard("show", SAMPLE).stdout
    assert "GPT2LMHeadModel" in shown
    newest, oldest = shown.splitlines()[-2:]
    assert "downloaded" in newest
    assert "8.19 MB" in newest
    assert "download started" in oldest

    labelled = modelyard("label", SAMPLE, "--tag", "small", "--tag", "a b", "--note", "Mine.", "--favourite")
    assert labelled.stdout.split() == ["model", SAMPLE, "tags", "a", "b,", "small", "note", "Mine.", "favourite", "yes"]
    assert SAMPLE in modelyard("ls", "--tag", "small", "--favourite").stdout
    assert modelyard("ls", "--tag", "other").stderr.startswith("No installed model matches.")
    changed = modelyard("label", SAMPLE, "--untag", "a b", "--note", "", "--no-favourite", "--json")
    labels = {"model_id": SAMPLE, "tags": ["small"], "note": "", "favourite": False}
    assert json.loads(changed.stdout) == json.loads(modelyard("label", SAMPLE, "--json").stdout) == labels

    again = modelyard("pull", SAMPLE)
    assert (again.returncode, again.stdout) == (0, f"{SAMPLE} is already installed: 8.19 MB.\n")

    dry = modelyard("rm", SAMPLE, "--dry-run", "--json")
    assert json.loads(dry.stdout)["freed_bytes"] == row["disk_bytes"]
    refused = modelyard("rm", SAMPLE, stdin="n\n")
    assert refused.returncode == 1
    assert "frees 8.19 MB" in refused.stderr
    assert "Nothing was deleted." in refused.stderr
    assert modelyard("rm", SAMPLE, stdin="").returncode == 1
    removed = modelyard("rm", SAMPLE, "--yes")
    assert removed.returncode == 0
    assert "and freed 8.19 MB." in removed.stdout
    assert not Path(row["snapshot_path"]).exists()
    assert json.loads(modelyard("ls", "--json").stdout)["items"] == []


def test_info_and_estimate_tell_of_a_model_before_it_is_here(server: Server) -> None:
    info = server.modelyard("info", SAMPLE)
    assert "GPT2LMHeadModel" in info.stdout
    assert "model.safetensors" in info.stdout
    estimate = server.modelyard("estimate", SAMPLE, "--context", "512", "--json")
    answer = json.loads(estimate.stdout)
    assert answer["context"] == 512
    assert [option["quantization"] for option in answer["options"]] == ["none", "8bit", "4bit"]
    assert "fits" in server.modelyard("estimate", SAMPLE).stdout


def test_the_connection_may_be_named_before_or_after_the_command(server: Server) -> None:
    nowhere = {"MODELYARD_SERVER": CLOSED}
    assert server.modelyard("ls", "--json", "--server", server.url, **nowhere).returncode == 0
    assert server.modelyard("--server", server.url, "ls", "--json", **nowhere).returncode == 0
    without_scheme = server.url.removeprefix("http://")
    assert server.modelyard("--server", CLOSED, "ls", "--server", without_scheme, **nowhere).returncode == 0
    host, port = without_scheme.split(":")
    assert server.modelyard("ls", MODELYARD_SERVER="", MODELYARD_HOST=host, MODELYARD_PORT=port).returncode == 0


def test_ctrl_c_leaves_the_download_running_and_pull_follows_it_again(server: Server) -> None:
    server.slow_down()
    pull = server.modelyard.start("pull", LARGER_SAMPLE)
    wait_for(lambda: server.row(LARGER_SAMPLE)["status"] == "downloading" if server.client.models()["total"] else False)
    time.sleep(1)
    pull.send_signal(signal.SIGINT)
    said, _ = pull.communicate(timeout=30)
    row = server.row(LARGER_SAMPLE)
    assert pull.returncode == 130
    assert f"The download of {LARGER_SAMPLE} continues at {server.url}." in said
    assert f"modelyard cancel {str(row['id'])[:8]}" in said
    assert row["status"] == "downloading"
    assert LARGER_SAMPLE in server.modelyard("ps").stdout

    server.client.put("/settings", {"bandwidth_limit_bytes_per_second": None})
    again = server.modelyard("pull", LARGER_SAMPLE, "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["id"] == row["id"]
    assert json.loads(again.stdout)["status"] == "ready"


def test_pull_fails_when_the_download_is_paused_or_cancelled_and_goes_on_when_asked_again(server: Server) -> None:
    server.slow_down()
    modelyard = server.modelyard
    pull = modelyard.start("pull", LARGER_SAMPLE)
    wait_for(lambda: "downloading" in modelyard("ps").stdout)
    paused = modelyard("pause", LARGER_SAMPLE)
    assert paused.returncode == 0
    said, _ = pull.communicate(timeout=30)
    assert pull.returncode == 1
    assert f"Error: {LARGER_SAMPLE} was paused." in said
    assert "modelyard resume" in said
    assert "paused" in modelyard("ps").stdout

    pull = modelyard.start("pull", LARGER_SAMPLE)
    wait_for(lambda: server.row(LARGER_SAMPLE)["status"] == "downloading")
    assert modelyard("cancel", LARGER_SAMPLE).returncode == 0
    said, _ = pull.communicate(timeout=30)
    assert pull.returncode == 1
    assert f"{LARGER_SAMPLE} was paused; resuming it." in said
    assert f"Error: {LARGER_SAMPLE} is cancelled." in said

    refused = modelyard("pause", LARGER_SAMPLE)
    assert refused.returncode == 1
    assert "cancelled" in refused.stderr


def test_pull_rides_through_a_restart_of_the_api(server: Server) -> None:
    server.slow_down()
    pull = server.modelyard.start("pull", SAMPLE)
    wait_for(lambda: server.client.models()["total"])
    api = next(child for child in psutil.Process(server.process.pid).children() if "api" in child.cmdline())
    api.kill()
    said, _ = pull.communicate(timeout=90)
    assert pull.returncode == 0, said
    assert server.row(SAMPLE)["status"] == "ready"


class _NoSockets(http.server.BaseHTTPRequestHandler):
    """A proxy that knows nothing of WebSockets, as some in front of a server do not."""

    protocol_version = "HTTP/1.1"
    target = ""

    def _forward(self) -> None:
        if self.headers.get("Upgrade"):
            self.send_error(501)
            return
        connection = http.client.HTTPConnection(urlsplit(self.target).netloc)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {"Content-Type": self.headers.get("Content-Type") or "application/json"}
        connection.request(self.command, self.path, body or None, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers["Content-Type"])
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _forward

    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def http_server(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listener.server_port}"
        listener.shutdown()


def test_pull_asks_for_progress_where_sockets_cannot_be_had(server: Server) -> None:
    handler = type("Handler", (_NoSockets,), {"target": server.url})
    with http_server(handler) as address:
        pulled = server.modelyard("pull", SAMPLE, "--server", address)
    assert pulled.returncode == 0, pulled.stderr
    assert "is ready" in pulled.stdout


def test_a_hub_that_cannot_be_reached_is_named_with_a_way_out(server: Server) -> None:
    chosen = server.modelyard("hub", CLOSED)
    assert chosen.returncode == 0
    assert "cannot be reached" in chosen.stdout
    for command in (("search", "x"), ("pull", "a/b"), ("info", "a/b")):
        answer = server.modelyard(*command)
        assert answer.returncode == 1
        assert answer.stdout == ""
        assert CLOSED in answer.stderr
        assert "modelyard hub builtin" in answer.stderr
    as_json = server.modelyard("info", "a/b", "--json")
    assert json.loads(as_json.stderr)["code"] == "hub_unreachable"
    unwell = server.modelyard("doctor", "--json")
    assert unwell.returncode == 1
    assert [check["name"] for check in json.loads(unwell.stdout)["checks"] if check["state"] == "broken"] == ["hub"]

    assert json.loads(server.modelyard("hub", "builtin", "--json").stdout) == {
        "endpoint": f"{server.url}/hub",
        "endpoint_source": "builtin",
        "reachable": True,
        "reason": None,
        "user": None,
        "token": "none",
        "token_note": None,
    }
    assert server.modelyard("hub", "not an address").returncode == 1
    assert "https://huggingface.co" in server.modelyard("hub", "default").stdout


def test_doctor_finds_a_whole_server_well(server: Server) -> None:
    wait_for(lambda: sum(worker["alive"] for worker in server.client.get("/system")["workers"]) == 3)
    answer = server.modelyard("doctor")
    assert answer.returncode == 0, answer.stdout
    for word in ("server", "torch", "bitsandbytes", "memory", "disk", "hub", "workers", "database", "broker"):
        assert word in answer.stdout
    found = landlock.version()
    assert (f"landlock      ABI {found}:" if found else "landlock      not available") in answer.stdout


def test_an_error_is_told_in_two_lines_and_what_the_server_refuses_has_a_link(server: Server) -> None:
    for command in (("pull", "no/such-model"), ("show", "nothing"), ("rm", "nothing"), ("pause", "nothing")):
        answer = server.modelyard(*command)
        assert answer.returncode == 1
        lines = answer.stderr.splitlines()
        if command[0] == "pull":
            link = f"{server.url}/docs/errors#hub_model_not_found"
            assert lines.pop() == f"More: {link}"
            assert 'id="hub_model_not_found"' in httpx.get(link).text
        assert lines[-2].startswith("Error: There is no model")
        assert lines[-1].startswith("Hint: ")


def test_the_sample_hub_says_what_it_has(server: Server) -> None:
    answer = server.modelyard("pull", "no/such-model", "--json")
    error = json.loads(answer.stderr)
    assert (error["code"], "modelyard hub default" in error["hint"]) == ("hub_model_not_found", True)
    assert SAMPLE in error["hint"]


def test_wrong_usage_exits_2(alone: Commands) -> None:
    for arguments in (
        (),
        ("no-such-command",),
        ("pull",),
        ("pull", ""),
        ("pull", "x", "--quantization", "3bit"),
        ("pull", "x", "--drop-original"),
        ("ls", "--server", "ftp://somewhere"),
        ("ls", "--server", "http://["),
        ("ls", "--server", "http://localhost:99999999"),
        ("ls", "--status", "asleep"),
        ("worker", "--queues", "somewhere"),
        ("serve", "--port", "70000"),
    ):
        assert alone(*arguments).returncode == 2, arguments
    assert alone("ls", MODELYARD_SERVER="ftp://somewhere").returncode == 2


def test_without_a_server_a_command_says_how_to_start_one(alone: Commands) -> None:
    for command in ("ls", "ps", "search", "hub"):
        answer = alone(command)
        assert answer.returncode == 1
        assert answer.stdout == ""
        assert answer.stderr == (
            "Error: No Modelyard server answers at http://127.0.0.1:1.\n"
            "Hint: Start one with `modelyard serve`, or name another with --server or MODELYARD_SERVER.\n"
        )
    assert json.loads(alone("show", "x", "--json").stderr)["code"] == "server_unreachable"


def test_info_estimate_and_doctor_need_no_server_and_leave_no_trace(
    alone: Commands, server: Server, tmp_path: Path
) -> None:
    endpoint = f"{server.url}/hub"
    info = alone("info", SAMPLE, "--json", HF_ENDPOINT=endpoint)
    assert json.loads(info.stdout)["architecture"] == "GPT2LMHeadModel"
    assert f"Asking {endpoint} from this machine." in info.stderr
    estimate = alone("estimate", SAMPLE, HF_ENDPOINT=endpoint)
    assert "fits" in estimate.stdout
    assert "tokens; exact" in estimate.stdout
    assert alone("doctor", HF_ENDPOINT=endpoint).returncode == 0
    began = time.monotonic()
    unwell = alone("doctor", HF_ENDPOINT=CLOSED)
    assert time.monotonic() - began < 60
    assert unwell.returncode == 1
    assert f"{CLOSED} cannot be reached" in unwell.stdout
    unreachable = alone("info", SAMPLE, HF_ENDPOINT=CLOSED)
    assert unreachable.returncode == 1
    assert "modelyard hub builtin" in unreachable.stderr
    assert list(tmp_path.iterdir()) == []


def test_doctor_names_what_is_wrong_with_database_and_broker_but_no_password(alone: Commands) -> None:
    answer = alone(
        "doctor",
        HF_ENDPOINT=CLOSED,
        MODELYARD_DATABASE_URL="postgresql+psycopg://user:geheim@127.0.0.1:9/x",
        MODELYARD_BROKER_URL="redis://:geheim@127.0.0.1:9",
    )
    assert answer.returncode == 1
    assert "MODELYARD_DATABASE_URL" in answer.stdout
    assert "MODELYARD_BROKER_URL" in answer.stdout
    assert "geheim" not in answer.stdout + answer.stderr


def test_another_program_at_the_port_is_told_apart(alone: Commands, tmp_path: Path) -> None:
    with http_server(http.server.SimpleHTTPRequestHandler) as address:
        answer = alone("ls", "--server", address)
    assert answer.returncode == 1
    assert f"What answers at {address} is not a Modelyard server" in answer.stderr
    assert "modelyard serve --port" in answer.stderr


@pytest.mark.thorough
def test_a_server_with_a_key_and_a_worker_of_its_own(tmp_path: Path) -> None:
    server = Server(tmp_path, ("--no-workers",), {"MODELYARD_API_KEY": "a-long-secret"})
    worker = None
    try:
        keyless = Commands({**server.modelyard.environment, "MODELYARD_API_KEY": ""})
        refused = keyless("ls", "--json")
        assert refused.returncode == 1
        assert json.loads(refused.stderr)["code"] == "unauthorized"
        assert keyless("ls", "--api-key", "a-long-secret").returncode == 0
        assert server.modelyard("hub", "builtin").returncode == 0

        # Soon after the start they are said to be starting.
        assert "for: downloads, compute, inference" in server.modelyard("doctor").stdout

        # The samples are made now; on a busy machine that takes longer than a Hub is waited for.
        wait_for(lambda: server.modelyard("info", SAMPLE).returncode == 0)
        pull = server.modelyard.start("pull", SAMPLE)
        worker = programs.Popen(
            [*COMMAND, "worker", "--queues", "downloads"],
            env=server.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        said, _ = pull.communicate(timeout=90)
        assert pull.returncode == 0, said
    finally:
        if worker is not None:
            worker.send_signal(signal.SIGTERM)
            worker.wait(30)
        server.stop()


def test_serve_says_what_stops_it(alone: Commands, tmp_path: Path) -> None:
    open_to_all = alone("serve", "--host", "0.0.0.0", "--port", "0")
    assert open_to_all.returncode == 1
    assert "MODELYARD_API_KEY" in open_to_all.stderr
    (tmp_path / "file").touch()
    homeless = alone("serve", MODELYARD_HOME=str(tmp_path / "file" / "home"))
    assert homeless.returncode == 1
    assert "MODELYARD_HOME" in homeless.stderr
    wrong = alone("ls", MODELYARD_SERVER="", MODELYARD_PORT="many")
    assert wrong.returncode == 1
    assert "MODELYARD_PORT is 'many'" in wrong.stderr


def test_client_commands_import_nothing_heavy() -> None:
    program = (
        "import sys\nfrom modelyard.cli import app\ntry:\n    app(['ls', '--server', 'http://127.0.0.1:1'])\n"
        "except SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'celery', 'kombu', 'sqlalchemy', 'fastapi', 'huggingface_hub'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=clean_environment(), check=True
    )
    assert done.stdout == "[]\n"


def test_help_and_version(alone: Commands) -> None:
    assert alone("--version").stdout.startswith("modelyard ")
    text = alone("--help").stdout
    for command in ("serve", "worker", "doctor", "search", "info", "estimate", "hub", "pull", "ls", "show", "ps", "rm"):
        assert f" {command} " in text


class _Rows:
    def __init__(self, *rows: tuple[str, str, str]) -> None:
        self._rows = [
            {
                "id": row_id,
                "model_id": name,
                "canonical_id": name,
                "quantization": quantization,
                "commit": "c" * 40,
                "status": "ready",
            }
            for row_id, name, quantization in rows
        ]

    def models(self) -> dict[str, object]:
        return {"items": self._rows}


def test_a_model_is_meant_by_id_beginning_of_id_or_name() -> None:
    rows = _Rows(("ab12", "org/a", "none"), ("ab34", "org/a", "4bit"), ("cd56", "ab12", "none"))
    assert find_row(rows, "ab3")["id"] == "ab34"  # type: ignore[arg-type]
    assert find_row(rows, "org/a", "4bit")["id"] == "ab34"  # type: ignore[arg-type]
    with pytest.raises(Ambiguous) as ambiguous:
        find_row(rows, "org/a")  # type: ignore[arg-type]
    assert [row["id"] for row in ambiguous.value.extra["candidates"]] == ["ab12", "ab34"]
    assert "ab34  org/a, 4bit" in ambiguous.value.message
    with pytest.raises(Ambiguous):
        find_row(rows, "ab")  # type: ignore[arg-type]
    with pytest.raises(ModelNotFound, match="in precision 4bit, none, not 8bit"):
        find_row(rows, "org/a", "8bit")  # type: ignore[arg-type]


def test_the_name_alone_will_do_where_no_other_owner_has_it() -> None:
    rows = _Rows(
        ("ab12", "org/a", "none"), ("ab34", "org/a", "4bit"), ("cd56", "org/ab", "none"), ("ef78", "b", "none")
    )
    assert find_row(rows, "ab")["id"] == "cd56"  # type: ignore[arg-type]  # a name goes before an id's beginning
    assert find_row(rows, "b")["id"] == "ef78"  # type: ignore[arg-type]
    assert find_row(rows, "a", "4bit")["id"] == "ab34"  # type: ignore[arg-type]
    with pytest.raises(Ambiguous, match="2 models"):
        find_row(rows, "a")  # type: ignore[arg-type]
    two = _Rows(("ab12", "org/a", "none"), ("ab34", "lab/a", "none"))
    with pytest.raises(Ambiguous) as ambiguous:
        find_row(two, "a")  # type: ignore[arg-type]
    assert "org/a" in ambiguous.value.message
    assert "lab/a" in ambiguous.value.message
    assert "owner" in str(ambiguous.value.hint)


def memory_row(measured: int | None, estimated: int | None, method: str = "exact") -> Any:
    return {"memory_measured_bytes": measured, "memory_estimated_bytes": estimated, "memory_method": method}


def disk_row(disk: int, shared: int) -> Any:
    return {"disk_bytes": disk, "shared_bytes": shared}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (_format.size(0), "0 B"),
        (_format.size(999), "999 B"),
        (_format.size(1500), "1.50 kB"),
        (_format.size(999_600), "1.00 MB"),
        (_format.size(16_060_522_496), "16.1 GB"),
        (_format.size(None), "unknown"),
        (_format.count(1_235_814_400), "1.24 B"),
        (_format.count(9_999), "9,999"),
        (_format.count(None), "unknown"),
        (_format.duration(8.4), "8 s"),
        (_format.duration(200), "3 min"),
        (_format.duration(4_800), "1 h 20 min"),
        (_format.duration(400_000), "5 days"),
        (_format.short_duration(0.1712), "0.17 s"),
        (_format.short_duration(42.3), "42 s"),
        (_format.memory(memory_row(None, 52_100_000, "approximate")), "≈ 52.1 MB"),
        (_format.memory(memory_row(None, 17_200_000)), "17.2 MB"),
        (_format.memory(memory_row(None, None)), "unknown"),
        (_format.memory(memory_row(17_200_000, 52_100_000, "approximate")), "17.2 MB"),
        (_format.memory_compared(memory_row(None, None)), "unknown"),
        (_format.memory_compared(memory_row(None, 17_200_000)), "17.2 MB estimated, not measured yet"),
        (_format.memory_compared(memory_row(17_300_000, 17_200_000)), "17.3 MB measured, 17.2 MB estimated"),
        (
            _format.memory_compared(memory_row(12_900_000, 17_200_000, "approximate")),
            "12.9 MB measured, ≈ 17.2 MB estimated: 25.0 % less than estimated",
        ),
        (_format.disk(disk_row(40_400_000, 0)), "40.4 MB"),
        (
            _format.disk(disk_row(40_400_000, 26_700_000)),
            "13.7 MB of its own, 26.7 MB shared with another precision",
        ),
        (printable("a\x1b[31mb\rc\n"), "a\N{REPLACEMENT CHARACTER}[31mb\N{REPLACEMENT CHARACTER}c\n"),
    ],
)
def test_figures_are_written_for_people(written: str, expected: str) -> None:
    assert written == expected


def test_json_steers_no_terminal() -> None:
    answer = {"na\x9bme": ["\x1b[31m", "\x7f\x9d0;title\x9c", "\u202e\U000e0001", "Grüße 🙂\n"]}
    text = printable_json(answer)
    assert json.loads(text) == answer
    assert all(character.isprintable() or character == "\n" for character in text)
    assert "Grüße 🙂" in text


def test_installed_models_are_verified_and_folders_imported(server: Server, tmp_path: Path) -> None:
    server.modelyard("pull", SAMPLE)
    verified = server.modelyard("verify", SAMPLE)
    assert (verified.returncode, "all files verified" in verified.stdout) == (0, True), verified.stderr
    folder = json.loads(server.modelyard("show", SAMPLE, "--json").stdout)["snapshot_path"]
    imported = server.modelyard("import", folder, "--name", "local/mine", "--mode", "copy", "--json")
    assert imported.returncode == 0, imported.stderr
    assert json.loads(imported.stdout)["status"] == "ready"
    assert server.modelyard("import", str(tmp_path)).returncode == 1
    assert server.modelyard("import", "no/such-model").returncode == 1
    assert json.loads(server.modelyard("cache", "--json").stdout) == {"items": [], "leftovers": []}
    assert "Freed " in server.modelyard("cache", "--drop-leftovers").stdout
    for model in ("local/mine", SAMPLE):
        assert server.modelyard("rm", model, "--yes").returncode == 0
