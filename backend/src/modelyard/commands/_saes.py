"""What the commands about sparse autoencoders share: naming one, following work on it, and how a text is read."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from modelyard.client.progress import Shown
from modelyard.commands import _format
from modelyard.commands._connect import Json
from modelyard.commands._find_model import find_row
from modelyard.commands._options import DtypeName
from modelyard.commands._progress import display, left_to_the_server
from modelyard.commands.train import dataset_choice
from modelyard.core.errors import Conflict, InvalidRequest, SaeNotFound

if TYPE_CHECKING:
    from modelyard.client.answers import SaePage, SaeResponse, SaeWork
    from modelyard.client.api_client import ApiClient

SaeArgument = Annotated[str, typer.Argument(metavar="SAE", help="An SAE's id, the id's first letters, or its name.")]
DetachOption = Annotated[bool, typer.Option("--detach", help="Do not wait for the end.")]
DatasetOption = Annotated[
    Path, typer.Option("--dataset", metavar="FILE", help="The text: .jsonl, .txt or .parquet, on the server's machine.")
]
ColumnOption = Annotated[str | None, typer.Option("--column", help="The column with the text.")]
ModelOption = Annotated[str | None, typer.Option("--model", metavar="MODEL", help="An installed model that it fits.")]
DtypeOption = Annotated[
    DtypeName | None, typer.Option("--dtype", help="Dtype of an unquantized model; auto: as trained.")
]
DeviceOption = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda:0, …")]
UploadOption = Annotated[bool, typer.Option("--upload", help="Send the text to the server first.")]
_LIST_IT = "`modelyard saes ls` lists them."
_PAGE = 200
_POLL_SECONDS = 0.5


def given(**options: Any) -> Json:
    """Return the options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def row_id(client: "ApiClient", model: str | None) -> str | None:
    return None if model is None else find_row(client, model, None)["id"]


def find_sae(client: "ApiClient", text: str) -> "SaeResponse":
    """Return the one SAE of this name, or whose id begins with `text`. Raises SaeNotFound, InvalidRequest."""
    saes = all_saes(client, None)["items"]
    found = [sae for sae in saes if text and sae["id"].startswith(text.lower())]
    found = found or [sae for sae in saes if sae["name"] == text]
    if not found:
        raise SaeNotFound(f"There is no sparse autoencoder {text!r}.", hint=_LIST_IT)
    if len(found) > 1:
        raise InvalidRequest(f"{text} may mean {len(found)} of them.", hint=f"Give more of the id; {_LIST_IT}")
    return found[0]


def read_text(
    client: "ApiClient",
    sae: str,
    work: str,
    dataset: Path,
    column: str | None,
    *,
    model: str | None,
    upload: bool,
    detach: bool,
    **options: Any,
) -> "SaeResponse":
    """Start the `work` of an SAE that reads a text, such as `evaluate`, and follow it unless it is to be detached.

    Raises SaeNotFound, InvalidRequest, ApiError, Conflict.
    """
    found = find_sae(client, sae)
    request = given(model_id=row_id(client, model), **options)
    request["dataset"] = dataset_choice(client, dataset, column, upload=upload)
    now: SaeResponse = client.post(f"/saes/{found['id']}/{work}", request)
    return now if detach else follow_work(client, now)


def follow_work(client: "ApiClient", sae: "SaeResponse") -> "SaeResponse":
    """Show the progress of the work on an SAE until it ends. Raises ApiError or Conflict if it fails."""
    from modelyard.client.api_client import ApiError

    short = sae["id"][:8]
    remark = f"The work continues at {client.url}.\n`modelyard saes cancel {short}` stops it."
    with left_to_the_server(remark), display() as shown:
        while True:
            work = sae["work"]
            if work is None or work["state"] == "done":
                return sae
            if error := work["error"]:
                raise ApiError(error["code"], error["message"], error["hint"], id=sae["id"])
            if work["state"] in ("cancelled", "failed"):
                raise Conflict(f"The work on {sae['name']} was {work['state']}.", hint="Start it again.", id=sae["id"])
            shown.update(_shown(sae["name"], work))
            time.sleep(_POLL_SECONDS)
            sae = client.get(f"/saes/{sae['id']}")


def _shown(name: str, work: "SaeWork") -> Shown:
    count = _format.size if work["kind"] == "download" else _format.count
    speed = work["bytes_per_second"]
    total = "" if work["total"] is None else f" of {count(work['total'])}"
    return Shown(
        name=name,
        phase=work["message"] or work["phase"] or work["state"],
        done=work["done"],
        total=work["total"],
        amounts=f"{count(work['done'])}{total}",
        speed="" if speed is None else f"{_format.size(int(speed))}/s",
        ended=False,
    )


def all_saes(client: "ApiClient", model_id: str | None) -> "SaePage":
    return cast("SaePage", client.all_pages("/saes", _PAGE, {"model_id": model_id}))
