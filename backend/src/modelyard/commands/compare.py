"""The command that compares what two models write after the same prompt."""

import sys
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from modelyard.client.progress import WAITING, Shown
from modelyard.commands._connect import ClientCommand, Json, connect
from modelyard.commands._find_model import Ambiguous, find_row
from modelyard.commands._options import USE_PANEL, JsonOption
from modelyard.commands._output import note, out, print_json, say
from modelyard.commands._progress import display, explained
from modelyard.core.printable import printable
from modelyard.core.units import size

if TYPE_CHECKING:
    from modelyard.client.answers import ComparedSide, CompareResponse
    from modelyard.client.api_client import ApiClient

MARK = "»"
"""Stands before the first token that the other text has not, so that it is seen without colours too."""

TWO_COLUMNS = 80
"""Columns of a terminal that is wide enough for two texts beside each other."""

_WORK = {"write": "generating", "score": "reading the other text"}

ComparedName = Annotated[
    str,
    typer.Argument(
        help="owner/name[@revision][:8bit|:4bit], the name alone if no other owner has it, or the id's first letters."
    ),
]


def register(app: typer.Typer) -> None:
    app.command(cls=ClientCommand, rich_help_panel=USE_PANEL)(compare)


def compare(
    context: typer.Context,
    left: ComparedName,
    right: ComparedName,
    prompt: Annotated[str, typer.Argument(help="The text to continue; - reads it from stdin.")],
    chat: Annotated[bool, typer.Option("--chat", help="Use the chat templates of both models.")] = False,
    max_new_tokens: Annotated[int, typer.Option(help="Maximum number of new tokens of each model.", min=1)] = 64,
    as_json: JsonOption = False,
) -> None:
    """Compare what two models write after the same prompt, and how likely each finds the other's text.

    Both always take the most likely token. Models that are not loaded are loaded first; Ctrl-C stops the work.
    """
    client = connect(context)
    if prompt == "-":
        prompt = sys.stdin.read().removesuffix("\n")
    names = {"left": _name(client, left), "right": _name(client, right)}
    asked = {"messages": [{"role": "user", "content": prompt}]} if chat else {"prompt": prompt}
    result = _follow(client, names | asked | {"max_new_tokens": max_new_tokens}, {"left": left, "right": right})
    if as_json:
        print_json(result)
        return
    _print_texts(result["left"], result["right"])
    for line in _summary(result):
        say(line)


def _name(client: "ApiClient", text: str) -> str:
    """Return a name that the server reads; a short one is looked up first. Raises ModelNotFound, Ambiguous."""
    if "/" in text:
        return text
    name, _, precision = text.partition(":")
    try:
        return find_row(client, name, precision or None)["id"]
    except Ambiguous:
        if precision:
            raise
        return find_row(client, name, "none")["id"]


def _follow(client: "ApiClient", request: Json, names: dict[str, str]) -> "CompareResponse":
    """Return the result; show what is being done meanwhile. Ctrl-C closes the connection, which stops the work."""
    from modelyard.client.api_client import ApiError, ServerUnreachable

    events = client.stream("/compare", request | {"stream": True})
    try:
        with closing(events), display() as shown, explained(client) as begun:
            for event in events:
                if "error" in event:
                    error = event["error"]
                    raise ApiError(error["code"], error["message"], error["hint"], side=error["side"])
                if "result" in event:
                    result: CompareResponse = event["result"]
                    return result
                step = event["step"]
                if not step["waiting"]:
                    begun()
                shown.update(_shown(step, names[step["side"]]))
    except KeyboardInterrupt:
        note("Stopped.")
        raise typer.Exit(130) from None
    raise ServerUnreachable(f"The server at {client.url} went away before it had finished.")


def _shown(step: Json, name: str) -> Shown:
    total = step["bytes_total"] if step["phase"] == "loading" else None
    return Shown(
        name=name,
        phase=_phase(step),
        done=step["bytes_done"],
        total=total,
        amounts="" if total is None else f"{size(step['bytes_done'])} of {size(total)}",
        speed="",
        ended=False,
    )


def _phase(step: Json) -> str:
    if step["waiting"]:
        return WAITING
    if step["phase"] in (None, "generating"):
        return _WORK[step["work"]]
    message = str(step["message"] or step["phase"])
    return f"loading: {message}" if step["phase"] == "loading" and step["message"] else message


def _print_texts(left: "ComparedSide", right: "ComparedSide") -> None:
    """Print both texts: beside each other on a wide terminal, otherwise one below the other."""
    console = out()
    if console.is_terminal and console.width >= TWO_COLUMNS:
        table = Table(box=None, pad_edge=False, expand=True, padding=(0, 3, 0, 0), header_style="bold")
        for side in (left, right):
            table.add_column(Text(_title(side)), ratio=1, overflow="fold")
        table.add_row(_text(left), _text(right))
        console.print(table)
    else:
        for side in (left, right):
            console.print(Text(_title(side), "bold"), soft_wrap=True)
            console.print(_text(side), soft_wrap=True)
            console.print()


def _title(side: "ComparedSide") -> str:
    """Return a side's name as the command takes it."""
    return side["model_id"] if side["quantization"] == "none" else f"{side['model_id']}:{side['quantization']}"


def _text(side: "ComparedSide") -> Text:
    """Return a side's text with the mark where it leaves the other one."""
    text, first = side["text"], side["first_divergence"]
    if first is None:
        return Text(printable(text))
    whole = "".join(token["text"] for token in side["tokens"])
    same = "".join(token["text"] for token in side["tokens"][:first])
    # Tokenizers may leave out the space before a text, and the token that ends it.
    cut = max(len(same) - max(whole.find(text), 0), 0)
    return Text.assemble(printable(text[:cut]), (MARK + printable(text[cut:]), "yellow"))


def _summary(result: "CompareResponse") -> list[str]:
    """Describe in sentences how far two models agree."""
    return [_divergence(result), *_agreement(result), *([result["reason"]] if result["reason"] else [])]


def _divergence(result: "CompareResponse") -> str:
    first = result["first_divergence"]
    if first is None:
        return f"Both texts are the same ({_tokens(len(result['left']['tokens']))})."
    begin = f"The texts are the same for {_tokens(first)}" if first else "The texts differ from the first token"
    left, right = (_token_at(result[side], result[side]["first_divergence"]) for side in ("left", "right"))
    return f"{begin}; then the left one has {left}, the right one {right}."


def _token_at(side: "ComparedSide", place: int | None) -> str:
    if place is None or place >= len(side["tokens"]):
        return "ended"
    return repr(side["tokens"][place]["text"])


def _agreement(result: "CompareResponse") -> list[str]:
    found = result["agreement"]
    if found is None:
        return []
    return [
        f"The other model finds {found['same_choice']:,} of {_tokens(found['tokens'])} the most likely too."
        f" Log-probabilities differ by {found['mean_difference']:.3f} nats on average,"
        f" {found['largest_difference']:.3f} at most."
    ]


def _tokens(count: int) -> str:
    return "1 token" if count == 1 else f"{count:,} tokens"
