"""Receives a file as multipart/form-data and writes it to its place as it arrives.

FastAPI's `UploadFile` would keep it in the temporary folder first.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

from anyio import to_thread
from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from modelyard.api.problems import too_large
from modelyard.core.errors import InvalidRequest

WRITE_BYTES = 1 << 20
MAX_FRAME_BYTES = 10_000
"""What boundaries and headers may take beside the file."""
_HINT = "Send one file as multipart/form-data, in the field `{field}`."

T_co = TypeVar("T_co", covariant=True)


class Arriving(Protocol[T_co]):
    """The destination of an upload. All methods block; `discard` removes what was written, unless it is finished."""

    def write(self, content: bytes) -> None: ...
    def finish(self) -> T_co: ...
    def discard(self) -> None: ...


async def receive_file(
    request: Request, *, field: str, limit_bytes: int, begin: Callable[[str, int], Arriving[T_co]]
) -> T_co:
    """Write the file in `field` to what `begin(name, expected bytes)` returns; return what that makes of it.

    Nothing is kept of a file that does not arrive in full. Raises PayloadTooLarge beyond `limit_bytes`, InvalidRequest
    for a form with anything else in it, and whatever the writing raises.
    """
    expected = int(request.headers.get("content-length", 0))
    too_much = too_large(limit_bytes, hint="Put the file on the server's machine, and train on its path there.")
    if expected > limit_bytes + MAX_FRAME_BYTES:
        raise too_much
    form = _OneFile(request.headers.get("content-type", ""), field)
    arriving: Arriving[T_co] | None = None
    size = 0
    try:
        async for chunk in request.stream():
            form.feed(chunk)
            if arriving is None and form.name is not None:
                arriving = await to_thread.run_sync(begin, form.name, expected)
            if arriving is not None and (len(form.content) >= WRITE_BYTES or form.is_whole):
                content = form.take()
                size += len(content)
                if size > limit_bytes:
                    raise too_much
                await to_thread.run_sync(arriving.write, content)
        if arriving is None or not form.is_whole:
            raise InvalidRequest("The form ended before its file did.", hint=_HINT.format(field=field))
        return await to_thread.run_sync(arriving.finish)
    except ClientDisconnect as error:
        raise InvalidRequest("The connection ended before the file did.", hint="Send it again.") from error
    finally:
        if arriving is not None:
            arriving.discard()


class _OneFile:
    """The only part of a form: its `name`, once known, and the `content` that has arrived and was not taken yet."""

    def __init__(self, content_type: str, field: str) -> None:
        self.name: str | None = None
        self.content = bytearray()
        self.is_whole = False
        self._field = field
        self._header_name = self._header_value = b""
        self._disposition = b""
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or b"boundary" not in options:
            raise self._unexpected("The body is no form with a file.")
        try:
            self._parser = MultipartParser(
                options[b"boundary"],
                {
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_part_end": self._on_part_end,
                },
            )
        except FormParserError as error:
            raise self._unexpected("The form's boundary is too long.") from error

    def feed(self, chunk: bytes) -> None:
        """Parse the next bytes of the body. Raises InvalidRequest."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise self._unexpected("The form cannot be read.") from error

    def take(self) -> bytes:
        taken = bytes(self.content)
        self.content.clear()
        return taken

    def _unexpected(self, message: str) -> InvalidRequest:
        return InvalidRequest(message, hint=_HINT.format(field=self._field))

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if self.name is not None or options.get(b"name") != self._field.encode() or b"filename" not in options:
            raise self._unexpected(f"The form holds something other than one file in `{self._field}`.")
        self.name = options[b"filename"].decode("utf-8", "replace")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self.content += data[start:end]

    def _on_part_end(self) -> None:
        self.is_whole = True
