"""The page `/docs/errors`, and `docs/errors.md` with the same content: one entry for each error code."""

import re
from collections.abc import Iterator
from functools import cache

from markdown_it import MarkdownIt

from modelyard.api.error_help import HELP
from modelyard.api.problems import STATUSES
from modelyard.core.errors import ModelyardError
from modelyard.schemas import examples

_HEAD = """<!-- Written by `make types` from the code. -->

# Error codes

Each error of the API, of the command line and of a model's row has a `code`, which programs may rely on, and a message
and a hint for people, which may change. The server shows this page at `/docs/errors`.
"""
_LINK = re.compile(r"\[([^\]]+)\]\([^)#]+\.md[^)]*\)")
"""To another page of the documentation, which the server does not have."""

_HTML = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" type="image/svg+xml" href="../favicon.svg">
<title>Error codes · Modelyard</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ max-width: 46rem; margin: 0 auto; padding: 1rem; font: 15px/1.55 system-ui, sans-serif; }}
main {{ overflow-wrap: anywhere; }}
h1 {{ font-size: 1.5rem; }}
h2 {{ margin: 2rem 0 0; padding-top: .5rem; border-top: 1px solid color-mix(in srgb, currentColor 20%, transparent);
  font-size: 1.05rem; }}
h2:target {{ background: color-mix(in srgb, gold 30%, transparent); }}
h2 a {{ color: inherit; text-decoration: none; }}
code {{ font-family: ui-monospace, monospace; font-size: .92em; }}
</style>
</head>
<body>
<nav aria-label="Modelyard"><a href="../models">Modelyard</a> · <a href="../docs">API</a></nav>
<main>
{content}</main>
</body>
</html>
"""


def errors_markdown() -> str:
    """Return the page in Markdown; the heading of each entry is the code, and so is its anchor."""
    return "\n".join([_HEAD, *(line for code in sorted(HELP) for line in _entry(code))])


@cache
def errors_html() -> str:
    """Return the page as the server shows it, which needs no script and no other file."""
    content = MarkdownIt("commonmark", {"html": False}).render(_LINK.sub(r"\1", errors_markdown().partition("\n\n")[2]))
    with_anchors = re.sub(
        r"<h2><code>(\w+)</code></h2>", r'<h2 id="\1"><a href="#\1"><code>\1</code></a></h2>', content
    )
    return _HTML.format(content=with_anchors)


def _entry(code: str) -> Iterator[str]:
    kind = kinds().get(code, ModelyardError)
    help_ = HELP[code]
    status = next((STATUSES[base] for base in STATUSES if base.code == code), None)
    places = "; ".join(place for place in (f"HTTP {status}" if status else None, help_.where) if place)
    yield f"## `{code}`\n"
    yield f"{places[0].upper()}{places[1:]}.\n"
    yield f"{help_.meaning}\n"
    if code in examples.PROBLEMS:
        yield f"> {examples.PROBLEMS[code]['detail']}\n"
    yield f"**What to do:** {help_.action or kind.default_hint}\n"


def kinds() -> dict[str, type[ModelyardError]]:
    """Return the class that each code belongs to, of the modules that are imported."""
    found: dict[str, type[ModelyardError]] = {}
    todo: list[type[ModelyardError]] = [ModelyardError]
    for kind in todo:
        found.setdefault(kind.code, kind)
        todo.extend(kind.__subclasses__())
    return found
