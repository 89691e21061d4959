"""The blocks of the documentation that people type in, and what comments before them say about running them.

`<!-- not run: WHY -->` keeps a block from being run, `<!-- slow -->` leaves it to the thorough tests, and
`<!-- first: SCRIPT -->` is run before it, without being shown.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SHELL, CONSOLE, PYTHON = {"sh", "bash"}, {"console"}, {"python", "pycon"}

_BLOCK = re.compile(
    r"(?P<comments>(?:^[ ]*<!--(?:(?!-->).)*-->\n)*)^(?P<indent>[ ]*)```(?P<kind>\w+)[^\n]*\n(?P<text>.*?)^[ ]*```$",
    re.MULTILINE | re.DOTALL,
)
_COMMENT = re.compile(r"<!--\s*(not run|slow|first)(?::\s*(.*?))?\s*-->", re.DOTALL)


@dataclass(frozen=True)
class Command:
    """A command of a console block, and what is shown below it."""

    text: str
    output: str


@dataclass(frozen=True)
class Block:
    """`line` is that of its first line in the page."""

    page: str
    line: int
    kind: str
    text: str
    not_run: str | None = None
    slow: bool = False
    first: str | None = None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> Iterator[Command]:
        """Yield the commands after `$`, each with its continued lines."""
        for part in re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]:
            lines = part.splitlines()
            count = next((number for number, line in enumerate(lines, 1) if not line.endswith("\\")), len(lines))
            yield Command("\n".join(lines[:count]), "\n".join(lines[count:]))


def blocks_of(path: Path, root: Path) -> list[Block]:
    """Return the shell and Python blocks of a page in their order."""
    text = path.read_text(encoding="utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        if match["kind"] in SHELL | CONSOLE | PYTHON:
            said = dict(_COMMENT.findall(match["comments"]))
            block = Block(
                path.relative_to(root).as_posix(),
                text.count("\n", 0, match.start("text")) + 1,
                match["kind"],
                match["text"],
                said.get("not run"),
                "slow" in said,
                said.get("first"),
            )
            found.append(block)
    return found
