"""Finds what the pages of a built site would request from other hosts."""

import re
from pathlib import Path

_TAG = re.compile(r"<(script|img|iframe|source|audio|video|link)\b([^>]*)>")
_ADDRESS = re.compile(r"""\b(?:src|href)=["']?((?:https?:)?//[^"'\s>]+)""")
_NO_REQUEST = re.compile(r"""\brel=["']?(?:canonical|alternate|license|next|prev)\b""")
_IN_CSS = re.compile(r"""(?:@import|url\()\s*["']?((?:https?:)?//[^"')\s]+)""")


def foreign_requests(site: Path) -> set[str]:
    """Return `file: address` of each; links that people may follow are not requests."""
    found = set()
    for path in (*site.rglob("*.html"), *site.rglob("*.css")):
        text = path.read_text(encoding="utf-8")
        addresses = [*_IN_CSS.findall(text)]
        for _tag, attributes in _TAG.findall(text):
            if not _NO_REQUEST.search(attributes):
                addresses += _ADDRESS.findall(attributes)
        found |= {f"{path.relative_to(site)}: {address}" for address in addresses}
    return found
