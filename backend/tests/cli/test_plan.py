"""--plan: every command that changes something takes it, and says in words what it would ask for."""

from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from modelyard.cli import app
from modelyard.client.api_client import ApiClient
from modelyard.commands._planning import step_of
from modelyard.schemas import examples

ROW = {**examples.MODEL_RESPONSE, "status": "ready", "progress": None}
READING = {
    "architecture", "compare", "doctor", "drift", "estimate", "generate", "info", "lock", "ls", "ps", "search", "show",
    "activations ls", "activations show", "datasets info", "datasets search", "saes ls", "saes show", "train follow",
    "train log", "train ls", "train show", "saes features ls", "saes features show", "saes features text",
}  # fmt: skip
RUNNING = {"serve", "worker"}


def commands(group: Any, before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            found |= commands(command, f"{before}{name} ")
        else:
            found[f"{before}{name}"] = command
    return found


def test_every_command_that_changes_something_takes_it() -> None:
    takes = {
        name: [option for parameter in command.params for option in parameter.opts if option == "--plan"]
        for name, command in commands(typer.main.get_command(app)).items()
    }
    assert {name for name, options in takes.items() if not options} == READING | RUNNING
    assert {len(options) for options in takes.values()} == {0, 1}, "once"


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []

    def call(self: ApiClient, method: str, path: str, **_: object) -> Any:
        asked.append(method)
        return {"items": [ROW], "total": 1} if path == "/models" else ROW

    monkeypatch.setattr(ApiClient, "_call", call)
    return asked


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["load", "Qwen3-0.6B"], "Would load Qwen/Qwen3-0.6B, commit c1899de2.\n"),
        (
            ["label", "Qwen3-0.6B", "--tag", "x"],
            "Would change Qwen/Qwen3-0.6B, commit c1899de2.\n  tags: baseline, x\n",
        ),
        (["quantize", "Qwen3-0.6B", "-q", "4bit"], "Would quantize Qwen/Qwen3-0.6B, commit c1899de2.\n"),
        (["cancel", "Qwen3-0.6B", "--dry-run"], "Would cancel the work on Qwen/Qwen3-0.6B, commit c1899de2.\n"),
        (["cache", "--drop-leftovers"], "Would remove unfinished files of the Hugging Face cache.\n"),
    ],
)
def test_nothing_is_asked_for_but_answers(arguments: list[str], said: str, sent: list[str]) -> None:
    if "--dry-run" not in arguments:
        arguments = [*arguments, "--plan"]
    done = CliRunner().invoke(app, arguments)
    assert (done.exit_code, done.stdout[: len(said)]) == (0, said), done.output
    assert "Nothing was changed." in done.stderr
    assert set(sent) <= {"GET"}


def test_what_has_no_words_of_its_own_is_still_said() -> None:
    step = step_of("POST", "/new/thing", str, {"with_x": True, "names": ["a", "b"], "none": None})
    assert (step.action, step.subject, step.notes) == ("send POST", "/new/thing", ["with x: yes", "names: a, b"])
