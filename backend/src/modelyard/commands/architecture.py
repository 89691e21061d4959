"""The command that shows what a model is made of."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.commands import _format
from modelyard.commands._connect import ClientCommand, connect
from modelyard.commands._find_model import Ambiguous, find_row
from modelyard.commands._options import USE_PANEL, JsonOption, RevisionOption
from modelyard.commands._output import print_facts, print_json, print_table
from modelyard.commands.models import dimension_facts
from modelyard.core.errors import ModelNotFound

if TYPE_CHECKING:
    from modelyard.client.answers import Architecture, HookPoint
    from modelyard.client.api_client import ApiClient


def register(app: typer.Typer) -> None:
    app.command(cls=ClientCommand, rich_help_panel=USE_PANEL)(architecture)


def architecture(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="An installed model, or one on the Hub.")],
    revision: RevisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the blocks, dimensions and hook points of a model that is installed or on the Hub."""
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


def _architecture(client: "ApiClient", model: str, revision: str | None) -> "Architecture":
    """Return the architecture of an installed model in any precision, otherwise of the Hub's model of that name."""
    found: Architecture
    row_id = None if revision is not None else _row_id(client, model)
    if row_id is not None:
        found = client.get(f"/models/{row_id}/architecture")
    else:
        found = client.get("/models/architecture", model_id=model, revision=revision)
    return found


def _row_id(client: "ApiClient", model: str) -> str | None:
    """Return the id of an installed model, None if there is none. Raises Ambiguous for several commits."""
    try:
        return find_row(client, model)["id"]
    except Ambiguous as several:
        candidates = several.extra["candidates"]
        if len({(row["model_id"], row["commit"]) for row in candidates}) > 1:
            raise
        return str(candidates[0]["id"])
    except ModelNotFound:
        return None


_HookKind = tuple[str, str, int, str, str]


def _hook_rows(points: "Sequence[HookPoint]") -> list[tuple[_HookKind, list[int]]]:
    """Group hook points that differ only in their layer."""
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
