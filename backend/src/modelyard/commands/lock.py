"""Commands about the lock file: lock, sync."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.client.follow import start
from modelyard.commands._complete import complete_model
from modelyard.commands._connect import ClientCommand, asking_the_hub, connect
from modelyard.commands._find_model import find_row
from modelyard.commands._options import OWN_PANEL, JsonOption, PlanOption
from modelyard.commands._output import note, print_json, print_table, say
from modelyard.commands._plan import Step, print_plan
from modelyard.commands._progress import follow
from modelyard.core.environment import expand_home
from modelyard.core.errors import ChecksumMismatch, InvalidRequest

if TYPE_CHECKING:
    from modelyard.client.answers import InstalledFiles, ModelResponse, System
    from modelyard.client.api_client import ApiClient
    from modelyard.client.lock_file import Difference, Lock, LockedFile, LockedModel

DEFAULT_FILE = Path("modelyard.lock")
_LOCAL = "local"
_UNFINISHED = ("pending", "downloading", "quantizing")


def register(app: typer.Typer) -> None:
    for command in (lock, sync):
        app.command(cls=ClientCommand, rich_help_panel=OWN_PANEL)(command)


def lock(
    context: typer.Context,
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL]...", help="Those that the file names; otherwise all in use.", autocompletion=complete_model
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it there instead of to the console.")
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option("--check", metavar="FILE", help="Compare this lock file with the server; 1 where it differs."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write down models, commits, precisions, hashes and library versions, or compare a file with what is here."""
    from modelyard.client.lock_file import LIBRARIES, Lock, read_lock, write_lock

    client = connect(context)
    if check is not None:
        if models or output is not None:
            raise typer.BadParameter("It compares a whole file; name no models and no output.", param_hint="--check")
        _check(client, read_lock(expand_home(check)), as_json=as_json)
        return
    rows = [find_row(client, name) for name in models] if models else _ready(client)
    for row in rows:
        if row["status"] != "ready":
            raise InvalidRequest(f"{row['model_id']} is {row['status']}, not ready.", hint="Lock it once it is ready.")
    found = Lock(
        model=tuple(_locked(client, row) for row in rows),
        libraries={name: version for name, version in _libraries(client).items() if name in LIBRARIES and version},
    )
    if as_json:
        print_json(found.model_dump(exclude_none=True))
    elif output is None:
        say(write_lock(found).rstrip("\n"))
    else:
        expand_home(output).write_text(write_lock(found), encoding="utf-8")
        note(f"{output} names {_models(len(rows))}.")


def sync(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="[FILE]", help="The lock file.")] = DEFAULT_FILE,
    plan: PlanOption = False,
    as_json: JsonOption = False,
) -> None:
    """Download what a lock file names, at its commits and in its precisions. Nothing is removed.

    Library versions are compared, not installed.
    """
    from modelyard.client.lock_file import file_differences, library_differences, read_lock

    locked = read_lock(expand_home(file))
    client = connect(context)
    rows = client.models()["items"]
    lacking = [model for model in locked.model if _row_of(rows, model, "ready") is None]
    if plan:
        steps = [
            Step("download", f"{model.name} at {model.commit[:12]}", sum(file.size for file in model.files))
            for model in lacking
        ]
        print_plan(steps, as_json=as_json, nothing="Every model of the file is here.")
        return
    for model in lacking:
        _get(context, client, model, _row_of(rows, model), keep_original=_keeps_original(locked, rows, model))
    rows = client.models()["items"]
    for model in locked.model:
        row = _row_of(rows, model, "ready")
        if row is not None and (wrong := file_differences(model, _files(client, row))):
            raise ChecksumMismatch(
                f"{model.name}: {wrong[0].message}.", hint=f"Check its files: modelyard verify {row['id'][:8]}."
            )
    for difference in library_differences(locked.libraries, _libraries(client)):
        note(f"{difference.subject} is {difference.message}.")
    if as_json:
        print_json([row for model in locked.model if (row := _row_of(rows, model))])
    else:
        say(f"{_models(len(locked.model))} as locked{f', {len(lacking)} of them new' if lacking else ''}.")


