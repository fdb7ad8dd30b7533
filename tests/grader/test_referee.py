"""What a test may write, and what no answer can do to it. The programs here are local processes, not isolated."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuclass.grader.pair import Pair
from gpuclass.grader.sandbox import Lost
from gpuclass.grader.wire import CellRun
from tests.grader.agents import LIMITS, local_pair

pytestmark = pytest.mark.slow

INSTRUCTOR = """
import math
import random
import os.path as paths
LIMIT = 10
NAMES = ["kim", "lee"]
limit_of_student = max(3, 4)
class Stopped(Exception):
    pass
class Clock:
    def __init__(self): self.now = 0
    def read(self):
        self.now += 1
        return self.now
def helper(x):
    return x * LIMIT
"""
STUDENT = """
def add(a, b): return a + b
def same(x): return x
def grow(items):
    items.append(len(items))
    return items
def run_out(x): raise StopIteration
def fill(table): table["new"] = [1, 2]
def fail(kind):
    if kind == "own": raise Own("mine")
    raise ValueError(f"no such {kind}")
class Own(KeyError): pass
def apply(f, *args, **more): return f(*args, **more)
def guarded(f):
    try:
        return f()
    except Stopped as stopped:
        return f"caught {stopped}"
def ticks(clock): return [clock.read(), clock.read(), clock.now]
class Counter:
    step = 2
    def __init__(self, start): self.value = start
    def close(self): return True
    def up(self): self.value += self.step; return self.value
    def __len__(self): return self.value
    def __iter__(self): return iter(range(self.value))
    def __enter__(self): return 7
    def __exit__(self, *_): self.value = 0
class Other(Counter): pass
class Called:
    def __init__(self, f): self.value = f()
    def get(self): return self.value
def make(): return Counter(1)
def numbers(): yield 1
def lazy(): return (x for x in [1])
def draw(): return random.random()
def talk(): print("hello"); return 1
def forever():
    while True: pass
