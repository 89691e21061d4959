"""This side of a tokenizer's process: one clear interface to what a stranger's files do to a text."""

import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

import psutil

from modelyard.core.errors import NoTokenizer, TemplateFailed
from modelyard.core.process import describe_exit
from modelyard.core.process_limits import MEGABYTE, Limits
from modelyard.ml.untrusted.protocol import (
    LARGEST_REPLY_BYTES,
    LARGEST_TEXT_BYTES,
    LENGTH,
    LOADING,
    WORKING,
    pack,
    unpack,
)
from modelyard.ml.untrusted.warm_process import WarmProcess

POLL_SECONDS = 0.05
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
)

_Part = Literal["tokenizer", "chat template"]
_warm = WarmProcess()


class TokenizerStopped(Exception):
    """`should_stop` said so; the process was ended, and the next request starts another."""


class _Ended(Exception):
    """The process ended instead of answering."""


class _Lost(Exception):
    """It was killed by somebody else, or with the warm process: the request is not to blame."""


def never() -> bool:
    """Return False: for work that nobody takes back."""
    return False


def warm_up() -> None:
    """Begin to start what makes the first tokenizer quick to open; does not wait."""
    _warm.start()


def warm_pid() -> int | None:
    """Return the id of the process that tokenizers' processes are forked from, once it was started."""
    return _warm.pid


@dataclass(frozen=True)
class SpecialTokens:
    """The token that begins a text, where there is one, and the first hundred of all that are no text."""

    bos: str | None
    tokens: tuple[str, ...]


