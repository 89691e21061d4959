"""What the two sides of a tokenizer's process agree on: how much one request may take, and how messages are sent.

The kernel enforces limits of memory on Linux; macOS has none, so there memory is watched from outside.
"""

import json
import struct
from typing import Any

from modelyard.core.process_limits import MEGABYTE, Limits

START, END = b"S", b"E"
"""Commands to the warm process: fork for the socket that comes with it; end the process whose id follows."""

PROCESS = struct.Struct("!q")
"""A process id, and the answer to END: the wait status of the process that ended."""

LENGTH = struct.Struct("!I")
"""Before every message: how many bytes of JSON it has."""

LARGEST_TEXT_BYTES = 16 * MEGABYTE
"""What a chat template or a decoder may write, in UTF-8; as much as the largest body of a request."""

LARGEST_REPLY_BYTES = 64 * MEGABYTE
"""The token ids of the largest text, with room; a longer message is not read."""


LOADING = Limits(memory_bytes=2_000 * MEGABYTE, cpu_seconds=60, seconds=120.0)
"""Some large vocabularies come without a tokenizer.json, and making one of them takes long."""

WORKING = Limits(memory_bytes=512 * MEGABYTE, cpu_seconds=5, seconds=20.0)
"""The memory is above what the loaded tokenizer holds, and never more than that, however many requests there are."""


def pack(message: dict[str, Any]) -> bytes:
    # Half a surrogate pair is a character that JSON may hold and UTF-8 may not.
    body = json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return LENGTH.pack(len(body)) + body


def unpack(body: bytes) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(body.decode("utf-8", "surrogatepass"))
    return message
