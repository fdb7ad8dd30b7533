"""What people read: in both languages, with the same facts."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

from gpuclass import ROOT
from gpuclass.exchange import messages
from gpuclass.exchange.messages import megabytes


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("key", messages._TEXTS)
def test_a_text_is_in_both_languages_with_the_same_facts(key: str) -> None:
    korean, english = messages._TEXTS[key]["ko"], messages._TEXTS[key]["en"]
    assert fields(korean) == fields(english)
    assert re.search("[가-힣]", korean)
    assert not re.search("[가-힣]", english)


def test_every_text_is_used() -> None:
    places = [*Path(ROOT / "gpuclass/exchange").rglob("*.py"), ROOT / "gpuclass/assignments.py"]
    code = "".join(path.read_text(encoding="utf-8") for path in places)
    unused = [key for key in messages._TEXTS if f'"{key}"' not in code.replace(f'"{key}": {{', "")]
    assert [key for key in unused if not key.startswith(("name.", "state."))] == []


@pytest.mark.parametrize(("count", "text"), [(3 * 2**20, "3.0 MB"), (500, "0.5 KB"), (110_000, "0.1 MB")])
def test_sizes_are_shown_as_people_compare_them(count: int, text: str) -> None:
    assert megabytes(count) == text
