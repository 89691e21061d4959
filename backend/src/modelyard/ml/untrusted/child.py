"""`python -m modelyard.ml.untrusted.child FD`: a warm process, forked for every tokenizer that is opened.

The warm process imports transformers without torch, reads nothing of a model, and has one thread, so that it can be
forked. A forked one reads one folder's tokenizer under limits, and ends with its socket or with the warm process.
"""

import ctypes
import gc
import os
import resource
import signal
import socket
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from modelyard.core.errors import ModelyardError
from modelyard.core.process_limits import data_bytes, limit_this_process
from modelyard.ml.loading.tokenizer_files import checked
from modelyard.ml.untrusted import landlock
from modelyard.ml.untrusted.pieces import piece_bytes
from modelyard.ml.untrusted.protocol import (
    END,
    LARGEST_TEXT_BYTES,
    LENGTH,
    LOADING,
    PROCESS,
    START,
    WORKING,
    pack,
    unpack,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PR_SET_PDEATHSIG = 1
MOST_TOKENS, LONGEST_TOKEN = 100, 100
"""How many special tokens are told, and so many characters of each."""


class _TooLong(Exception):
    """A text that was made here is longer than LARGEST_TEXT_BYTES."""


def main() -> NoReturn:
    control = socket.socket(fileno=int(sys.argv[1]))
    _import_libraries()
    gc.collect()
    gc.freeze()
    children: dict[int, int | None] = {}  # the wait status of those that have ended
    while True:
        command, sockets, _, _ = socket.recv_fds(control, 1, 1)
        _reap(children)
        if command == START and sockets:
            pid = _fork(control, sockets[0])
            if pid is not None:
                children[pid] = None
        elif command == END:
            (pid,) = PROCESS.unpack(_read(control, PROCESS.size))
            control.sendall(PROCESS.pack(_end(pid, children)))
        else:  # the process this one works for is gone
            for pid, status in children.items():
                if status is None:
                    os.kill(pid, signal.SIGKILL)
            os._exit(0)


def _import_libraries() -> None:
    sys.modules["torch"] = None  # type: ignore[assignment] # 190 MB that no tokenizer needs
    from jinja2 import sandbox
    from transformers import AutoTokenizer, PreTrainedTokenizerFast
    from transformers.utils import chat_template_utils

    _ = AutoTokenizer, PreTrainedTokenizerFast, chat_template_utils, sandbox


def _reap(children: dict[int, int | None]) -> None:
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            children[ended[0]] = ended[1]


def _end(pid: int, children: dict[int, int | None]) -> int:
    """Kill a process, unless it has ended; its wait status, 0 for one that is not known."""
    if pid not in children:
        return 0
    status = children.pop(pid)
    if status is None:
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    return status


def _fork(control: socket.socket, descriptor: int) -> int | None:
    """Return the new process's id; None where there can be none, which its socket's end tells."""
    try:
        pid = os.fork()
    except OSError as error:
        print(f"a tokenizer's process cannot be started: {error}", file=sys.stderr, flush=True)
        os.close(descriptor)
        return None
    if pid:
        os.close(descriptor)
        return pid
    control.close()
    try:
        _serve(socket.socket(fileno=descriptor))
    finally:
        os._exit(1)


def _serve(link: socket.socket) -> None:
    """Answer requests until the other side is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        # Should the machine run out of memory all the same, this is what goes first.
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    link.sendall(pack({"pid": os.getpid()}))
    worker = _Worker()
    while header := _read(link, LENGTH.size):
        request = unpack(_read(link, *LENGTH.unpack(header)))
        try:
            answer = {"result": worker.do(request)}
        except BaseException as error:  # noqa: BLE001 - a panic of the Rust library is no Exception
            answer = {"error": _described(error)}
            del error
        link.sendall(pack(answer))


class _Worker:
    def __init__(self) -> None:
        self._tokenizer: PreTrainedTokenizerBase | None = None
        self._most_bytes = 0

    def do(self, request: dict[str, Any]) -> Any:
        match request["do"]:
            case "load":
                return self._load(Path(request["folder"]))
            case "render":
                return self._render(request["messages"], request["options"])
            case "encode":
                return self._encode(request["texts"], special_tokens=request["special_tokens"])
            case "count":
                return sum(map(len, self._encode(request["texts"], special_tokens=False)))
            case "pieces":
                return [piece.hex() for piece in self._pieces(request["ids"])]
            case _:
                return self._decode(request["ids"])

    @property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        assert self._tokenizer is not None  # noqa: S101 - loading comes first
        limit_this_process(WORKING, self._most_bytes)
        return self._tokenizer

    def _load(self, folder: Path) -> dict[str, Any]:
        from transformers import AutoTokenizer

        limit_this_process(LOADING, data_bytes() + LOADING.memory_bytes)
        with checked(folder) as readable:
            # TMPDIR is the warm process's own: `checked` has a folder there, and removes it after this.
            landlock.restrict([*_libraries(), *_files(folder), readable], removable=Path(tempfile.gettempdir()))
            self._tokenizer = AutoTokenizer.from_pretrained(readable, trust_remote_code=False, local_files_only=True)
        gc.collect()
        self._most_bytes = data_bytes() + WORKING.memory_bytes
        return {
            "bos_token_id": self._tokenizer.bos_token_id,
            "bos_token": self._tokenizer.bos_token,
            "special_tokens": _special_tokens(self._tokenizer),
            "has_chat_template": self._tokenizer.chat_template is not None,
        }

    def _render(self, messages: list[dict[str, Any]], options: dict[str, Any]) -> str:
        text = self.tokenizer.apply_chat_template(messages, tokenize=False, **options)
        return _bounded(text)

    def _encode(self, texts: list[str], *, special_tokens: bool) -> list[list[int]]:
        tokenizer = self.tokenizer
        return [tokenizer(text, add_special_tokens=special_tokens)["input_ids"] for text in texts]

    def _decode(self, ids: list[list[int]]) -> list[str]:
        tokenizer = self.tokenizer
        return [
            _bounded(tokenizer.decode(each, skip_special_tokens=True, clean_up_tokenization_spaces=False))
            for each in ids
        ]

    def _pieces(self, ids: list[int]) -> list[bytes]:
        return [piece_bytes(self.tokenizer, token) for token in ids]


def _special_tokens(tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    added = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    return [token[:LONGEST_TOKEN] for token in dict.fromkeys([*tokenizer.all_special_tokens, *added])][:MOST_TOKENS]


def _libraries() -> list[Path]:
    """Return what Python and its packages need to run: no home, no /proc, no /etc but the linker's and the clock's."""
    roots = [sys.prefix, sys.base_prefix, *filter(None, sys.path), "/usr", "/lib", "/lib64", "/nix/store"]
    files = ["/etc/ld.so.cache", "/etc/localtime", "/dev/null", "/dev/urandom"]
    return [Path(path) for path in dict.fromkeys([*roots, *files])]


def _files(folder: Path) -> list[Path]:
    """Return a snapshot's folder, and each file that a link in it leads to; not the other files beside those."""
    links = [path.resolve() for path in folder.rglob("*") if path.is_symlink()]
    return [folder, *links]


def _bounded(text: str) -> str:
    if len(text.encode("utf-8", "surrogatepass")) > LARGEST_TEXT_BYTES:
        raise _TooLong
    return text


def _described(error: BaseException) -> dict[str, Any]:
    from jinja2 import TemplateError, TemplateSyntaxError

    said = next(iter(str(error).strip().splitlines()), "")[:300]
    if isinstance(error, MemoryError):
        return {"kind": "memory"}
    if isinstance(error, ModelyardError):
        return {"kind": "failed", "said": error.message}
    if isinstance(error, _TooLong):
        return {"kind": "length"}
    if isinstance(error, TemplateSyntaxError):
        return {"kind": "syntax", "said": f"line {error.lineno}: {said}"}
    if type(error) is TemplateError:  # raise_exception, which templates are given
        return {"kind": "refused", "said": said}
    return {"kind": "failed", "said": f"{type(error).__name__}: {said}"}


def _read(link: socket.socket, size: int) -> bytes:
    """So many bytes, or none when the other side is gone."""
    received = bytearray()
    while len(received) < size:
        chunk = link.recv(min(size - len(received), 1 << 20))
        if not chunk:
            os._exit(0)
        received += chunk
    return bytes(received)


if __name__ == "__main__":
    main()
