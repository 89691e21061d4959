"""Searching a Hub: what is asked, and what a page of the answer holds."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2

from modelyard.core.errors import HubMisbehaved
from modelyard.hub.licence import LICENCE_TAG
from modelyard.hub.model_info import HubSearchHit
from modelyard.hub.parameter_range import ANY_SIZE, ParameterRange

MAX_CURSOR_CHARACTERS = 4000

_EXPANDED = ("config", "downloads", "likes", "gated", "pipeline_tag", "safetensors", "usedStorage", "tags")


@dataclass(frozen=True)
class HubQuery:
    """A search. `sort` is one of the Hub's keys, descending; `architecture` a model type such as llama.

    Without text and task, models that generate text are searched.
    """

    text: str = ""
    sort: str = "downloads"
    task: str | None = None
    licence: str | None = None
    architecture: str | None = None
    num_parameters: ParameterRange = ANY_SIZE

    def parameters(self, limit: int, cursor: str | None) -> dict[str, Any]:
        """Return the parameters of a request to the Hub."""
        tags = [f"{LICENCE_TAG}{self.licence}" if self.licence else None, self.architecture]
        asked: dict[str, Any] = {
            "sort": self.sort,
            "limit": limit,
            "expand": list(_EXPANDED),
            "search": self.text,
            "pipeline_tag": self.task or ("" if self.text else "text-generation"),
            "filter": [tag for tag in tags if tag],
            "num_parameters": str(self.num_parameters),
            "cursor": cursor,
        }
        return {name: value for name, value in asked.items() if value}


@dataclass(frozen=True)
class HubSearchPage:
    """Some of the models found. `next_cursor` asks for those after them; None at the end."""

    hits: tuple[HubSearchHit, ...]
    next_cursor: str | None


def next_cursor(response: httpx2.Response) -> str | None:
    """Return the cursor in the address of the next page, None at the end. Raises HubMisbehaved, ValueError.

    Nothing else of that address is used: the next request goes to the same Hub with the parameters of the first,
    whatever host the address names.
    """
    address = response.links.get("next", {}).get("url")
    if not address:
        return None
    cursor = parse_qs(urlsplit(address).query).get("cursor", [""])[0]
    if len(cursor) > MAX_CURSOR_CHARACTERS:
        raise HubMisbehaved("The Hub sent a cursor that is too long.")
    return cursor or None
