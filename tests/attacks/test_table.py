"""The table of attacks is true: each test that it names exists, and each test of this folder is in it."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.attacks.table import EXCHANGE

TESTS = Path(__file__).parents[1]
ROWS = [(f"{aim}: {row}", tests) for aim, rows in EXCHANGE.items() for row, tests in rows.items()]


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
        path, _, test = name.partition("::")
        assert test in named_in(TESTS / path), f"{row}: there is no {name}"


def test_every_test_of_an_attack_is_in_the_table() -> None:
    named = {name for _, tests in ROWS for name in tests}
    modules = [*TESTS.glob("attacks/test_*exchange*.py"), TESTS / "classroom" / "test_exchange_attacks.py"]
    there = {f"{path.relative_to(TESTS)}::{test}" for path in modules for test in named_in(path)}
    assert there - named == set()
