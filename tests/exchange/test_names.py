"""The one safe form of names: what passes stays in its folder and shadows nothing."""

from __future__ import annotations

import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gpuclass.exchange.names import UnsafeName, file_path, file_paths, identifier

NASTY = [
    ("../gradebook.db", "path"),
    ("a/../../b", "path"),
    ("/etc/passwd", "path"),
    ("a//b", "path"),
    ("a/", "path"),
    ("./a", "path"),
    ("", "path"),
    ("a\0.ipynb", "character"),
    ("a\nb", "character"),
    ("a\\b", "character"),
    ("C:b", "character"),
    ("<script>", "character"),
    ('a".html', "character"),
    ("a*", "character"),
    ("photo\u202egnp.exe", "character"),  # shown as photoexe.png
    ("a\u200bb", "character"),  # zero width
    ("\ud800", "character"),  # half a surrogate pair
    (" a", "edge"),
    ("a ", "edge"),
    ("a.", "edge"),
    ("a\u00a0/b", "edge"),
    ("nul", "reserved"),
    ("data/COM1.txt", "reserved"),
    ("가" * 86, "length"),  # 258 bytes
    ("a/" * 10 + "b", "depth"),
]


@pytest.mark.parametrize(("text", "reason"), NASTY)
def test_a_nasty_path_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(UnsafeName) as refusal:
        file_path(text)
    assert refusal.value.reason == reason


@pytest.mark.parametrize(
    "text", ["warm-up.ipynb", "한글 노트.ipynb", "data/점수 (1).csv", "c++.ipynb", ".hidden", "a" * 255]
)
def test_names_that_students_use_pass_unchanged(text: str) -> None:
    assert file_path(text) == text


def test_a_name_from_a_mac_gets_composed() -> None:
    assert file_path(unicodedata.normalize("NFD", "한글.ipynb")) == "한글.ipynb"


@pytest.mark.parametrize("text", ["a+b", ".a", "-a", "a/b", "..", "x" * 101, "a\0"])
def test_an_assignment_cannot_be_called_so(text: str) -> None:
    with pytest.raises(UnsafeName):
        identifier(text)


@pytest.mark.parametrize("text", ["00-warm-up", "NBG 101", "과제 1", "student1", "a.b_c"])
def test_an_assignment_can_be_called_so(text: str) -> None:
    assert identifier(text) == text


@pytest.mark.parametrize(
    "pair",
    [
        ("a", "a"),
        ("A.ipynb", "a.ipynb"),
        ("é", unicodedata.normalize("NFD", "é")),
        ("straße", "STRASSE"),
        ("data", "data/x.csv"),
        ("data/x.csv", "DATA"),
    ],
)
def test_two_names_for_one_file_are_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(UnsafeName) as refusal:
        file_paths(pair)
    assert refusal.value.reason == "twin"


@given(st.text(alphabet=st.one_of(st.sampled_from("./\\ aA가"), st.characters()), max_size=40))
@example("../../x")
def test_whatever_passes_is_one_file_below_the_folder(text: str) -> None:
    try:
        path = file_path(text)
    except UnsafeName:
        return
    assert file_path(path) == path
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        target = folder / path
        assert folder in target.parents
        assert target.resolve() == folder.resolve() / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"x")
        assert [file for file in folder.rglob("*") if file.is_file()] == [target]


@given(st.lists(st.text(alphabet="aAbé./\u0301", min_size=1, max_size=6), max_size=6))
def test_whatever_passes_together_can_be_written_together(texts: list[str]) -> None:
    try:
        paths = file_paths(texts)
    except UnsafeName:
        return
    with tempfile.TemporaryDirectory() as name:
        for path in paths:
            target = Path(name) / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.encode())
        assert [(Path(name) / path).read_bytes() for path in paths] == [path.encode() for path in paths]


@given(st.text(max_size=60))
def test_an_identifier_is_one_harmless_component(text: str) -> None:
    try:
        name = identifier(text)
    except UnsafeName:
        return
    assert Path(name).name == name
    assert not {"+", "/", "\\", "\0"} & set(name)
    assert identifier(name) == name
