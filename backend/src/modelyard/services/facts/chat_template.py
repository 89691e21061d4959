"""Whether a model can be given a conversation, as its tokenizer's files tell: no tokenizer is built for it."""

from dataclasses import dataclass
from pathlib import Path

from modelyard.core.errors import InvalidRepository
from modelyard.core.repository_json import kind_of, read_object, require_file, require_readable_size
from modelyard.services.facts.unchanged_file import read_unchanged

_OWN_FILE, _CONFIG = "chat_template.jinja", "tokenizer_config.json"

LARGEST_BYTES = 20_000_000
"""Some list tens of thousands of added tokens; what is longer is not read in the server's process."""


@dataclass(frozen=True)
class ChatTemplate:
    """Whether there is one; None where the file that would say so cannot be read, and then `problem` is why."""

    present: bool | None
    problem: str | None = None


def find_chat_template(folder: Path) -> ChatTemplate:
    """Return whether the tokenizer in a folder has a chat template. Raises nothing, whatever the files are.

    A processor's `chat_template.json` does not count: transformers' tokenizers do not read it.
    """
    for name in (_OWN_FILE, _CONFIG):
        try:
            return read_unchanged(f"{folder}/{name}", _find_in)
        except FileNotFoundError:
            continue
        except OSError as error:
            return _unknown(f"{name} cannot be read: {error.strerror}.")
    return ChatTemplate(False)


def _find_in(file: Path) -> ChatTemplate:
    try:
        return _read_text(file) if file.name == _OWN_FILE else _read_config(file)
    except InvalidRepository as error:
        return _unknown(error.message)
    except OSError as error:
        return _unknown(f"{file.name} cannot be read: {error.strerror}.")


def _unknown(problem: str) -> ChatTemplate:
    return ChatTemplate(None, f"{problem} Whether there is a chat template is not known.")


def _read_config(path: Path) -> ChatTemplate:
    """Raises OSError, InvalidRepository."""
    template = read_object(path, "this model", limit_bytes=LARGEST_BYTES).get("chat_template")
    if template is None:
        return ChatTemplate(False)
    if isinstance(template, str):
        return ChatTemplate(bool(template))
    if isinstance(template, list) and all(isinstance(each, dict) for each in template):
        # Several by name; without a name, this one is taken.
        return ChatTemplate(any(each.get("name") == "default" for each in template))
    what = "a list of something else" if isinstance(template, list) else kind_of(template)
    return _unknown(f"chat_template in {path.name} is {what}, not a string or a list of objects.")


def _read_text(path: Path) -> ChatTemplate:
    """Raises OSError, InvalidRepository."""
    with require_file(path.name, "this model"), path.open("rb") as file:
        content = file.read(LARGEST_BYTES + 1)
    require_readable_size(len(content), path.name, "this model", limit_bytes=LARGEST_BYTES)
    try:
        content.decode()
    except UnicodeDecodeError:
        return _unknown(f"{path.name} is not UTF-8 text.")
    return ChatTemplate(True)
