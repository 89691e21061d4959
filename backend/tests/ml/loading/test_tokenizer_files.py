"""Repositories whose tokenizer files name a file of the machine: transformers opens it, Modelyard does not."""

import ast
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer as RustTokenizer
from transformers import AutoTokenizer, BertConfig, BertModel

from modelyard.core.errors import NoTokenizer
from modelyard.ml import sample_models
from modelyard.ml.loading import tokenizer_files
from modelyard.ml.loading.pretrained import load_tokenizer
from modelyard.ml.loading.tokenizer_files import checked
from modelyard.ml.quantize import drift
from modelyard.ml.quantize.answers import find_prompts
from modelyard.ml.untrusted import Tokenizer
from modelyard.workers.processes.library_process import try_tokenizer

SECRET = "hunter2-of-the-operator"
MAPS = ("tokenizer_config.json", "special_tokens_map.json")
READERS: dict[str, Callable[[Path], Any]] = {
    "child": lambda folder: Tokenizer(folder, "some/model").encode(SECRET),
    "training": lambda folder: try_tokenizer(folder, "some/model", [SECRET]),
    "process": load_tokenizer,
}


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file of words as a vocabulary is, outside of the repository."""
    path = tmp_path / "secret.txt"
    path.write_text(f"[UNK]\n[CLS]\n[SEP]\n[PAD]\n[MASK]\n{SECRET}\n")
    return path


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (folder / "vocab.txt").write_text("[UNK]\n[CLS]\n[SEP]\n[PAD]\n[MASK]\nhello\n")
    return folder


def write(folder: Path, name: str, **values: Any) -> None:
    if name == "special_tokens_map.json":
        (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    (folder / name).write_text(json.dumps({"tokenizer_class": "BertTokenizer"} | values))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", MAPS)
def test_a_vocabulary_elsewhere_is_refused(repository: Path, secret: Path, name: str, reader: str) -> None:
    write(repository, name, vocab=str(secret))
    assert SECRET in AutoTokenizer.from_pretrained(repository).get_vocab(), "transformers opens it"
    with pytest.raises(NoTokenizer, match=f"cannot be read: {name} names in 'vocab' a file"):
        READERS[reader](repository)


def test_what_a_process_may_know_of_itself_is_not_read(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`/proc/self/environ` is one long line, so the words of the vocabulary are the process's variables."""
    environment = Path("/proc/self/environ")
    if not environment.exists():
        pytest.skip("no /proc on this system")
    write(repository, "tokenizer_config.json", vocab=str(environment))
    opened = AutoTokenizer.from_pretrained(repository).get_vocab()
    assert any("PATH=" in word for word in opened), "transformers opens it"
    for reader in READERS.values():
        with pytest.raises(NoTokenizer, match=r"tokenizer_config.json names in 'vocab' a file"):
            reader(repository)


