"""Small models of the kinds that people publish, each odd in something else than its weight files.

Those whose weight files are odd are in `odd_repositories`.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from support.odd_repositories import VOCABULARY, Tensors, config, tensors, write_model, write_safetensors

CHAT = "{% for m in messages %}{{ m['role'] + ' ' + m['content'] + ' ' }}{% endfor %}"
NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + CHAT
)
_SPECIAL = {"<s>": 0, "</s>": 1, "<unk>": 2}
_TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "model_max_length": 64,
}
Write = Callable[[Path], None]


def write_tokenizer(folder: Path, *, shift: int = 0, **changes: Any) -> None:
    """Whole words, `w3` and so on; with `shift` their ids begin so many higher."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": number, "content": text} | flags for text, number in _SPECIAL.items()],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": _SPECIAL | {f"w{number}": number + shift for number in range(3, VOCABULARY)},
            "unk_token": "<unk>",
        },
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps(_TOKENIZER_CONFIG | changes))


def _model(
    content: Tensors | None = None, tokenizer: Mapping[str, Any] | None = None, shift: int = 0, **changes: Any
) -> Write:
    def write(folder: Path) -> None:
        write_model(folder, content, **changes)
        write_tokenizer(folder, shift=shift, **(tokenizer or {}))

    return write


def _with(path: str, content: str | bytes | dict[str, Any]) -> Write:
    """A usual model with one more file."""

    def write(folder: Path) -> None:
        _model()(folder)
        text = json.dumps(content) if isinstance(content, dict) else content
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(text.encode() if isinstance(text, str) else text)

    return write


def _generation(**settings: Any) -> Write:
    return _with("generation_config.json", {"bos_token_id": 0, "eos_token_id": 1} | settings)


def _config_text(change: Callable[[str], str | bytes]) -> Write:
    changed = change(json.dumps(config()))
    return _with("config.json", changed)


def _and_field(field: str) -> Write:
    """The configuration with one more field, as it stands in the file."""
    return _config_text(lambda text: text[:-1] + f", {field}}}")


def _nan_weights() -> Tensors:
    content = tensors()
    dtype, shape, data = content["model.norm.weight"]
    values = np.frombuffer(data, "<f4").copy()
    values[3] = np.nan
    return content | {"model.norm.weight": (dtype, shape, values.tobytes())}


def _with_adapter(folder: Path) -> None:
    _with("adapter_config.json", {"peft_type": "LORA", "base_model_name_or_path": "somebody/base", "r": 8})(folder)
    write_safetensors(folder / "adapter_model.safetensors", {"x.lora_A.weight": ("F32", (2, 2), bytes(16))})


def _two_readmes(folder: Path) -> None:
    _with("README.md", "# one\n")(folder)
    (folder / "readme.md").write_text("# two\n")


def _empty_small_files(folder: Path) -> None:
    _model()(folder)
    for name in ("added_tokens.json", "special_tokens_map.json", "README.md"):
        (folder / name).write_bytes(b"")


