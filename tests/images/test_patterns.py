"""What exercises in deep learning ask scores the same with the referee as in the student's own kernel; lies do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import docker
import pytest

from gpuclass.grader.pair import open_pair
from gpuclass.grader.sandbox import Limits, connect, open_sandbox
from gpuclass.grader.wire import CellRun
from gpuclass.settings import GradingSection
from tests.images.patterns import PATTERNS, PREAMBLE

pytestmark = pytest.mark.images

LIMITS = Limits.of(GradingSection.model_validate({}))
OWNER = "test-patterns"
GIVEN = [PREAMBLE, *(pattern.given for pattern in PATTERNS.values())]
NOTEBOOK = [*GIVEN, *(pattern.right for pattern in PATTERNS.values())]
Runs = dict[str, CellRun]


@pytest.fixture(scope="module")
def client() -> Iterator[docker.DockerClient]:
    made = connect()
    yield made
    made.close()


def in_one_kernel(client: docker.DockerClient, image: str, answers: dict[str, str]) -> Runs:
    """Tests and answers in one process, as in a notebook."""
    with open_sandbox(client, image, LIMITS, OWNER) as sandbox:
        sandbox.start({})
        assert all(sandbox.run(source).ok for source in GIVEN)
        for name, source in answers.items():
            assert sandbox.run(source).ok, name
        return {name: sandbox.run(PATTERNS[name].test) for name in answers}


def with_the_referee(
    client: docker.DockerClient, image: str, answers: dict[str, str], contract: list[str] | None
) -> tuple[Runs, list[str]]:
    """The tests' runs, and where objects turned up if there was no contract."""
    with open_pair(client, image, LIMITS, OWNER) as pair:
        pair.start({}, NOTEBOOK, LIMITS.timeout, contract, record=contract is None)
        for source in GIVEN:
            assert pair.run(source).ok
            pair.reached(source, locked=True)
        for source in answers.values():
            assert pair.run(source).ok, source
        runs = {name: pair.test(PATTERNS[name].test) for name in answers}
        return runs, contract if contract is not None else pair.recorded()


@pytest.fixture(scope="module")
def contract(client: docker.DockerClient, built: dict[str, str]) -> list[str]:
    """As it is recorded when an assignment is released."""
    return with_the_referee(client, built["grader"], {name: each.right for name, each in PATTERNS.items()}, None)[1]


def both_ways(pick: Callable[[str], str]) -> Callable[..., tuple[Runs, Runs]]:
    def run(client: docker.DockerClient, built: dict[str, str], contract: list[str]) -> tuple[Runs, Runs]:
        answers = {name: pick(name) for name in PATTERNS if pick(name)}
        image = built["grader"]
        return in_one_kernel(client, image, answers), with_the_referee(client, image, answers, contract)[0]

    return run


right = pytest.fixture(both_ways(lambda name: PATTERNS[name].right), scope="module", name="right")
wrong = pytest.fixture(both_ways(lambda name: PATTERNS[name].wrong), scope="module", name="wrong")


@pytest.mark.parametrize("name", PATTERNS)
def test_a_right_answer_passes_both_ways(name: str, right: tuple[Runs, Runs]) -> None:
    kernel, referee = right
    assert kernel[name].ok, kernel[name].outputs
    assert referee[name].ok, referee[name].outputs


@pytest.mark.parametrize("name", PATTERNS)
def test_a_wrong_answer_fails_both_ways(name: str, wrong: tuple[Runs, Runs]) -> None:
    kernel, referee = wrong
    assert not kernel[name].ok
    assert not referee[name].ok


@pytest.mark.parametrize("name", [name for name, pattern in PATTERNS.items() if pattern.lie])
def test_a_lie_passes_in_the_students_kernel_only(
    name: str, client: docker.DockerClient, built: dict[str, str], contract: list[str]
) -> None:
    answers = {name: PATTERNS[name].lie}
    assert in_one_kernel(client, built["grader"], answers)[name].ok
    assert not with_the_referee(client, built["grader"], answers, contract)[0][name].ok
