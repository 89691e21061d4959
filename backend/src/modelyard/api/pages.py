"""The built web page: browsers cache hashed assets for ever and revalidate the page itself each time."""

import errno
import os
import re
from pathlib import Path

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, HTMLResponse, Response
from starlette.datastructures import Headers
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

import modelyard
from modelyard.api.error_page import errors_html

STATIC = Path(modelyard.__file__).parent / "web" / "static"
MAX_NAME_BYTES = 255
"""Of one file on a common disk; a longer name is an error there, not a missing file."""

_NOT_BUILT = """<!doctype html><title>Modelyard</title><h1>The page is not built</h1>
<p>The API runs, but this installation carries no web page. In a checkout, <code>make setup</code> builds it.</p>"""
_POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; connect-src 'self' ws: wss:;"
    " frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
)
_BASE = '<base href="/"'
"""In `index.html` as it is built, for the development server."""
_TAKES_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))")
_RESERVED = ("api/", "v1/", "hub/", "assets/", "healthz", "readyz", "metrics", "tokenizer_info")
"""Of other answers. lm_eval asks for `/tokenizer_info`, which some servers of OpenAI's API have."""


class _Assets(StaticFiles):
    """Static files whose names contain a hash of their content; large ones have a compressed copy beside them."""

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        try:
            return super().lookup_path(path)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return "", None
            raise

    async def get_response(self, path: str, scope: Scope) -> Response:
        takes_gzip = _TAKES_GZIP.search(Headers(scope=scope).get("accept-encoding", ""))
        compressed = f"{path}.gz" if takes_gzip and self.lookup_path(f"{path}.gz")[1] else None
        response = await super().get_response(compressed or path, scope)
        if compressed:
            response.headers["Content-Encoding"] = "gzip"
        response.headers["Vary"] = "Accept-Encoding"
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def install(app: FastAPI) -> None:
    """Serve the page under every path without another route, so that its addresses can be opened directly."""
    app.mount("/assets", _Assets(directory=STATIC / "assets", check_dir=False), name="assets")

    @app.get("/docs", include_in_schema=False)
    def docs() -> Response:
        return _page("docs.html")

    @app.get("/docs/errors", include_in_schema=False)
    def docs_of_errors() -> Response:
        return _html(errors_html())

    @app.get("/{path:path}", include_in_schema=False)
    def page(path: str, request: Request) -> Response:
        if path.startswith(_RESERVED):
            raise HTTPException(404, "There is nothing at this address.")
        file = STATIC / path
        if (
            path
            and "/" not in path
            and file.name == path
            and len(path.encode()) <= MAX_NAME_BYTES
            and file.suffix in (".svg", ".png", ".ico", ".webmanifest")
            and file.is_file()
        ):
            return FileResponse(file)
        return _page("index.html", _base(request.scope))


def _page(name: str, base: str = "./") -> Response:
    file = STATIC / name
    return _html(file.read_text().replace(_BASE, f'<base href="{base}"') if file.is_file() else _NOT_BUILT)


def _html(content: str) -> Response:
    headers = {"Cache-Control": "no-cache", "Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"}
    return HTMLResponse(content, headers=headers)


def _base(scope: Scope) -> str:
    """Return where the page's addresses begin, seen from the one that is asked for.

    Being relative, it holds below any path of a reverse proxy, also one that this server is not told.
    """
    prefix = scope.get("root_path", "")
    below = scope["raw_path"].decode("latin-1").partition("?")[0].removeprefix(prefix)
    if not below:  # the prefix itself, without the slash at its end
        return f"{prefix.rpartition('/')[2]}/"
    return "../" * (below.count("/") - 1) or "./"
