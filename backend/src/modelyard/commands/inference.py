"""Using models that are here: quantize, load, unload, generate, architecture."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from modelyard.client.follow import WAITING_SECONDS, why_waiting
from modelyard.client.progress import printable, shown_model
from modelyard.commands import _format
from modelyard.commands._connect import (
    USE_PANEL,
    ClientCommand,
    DtypeName,
    Json,
    JsonOption,
    ModelArgument,
    RevisionOption,
    WhichQuantization,
    connect,
    note,
    print_facts,
    print_json,
    print_table,
    say,
)
from modelyard.commands._find_model import Ambiguous, describe, find_row
from modelyard.commands._progress import display, follow, left_to_the_server
from modelyard.commands.models import dimension_facts
from modelyard.core.errors import AlreadyExists, Conflict, ModelNotFound, ModelyardError, NotReady

if TYPE_CHECKING:
    from modelyard.client.api_client import ApiClient

Result = TypeVar("Result")

_REPORTED_SECONDS = 5.0
"""How long a report of what an unload gave back may take after the model is gone."""


def register(app: typer.Typer) -> None:
    for command in (quantize, load, unload, generate, architecture):
        app.command(cls=ClientCommand, rich_help_panel=USE_PANEL)(command)


def quantize(
    context: typer.Context,
    model: ModelArgument,
    quantization: Annotated[
        Literal["8bit", "4bit"], typer.Option("--quantization", "-q", help="The precision of the copy.")
    ],
    drop_original: Annotated[
        bool, typer.Option("--drop-original", help="Remove the unquantized files once the copy is ready.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a smaller copy of a model that is here, once; it loads at once ever after.

    The server does the work: after Ctrl-C it goes on.
    """
    client = connect(context)
    begun = time.monotonic()
    source = _source(client, model)
    row, fresh = _start_quantizing(client, source, quantization, keep_original=not drop_original)
    if row["status"] != "ready":
        short = row["id"][:8]
        with left_to_the_server(f"Quantizing {row['model_id']} goes on at {client.url}. `modelyard ps` shows it."):
            row = follow(client, row, again=f"`modelyard resume {short}` tries again.")
    if as_json:
        print_json(row)
        return
    took = f" in {_format.duration(time.monotonic() - begun)}" if fresh else ""
    say(f"{row['model_id']} in {quantization} is {'ready' if fresh else 'already here'}{took}.")
    own = client.delete(f"/models/{row['id']}", dry_run=True)["freed_bytes"]
    say(f"{_format.size(own)} on the disk, {_format.size(row['memory_measured_bytes'])} in memory.")
    if row["drift"]:
        say(_format.drift(row["drift"]))
    if drop_original:
        now = next((other for other in client.models()["items"] if other["id"] == source["id"]), None)
        # Its row may still be there while the files are being removed.
        kept = now is not None and now["status"] != "deleting"
        original = f"The unquantized files ({_format.size(source['disk_bytes'])})"
        say(f"{original} stay: something else uses them." if kept else f"{original} were removed.")


