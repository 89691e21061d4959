"""Whether a model can be given a conversation, as its tokenizer's files tell: no tokenizer is built for it."""

import json
import logging
from functools import lru_cache
from pathlib import Path

logger = logging.getLogger(__name__)

LARGEST_BYTES = 20_000_000
"""Some list tens of thousands of added tokens; what is longer is not read in the server's process."""


def has_chat_template(folder: Path) -> bool | None:
    """Whether the tokenizer in a folder has a chat template; None where its configuration cannot be read.

    A processor's `chat_template.json` does not count: transformers' tokenizers do not read it.
    """
    if (folder / "chat_template.jinja").is_file():
        return True
    config = folder / "tokenizer_config.json"
    try:
        stat = config.stat()
    except OSError:
        return False
    return _names_template(config, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=10_000)
def _names_template(config: Path, _modified_ns: int, size: int) -> bool | None:
    """What the file said when it was last written to: it is asked for with every answer about the model."""
    try:
        if size > LARGEST_BYTES:
            raise ValueError(f"it has {size} bytes")
        template = json.loads(config.read_bytes()).get("chat_template")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        logger.warning("%s cannot be read: %s", config, error)
        return None
    if isinstance(template, list):  # several by name; without a name, this one is taken
        return any(isinstance(each, dict) and each.get("name") == "default" for each in template)
    return bool(template)
