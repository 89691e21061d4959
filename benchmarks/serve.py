"""How fast text comes through the server: one client beside plain `generate`, and eight clients together.

    python benchmarks/serve.py [--model FOLDER] [--dtype float32] [--tokens 64] [--rounds 3] [--folder DIR]

Without `--model` it is SmolLM2-135M-Instruct, made as the tests make it. Prompts have 64 tokens, different ones for
each request, decoding is greedy. `generate` is transformers' own, in a process that does nothing else; Modelyard is
asked through `/v1/completions` with streaming, and `transformers serve` in the same way, where it runs.
Only one of them runs at a time. The best of the rounds counts, because noise on a shared machine only ever adds time.
The first token of plain `generate` is a generation of one token. Exit code 1 when a criterion is missed.
"""

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

PROMPT_TOKENS, CLIENTS = 64, 8
PATIENCE_SECONDS = 600.0
WORDS = (
    "in",
    "the",
    "a",
    "of",
    "is",
    "name",
    "state",
    "value",
    "list",
    "and",
    "it",
    "to",
    "for",
    "not",
    "as",
    "we",
    "on",
)
LEAST_OF_PLAIN, LEAST_TOGETHER, MOST_LATER_SECONDS = 0.95, 2.5, 0.05

_PLAIN = """
import json, sys, time
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, dtype, tokens, prompts = sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
tokenizer = AutoTokenizer.from_pretrained(folder)
def run(prompt, count):
    began = time.perf_counter()
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
    out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False)
    return out.shape[1] - ids.shape[1], time.perf_counter() - began
run(prompts[0], 2)
speeds, firsts = [], []
for prompt in prompts:
    firsts.append(run(prompt, 1)[1])
    count, seconds = run(prompt, tokens)
    speeds.append(count / seconds)
print(json.dumps([max(speeds), min(firsts)]))
"""


@dataclass(frozen=True)
class Speed:
    """Tokens per second of all clients together, and the seconds until a client's first text."""

    tokens_per_second: float
    first_seconds: float


def prompts_of(folder: Path, count: int) -> list[str]:
    """Return texts of random words with PROMPT_TOKENS tokens each; `transformers serve` takes no token ids."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    choose, found = random.Random(0), list[str]()
    while len(found) < count:
        text = ""
        while len(tokenizer(text)["input_ids"]) < PROMPT_TOKENS:
            text += f" {choose.choice(WORDS)}"
        if len(tokenizer(text)["input_ids"]) == PROMPT_TOKENS:
            found.append(text)
    return found


def plain(folder: Path, dtype: str, tokens: int, prompts: list[str]) -> Speed:
    """Return what transformers' `generate` does in a process of its own."""
    command = [sys.executable, "-c", _PLAIN, str(folder), dtype, str(tokens), json.dumps(prompts)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    return Speed(*json.loads(done.stdout.splitlines()[-1]))


class Client:
    """A client of the completions of one server."""

    def __init__(self, url: str, model: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=PATIENCE_SECONDS, trust_env=False)
        self._model = model

    def complete(self, prompt: str, tokens: int) -> tuple[int, float]:
        """Return the number of new tokens and the seconds until the first text."""
        body = {
            "model": self._model, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "stream": True,
            "stream_options": {"include_usage": True},
        }  # fmt: skip
        began, first, count = time.perf_counter(), None, 0
        with self._http.stream("POST", "/v1/completions", json=body) as answer:
            if answer.status_code != httpx.codes.OK:
                raise RuntimeError(answer.read().decode())
            for line in answer.iter_lines():
                if not line.startswith("data: ") or line == "data: [DONE]":
                    continue
                event = json.loads(line.removeprefix("data: "))
                if "error" in event:
                    raise RuntimeError(event["error"])
                if first is None and any(choice.get("text") for choice in event.get("choices", [])):
                    first = time.perf_counter() - began
                count = (event.get("usage") or {}).get("completion_tokens", count)
        return count, first if first is not None else time.perf_counter() - began

    def together(self, prompts: list[str], tokens: int) -> Speed:
        """Return the speed of as many clients as there are prompts."""
        began = time.perf_counter()
        with ThreadPoolExecutor(len(prompts)) as pool:
            done = list(pool.map(lambda prompt: self.complete(prompt, tokens), prompts))
        seconds = time.perf_counter() - began
        return Speed(sum(count for count, _ in done) / seconds, min(first for _, first in done))

    def best(self, clients: int, tokens: int, rounds: int, prompts: list[str]) -> Speed:
        """Return the best of several rounds, each with prompts of its own."""
        self.complete(prompts[0], 2)
        found = [self.together(prompts[at * clients : (at + 1) * clients], tokens) for at in range(rounds)]
        return Speed(max(each.tokens_per_second for each in found), min(each.first_seconds for each in found))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(command: list[str], environment: dict[str, str], url: str, log: Path) -> Iterator[None]:
    """Run a server until it is no longer needed. Raises RuntimeError with its last lines where it ends by itself."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MODELYARD_", "HF_"))}
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=kept | environment, stdout=out, stderr=out)
    try:
        _wait(lambda: _answers(url, process, log))
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _answers(url: str, process: "subprocess.Popen[bytes]", log: Path) -> bool:
    if process.poll() is not None:
        raise RuntimeError("; ".join(log.read_text(errors="replace").splitlines()[-3:]))
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _wait(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("this never comes")
        time.sleep(0.05)


def modelyard(folder: Path, model: Path, dtype: str, measure: Callable[[Client], list[Speed]]) -> list[Speed]:
    """Measure `modelyard serve` with the model in memory."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        "MODELYARD_HOME": str(folder / "home"), "HF_HOME": str(folder / "hf"), "MODELYARD_PORT": str(port),
    }  # fmt: skip
    command = [sys.executable, "-m", "modelyard", "serve"]
    with started(command, environment, f"{url}/healthz", folder / "modelyard.log"):
        api = httpx.Client(base_url=f"{url}/api/v1", timeout=60, trust_env=False)

        def row(answer: httpx.Response) -> dict[str, Any]:
            answer.raise_for_status()
            found: dict[str, Any] = answer.json()
            return found

        name = "bench/serve"
        row_id = row(api.post("/models/import", json={"path": str(model), "model_id": name}))["id"]
        _wait(lambda: row(api.get(f"/models/{row_id}"))["status"] == "ready")
        row(api.post(f"/models/{row_id}/load", json={"dtype": dtype}))
        _wait(lambda: row(api.get(f"/models/{row_id}"))["loaded"])
        return measure(Client(url, name))