square = lambda x: x * x
limit_of_student = 4
def helper(x): return "forged"
LIMIT = 99
module = math
"""
# What the student's notebook has, as the instructor's solution would bind it.
SOLUTION = (
    STUDENT.replace('def helper(x): return "forged"', "")
    .replace("module = math", "module = 3")
    .replace("    def close(self): return True\n", "")
    .replace("LIMIT = 99", "")
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with local_pair(tmp_path_factory.mktemp("pair"), dataclasses.replace(LIMITS, timeout=600)) as made:
        made.start({}, [INSTRUCTOR, SOLUTION], 600)
        for source in (INSTRUCTOR, STUDENT):
            ran = made.run(source)
            assert ran.ok, ran
        made.reached(INSTRUCTOR, locked=True)
        made.reached(SOLUTION, locked=False)
        yield made


PASSES = {
    "plain data": "assert add([1, (2.5, None)], [{'a': {1}}]) == [1, (2.5, None), {'a': {1}}]",
    "imports of the instructor's": "assert math.floor(2.5) == 2 and paths.join('a', 'b') == 'a/b'",
    "what read-only cells define": "assert helper(2) == 20 and LIMIT == 10 and NAMES[1] == 'lee'",
    "other names of the student's": "assert limit_of_student == 4",
    "functions made with lambda": "assert square(3) == 9",
    "an argument that is returned": "x = [1]\nassert same(x) is x\ny = {'k': x}\nassert same(y)['k'] is x",
    "a list that is changed": "x = [5]\nassert grow(x) is x and x == [5, 1]",
    "a dict that is changed": "d = {}\nfill(d)\nassert d == {'new': [1, 2]}",
    "exceptions by class": "try:\n    fail(0)\nexcept ValueError as e:\n    assert str(e) == 'no such 0'",
    "exceptions of the student's": "try:\n    fail('own')\nexcept KeyError as e:\n    assert type(e).__name__ == 'Own'",
    "call-backs": "seen = []\nassert apply(lambda a, b: seen.append(a) or b, 1, b=2) == 2 and seen == [1]",
    "call-backs that call": "assert apply(lambda x: add(x, 1), 2) == 3",
    "library functions": "assert apply(math.sqrt, 9) == 3",
    "exceptions of the test's": "def stop(): raise Stopped('now')\nassert guarded(stop) == 'caught now'",
    "exceptions of the test's that come back": "def stop(): raise Stopped('x')\n"
    "try:\n    apply(stop)\nexcept Stopped as e:\n    assert str(e) == 'x'",
    "fakes": "clock = Clock()\nassert ticks(clock) == [1, 2, 2] and clock.now == 2",
    "comprehensions": "assert [add(x, limit_of_student) for x in range(3)] == [4, 5, 6]",
    "functions in a test": "def f(): return add(limit_of_student, 1)\nassert f() == 5",
    "class bodies": "class C:\n    x = limit_of_student\n    f = add\nassert C.x == 4 and C.f(1, 2) == 3",
    "objects": "c = Counter(3)\nassert c.value == 3 and c.up() == 5 and c.value == 5",
    "what an object can do": "c = Counter(1)\nassert callable(add) and callable(Counter) and not callable(c)\n"
    "assert hasattr(c, '__len__') and not hasattr(add, '__len__') and not hasattr(c, '__next__')",
    "objects with a length": "c = Counter(3)\nassert len(c) == 3 and list(c) == [0, 1, 2]",
    "objects made with a call-back": "c = Called(lambda: 3)\nassert c.get() == 3",
    "setting an attribute": "c = Counter(3)\nc.value = 8\nassert c.up() == 10",
    "with": "c = Counter(3)\nwith c as seven:\n    assert seven == 7\nassert c.value == 0",
    "isinstance": "assert isinstance(Other(1), Counter) and not isinstance(3, Counter)",
    "random state": "random.seed(5)\na = draw()\nrandom.seed(5)\nassert a == random.random() and draw() != draw()",
    "names of its own": "limit_of_student = 1\nassert limit_of_student == 1",
    "generators": "assert list(numbers()) == [1] and sum(numbers()) == 1",
    "names of functions": "assert add.__name__ == 'add'",
}


@pytest.mark.parametrize("name", PASSES)
def test_an_honest_answer_passes(name: str, pair: Pair) -> None:
    ran = pair.test(PASSES[name])
    assert ran.ok, ran.outputs[-1]


FAILS = {
    "a wrong answer": ("assert add(1, 2) == 4", "AssertionError"),
    "an error of the student's": ("fail('x')", "ValueError"),
    "a name that nobody has": ("nobody", "NameError"),
    "a name that only the student has": ("helper_of_student_alone", "NameError"),
    "a module where the instructor's has data": ("module.floor(1)", "Fault"),
    "an object where the instructor's has none": ("make() == 1", "Fault"),
    "a generator where the instructor's has none": ("sum(lazy())", "Fault"),
    "a fault that is caught": ("try:\n    make() == 1\nexcept BaseException:\n    pass", "Fault"),
    "an object that is in order elsewhere": ("assert same(add).item == 3", "Fault"),
    "an object's part that the instructor's has not": ("Counter(1).close()", "Fault"),
    "arithmetic with an object": ("Counter(1) + 1", "Fault"),
    "an object as the last value": ("Counter(1)", "Fault"),
    "a magic": ("%time add(1, 2)", "SyntaxError"),
    "an error that would end the test's own loop": ("assert all(map(run_out, [1, 2]))", "RuntimeError"),
    "an exit": ("raise SystemExit", "SystemExit"),
    "a loop in the test": ("while True: pass", "CellTimeout"),
    "a loop in the student's code": ("forever()", "CellTimeout"),
    "a loop that is caught": ("try:\n    forever()\nexcept BaseException:\n    pass", "CellTimeout"),
    "nesting without end": ("def again(): return apply(again)\nagain()", "Fault"),
}


@pytest.mark.parametrize("name", FAILS)
def test_what_does_not_pass_says_why_and_the_next_test_runs(name: str, pair: Pair) -> None:
    source, error = FAILS[name]
    pair._limits = pair._referee._limits = dataclasses.replace(LIMITS, cell_timeout=1.0, timeout=600)
    ran = pair.test(source)
    assert not ran.ok
    assert ran.outputs[-1].ename == error, ran.outputs[-1]
    pair._limits = pair._referee._limits = LIMITS
    assert pair.test("assert add(1, 2) == 3").ok


def test_what_the_student_prints_in_a_test_is_text_only(pair: Pair) -> None:
    ran = pair.test("talk()\nprint('test')")
    assert [(output.output_type, output.text) for output in ran.outputs] == [("stream", "hello\ntest\n")]


def hostile(folder: Path, source: str, test: str = "assert f(1) == 2") -> CellRun | Lost:
    """How a test goes after a student's cell changed the agent itself."""
    reach = "import sys, types\nanswering, door = sys.modules['answering'], sys.modules['door']\n"
    with local_pair(folder, dataclasses.replace(LIMITS, cell_timeout=2.0)) as pair:
        pair.start({}, ["def f(x): return x + 1"], 60)
        assert pair.run(f"def f(x): return x\n{reach}{source}").ok
        try:
            return pair.test(test)
        except Lost as lost:
            return lost


