"""A table opens as what it is: Korean stays Korean, and no text becomes a formula, a number or a date."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuclass.spreadsheet import as_csv, as_text


def read(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def test_excel_is_told_that_it_is_utf_8_and_lines_end_as_on_windows() -> None:
    data = as_csv(["이름", "합계"], [["김하늘", 3.0], ["박\n구름", None]])
    assert data.startswith(b"\xef\xbb\xbf")
    assert data.count(b"\r\n") == data.count(b"\n") == 3
    assert read(data) == [["이름", "합계"], ["김하늘", "3"], ["박 구름", ""]]


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "0"), (10.0, "10"), (0.1 + 0.2, "0.3"), (2.25, "2.25"), (1234567.5, "1234567.5")]
)
def test_numbers_are_written_as_people_do(value: float, shown: str) -> None:
    assert read(as_csv(["a"], [[value]]))[1] == [shown]


@pytest.mark.parametrize(
    "text",
    ["=cmd|' /C calc'!A0", "+1", "-2+3", "@SUM(A1)", "\t=1", "  =1", "＝1", "＠a", "%0A=1", "|x", "\r=1", "\u200b=1"],
)
def test_a_text_that_looks_like_a_formula_is_none(text: str) -> None:
    assert as_text(text).startswith("'")


@pytest.mark.parametrize(
    "text", ["007", "1-2", "3/4", "12e3", "sep2", "MAR10", "1-dec-26", "3월1일", "true", "1.50", "9 am"]
)
def test_what_would_be_read_as_a_number_or_a_date_stays_text(text: str) -> None:
    assert as_text(text) == f'="{text}"'


@pytest.mark.parametrize("text", ["s01", "student07", "1조", "김하늘", "O'Neil", 'a "b", c', "marie", "3학년 1반", ""])
def test_other_texts_are_written_as_they_are(text: str) -> None:
    assert as_text(text) == text
    assert read(as_csv(["a", "b"], [[text, 1.0]]))[1] == [text, "1"]


@given(st.text())
def test_no_text_begins_a_formula_but_one_that_holds_only_itself(text: str) -> None:
    made = as_text(text)
    if made.lstrip()[:1] in set("=+-@"):
        shown = "".join(each if each.isprintable() else " " for each in text)
        assert made == f'="{shown}"'
        assert '"' not in text
        assert "(" not in text
    assert made.isprintable()
