"""Commands about versions of installed models: update, rollback, pin, unpin."""

from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.commands import _format
from modelyard.commands._complete import complete_model
from modelyard.commands._connect import ClientCommand, asking_the_hub, connect
from modelyard.commands._find_model import describe, find_row, find_versions_in_use
from modelyard.commands._options import OWN_PANEL, JsonOption, ModelArgument, PlanOption, WhichQuantization
from modelyard.commands._output import note, note_failure, print_json, say
from modelyard.commands._plan import Step, print_plan
from modelyard.commands._progress import follow, left_to_the_server
from modelyard.core.errors import Conflict, ModelyardError, NotReady

if TYPE_CHECKING:
    from modelyard.client.answers import ModelResponse, UpdatePlan
    from modelyard.client.api_client import ApiClient, Json

_AGAIN = "The version before stays in use; the same command continues from there."


def register(app: typer.Typer) -> None:
    for command in (update, rollback, pin, unpin):
        app.command(cls=ClientCommand, rich_help_panel=OWN_PANEL)(command)


def update(
    context: typer.Context,
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL]...", help="Those to update; otherwise all.", autocompletion=complete_model),
    ] = None,
    quantization: WhichQuantization = None,
    plan: PlanOption = False,
    as_json: JsonOption = False,
) -> None:
    """Get newer versions of models. The version before is used until the new one is ready, and stays on the disk.

    A model that several precisions of are installed is updated in each; quantized copies are made anew.
    """
    client = connect(context)
    rows = _rows(client, models, quantization)
    failed = False
    planned: list[tuple[ModelResponse, UpdatePlan]] = []
    with asking_the_hub(context, client):
        for row in rows:
            try:
                found: UpdatePlan = client.get(f"/models/{row['id']}/update-plan")
            except ModelyardError as error:
                if models:
                    raise
                if error.code != Conflict.code:  # of what cannot move there is nothing to say
                    failed = True
                    note(f"{describe(row)}: {error.message}")
            else:
                if found["id"] != row["id"]:
                    planned.append((row, found))
                elif models and not as_json:
                    say(f"{describe(row)}, is up to date.")
    if plan and (planned or as_json):
        print_plan([_step("update", row, found) for row, found in planned], as_json=as_json)
    elif not plan:
        done = []
        for row, found in planned:
            try:
                done.append(_update(client, row, found))
            except ModelyardError as error:
                failed = True
                note_failure(describe(row), error)
        if as_json:
            print_json(done)
    if not planned and not models and not failed and not as_json:
        say("Every model is up to date.")
    if failed:
        raise typer.Exit(1)


def rollback(
    context: typer.Context,
    model: ModelArgument,
    quantization: WhichQuantization = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="COMMIT", help="The version to use; otherwise the one before.")
    ] = None,
    plan: PlanOption = False,
    as_json: JsonOption = False,
) -> None:
    """Use the version before again. If it was deleted, it is downloaded again first."""
    client = connect(context)
    row = find_row(client, model, quantization)
    with asking_the_hub(context, client):
        found: UpdatePlan = client.get(f"/models/{row['id']}/rollback-plan", commit=to)
    if plan:
        print_plan([_step("roll back", row, found)], as_json=as_json)
        return
    new = _use(client, row, "rollback", {"commit": to}, remark=f"{_format.size(found['fetch_bytes'])} to download.")
    if as_json:
        print_json(new)
    else:
        say(f"{describe(new)}, is in use.")


def pin(
    context: typer.Context, model: ModelArgument, quantization: WhichQuantization = None, plan: PlanOption = False
) -> None:
    """Keep a model at its version: it is never offered an update, and `pull` does not move it."""
    _pin(context, model, quantization, pinned=True, plan=plan)


def unpin(
    context: typer.Context, model: ModelArgument, quantization: WhichQuantization = None, plan: PlanOption = False
) -> None:
    """Have a model follow its branch again."""
    _pin(context, model, quantization, pinned=False, plan=plan)


def _pin(context: typer.Context, model: str, quantization: str | None, *, pinned: bool, plan: bool) -> None:
    client = connect(context)
    rows = find_versions_in_use(client, model, quantization)
    if len({(row["model_id"], row["commit"]) for row in rows}) > 1:
        rows = [find_row(client, model, quantization)]
    (row, *_) = rows  # the precisions of a commit are pinned together
    if plan:
        print_plan([Step("pin" if pinned else "unpin", f"{row['model_id']} at {row['commit']}")], as_json=False)
        return
    client.patch(f"/models/{row['id']}", {"pinned_commit": row["commit"] if pinned else None})
    if pinned:
        say(f"{row['model_id']} is pinned to {row['commit']}.")
    else:
        say(f"{row['model_id']} follows {row['revision']} again.")


def _rows(client: "ApiClient", models: list[str] | None, quantization: str | None) -> "list[ModelResponse]":
    """Return the rows to update, what copies are made of before the copies. Raises ModelNotFound, NotReady."""
    if models:
        rows = [row for name in models for row in find_versions_in_use(client, name, quantization)]
    else:
        rows = [row for row in client.models(quantization=quantization)["items"] if row.get("replaced_by") is None]
        rows = [row for row in rows if row["status"] == "ready" and row["endpoint"].startswith("http")]
    for row in rows:
        if row["status"] != "ready":
            raise NotReady(f"{row['model_id']} is {row['status']}.")
    found = {row["id"]: row for row in sorted(rows, key=lambda row: (row["model_id"], row["quantization"] != "none"))}
    return list(found.values())


def _step(action: str, row: "ModelResponse", plan: "UpdatePlan") -> Step:
    notes = [f"from {row['commit'][:12]} to {plan['commit'][:12]}; {changes(plan)}"]
    if plan["id"] is not None:
        notes.append("That version is here already and is used at once.")
    if plan["makes_copy"]:
        notes.append(f"A new {row['quantization']} copy is made; the one of this version stays.")
    return Step(action, describe(row), plan["fetch_bytes"], notes)


def changes(plan: "UpdatePlan") -> str:
    """Return which kinds of files differ, as words."""
    names = plan["changed"]
    if not names:
        return "no file differs that is used here"
    return f"{', '.join(names)} {'differs' if len(names) == 1 and names[0] != 'weights' else 'differ'}"


def _use(
    client: "ApiClient", row: "ModelResponse", verb: str, body: "Json | None" = None, *, remark: str | None = None
) -> "ModelResponse":
    """Have another version used, and follow its work; `remark` is said where there is some."""
    with left_to_the_server(f"The server continues. `modelyard show {row['id'][:8]}` shows which version is in use."):
        new: ModelResponse = client.post(f"/models/{row['id']}/{verb}", body)
        if new["status"] != "ready":
            if remark is not None:
                note(remark)
            new = follow(client, new, again=_AGAIN)
    return new


def _update(client: "ApiClient", row: "ModelResponse", plan: "UpdatePlan") -> "ModelResponse":
    note(f"{describe(row)}: {changes(plan)}, {_format.size(plan['fetch_bytes'])} to download.")
    new = _use(client, row, "update")
    note(f"{row['model_id']} is at {new['commit'][:12]} now. `modelyard rollback {new['id'][:8]}` returns.")
    return new
