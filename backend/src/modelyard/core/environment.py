"""What a process may find missing around it: variables without a value, a home folder, standard streams."""

import os
import sys
from pathlib import Path

from modelyard.core.errors import InvalidRequest

_PREFIXES = ("HF_", "HUGGINGFACE_", "HUGGING_FACE_", "TRANSFORMERS_")
_NAMES = ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME")


def forget_empty_variables() -> None:
    """Unset variables that are set to nothing, as `${HF_ENDPOINT}` in a Compose file makes them.

    huggingface_hub takes an empty HF_ENDPOINT for an address and an empty HF_HOME for the current folder, and reads
    them when it is imported, so this comes before.
    """
    for name, value in list(os.environ.items()):
        if not value.strip() and (name.startswith(_PREFIXES) or name in _NAMES):
            del os.environ[name]


def require_home_folder() -> None:
    """Raise InvalidRequest where neither HOME nor the system says where the user's files are, nor HF_HOME does.

    A folder named `~` would be made in the current one otherwise.
    """
    known = os.environ.get("HF_HOME") or os.environ.get("XDG_CACHE_HOME")
    if not known and expand_home(Path("~")) == Path("~"):
        raise InvalidRequest(
            "HOME is not set and this user has no home folder, so there is no place for models.",
            hint="Set HOME, or HF_HOME and MODELYARD_HOME, to folders that this user may write.",
        )


def expand_home(path: Path) -> Path:
    """Return the path with the home folder for a `~` in front, or as it is where nobody has that home folder."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def open_closed_streams() -> None:
    """Give a process that was started with closed standard streams (`>&-`) the null device in their place.

    The next file or socket that it opens would otherwise take the place of one, and get what is printed.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDONLY if descriptor == 0 else os.O_WRONLY)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            os.set_inheritable(descriptor, True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(descriptor, "r" if descriptor == 0 else "w", closefd=False))


def give_up_output() -> str | None:
    """Replace standard output or error by the null device if it cannot be written, as on a full disk.

    Returns why, or None if both can be written, which is tried with an empty line.
    """
    for descriptor, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            print(file=stream, flush=True)
        except OSError as error:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, descriptor)
            os.close(null)
            return error.strerror
    return None
