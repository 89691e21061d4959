"""Makes the sample models: `python -m modelyard.ml.sample_models --into FOLDER`.

Each becomes a folder that `from_pretrained` loads: transformers' own classes with seeded random weights, and a
byte-level BPE tokenizer trained on the text that ships with Python. The same versions of Python, torch and
transformers make the same bytes.
"""

import argparse
import importlib
import inspect
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.core import locks
from modelyard.core.errors import StorageError
from modelyard.core.process import EXIT_STORAGE
from modelyard.core.storage import require_room
from modelyard.ml.loading.disk_errors import disk_errors

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

VOCAB_SIZE = 8192
CONTEXT_TOKENS = 2048
END_OF_TEXT = "<|endoftext|>"
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
PADDING = "<|pad|>"
SPECIAL_TOKENS = (END_OF_TEXT, TURN_START, TURN_END, PADDING)

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

# Modules whose docstrings are read besides the language reference: plain English about varied subjects.
_DOCUMENTED_MODULES = (
    "argparse", "ast", "collections", "configparser", "csv", "datetime", "decimal", "difflib", "email.message",
    "fractions", "functools", "heapq", "http.client", "inspect", "io", "ipaddress", "itertools", "json", "logging",
    "mailbox", "math", "os", "pathlib", "pickle", "random", "re", "shutil", "socket", "sqlite3", "statistics",
    "string", "subprocess", "tarfile", "tempfile", "textwrap", "threading", "typing", "unittest.mock",
    "urllib.request", "uuid", "xml.dom.minidom", "zipfile",
)  # fmt: skip

_CARD = """\
---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
tags:
- modelyard-sample
---

# {name}

**This is a sample with random weights. What it generates is noise.** It exists so that downloading, estimating,
quantizing, loading and training can be tried on any machine, with no internet.

| | |
|---|---|
| architecture | `{architecture}` |
| parameters | {parameters:,} in {dtype} |
| layers, width | {layers}, {width} |
| vocabulary | {vocabulary:,}, byte-level BPE trained on Python's own documentation |

{about}
"""
"""The model card; `SAMPLE_TAG` of the Hub endpoint's catalogue is among its tags."""


@dataclass(frozen=True)
class Recipe:
    """How one sample is made. `build` returns the model with its weights, in the dtype they are stored in."""

    folder: str
    about: str
    chat: bool
    build: Callable[[], "PreTrainedModel"]
    max_shard_size: str = "5GB"


def _llama() -> "PreTrainedModel":
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=12,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT_TOKENS,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=3,
    )
    return _random(LlamaForCausalLM, config, torch.bfloat16)


def _gpt2() -> "PreTrainedModel":
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=VOCAB_SIZE,
        n_positions=512,
        n_embd=128,
        n_layer=4,
        n_head=4,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=3,
    )
    return _random(GPT2LMHeadModel, config, torch.float32)


def _qwen_moe() -> "PreTrainedModel":
    import torch
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    config = Qwen3MoeConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=256,
        intermediate_size=512,
        moe_intermediate_size=192,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=2,
        head_dim=32,
        num_experts=20,
        num_experts_per_tok=4,
        max_position_embeddings=CONTEXT_TOKENS,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=2,
        pad_token_id=3,
    )
    return _random(Qwen3MoeForCausalLM, config, torch.bfloat16)


def _random(model_class: Any, config: Any, dtype: Any) -> "PreTrainedModel":
    """Return the model with weights drawn from a fixed seed."""
    import torch

    torch.manual_seed(0)
    model: PreTrainedModel = model_class(config).to(dtype)
    model.generation_config.do_sample = False
    return model.eval()


RECIPES = (
    Recipe("tiny-llama", "Built like Llama: RMSNorm, rotary positions, grouped-query attention.", True, _llama),
    Recipe("tiny-gpt2", "Built like GPT-2: LayerNorm, learned positions, `Conv1D`, tied embeddings.", False, _gpt2),
    Recipe(
        "tiny-qwen-moe",
        "Built like Qwen3-MoE: 20 experts per layer, 4 of them used for each token; stored in several shards.",
        True,
        _qwen_moe,
        max_shard_size="20MB",
    ),
)


