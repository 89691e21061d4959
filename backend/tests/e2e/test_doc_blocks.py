"""Every shell and Python block of the documentation is run against one server, but those that say why not."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from support import programs
from support.doc_blocks import CONSOLE, PYTHON, SHELL, Block, blocks_of
from support.instance import Instance, free_port
from support.samples import sample_models
from support.warm import shared_channel

PROJECT = Path(__file__).parents[3]
PAGES = [*PROJECT.glob("docs/*.md"), *PROJECT.glob("*.md")]
BLOCKS = {path.relative_to(PROJECT).as_posix(): blocks_of(path, PROJECT) for path in PAGES}
LLAMA = "modelyard-samples/tiny-llama"
ADAPTER = "lab/adapter"
NOT_RUN = 39
"""A block that joins them is a decision."""
LAST = ("docs/api.md",)
"""It ends with a deletion."""
FIRST = ("docs/cli.md",)
"""It tells a story that begins with one model in one precision."""
COMMAND = [sys.executable, "-c", "from modelyard.cli import app; app(prog_name='modelyard')"]
PLAIN = re.compile(r"modelyard [^|&;<>$`*]+")
CURL = 'curl() { command curl --fail-with-body --silent --show-error "$@"; }\n'


class World:
    """A server with what the documentation speaks of, and a folder to type in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "typing"
        self.folder.mkdir()
        self.instance = Instance(folder / "server").start()
        self.instance.use_builtin_hub()
        self.ready(LLAMA)
        adapter = {"path": str(make_adapter(folder / "adapter")), "model_id": ADAPTER, "mode": "copy"}
        self.instance.wait_for(self.instance.api.post("/models/import", json=adapter).json()["id"], "ready")
        variables, self.descriptors = shared_channel()
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment = self.instance.environment | variables | {
            "PATH": path, "MODELYARD_SERVER": self.instance.url, "api": f"{self.instance.url}/api/v1", "COLUMNS": "120",
        }  # fmt: skip
        self.fill()

    def ready(self, model_id: str) -> str:
        row_id: str = self.instance.download(model_id)["id"]
        self.instance.wait_for(row_id, "ready")
        return row_id

    def fill(self) -> None:
        """Write the files that commands name, in a Git repository."""
        lines = [json.dumps({"text": f"Line {number} of a small corpus about models."}) for number in range(64)]
        (self.folder / "corpus.jsonl").write_text("\n".join(lines))
        for name in ("my-model", "usb"):
            (self.folder / name).mkdir()
        for file in (sample_models() / "tiny-llama").iterdir():
            os.link(file, self.folder / "my-model" / file.name)
        git = (
            "touch notes.txt && git init -q . && git add notes.txt && git -c user.name=a -c user.email=a@b commit -qm a"
        )
        self.bash(f"{git} && echo more >> notes.txt", self.environment)

    def replaced(self, text: str) -> str:
        """Put this server, its models and its files in the place of those that the text names."""
        names = {
            "http://127.0.0.1:8000": self.instance.url,
            "http://192.168.1.20:8000": self.instance.url,
            "http://gpu-box:8000": self.instance.url,
            "http://127.0.0.1:8001": f"http://127.0.0.1:{free_port()}",
            "/data/corpus.jsonl": str(self.folder / "corpus.jsonl"),
            "/media/usb": str(self.folder / "usb"),
            "Qwen/Qwen3-0.6B": LLAMA,
            "Qwen/Qwen3-1.7B": "modelyard-samples/tiny-gpt2",
            "9e8d7c6b": self.activations(),
            "owner/name": LLAMA,
            "my/model": LLAMA,
            "owner/my-lora": ADAPTER,
            "lab/first": ADAPTER,
        }
        for old, new in names.items():
            text = text.replace(old, new)
        return text

    def activations(self) -> str:
        """Return the id of those that are stored, or what the text says."""
        items = self.instance.api.get("/activations").json()["items"]
        return str(items[0]["id"]) if items else "9e8d7c6b"

    def bash(self, script: str, environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["bash", "-euc", script], cwd=self.folder, env=environment, capture_output=True, text=True,
            timeout=300, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def forked(
        self, command: list[str], environment: dict[str, str], given: str = "", *, libraries: bool = True
    ) -> Any:
        return programs.run(
            command, libraries=libraries, cwd=self.folder, env=environment, pass_fds=self.descriptors, input=given,
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip


def make_adapter(folder: Path) -> Path:
    """Write a LoRA of the sample Llama as PEFT would, without torch."""
    folder.mkdir()
    config = json.loads((sample_models() / "tiny-llama" / "config.json").read_text())
    width, layers = config["hidden_size"], config["num_hidden_layers"]
    random = np.random.default_rng(0)
    tensors = {}
    for layer in range(layers):
        name = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        tensors[f"{name}.lora_A.weight"] = random.normal(0, 0.3, (4, width)).astype(np.float32)
        tensors[f"{name}.lora_B.weight"] = random.normal(0, 0.3, (width, 4)).astype(np.float32)
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    fields: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": LLAMA,
        "bias": "none",
    }
    fields |= {"r": 4, "lora_alpha": 16, "lora_dropout": 0.0, "target_modules": ["q_proj"], "fan_in_fan_out": False}
    (folder / "adapter_config.json").write_text(json.dumps(fields))
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    found = World(tmp_path_factory.mktemp("docs"))
    yield found
    found.instance.stop()


def place(page: str) -> tuple[int, str]:
    return (0 if page in FIRST else 2 if page in LAST else 1), page


QUICK = sorted(
    (name for name, blocks in BLOCKS.items() if any(not b.not_run and not b.slow for b in blocks)), key=place
)
SLOW = sorted(name for name, blocks in BLOCKS.items() if any(b.slow and not b.not_run for b in blocks))


@pytest.mark.parametrize("page", QUICK)
def test_the_blocks_of_a_page_work(world: World, page: str, tmp_path: Path) -> None:
    Run(world, tmp_path).run([block for block in BLOCKS[page] if not block.slow])


@pytest.mark.thorough
@pytest.mark.parametrize("page", SLOW)
def test_the_slow_blocks_of_a_page_work(world: World, page: str, tmp_path: Path) -> None:
    Run(world, tmp_path).run([block for block in BLOCKS[page] if block.slow])


def test_what_is_not_run_is_counted_and_has_a_reason() -> None:
    left_out = [block for blocks in BLOCKS.values() for block in blocks if block.not_run is not None]
    assert [str(block) for block in left_out if len(block.not_run or "") < 10] == []
    assert len(left_out) == NOT_RUN, "\n".join(f"{block}: {block.not_run}" for block in left_out)
    without = [
        block for blocks in BLOCKS.values() for block in blocks if block.kind in CONSOLE and block not in left_out
    ]
    assert [str(block) for block in without if not list(block.commands)] == []


class Run:
    """One page: variables that a block sets are there in the next, as in one terminal."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.environment = dict(world.environment) | {"HOME": str(folder)}
        self._variables = folder / "variables"
        self._failed: list[str] = []

    def run(self, blocks: list[Block]) -> None:
        wanted = [block for block in blocks if block.not_run is None]
        last_python = next((block for block in reversed(wanted) if block.kind in PYTHON), None)
        for block in wanted:
            if block.first:
                self._shell(block, block.first)
            if block.kind in SHELL:
                self._shell(block, block.text)
            elif block.kind in CONSOLE:
                self._console(block)
            elif block is last_python:
                self._python([item for item in wanted if item.kind in PYTHON])
        assert not self._failed, "\n\n".join(self._failed)

    def _shell(self, block: Block, text: str) -> None:
        script = f"{CURL}set -a\n{self.world.replaced(text)}\nenv -0 > {self._variables}"
        done = self.world.bash(script, self.environment)
        if done.returncode != 0:
            self._failed.append(f"{block}\n{done.stdout[-2000:]}\n{done.stderr}")
            return
        pairs = (pair.partition("=") for pair in self._variables.read_text().split("\0") if pair)
        self.environment = {name: value for name, _, value in pairs if not name.startswith("BASH_FUNC")}

    def _console(self, block: Block) -> None:
        environment = dict(self.environment)
        for command in block.commands:
            text = self.world.replaced(command.text)
            if exported := re.fullmatch(r"export (.*)", text):
                environment |= dict(item.split("=", 1) for item in shlex.split(exported[1]))
                continue
            if PLAIN.fullmatch(text):
                answer = "y\n" if "[y/N]" in command.output else ""
                done = self.world.forked([*COMMAND, *shlex.split(text)[1:]], environment, answer, libraries=False)
            else:
                done = self.world.bash(text, environment)
            said = f"{block}: {text}\n{done.stdout[-2000:]}\n{done.stderr}"
            refused = re.search(r'^(?:Error: |.*cannot run: |  "code": ).*$', command.output, re.MULTILINE)
            if (done.returncode != 0) != (refused is not None) or (
                refused and _masked(self.world.replaced(refused[0])) not in _masked(done.stdout + done.stderr)
            ):
                self._failed.append(said)

    def _python(self, blocks: list[Block]) -> None:
        parts = [_as_script(block) if block.kind == "pycon" else block.text for block in blocks]
        script = self.world.replaced("\n".join(parts))
        done = self.world.forked([sys.executable, "-c", script], self.environment)
        if done.returncode != 0:
            self._failed.append(f"{blocks[0].page}\n{script}\n{done.stdout[-2000:]}\n{done.stderr}")


def _as_script(block: Block) -> str:
    """A statement that raises what is shown below it."""
    statement, *shown = block.text.splitlines()
    name = shown[0].partition(":")[0].rpartition(".")[2]
    tried = f"try:\n    {statement.removeprefix('>>> ')}\nexcept Exception as error:\n"
    return f"{tried}    assert type(error).__name__ == {name!r}, error\nelse:\n    raise AssertionError('no error')"


def _masked(text: str) -> str:
    return re.sub(r"\d+", "N", " ".join(text.split()))
