"""Hostile chat templates and tokenizers, hand-made: each is stopped, the answer says why, and this process is well.

Every attack runs beside an `_in_check` test that fails, instead of the machine, where nothing stops it.
"""

import json
import os
import random
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import psutil
import pytest
from transformers import AutoTokenizer

from modelyard.core.errors import ModelyardError, NoTokenizer, TemplateFailed
from modelyard.ml import sample_models
from modelyard.ml.untrusted import Tokenizer, TokenizerStopped
from modelyard.ml.untrusted import tokenizer as parent_side
from modelyard.ml.untrusted.warm_process import WarmProcess
from support.secrets import SECRETS, environment_of

USER = {"role": "user", "content": "Hello there"}
MESSAGES = [{"role": "system", "content": "Be short."}, USER, {"role": "assistant", "content": "Hi"}, USER]
NAME = "some/model"
SECONDS = 60.0
"""More than any limit, for a busy machine."""

DOUBLING = "{% set ns = namespace(x='xxxxxxxx') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}"
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% set c = a %}{% endfor %}{% endfor %}"
LONG = "{% for a in range(2000) %}{{ 'x' * 10000 }}{% endfor %}"

# As their repositories have them, or near to it: whitespace control, namespaces, tools, dates, exceptions.
TEMPLATES = {
    "smollm2": (
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
        "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}"
        "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "llama-3": (
        "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + "
        "message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}"
        "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
    ),
    "zephyr": (
        "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + "
        "eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n"
        "{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n"
        "{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
    ),
    "tools and dates": (
        "{{- bos_token }}{%- if tools %}{{ tools | tojson(indent=2) }}{%- else %}no tools{%- endif %}"
        "{%- set ns = namespace(last=-1) %}{%- for m in messages %}{%- if m.role == 'user' %}"
        "{%- set ns.last = loop.index0 %}{%- endif %}{%- endfor %}{{ ns.last }} {{ strftime_now('%Y') }}"
        "{%- for m in messages %}{%- if m.role == 'tool' %}{%- break %}{%- endif %}"
        "{%- if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{%- endif %}{%- endfor %}"
    ),
}
TOOLS = [{"type": "function", "function": {"name": "time", "description": "é <b>", "parameters": {"type": "object"}}}]


