"""Whether a folder's tokenizer has a chat template: the answer is what transformers' tokenizer would say."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from modelyard.services.facts.chat_template import LARGEST_BYTES, find_chat_template

TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tokenizer without a template."""
    words = Tokenizer(models.WordLevel({"<unk>": 0, "Hi": 1}, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>").save_pretrained(tmp_path)
    return tmp_path


def configure(folder: Path, **fields: Any) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_none(folder: Path) -> None:
    assert find_chat_template(folder).present is False


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (TEMPLATE, True),
        ([{"name": "default", "template": TEMPLATE}, {"name": "tool_use", "template": TEMPLATE}], True),
        ([{"name": "rag", "template": TEMPLATE}], False),
    ],
)
def test_in_the_configuration(folder: Path, template: Any, expected: bool) -> None:
    configure(folder, chat_template=template)
    assert find_chat_template(folder).present is expected
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if expected:
        assert tokenizer.get_chat_template() == TEMPLATE
    else:
        with pytest.raises(ValueError, match="chat template"):
            tokenizer.get_chat_template()


@pytest.mark.parametrize("template", [["default"], 7, 0, {}, {"default": TEMPLATE}, False])
def test_what_no_template_can_be_is_not_known(folder: Path, template: Any) -> None:
    configure(folder, chat_template=template)
    assert find_chat_template(folder).present is None


@pytest.mark.parametrize("name", ["chat_template.jinja", "tokenizer_config.json"])
@pytest.mark.parametrize("made", ["folder", "not UTF-8", "link to itself"])
def test_what_is_no_text_is_not_known(folder: Path, name: str, made: str) -> None:
    path = folder / name
    path.unlink(missing_ok=True)
    if made == "folder":
        path.mkdir()
    elif made == "link to itself":
        path.symlink_to(path)
    else:
        path.write_bytes(b"\xff\xfe\x00")
    assert find_chat_template(folder).present is None


def test_in_a_file_of_its_own(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    assert find_chat_template(folder).present is True
    assert AutoTokenizer.from_pretrained(folder).chat_template == TEMPLATE


def test_a_processors_file_is_not_the_tokenizers(folder: Path) -> None:
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    assert find_chat_template(folder).present is False
    assert AutoTokenizer.from_pretrained(folder).chat_template is None


def test_no_tokenizer_at_all(tmp_path: Path) -> None:
    assert find_chat_template(tmp_path).present is False


def test_what_cannot_be_read_is_not_known_until_it_is_mended(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    whole = path.read_text()
    path.write_text("{")
    assert find_chat_template(folder).present is None
    path.write_text(whole)
    os.utime(path, (1, 1))
    configure(folder, chat_template=TEMPLATE)
    assert find_chat_template(folder).present is True


@pytest.mark.parametrize("made", ["deep", "huge"])
def test_what_would_hurt_to_read_is_not_known(folder: Path, made: str) -> None:
    path = folder / "tokenizer_config.json"
    if made == "deep":
        path.write_text('{"a":' * 200_000 + "1" + "}" * 200_000)
    else:
        with path.open("wb") as file:
            file.truncate(LARGEST_BYTES + 1)
    assert find_chat_template(folder).present is None
