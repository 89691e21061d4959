"""Commands about bundles: export."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.commands import _format
from modelyard.commands._complete import complete_model
from modelyard.commands._connect import ClientCommand, connect
from modelyard.commands._find_model import find_row
from modelyard.commands._options import OWN_PANEL, JsonOption, PlanOption, WhichQuantization
from modelyard.commands._output import print_json, say
from modelyard.commands._progress import display, left_to_the_server
from modelyard.core.bundle_tar import is_bundle
from modelyard.core.environment import expand_home
from modelyard.core.errors import ModelNotFound, PathNotAllowed

if TYPE_CHECKING:
    from modelyard.client.answers import BundlePlan, BundleResponse, ModelResponse
    from modelyard.client.api_client import ApiClient

_SIZE = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>[kMGT]?)B?", re.IGNORECASE)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def register(app: typer.Typer) -> None:
    app.command(cls=ClientCommand, rich_help_panel=OWN_PANEL)(export)


def _bytes(text: str | None) -> int | None:
    match = None if text is None else _SIZE.fullmatch(text.strip())
    if text is not None and match is None:
        raise typer.BadParameter("Give a size such as 10GB or 500MB.")
    return None if match is None else int(float(match["number"]) * _UNITS[match["unit"].lower()])


def export(
    context: typer.Context,
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...", help="Names or ids, as `modelyard ls` shows them.", autocompletion=complete_model
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="The file on this machine.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Write FILE.001, FILE.002 … of this size, such as 10GB.")
    ] = None,
    with_quantized: Annotated[
        bool, typer.Option("--with-quantized", help="Also the quantized copies of these models.")
    ] = False,
    with_adapters: Annotated[
        bool, typer.Option("--with-adapters", help="Also the adapters that are made for these models.")
    ] = False,
    quantization: WhichQuantization = None,
    plan: PlanOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write models into one file that `modelyard import` reads on a machine without a network.

    The server writes it, and this command fetches it. Ctrl-C stops that; the same command continues.
    """
    from modelyard.client import bundles

    if output is None and not plan:
        raise typer.BadParameter("Name the file: -o FILE.", param_hint="-o")
    client = connect(context)
    request = {
        "ids": [_row(client, name, quantization)["id"] for name in models],
        "with_quantized": with_quantized,
        "with_adapters": with_adapters,
        "split_bytes": _bytes(split),
    }
    if plan or output is None:
        _say_plan(client.post("/bundles/plan", request), as_json=as_json)
        return
    with left_to_the_server("Stopped. The same command continues; the server may go on writing."), display() as shown:
        bundle = bundles.follow(client, bundles.start(client, "/bundles", request), shown)
        paths = bundles.fetch_parts(client, bundle, expand_home(output).absolute(), shown)
    client.delete(f"/bundles/{bundle['id']}")
    if as_json:
        print_json(bundle | {"files": [str(path) for path in paths]})
    else:
        what = _models(len(bundle["models"]))
        place = str(paths[0]) if len(paths) == 1 else f"{paths[0]} … {paths[-1].name}"
        say(f"{place}: {what}, {_format.size(bundle['size_bytes'])}. `modelyard import {paths[0].name}` reads it.")


def _row(client: "ApiClient", name: str, quantization: str | None) -> "ModelResponse":
    """Find the model that a name means: the unquantized one if the name fits several."""
    if quantization is None:
        try:
            return find_row(client, name, "none")
        except ModelNotFound:
            pass
    return find_row(client, name, quantization)


def _say_plan(plan: "BundlePlan", *, as_json: bool) -> None:
    if as_json:
        print_json(plan)
        return
    for model in plan["models"]:
        precision = "" if model["quantization"] == "none" else f" ({model['quantization']})"
        say(f"{model['model_id']}{precision}, commit {model['commit'][:8]}")
    parts = "one file" if plan["parts"] == 1 else f"{plan['parts']} parts"
    say(f"{_format.size(plan['size_bytes'])} in {parts}; the server has {_format.size(plan['free_bytes'])} free.")
    if plan["refusal"]:
        say(plan["refusal"]["message"])


def local_bundle(source: str) -> list[Path]:
    """Return the files of the bundle that lies on this machine under this name; none where that is something else."""
    from modelyard.client.bundles import local_parts

    parts = local_parts(expand_home(Path(source)).absolute())
    try:
        return parts if parts and is_bundle(parts[0]) else []
    except OSError:
        return []


def import_bundle(
    context: typer.Context, paths: list[Path] | None, source: str, *, allow_pickle: bool, as_json: bool
) -> None:
    """Import a bundle: `paths` on this machine, or without them `source` on the server's."""
    from modelyard.client import bundles
    from modelyard.client.api_client import ApiError

    client = connect(context)
    with left_to_the_server("Stopped. The same command continues."), display() as shown:
        bundle: BundleResponse | None = None
        if paths is None or client.is_local:
            path = source if paths is None else str(paths[0])
            try:
                bundle = bundles.start(client, "/bundles/import", {"path": path, "allow_pickle": allow_pickle})
            except ApiError as error:
                # The server may not read this path, or has another disk: then it is sent.
                if paths is None or error.code not in (PathNotAllowed.code, "invalid_request"):
                    raise
        if bundle is None and paths is not None:
            place = bundles.send(client, paths, shown)
            bundle = bundles.start(client, "/bundles/import", {"path": place, "allow_pickle": allow_pickle})
        assert bundle is not None  # noqa: S101
        bundle = bundles.follow(client, bundle, shown)
    if as_json:
        print_json(bundle)
        return
    for model in bundle["models"]:
        precision = "" if model["quantization"] == "none" else f" ({model['quantization']})"
        say(f"{model['model_id']}{precision} is ready.")


def _models(number: int) -> str:
    return "1 model" if number == 1 else f"{number} models"
