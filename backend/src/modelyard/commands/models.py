"""Commands about installed models: list, show, follow and delete."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from modelyard.commands import _format
from modelyard.commands._adapter_facts import installed_adapter, name_with_base
from modelyard.commands._connect import ClientCommand, connect
from modelyard.commands._find_model import describe, find_row
from modelyard.commands._options import (
    OWN_PANEL,
    JsonOption,
    ModelArgument,
    PlanOption,
    WhichQuantization,
    YesOption,
)
from modelyard.commands._output import Cell, note, print_facts, print_json, print_table, say
from modelyard.commands._plan import changes
from modelyard.commands._version_facts import version_facts
from modelyard.core.errors import SharedCache
from modelyard.core.statuses import ACTIVE_TRAINING_STATUSES, ModelStatus, QuantizationName

if TYPE_CHECKING:
    from modelyard.client.answers import (
        DeletionReport,
        Dimensions,
        HistoryEvent,
        HistoryPage,
        LoadedPage,
        ModelResponse,
        TrainingCompatibility,
    )

SortName = Literal[
    "name", "-name", "created_at", "-created_at", "size_bytes", "-size_bytes", "num_parameters", "-num_parameters"
]
EVENTS_SHOWN = 5
UNFINISHED = ("pending", "downloading", "quantizing", "paused", "deleting")


_ANY_SORT = "name, created_at, size_bytes or num_parameters; - in front for descending"
_ANY_STATUS = ", ".join(ModelStatus)


def register(app: typer.Typer) -> None:
    for command in (ls, show, label, ps, rm, drop_original):
        app.command(cls=ClientCommand, rich_help_panel=OWN_PANEL)(command)


def ls(
    context: typer.Context,
    query: Annotated[str | None, typer.Argument(metavar="TEXT", help="Part of a name or architecture.")] = None,
    status: Annotated[
        list[ModelStatus] | None, typer.Option(metavar="STATUS", help=f"{_ANY_STATUS}; may be given several times.")
    ] = None,
    quantization: Annotated[QuantizationName | None, typer.Option("--quantization", "-q", help="Only this.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Only with this tag; may be given several times.")] = None,
    favourite: Annotated[bool, typer.Option("--favourite", help="Only favourites.")] = False,
    sort: Annotated[SortName, typer.Option(metavar="FIELD", help=f"{_ANY_SORT}.")] = "-created_at",
    as_json: JsonOption = False,
) -> None:
    """List installed models."""
    page = connect(context).models(
        q=query,
        status=list(status or ()),
        quantization=quantization,
        tag=list(tag or ()),
        favourite=True if favourite else None,
        sort=sort,
    )
    if as_json:
        print_json(page)
    elif page["items"]:
        print_table(
            ("MODEL", "QUANT", "STATUS", "PARAMS", "ON DISK", "MEMORY", "ID"),
            [
                (
                    name_with_base(row),
                    row["quantization"],
                    _format.status(row),
                    _format.count(row["num_parameters"]),
                    _format.own_size(row),
                    _format.memory(row),
                    row["id"][:8],
                )
                for row in page["items"]
            ],
            right=("PARAMS", "ON DISK", "MEMORY"),
            wrap=("STATUS",),
        )
    elif query or status or quantization or tag or favourite:
        note("No installed model matches. `modelyard ls` lists all of them.")
    else:
        note("No models yet. `modelyard search TEXT` finds models, `modelyard pull MODEL_ID` downloads one.")


def show(
    context: typer.Context, model: ModelArgument, quantization: WhichQuantization = None, as_json: JsonOption = False
) -> None:
    """Show everything about an installed model, and its latest events."""
    client = connect(context)
    row = find_row(client, model, quantization)
    if as_json:
        print_json(row)
        return
    facts = [*_facts(row)]
    if row["status"] == "ready":
        verdict: TrainingCompatibility = client.get(f"/models/{row['id']}/training-compatibility")
        facts.append(("SAE training", _format.compatibility(verdict, verdict["level"])))
    print_facts(facts)
    history: HistoryPage = client.get(f"/models/{row['id']}/history", limit=EVENTS_SHOWN)
    if history["items"]:
        print()
        headings = ("WHEN", "WHAT", "TOOK", "BYTES", "RATE")
        print_table(headings, [_event(event) for event in history["items"]], right=headings[2:], wrap=("WHAT",))


@changes
def label(
    context: typer.Context,
    model: ModelArgument,
    quantization: WhichQuantization = None,
    tag: Annotated[list[str] | None, typer.Option(help="Tag to add; may be given several times.")] = None,
    untag: Annotated[list[str] | None, typer.Option(help="Tag to remove; may be given several times.")] = None,
    new_note: Annotated[str | None, typer.Option("--note", help="New note; an empty text removes it.")] = None,
    favourite: Annotated[bool | None, typer.Option("--favourite/--no-favourite", help="Favourite or not.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show or change the tags, note and favourite mark of a model; all of its precisions have the same."""
    client = connect(context)
    row = find_row(client, model, quantization)
    change: dict[str, object] = {}
    if tag or untag:
        change["tags"] = sorted({*row["tags"], *(tag or ())} - set(untag or ()))
    if new_note is not None:
        change["note"] = new_note
    if favourite is not None:
        change["favourite"] = favourite
    if change:
        row = client.patch(f"/models/{row['id']}", change)
    labels = {name: row[name] for name in ("tags", "note", "favourite")}
    if as_json:
        print_json({"model_id": row["model_id"], **labels})
    else:
        print_facts([("model", row["model_id"]), *_labels(row)])


