"""Commands that use a model in memory: load, unload, generate."""

import sys
import time
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from modelyard.client.progress import shown_model
from modelyard.commands import _format
from modelyard.commands._connect import ClientCommand, Json, connect
from modelyard.commands._find_model import describe, find_row
from modelyard.commands._options import USE_PANEL, DtypeName, JsonOption, ModelArgument, WhichQuantization
from modelyard.commands._output import note, print_json, say
from modelyard.commands._plan import changes
from modelyard.commands._progress import display, explained, left_to_the_server
from modelyard.core.errors import Conflict, NotReady
from modelyard.core.printable import printable

if TYPE_CHECKING:
    from modelyard.client.answers import (
        GenerateResponse,
        LoadedModelResponse,
        LoadedPage,
        MemoryEstimate,
        ModelError,
        ModelResponse,
    )
    from modelyard.client.api_client import ApiClient

Result = TypeVar("Result")

_REPORTED_SECONDS = 5.0
"""How long the report of the freed memory may take after the model is unloaded."""


def register(app: typer.Typer) -> None:
    for command in (load, unload, generate):
        app.command(cls=ClientCommand, rich_help_panel=USE_PANEL)(command)


@changes
def load(
    context: typer.Context,
    model: ModelArgument,
    quantization: WhichQuantization = None,
    device: Annotated[
        str, typer.Option(help="cpu, mps, cuda:0, …; auto: the GPU with the most free memory, else the CPU.")
    ] = "auto",
    dtype: Annotated[DtypeName, typer.Option(help="Dtype of unquantized weights; auto: as stored.")] = "auto",
    ttl: Annotated[
        float, typer.Option(metavar="SECONDS", help="Unload it this long after its last use; 0: never.", min=0)
    ] = 3600,
    pin: Annotated[bool, typer.Option("--pin", help="Never unload it to make room for another model.")] = False,
    offload: Annotated[
        bool, typer.Option("--offload", help="Keep in main memory what the GPUs cannot hold, which is slow.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Load a model into memory and wait until it is ready to generate.

    The server loads it and continues after Ctrl-C.
    """
    client = connect(context)
    row = find_row(client, model, quantization)
    request = {"device": device, "dtype": dtype, "ttl_seconds": ttl or None, "pinned": pin, "allow_offload": offload}

    def found(now: "ModelResponse") -> "LoadedModelResponse | None":
        if error := now["error"]:
            raise _as_error(now, error)
        items = [item for item in _loaded(client) if item["id"] == row["id"]]
        wanted = next((item for item in items if _is_wanted(item, request)), None)
        if wanted is None and now["progress"] is None:  # this load is over; others may have changed what it left
            if not items:
                raise Conflict(f"Loading {now['model_id']} was stopped.", hint="The same command loads it again.")
            return items[0]
        return wanted

    goes_on = f"{row['model_id']} continues to load at {client.url}."
    stops = f"`modelyard unload {row['id'][:8]}` stops it, `modelyard ps` shows it."
    with left_to_the_server(f"{goes_on} {stops}"):
        client.post(f"/models/{row['id']}/load", request)
        note(
            f"loading {describe(row)} ({_format.size(row['memory_measured_bytes'] or row['memory_estimated_bytes'])}) …"
        )
        item = _wait(client, row, found)
    if as_json:
        print_json(item)
    else:
        say(
            f"{item['model_id']} is loaded on {item['device']}:"
            f" {_format.size(item['measured_bytes'])} measured, in {item['load_seconds']:.1f} s."
        )
        if tip := _faster(client, row, item):
            note(tip)


def _faster(client: "ApiClient", row: "ModelResponse", item: "LoadedModelResponse") -> str:
    """Describe what another dtype would gain for a model loaded as stored; empty if none would."""
    if item["dtype"] != "auto" or row["dtype"] != "bfloat16" or item["device"] != "cpu":
        return ""
    estimate: MemoryEstimate = client.get(f"/models/{row['id']}/estimate-memory", parts="weights")
    more = {option["quantization"]: option["fast_dtype_bytes"] for option in estimate["options"]}
    faster = estimate["fast_dtype"]
    return f"{_format.faster(faster, more[row['quantization']])} (--dtype {faster['dtype']})" if faster else ""


@changes
def unload(
    context: typer.Context, model: ModelArgument, quantization: WhichQuantization = None, as_json: JsonOption = False
) -> None:
    """Unload a model and show the memory this frees, or stop loading it."""
    client = connect(context)
    row = find_row(client, model, quantization)
    gone_since: float | None = None

    def done(now: "ModelResponse") -> "ModelResponse | None":
        nonlocal gone_since
        if error := now["error"]:
            raise _as_error(now, error)
        if not now["unloading"]:
            return now
        if now["loaded"]:
            return None
        gone_since = gone_since or time.monotonic()
        return now if time.monotonic() - gone_since > _REPORTED_SECONDS else None

    def stopped(now: "ModelResponse") -> "ModelResponse | None":
        """Return the row once nothing is being stopped any more; another request's load may continue."""
        return None if now["progress"] and now["progress"]["stopping"] else now

    with left_to_the_server(f"{row['model_id']} will still be unloaded."):
        begun = _start_unloading(client, row)
        note(f"{'unloading' if begun['loaded'] else 'stopping the load of'} {describe(row)} …")
        row = _wait(client, row, done if begun["loaded"] else stopped)
    if row["unloading"]:
        raise NotReady(
            f"The worker that holds {row['model_id']} does not respond.",
            hint="It is unloaded when the worker responds again. `modelyard doctor` has details.",
        )
    if begun["loaded"] and row["loaded"]:
        raise Conflict(f"{row['model_id']} is in memory again.", hint="The same command unloads it.")
    if as_json:
        print_json(row)
    elif not begun["loaded"]:
        say(_stopped_words(row))
    elif row["last_unload"]:
        say(f"{row['model_id']} is unloaded: {_format.unloaded(row['last_unload'])}.")
    else:
        say(f"{row['model_id']} is unloaded; its worker ended and freed all of its memory.")


def generate(
    context: typer.Context,
    model: ModelArgument,
    prompt: Annotated[
        str | None, typer.Argument(metavar="PROMPT", help="The text to continue; - reads it from stdin.")
    ] = None,
    chat: Annotated[
        bool,
        typer.Option("--chat", help="Use the model's chat template; with no PROMPT, a conversation until Ctrl-D."),
    ] = False,
    quantization: WhichQuantization = None,
    max_new_tokens: Annotated[int, typer.Option(help="Maximum number of new tokens.", min=1)] = 64,
    temperature: Annotated[float, typer.Option(help="0 always takes the most likely token.", min=0, max=10)] = 0.0,
    seed: Annotated[int, typer.Option(help="Random seed, used above temperature 0.", min=0)] = 0,
    as_json: JsonOption = False,
) -> None:
    """Continue a text or answer a message. Text is printed as it is generated; Ctrl-C stops it.

    A model that is not loaded is loaded first.
    """
    if prompt is None and (not chat or as_json):
        raise typer.BadParameter("Give the text to continue, or - to read it from stdin.", param_hint="PROMPT")
    client = connect(context)
    row = find_row(client, model, quantization)
    settings = {"max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed}
    if prompt is None:
        _converse(client, row, settings)
        return
    if prompt == "-":
        prompt = sys.stdin.read().removesuffix("\n")
    asked = {"messages": [{"role": "user", "content": prompt}]} if chat else {"prompt": prompt}
    result = _generate(client, row, asked | settings, show=not as_json)
    if as_json:
        print_json(result)


def _stopped_words(row: "ModelResponse") -> str:
    name = row["model_id"]
    if row["loaded"]:
        return f"{name} was loaded before it could be stopped. The same command unloads it."
    if row["progress"]:
        return f"{name} is still being loaded, because another request asked for it."
    return f"Loading {name} was stopped; nothing of it is in memory."


def _start_unloading(client: "ApiClient", row: "ModelResponse") -> "ModelResponse":
    from modelyard.client.api_client import ApiError

    try:
        begun: ModelResponse = client.post(f"/models/{row['id']}/unload")
    except ApiError as error:
        if error.code != Conflict.code:
            raise
        raise Conflict(error.message, hint="`modelyard ps` shows what is in memory.") from error
    return begun


def _wait(client: "ApiClient", row: "ModelResponse", done: "Callable[[ModelResponse], Result | None]") -> Result:
    """Return the first result of `done`, called on every change; show progress meanwhile, and why it waits."""
    with display() as shown, explained(client) as begun:
        for now in client.watch(row["id"]):
            if now["progress"] and not now["progress"]["waiting"]:
                begun()
            shown.update(shown_model(now))
            if (result := done(now)) is not None:
                return result
    raise AssertionError("watching ends only with a result")


def _loaded(client: "ApiClient") -> "list[LoadedModelResponse]":
    page: LoadedPage = client.get("/models/loaded")
    return page["items"]


def _is_wanted(item: "LoadedModelResponse", request: Json) -> bool:
    places = {item["device"], "auto"}
    # With auto, the server's settings may have chosen a faster dtype.
    dtypes = {item["dtype"], "auto"}
    return request["device"] in places and request["dtype"] in dtypes and item["pinned"] == request["pinned"]


def _as_error(row: "ModelResponse", error: "ModelError") -> Exception:
    from modelyard.client.api_client import ApiError

    return ApiError(error["code"], error["message"], error["hint"], id=row["id"])


def _converse(client: "ApiClient", row: "ModelResponse", settings: Json) -> None:
    """Ask for a line, answer it, and so on; the model sees the whole conversation each time."""
    messages: list[Json] = []
    while True:
        try:
            line = input("> " if sys.stdin.isatty() else "")
        except EOFError:
            return
        if line.strip():
            messages.append({"role": "user", "content": line})
            answer = _generate(client, row, {"messages": messages} | settings, show=True)
            messages.append({"role": "assistant", "content": answer["text"]})


def _generate(client: "ApiClient", row: "ModelResponse", request: Json, *, show: bool) -> "GenerateResponse":
    """Return the figures at the end; with `show` the text goes to stdout as it comes. Ctrl-C closes the connection."""
    from modelyard.client.api_client import ApiError, ServerUnreachable

    if not row["loaded"]:
        note(f"{describe(row)} is loaded first, unless it is in memory already.")
    events = client.stream(f"/models/{row['id']}/generate", request | {"stream": True})
    text = ""
    try:
        with closing(events), explained(client) as begun:
            for event in events:
                begun()
                if "delta" in event:
                    text += event["delta"]
                    if show:
                        typer.echo(_visible(event["delta"]), nl=False)
                elif "error" in event:
                    if text and show:
                        typer.echo()
                    raise ApiError(event["error"]["code"], event["error"]["message"], event["error"]["hint"])
                else:
                    if show:
                        _conclude(text, event)
                    del event["done"]
                    result: GenerateResponse = event
                    return result
    except KeyboardInterrupt:
        if text and show:
            typer.echo()
        note("Stopped.")
        raise typer.Exit(130) from None
    raise ServerUnreachable(f"The server at {client.url} went away before it had finished.")


def _conclude(text: str, result: "GenerateResponse") -> None:
    if not text.endswith("\n"):
        typer.echo()
    loading = f"; loading took {result['load_seconds']:.1f} s" if result["load_seconds"] else ""
    note(f"{result['new_tokens']} tokens, {result['tokens_per_second']:.1f} tokens/s{loading}.")


def _visible(text: str) -> str:
    """Return the text without control characters for a terminal, unchanged for a file."""
    if not sys.stdout.isatty():
        return text
    return "\t".join(printable(part) for part in text.split("\t"))