def transformers_serve(folder: Path, model: Path, dtype: str, measure: Callable[[Client], list[Speed]]) -> list[Speed]:
    """Measure `transformers serve --continuous-batching`. Raises RuntimeError where it does not run here."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        str(Path(sys.executable).with_name("transformers")), "serve", str(model), "--continuous-batching", "--dtype",
        dtype, "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    environment = {"HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1"}
    with started(command, environment, f"{url}/health", folder / "transformers.log"):
        return measure(Client(url, str(model)))


def report(own: Speed, rows: dict[str, list[Speed]], problem: str | None) -> bool:
    """Print the tables; return whether all criteria are met."""
    print("| | tokens/s, one client | first token | tokens/s, eight clients |\n|---|---|---|---|")
    print(f"| `generate` | {own.tokens_per_second:.1f} | {own.first_seconds * 1000:.0f} ms | |")
    for name, (one, eight) in rows.items():
        print(
            f"| {name} | {one.tokens_per_second:.1f} | {one.first_seconds * 1000:.0f} ms"
            f" | {eight.tokens_per_second:.1f} |"
        )
    if problem is not None:
        print(f"| `transformers serve` | does not run here: {problem} | | |")
    one, eight = rows["Modelyard"]
    share = one.tokens_per_second / own.tokens_per_second
    times = eight.tokens_per_second / one.tokens_per_second
    later = one.first_seconds - own.first_seconds
    print("\n| criterion | goal | measured |\n|---|---|---|")
    print(f"| one client, of plain `generate` | at least {LEAST_OF_PLAIN} | {share:.2f} |")
    print(f"| eight clients together, of one | at least {LEAST_TOGETHER} | {times:.2f} |")
    print(f"| first token, later than plain | at most {MOST_LATER_SECONDS * 1000:.0f} ms | {later * 1000:.0f} ms |")
    return share >= LEAST_OF_PLAIN and times >= LEAST_TOGETHER and later <= MOST_LATER_SECONDS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.model is None:
        sys.path.insert(0, str(Path(__file__).parents[1] / "backend" / "tests"))
        from support.smollm2 import smollm2

        options.model = smollm2()
    prompts = prompts_of(options.model, options.rounds * CLIENTS)

    def measure(client: Client) -> list[Speed]:
        return [client.best(clients, options.tokens, options.rounds, prompts) for clients in (1, CLIENTS)]

    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        own = plain(options.model, options.dtype, options.tokens, prompts[: options.rounds])
        rows = {"Modelyard": modelyard(folder, options.model, options.dtype, measure)}
        problem = None
        try:
            rows["`transformers serve`"] = transformers_serve(folder, options.model, options.dtype, measure)
        except (RuntimeError, FileNotFoundError, TimeoutError) as error:
            problem = str(error)
        return 0 if report(own, rows, problem) else 1


if __name__ == "__main__":
    sys.exit(main())