def ps(context: typer.Context, as_json: JsonOption = False) -> None:
    """Show work that runs, waits or is paused, and the models in memory."""
    client = connect(context)
    page = client.models(status=(*UNFINISHED, "ready"), sort="created_at")
    page["items"] = [row for row in page["items"] if _is_under_way(row)]
    page["total"] = page["limit"] = len(page["items"])
    in_memory: LoadedPage = client.get("/models/loaded")
    loaded = in_memory["items"]
    runs = client.trainings(status=ACTIVE_TRAINING_STATUSES)["items"]
    if as_json:
        print_json({**page, "loaded": loaded, "trainings": runs})
        return
    if page["items"]:
        print_table(
            ("MODEL", "QUANT", "STATE", "DONE", "SPEED", "ID"),
            [
                (
                    row["model_id"],
                    row["quantization"],
                    _format.phase(row),
                    _format.amounts(row["progress"]),
                    _format.speed(row["progress"]) if row["status"] != "paused" else "",
                    row["id"][:8],
                )
                for row in page["items"]
            ],
            wrap=("STATE", "DONE", "SPEED"),
        )
    if page["items"] and runs:
        print()
    if runs:
        print_table(
            ("TRAINING", "QUANT", "HOOK POINT", "STATE", "DONE", "SPEED", "ID"),
            [
                (
                    run["model_name"],
                    run["quantization"],
                    run["hook_point"],
                    _format.training_phase(run),
                    _format.tokens(run),
                    _format.token_speed(run),
                    run["id"][:8],
                )
                for run in runs
            ],
            wrap=("HOOK POINT", "STATE", "DONE", "SPEED"),
        )
    if (page["items"] or runs) and loaded:
        print()
    if loaded:
        print_table(
            ("IN MEMORY", "QUANT", "DEVICE", "MEASURED", "IN USE", "UNLOADED IN", "ID"),
            [
                (
                    item["model_id"],
                    item["quantization"],
                    item["device"],
                    _format.size(item["measured_bytes"]),
                    str(item["in_use"]),
                    "pinned" if item["pinned"] else _format.left(item["expires_at"]),
                    item["id"][:8],
                )
                for item in loaded
            ],
            right=("MEASURED", "IN USE"),
        )
    if not page["items"] and not runs and not loaded:
        note("No work in progress, and no model in memory.")


SharedOption = Annotated[
    bool, typer.Option("--confirm-shared", help="Also delete files that were in the Hugging Face cache before.")
]


