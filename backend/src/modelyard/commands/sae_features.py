"""Commands for the features of sparse autoencoders: build their pages, list and show them, try a text."""

from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from modelyard.commands import _format
from modelyard.commands._connect import ClientCommand, connect
from modelyard.commands._options import JsonOption
from modelyard.commands._output import Cell, note, out, print_facts, print_json, print_table, say
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
    find_sae,
    given,
    read_text,
    row_id,
)
from modelyard.core.printable import printable

if TYPE_CHECKING:
    from modelyard.client.answers import (
        ActiveFeature,
        FeaturePassage,
        SaeFeature,
        SaeFeaturePage,
        SaeTextFeatures,
        TextToken,
        TokenEffect,
    )

_PASSAGES = 10


class Sort(StrEnum):
    """What the list is sorted by, descending but for the index."""

    DENSITY = "density"
    MAX = "max"
    INDEX = "index"


def register(group: typer.Typer) -> None:
    features = typer.Typer(no_args_is_help=True)
    for command in (build, ls, show, text):
        features.command(cls=ClientCommand)(command)
    group.add_typer(features, name="features", help="See what the features of a sparse autoencoder stand for.")


@changes
def build(
    context: typer.Context,
    sae: SaeArgument,
    dataset: DatasetOption,
    column: ColumnOption = None,
    tokens: Annotated[int | None, typer.Option(help="How much is read; 200000.", min=64)] = None,
    top: Annotated[int | None, typer.Option(help="Passages for each feature; 20.", min=1, max=100)] = None,
    model: ModelOption = None,
    dtype: DtypeOption = None,
    device: DeviceOption = None,
    upload: UploadOption = False,
    detach: DetachOption = False,
    as_json: JsonOption = False,
) -> None:
    """Have the model read a text, and note where each feature is most active."""
    now = read_text(
        connect(context), sae, "features/build", dataset, column, model=model, upload=upload, detach=detach,
        tokens=tokens, top=top, dtype=dtype, device=device,
    )  # fmt: skip
    facts = now["features"]
    if as_json:
        print_json(now)
    elif detach or facts is None:
        say(f"The feature pages of {now['name']} are queued.")
    else:
        size = _format.size(facts["size_bytes"])
        say(f"{facts['active_features']:,} features are active in {facts['tokens']:,} tokens; their pages take {size}.")


def ls(
    context: typer.Context,
    sae: SaeArgument,
    sort: Annotated[Sort, typer.Option(help="What comes first.")] = Sort.DENSITY,
    limit: Annotated[int, typer.Option(help="How many.", min=1, max=500)] = 20,
    offset: Annotated[int, typer.Option(help="How many to skip.", min=0)] = 0,
    as_json: JsonOption = False,
) -> None:
    """List features: the densest, or the most active ones, first."""
    client = connect(context)
    found = find_sae(client, sae)
    order = sort.value if sort is Sort.INDEX else f"-{sort.value}"
    page: SaeFeaturePage = client.get(f"/saes/{found['id']}/features", sort=order, limit=limit, offset=offset)
    if as_json:
        print_json(page)
        return
    rows = (
        (
            str(item["index"]),
            f"{item['density']:.4%}",
            f"{item['max']:.3g}",
            _quoted(item["top_token"]),
            " ".join(_quoted(token) or "" for token in item["promoted"]),
        )
        for item in page["items"]
    )
    headings = ("FEATURE", "DENSITY", "MAX", "TOKEN", "PROMOTES")
    print_table(headings, rows, right=("DENSITY", "MAX"), wrap=("PROMOTES",))


def show(
    context: typer.Context,
    sae: SaeArgument,
    feature: Annotated[int, typer.Argument(metavar="FEATURE", help="The feature's number.", min=0)],
    as_json: JsonOption = False,
) -> None:
    """Show one feature: the passages it is most active in, and the tokens it promotes and suppresses."""
    client = connect(context)
    found: SaeFeature = client.get(f"/saes/{find_sae(client, sae)['id']}/features/{feature}")
    if as_json:
        print_json(found)
        return
    print_facts(_facts(found))
    for passage in found["passages"][:_PASSAGES]:
        out().print(_passage(passage), soft_wrap=True)


def text(
    context: typer.Context,
    sae: SaeArgument,
    given_text: Annotated[str, typer.Argument(metavar="TEXT", help="A text of at most 512 tokens.")],
    top: Annotated[int, typer.Option(help="How many features.", min=1, max=500)] = 20,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show which features are active in a text, and where most."""
    client = connect(context)
    found = find_sae(client, sae)
    request = given(text=given_text, top=top, model_id=row_id(client, model))
    answer: SaeTextFeatures = client.post(f"/saes/{found['id']}/features/for-text", request)
    if as_json:
        print_json(answer)
        return
    rows = [_row(feature, answer["tokens"]) for feature in answer["features"]]
    print_table(("FEATURE", "MAX", "TOKEN", "TOKENS"), rows, right=("MAX", "TOKENS"))
    note(f"{answer['active_features']:,} features are active in {len(answer['tokens']):,} tokens.")


def _row(feature: "ActiveFeature", tokens: "list[TextToken]") -> tuple[Cell, ...]:
    active = sum(value != 0 for value in feature["activations"])
    return str(feature["index"]), f"{feature['max']:.3g}", _quoted(tokens[feature["position"]]["text"]), str(active)


def _facts(feature: "SaeFeature") -> Iterator[tuple[str, Cell]]:
    yield "feature", str(feature["index"])
    yield "active on", f"{feature['density']:.4%} of the tokens"
    yield "largest", f"{feature['max']:.3g}"
    yield "promotes", _tokens(feature["promoted"])
    yield "suppresses", _tokens(feature["suppressed"])


def _tokens(effects: "list[TokenEffect] | None") -> str | None:
    return None if effects is None else ", ".join(f"{_quoted(each['text'])} {each['effect']:+.2f}" for each in effects)


def _passage(passage: "FeaturePassage") -> Text:
    """Return a passage in one line, its active tokens marked, the most active one with the activation before."""
    line = Text(f"{passage['activation']:8.3g}  ")
    for token in passage["tokens"]:
        shown = printable(token["text"].replace("\n", "⏎"))
        share = abs(token["activation"] / passage["activation"]) if passage["activation"] else 0
        line.append(shown, "bold reverse" if share > 0.5 else "reverse" if share > 0 else "")
    return line


def _quoted(token: str | None) -> str | None:
    return None if token is None else repr(token)