def load(
    context: typer.Context,
    model: ModelArgument,
    quantization: WhichQuantization = None,
    device: Annotated[
        str, typer.Option(help="cpu, mps, cuda:0, …; auto: the GPU with the most free memory, else the CPU.")
    ] = "auto",
    dtype: Annotated[DtypeName, typer.Option(help="What unquantized weights are loaded in; auto: as stored.")] = "auto",
    ttl: Annotated[
        float, typer.Option(metavar="SECONDS", help="Unload it this long after its last use; 0: never.", min=0)
    ] = 3600,
    pin: Annotated[bool, typer.Option("--pin", help="Never unload it to make room for another model.")] = False,
    offload: Annotated[
        bool, typer.Option("--offload", help="Keep in main memory what the GPUs cannot hold, which is slow.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Have a model in memory, ready to generate, and wait until it is.

    The server loads it: after Ctrl-C it goes on.
    """
    client = connect(context)
    row = find_row(client, model, quantization)
    request = {"device": device, "dtype": dtype, "ttl_seconds": ttl or None, "pinned": pin, "allow_offload": offload}

    def found(now: Json) -> Json | None:
        if now["error"]:
            raise _as_error(now)
        items = [item for item in _loaded(client) if item["id"] == row["id"]]
        wanted = next((item for item in items if _is_wanted(item, request)), None)
        if wanted is None and now["progress"] is None:  # this load is over; others may have changed what it left
            if not items:
                raise Conflict(f"Loading {now['model_id']} was stopped.", hint="The same command loads it again.")
            return items[0]
        return wanted

    goes_on = f"{row['model_id']} goes on loading at {client.url}."
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


def _faster(client: "ApiClient", row: Json, item: Json) -> str:
    """What another dtype would gain, of a model that was loaded as it is stored; empty where there is none."""
    if item["dtype"] != "auto" or row["dtype"] != "bfloat16" or item["device"] != "cpu":
        return ""
    estimate = client.get(f"/models/{row['id']}/estimate-memory", parts="weights")
    more = {option["quantization"]: option["fast_dtype_bytes"] for option in estimate["options"]}
    tip = _format.faster(estimate["fast_dtype"], more[row["quantization"]])
    return f"{tip} (--dtype {estimate['fast_dtype']['dtype']})" if tip else ""


def unload(
    context: typer.Context, model: ModelArgument, quantization: WhichQuantization = None, as_json: JsonOption = False
) -> None:
    """Free a model's memory, and tell what came back; one that is still being loaded is not loaded then."""
    client = connect(context)
    row = find_row(client, model, quantization)
    gone_since: float | None = None

    def done(now: Json) -> Json | None:
        nonlocal gone_since
        if now["error"]:
            raise _as_error(now)
        if not now["unloading"]:
            return now
        if now["loaded"]:
            return None
        gone_since = gone_since or time.monotonic()
        return now if time.monotonic() - gone_since > _REPORTED_SECONDS else None

    def stopped(now: Json) -> Json | None:
        """Over when nothing is being stopped any more; somebody else's load of the model may go on."""
        return None if now["progress"] and now["progress"]["stopping"] else now

    with left_to_the_server(f"{row['model_id']} will be unloaded all the same."):
        begun = _start_unloading(client, row)
        note(f"{'unloading' if begun['loaded'] else 'stopping the load of'} {describe(row)} …")
        row = _wait(client, row, done if begun["loaded"] else stopped)
    if row["unloading"]:
        raise NotReady(
            f"The worker that holds {row['model_id']} is silent.",
            hint="It is unloaded when the worker answers. `modelyard doctor` tells more.",
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
        say(f"{row['model_id']} is unloaded; its worker ended, and gave everything back.")


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
    max_new_tokens: Annotated[int, typer.Option(help="Stop after so many tokens.", min=1)] = 64,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token.", min=0, max=10)] = 0.0,
    seed: Annotated[int, typer.Option(help="Decides, above temperature 0.", min=0)] = 0,
    as_json: JsonOption = False,
) -> None:
    """Continue a text, or answer; the text appears as it comes, and Ctrl-C stops it.

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


def architecture(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model that is here, or one on the Hub.")],
    revision: RevisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a model's blocks, dimensions and hook points, for one that is here or still on the Hub."""
    answer = _architecture(connect(context), model, revision)
    if as_json:
        print_json(answer)
        return
    print_facts(
        [
            ("model", answer["model_id"]),
            ("commit", answer["commit"]),
            ("class", answer["model_class"]),
            ("parameters", _format.count(answer["num_parameters"])),
            *dimension_facts(answer["dimensions"]),
            ("blocks", answer["layers_path"]),
            ("final norm", answer["final_norm"]),
            ("same weights", ", ".join(" = ".join(pair) for pair in answer["tied"]) or None),
            ("mind", ", ".join(answer["flags"]) or None),
            ("hook points", "shown by a pass without weights" if answer["verified"] else answer["reason"]),
        ]
    )
    print()
    print_table(
        ("HOOK POINT", "KIND", "WIDTH", "OUTPUT", "LAYERS", "TRANSFORMERLENS"),
        [
            (path, kind, f"{width:,}", output, _layers(layers), lens)
            for (path, kind, width, output, lens), layers in _hook_rows(answer["hook_points"])
        ],
        right=("WIDTH",),
        wrap=("OUTPUT", "LAYERS", "TRANSFORMERLENS"),
    )


def _source(client: "ApiClient", model: str) -> Json:
    """The row to quantize: the unquantized one where a name stands for several."""
    try:
        return find_row(client, model)
    except Ambiguous:
        return find_row(client, model, "none")


def _start_quantizing(
    client: "ApiClient", source: Json, quantization: str, *, keep_original: bool
) -> tuple[Json, bool]:
    """The copy's row, and whether it was not there before."""
    from modelyard.client.api_client import ApiError

    request = {"quantization": quantization, "keep_original": keep_original}
    try:
        return client.post(f"/models/{source['id']}/quantize", request), True
    except ApiError as error:
        if error.code != AlreadyExists.code or "id" not in error.extra:
            raise
        row = client.get(f"/models/{error.extra['id']}")
    return row, row["status"] != "ready"


def _stopped_words(row: Json) -> str:
    name = row["model_id"]
    if row["loaded"]:
        return f"{name} was loaded just before. The same command unloads it."
    if row["progress"]:
        return f"{name} is still being loaded, because somebody else asked for it, too."
    return f"Loading {name} was stopped; nothing of it is in memory."


def _start_unloading(client: "ApiClient", row: Json) -> Json:
    from modelyard.client.api_client import ApiError

    try:
        return client.post(f"/models/{row['id']}/unload")
    except ApiError as error:
        if error.code != Conflict.code:
            raise
        raise Conflict(error.message, hint="`modelyard ps` shows what is in memory.") from error


def _wait(client: "ApiClient", row: Json, done: Callable[[Json], Result | None]) -> Result:
    """What `done` finds, asked whenever the row changes; meanwhile its progress is shown, and later why it waits."""
    with display() as shown, _explained(client) as begun:
        for now in client.watch(row["id"]):
            if now["progress"] and not now["progress"]["waiting"]:
                begun()
            shown.update(shown_model(now))
            if (result := done(now)) is not None:
                return result
    raise AssertionError("watching ends only with a result")


@contextmanager
def _explained(client: "ApiClient") -> Iterator[Callable[[], None]]:
    """Says after a while why nothing happens, unless the function it gives was called before."""

    def explain() -> None:
        try:
            note(why_waiting(client, "inference"))
        except ModelyardError as error:
            note(error.message)

    timer = threading.Timer(WAITING_SECONDS, explain)
    timer.daemon = True
    timer.start()
    try:
        yield timer.cancel
    finally:
        timer.cancel()


def _loaded(client: "ApiClient") -> list[Json]:
    return list(client.get("/models/loaded")["items"])


def _is_wanted(item: Json, request: Json) -> bool:
    places = {item["device"], "auto"}
    # With auto, the server's settings may have chosen a faster dtype.
    dtypes = {item["dtype"], "auto"}
    return request["device"] in places and request["dtype"] in dtypes and item["pinned"] == request["pinned"]


def _as_error(row: Json) -> Exception:
    from modelyard.client.api_client import ApiError

    error = row["error"]
    return ApiError(error["code"], error["message"], error["hint"], id=row["id"])


def _converse(client: "ApiClient", row: Json, settings: Json) -> None:
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


def _generate(client: "ApiClient", row: Json, request: Json, *, show: bool) -> Json:
    """The figures at the end; with `show` the text goes to stdout as it comes. Ctrl-C closes the connection."""
    from modelyard.client.api_client import ApiError, ServerUnreachable

    if not row["loaded"]:
        note(f"{describe(row)} is loaded first, unless it is in memory already.")
    events = client.stream(f"/models/{row['id']}/generate", request | {"stream": True})
    text = ""
    try:
        with closing(events), _explained(client) as begun:
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
                    return {name: value for name, value in event.items() if name != "done"}
    except KeyboardInterrupt:
        if text and show:
            typer.echo()
        note("Stopped.")
        raise typer.Exit(130) from None
    raise ServerUnreachable(f"The server at {client.url} went away before it had finished.")


def _conclude(text: str, result: Json) -> None:
    if not text.endswith("\n"):
        typer.echo()
    loading = f"; loading took {result['load_seconds']:.1f} s" if result["load_seconds"] else ""
    note(f"{result['new_tokens']} tokens, {result['tokens_per_second']:.1f} a second{loading}.")


def _visible(text: str) -> str:
    """A terminal must not be steered by what a model says; a file gets every byte."""
    if not sys.stdout.isatty():
        return text
    return "\t".join(printable(part) for part in text.split("\t"))


def _architecture(client: "ApiClient", model: str, revision: str | None) -> Json:
    """Of a row, any precision of one commit being as good as another, otherwise of the Hub's model of that name."""
    if revision is None:
        try:
            return client.get(f"/models/{find_row(client, model)['id']}/architecture")
        except Ambiguous as several:
            candidates = several.extra["candidates"]
            if len({(row["model_id"], row["commit"]) for row in candidates}) > 1:
                raise
            return client.get(f"/models/{candidates[0]['id']}/architecture")
        except ModelNotFound:
            pass
    return client.get("/models/architecture", model_id=model, revision=revision)


_HookKind = tuple[str, str, int, str, str]


def _hook_rows(points: Sequence[Json]) -> list[tuple[_HookKind, list[int]]]:
    """Hook points that differ only in their layer, with the layers."""
    rows: dict[_HookKind, list[int]] = {}
    for point in points:
        layer = point["layer"]

        def without_layer(name: str | None, layer: int | None = layer) -> str:
            parts = (name or "").split(".")
            # The first number is the block's; an expert's comes later.
            at = parts.index(str(layer)) if layer is not None and str(layer) in parts else None
            return ".".join("N" if index == at else part for index, part in enumerate(parts))

        kind = (
            without_layer(point["path"]),
            point["kind"],
            point["width"],
            point["output"] if point["verified"] else f"{point['output']}, not verified",
            without_layer(point["transformer_lens"]),
        )
        rows.setdefault(kind, []).extend([] if layer is None else [layer])
    return list(rows.items())


def _layers(layers: Sequence[int]) -> str:
    """0-11, or 0, 2, 5-7."""
    ranges: list[list[int]] = []
    for layer in layers:
        if ranges and layer == ranges[-1][1] + 1:
            ranges[-1][1] = layer
        else:
            ranges.append([layer, layer])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
