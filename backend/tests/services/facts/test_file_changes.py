"""Which kinds of files differ between two versions."""

import json

import pytest

from modelyard.hub.names import RemoteFile
from modelyard.services.facts.file_changes import changed_kinds, kind_of_file


def remote(**files: str) -> list[RemoteFile]:
    return [RemoteFile(name.replace("__", "."), 1, content, None) for name, content in files.items()]


def never() -> tuple[bytes | None, bytes | None]:
    raise AssertionError("tokenizer_config.json is the same")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("model-00001-of-00002.safetensors", "weights"),
        ("model.safetensors.index.json", "weights"),
        ("pytorch_model.bin", "weights"),
        ("tokenizer.json", "tokenizer"),
        ("spiece.model", "tokenizer"),
        ("chat_template.jinja", "template"),
        ("additional_chat_templates/tools.jinja", "template"),
        ("config.json", "config"),
        ("generation_config.json", "config"),
        ("README.md", "readme"),
        ("LICENSE", "other"),
    ],
)
def test_what_a_file_is_for(name: str, kind: str) -> None:
    assert kind_of_file(name) == kind


def test_files_that_changed_came_or_went() -> None:
    old = remote(README__md="a", config__json="b", merges__txt="c")
    new = remote(README__md="a2", config__json="b", model__safetensors="d")
    assert changed_kinds(old, new, never) == ["weights", "tokenizer", "readme"]
    assert changed_kinds(old, old, never) == []


@pytest.mark.parametrize(
    ("old", "new", "kinds"),
    [
        ({"chat_template": "a", "x": 1}, {"chat_template": "b", "x": 1}, ["template"]),
        ({"chat_template": "a", "x": 1}, {"chat_template": "a", "x": 2}, ["tokenizer"]),
        ({"x": 1}, {"chat_template": "a", "x": 2}, ["tokenizer", "template"]),
        ("{", "[]", ["tokenizer"]),
        (None, {"chat_template": "a"}, ["template"]),
    ],
)
def test_a_template_inside_of_the_tokenizers_configuration(old: object, new: object, kinds: list[str]) -> None:
    def content(value: object) -> bytes | None:
        return None if value is None else (value if isinstance(value, str) else json.dumps(value)).encode()

    differing = remote(tokenizer_config__json="a"), remote(tokenizer_config__json="b")
    assert changed_kinds(*differing, lambda: (content(old), content(new))) == kinds
