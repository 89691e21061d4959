"""Names for the Tab key: read within a moment from the server or this machine's database, without their libraries."""

import json
import os
import sqlite3
import urllib.request
from collections.abc import Iterable
from contextlib import closing
from itertools import pairwise

ANSWER_SECONDS = 1.0
MAX_MODELS = 500
_SHORTEST_ID = 3
_WORDS = ("COMP_WORDS", "_TYPER_COMPLETE_ARGS")
"""Where bash, and zsh and fish, say what was typed."""


def complete_model(incomplete: str) -> list[str]:
    """Return the names of installed models that begin so, names without their owner, and ids.

    Nothing where there is no answer soon: the Tab key is no place for errors.
    """
    try:
        rows = _rows()
    except (OSError, ValueError, LookupError, sqlite3.Error):
        return []
    names = sorted({name for _, name in rows})
    found = [name for name in names if name.startswith(incomplete)]
    if not found and "/" not in incomplete:
        found = [short for name in names if (short := name.rpartition("/")[2]).startswith(incomplete)]
    if not found and len(incomplete) >= _SHORTEST_ID:
        found = [row_id for row_id, _ in rows if row_id.startswith(incomplete)]
    return list(dict.fromkeys(found))


def _rows() -> list[tuple[str, str]]:
    """Return id and name of installed models. Raises what the disk, the network or an odd answer do."""
    from modelyard.client.settings import load_settings
    from modelyard.core.errors import ModelyardError

    server = _option("--server") or os.environ.get("MODELYARD_SERVER", "").strip()
    try:
        settings = load_settings()
    except ModelyardError as error:
        raise ValueError(error.message) from error
    if not server and settings.database_file is not None and settings.database_file.exists():
        with closing(sqlite3.connect(f"{settings.database_file.as_uri()}?mode=ro", uri=True, timeout=0.2)) as database:
            return database.execute("SELECT id, model_id FROM models LIMIT ?", (MAX_MODELS,)).fetchall()
    key = _option("--api-key") or (settings.api_key.get_secret_value() if settings.api_key else None)
    return list(_of_server(server or settings.local_url, key))


def _of_server(server: str, key: str | None) -> Iterable[tuple[str, str]]:
    address = server if "://" in server else f"http://{server}"
    if not address.startswith(("http://", "https://")):
        raise ValueError(address)
    request = urllib.request.Request(  # noqa: S310 - checked above
        f"{address.rstrip('/')}/api/v1/models?limit={MAX_MODELS}",
        headers={"Authorization": f"Bearer {key}"} if key else {},
    )
    with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:  # noqa: S310
        return [(row["id"], row["model_id"]) for row in json.load(answer)["items"]]


def _option(name: str) -> str | None:
    """Return the value that was typed for an option."""
    words = next((os.environ[variable].split() for variable in _WORDS if variable in os.environ), [])
    for word, following in pairwise([*words, ""]):
        if word == name:
            return following or None
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return None