class Tokenizer:
    """The tokenizer and the chat template in a folder, run in a process of its own. Thread-safe: one request at a time.

    `name` is the model's, for messages. The process starts with `start` or the first request and is warm after that; it
    is ended after a request that broke a limit, by `close`, and with this process. All methods but `start` and `close`
    wait, ask `should_stop` every POLL_SECONDS meanwhile, and raise TokenizerStopped, NoTokenizer where the folder's
    tokenizer cannot be read, and TemplateFailed where it, or the template, does not do its work within `WORKING`.
    """

    def __init__(self, folder: Path, name: str) -> None:
        """Raises NoTokenizer for a folder that has no tokenizer's files."""
        if not has_tokenizer_files(folder):
            raise NoTokenizer(
                f"{name} has no tokenizer files.", hint="Use the model's hook points or token ids instead of text."
            )
        self.name = name
        self._folder = folder
        self._lock = threading.RLock()
        self._link: socket.socket | None = None
        self._pid: int | None = None
        self._facts: dict[str, Any] | None = None
        self._received = bytearray()
        self._held_bytes = 0
        self._pieces: dict[int, bytes] = {}

    def __enter__(self) -> "Tokenizer":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The id of its process, while there is one that has answered."""
        return self._pid

    def start(self) -> None:
        """Begin to read the files; does not wait."""
        with self._lock:
            if self._link is None:
                self._link = _warm.fork()
                self._link.sendall(pack({"do": "load", "folder": str(self._folder)}))

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def bos_token_id(self, *, should_stop: Callable[[], bool] = never) -> int | None:
        """Return the token that begins a text."""
        bos: int | None = self._loaded(should_stop)["bos_token_id"]
        return bos

    def special_tokens(self, *, should_stop: Callable[[], bool] = never) -> SpecialTokens:
        """Return the tokens that are no text."""
        facts = self._loaded(should_stop)
        return SpecialTokens(facts["bos_token"], tuple(facts["special_tokens"]))

    def has_chat_template(self, *, should_stop: Callable[[], bool] = never) -> bool:
        """Return whether it can make a text of messages."""
        return bool(self._loaded(should_stop)["has_chat_template"])

    def render_chat(
        self, messages: Sequence[Mapping[str, Any]], *, should_stop: Callable[[], bool] = never, **options: Any
    ) -> str:
        """Return the text that the chat template makes of messages.

        `options` (JSON) are those of `apply_chat_template`: add_generation_prompt, tools, chat_template (the name of
        one of several), and the template's own.
        """
        request = {"do": "render", "messages": [dict(message) for message in messages], "options": options}
        text: str = self._ask("chat template", request, should_stop)
        return text

    def encode(
        self, text: str, *, add_special_tokens: bool = True, should_stop: Callable[[], bool] = never
    ) -> list[int]:
        """Return the token ids of a text; one that a chat template made has its special tokens already."""
        return self.encode_all([text], add_special_tokens=add_special_tokens, should_stop=should_stop)[0]

    def encode_all(
        self, texts: Sequence[str], *, add_special_tokens: bool = True, should_stop: Callable[[], bool] = never
    ) -> list[list[int]]:
        """Return the token ids of each of these texts."""
        request = {"do": "encode", "texts": list(texts), "special_tokens": add_special_tokens}
        ids: list[list[int]] = self._ask("tokenizer", request, should_stop)
        return ids

    def count(self, texts: Sequence[str], *, should_stop: Callable[[], bool] = never) -> int:
        """Return how many tokens these texts have together, special ones not counted."""
        number: int = self._ask("tokenizer", {"do": "count", "texts": list(texts)}, should_stop)
        return number

    def decode(self, *ids: Sequence[int], should_stop: Callable[[], bool] = never) -> list[str]:
        """Return the text of each of these lists of token ids, without special tokens."""
        texts: list[str] = self._ask("tokenizer", {"do": "decode", "ids": [list(each) for each in ids]}, should_stop)
        return texts

    def pieces(self, ids: Collection[int], *, should_stop: Callable[[], bool] = never) -> dict[int, bytes]:
        """Return the bytes of each token, maybe a part of a character; of a special token, those of its name.

        Each is asked for once and remembered.
        """
        if unknown := [token for token in ids if token not in self._pieces]:
            found: list[str] = self._ask("tokenizer", {"do": "pieces", "ids": unknown}, should_stop)
            self._pieces |= {token: bytes.fromhex(piece) for token, piece in zip(unknown, found, strict=True)}
        return self._pieces

    def _loaded(self, should_stop: Callable[[], bool]) -> dict[str, Any]:
        with self._lock:
            facts: dict[str, Any] = self._twice("tokenizer", lambda: self._load(should_stop))
            return facts

    def _ask(self, part: _Part, request: dict[str, Any], should_stop: Callable[[], bool]) -> Any:
        def ask() -> Any:
            self._load(should_stop)
            assert self._link is not None  # noqa: S101 - it is loaded
            self._link.settimeout(WORKING.seconds)
            with suppress(OSError):  # its end is met when the answer is read
                self._link.sendall(pack(request))
            return self._answer(part, WORKING, should_stop)

        with self._lock:
            return self._twice(part, ask)

    def _twice(self, part: _Part, work: Callable[[], Any]) -> Any:
        with suppress(_Lost):
            return work()
        try:
            return work()
        except _Lost as error:
            raise _failed(self.name, part, f"could not be run: its process {error}") from error

    def _load(self, should_stop: Callable[[], bool]) -> dict[str, Any]:
        if self._link is not None and self._facts is not None and _is_at_end(self._link):
            self._end()  # somebody killed it while it had nothing to do
        if self._link is None or self._facts is None:
            self.start()
            try:
                facts: dict[str, Any] = self._answer("tokenizer", LOADING, should_stop)
            except TemplateFailed as error:
                self._end()  # it answers once; who asks again must have it read the files again
                raise NoTokenizer(error.message) from error
            self._facts, self._held_bytes = facts, _rss_bytes(self._pid)
        return self._facts

    def _answer(self, part: _Part, limits: Limits, should_stop: Callable[[], bool]) -> Any:
        deadline = time.monotonic() + limits.seconds
        try:
            while "pid" in (message := self._next(deadline, limits, should_stop)):
                self._pid = message["pid"]
        except _Ended:
            self._refuse(part, _how_it_ended(self._end(), limits))
        except TimeoutError:
            self._end()
            self._refuse(part, f"took more than {limits.seconds:g} s")
        except MemoryError:
            self._end()
            self._refuse(part, f"used more than {limits.memory_bytes // MEGABYTE} MB of memory")
        except BaseException:
            self._end()
            raise
        if "error" in message:
            self._refuse_as_told(part, message["error"], limits)
        return message["result"]

    def _next(self, deadline: float, limits: Limits, should_stop: Callable[[], bool]) -> dict[str, Any]:
        """Return the next message. Raises _Ended, TimeoutError, MemoryError and TokenizerStopped."""
        assert self._link is not None  # noqa: S101 - somebody was asked
        while True:
            length = LENGTH.unpack_from(self._received)[0] if len(self._received) >= LENGTH.size else None
            if length is not None and length > LARGEST_REPLY_BYTES:
                raise MemoryError
            if length is not None and len(self._received) >= LENGTH.size + length:
                body = bytes(self._received[LENGTH.size : LENGTH.size + length])
                del self._received[: LENGTH.size + length]
                return unpack(body)
            if select.select([self._link], [], [], POLL_SECONDS)[0]:
                try:
                    chunk = self._link.recv(1 << 20)
                except ConnectionError:
                    chunk = b""
                if not chunk:
                    raise _Ended
                self._received += chunk
            elif _rss_bytes(self._pid) > self._held_bytes + 2 * limits.memory_bytes:  # where the kernel sets no limit
                raise MemoryError
            if should_stop():
                raise TokenizerStopped
            if time.monotonic() > deadline:
                raise TimeoutError

    def _refuse_as_told(self, part: _Part, error: Mapping[str, str], limits: Limits) -> NoReturn:
        said = error.get("said", "")
        match error["kind"]:
            case "memory":
                self._end()  # what it holds now is not given back
                self._refuse(part, f"used more than {limits.memory_bytes // MEGABYTE} MB of memory")
            case "length":
                self._refuse(part, f"wrote more than {LARGEST_TEXT_BYTES // MEGABYTE} MB of text")
            case "syntax":
                self._refuse(part, f"has a syntax error in {said}")
            case "refused":
                raise TemplateFailed(
                    f"The {part} of {self.name} refuses these messages: {said}",
                    hint="Change the messages as it says, or send prompt instead of messages.",
                )
            case _:
                self._refuse(part, f"{'cannot be read' if limits is LOADING else 'failed'}: {said}")

    def _refuse(self, part: _Part, what: str) -> NoReturn:
        raise _failed(self.name, part, what)

    def _end(self) -> int | None:
        """End the process; its exit code, where that is known."""
        link, pid = self._link, self._pid
        self._link = self._pid = self._facts = None
        self._received.clear()
        self._held_bytes = 0
        if link is not None:
            link.close()
        return None if pid is None else _warm.end(pid)


def has_tokenizer_files(folder: Path) -> bool:
    """Return whether there is anything in a folder that a tokenizer could be made of."""
    return any((folder / name).is_file() for name in TOKENIZER_FILES) or any(folder.glob("*.tiktoken"))


def _failed(name: str, part: _Part, what: str) -> TemplateFailed:
    hint = "Send a shorter text, or use another model."
    if part == "chat template":
        hint = "Send prompt instead of messages, or use another model."
    return TemplateFailed(f"The {part} of {name} {what}.", hint=hint)


def _how_it_ended(exit_code: int | None, limits: Limits) -> str:
    """In words. Raises _Lost where it did not end because of what it was asked."""
    if exit_code is None:
        raise _Lost("is gone")
    if exit_code == -signal.SIGKILL:
        raise _Lost(describe_exit(exit_code))
    if exit_code == -signal.SIGXCPU:
        return f"took more than {limits.cpu_seconds} s of processor time"
    if exit_code == -signal.SIGABRT:  # the way of the Rust library when it is refused memory
        return f"used more than {limits.memory_bytes // MEGABYTE} MB of memory, or crashed"
    return f"could not be run: its process {describe_exit(exit_code)}"


def _rss_bytes(pid: int | None) -> int:
    """0 for a process that is not there, or not yet."""
    if pid is None:
        return 0
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def _is_at_end(link: socket.socket) -> bool:
    """Return whether the other side of a socket that nothing is expected of is gone."""
    try:
        return bool(select.select([link], [], [], 0)[0]) and not link.recv(1, socket.MSG_PEEK)
    except OSError:
        return True
