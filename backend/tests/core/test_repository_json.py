"""JSON of strangers becomes an object that can be written again, or one error that says where it is wrong."""

import json
import math
from pathlib import Path

import pytest

from modelyard.core.errors import InvalidRepository
from modelyard.core.repository_json import MAX_BYTES, MAX_DEPTH, parse_config, parse_object, read_object


def _nested(levels: int) -> bytes:
    return b'{"a": ' * levels + b"1" + b"}" * levels


REFUSED = {
    "empty": (b"", "is not valid JSON, line 1"),
    "cut short": (b'{\n"a": 1,\n', "is not valid JSON, line 3"),
    "single quotes": (b"{\n'a': 1}", "is not valid JSON, line 2"),
    "latin-1": (b'{"a": 1,\n"b": "caf\xe9"}', "is not UTF-8 text, line 2"),
    "utf-16": ('{"a": 1}'.encode("utf-16"), "is not UTF-8 text, line 1"),
    "encoded surrogate": (b'{"a": "\xed\xa0\x80"}', "is not UTF-8 text, line 1"),
    "escaped surrogate": (b'{"a": ["\\ud800"]}', "half of a surrogate pair"),
    "surrogate as a key": (b'{"a": [{"\\udfff": 1}]}', "half of a surrogate pair"),
    "list": (b"[1]", "is a list, not a JSON object"),
    "text": (b'"x"', "is a string, not a JSON object"),
    "number": (b"1", "is a number, not a JSON object"),
    "null": (b"null", "is null, not a JSON object"),
    "NaN": (b'{"a": NaN}', "holds NaN"),
    "huge integer": (b'{"a": ' + b"9" * 5000 + b"}", "integer of more than 4300 digits"),
    "nested": (_nested(MAX_DEPTH + 1), f"nested more than {MAX_DEPTH} levels"),
    "nested beyond the interpreter": (_nested(100_000), f"nested more than {MAX_DEPTH} levels"),
    "unclosed lists": (b'{"a": ' + b"[" * 100_000, f"nested more than {MAX_DEPTH} levels"),
    "too large": (b'{"a": "' + b"x" * MAX_BYTES + b'"}', "is larger than 5.00 MB"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_with_one_error_that_says_where(name: str) -> None:
    content, words = REFUSED[name]
    with pytest.raises(InvalidRepository) as caught:
        parse_object(content, "config.json", "owner/odd")
    assert caught.value.message.startswith("config.json of owner/odd ")
    assert words in caught.value.message
    assert caught.value.extra["file"] == "config.json"


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'{"a": "\\ud83d\\ude00"}', {"a": "\N{GRINNING FACE}"}),
        (b'{"a": [0.0, Infinity, -Infinity]}', {"a": [0.0, math.inf, -math.inf]}),
        (b'{"a": 1000000000000000019884624838656}', {"a": 1000000000000000019884624838656}),
        (_nested(MAX_DEPTH), json.loads(_nested(MAX_DEPTH))),
        (b'{"a": "\\u0000"}', {"a": "\0"}),
    ],
)
def test_reads_what_authors_write(content: bytes, value: object, tmp_path: Path) -> None:
    assert parse_object(content, "config.json", "owner/odd") == value
    path = tmp_path / "config.json"
    path.write_bytes(content)
    assert json.loads(json.dumps(read_object(path, "owner/odd"))) == value


@pytest.mark.parametrize("wrong", [1, 1.5, "x", ["x"], True], ids=str)
@pytest.mark.parametrize("field", ["quantization_config", "text_config", "vision_config"])
def test_refuses_a_field_that_must_be_an_object(field: str, wrong: object) -> None:
    with pytest.raises(InvalidRepository, match=f"config.json of owner/odd: {field} is an? .*, not an object"):
        parse_config(json.dumps({field: wrong}).encode(), "owner/odd")


@pytest.mark.parametrize("wrong", [1, ["x"], {"x": 1}, True], ids=str)
def test_refuses_a_model_type_that_is_no_string(wrong: object) -> None:
    with pytest.raises(InvalidRepository, match=r"model_type is an? .*, not a string"):
        parse_config(json.dumps({"model_type": wrong}).encode(), "owner/odd")


@pytest.mark.parametrize("wrong", [1, "LlamaForCausalLM", {"x": 1}, [1], [None], [["x"]]], ids=str)
def test_refuses_architectures_that_are_no_list_of_strings(wrong: object) -> None:
    with pytest.raises(InvalidRepository, match=r"architectures (is|holds) "):
        parse_config(json.dumps({"architectures": wrong}).encode(), "owner/odd")


def test_takes_null_for_a_field_that_is_not_there() -> None:
    config = {"quantization_config": None, "model_type": None, "architectures": None, "text_config": None}
    assert parse_config(json.dumps(config).encode(), "owner/odd") == config
