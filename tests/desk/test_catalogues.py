"""Every text of the desk is there in every language."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from gpuclass.desk.pages import HERE, LANGUAGES

METHODS = [("templates/**.html", "jinja2"), ("**.py", "python"), ("templates/**.txt", "jinja2")]
OPTIONS = {"templates/**.html": {"trimmed": "true", "silent": "false"}}
KEYWORDS = {"_": None, "gettext": None, "ngettext": (1, 2), "N_": None}


def texts() -> set[str]:
    """All msgids that stand in the desk's code and templates."""
    found = extract_from_dir(str(HERE), method_map=METHODS, options_map=OPTIONS, keywords=KEYWORDS)
    return {text if isinstance(text, str) else text[0] for _, _, text, _, _ in found}


@pytest.mark.parametrize("language", [each for each in LANGUAGES if each != "en"])
def test_every_text_is_translated_and_none_is_left_over(language: str) -> None:
    path = Path(HERE / "locale" / language / "LC_MESSAGES" / "desk.po")
    catalogue = read_po(io.BytesIO(path.read_bytes()), locale=language)
    known = {each.id if isinstance(each.id, str) else each.id[0]: each for each in catalogue if each.id}
    there = texts()
    missing = sorted(text for text in there if text not in known or not known[text].string)
    assert missing == [], f"{path} lacks these"
    assert sorted(known.keys() - there) == [], "these stand in the catalogue and nowhere else"
    assert [each.id for each in known.values() if each.fuzzy or list(each.check(catalogue))] == []
