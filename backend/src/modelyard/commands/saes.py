"""Commands for sparse autoencoders: list, import, fetch and delete them."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.commands import _format, sae_features
from modelyard.commands._connect import ClientCommand, Json, connect
from modelyard.commands._find_model import find_row
from modelyard.commands._options import TRAIN_PANEL, JsonOption, PlanOption, YesOption
from modelyard.commands._output import Cell, note, print_facts, print_json, print_table, say
from modelyard.commands._plan import changes
from modelyard.commands._saes import (
    ColumnOption,
    DatasetOption,
    DetachOption,
    DeviceOption,
    DtypeOption,
    ModelOption,
    SaeArgument,
    UploadOption,
    all_saes,
    find_sae,
    follow_work,
    read_text,
)
from modelyard.core.environment import expand_home

if TYPE_CHECKING:
    from modelyard.client.answers import DeletionReport, SaeResponse


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True)
    for command in (ls, show, pull, evaluate, cancel, rm):
        group.command(cls=ClientCommand)(command)
    group.command("import", cls=ClientCommand)(import_folder)
    sae_features.register(group)
    app.add_typer(group, name="saes", help="Keep and judge sparse autoencoders.", rich_help_panel=TRAIN_PANEL)


def ls(
    context: typer.Context,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Only those trained on this model: owner/name or a row's id.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the sparse autoencoders, the newest first."""
    client = connect(context)
    page = all_saes(client, None if model is None else find_row(client, model, None)["id"])
    if as_json:
        print_json(page)
    elif page["items"]:
        headings = ("NAME", "HOOK POINT", "FEATURES", "ARCHITECTURE", "SOURCE", "JUDGED", "ID")
        print_table(headings, map(_row, page["items"]), right=("FEATURES",), wrap=("HOOK POINT", "JUDGED"))
    else:
        note("No sparse autoencoder yet. `modelyard train start`, `saes import` and `saes pull` bring one.")


def show(context: typer.Context, sae: SaeArgument, as_json: JsonOption = False) -> None:
    """Show everything about one sparse autoencoder."""
    found = find_sae(connect(context), sae)
    print_json(found) if as_json else print_facts(_facts(found))


