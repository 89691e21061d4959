"""The text files of a model's snapshot, which strangers write: read within a limit, never served as they are."""

import codecs
from pathlib import Path

from modelyard.core.database import Database
from modelyard.core.errors import Conflict, InvalidRequest
from modelyard.core.paths import open_inside
from modelyard.core.storage import storage_errors
from modelyard.models import Model
from modelyard.schemas.text_file import ModelCard, TextFile
from modelyard.services.facts.card_html import MAX_CARD_BYTES, card_html
from modelyard.services.model_files import manifest
from modelyard.services.model_service import ModelService

CARD = "README.md"
MAX_TEXT_BYTES = 500_000
"""Of a file that is shown; of a larger one, its beginning is."""


def read_text_file(database: Database, row_id: str, path: str) -> TextFile:
    """Return the text of a file of a row's manifest. Raises ModelNotFound, InvalidRequest, Conflict, PathNotAllowed."""
    row, folder = _row(database, row_id)
    listed = next((file for file in manifest(row) if file.path == path), None)
    if listed is None:
        raise InvalidRequest(
            f"{row.model_id} has no file {path}.", hint=f"GET /api/v1/models/{row_id}/files lists them."
        )
    text = _decoded(_content(row, folder, path, MAX_TEXT_BYTES), MAX_TEXT_BYTES)
    if text is None:
        raise InvalidRequest(f"{path} of {row.model_id} is not a text file.", hint="Open it in its folder.")
    return TextFile(path=path, text=text, size_bytes=listed.size_bytes, truncated=listed.size_bytes > MAX_TEXT_BYTES)


def card_of_row(database: Database, row_id: str) -> ModelCard:
    """Return the model card in a row's snapshot, empty where it has none. Raises as `read_text_file` does."""
    row, folder = _row(database, row_id)
    if all(file.path != CARD for file in manifest(row)):
        return make_card(b"", None)
    content = _content(row, folder, CARD, MAX_CARD_BYTES)
    return make_card(content, files_page(row.endpoint, row.canonical_id, row.hub_commit))


def make_card(content: bytes, repository_url: str | None) -> ModelCard:
    """Return a model card as text and as HTML; of one that is not UTF-8, what can be read."""
    text = content[:MAX_CARD_BYTES].decode("utf-8", errors="replace").replace("\0", "\ufffd")
    return ModelCard(
        html=card_html(text, repository_url=repository_url), text=text, truncated=len(content) > MAX_CARD_BYTES
    )


def files_page(endpoint: str, canonical_id: str, commit: str) -> str | None:
    """Return where a Hub shows the files of a commit to people; a Modelyard's own Hub endpoint has no pages."""
    has_pages = endpoint.startswith("http") and not endpoint.endswith("/hub")
    return f"{endpoint}/{canonical_id}/blob/{commit}" if has_pages else None


def _row(database: Database, row_id: str) -> tuple[Model, Path]:
    with database.reading() as session:
        models = ModelService(session)
        row = models.get_by_id(row_id)
    return row, models.cache.snapshot_path(row.model_id, row.commit)


def _content(row: Model, folder: Path, path: str, limit_bytes: int) -> bytes:
    """Return the beginning of a file, with one byte more than the limit where it is longer."""
    try:
        with storage_errors(), open_inside(folder, path) as file:
            return file.read(limit_bytes + 1) or b""
    except FileNotFoundError as error:
        raise Conflict(
            f"{path} of {row.model_id} is not on the disk.", hint="Wait for its download, or download the model again."
        ) from error


def _decoded(content: bytes, limit_bytes: int) -> str | None:
    """Return the text that begins here; None where it is none. A character that the limit cuts is left out."""
    if b"\0" in content:
        return None
    try:
        return codecs.getincrementaldecoder("utf-8-sig")().decode(
            content[:limit_bytes], final=len(content) <= limit_bytes
        )
    except UnicodeDecodeError:
        return None
