"""The one reader of the JSON files of repositories, which strangers write.

What it returns can be written as JSON again and walked through by any code; whatever else a file holds is one error
that names the file, the repository and, where there is one, the line.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from modelyard.core.config_limits import absurd_size
from modelyard.core.errors import InvalidRepository
from modelyard.core.paths import open_inside
from modelyard.core.storage import storage_error
from modelyard.core.units import size

MAX_BYTES = 5_000_000
"""Of one file, unless a caller says otherwise. Read, JSON takes up to 30 times its size in memory."""

MAX_DEPTH = 100
"""Objects and lists within one another. Python's own limit is near 1,000, less what is on the stack already."""

_OBJECTS = ("quantization_config", "compression_config", "text_config", "vision_config", "audio_config")
_KINDS = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}


def read_object(path: Path, repository: str, *, limit_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Return the JSON object in a file. `repository` is what its readers call the model.

    Raises FileNotFoundError, PermissionError, and InvalidRepository, also for a folder in the place of the file.
    """
    with require_file(path.name, repository), path.open("rb") as file:
        content = file.read(limit_bytes + 1)
    return parse_object(content, path.name, repository, limit_bytes=limit_bytes)


@contextmanager
def require_file(file: str, repository: str) -> Iterator[None]:
    """Raise InvalidRepository where the body cannot read `file` for what it is: a folder, a link to itself.

    FileNotFoundError, and what is to be said of the disk or of its permissions, are raised as they come.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if storage_error(error) is not error:
            raise
        raise InvalidRepository(
            f"{file} of {repository} cannot be read: {error.strerror or error}.", file=file
        ) from error


def parse_object(content: bytes, file: str, repository: str, *, limit_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Return the JSON object that `content` is, which was read of `file`. A byte order mark before it is skipped.

    Infinity is accepted, as Python writes it and released models have it. Raises InvalidRepository for content of more
    than `limit_bytes`, for what is not UTF-8 or not JSON, for NaN, half of a surrogate pair, integers of more than 4300
    digits, more than MAX_DEPTH levels, and for JSON that is not an object.
    """

    def refuse(problem: str) -> NoReturn:
        raise InvalidRepository(f"{file} of {repository} {problem}.", file=file)

    def refuse_nan(constant: str) -> float:
        if constant == "NaN":
            refuse("holds NaN, which is not a number")
        return math.copysign(math.inf, -1 if constant[0] == "-" else 1)

    require_readable_size(len(content), file, repository, limit_bytes=limit_bytes)
    try:
        value = json.loads(content.decode("utf-8-sig"), parse_constant=refuse_nan)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        refuse(f"is not UTF-8 text, line {line}")
    except json.JSONDecodeError as error:
        refuse(f"is not valid JSON, line {error.lineno}: {error.msg}")
    except RecursionError:
        refuse(f"is nested more than {MAX_DEPTH} levels deep")
    except ValueError:  # of Python's own limit
        refuse("holds an integer of more than 4300 digits")
    if not isinstance(value, dict):
        refuse(f"is {kind_of(value)}, not a JSON object")
    if problem := _problem(value):
        refuse(problem)
    return value


def require_readable_size(size_bytes: int, file: str, repository: str, *, limit_bytes: int = MAX_BYTES) -> None:
    """Raise InvalidRepository for a file that is too large to be read."""
    if size_bytes > limit_bytes:
        raise InvalidRepository(f"{file} of {repository} is larger than {size(limit_bytes)}.", file=file)


def parse_config(content: bytes, repository: str) -> dict[str, Any]:
    """Parse a config.json as `parse_object` does: fields that everybody looks into have the types they must have."""
    return _checked(parse_object(content, "config.json", repository), repository)


def read_config_file(path: Path, repository: str) -> dict[str, Any]:
    """Read a config.json as `read_object` does: the fields that everybody looks into have the types they must have."""
    return _checked(read_object(path, repository), repository)


def read_config_inside(folder: Path, repository: str) -> dict[str, Any]:
    """Read as `read_config_file` does, of a folder that Modelyard keeps. Raises PathNotAllowed for a link out of it."""
    with require_file("config.json", repository), open_inside(folder, "config.json") as file:
        content = file.read(MAX_BYTES + 1)
    return parse_config(content, repository)


def kind_of(value: object) -> str:
    """Return what JSON calls a value, with its article."""
    return _KINDS.get(type(value), "a number")


def _checked(config: dict[str, Any], repository: str) -> dict[str, Any]:
    problem = _wrong_value(config)
    if problem:
        raise InvalidRepository(f"config.json of {repository}: {problem}.", file="config.json")
    return config


def _wrong_value(config: Mapping[str, Any]) -> str | None:
    for name in _OBJECTS:
        if not isinstance(config.get(name), dict | None):
            return f"{name} is {kind_of(config[name])}, not an object"
    if not isinstance(config.get("model_type"), str | None):
        return f"model_type is {kind_of(config['model_type'])}, not a string"
    architectures = config.get("architectures")
    if not isinstance(architectures, list | None):
        return f"architectures is {kind_of(architectures)}, not a list of strings"
    wrong = [name for name in architectures or () if not isinstance(name, str)]
    return f"architectures holds {kind_of(wrong[0])}, not only strings" if wrong else absurd_size(config)


def _problem(value: Any) -> str | None:
    """Return what of a value could not be written or walked through again. Recurses no deeper than it finds."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        texts: list[str] = []
        inner: list[Any] = []
        for container in level:
            parts: Iterable[Any] = container
            if isinstance(container, dict):
                texts += container
                parts = container.values()
            for part in parts:
                if isinstance(part, str):
                    texts.append(part)
                elif isinstance(part, dict | list):
                    inner.append(part)
        if any(not is_unicode(text) for text in texts):
            return "holds half of a surrogate pair, which is no character"
        if not inner:
            return None
        level = inner
    return f"is nested more than {MAX_DEPTH} levels deep"


def is_unicode(text: str) -> bool:
    """Return whether a text can be written as UTF-8, which half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
