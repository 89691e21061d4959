"""Model cards as HTML: what strangers write there is shown, and nothing of it runs or is fetched."""

import re
import time
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.services.facts.card_html import MAX_DEPTH, card_html

PAGE = "https://huggingface.co/lab/model/blob/main"


class _Found(HTMLParser):
    """The tags and attributes of what was written."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {(name, value or "") for name, value in attrs}


def test_shows_what_cards_are_made_of() -> None:
    text = (
        "---\nlicense: mit\n---\n# Title\n\nSome **bold** `code`, ~~gone~~.\n\n"
        "| a | b |\n| - | -: |\n| 1 | 2 |\n\n```python\nprint(1 < 2)\n```\n"
    )
    html = card_html(text)
    assert "license" not in html
    assert "<h3>Title</h3>" in html
    assert "<strong>bold</strong> <code>code</code>, <s>gone</s>." in html
    assert '<div role="region" aria-label="Table" tabindex="0"><table>' in html
    assert '<td align="right">2</td>' in html
    assert "<pre><code>print(1 &lt; 2)\n</code></pre>" in html


def test_has_no_header_that_says_nothing() -> None:
    html = card_html("| | b |\n| - | - |\n| 1 | 2 |\n")
    assert "<td></td>\n<th>b</th>" in html


def test_leaves_no_heading_level_out() -> None:
    levels = re.findall(r"<h(\d)>", card_html("# a\n\n### b\n\n###### c\n\n## d\n"))
    assert levels == ["3", "4", "5", "4"]


def test_fetches_nothing_and_links_to_other_sites_only() -> None:
    html = card_html(
        '<p align="center"><a href="https://site.example"><img src="https://evil.example/badge.svg" alt="Badge"></a>'
        '<img src="https://evil.example/track.png" width=1></p>\n\n[doc](docs/use.md) [up](/settings) [here](#part) '
        '<a href=" JaVaScript:alert(1)">js</a> <a href="data:text/html,x">data</a> ![plot](plot.png)',
        repository_url=PAGE,
    )
    found = _Found(html)
    assert "img" not in found.tags
    assert {value for name, value in found.attributes if name == "href"} == {
        "https://site.example",
        "https://evil.example/track.png",
        f"{PAGE}/docs/use.md",
        f"{PAGE}/plot.png",
    }
    assert ("rel", "noopener noreferrer nofollow") in found.attributes
    assert ">Badge</a>" in html
    assert "src=" not in html
    assert "docs/use.md" not in card_html("[doc](docs/use.md)")


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<svg><style><img src=x onerror=alert(1)></style></svg>",
        "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
        "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
        '<a href="https://x.example/" onclick="alert(1)" style="position:fixed">a</a>',
        '<details open ontoggle="alert(1)"><summary>s</summary></details>',
        '<form action="https://x.example"><input name=q><button>go</button></form>',
        "<iframe src='https://x.example'></iframe><object data=x></object><embed src=x>",
        '<div style="background:url(https://x.example/a)" class="c" id="main">d</div>',
        "<textarea></textarea><script>alert(1)//",
        "<a href='https://x.example/\"><script>alert(1)</script>'>x</a>",
        "<base href='https://x.example'><meta http-equiv=refresh content='0;url=//x.example'><link rel=stylesheet>",
    ],
)
def test_writes_nothing_that_runs(text: str) -> None:
    _require_harmless(card_html(text))
    _require_harmless(card_html(f"before\n\n{text}\n\nafter <b>more"))


@given(st.text(alphabet="<>/=\"' &;!-[]()`*_#|\nabdimgscriptsvghrefonerror:", max_size=200))
def test_writes_nothing_that_runs_of_anything(text: str) -> None:
    _require_harmless(card_html(text, repository_url=PAGE))


def _require_harmless(html: str) -> None:
    found = _Found(html)
    allowed = {
        *("a", "abbr", "b", "blockquote", "br", "code", "dd", "del", "details", "div", "dl", "dt", "em", "h3", "h4"),
        *("h5", "h6", "hr", "i", "ins", "kbd", "li", "mark", "ol", "p", "pre", "q", "s", "samp", "small", "span"),
        *("strong", "sub", "summary", "sup", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "u", "ul", "var"),
    }
    assert found.tags <= allowed
    names = {name for name, _ in found.attributes}
    assert names <= {
        "align",
        "aria-label",
        "colspan",
        "href",
        "open",
        "rel",
        "role",
        "rowspan",
        "start",
        "tabindex",
        "target",
    }
    assert all(
        re.match("https?://|mailto:", value, re.IGNORECASE) for name, value in found.attributes if name == "href"
    )


def test_closes_what_was_left_open_and_goes_no_deeper_than_a_browser_likes() -> None:
    assert card_html("<div><b>bold").rstrip() == "<div><b>bold</b></div>"
    assert card_html("<div>" * 1000).count("<div>") == MAX_DEPTH
    assert card_html("</div></table>text").rstrip() == "text"


def test_an_address_that_is_used_often_does_not_fill_the_memory() -> None:
    """Written once and used 20,000 times it would make 400 MB of a card of 100 kB, and its title as much again."""
    address = "https://x.example/" + "x" * 20_000
    html = card_html(f'[a]: {address} "{"t" * 20_000}"\n\n' + "[a] " * 10_000 + "![a] " * 5_000 + "\n\n[b](https://y)")
    assert len(html) < 1_000_000
    assert html.count(address) == 9
    assert html.count("a\n") + html.count(" a") > 14_000, "the text stays"
    assert "https://y" not in html
    _require_harmless(html)


def test_comments_that_never_end_are_text_and_cost_no_time() -> None:
    """Python's parser looks for the end of each: a megabyte of them took many minutes of a processor."""
    started = time.process_time()
    html = card_html("<!--" * 250_000)
    assert time.process_time() - started < 60
    assert html.startswith("&lt;!--&lt;!--")
    assert card_html("a <!-- b --> c <!-- d").rstrip() == "<p>a  c &lt;!-- d</p>"