@pytest.fixture(scope="module", autouse=True)
def _in_check() -> Iterator[None]:
    """Whatever the code under test does, these processes together cannot take the machine's memory."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (psutil.Process().memory_info().vms + 6_000_000_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_DATA, before)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Callable[..., Tokenizer]]:
    """Makes an open tokenizer from changes to a small harmless one, and a chat template."""
    opened: list[Tokenizer] = []

    def make(template: Any = None, **changes: Any) -> Tokenizer:
        opened.append(Tokenizer(write(tmp_path, template, **changes), NAME))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def write(folder: Path, template: Any = None, **changes: Any) -> Path:
    words = {word: number for number, word in enumerate(["<unk>", "<s>", "</s>", "a", "Hello", "there"])}
    special = [
        {
            "id": words[word], "content": word, "special": True,
            "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
        }
        for word in ("<unk>", "<s>", "</s>")
    ]  # fmt: skip
    whole = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": None, "decoder": None,
        "model": {"type": "WordLevel", "vocab": words, "unk_token": "<unk>"},
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(whole | changes))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    if template is not None:
        config["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize(
    "options", [{"add_generation_prompt": True}, {}, {"tools": TOOLS}], ids=["ask", "plain", "tools"]
)
def test_a_text_is_what_transformers_makes(
    made: Callable[..., Tokenizer], tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    tokenizer = made(TEMPLATES[name])
    reference = AutoTokenizer.from_pretrained(tmp_path)
    text = tokenizer.render_chat(MESSAGES, **options)
    assert text == reference.apply_chat_template(MESSAGES, tokenize=False, **options)
    assert (
        tokenizer.encode(text, add_special_tokens=False)
        == reference.apply_chat_template(MESSAGES, return_dict=True, **options)["input_ids"]
    )


def test_of_several_templates_the_named_or_the_default_one_is_taken(made: Callable[..., Tokenizer]) -> None:
    named = [
        {"name": name, "template": f"{name} {{{{ messages | length }}}}"} for name in ("default", "rag", "tool_use")
    ]
    tokenizer = made(named)
    assert tokenizer.has_chat_template()
    assert tokenizer.render_chat(MESSAGES) == "default 4"
    assert tokenizer.render_chat(MESSAGES, chat_template="rag") == "rag 4"
    assert tokenizer.render_chat(MESSAGES, tools=TOOLS) == "tool_use 4"
    with pytest.raises(TemplateFailed, match=r"of some/model failed: ValueError: .*multiple chat templates"):
        made(named[1:]).render_chat(MESSAGES)


def test_a_sample_models_tokenizer_is_what_transformers_makes(tmp_path: Path) -> None:
    sample_models.train_tokenizer().save_pretrained(tmp_path)
    reference = AutoTokenizer.from_pretrained(tmp_path)
    text = "naïve café 日本語 😂 \n\n  def f(x):\n\treturn x"
    with Tokenizer(tmp_path, NAME) as tokenizer:
        ids = tokenizer.encode(text)
        assert ids == reference(text)["input_ids"]
        assert tokenizer.decode(ids, ids[:3]) == [text, reference.decode(ids[:3], skip_special_tokens=True)]
        assert tokenizer.count([text, "a b"]) == len(reference(text)["input_ids"]) + len(reference("a b")["input_ids"])
        assert tokenizer.bos_token_id() == reference.bos_token_id
        assert tokenizer.has_chat_template() is False


@pytest.mark.parametrize(
    ("template", "said"),
    [
        pytest.param(DOUBLING, "used more than 512 MB of memory", id="memory"),
        pytest.param(ENDLESS, r"took more than (5 s of processor time|\d+ s)", id="time"),
        pytest.param(LONG, "wrote more than 16 MB of text", id="length"),
        pytest.param("{{ raise_exception('Only one user, please') }}", "refuses these messages: Only one", id="raises"),
        pytest.param("{% for %}", "has a syntax error in line 1: ", id="syntax"),
        pytest.param("{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}", "RecursionError", id="recursion"),
        pytest.param("{{ " + "(" * 50_000 + "1" + ")" * 50_000 + " }}", "failed: |could not be run", id="nesting"),
        pytest.param("{{ messages[0].content.__class__.mro() }}", "failed: SecurityError", id="escape"),
        pytest.param("{{ messages[9].content }}", "failed: UndefinedError", id="message missing"),
    ],
)
def test_a_hostile_template_is_stopped_and_named(made: Callable[..., Tokenizer], template: str, said: str) -> None:
    tokenizer = made(template)
    tokenizer.has_chat_template()
    before, began = psutil.Process().memory_info().rss, time.monotonic()
    with pytest.raises(TemplateFailed, match=rf"^The chat template of {NAME} .*({said})") as refused:
        tokenizer.render_chat(MESSAGES)
    assert refused.value.hint
    assert time.monotonic() - began < SECONDS
    assert psutil.Process().memory_info().rss - before < 100_000_000
    assert tokenizer.encode("Hello there") == [4, 5], "the next request is answered"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        pytest.param(
            {"normalizer": {"type": "Sequence", "normalizers": [
                {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}] * 40}},
            "aaaa", id="multiplies",
        ),
        pytest.param({"pre_tokenizer": split("(a+)+$")}, "a" * 40 + "b", id="exponential pattern"),
        pytest.param({"pre_tokenizer": split("[ab]*[ab]*[cd]{2}")}, "ab" * 2000 + "c", id="cubic pattern"),
    ],
)  # fmt: skip
def test_a_hostile_tokenizer_is_stopped_and_named(
    made: Callable[..., Tokenizer], changes: dict[str, Any], text: str
) -> None:
    tokenizer = made(**changes)
    with pytest.raises(TemplateFailed, match=f"^The tokenizer of {NAME} (used more|took more|failed: PanicException)"):
        tokenizer.encode(text)
    assert tokenizer.encode("Hello there")


def test_a_hostile_decoder_is_stopped(made: Callable[..., Tokenizer]) -> None:
    multiplies = [{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}] * 40
    tokenizer = made(decoder={"type": "Sequence", "decoders": multiplies})
    with pytest.raises(TemplateFailed, match=r"^The tokenizer of some/model (used|took) more than"):
        tokenizer.decode([3, 3, 3])


@pytest.mark.thorough
def test_a_hostile_vocabulary_is_stopped(made: Callable[..., Tokenizer]) -> None:
    """Ten megabytes, of which the library makes a tree that takes gigabytes."""
    letters = random.Random(0)
    words = [["".join(letters.choices(ascii_lowercase, k=100)), -1.0] for _ in range(100_000)]
    tokenizer = made(model={"type": "Unigram", "vocab": words, "unk_id": 0})
    with pytest.raises(NoTokenizer, match=f"^The tokenizer of {NAME} (used more than 2000 MB|took more than)"):
        tokenizer.encode("a")


def test_files_that_are_none_say_so(made: Callable[..., Tokenizer], tmp_path: Path) -> None:
    tokenizer = made(model={"type": "Nonsense"})
    for _again in range(2):
        with pytest.raises(NoTokenizer, match="cannot be read"):
            tokenizer.encode("a")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoTokenizer, match="has no tokenizer files"):
        Tokenizer(tmp_path / "empty", NAME)


def test_it_is_stopped_at_once_when_nobody_wants_it(made: Callable[..., Tokenizer]) -> None:
    tokenizer = made(ENDLESS)
    tokenizer.has_chat_template()
    asked = time.monotonic()
    child = psutil.Process(tokenizer.pid)
    with pytest.raises(TokenizerStopped):
        tokenizer.render_chat(MESSAGES, should_stop=lambda: time.monotonic() - asked > 0.3)
    assert not child.is_running()


def test_others_go_on_meanwhile(made: Callable[..., Tokenizer], tmp_path: Path) -> None:
    hostile, errors = made(ENDLESS), list[ModelyardError]()

    def attack() -> None:
        try:
            hostile.render_chat(MESSAGES)
        except ModelyardError as error:
            errors.append(error)

    (tmp_path / "other").mkdir()
    with Tokenizer(write(tmp_path / "other", "{{ messages | length }}"), "other/model") as other:
        thread = threading.Thread(target=attack)
        thread.start()
        answered = 0
        while thread.is_alive():
            assert other.render_chat(MESSAGES) == "4"
            answered += thread.is_alive()
            time.sleep(0.1)
    assert answered, "the other waited for its end"
    assert [error.code for error in errors] == ["template_failed"]


@pytest.mark.parametrize("of", ["tokenizer", "warm process"])
def test_one_that_was_killed_while_idle_is_started_again(made: Callable[..., Tokenizer], of: str) -> None:
    tokenizer = made()
    assert tokenizer.encode("Hello") == [4]
    process = tokenizer.pid if of == "tokenizer" else parent_side.warm_pid()
    assert process is not None
    os.kill(process, signal.SIGKILL)
    assert tokenizer.encode("Hello") == [4]


def test_a_closed_one_leaves_no_process(made: Callable[..., Tokenizer]) -> None:
    tokenizer = made()
    tokenizer.encode("Hello")
    process = psutil.Process(tokenizer.pid)
    tokenizer.close()
    assert not process.is_running()


def test_it_gets_no_credential_and_no_torch(made: Callable[..., Tokenizer], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, "secret")
    monkeypatch.setattr(parent_side, "_warm", WarmProcess())
    tokenizer = made()
    tokenizer.encode("Hello")
    maps = Path(f"/proc/{tokenizer.pid}/maps")
    if not maps.exists():
        pytest.skip("no /proc on this system")
    assert tokenizer.pid is not None
    assert "libtorch" not in maps.read_text()
    assert not set(SECRETS) & set(environment_of(tokenizer.pid))