USABLE: Mapping[str, Write] = {
    "with-a-template": _model(tokenizer={"chat_template": CHAT}),
    "generation-stop-strings": _generation(stop_strings=["w7", "w9"]),
    "generation-contrastive": _generation(penalty_alpha=0.6, top_k=4),
    "generation-group-beams": _generation(num_beams=4, num_beam_groups=2, diversity_penalty=0.5),
    "generation-hybrid-cache": _generation(cache_implementation="hybrid"),
    "generation-bad-values": _generation(temperature=0.0, top_p=1.5, pad_token_id=-1, max_length=20),
    "generation-text-for-an-id": _generation(eos_token_id="</s>"),
    "generation-no-json": _with("generation_config.json", '{"eos_token_id": 1,}\n'),
    "generation-ids-beyond": _generation(eos_token_id=[1, 99999], suppress_tokens=[5, 99999], bad_words_ids=[[99999]]),
    "readme-twice": _two_readmes,
    "colon-in-a-name": _with("results: run 1.json", "{}"),
    "blank-in-a-name": _with(" notes.txt", "x"),
    "names-of-many-scripts": _with("说明 été (v1.0) #1 50%.md", "x"),
    "config-with-a-byte-order-mark": _config_text(lambda text: b"\xef\xbb\xbf" + text.encode()),
    "config-without-architectures": _model(architectures=None),
    "empty-small-files": _empty_small_files,
    "adapter-beside-it": _with_adapter,
    "tied-with-another-head": _model(tie_word_embeddings=True),
    "chat-no-system": _model(tokenizer={"chat_template": NO_SYSTEM}),
    "chat-in-a-file": _with("chat_template.jinja", CHAT),
    "chat-named-no-default": _model(tokenizer={"chat_template": [{"name": "chat", "template": CHAT}]}),
    "chat-other-folder": _with("additional_chat_templates/tool_use.jinja", "T"),
    "chat-list-of-text": _model(tokenizer={"chat_template": ["x"]}),
    "chat-number": _model(tokenizer={"chat_template": 7}),
    "chat-endless": _model(tokenizer={"chat_template": "{% for i in range(10**9) %}{{ i }}{% endfor %}"}),
    "tokenizer-extra-list": _model(tokenizer={"extra_special_tokens": ["w3", "w4"]}),
    "tokenizer-class-unknown": _model(tokenizer={"tokenizer_class": "NoSuchTokenizer"}),
    "tokenizer-with-a-byte-order-mark": _with(
        "tokenizer_config.json", b"\xef\xbb\xbf" + json.dumps(_TOKENIZER_CONFIG).encode()
    ),
    "tokenizer-huge-length": _model(tokenizer={"model_max_length": 10**30, "pad_token": None}),
    "tokenizer-no-special": _model(
        bos_token_id=None, eos_token_id=None, tokenizer={"bos_token": None, "eos_token": None}
    ),
    "tokenizer-short-length": _model(tokenizer={"model_max_length": 8}),
    "tokenizer-larger-than-the-embedding": _model(shift=50),
    "weight-is-nan": _model(_nan_weights()),
}
"""What transformers loads: Modelyard says supported or unverified, fetches it, and has it in memory."""


def _holding(added: Tensors, **changes: Any) -> Write:
    return _model(tensors() | added, **changes)


def _without(start: str) -> Write:
    return _model({name: tensor for name, tensor in tensors().items() if not name.startswith(start)})


_EMBEDDING = tensors()["model.embed_tokens.weight"]
_MORE = ("F32", (64, 1000), bytes(4 * 64 * 1000))
ONE_NUMBER: Mapping[str, Write] = {
    "head-twice": _holding({"lm_head.weight": _EMBEDDING}, tie_word_embeddings=True),
    "head-of-its-own": _model(tie_word_embeddings=True),
    "layer-beyond-the-last": _holding({"model.layers.9.mlp.up_proj.weight": _MORE}),
    "mtp": _holding({"mtp.layers.0.mlp.up_proj.weight": _MORE}),
}
"""Files that hold more than the configuration describes, or than transformers loads."""

REFUSED: Mapping[str, Write] = {
    "config-trailing-comma": _config_text(lambda text: text[:-1] + ",\n}"),
    "config-nan": _and_field('"initializer_range": NaN'),
    "config-list": _config_text(lambda text: f"[{text}]"),
    "config-empty": _config_text(lambda _text: ""),
    "config-not-utf8": _config_text(lambda text: text.encode("utf-16")),
    "config-surrogate": _and_field('"note": "\\ud800"'),
    "config-deep": _and_field('"note": ' + "[" * 5000 + "]" * 5000),
    "config-long-number": _and_field('"note": ' + "9" * 5000),
    "config-quantization-text": _model(quantization_config="x"),
    "config-architectures-text": _model(architectures="LlamaForCausalLM"),
    "config-dimension-text": _model(vocab_size=str(VOCABULARY)),
    "config-more-layers-than-weights": _model(num_hidden_layers=40),
    "weights-without-a-part-of-a-layer": _without("model.layers.1.mlp"),
    "weights-without-a-norm": _without("model.norm"),
}
"""What cannot be loaded as its author meant it: it is refused with the reason, and nothing breaks."""
