"""Tests with a gap that any author might leave: a wrong answer that slips through in one kernel gets nothing here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import docker
import nbformat
import pytest

from gpuclass import images
from gpuclass.grader.cells import Cell
from gpuclass.grader.execute import Plan, points_of, run
from gpuclass.grader.pair import open_pair
from gpuclass.grader.sandbox import Limits, connect, sweep
from tests.attacks import stock
from tests.grader.courses import cell, notebook

pytestmark = pytest.mark.images

OWNER = "test-gaps"
LIMITS = Limits(cpus=1.0, memory=2**30, tmp=64 * 2**20, processes=64, cell_timeout=20.0, timeout=120.0, output=100_000)
POINTS = 2.0
CREDIT = "sum({f}(n) == n + 1 for n in range(4)) / 4 * 2"


@dataclass(frozen=True)
class Gap:
    """A test of a function ``f``, a wrong body that slips through, and whether it does with stock nbgrader."""

    test: str
    wrong: str
    bites: bool = True


GAPS = {
    "points that are left out after much text": Gap(f"print({{f}}(1))\n{CREDIT}", "return 'x' * 300_000", bites=False),
    "an error that ends the test's own loop": Gap(
        "assert all(a == b for a, b in zip(map({f}, range(3)), [1, 2, 3]))", "raise StopIteration"
    ),
    "an array where a number of points belongs": Gap(CREDIT, "return np.zeros(3)"),
    "a list of one number where a number of points belongs": Gap(CREDIT, "return torch.zeros(1)"),
    "a number of points with a gradient": Gap("2 - abs({f}(1) - 2)", "return torch.zeros(1, requires_grad=True).sum()"),
    "a number of points that is not real": Gap("2 - abs({f}(1) - 2) + 0 * {f}(1)", "return 0j"),
}
NAMES = {name: f"f{number}" for number, name in enumerate(GAPS)}
SETUP = "import numpy as np\nimport torch"


def answers(body: str | None = None) -> str:
    """Every function, right or as its gap wants it."""
    return "\n".join(f"def {f}(n):\n    {body or GAPS[name].wrong}" for name, f in NAMES.items())


def asked() -> dict[str, str]:
    return {f: GAPS[name].test.format(f=f) for name, f in NAMES.items()}


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.DockerClient]:
    client = connect()
    yield client
    sweep(client, OWNER)
    client.close()


@pytest.fixture(scope="module")
def image(engine: docker.DockerClient) -> str:
    return images.build(["grader"], client=engine)["grader"]


def scores(engine: docker.DockerClient, image: str, source: str) -> dict[str, float]:
    """What the referee gives in each test."""
    right = answers("return n + 1")
    cells = [
        Cell(SETUP, original=SETUP, locked=True),
        Cell(source, original=right),
        *(Cell(test, test=True, points=POINTS) for test in asked().values()),
    ]
    runs = run(cells, lambda: open_pair(engine, image, LIMITS, OWNER), Plan({}, [SETUP, right]), LIMITS.timeout)
    return {name: points_of(ran, POINTS) or 0.0 for name, ran in zip(GAPS, runs[2:], strict=True)}


@pytest.fixture(scope="module")
def refereed(engine: docker.DockerClient, image: str) -> dict[str, float]:
    return scores(engine, image, answers())


def test_the_right_answer_is_full(engine: docker.DockerClient, image: str) -> None:
    assert scores(engine, image, answers("return n + 1")) == dict.fromkeys(GAPS, POINTS)


@pytest.mark.parametrize("name", GAPS)
def test_a_wrong_answer_does_not_slip_through(name: str, refereed: dict[str, float]) -> None:
    assert refereed[name] == 0.0


@pytest.fixture(scope="module")
def stocks(image: str) -> dict[str, float]:
    """What stock nbgrader gives in each test."""

    def written(source: str) -> bytes:
        graded = [cell("code", test, f, grade=True, locked=True, points=POINTS) for f, test in asked().items()]
        made = notebook(cell("code", SETUP, "setup", locked=True), cell("code", source, "a", solution=True), *graded)
        return str(nbformat.writes(made)).encode()

    outcome = stock.autograded(image, written(answers("return n + 1")), {"kim": {"ps1.ipynb": written(answers())}})
    return {name: outcome.cells["kim"][f] for name, f in NAMES.items()}


@pytest.mark.parametrize("name", [name for name, gap in GAPS.items() if gap.bites])
def test_it_slips_through_with_stock_nbgrader(name: str, stocks: dict[str, float]) -> None:
    assert stocks[name] == POINTS
