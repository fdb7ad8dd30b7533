"""The parts of opening a class that need no engine."""

from pathlib import Path

import pytest

from gpuclass.classroom import ClassroomError, only_one, start_from_examples
from gpuclass.settings import load


def test_a_class_is_not_opened_twice(tmp_path: Path) -> None:
    with (
        only_one("camp", tmp_path),
        pytest.raises(ClassroomError, match="is open on this machine already"),
        only_one("camp", tmp_path),
    ):
        pass


def test_another_class_opens_beside_it_and_a_closed_one_opens_again(tmp_path: Path) -> None:
    with only_one("camp", tmp_path), only_one("other", tmp_path):
        pass
    with only_one("camp", tmp_path):
        pass


def test_a_class_started_from_the_examples_can_be_used(tmp_path: Path) -> None:
    settings = load(start_from_examples(tmp_path / "var"), environ={})
    assert settings.roster_path.exists()


def test_what_an_operator_edited_is_not_replaced_by_the_example(tmp_path: Path) -> None:
    (tmp_path / "class.toml").write_text("edited")
    start_from_examples(tmp_path)
    assert (tmp_path / "class.toml").read_text() == "edited"
