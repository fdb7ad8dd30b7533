"""A table as CSV that Korean Excel opens with a double click, and in which no text becomes a formula. Pure."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

Value = str | float | None  # None is an empty cell

DECIMALS = 4  # of a number; what is behind them comes from adding binary fractions
# Full-width signs too: Excel in East Asian languages takes them for the plain ones.
_FORMULA_SIGNS = frozenset("=+-@\t\r\n|%＝＋－＠")  # as said above
_MONTH = r"(?:jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec)[a-z]*"
_MISREAD = re.compile(
    r"\d[\d.,:/ -]*|\d+(?:\.\d*)?e\d+|\d+[ -]?(?:am|pm|[ap])"  # 007, 3-1, 12e3, 1/2, 9 am
    rf"|{_MONTH}[ -]?\d{{1,4}}|\d{{1,4}}[ /-]?{_MONTH}(?:[ /-]?\d{{1,4}})?"  # sep2, 1-dec-26
    r"|\d+[년월일시분초][\d 년월일시분초]*|true|false",
    re.IGNORECASE | re.ASCII,
)


def as_csv(head: Sequence[str], rows: Iterable[Sequence[Value]]) -> bytes:
    """The table: UTF-8 with a byte order mark, without which Excel reads Korean as cp949; lines end in CRLF."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, dialect="excel")
    writer.writerow([as_text(name) for name in head])
    for row in rows:
        writer.writerow([as_text(value) if isinstance(value, str) else _number(value) for value in row])
    return text.getvalue().encode("utf-8-sig", "replace")


def as_text(text: str) -> str:
    """What to write so that a spreadsheet shows ``text`` and nothing else.

    What begins like a formula gets an apostrophe in front, which is then shown. What a spreadsheet would turn into a
    number, a date or a truth value is written as ``="007"``: a formula without anything in it but that text.
    """
    text = "".join(each if each.isprintable() else " " for each in text)
    if text.lstrip()[:1] in _FORMULA_SIGNS and text.strip():
        return f"'{text}"
    return f'="{text}"' if _MISREAD.fullmatch(text.strip()) else text


def _number(value: float | None) -> str:
    if value is None:
        return ""
    rounded = round(value, DECIMALS)
    return str(int(rounded)) if rounded == int(rounded) else f"{rounded:.{DECIMALS}f}".rstrip("0")
