"""What a person wants to be downloaded: names, lists of names, collections."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import typer

from modelyard.commands._connect import asking_the_hub
from modelyard.commands._output import note, note_failure
from modelyard.commands._plan import Step
from modelyard.core.environment import expand_home
from modelyard.core.errors import InvalidRequest, ModelyardError
from modelyard.core.model_ids import HF_SCHEME, parse_collection
from modelyard.core.storage import storage_errors

if TYPE_CHECKING:
    from modelyard.client.answers import CollectionInfo, ModelInfo
    from modelyard.client.api_client import ApiClient, Json

MAX_LIST_BYTES = 1_000_000


def read_list(file: str) -> list[str]:
    """Return the names in a file, or with - in what is piped in: one a line, without comments and empty lines.

    Raises InvalidRequest, StorageError.
    """
    try:
        if file == "-":
            text = sys.stdin.read(MAX_LIST_BYTES)
        else:
            with storage_errors(), expand_home(Path(file)).open(encoding="utf-8-sig") as content:
                text = content.read(MAX_LIST_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidRequest(
            f"{file} cannot be read: {reason}.", hint="Name a text file, or pipe the names in and name -."
        ) from error
    lines = (line.split("#", 1)[0].strip() for line in text.splitlines())
    names = list(dict.fromkeys(line for line in lines if line))
    if not names:
        raise InvalidRequest(f"{file} names no model.", hint="Write one name a line, such as owner/name.")
    return names


def expand(context: typer.Context, client: "ApiClient", name: str) -> list[str]:
    """Return the models of a collection, or the name itself. Raises InvalidRequest, ApiError."""
    slug = parse_collection(name)
    if slug is None:
        return [name]
    with asking_the_hub(context, client):
        found: CollectionInfo = client.get("/models/collection", name=slug)
    left_out = f", without {found['left_out']} that are no models" if found["left_out"] else ""
    note(f"{found['title']}: {len(found['model_ids'])} models{left_out}.")
    return found["model_ids"]


def address(name: str) -> str:
    """Return a name as the server reads it: owner/name@revision is what hf://owner/name@revision is."""
    return f"{HF_SCHEME}{name}" if "@" in name and "://" not in name else name


def plan_downloads(client: "ApiClient", requests: "list[Json]") -> tuple[list[Step], bool]:
    """Return what would be downloaded, and whether something could not be looked up."""
    steps, failed = [], False
    for request in requests:
        name = request["model_id"]
        try:
            found: ModelInfo = client.get(f"/models/info/{quote(name, safe='/:')}", revision=request["revision"])
        except ModelyardError as error:
            if len(requests) == 1:
                raise
            failed = True
            note_failure(name, error)
            continue
        copy = [] if request["quantization"] == "none" else [f"A {request['quantization']} copy is made of it."]
        gguf = next((file for file in found["gguf_files"] if file["path"] == request["gguf_file"]), None)
        size = found["missing_bytes"] if gguf is None else gguf["size_bytes"]
        steps.append(Step("download", f"{found['model_id']} at {found['commit'][:12]}", size, copy))
    return steps, failed
