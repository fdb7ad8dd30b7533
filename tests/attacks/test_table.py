"""The table of attacks is true: each test and case that it names exists, and each test of this folder is in it."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.attacks.table import EXCHANGE, GRADING

TESTS = Path(__file__).parents[1]
ROWS = [
    (f"{what} {aim}: {row}", tests)
    for what, table in (("exchange", EXCHANGE), ("grading", GRADING))
    for aim, rows in table.items()
    for row, tests in rows.items()
]


@cache
def words_of(path: Path) -> frozenset[str]:
    """All strings in a module: the names of its tests' cases are among them."""
    found = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return frozenset(node.value for node in found if isinstance(node, ast.Constant) and isinstance(node.value, str))


@cache
def named_in(path: Path) -> frozenset[str]:
    """Names of the tests in a module."""
    found = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    functions = [node.name for node in found if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return frozenset(name for name in functions if name.startswith("test_"))


@pytest.mark.parametrize(("row", "tests"), ROWS, ids=[row for row, _ in ROWS])
def test_an_attack_has_tests_that_exist(row: str, tests: list[str]) -> None:
    assert tests, row
    for name in tests:
        path, _, rest = name.partition("::")
        test, _, case = rest.removesuffix("]").partition("[")
        assert test in named_in(TESTS / path), f"{row}: there is no {name}"
        listed = TESTS / path.replace("test_", "")  # test_submissions.py has its cases in submissions.py
        cases = words_of(TESTS / path) | (words_of(listed) if listed.is_file() else frozenset())
        assert not case or case in cases, f"{row}: {test} has no case {case!r}"


def test_every_test_of_an_attack_is_in_the_table() -> None:
    named = {name.partition("[")[0] for _, tests in ROWS for name in tests}
    modules = {*TESTS.glob("attacks/test_*.py"), TESTS / "classroom" / "test_exchange_attacks.py"} - {Path(__file__)}
    there = {f"{path.relative_to(TESTS)}::{test}" for path in modules for test in named_in(path)}
    assert there - named == set()