def corpus() -> Iterator[str]:
    """English text that any Python installation holds: its language reference and its modules' docstrings."""
    from pydoc_data.topics import topics

    yield from (topics[name] for name in sorted(topics))
    for name in _DOCUMENTED_MODULES:
        members = vars(importlib.import_module(name))
        yield from (inspect.getdoc(members[member]) or "" for member in sorted(members))


def train_tokenizer() -> "PreTrainedTokenizerFast":
    """Return a byte-level BPE tokenizer of at most `VOCAB_SIZE` tokens; the special ones come first."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=PADDING,
        model_max_length=CONTEXT_TOKENS,
    )


def make(recipe: Recipe, tokenizer: "PreTrainedTokenizerFast", folder: Path) -> None:
    """Write the sample into `folder`, which exists and is empty."""
    model = recipe.build()
    model.save_pretrained(folder, max_shard_size=recipe.max_shard_size)
    config = model.config
    tokenizer.eos_token = TURN_END if recipe.chat else END_OF_TEXT
    tokenizer.chat_template = CHAT_TEMPLATE if recipe.chat else None
    tokenizer.model_max_length = config.max_position_embeddings
    tokenizer.save_pretrained(folder)
    _name_tokenizer_class(folder / "tokenizer_config.json")
    card = _CARD.format(
        name=recipe.folder,
        architecture=type(model).__name__,
        parameters=model.num_parameters(),
        dtype=str(model.dtype).removeprefix("torch."),
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        vocabulary=VOCAB_SIZE,
        about=recipe.about,
    )
    (folder / "README.md").write_text(card, encoding="utf-8")


def _name_tokenizer_class(config_file: Path) -> None:
    # transformers 5 writes a class that only it knows; this name is read by version 4 (and what builds on it) too.
    config = json.loads(config_file.read_text(encoding="utf-8"))
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    config_file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def make_all(into: Path, *, lock_timeout_seconds: float) -> list[str]:
    """Make what `into` does not hold yet; returns the names. A folder gets its final name when it is complete.

    Processes that want the same take turns, so that the work is done once. Raises `locks.Held` when another process
    holds the lock for longer than `lock_timeout_seconds`, DiskFull and StorageDenied.
    """
    into.mkdir(parents=True, exist_ok=True)
    with locks.held(into / ".lock", wait_seconds=lock_timeout_seconds):
        missing = [recipe for recipe in RECIPES if not (into / recipe.folder).is_dir()]
        if not missing:
            return []
        require_room(into)  # before seconds of work
        import transformers

        for abandoned in into.glob(".making-*"):
            shutil.rmtree(abandoned)
        transformers.utils.logging.disable_progress_bar()
        tokenizer = train_tokenizer()
        for recipe in missing:
            unfinished = Path(tempfile.mkdtemp(prefix=".making-", dir=into))
            try:
                make(recipe, tokenizer, unfinished)
                unfinished.rename(into / recipe.folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
        return [recipe.folder for recipe in missing]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m modelyard.ml.sample_models", description="Make the sample models.")
    parser.add_argument("--into", type=Path, required=True, help="the folder that gets one folder per sample")
    parser.add_argument("--lock-timeout", type=float, default=60, help="seconds to wait for another process's making")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    try:
        with disk_errors(options.into):
            made = make_all(options.into, lock_timeout_seconds=options.lock_timeout)
    except StorageError as error:
        print(json.dumps(error.as_dict()))
        return EXIT_STORAGE
    except locks.Held:
        print(f"another process has been making the samples for {options.lock_timeout:.0f} s", file=sys.stderr)
        return 1
    print(json.dumps({"made": made, "seconds": round(time.monotonic() - started, 2)}))
    return 0


if __name__ == "__main__":
    os.umask(0o077)  # a server keeps them in MODELYARD_HOME
    sys.exit(main())
