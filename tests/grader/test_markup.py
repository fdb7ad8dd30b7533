"""Students' Markdown and HTML on a page: it takes seconds, whatever they wrote."""

from __future__ import annotations

import time

import nbformat
import pytest

from gpuclass.grader import feedback
from gpuclass.grader.markup import HTML_LIMIT, markdown, safe_html

SLOW = ["\\\\(", "\\begin{a}", "<ul><li>", "<div>", "<b>", "<style ", "<script>", "<", "x\n\n"]
PATIENCE_S = 30.0  # on a busy machine; without a limit it takes minutes to hours


@pytest.mark.parametrize("text", SLOW)
def test_text_made_to_be_slow_is_shown_as_it_was_typed(text: str) -> None:
    began = time.monotonic()
    assert len(markdown(text * (HTML_LIMIT // len(text)))) < 10 * HTML_LIMIT
    safe_html(text * (HTML_LIMIT // len(text)))
    assert time.monotonic() - began < PATIENCE_S


def test_what_is_shown_as_typed_is_no_html() -> None:
    shown = markdown("<b>" * 50_000 + "<img src=x onerror=steal()>")
    assert shown.startswith("<pre>&lt;b&gt;")
    assert shown.count("<") == 2  # <pre> and its end


def test_a_large_table_is_still_a_table() -> None:
    row = "    <tr>\n" + "      <td>0.123456</td>\n" * 20 + "    </tr>\n"
    assert safe_html(f"<table>{row * 40}</table>").count("<td>") == 800


def test_an_unclosed_style_hides_what_follows() -> None:
    assert safe_html("a<style>b{}</style>c<style>d{}") == "ac"


def test_many_slow_cells_make_no_slow_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback, "PAGE_EFFORT", 100)
    table = nbformat.v4.new_output("execute_result", data={"text/html": "<b>late</b>", "text/plain": "plain"})
    nb = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("**first**"),
            nbformat.v4.new_markdown_cell("**second** " * 5),
            nbformat.v4.new_code_cell("1", outputs=[table]),
        ]
    )
    text = feedback.page(nb, {"notebook": "ps1", "score": 0, "max_score": 1}, "en")
    assert "<strong>first</strong>" in text
    assert "<pre>**second** " in text
    assert "<pre>plain</pre>" in text
    assert "late" not in text
