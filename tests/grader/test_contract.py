"""Where tests may use a student's objects: where the instructor's solution was seen to give one, and nowhere else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import nbformat
import pytest

from gpuclass.grader.contract import TRIES, contract_of
from gpuclass.grader.pair import OpenPair, Pair
from gpuclass.grader.sandbox import EngineError
from tests.grader.agents import local_pair
from tests.grader.courses import cell, notebook

pytestmark = pytest.mark.slow

SOLUTION = """
class Layer:
    def __init__(self, size): self.size = size
    def grown(self): return Layer(self.size + 1)
def make(size): return Layer(size)
def area(size): return size * size
"""
TEST = "layer = make(2)\nassert layer.size == 2 and layer.grown().size == 3 and area(3) == 9"


@pytest.fixture
def opened(tmp_path: Path) -> list[Path]:
    """The folders of the pairs that were opened."""
    return []


@pytest.fixture
def open_pair(tmp_path: Path, opened: list[Path]) -> OpenPair:
    def opens() -> AbstractContextManager[Pair]:
        opened.append(tmp_path / f"pair-{len(opened)}")
        return local_pair(opened[-1])

    return opens


@pytest.fixture
def contract(tmp_path: Path, open_pair: OpenPair) -> Callable[[], tuple[str, ...] | None]:
    write(tmp_path, TEST)
    return lambda: contract_of(tmp_path, "ps1", "ps1", open_pair, 60)


def write(course: Path, test: str, solution: str = SOLUTION) -> None:
    folder = course / "source" / "ps1"
    folder.mkdir(parents=True, exist_ok=True)
    made = notebook(
        cell("code", solution, "layer", solution=True), cell("code", test, "test", grade=True, locked=True, points=1)
    )
    nbformat.write(made, folder / "ps1.ipynb")


def student(open_pair: OpenPair, contract: tuple[str, ...] | None, source: str) -> str:
    """What a test says of a student's ``source``: nothing, or the name of the error."""
    with open_pair() as pair:
        pair.start({}, [SOLUTION], 60, contract)
        assert pair.run(source).ok
        ran = pair.test(TEST)
        return "" if ran.ok else str(ran.outputs[-1].ename)


Contract = Callable[[], tuple[str, ...] | None]


def test_an_object_is_used_where_the_solution_gives_one_and_nowhere_else(
    contract: Contract, open_pair: OpenPair
) -> None:
    paths = contract()
    assert paths
    assert {"make", "make()", "make().grown", "make().grown()"} <= set(paths)
    assert "area()" not in paths
    assert student(open_pair, None, SOLUTION) == "Fault"  # without the contract not even what is right
    assert student(open_pair, paths, SOLUTION) == ""
    liar = "class Yes(int):\n    def __eq__(self, other): return True\n    __hash__ = int.__hash__\n"
    assert student(open_pair, paths, f"{SOLUTION}\n{liar}def area(size): return Yes(0)") == "Fault"


def test_a_solution_is_recorded_once_until_it_changes(contract: Contract, opened: list[Path], tmp_path: Path) -> None:
    first = contract()
    assert contract() == first
    assert len(opened) == 1
    write(tmp_path, TEST.replace(".grown()", ".grown().grown()").replace("size == 3", "size == 4"))
    changed = contract()
    assert changed
    assert "make().grown().grown()" in changed
    (tmp_path / "source" / "ps1" / "data.csv").write_text("1,2")
    contract()
    assert len(opened) == 3


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"notebooks": [], "sha256": ""}'])
def test_a_kept_contract_that_cannot_be_read_is_recorded_again(
    damage: str, contract: Contract, opened: list[Path], tmp_path: Path
) -> None:
    first = contract()
    (tmp_path / "contracts" / "ps1.json").write_text(damage)
    assert contract() == first
    assert len(opened) == 2


def test_a_kept_contract_that_was_edited_is_recorded_again(
    contract: Contract, opened: list[Path], tmp_path: Path
) -> None:
    first = contract()
    path = tmp_path / "contracts" / "ps1.json"
    path.write_text(path.read_text().replace('"make()"', '"area()"', 1))
    assert contract() == first
    assert len(opened) == 2


def test_workers_that_need_it_at_once_record_it_once(contract: Contract, opened: list[Path]) -> None:
    found: list[tuple[str, ...] | None] = []
    threads = [threading.Thread(target=lambda: found.append(contract())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 1
    assert len(found) == 3
    assert found[0]
    assert set(found) == {found[0]}


def test_without_containers_nothing_is_kept_and_the_next_one_records(
    contract: Contract, open_pair: OpenPair, tmp_path: Path
) -> None:
    def refuses() -> AbstractContextManager[Pair]:
        raise EngineError("no engine")

    with pytest.raises(EngineError):
        contract_of(tmp_path, "ps1", "ps1", refuses, 60)
    assert contract()


@pytest.mark.parametrize(
    ("solution", "paths"),
    [(f"{SOLUTION}def area(size): return 0", {"make()", "area"}), (f"{SOLUTION}import os\nos._exit(0)", None)],
    ids=["that is wrong", "that ends Python"],
)
def test_a_solution_that_does_not_pass_is_tried_again_but_not_for_ever(
    solution: str, paths: set[str] | None, contract: Contract, opened: list[Path], tmp_path: Path
) -> None:
    write(tmp_path, TEST, solution)
    for _ in range(TRIES + 2):
        found = contract()
        assert found is None if paths is None else paths <= set(found or ())
    assert len(opened) == TRIES


def test_a_folder_that_takes_no_file_costs_time_only(contract: Contract, opened: list[Path], tmp_path: Path) -> None:
    (tmp_path / "contracts").write_text("in the way")
    assert contract() == contract()
    assert len(opened) == 2
