"""A model card, Markdown with HTML in it that strangers write, as HTML that is safe to show and fetches nothing.

What Markdown makes is parsed and written anew: only tags and attributes that are listed here are written, and all text
is escaped, so whatever a browser reads differently cannot become anything else.
"""

import re
from collections.abc import Sequence
from html import escape
from html.parser import HTMLParser
from urllib.parse import quote, urljoin

from markdown_it import MarkdownIt
from markdown_it.token import Token

MAX_CARD_BYTES = 100_000
"""Of a card's text. Rendering takes up to two seconds of a processor for hostile text of this size."""
MAX_ADDRESSES = 200_000
"""Characters of all addresses together: an address is written once in a card and may be used thousands of times. What
comes after has none."""
MAX_DEPTH = 40
"""Elements within one another; deeper ones are left out, their text stays."""

_FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\r?\n.*?^---[ \t]*\r?$\n?", re.DOTALL | re.MULTILINE)
_WEB = re.compile(r"(https?://|mailto:)[^\s\x00-\x1f]+\Z", re.IGNORECASE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_KEPT = {
    *("abbr", "b", "blockquote", "code", "dd", "del", "details", "div", "dl", "dt", "em", "i", "ins", "kbd", "li"),
    *("mark", "ol", "p", "pre", "q", "s", "samp", "small", "span", "strong", "sub", "summary", "sup", "table"),
    *("tbody", "td", "tfoot", "th", "thead", "tr", "u", "ul", "var"),
}
_RENAMED = {"center": "div", "strike": "s", "tt": "code", "big": "span", "font": "span", "section": "div"}
_ALIGNABLE = {"div", "p", "td", "th", "tr"}
_UNSEEN = {
    *("applet", "audio", "button", "canvas", "datalist", "embed", "frameset", "head", "iframe", "math", "noembed"),
    *("noframes", "noscript", "object", "optgroup", "option", "plaintext", "script", "select", "style", "svg"),
    *("template", "textarea", "title", "video", "xmp"),
}
_WRAPPED = {
    # Wide tables move sideways, which the keyboard has to reach.
    "table": ('<div role="region" aria-label="Table" tabindex="0"><table>', "</table></div>"),
}


def without_front_matter(text: str) -> str:
    """Return a card's text without the YAML block at its beginning."""
    return _FRONT_MATTER.sub("", text, count=1)


def card_html(text: str, *, repository_url: str | None = None) -> str:
    """Return the HTML of a card's text, without its front matter.

    Links lead to other sites, images become links. `repository_url` is where the Hub shows the repository's files at
    the card's commit, such as `https://huggingface.co/gpt2/blob/main`; relative links are left out without it. Headings
    begin at the third level, below those of whoever shows the card.
    """
    markdown = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    tokens = markdown.parse(without_front_matter(text))
    _limit_addresses(tokens)
    writer = _SafeWriter(repository_url)
    writer.feed(_without_open_comments(markdown.renderer.render(tokens, markdown.options, {})))
    writer.close()
    return writer.result()


def _limit_addresses(tokens: Sequence[Token]) -> None:
    """Take titles, which are not shown, from links and images, and addresses beyond MAX_ADDRESSES."""
    left = MAX_ADDRESSES
    waiting = list(reversed(tokens))
    while waiting:
        token = waiting.pop()
        token.attrs.pop("title", None)
        for name in ("href", "src"):
            left -= len(str(token.attrs.get(name, "")))
            if left < 0 and name in token.attrs:
                token.attrs[name] = ""
        waiting.extend(reversed(token.children or []))


def _without_open_comments(html: str) -> str:
    """Have comments that never end be text: the parser would look for the end of each again."""
    end = html.rfind("-->") + 1
    return html[:end] + html[end:].replace("<!--", "&lt;!--")


class _SafeWriter(HTMLParser):
    """Writes what it parses, as far as it is known to be harmless."""

    def __init__(self, repository_url: str | None) -> None:
        super().__init__(convert_charrefs=True)
        self._base = repository_url
        self._written: list[str] = []
        self._open: list[tuple[str, str, int]] = []
        """The tags that are open, as they were read, each with what closes it and what was written before it."""
        self._unseen: list[str] = []
        self._level = 2

    def result(self) -> str:
        while self._open:
            self._close()
        return "".join(self._written)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _UNSEEN:
            self._unseen.append(tag)
        if self._unseen:
            return
        values = {name: value or "" for name, value in attrs}
        if tag in ("br", "hr"):
            self._written.append(f"<{tag}>")
        elif tag == "img":
            self._image(values)
        elif len(self._open) < MAX_DEPTH:
            self._element(tag, values)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag in _UNSEEN:
            self._unseen.pop()

    def handle_endtag(self, tag: str) -> None:
        if self._unseen:
            if tag in self._unseen:
                del self._unseen[self._unseen.index(tag) :]
            return
        if all(tag != name for name, _, _ in self._open):
            return
        while self._close() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self._written.append(escape(data, quote=False))

    def _element(self, tag: str, values: dict[str, str]) -> None:
        if tag == "a":
            self._link(values)
            return
        if tag in _HEADINGS:
            # No level is left out, which is what whoever reads with a screen reader goes by.
            self._level = min(_HEADINGS[tag] + 2, self._level + 1, 6)
            self._begin(tag, f"<h{self._level}>", f"</h{self._level}>")
            return
        name = _RENAMED.get(tag, tag)
        if name in _WRAPPED:
            self._begin(tag, *_WRAPPED[name])
        elif name in _KEPT:
            self._begin(tag, f"<{name}{_attributes(name, values)}>", f"</{name}>")

    def _begin(self, tag: str, opening: str, closing: str) -> None:
        self._open.append((tag, closing, len(self._written)))
        self._written.append(opening)

    def _close(self) -> str:
        """Close what was opened last. Returns its tag."""
        tag, closing, start = self._open.pop()
        if tag == "th" and not "".join(self._written[start + 1 :]).strip():
            # A header that says nothing is none, and readers of the screen would stop at it.
            self._written[start] = self._written[start].replace("<th", "<td", 1)
            closing = "</td>"
        self._written.append(closing)
        return tag

    def _link(self, values: dict[str, str]) -> None:
        address = self._address(values.get("href", ""))
        if address is not None and not self._in_link():
            self._begin("a", _anchor(address), "</a>")

    def _image(self, values: dict[str, str]) -> None:
        words = escape(values.get("alt", "").strip() or "Image", quote=False)
        address = None if self._in_link() else self._address(values.get("src", ""))
        self._written.append(words if address is None else f"{_anchor(address)}{words}</a>")

    def _in_link(self) -> bool:
        return any(name == "a" for name, _, _ in self._open)

    def _address(self, address: str) -> str | None:
        """Return where a link leads, if that is another site or a page of the Hub."""
        address = address.strip()
        if _WEB.match(address):
            return address
        if self._base is None or not address or address.startswith(("#", "/", "\\")) or _SCHEME.match(address):
            return None
        return urljoin(f"{self._base}/", quote(address, safe="/%#?=&.-_~"))


def _anchor(address: str) -> str:
    return f'<a href="{escape(address)}" target="_blank" rel="noopener noreferrer nofollow">'


def _attributes(name: str, values: dict[str, str]) -> str:
    """Return the attributes that say how a table or a list is read, as they are written."""
    kept: dict[str, str] = {}
    align = values.get("align", "").lower() or values.get("style", "").removeprefix("text-align:").strip(" ;")
    if name in _ALIGNABLE and align in ("left", "center", "right"):
        kept["align"] = align
    if name in ("td", "th"):
        kept |= {key: values[key] for key in ("colspan", "rowspan") if re.fullmatch(r"[1-9]\d?", values.get(key, ""))}
    if name == "ol" and re.fullmatch(r"\d{1,6}", values.get("start", "")):
        kept["start"] = values["start"]
    if name == "details" and "open" in values:
        kept["open"] = ""
    return "".join(f' {key}="{value}"' for key, value in kept.items())
