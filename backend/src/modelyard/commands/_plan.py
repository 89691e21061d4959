"""What a command would do, said in one way by all commands that take --plan."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from modelyard.commands import _format
from modelyard.commands._output import note, print_json, say

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Step:
    """One thing that would be done: `action` is a verb, `bytes` what would be downloaded, freed or written."""

    action: str
    subject: str
    bytes: int | None = None
    notes: list[str] = field(default_factory=list)


class Planned(Exception):
    """A command has come to what it would change."""

    def __init__(self, step: Step) -> None:
        super().__init__(step.action)
        self.step = step


def changes(command: Function) -> Function:
    """Mark a command that changes something, which takes --plan then."""
    command.__dict__["changes"] = True
    return command


def print_plan(steps: Sequence[Step], *, as_json: bool, nothing: str = "Nothing to do.") -> None:
    """Print what would be done; `nothing` where that is nothing."""
    if as_json:
        print_json([asdict(step) for step in steps])
        return
    for step in steps:
        size = "" if step.bytes is None else f": {_format.size(step.bytes)}"
        say(f"Would {step.action} {step.subject}".rstrip() + f"{size}.")
        for text in step.notes:
            say(f"  {text}")
    if not steps:
        say(nothing)
    note("Nothing was changed.")
