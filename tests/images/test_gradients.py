"""What a student's process says of gradients and of a test's own objects is refused where it makes no sense."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gpuclass.grader.pair import Pair, open_pair
from gpuclass.grader.sandbox import Limits, connect
from gpuclass.settings import GradingSection
from tests.images.patterns import PREAMBLE

pytestmark = pytest.mark.images

LIMITS = Limits.of(GradingSection.model_validate({}))
STUDENT = """
import itertools, sys
count = itertools.count()
gradients, library = sys.modules['gradients'].Gradients, sys.modules['side']
honest = gradients.describe, gradients.news, gradients.backward, library.state, library.generator
def double(x): return x * 2
def whole(x): return torch.ones(2, requires_grad=True)
def warm(optimizer): optimizer.param_groups[0]['lr'] = 0.5
def draw(generator): return torch.rand(1, generator=generator)
def restore():
    gradients.describe, gradients.news, gradients.backward, library.state, library.generator = honest
"""
BACKWARD = "x = torch.ones(2, requires_grad=True)\ndouble(x).sum().backward()\nassert x.grad.tolist() == [2, 2]"
LEAF = "assert whole(1).requires_grad"
STATE = (
    "optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.)\n"
    "warm(optimizer)\nassert optimizer.param_groups[0]['lr'] == 0.5"
)
DRAW = "g = torch.Generator()\ndraw(g)\nassert torch.rand(1, generator=g).shape == (1,)"

BACK = "gradients.backward = lambda self, number, accumulate, grad: {}"
SAY = "gradients.describe = lambda self, value, encoder: {}"
NEWS = "gradients.news = lambda self, encoder: {{'leaves': [{}], 'gone': [{}]}}"
THREE = "encoder.tensor(torch.ones(3))"
LIES = {
    "a gradient of another shape": (BACK.format("[torch.ones(3)]"), BACKWARD),
    "a gradient of another type": (BACK.format("[torch.ones(2, dtype=torch.float64)]"), BACKWARD),
    "a gradient that is no tensor": (BACK.format("[2.0]"), BACKWARD),
    "a gradient too few": (BACK.format("[]"), BACKWARD),
    "a gradient that is an object": (BACK.format("[double]"), BACKWARD),
    "a result of what was never there": (SAY.format(f"['result', 1, [77], [], {THREE}]"), BACKWARD),
    "a result of a result that was never there": (SAY.format(f"['result', 1, [], [77], {THREE}]"), BACKWARD),
    "a result by names that are no numbers": (SAY.format(f"['result', 1, [[]], [True], {THREE}]"), BACKWARD),
    "a result of whole numbers": (
        SAY.format("['result', 1, [], [], encoder.tensor(torch.ones(2, dtype=torch.long))]"),
        BACKWARD,
    ),
    "a leaf that never crossed": (SAY.format("['known', True, 77]"), LEAF),
    "a leaf of whole numbers": (
        SAY.format("['leaf', 1, False, True, encoder.tensor(torch.ones(2, dtype=torch.long)), None]"),
        LEAF,
    ),
    "a leaf with another's gradient": (
        SAY.format(f"['leaf', 1, False, True, encoder.tensor(torch.ones(2)), {THREE}]"),
        LEAF,
    ),
    "news of a leaf that is not there": (NEWS.format("[True, 77, None, None, True]", ""), LEAF),
    "a test's leaf in another shape": (
        "gradients.news = lambda self, encoder: {'leaves': "
        f"[[False, number, {THREE}, None, True] for number in self._mirrors], 'gone': []}}",
        BACKWARD,
    ),
    "a test's leaf that needs something else": (
        "gradients.news = lambda self, encoder: {'leaves': "
        "[[False, number, None, None, 'yes'] for number in self._mirrors], 'gone': []}",
        BACKWARD,
    ),
    "news that make no sense": (NEWS.format("7", ""), LEAF),
    "a farewell from nobody": (NEWS.format("", "['leaf', []]"), LEAF),
    "a function in an object's state": ("library.state = lambda value: {'defaults': double, 'state': []}", STATE),
    "no state": ("library.state = lambda value: {'state': next(count)}", STATE),
    "the memory of another parameter": (
        "library.state = lambda value: {'state': [[torch.ones(1, requires_grad=True), {}]]}",
        STATE,
    ),
    "a memory of objects": (
        "library.state = lambda value: {'state': [[value.param_groups[0]['params'][0], {'step': double}]]}",
        STATE,
    ),
    "a generator's state that is none": (
        "old = library.generator\nlibrary.generator = lambda value: old(value) and ('torch', b'%d' % next(count))",
        DRAW,
    ),
    "a generator that became another": (
        "old = library.generator\nlibrary.generator = lambda value: old(value) and ('random', next(count))",
        DRAW,
    ),
}


@pytest.fixture(scope="module")
def pair(built: dict[str, str]) -> Iterator[Pair]:
    client = connect()
    with open_pair(client, built["grader"], LIMITS, "test-gradients") as made:
        made.start({}, [PREAMBLE, STUDENT], LIMITS.timeout)
        assert made.run(PREAMBLE + STUDENT).ok
        yield made
    client.close()


@pytest.mark.parametrize("name", LIES)
def test_what_is_no_gradient_leaf_or_state_ends_the_test(name: str, pair: Pair) -> None:
    lie, test = LIES[name]
    assert pair.test(test).ok
    assert pair.run(lie).ok
    ran = pair.test(test)
    assert pair.run("restore()").ok
    assert not ran.ok
    assert ran.outputs[-1].ename == "Fault", ran.outputs[-1]


def test_a_fault_inside_of_backward_stays_one_when_it_is_caught(pair: Pair) -> None:
    assert pair.run(BACK.format("[]")).ok
    ran = pair.test(
        "x = torch.ones(2, requires_grad=True)\ntry:\n    double(x).sum().backward()\nexcept BaseException: pass"
    )
    assert pair.run("restore()").ok
    assert not ran.ok
    assert ran.outputs[-1].ename == "Fault"


def test_second_derivatives_are_refused_and_say_so(pair: Pair) -> None:
    ran = pair.test("x = torch.ones(2, requires_grad=True)\ntorch.autograd.grad(double(x).sum(), x, create_graph=True)")
    assert not ran.ok
    assert "second derivatives" in ran.outputs[-1].evalue


def test_going_back_twice_is_an_error_as_in_a_notebook(pair: Pair) -> None:
    ran = pair.test("x = torch.ones(2, requires_grad=True)\ny = double(x).sum()\ny.backward()\ny.backward()")
    assert not ran.ok
    assert "second time" in ran.outputs[-1].evalue


def test_what_nobody_has_any_more_is_let_go(pair: Pair) -> None:
    def kept() -> list[int]:
        """Leaves, mirrors and results that the student's side keeps; lies before have left some."""
        count = "import gc\nkept = [each for each in gc.get_objects() if type(each) is gradients][0]\n"
        ran = pair.run(count + "print(len(kept._leaves), len(kept._mirrors), len(kept._results))")
        return [int(number) for number in ran.outputs[-1].text.split()]

    before = kept()
    source = (
        "for _ in range(50):\n    x = torch.ones(2, requires_grad=True)\n    double(x).sum().backward()\n    whole(1)"
    )
    assert pair.test(source).ok
    assert pair.test("assert double(1) == 2").ok
    assert all(now < old + 5 for now, old in zip(kept(), before, strict=True))
