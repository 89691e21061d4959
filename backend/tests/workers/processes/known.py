"""Prints, as JSON, what the modules that a worker parent imports know: their constants."""

import importlib
import json
import os
import sys
from pathlib import PurePath
from typing import Any

from modelyard.core.process import configure_logging
from modelyard.workers.processes.worker_parent import LIBRARIES

SIMPLE = (str, bytes, int, float, bool, type(None), PurePath)
PACKAGES = ("alembic", "celery", "huggingface_hub", "kombu", "modelyard", "sqlalchemy")
ITS_OWN = {"__builtins__", "__cached__", "__file__", "__warningregistry__", "NONE_ID", "_NO_STATE_SYMBOLS"}
"""What differs between any two processes."""


def is_simple(value: Any) -> bool:
    if isinstance(value, tuple | list | set | frozenset):
        return all(map(is_simple, value))
    return isinstance(value, SIMPLE) or (isinstance(value, dict) and all(map(is_simple, (*value, *value.values()))))


def shown(value: Any) -> str:
    return repr(sorted(value, key=repr) if isinstance(value, set | frozenset) else value)


def main() -> None:
    configure_logging("known")  # as workers do; some modules look at it when they are imported
    for name in LIBRARIES:
        importlib.import_module(name)
    found = {
        f"{module}.{name}": shown(value)
        for module, content in list(sys.modules.items())
        if module.partition(".")[0] in PACKAGES
        for name, value in vars(content).items()
        if name not in ITS_OWN and is_simple(value) and " at 0x" not in shown(value)
    }
    print(json.dumps({"known": found, "parent": os.getppid()}))


if __name__ == "__main__":
    main()