def _check(client: "ApiClient", locked: "Lock", *, as_json: bool) -> None:
    from modelyard.client.lock_file import library_differences

    rows = client.models()["items"]
    differences = [each for model in locked.model for each in _differences(client, rows, model)]
    differences += library_differences(locked.libraries, _libraries(client))
    if as_json:
        print_json([vars(each) for each in differences])
    elif differences:
        print_table(
            ("WHAT", "DIFFERENCE"), [(each.subject, each.message) for each in differences], wrap=("DIFFERENCE",)
        )
    else:
        say(f"{_models(len(locked.model))} as locked.")
    if differences:
        raise typer.Exit(1)


def _differences(client: "ApiClient", rows: "list[ModelResponse]", model: "LockedModel") -> "list[Difference]":
    from modelyard.client.lock_file import Difference, file_differences

    row = _row_of(rows, model)
    if row is not None and row["status"] == "ready":
        return file_differences(model, _files(client, row))
    if row is not None:
        return [Difference("not_ready", model.name, f"{row['status']}, not ready")]
    others = [each for each in rows if each["model_id"] == model.model_id]
    if others and all(each["commit"] == model.commit for each in others):
        here = ", ".join(sorted(each["quantization"] for each in others))
        return [Difference("missing", model.name, f"is here in precision {here} only")]
    if others:
        here = ", ".join(sorted({each["commit"][:12] for each in others}))
        return [Difference("commit", model.name, f"is here at {here}, locked is {model.commit[:12]}")]
    return [Difference("missing", model.name, "is not here")]


def _get(
    context: typer.Context,
    client: "ApiClient",
    model: "LockedModel",
    row: "ModelResponse | None",
    *,
    keep_original: bool,
) -> None:
    """Have the server fetch a model, or go on with it, and wait until it is ready."""
    if row is None:
        if model.endpoint == _LOCAL:
            raise InvalidRequest(
                f"{model.name} was imported from a folder, which no Hub has.",
                hint="Import it on this server, too, or carry it there with the cache.",
            )
        request = {
            "model_id": model.model_id,
            "revision": model.commit,
            "quantization": model.quantization,
            "keep_original": keep_original,
        }
        with asking_the_hub(context, client):
            row, _ = start(client, request, note)
    elif row["status"] not in _UNFINISHED:
        row = client.post(f"/models/{row['id']}/resume")
    if row["status"] != "ready":
        follow(client, row, again="The same command continues from there.")
    note(f"{model.name} is ready.")


def _keeps_original(locked: "Lock", rows: "list[ModelResponse]", model: "LockedModel") -> bool:
    """Return whether the files a copy is made from are wanted themselves."""
    wanted = {(each.model_id, each.commit) for each in locked.model if each.quantization == "none"}
    wanted |= {(row["model_id"], row["commit"]) for row in rows if row["quantization"] == "none"}
    return (model.model_id, model.commit) in wanted


def _ready(client: "ApiClient") -> "list[ModelResponse]":
    rows = client.models()["items"]
    return [row for row in rows if row["status"] == "ready" and row.get("replaced_by") is None]


def _row_of(rows: "list[ModelResponse]", model: "LockedModel", status: str | None = None) -> "ModelResponse | None":
    wanted = model.model_id, model.commit, model.quantization
    return next(
        (
            row
            for row in rows
            if (row["model_id"], row["commit"], row["quantization"]) == wanted and status in (None, row["status"])
        ),
        None,
    )


def _locked(client: "ApiClient", row: "ModelResponse") -> "LockedModel":
    from modelyard.client.lock_file import LockedModel

    return LockedModel(
        model_id=row["model_id"],
        endpoint=row["endpoint"],
        commit=row["commit"],
        quantization=row["quantization"],
        files=_files(client, row),
    )


def _files(client: "ApiClient", row: "ModelResponse") -> "tuple[LockedFile, ...]":
    from modelyard.client.lock_file import locked_files

    manifest: InstalledFiles = client.get(f"/models/{row['id']}/files")
    return locked_files(manifest["items"])


def _libraries(client: "ApiClient") -> dict[str, str | None]:
    system: System = client.get("/system")
    return system["libraries"]


def _models(number: int) -> str:
    return "1 model" if number == 1 else f"{number} models"
