"""A Hub that also answers for collections, in the form of the public one."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_PATH = "/api/collections/"


class WithCollections:
    """ASGI middleware: `collections` maps slugs to their items, each a kind and a name."""

    def __init__(self, app: ASGIApp, collections: Mapping[str, Sequence[tuple[str, str]]]) -> None:
        self._app = app
        self._collections = collections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        _, asked, slug = scope.get("path", "").partition(_PATH)
        if not asked:
            await self._app(scope, receive, send)
            return
        items = self._collections.get(slug)
        if items is None:
            await JSONResponse({"error": "Collection not found"}, 404)(scope, receive, send)
            return
        await JSONResponse(_collection(slug, items))(scope, receive, send)


def _collection(slug: str, items: Sequence[tuple[str, str]]) -> dict[str, Any]:
    return {
        "slug": slug,
        "title": "Small models",
        "owner": {"name": slug.split("/")[0], "type": "user"},
        "items": [
            {"_id": f"{number:024x}", "id": name, "type": kind, "position": number}
            for number, (kind, name) in enumerate(items)
        ],
        "lastUpdated": "2026-11-01T10:00:00.000Z",
        "position": 0,
        "private": False,
        "theme": "indigo",
        "upvotes": 1,
    }
