"""The files beside the weights that a copy of a model takes over."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_COPIED = (
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.tiktoken", "spiece.model",
    "sentencepiece*.model", "chat_template*", "additional_chat_templates/*", "generation_config.json",
    "preprocessor_config.json", "processor_config.json", "image_processor_config.json",
    "video_preprocessor_config.json", "LICENSE*", "NOTICE*",
)  # fmt: skip


def copy_side_files(source: Path, folder: Path) -> None:
    """Copy tokenizer, chat template, settings of generation and licence."""
    for pattern in _COPIED:
        for path in source.glob(pattern):
            if path.is_file():
                copied = folder / path.relative_to(source)
                copied.parent.mkdir(exist_ok=True)
                shutil.copyfile(path, copied)


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write a model's `config.json`."""
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
