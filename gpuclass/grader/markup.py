"""HTML that a student could have written, made safe to show to a teacher. An allow-list; no script, form, frame or link
into the class's own site survives."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

import bleach
import jinja2
from bleach.css_sanitizer import CSSSanitizer
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

HTML_LIMIT = 256 * 1024  # characters
EFFORT_LIMIT = 250_000_000  # marks times characters; parsing this much takes seconds, a busy machine's too
CSS = CSSSanitizer()
_TAGS = """
a abbr b blockquote br caption code col colgroup dd del details div dl dt em h1 h2 h3 h4 h5 h6 hr i img li ol p
pre s small span strong sub summary sup table tbody td tfoot th thead tr u ul
"""
_NUMBER = re.compile(r"\d{1,4}%?")
_PYGMENTS = re.compile(r"[a-z0-9]{1,3}")
_INLINE_IMAGE = re.compile(r"data:image/(png|jpeg|gif);base64,[A-Za-z0-9+/=\s]*")
_LINK = re.compile(r"(https?://|mailto:|#)", re.IGNORECASE)
_UNSHOWN = re.compile(r"<(style|script)\b.*?(?:</\1\s*>|\Z)", re.IGNORECASE | re.DOTALL)


def _attribute(tag: str, name: str, value: str) -> bool:
    match (tag, name):
        case ("a", "href"):
            return bool(_LINK.match(value))
        case ("img", "src"):
            # Not even a relative one: <img src="/hub/logout"> is a request in the teacher's name.
            return bool(_INLINE_IMAGE.fullmatch(value))
        case ("img", "alt") | (_, "title" | "style"):
            return True
        case ("img" | "table" | "td" | "th", "width" | "height" | "border" | "colspan" | "rowspan"):
            return bool(_NUMBER.fullmatch(value))
        case ("td" | "th" | "tr" | "p", "align"):
            return value in ("left", "right", "center")
        case ("span", "class"):
            return bool(_PYGMENTS.fullmatch(value))
        case ("div" | "table", "class"):
            return value in ("highlight", "dataframe")
    return False


_MARKS = re.compile(r"[^\w\s+/=]|\n")  # what is left of a text without words, spaces and base64


def effort(text: str) -> int:
    """What parsing ``text`` may cost: the parsers of Markdown and HTML look from a mark to the end, over and over."""
    return sum(1 for _ in _MARKS.finditer(text)) * len(text)


def as_typed(text: str) -> str:
    """``text`` as text, not more of it than HTML_LIMIT."""
    return f"<pre>{html.escape(text[:HTML_LIMIT])}</pre>"


def safe_html(text: str) -> str:
    """``text`` with everything removed that is not on the allow-list; longer text than HTML_LIMIT is cut first.

    What would take too long to parse is shown as it was typed.
    """
    if effort(text[:HTML_LIMIT]) > EFFORT_LIMIT:
        return as_typed(text)
    cleaned: str = bleach.clean(
        _UNSHOWN.sub("", text[:HTML_LIMIT]),
        tags=_TAGS.split(),
        attributes=_attribute,
        protocols=("http", "https", "mailto", "data"),
        css_sanitizer=CSS,
        strip=True,
    )
    return cleaned


class _Attachments(dict[str, dict[str, str]]):
    """Attachments of a cell; a missing one is an empty picture, where nbconvert gives up the whole page."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> dict[str, str]:
        return {"image/png": ""}


def markdown(source: str, attachments: Mapping[str, dict[str, str]] | None = None) -> str:
    """Markdown as safe HTML; formulas stay as they were typed, and so does what would take too long to parse."""
    if effort(source[:HTML_LIMIT]) > EFFORT_LIMIT:
        return as_typed(source)
    renderer = IPythonRenderer(escape=False, attachments=_Attachments(attachments or {}), exclude_anchor_links=True)
    return safe_html(str(MarkdownWithMath(renderer=renderer).render(source[:HTML_LIMIT])))


@jinja2.pass_context
def markdown_filter(context: Any, source: str) -> str:
    """nbconvert's ``markdown2html`` filter with ``markdown`` in its place: for pages that nbgrader itself renders."""
    cell = context.get("cell") or {}
    return markdown(source, cell.get("attachments"))
