"""Linux's Landlock: this process may read some files and folders from now on, and do nothing else with files."""

import ctypes
import os
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_VERSION = 1
_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38

_EXECUTE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = 1 << 0, 1 << 2, 1 << 3, 1 << 4, 1 << 5
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
"""How many rights about files a version knows; from the fifth on there are 16."""
_NET_RIGHTS = 0b11  # bind and connect over TCP, from the fourth version on


def version() -> int:
    """Return the version that this system has; 0 where it has none."""
    if sys.platform != "linux":
        return 0
    return max(0, int(ctypes.CDLL(None, use_errno=True).syscall(_CREATE_RULESET, None, 0, _VERSION)))


def restrict(readable: Iterable[Path], *, removable: Path | None = None) -> bool:
    """Let this process, for good, read only these files and what is in these folders, and make no TCP connection.

    What is in `removable` can be removed, and files that are open stay open. Returns whether the system can do that.
    The process must have one thread. Raises OSError.
    """
    found = version()
    if not found:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    handled = struct.pack("=QQ", (1 << _FILE_RIGHTS.get(found, 16)) - 1, _NET_RIGHTS)
    ruleset = _checked(libc.syscall(_CREATE_RULESET, handled, 16 if found >= 4 else 8, 0))
    try:
        for path in readable:
            _allow(libc, ruleset, path, _READ_FILE | _EXECUTE | (_READ_DIR if path.is_dir() else 0))
        if removable is not None:
            _allow(libc, ruleset, removable, _REMOVE_DIR | _REMOVE_FILE)
        _checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _checked(libc.syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)
    return True


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there need not be allowed
    try:
        rule = struct.pack("=Qi", rights, descriptor)
        _checked(libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0))
    finally:
        os.close(descriptor)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