@changes
def import_folder(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder with cfg.json, on the server's machine.")],
    name: Annotated[str | None, typer.Option(help="How it is called; the folder's name.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Copy a sparse autoencoder in SAELens's format from a folder on the server's machine."""
    client = connect(context)
    path = expand_home(folder)
    request: Json = {"path": str(path.absolute() if client.is_local else path), "name": name}
    made: SaeResponse = client.post("/saes/import", request)
    _print_result(made, as_json=as_json)


@changes
def pull(
    context: typer.Context,
    repo: Annotated[str, typer.Argument(metavar="REPO", help="owner/name on the Hub.")],
    path: Annotated[str, typer.Argument(metavar="[PATH]", help="The folder in it that holds cfg.json.")] = "",
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit; the default branch.")] = None,
    detach: DetachOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fetch a sparse autoencoder in SAELens's format from a Hub, verified."""
    client = connect(context)
    made: SaeResponse = client.post("/saes/download", {"repo_id": repo, "path": path, "revision": revision})
    if not detach:
        made = follow_work(client, made)
    _print_result(made, as_json=as_json)


@changes
def evaluate(
    context: typer.Context,
    sae: SaeArgument,
    dataset: DatasetOption,
    column: ColumnOption = None,
    tokens: Annotated[int | None, typer.Option(help="How much is read; 50000.", min=64)] = None,
    model: ModelOption = None,
    dtype: DtypeOption = None,
    device: DeviceOption = None,
    upload: UploadOption = False,
    detach: DetachOption = False,
    as_json: JsonOption = False,
) -> None:
    """Judge a sparse autoencoder on a text: how much it explains, and what the model loses with it."""
    judged = read_text(
        connect(context), sae, "evaluate", dataset, column, model=model, upload=upload, detach=detach,
        tokens=tokens, dtype=dtype, device=device,
    )  # fmt: skip
    if as_json:
        print_json(judged)
    elif detach:
        say(f"The evaluation of {judged['name']} is queued.")
    else:
        print_facts(_figures(judged))


@changes
def cancel(context: typer.Context, sae: SaeArgument) -> None:
    """Stop the work on a sparse autoencoder."""
    client = connect(context)
    now: SaeResponse = client.post(f"/saes/{find_sae(client, sae)['id']}/cancel")
    state = now["work"]["state"] if now["work"] else "cancelled"
    say(f"The work on {now['name']} is {state}.")


def rm(
    context: typer.Context,
    sae: SaeArgument,
    yes: YesOption = False,
    dry_run: PlanOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete a sparse autoencoder and its feature pages; the run that trained it stays."""
    client = connect(context)
    found = find_sae(client, sae)
    plan: DeletionReport = client.delete(f"/saes/{found['id']}", dry_run=True)
    if dry_run:
        print_json(plan) if as_json else say(f"Deleting {found['name']} frees {_format.size(plan['freed_bytes'])}.")
        return
    if not yes:
        note(f"Deleting {found['name']} frees {_format.size(plan['freed_bytes'])}. Models and texts stay.")
        if not typer.confirm("Delete it?", err=True):
            note("Nothing was deleted.")
            raise typer.Exit(1)
    freed: DeletionReport = client.delete(f"/saes/{found['id']}")
    print_json(freed) if as_json else say(f"Deleted {found['name']} and freed {_format.size(freed['freed_bytes'])}.")


def _print_result(sae: "SaeResponse", *, as_json: bool) -> None:
    if as_json:
        print_json(sae)
        return
    state = "is on the shelf" if sae["status"] == "ready" else f"is {sae['status']}"
    say(f"{sae['name']} ({sae['id'][:8]}) {state}.")
    for warning in sae["warnings"]:
        note(warning["message"])


def _row(sae: "SaeResponse") -> tuple[Cell, ...]:
    features = "" if sae["d_sae"] is None else f"{sae['d_sae']:,}"
    state = _judged(sae) if sae["status"] == "ready" else sae["status"]
    return sae["name"], sae["hook_point"], features, sae["architecture"], sae["source"], state, sae["id"][:8]


def _judged(sae: "SaeResponse") -> str | None:
    """explained variance 0.741, loss recovered 96.3 %."""
    judged = sae["evaluation"]
    if judged is None:
        return None
    explained, recovered = judged["explained_variance_per_token"], judged["loss_recovered"]
    parts = (
        None if explained is None else f"explained variance {explained:.3f}",
        None if recovered is None else f"loss recovered {recovered:.1%}",
    )
    return ", ".join(part for part in parts if part)


def _figures(sae: "SaeResponse") -> Iterator[tuple[str, Cell]]:
    judged = sae["evaluation"]
    if judged is None:
        return
    yield "judged on", f"{judged['tokens']:,} tokens{' that were kept back' if judged['held_out'] else ''}"
    for name, value, form in (
        ("explained variance", judged["explained_variance"], ".3f"),
        ("… per token", judged["explained_variance_per_token"], ".3f"),
        ("cosine", judged["cosine"], ".3f"),
        ("L0", judged["l0"], ".1f"),
        ("loss recovered", judged["loss_recovered"], ".1%"),
        ("cross-entropy", judged["ce_clean"], ".3f"),
        ("… reconstructed", judged["ce_reconstructed"], ".3f"),
        ("… zeroed", judged["ce_zero"], ".3f"),
        ("shrinkage", judged["shrinkage"], ".3f"),
    ):
        yield name, None if value is None else format(value, form)
    yield "features", f"{judged['dead_features']:,} never active, {judged['dense_features']:,} dense"


def _facts(sae: "SaeResponse") -> Iterator[tuple[str, Cell]]:
    yield "id", sae["id"]
    yield "name", sae["name"]
    yield "status", sae["status"]
    work = sae["work"]
    if work and work["state"] != "done":
        yield "work", f"{work['kind']}, {work['state']}"
        if error := work["error"]:
            yield "error", f"{error['message']} {error['hint'] or ''}".strip()
    yield "model", None if sae["model_id"] is None else f"{sae['model_id']} ({sae['commit'] or 'unknown commit'})"
    yield "quantization", sae["quantization"]
    yield "hook point", sae["hook_point"]
    yield "SAE", f"{sae['architecture']}, {sae['d_sae']:,} features, width {sae['d_in']:,}" if sae["d_sae"] else None
    yield "source", sae["source"] if sae["repo_id"] is None else f"{sae['repo_id']}/{sae['repo_path']}"
    yield from _figures(sae)
    yield "folder", sae["folder"]
    yield "on disk", None if sae["size_bytes"] is None else _format.size(sae["size_bytes"])
    yield "fits", ", ".join(row[:8] for row in sae["compatible_with"]) or "no installed model"
    for warning in sae["warnings"]:
        yield "remark", warning["message"]
