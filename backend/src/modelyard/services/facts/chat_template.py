"""Whether a model can be given a conversation, as its tokenizer's files tell: no tokenizer is built for it."""

import logging
import os
from functools import lru_cache
from pathlib import Path

from modelyard.core.errors import InvalidRepository
from modelyard.core.repository_json import read_object, require_file, require_readable_size

logger = logging.getLogger(__name__)

_OWN_FILE, _CONFIG = "chat_template.jinja", "tokenizer_config.json"

LARGEST_BYTES = 20_000_000
"""Some list tens of thousands of added tokens; what is longer is not read in the server's process."""


def has_chat_template(folder: Path) -> bool | None:
    """Whether the tokenizer in a folder has a chat template; None where its files do not say so in a way that is read.

    A processor's `chat_template.json` does not count: transformers' tokenizers do not read it.
    """
    for name in (_OWN_FILE, _CONFIG):
        path = f"{folder}/{name}"  # of 500 models at once, where pathlib would take most of the time
        try:
            status = os.stat(path)  # noqa: PTH116
        except FileNotFoundError:
            continue
        except OSError as error:
            logger.warning("%s cannot be read: %s", path, error)
            return None
        return _names_template(path, status.st_ctime_ns, status.st_size)
    return False


@lru_cache(maxsize=10_000)
def _names_template(path: str, _changed_ns: int, _size: int) -> bool | None:
    """What the file said when it was last changed: it is asked for with every answer about the model."""
    try:
        return _read(Path(path))
    except (OSError, InvalidRepository) as error:
        logger.warning("The chat template in %s cannot be read: %s", path, error)
        return None


def _read(path: Path) -> bool | None:
    """Raises OSError, InvalidRepository."""
    if path.name == _OWN_FILE:
        return _is_text(path)
    template = read_object(path, path.parent.name, limit_bytes=LARGEST_BYTES).get("chat_template")
    if template is None:
        return False
    if isinstance(template, str):
        return bool(template)
    if isinstance(template, list) and all(isinstance(each, dict) for each in template):
        # Several by name; without a name, this one is taken.
        return any(each.get("name") == "default" for each in template)
    return None


def _is_text(path: Path) -> bool | None:
    with require_file(path.name, path.parent.name), path.open("rb") as file:
        content = file.read(LARGEST_BYTES + 1)
    require_readable_size(len(content), path.name, path.parent.name, limit_bytes=LARGEST_BYTES)
    try:
        content.decode()
    except UnicodeDecodeError:
        return None
    return True
