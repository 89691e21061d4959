"""Quantize, load, generate, unload: the commands against a real server with real workers."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.commands import _format
from support.instance import children_of, standing_still

from .conftest import SAMPLE, Commands, Server, wait_for

LLAMA = "modelyard-samples/tiny-llama"


@pytest.fixture(scope="module")
def equipped(running_server: Server) -> Iterator[Server]:
    """A server with the llama, unquantized and in four bits."""
    client = running_server.client
    client.put("/settings", {"endpoint": "builtin", "bandwidth_limit_bytes_per_second": None})
    assert running_server.modelyard("pull", LLAMA).returncode == 0
    made = running_server.modelyard("quantize", LLAMA, "-q", "4bit")
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith(f"{LLAMA} in 4bit is ready in ")
    assert "in memory." in made.stdout
    assert "top-1 agreement" in made.stdout
    yield running_server
    for item in client.get("/models/loaded")["items"]:
        running_server.modelyard("unload", item["id"])


def test_a_second_quantization_is_done_at_once(equipped: Server) -> None:
    again = equipped.modelyard("quantize", LLAMA, "-q", "4bit", "--json")
    assert again.returncode == 0, again.stderr
    row = json.loads(again.stdout)
    assert (row["status"], row["quantization"]) == ("ready", "4bit")
    assert equipped.modelyard("quantize", LLAMA, "-q", "none").returncode == 2


def test_a_model_is_loaded_shown_and_unloaded(equipped: Server) -> None:
    modelyard = equipped.modelyard
    loaded = modelyard("load", LLAMA, "-q", "4bit", "--pin")
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.startswith(f"{LLAMA} is loaded on cpu: 13.1 MB measured, in ")
    assert "loading" in loaded.stderr
    running = modelyard("ps").stdout
    assert "pinned" in running
    assert "13.1 MB" in running
    item = json.loads(modelyard("load", LLAMA, "-q", "4bit", "--ttl", "90", "--json").stdout)
    assert (item["measured_bytes"], item["pinned"]) == (13_057_344, False)
    assert json.loads(modelyard("ps", "--json").stdout)["loaded"][0]["id"] == item["id"]

    shown = modelyard("show", LLAMA, "-q", "4bit").stdout
    assert "13.1 MB measured, 13.1 MB estimated" in shown
    assert "from the quantized copy" in shown
    assert "top-1 agreement" in shown
    assert "of its own" in shown

    gone = modelyard("unload", LLAMA, "-q", "4bit")
    assert gone.returncode == 0, gone.stderr
    row = next(row for row in equipped.client.models(q=LLAMA)["items"] if row["quantization"] == "4bit")
    last = row["last_unload"]
    assert last is not None
    assert last["held_before_bytes"] == 13_057_344
    # The copy was mapped and never run: that is told, and what came back is held against what was in memory.
    assert 0 < last["mapped_bytes"] < 13_057_344
    in_memory = last["held_before_bytes"] - last["mapped_bytes"]
    assert last["freed_bytes"] > 0.5 * in_memory
    assert f"freed; its weights held {_format.size(in_memory)}, and " in gone.stdout
    assert gone.stdout.endswith("more were only mapped from its files.\n")
    assert modelyard("ps").stdout == ""
    again = modelyard("unload", LLAMA, "-q", "4bit")
    assert again.returncode == 1
    assert "is not loaded" in again.stderr
    assert "modelyard ps" in again.stderr


def test_a_copy_is_compared_with_its_original(equipped: Server) -> None:
    shown = equipped.modelyard("drift", LLAMA, "-q", "4bit").stdout
    assert shown.startswith("12 prompts, ")
    assert "after layer 3 " in shown
    own = equipped.modelyard("drift", LLAMA, "It was the best of times, it was the worst of times.", "-q", "4bit")
    assert own.returncode == 0, own.stderr
    assert own.stdout.startswith("1 prompt, ")
    assert ", perplexity " in own.stdout
    no_copy = equipped.modelyard("drift", LLAMA, "-q", "none")
    assert (no_copy.returncode, no_copy.stdout) == (1, "")
    assert "is no quantized copy" in no_copy.stderr
    for item in equipped.client.get("/models/loaded")["items"]:
        assert equipped.modelyard("unload", item["id"]).returncode == 0


@pytest.mark.thorough
def test_an_unload_waits_for_a_worker_that_is_silent(equipped: Server) -> None:
    modelyard, client = equipped.modelyard, equipped.client
    row_id = json.loads(modelyard("load", LLAMA, "-q", "4bit", "--json").stdout)["id"]

    def is_given_up() -> bool:
        return not all(worker["alive"] for worker in client.get("/system")["workers"])

    with standing_still(children_of(equipped.process.pid)["inference"]):
        silent = modelyard("unload", LLAMA, "-q", "4bit")
        wait_for(is_given_up)
        time.sleep(6)  # whoever looks after the jobs of dead workers has looked by then
    assert silent.returncode == 1
    assert (
        f"The worker that holds {LLAMA} does not respond.\nHint: It is unloaded when the worker responds again."
        in silent.stderr
    )
    wait_for(lambda: client.get(f"/models/{row_id}")["last_unload"])
    row = client.get(f"/models/{row_id}")
    assert (row["loaded"], row["unloading"], row["error"]) == (False, False, None)
    assert row["last_unload"]["held_before_bytes"] == 13_057_344
    time.sleep(3)  # longer than it takes a worker to tell again what it holds
    assert client.get(f"/models/{row_id}")["loaded"] is False


def test_an_unload_is_over_when_its_worker_ended(equipped: Server) -> None:
    modelyard = equipped.modelyard
    assert modelyard("load", LLAMA, "-q", "4bit").returncode == 0
    inference = children_of(equipped.process.pid)["inference"]
    with standing_still(inference):
        process = modelyard.start("unload", LLAMA, "-q", "4bit")
        wait_for(lambda: any(row["unloading"] for row in equipped.client.models(q=LLAMA)["items"]))
        inference.kill()
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert f"{LLAMA} is unloaded; its worker ended and freed all of its memory." in said


def printed(process: subprocess.Popen[str], text: str) -> str:
    """What it has printed up to the line with `text`; the test is stopped by its time limit if that never comes."""
    assert process.stdout is not None
    lines = [process.stdout.readline()]
    while text not in lines[-1]:
        assert lines[-1], f"it ended: {''.join(lines)}"
        lines.append(process.stdout.readline())
    return "".join(lines)


def is_loading(server: Server) -> bool:
    return any(row["progress"] for row in server.client.models(q=LLAMA)["items"])


def test_a_load_shows_how_far_it_is(equipped: Server) -> None:
    equipped.modelyard("unload", LLAMA, "-q", "4bit")
    with standing_still(children_of(equipped.process.pid)["inference"]):
        process = equipped.modelyard.start("load", LLAMA, "-q", "4bit")
        wait_for(lambda: is_loading(equipped))
        under_way = equipped.modelyard("ps").stdout.splitlines()[1].split()
        assert under_way[:7] == [LLAMA, "4bit", "loading:", "waiting", "for", "a", "worker"]
        said = printed(process, "waiting")
        assert f"{LLAMA}: loading: waiting for a worker\n" in said
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert said.rstrip().splitlines()[-1].startswith(f"{LLAMA} is loaded on cpu: 13.1 MB measured, in ")
    assert json.loads(equipped.modelyard("ps", "--json").stdout)["items"] == []


def test_after_ctrl_c_a_load_goes_on_until_it_is_stopped(equipped: Server) -> None:
    modelyard = equipped.modelyard
    modelyard("unload", LLAMA, "-q", "4bit")
    with standing_still(children_of(equipped.process.pid)["inference"]):
        process = modelyard.start("load", LLAMA, "-q", "4bit")
        printed(process, "waiting for a worker")
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=20)
        assert process.returncode == 130
        assert f"{LLAMA} continues to load at {equipped.url}. `modelyard unload " in said
        assert is_loading(equipped)
        stopped = modelyard("unload", LLAMA, "-q", "4bit")
        assert stopped.stdout == f"Loading {LLAMA} was stopped; nothing of it is in memory.\n"

        watching = modelyard.start("load", LLAMA, "-q", "4bit")
        printed(watching, "waiting for a worker")
        assert modelyard("cancel", LLAMA, "-q", "4bit").stdout == f"Loading {LLAMA} is being stopped.\n"
        said, _ = watching.communicate(timeout=20)
        assert watching.returncode == 1
        assert f"Error: Loading {LLAMA} was stopped." in said
    assert equipped.client.get("/models/loaded")["items"] == []


def test_why_a_model_cannot_be_loaded_is_told(equipped: Server) -> None:
    failed = equipped.modelyard("load", LLAMA, "-q", "4bit", "--device", "cuda:7")
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert "Error: There is no device 'cuda:7' here." in failed.stderr
    assert "Hint: Use auto or one of cpu" in failed.stderr
    as_json = equipped.modelyard("load", LLAMA, "-q", "4bit", "--device", "cuda:7", "--json")
    assert json.loads(as_json.stderr[as_json.stderr.index("{") :])["code"] == "invalid_request"


def test_text_is_the_same_from_argument_and_stdin_as_text_and_json(equipped: Server) -> None:
    options = ("-q", "4bit", "--max-new-tokens", "8")
    spoken = equipped.modelyard("generate", LLAMA, "The capital", *options)
    assert spoken.returncode == 0, spoken.stderr
    assert "8 tokens, " in spoken.stderr
    as_json = json.loads(equipped.modelyard("generate", LLAMA, "-", *options, "--json", stdin="The capital\n").stdout)
    assert spoken.stdout == as_json["text"] + "\n"
    assert (as_json["new_tokens"], as_json["finish_reason"]) == (8, "length")

    drawn = [
        json.loads(
            equipped.modelyard(
                "generate", LLAMA, "The", *options, "--temperature", "1", "--seed", seed, "--json"
            ).stdout
        )["text"]
        for seed in ("1", "1", "2")
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_conversation_goes_on_until_the_end_of_the_input(equipped: Server) -> None:
    talk = equipped.modelyard(
        "generate", LLAMA, "--chat", "-q", "4bit", "--max-new-tokens", "3", stdin="Hello\n\nAnd now?\n"
    )
    assert talk.returncode == 0, talk.stderr
    assert talk.stderr.count(" tokens, ") == 2
    one = equipped.modelyard("generate", LLAMA, "Hello", "--chat", "-q", "4bit", "--max-new-tokens", "3")
    assert talk.stdout.startswith(one.stdout)
    for wrong in ((), ("--chat", "--json")):
        assert equipped.modelyard("generate", LLAMA, *wrong).returncode == 2


def test_text_comes_while_it_is_made_and_ctrl_c_stops_it(equipped: Server) -> None:
    process = equipped.modelyard.start("generate", LLAMA, "The", "-q", "4bit", "--max-new-tokens", "1900")
    assert process.stdout is not None
    assert len(process.stdout.read(1)) == 1
    wait_for(lambda: any(item["in_use"] for item in equipped.client.get("/models/loaded")["items"]))
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    assert said.endswith("Stopped.\n")
    wait_for(lambda: not any(item["in_use"] for item in equipped.client.get("/models/loaded")["items"]))


def test_a_model_and_its_copy_are_compared(equipped: Server) -> None:
    modelyard = equipped.modelyard
    # The likeliest tokens of a model with random weights are close, so the copy's text depends on the machine.
    for prompt in ("A list of animals:", "Once upon a time", "def main():", "The capital of France is"):
        asked = ("compare", LLAMA, f"{LLAMA}:4bit", prompt, "--max-new-tokens", "12")
        found = json.loads(modelyard(*asked, "--json").stdout)
        if (first := found["first_divergence"]) is not None:
            break
    left, right = found["left"], found["right"]
    assert (left["quantization"], right["quantization"], len(left["tokens"])) == ("none", "4bit", 12)
    assert first is not None

    below = modelyard(*asked)
    assert below.returncode == 0, below.stderr
    same = "".join(token["text"] for token in left["tokens"][:first])
    titles, texts = (LLAMA, f"{LLAMA}:4bit"), [same + "»" + side["text"][len(same) :] for side in (left, right)]
    begin = "".join(f"{title}\n{text}\n\n" for title, text in zip(titles, texts, strict=True))
    assert below.stdout.startswith(begin)
    *_, differ, agree = below.stdout.splitlines()
    begin = f"The texts are the same for {first} token" if first else "The texts differ from the first token"
    assert differ.startswith(begin)
    assert repr(left["tokens"][first]["text"]) in differ
    assert agree.startswith(f"The other model finds {found['agreement']['same_choice']} of 24 tokens the most likely")
    assert f"{found['agreement']['mean_difference']:.3f} nats on average" in agree

    terminal = {"FORCE_COLOR": "1", "NO_COLOR": "1"}
    wide = modelyard(*asked, **terminal, COLUMNS="120").stdout
    assert all(title in wide.splitlines()[0] for title in titles)
    assert wide.count("»") == 2
    narrow = modelyard(*asked, **terminal, COLUMNS="60").stdout
    assert f"{LLAMA}:4bit" not in narrow.splitlines()[0]
    coloured = modelyard(*asked, FORCE_COLOR="1", COLUMNS="120", TERM="xterm").stdout
    assert "\x1b[33m»" in coloured


def test_comparing_takes_short_names_chats_and_stdin(equipped: Server) -> None:
    modelyard = equipped.modelyard
    options = ("--max-new-tokens", "8", "--chat")
    alike = modelyard("compare", "tiny-llama", "tiny-llama:none", "-", *options, stdin="Hello\n")
    assert alike.returncode == 0, alike.stderr
    assert "Both texts are the same (8 tokens)." in alike.stdout
    assert "finds 16 of 16 tokens the most likely too. Log-probabilities differ by 0.000 nats" in alike.stdout
    row = next(row for row in equipped.client.models(q=LLAMA)["items"] if row["quantization"] == "4bit")
    by_id = json.loads(modelyard("compare", row["id"][:8], LLAMA, "Hello", *options, "--json").stdout)
    assert by_id["left"]["id"] == row["id"]

    unknown = modelyard("compare", LLAMA, f"{LLAMA[:-1]}:4bit", "Hello")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert f"Hint: The nearest names are {LLAMA}:4bit" in unknown.stderr
    as_json = modelyard("compare", LLAMA, "no-such", "Hello", "--json")
    assert json.loads(as_json.stderr)["code"] == "model_not_found"
    assert modelyard("compare", LLAMA, LLAMA).returncode == 2
    too_long = modelyard("compare", LLAMA, LLAMA, "-", stdin="a b c d e f g " * 2000)
    assert (too_long.returncode, "this model reads at most" in too_long.stderr) == (1, True)


def test_ctrl_c_stops_a_comparison(equipped: Server) -> None:
    with standing_still(children_of(equipped.process.pid)["inference"]):
        process = equipped.modelyard.start("compare", LLAMA, LLAMA, "The", "--max-new-tokens", "1900")
        assert printed(process, "waiting") == f"{LLAMA}: waiting for a worker\n"
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=20)
    assert (process.returncode, said) == (130, "Stopped.\n")
    wait_for(lambda: not any(item["in_use"] for item in equipped.client.get("/models/loaded")["items"]))


def test_architecture_of_a_model_here_and_of_one_on_the_hub(equipped: Server) -> None:
    here = equipped.modelyard("architecture", LLAMA)
    assert here.returncode == 0, here.stderr
    lines = [line.split() for line in here.stdout.splitlines()]
    assert ["blocks", "model.layers"] in lines
    assert ["model.layers.N", "residual", "256", "tensor", "0-11", "blocks.N.hook_resid_post"] in lines
    on_the_hub = json.loads(equipped.modelyard("architecture", SAMPLE, "--json").stdout)
    assert on_the_hub["layers_path"] == "transformer.h"
    assert equipped.modelyard("architecture", "no/such-model").returncode == 1


def test_the_original_is_dropped_when_asked(equipped: Server) -> None:
    modelyard = equipped.modelyard
    assert modelyard("pull", SAMPLE).returncode == 0
    made = modelyard("quantize", SAMPLE, "-q", "8bit", "--drop-original")
    assert made.returncode == 0, made.stderr
    assert "The unquantized files (8.19 MB) were removed." in made.stdout
    row = json.loads(modelyard("show", SAMPLE, "--json").stdout)
    assert row["quantization"] == "8bit"
    freed = json.loads(modelyard("rm", SAMPLE, "--yes", "--json").stdout)["freed_bytes"]
    assert freed == row["disk_bytes"]
    assert f"{_format.size(freed)} on disk" in made.stdout


@pytest.mark.thorough
def test_the_original_goes_later_or_with_its_own_row(equipped: Server) -> None:
    """Deleting the unquantized row keeps what the copy was made of, says so, and takes it along on request."""
    modelyard = equipped.modelyard
    assert modelyard("pull", SAMPLE).returncode == 0
    assert modelyard("quantize", SAMPLE, "-q", "8bit").returncode == 0
    told = modelyard("rm", SAMPLE, "-q", "none", "--dry-run")
    assert "frees 0 B." in told.stdout
    assert "With --with-original it frees 8.19 MB." in told.stdout
    assert "8.19 MB stay: kept as the original of the quantized copy (8bit), which runs without it." in told.stdout
    asked = modelyard("drop-original", SAMPLE, "-q", "8bit", "--dry-run")
    assert asked.stdout == f"Removing the original of {SAMPLE}, 8bit, commit {commit_of(equipped)} frees 8.19 MB.\n"
    gone = modelyard("rm", SAMPLE, "-q", "none", "--with-original", "--yes")
    assert gone.returncode == 0, gone.stderr
    assert gone.stdout.endswith(" and freed 8.19 MB.\n")

    assert modelyard("pull", SAMPLE).returncode == 0
    later = modelyard("drop-original", SAMPLE, "-q", "8bit", "--yes")
    assert later.returncode == 0, later.stderr
    assert later.stdout.startswith(f"Removed the original of {SAMPLE}, 8bit")
    assert later.stdout.endswith(" and freed 8.19 MB.\n")
    left = json.loads(modelyard("show", SAMPLE, "--json").stdout)
    assert (left["quantization"], left["status"], left["shared_bytes"]) == ("8bit", "ready", 0)
    refused = modelyard("drop-original", LLAMA, "-q", "none", "--yes")
    assert refused.returncode == 1
    assert "is no quantized copy that is ready" in refused.stderr
    freed = json.loads(modelyard("rm", SAMPLE, "--yes", "--json").stdout)["freed_bytes"]
    assert freed == left["disk_bytes"]


def commit_of(server: Server) -> str:
    return str(server.client.models(q=SAMPLE)["items"][0]["commit"])[:8]


@pytest.mark.thorough
def test_pull_drops_the_original_when_asked(equipped: Server) -> None:
    modelyard = equipped.modelyard
    pulled = modelyard("pull", SAMPLE, "-q", "8bit", "--drop-original", "--json")
    assert pulled.returncode == 0, pulled.stderr
    row = json.loads(pulled.stdout)
    plan = json.loads(modelyard("rm", SAMPLE, "--yes", "--json").stdout)
    assert (row["quantization"], row["shared_bytes"]) == ("8bit", 0)
    assert (plan["freed_bytes"], plan["kept_bytes"]) == (row["disk_bytes"], 0)
    assert row["disk_bytes"] < row["size_bytes"]


def test_a_folder_needs_neither_server_nor_hub(equipped: Server, alone: Commands, tmp_path: Path) -> None:
    rows = equipped.client.models(q=LLAMA)["items"]
    folders = {row["quantization"]: row["snapshot_path"] or "" for row in rows}
    answer = alone("estimate", folders["none"], "--json")
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == "Building the model without its weights …\n"
    estimate = json.loads(answer.stdout)
    measured = {option["quantization"]: option["weights_bytes"] for option in estimate["options"]}
    assert (estimate["method"], measured["4bit"]) == ("exact", 13_057_344)
    info = alone("info", folders["4bit"])
    for word in ("LlamaForCausalLM", "supported", "bitsandbytes", "weights"):
        assert word in info.stdout
    assert list(tmp_path.iterdir()) == []

    nothing = alone("estimate", str(tmp_path))
    assert nothing.returncode == 1
    assert f"{tmp_path} is not a folder with a config.json" in nothing.stderr
    (tmp_path / "config.json").write_text("{")
    damaged = alone("info", str(tmp_path))
    assert damaged.returncode == 1
    assert "is not valid JSON, line 1" in damaged.stderr


def test_what_needs_a_server_says_so(alone: Commands) -> None:
    for command in (("load", "x"), ("unload", "x"), ("generate", "x", "y"), ("quantize", "x", "-q", "4bit")):
        answer = alone(*command)
        assert answer.returncode == 1
        assert "modelyard serve" in answer.stderr