def rm(
    context: typer.Context,
    model: ModelArgument,
    quantization: WhichQuantization = None,
    yes: YesOption = False,
    dry_run: PlanOption = False,
    confirm_shared: SharedOption = False,
    with_original: Annotated[
        bool,
        typer.Option("--with-original", help="Also remove files that only quantized copies keep as their original."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete a model and the files that nothing else uses."""
    client = connect(context)
    row = find_row(client, model, quantization)
    path = f"/models/{row['id']}"
    plan: DeletionReport = client.delete(path, dry_run=True, with_original=with_original)
    text = _plan_text(row, plan)
    if dry_run:
        print_json(plan) if as_json else say(text)
        return
    _confirm(row, plan, text, confirm_shared=confirm_shared, yes=yes)
    report: DeletionReport = client.delete(path, confirm_shared=confirm_shared, with_original=with_original)
    if as_json:
        print_json(report)
    else:
        say(f"Deleted {describe(row)} and freed {_format.size(report['freed_bytes'])}.")


def drop_original(
    context: typer.Context,
    model: ModelArgument,
    quantization: WhichQuantization = None,
    yes: YesOption = False,
    dry_run: PlanOption = False,
    confirm_shared: SharedOption = False,
    as_json: JsonOption = False,
) -> None:
    """Remove the original files of a quantized copy; the copy is kept."""
    client = connect(context)
    row = find_row(client, model, quantization)
    path = f"/models/{row['id']}/drop-original"
    plan: DeletionReport = client.post(path, dry_run=True)
    text = f"Removing the original of {describe(row)} frees {_format.size(plan['freed_bytes'])}."
    text = "\n".join([text, *_remarks(plan)])
    if dry_run:
        print_json(plan) if as_json else say(text)
        return
    _confirm(row, plan, text, confirm_shared=confirm_shared, yes=yes)
    report: DeletionReport = client.post(path, confirm_shared=confirm_shared)
    if as_json:
        print_json(report)
    else:
        say(f"Removed the original of {describe(row)} and freed {_format.size(report['freed_bytes'])}.")


def _confirm(row: "ModelResponse", plan: "DeletionReport", text: str, *, confirm_shared: bool, yes: bool) -> None:
    """Ask the user, and end the command if they decline. Raises SharedCache."""
    if plan["shared_cache"] and not confirm_shared:
        raise SharedCache(
            f"The files of {row['model_id']} ({_format.size(plan['freed_bytes'])}) were in the Hugging Face cache"
            " before Modelyard used them; other tools may rely on them.",
            hint="If nothing else needs them, run the same command with --confirm-shared.",
        )
    if not yes:
        note(text)
        if not typer.confirm("Delete it?", err=True):
            note("Nothing was deleted.")
            raise typer.Exit(1)


def _is_under_way(row: "ModelResponse") -> bool:
    """Return whether work is in progress, also for a ready model, which may be loading."""
    return row["status"] in UNFINISHED or row["progress"] is not None


def _plan_text(row: "ModelResponse", plan: "DeletionReport") -> str:
    lines = [f"Deleting {describe(row)} frees {_format.size(plan['freed_bytes'])}."]
    if row["status"] in UNFINISHED:
        lines.append(f"It is {row['status']}: the download is cancelled first.")
    if plan["original_bytes"]:
        lines.append(f"With --with-original it frees {_format.size(plan['freed_bytes'] + plan['original_bytes'])}.")
    return "\n".join([*lines, *_remarks(plan)])


def _remarks(plan: "DeletionReport") -> list[str]:
    return [
        *(f"{_format.size(kept['bytes'])} stay: {kept['reason']}." for kept in plan["kept_because"]),
        *(f"It is {user['name']}." for user in plan["used_by"]),
        *(f"The adapter {name} stays and has no base then." for name in plan.get("adapters", ())),
    ]


def _event(event: "HistoryEvent") -> tuple[Cell, ...]:
    return (
        _format.moment(event["at"]),
        _format.event(event),
        "" if event["seconds"] is None else _format.duration(event["seconds"]),
        "" if event["bytes"] is None else _format.size(event["bytes"]),
        _format.rate(event["moved_bytes"], event["seconds"]),
    )


def _facts(row: "ModelResponse") -> Iterator[tuple[str, Cell]]:
    yield "model", row["model_id"]
    if row["canonical_id"] != row["model_id"]:
        yield "on the Hub", row["canonical_id"]
    yield "id", row["id"]
    yield from installed_adapter(row)
    yield "status", _format.status(row)
    yield from _labels(row)
    if row["error"]:
        yield "error", f"{row['error']['message']} {row['error']['hint'] or ''}".strip()
    if _is_under_way(row):
        yield (
            "progress",
            ", ".join(
                part
                for part in (_format.phase(row), _format.amounts(row["progress"]), _format.speed(row["progress"]))
                if part
            ),
        )
    yield "quantization", row["quantization"]
    yield "revision", f"{row['revision']} ({row['commit']})"
    yield from version_facts(row)
    yield "from", row["endpoint"]
    yield "architecture", row["architecture"]
    yield "parameters", _format.count(row["num_parameters"])
    yield "stored as", row["dtype"]
    yield "licence", row["licence"]
    yield "converted from", row.get("converted_from")
    if merged := row.get("merged_from"):
        yield "merged from", f"{merged['adapter_model']} ({merged['adapter_commit']})"
        yield "and", f"{merged['base_model']} ({merged['base_commit']})"
    yield from dimension_facts(row)
    yield "download", _format.size(row["size_bytes"])
    yield "on disk", _format.disk(row)
    yield "memory", _format.memory_compared(row)
    if row["last_load_seconds"] is not None:
        source = "" if row["quantization"] == "none" else ", from the quantized copy"
        yield "last load", _format.short_duration(row["last_load_seconds"]) + source
    if row["drift"]:
        yield "drift", _format.drift(row["drift"])
    yield "used by", ", ".join(user["name"] for user in row["used_by"]) or None
    if row["adopted"]:
        yield "files", "were in the Hugging Face cache before Modelyard used them"
    for remark in row.get("remarks", ()):
        yield "remark", remark
    yield "folder", row["snapshot_path"]
    yield "added", row["created_at"]


def _labels(row: "ModelResponse") -> Iterator[tuple[str, Cell]]:
    yield "tags", ", ".join(row["tags"]) or None
    yield "note", row["note"] or None
    if row["favourite"]:
        yield "favourite", "yes"


def dimension_facts(dimensions: "Dimensions | ModelResponse") -> Iterator[tuple[str, Cell]]:
    """Yield the sizes of a model, without those that its configuration does not have."""

    def number(value: int | None) -> str | None:
        return None if value is None else f"{value:,}"

    yield "layers", number(dimensions["num_layers"])
    yield "hidden size", number(dimensions["hidden_size"])
    heads, groups = number(dimensions["num_attention_heads"]), number(dimensions["num_key_value_heads"])
    yield (
        "attention heads",
        f"{heads} ({groups} for keys and values)" if heads and groups != heads and groups else heads,
    )
    yield "vocabulary", number(dimensions["vocab_size"])
    yield "longest context", number(dimensions["max_position_embeddings"])