SAYS = "answering.Answering._answer = lambda self, kept, before, value, failed: ({}, door.Encoder(None))"
FIELDS = "'changed': {changed}, 'value': {value}, 'error': {error}, 'drew': False, 'printed': ''"


def says(value: str = "None", changed: str = "[]", error: str = "None") -> str:
    return SAYS.format("{" + FIELDS.format(changed=changed, value=value, error=error) + "}")


HOSTILE = {
    "an object that claims to be anything": says("['h', 1, 'int', True, ['builtins.int']]"),
    "a number that is no number": says("['h', True, 'int', True, []]"),
    "a change of what was never sent": says("2", "[[7, 2]]"),
    "changes that are none": says("2", "None"),
    "an error without names": says(error="{'classes': [], 'text': '', 'trace': '', 'number': None}"),
    "an error of no type": says(error="{'classes': [3], 'text': '', 'trace': '', 'number': None}"),
    "an error that is somebody else's": says(error="{'classes': ['x'], 'text': '', 'trace': '', 'number': 99}"),
    "an error that cannot be made": says(error="{'classes': ['ExceptionGroup'], 'text': '', 'trace': '', 'number': 0}"),
    "half an answer": SAYS.format("{'value': 2}"),
    "remarks that make no sense": SAYS.format("{'changed': [], 'value': 2, 'error': None, 'drew': 1, 'printed': 0}"),
    "a tensor without torch": says("['T', 'float32', [1], 0]"),
    "a list of itself": says("['l', [['r', 0]]]"),
    "keys that collide": says("['s', [n * (2**61 - 1) for n in range(100_000)]]"),
    "a question for nothing": "answering.Answering._answer = lambda self, *_: "
    "({'op': 'call', 'on': 0, 'name': '__init__', 'args': [], 'kwargs': []}, door.Encoder(None))",
    "questions without end": "class Endless(answering.Answering):\n"
    "    def serve(self, *_):\n"
    "        while True:\n"
    "            self._send({'op': 'call', 'on': 0, 'name': None, 'args': [], 'kwargs': []}, door.Encoder(None))\n"
    "            self._read()\n"
    "answering.Answering.serve = Endless.serve",
    "a verdict": "import json\nanswering.Answering.serve = lambda self, *_: "
    "self._write(json.dumps({'id': '', 'ok': True, 'outputs': []}).encode())",
    "bytes": "answering.Answering.serve = lambda self, *_: self._write(b'>' + b'\\xff' * 100)",
    "an announced gigabyte": "answering.Answering.serve = lambda self, *_: "
    "self._write(b'>' + (2).to_bytes(4, 'big') + (1).to_bytes(4, 'big') + (2**30).to_bytes(8, 'big') + b'{}')",
    "two answers": "old = answering.Answering.serve\n"
    "def twice(self, *what): old(self, *what); old(self, *what)\nanswering.Answering.serve = twice",
    "silence": "import time\nanswering.Answering.serve = lambda self, *_: time.sleep(100)",
    "the end": "import os\nanswering.Answering.serve = lambda self, *_: os._exit(0)",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_lie_on_the_wire_passes_a_test(name: str, tmp_path: Path) -> None:
    ran = hostile(tmp_path, HOSTILE[name])
    assert isinstance(ran, Lost) or not ran.ok


def test_the_same_agent_unchanged_passes_what_is_right(tmp_path: Path) -> None:
    ran = hostile(tmp_path, "f = lambda x: x + 1")
    assert isinstance(ran, CellRun)
    assert ran.ok
