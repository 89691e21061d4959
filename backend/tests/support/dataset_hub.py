"""A Hub with data sets, over HTTP: folders, listed and resolved as huggingface_hub's clients ask for them."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

COMMIT = "c0ffee" + "0" * 34


class DatasetHub:
    """Serves each folder as the data set of its name; `extra` of a name is added to what is said about it."""

    def __init__(self, **folders: Path) -> None:
        self.folders = {name.replace("__", "/"): folder for name, folder in folders.items()}
        self.extra: dict[str, Mapping[str, Any]] = {}
        self.ranges: list[str] = []
        self.app = Starlette(
            routes=[
                Route("/api/datasets", self._list),
                Route("/api/datasets/{owner}/{name}", self._info),
                Route("/api/datasets/{owner}/{name}/revision/{revision}", self._info),
                Route("/datasets/{owner}/{name}/resolve/{revision}/{path:path}", self._file),
            ]
        )

    async def _list(self, request: Request) -> Response:
        words = request.query_params.get("search", "")
        found = [{"id": name, **self.extra.get(name, {})} for name in self.folders if words in name]
        return JSONResponse(found[: int(request.query_params["limit"])])

    async def _info(self, request: Request) -> Response:
        name = self._name(request)
        folder = self.folders.get(name)
        if folder is None:
            return JSONResponse({"error": "Repository not found"}, 404, headers={"X-Error-Code": "RepoNotFound"})
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        siblings = [
            {
                "rfilename": path.relative_to(folder).as_posix(),
                "size": path.stat().st_size,
                "blobId": hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest(),
            }
            for path in files
        ]
        return JSONResponse({"id": name, "sha": COMMIT, "siblings": siblings, **self.extra.get(name, {})})

    async def _file(self, request: Request) -> Response:
        self.ranges.append(request.headers.get("range", ""))
        return FileResponse(self.folders[self._name(request)] / request.path_params["path"])

    def _name(self, request: Request) -> str:
        return f"{request.path_params['owner']}/{request.path_params['name']}"
