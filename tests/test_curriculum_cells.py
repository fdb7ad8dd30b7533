"""Notebooks merge cell by cell: no text of the student's is lost, and what they left alone follows the release."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuclass.curriculum.cells import merge_notebooks, sources

Cells = list[tuple[str, str]]  # id, text


def notebook(*cells: tuple[str, str]) -> bytes:
    made = [{"cell_type": "code", "id": name, "source": text.splitlines(True), "outputs": []} for name, text in cells]
    return json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()


def merged(base: Cells, yours: Cells, released: Cells) -> Cells:
    made = json.loads(merge_notebooks(notebook(*base), notebook(*yours), notebook(*released)))
    return [(cell["id"], "".join(cell["source"])) for cell in made["cells"]]


A, B, C, D = ("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")


@pytest.mark.parametrize(
    ("yours", "released", "expected"),
    [
        pytest.param([A, B, C], [A, ("b", "20"), C], [A, ("b", "20"), C], id="an untouched cell is updated"),
        pytest.param([A, ("b", "x"), C], [A, ("b", "20"), C], [A, ("b", "x"), C], id="an edited cell stays"),
        pytest.param([A, ("b", "x"), C], [A, C], [A, ("b", "x"), C], id="an edited cell that is dropped stays"),
        pytest.param([A, B, C], [A, C], [A, C], id="an untouched cell that is dropped goes"),
        pytest.param([A, C], [A, ("b", "20"), C], [A, C], id="a deleted cell stays deleted"),
        pytest.param([A, B, C], [D, A, B, C], [D, A, B, C], id="a new cell comes first"),
        pytest.param([A, B, C], [A, D, B, C], [A, D, B, C], id="a new cell comes between"),
        pytest.param([A, B, C], [A, B, C, D], [A, B, C, D], id="a new cell comes last"),
        pytest.param([A, B, C, ("s", "my")], [A, B, C, D], [A, B, C, D, ("s", "my")], id="both add at the end"),
        pytest.param([C, B, A], [A, ("b", "20"), C], [C, ("b", "20"), A], id="the student's order stays"),
        pytest.param([A, B, C], [A, ("h2", "20"), C], [A, ("h2", "20"), C], id="an id that follows the text"),
        pytest.param([A, ("b", "x"), C], [A, ("h2", "20"), C], [A, ("b", "x"), C], id="the same, edited"),
        pytest.param([], [A, ("b", "20"), C, D], [D], id="all deleted"),
        pytest.param([A, B, ("b", "2"), C], [A, ("b", "20"), C], [A, ("b", "20"), B, C], id="an id twice"),
    ],
)
def test_one_release(yours: Cells, released: Cells, expected: Cells) -> None:
    assert merged([A, B, C], yours, released) == expected


def test_outputs_go_only_where_the_code_above_them_changed() -> None:
    yours = json.loads(notebook(A, B))
    for cell in yours["cells"]:
        cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "out"}]
    made = json.loads(merge_notebooks(notebook(A, B), json.dumps(yours).encode(), notebook(A, ("b", "20"))))
    assert [len(cell["outputs"]) for cell in made["cells"]] == [1, 0]


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[]", b'{"cells": 3}', b'{"cells": [3]}', b"[" * 100_000])
def test_what_is_no_notebook_stays_as_it_is(text: bytes) -> None:
    assert merge_notebooks(notebook(A), text, notebook(A, B)) == text
    assert merge_notebooks(notebook(A), notebook(A, C), text) == notebook(A, C)
    assert merge_notebooks(text, notebook(A, C), notebook(A, B)) == notebook(A, C)


def test_a_notebook_whose_ids_were_dropped_stays_as_it_is() -> None:
    yours = json.loads(notebook(A, B))
    for cell in yours["cells"]:
        del cell["id"]
    text = json.dumps(yours).encode()
    assert merge_notebooks(notebook(A, B), text, notebook(A, ("b", "20"))) == text


names = st.sampled_from("abcdefgh")
texts = st.text("xyz\n#가", min_size=1, max_size=6)


@st.composite
def three_versions(draw: Any) -> tuple[Cells, Cells, Cells]:
    base = draw(st.lists(st.tuples(names, texts), unique_by=lambda cell: cell[0], max_size=6))

    def changed(prefix: str) -> Cells:
        cells = [(name, draw(texts) if draw(st.booleans()) else text) for name, text in base if draw(st.booleans())]
        for number in range(draw(st.integers(0, 3))):
            cells.insert(draw(st.integers(0, len(cells))), (f"{prefix}{number}", draw(texts)))
        return list(draw(st.permutations(cells))) if draw(st.booleans()) else cells

    return base, changed("yours"), changed("new")


@given(three_versions())
def test_no_text_is_lost_and_the_result_is_a_notebook(versions: tuple[Cells, Cells, Cells]) -> None:
    base, yours, released = versions
    known = {name for name, _ in base}
    if yours and not known & {name for name, _ in yours}:
        return  # nothing in common: another notebook, left alone
    result = merged(base, yours, released)
    assert len({name for name, _ in result}) == len(result), "every id once"
    for cell in yours:
        if cell not in base:
            assert cell in result, "what the student wrote"
    if known <= {name for name, _ in released}:  # else a new cell may stand for one that the student has edited
        for name, text in released:
            if name not in known:
                assert (name, text) in result, "what is new"
    kept = [name for name, _ in result if name in {mine for mine, _ in yours}]
    assert kept == [name for name, _ in yours if name in kept], "the student's order"


@given(three_versions())
def test_merging_again_changes_nothing(versions: tuple[Cells, Cells, Cells]) -> None:
    base, yours, released = versions
    once = merge_notebooks(notebook(*base), notebook(*yours), notebook(*released))
    assert sources(merge_notebooks(notebook(*released), once, notebook(*released))) == sources(once)
