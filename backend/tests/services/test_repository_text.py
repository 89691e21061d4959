"""Texts of a row's snapshot: what its manifest lists, as far as it is text, within a limit."""

from collections.abc import Callable, Mapping

import pytest

from modelyard.core.database import Database
from modelyard.core.errors import Conflict, InvalidRequest, ModelNotFound, PathNotAllowed
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.services.facts.card_html import MAX_CARD_BYTES
from modelyard.services.repository_text import MAX_TEXT_BYTES, card_of_row, read_text_file
from services.cache import COMMIT, MODEL_ID, new_row, note_manifest, store

Stored = Callable[..., str]


@pytest.fixture
def stored(database: Database, cache: HubCache) -> Stored:
    """A row with these files in its snapshot; returns its id."""

    def stored(contents: Mapping[str, bytes], **fields: str) -> str:
        with database.session() as session:
            row = new_row(session, cache, **fields)
            store(cache, contents=contents)
            note_manifest(row, cache, contents)
            return row.id

    return stored


def test_reads_a_text_file(database: Database, stored: Stored) -> None:
    row = stored({"config.json": '\ufeff{"a": "é"}'.encode()})
    answer = read_text_file(database, row, "config.json")
    assert (answer.text, answer.size_bytes, answer.truncated) == ('{"a": "é"}', 14, False)


def test_reads_the_beginning_of_a_large_file_and_cuts_no_character(database: Database, stored: Stored) -> None:
    row = stored({"vocab.txt": b"a" + "é".encode() * MAX_TEXT_BYTES})
    answer = read_text_file(database, row, "vocab.txt")
    assert answer.truncated
    assert answer.text == "a" + "é" * ((MAX_TEXT_BYTES - 1) // 2)


@pytest.mark.parametrize("content", [b"text\0", b"\x80\x81", b"caf\xe9"])
def test_refuses_what_is_no_text(database: Database, stored: Stored, content: bytes) -> None:
    row = stored({"model.bin": content})
    with pytest.raises(InvalidRequest, match=r"model\.bin of owner/name is not a text file"):
        read_text_file(database, row, "model.bin")


@pytest.mark.parametrize("path", ["../../../../etc/passwd", "/etc/passwd", "config.jso", ""])
def test_reads_nothing_but_its_own_files(database: Database, stored: Stored, path: str) -> None:
    row = stored({"config.json": b"{}"})
    with pytest.raises(InvalidRequest, match="has no file"):
        read_text_file(database, row, path)


def test_follows_no_link_out_of_the_snapshot(
    database: Database, cache: HubCache, stored: Stored, tmp_path_factory: pytest.TempPathFactory
) -> None:
    row = stored({"config.json": b"{}", "README.md": b"# Card"})
    secret = tmp_path_factory.mktemp("elsewhere") / "secret"
    secret.write_text("secret")
    for name in ("config.json", "README.md"):
        path = cache.snapshot_path(MODEL_ID, COMMIT) / name
        path.unlink()
        path.symlink_to(secret)
    with pytest.raises(PathNotAllowed):
        read_text_file(database, row, "config.json")
    with pytest.raises(PathNotAllowed):
        card_of_row(database, row)


def test_says_that_a_file_is_gone(database: Database, cache: HubCache, stored: Stored) -> None:
    row = stored({"config.json": b"{}", "README.md": b"# Card"})
    (cache.snapshot_path(MODEL_ID, COMMIT) / "README.md").unlink()
    with pytest.raises(Conflict, match=r"README\.md of owner/name is not on the disk"):
        card_of_row(database, row)
    with pytest.raises(ModelNotFound):
        read_text_file(database, "none", "config.json")


def test_shows_a_card_with_links_to_the_row_s_own_hub(database: Database, stored: Stored) -> None:
    text = b"---\nlicense: mit\n---\n# Card\n\n[more](docs/more.md)\n"
    card = card_of_row(database, stored({"README.md": text}))
    assert card.text == text.decode()
    assert card.html.startswith("<h3>Card</h3>")
    assert f"https://huggingface.co/{MODEL_ID}/blob/{COMMIT}/docs/more.md" in card.html


@pytest.mark.parametrize("endpoint", ["local", "http://127.0.0.1:8000/hub"])
def test_links_to_no_page_that_a_hub_does_not_have(database: Database, stored: Stored, endpoint: str) -> None:
    card = card_of_row(database, stored({"README.md": b"[more](docs/more.md)"}, endpoint=endpoint))
    assert "href" not in card.html


def test_a_card_may_be_missing(database: Database, stored: Stored) -> None:
    assert card_of_row(database, stored({"config.json": b"{}"})).html == ""


def test_shows_the_beginning_of_a_long_card(database: Database, stored: Stored) -> None:
    card = card_of_row(database, stored({"README.md": b"a " * MAX_CARD_BYTES}))
    assert card.truncated
    assert len(card.text) == MAX_CARD_BYTES


def test_shows_what_can_be_read_of_a_card_that_is_no_text(database: Database, stored: Stored) -> None:
    assert card_of_row(database, stored({"README.md": b"caf\xe9\0"})).text == "caf\ufffd\ufffd"
