"""Small files of repositories, damaged in every way: all that is asked of such rows is answered, and only they suffer.

The rows are ready and the files are in the store, as an earlier version or a damaged disk may leave them: the checks of
downloads and imports are not in the way.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from modelyard import main
from modelyard.cli import app as command
from modelyard.client.api_client import ApiClient
from modelyard.core.database import Database
from modelyard.models import ModelStatus
from modelyard.services.inspection import inspection_service
from modelyard.services.model_files import hub_cache, look_at_files, new_manifest
from modelyard.services.model_service import ModelService
from services.cache import new_row, remote_files
from support.odd_repositories import config, write_safetensors

COMMIT = "a" * 40
WHOLE = "whole"
CONFIG, TOKENIZER, TEMPLATE = "config.json", "tokenizer_config.json", "chat_template.jinja"
INDEX, ADAPTER = "model.safetensors.index.json", "adapter_config.json"

OBJECTS: Mapping[str, dict[str, Any]] = {
    CONFIG: config(layer_types=["full_attention"] * 2, quantization_config=None, auto_map=None, text_config=None),
    "generation_config.json": {"eos_token_id": [1, 2], "temperature": 0.7, "stop_strings": ["."], "do_sample": True},
    TOKENIZER: {
        "chat_template": "{{ messages }}",
        "model_max_length": 10**30,
        "added_tokens_decoder": {},
        "bos_token": "a",
    },
    "tokenizer.json": {"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {}, "merges": []}},
    "special_tokens_map.json": {"bos_token": {"content": "<s>"}, "additional_special_tokens": ["a"]},
    "added_tokens.json": {"<extra>": 96},
    "chat_template.json": {"chat_template": "{{ messages }}"},
    INDEX: {"metadata": {"total_size": 4}, "weight_map": {"w": "model.safetensors"}},
    "quantize_config.json": {"bits": 4, "group_size": 128},
    "preprocessor_config.json": {"image_mean": [0.5], "size": {"height": 224}},
    "modules.json": {"0": {"path": "", "type": "sentence_transformers.models.Transformer"}},
    "1_Pooling/config.json": {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True},
    ADAPTER: {"base_model_name_or_path": "owner/base", "r": 8, "target_modules": ["q_proj"]},
}
TEXTS: Mapping[str, str] = {
    TEMPLATE: "{% for message in messages %}{{ message['content'] }}{% endfor %}",
    "README.md": "---\nlicense: apache-2.0\ntags: [a, b]\n---\n# A model\n",
}
WRONG: Mapping[str, Any] = {
    "list": ["x"], "null": None, "number": 7, "overflow": 10**30, "negative": -1, "text": "x", "object": {"x": [1]},
}  # fmt: skip


def _deep(text: str) -> bytes:
    return b'{"a":' * 200_000 + text.encode() + b"}" * 200_000


DAMAGES: Mapping[str, Callable[[str], bytes]] = {
    "empty": lambda _text: b"",
    "cut short": lambda text: text[:-3].encode(),
    "not JSON": lambda _text: b"<html>Not found</html>",
    "binary": lambda _text: bytes(range(256)),
    "null": lambda _text: b"null",
    "a list": lambda text: f"[{text}]".encode(),
    "NaN": lambda _text: b'{"a": NaN, "chat_template": NaN}',
    "beyond a float": lambda _text: b'{"a": 1e999}',
    "5000 digits": lambda _text: b'{"a": %s}' % (b"9" * 5000),
    "deep": _deep,
    "half a surrogate": lambda _text: b'{"a": "\\ud800", "chat_template": "\\udfff"}',
    "mark of the byte order": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "keys twice": lambda text: f'{{"a": 1, "a": [2], {text.strip()[1:]}'.encode(),
    "a huge text": lambda _text: b'{"a": "%s"}' % (b"x" * 6_000_000),
    "a null character": lambda _text: b'{"a": "\\u0000", "b\\u0000": 1}',
}
UNREADABLE = set(DAMAGES) - {
    "beyond a float",
    "mark of the byte order",
    "keys twice",
    "a huge text",
    "a null character",
}
"""Of a file that holds one JSON object of any size up to 20 MB."""

READ = (CONFIG, TOKENIZER, TEMPLATE, INDEX, ADAPTER)
"""What is read for an answer about a row. The others are damaged together."""


def _content(file: str) -> str:
    return json.dumps(OBJECTS[file]) if file in OBJECTS else TEXTS[file]


def _rows(*files: str) -> dict[str, dict[str, bytes]]:
    """The files of a row for each damage."""
    return {name: {file: damage(_content(file)) for file in files} for name, damage in DAMAGES.items()}


def _fields(file: str) -> dict[str, dict[str, bytes]]:
    """The files of a row for each field and each value of a wrong kind."""
    return {
        f"{field} {name}": {file: json.dumps(OBJECTS[file] | {field: value}).encode()}
        for field in OBJECTS[file]
        for name, value in WRONG.items()
    }


OTHERS = [file for file in (*OBJECTS, *TEXTS) if file not in READ]
CASES = [
    *(pytest.param(file, _rows(file), id=file) for file in READ),
    pytest.param(", ".join(OTHERS), _rows(*OTHERS), id="the others"),
    pytest.param(TOKENIZER, _fields(TOKENIZER), id=f"fields of {TOKENIZER}"),
    pytest.param(CONFIG, _fields(CONFIG), id=f"fields of {CONFIG}", marks=pytest.mark.thorough),
    pytest.param(INDEX, _fields(INDEX), id=f"fields of {INDEX}", marks=pytest.mark.thorough),
    pytest.param(ADAPTER, _fields(ADAPTER), id=f"fields of {ADAPTER}", marks=pytest.mark.thorough),
]


_NUMBERS = ("number", "overflow", "negative")
_WRONG_IN_CONFIG: Mapping[str, tuple[str, ...]] = {
    "architectures": (*_NUMBERS, "text", "object"),
    "model_type": (*_NUMBERS, "list", "object"),
    "dtype": (*_NUMBERS, "list"),
    **dict.fromkeys(("quantization_config", "text_config", "auto_map"), (*_NUMBERS, "list", "text")),
    "max_position_embeddings": ("list", "text", "object"),
    **dict.fromkeys(
        (
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
            "vocab_size",
        ),
        ("list", "text", "object", "overflow", "negative"),
    ),
}
"""What a field of config.json cannot be."""


def _remarked(file: str, damage: str) -> bool:
    """Whether something of the file cannot be used."""
    if file == CONFIG:
        field, _, kind = damage.partition(" ")
        return damage in UNREADABLE | {"a huge text"} or kind in _WRONG_IN_CONFIG.get(field, ())
    if file == TOKENIZER:
        return damage in UNREADABLE or damage in {
            f"chat_template {name}" for name in ("list", "number", "overflow", "negative", "object")
        }
    return file == TEMPLATE and damage in ("binary", "UTF-16")


@pytest.fixture
def ready(database: Database, tmp_path: Path) -> Iterator[Callable[[str, Mapping[str, bytes]], str]]:
    """Put files into the store and a ready row for them into the database; returns its id."""
    write_safetensors(tmp_path / "weights", {"w": ("F32", (1,), bytes(4))})
    plain = {CONFIG: _content(CONFIG).encode(), TOKENIZER: _content(TOKENIZER).encode()}
    plain["model.safetensors"] = (tmp_path / "weights").read_bytes()
    cache = hub_cache()
    written = []

    def put(name: str, changed: Mapping[str, bytes]) -> str:
        model_id = f"shipped/{name}"
        written.append(model_id)
        contents = {**plain, **changed}
        with database.session() as session:
            row = new_row(session, cache, COMMIT, model_id=model_id, canonical_id=model_id)
            files = remote_files(contents)
            row.files = new_manifest(row, files, cache.inventory(model_id, COMMIT, files))
            cache.prepare(model_id)
            for file in files:
                cache.blob_path(model_id, file.blob).write_bytes(contents[file.path])
                cache.link(model_id, COMMIT, file)
            models = ModelService(session, cache)
            models.mark_ended(row, ModelStatus.READY)
            models.files.note(row, look_at_files(cache, row))
            return row.id

    yield put
    for model_id in written:
        shutil.rmtree(cache.snapshot_path(model_id, COMMIT).parents[1])


@pytest.fixture(scope="module", autouse=True)
def _inspector() -> Iterator[None]:
    yield
    inspection_service.close_inspector()


@pytest.fixture
def client(database: Database, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """The whole application, without what its process does besides."""
    monkeypatch.setattr(main, "get_database", lambda: database)
    return TestClient(main.create_app(), base_url="http://localhost/api/v1/")


@pytest.fixture
def modelyard(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """The command line, whose client is this one."""

    def connect(own: Any, url: str, _api_key: str | None = None) -> None:
        own.url, own.is_local, own._headers, own._http = url, True, {}, client

    monkeypatch.setattr(ApiClient, "__init__", connect)
    monkeypatch.setattr(ApiClient, "__exit__", lambda *_arguments: None)
    return lambda *arguments: CliRunner().invoke(command, ["--server", "http://localhost", *arguments])


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("file", "damaged"), CASES)
def test_a_damaged_file_is_no_reason_not_to_answer(
    file: str,
    damaged: Mapping[str, Mapping[str, bytes]],
    ready: Callable[[str, Mapping[str, bytes]], str],
    client: TestClient,
    modelyard: Callable[..., Any],
) -> None:
    whole = ready("whole", {})
    rows = {ready(f"r{number}", files): name for number, (name, files) in enumerate(damaged.items())}

    page = client.get("models", params={"limit": 500})
    assert page.status_code == 200, page.text
    listed = {row["id"]: row for row in page.json()["items"]}
    assert set(listed) == {whole, *rows}
    assert (listed[whole]["remarks"], listed[whole]["has_chat_template"]) == ([], True)
    for row_id, damage in rows.items():
        row = listed[row_id]
        assert bool(row["remarks"]) == _remarked(file, damage), (damage, row["remarks"])
        unknown = bool(row["remarks"]) and file != CONFIG
        assert (row["has_chat_template"] is None) == unknown, (damage, row["remarks"])
        assert all(file in remark for remark in row["remarks"])
        for path in ("", "/training-compatibility", "/estimate-memory?parts=weights"):
            answer = client.get(f"models/{row_id}{path}")
            refused = answer.status_code != 200
            assert not refused or (file == CONFIG and answer.status_code == 422), (damage, path, answer.text)
    plan = client.post("models/deletion-plan", json={"ids": list(rows)})
    assert (plan.status_code, len(plan.json()["items"])) == (200, len(rows))

    shown = modelyard("ls")
    assert (shown.exit_code, shown.stdout.count("shipped/")) == (0, len(rows) + 1), shown.output
    remarked = next((row_id for row_id in rows if listed[row_id]["remarks"]), None)
    if remarked is not None:
        (remark,) = listed[remarked]["remarks"]
        assert "".join(remark.split()) in "".join(modelyard("show", remarked).stdout.split())
        assert "frees" in modelyard("rm", remarked, "--dry-run").stdout