def test_a_copy_of_less_precision_is_not_judged_by_it(repository: Path, secret: Path) -> None:
    write(repository, "tokenizer_config.json", vocab=str(secret))
    tiny = BertConfig(vocab_size=10, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    prompts = find_prompts("some/model", repository, BertModel(tiny))
    without = drift.fixed_prompts(None, 10)
    assert all(torch.equal(ids, other) for ids, other in zip(prompts.ids, without.ids, strict=True)), (
        "as without a tokenizer"
    )


@pytest.mark.parametrize(
    "values",
    [
        {"init_inputs": ["{secret}"]},
        {"merges": "{secret}", "vocab": {"a": 0}},
        {"gguf_file": "{secret}"},
        {"entity_vocab": "{secret}"},
        {"sp_model_kwargs": {"model_file": "{secret}"}},
        {"sudachi_kwargs": {"sudachi_config_path": "{secret}"}},
        {"mecab_kwargs": {"mecab_option": "-r {secret}"}},
        {"fast_tokenizer_files": ["../tokenizer.4.0.json"]},
    ],
    ids=lambda values: next(iter(values)),
)
@pytest.mark.parametrize("name", MAPS)
def test_every_key_that_is_opened_is_refused(repository: Path, secret: Path, name: str, values: dict[str, Any]) -> None:
    write(repository, name, **json.loads(json.dumps(values).replace("{secret}", str(secret))))
    key = next(iter(values))
    with pytest.raises(NoTokenizer, match=f"{name} names in {key!r} a file"), checked(repository):
        pass


def test_a_map_of_tokens_cannot_replace_the_tokenizers_file(repository: Path, tmp_path: Path) -> None:
    sample_models.train_tokenizer().save_pretrained(repository)
    (repository / "config.json").write_text("{}")
    other = json.loads((repository / "tokenizer.json").read_text())
    other["added_tokens"].append(dict(other["added_tokens"][0], id=5000, content=SECRET))
    (tmp_path / "tokenizer.json").write_text(json.dumps(other))
    config = json.loads((repository / "tokenizer_config.json").read_text()) | {
        "tokenizer_class": "PreTrainedTokenizerFast"
    }
    config.pop("added_tokens_decoder", None)
    (repository / "tokenizer_config.json").write_text(json.dumps(config))
    (repository / "special_tokens_map.json").write_text(
        json.dumps({"tokenizer_file": str(tmp_path / "tokenizer.json")})
    )
    assert SECRET in AutoTokenizer.from_pretrained(repository).get_vocab(), "transformers opens it"
    assert SECRET not in load_tokenizer(repository).get_vocab()
    with Tokenizer(repository, "some/model") as tokenizer:
        assert len(tokenizer.encode(SECRET)) > 1


def test_a_list_of_tokenizers_leads_nowhere(repository: Path, tmp_path: Path) -> None:
    words = {"[UNK]": 0, SECRET: 1}
    whole = {"version": "1.0", "added_tokens": [], "model": {"type": "WordLevel", "vocab": words, "unk_token": "[UNK]"}}
    (tmp_path / "tokenizer.4.0.json").write_text(json.dumps(whole))
    write(
        repository,
        "tokenizer_config.json",
        tokenizer_class="PreTrainedTokenizerFast",
        fast_tokenizer_files=[str(tmp_path / "tokenizer.4.0.json")],
    )
    (repository / "config.json").write_text("{}")
    assert SECRET in AutoTokenizer.from_pretrained(repository).get_vocab(), "transformers opens it"
    for reader in READERS.values():
        with pytest.raises(NoTokenizer, match=r"tokenizer_config.json names in 'fast_tokenizer_files' a file"):
            reader(repository)


def test_what_an_author_left_behind_does_no_harm(repository: Path) -> None:
    left = {
        "name_or_path": "/home/author/x",
        "vocab_file": None,
        "merges_file": "/home/author/merges.txt",
        "special_tokens_map_file": "/root/.cache/huggingface/special_tokens_map.json",
        "tokenizer_file": "/root/.cache/huggingface/tokenizer.json",
        "cache_dir": "/scratch",
        "author": "me",
        "mecab_kwargs": {"mecab_dic": "unidic_lite"},
        "do_lower_case": True,
        "model_max_length": 512,
        "cls_token": {"__type": "AddedToken", "content": "[CLS]", "special": True},
        "chat_template": "{{ '/etc/passwd' }}{{ messages[0].content }}",
    }
    write(repository, "tokenizer_config.json", **left)
    write_map = {"cls_token": "[CLS]", "sep_token": {"content": "[SEP]", "lstrip": False}, "name_or_path": "/x"}
    (repository / "special_tokens_map.json").write_text(json.dumps(write_map))
    tokenizer = load_tokenizer(repository)
    assert tokenizer.name_or_path == str(repository)
    ids = tokenizer("Hello")["input_ids"]
    assert ids == [1, 5, 2]
    with Tokenizer(repository, "some/model") as other:
        assert other.encode("Hello") == ids
        assert other.render_chat([{"role": "user", "content": "!"}]) == "/etc/passwd!"


def test_files_that_name_nothing_are_used_as_they_are(repository: Path) -> None:
    write(repository, "tokenizer_config.json", name_or_path="/home/author/x", padding_side="left", cls_token="[CLS]")
    with checked(repository) as readable:
        assert readable == repository


def test_every_text_that_a_tokenizer_takes_is_sorted() -> None:
    """A class of a later transformers may take a text that nobody has looked at: is it a path?"""
    package = Path(os.fspath(transformers.__file__)).parent
    files = [*package.glob("models/*/tokenization_*.py"), *package.glob("tokenization_*.py")]
    unsorted = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and "Token" in node.name:
                unsorted |= {f"{node.name}.{name}" for name in _texts_taken(node) if not _is_sorted(name)}
    assert not unsorted


def _texts_taken(node: ast.ClassDef) -> set[str]:
    """Parameters of the constructor that are not plainly numbers."""
    found = set()
    for function in node.body:
        if isinstance(function, ast.FunctionDef) and function.name == "__init__":
            arguments = function.args
            defaults = [None] * (len(arguments.args) - len(arguments.defaults)) + list(arguments.defaults)
            for argument, default in zip(arguments.args[1:], defaults[1:], strict=True):
                number = isinstance(default, ast.Constant) and isinstance(default.value, bool | int | float)
                annotation = ast.unparse(argument.annotation) if argument.annotation else ""
                if not number and (not annotation or "str" in annotation or "dict" in annotation.lower()):
                    found.add(argument.arg)
    return found


def _is_sorted(name: str) -> bool:
    known = tokenizer_files.TEXT_OPTIONS | tokenizer_files.OPENED | tokenizer_files.WORD_OPTIONS | LEFT_OUT
    return name in known or name.endswith((*tokenizer_files.TEXT_SUFFIXES, "_file"))


LEFT_OUT = {
    # numbers, booleans and bytes
    "_spm_precompiled_charsmap", "add_prefix_space", "cls_token_box", "keep_accents", "max_question_length",
    "min_question_length", "normalized", "pad_token_box", "pad_token_label", "sep_token_box", "strip_accents",
    # paths, and tokenizers
    "generator", "question_encoder", "source_spm", "target_spm",
    # what is inside of AddedToken, and of WORD_OPTIONS
    "content", "mecab_dic", "mecab_option", "sudachi_config_path", "sudachi_dict_type", "sudachi_projection",
    "sudachi_resource_dir", "sudachi_split_mode",
}  # fmt: skip
"""Parameters that are left out where a file gives a text for them."""


def test_the_library_reads_no_file_that_a_tokenizer_json_names(tmp_path: Path, secret: Path) -> None:
    whole = {"version": "1.0", "model": {"type": "WordLevel", "vocab": str(secret), "unk_token": "[UNK]"}}
    with pytest.raises(Exception, match=r"invalid type|did not match|expected"):
        RustTokenizer.from_str(json.dumps(whole))
