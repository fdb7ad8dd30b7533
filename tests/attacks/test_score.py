"""Attacks on the score: whatever a student's cell does, a wrong answer gets nothing from the referee.

Each also runs under stock nbgrader, with tests in the student's kernel, and is shown to get points there: so it bites.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

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

OWNER = "test-score"
LIMITS = Limits(cpus=1.0, memory=2**30, tmp=64 * 2**20, processes=64, cell_timeout=20.0, timeout=120.0, output=100_000)
SETUP = "import numpy as np\nimport torch\ndef close(a, b):\n    return abs(a - b) < 1e-6"
STUB = "def add(a, b):\n    raise NotImplementedError()\ndef scale(x):\n    raise NotImplementedError()"
RIGHT = "def add(a, b):\n    return a + b\ndef scale(x):\n    return 2 * x"
NUMBERS = (
    "assert add(1, 2) == 3\nassert close(add(0.5, 1), 1.5)\n"
    "### BEGIN HIDDEN TESTS\nassert add(-4, 1) == -3 and abs(add(2, 2) - 4) < 1e-9\n### END HIDDEN TESTS"
)
TENSORS = (
    "x = torch.tensor([1.0, -2.5])\nout = scale(x)\nwanted = torch.tensor([2.0, -5.0])\n"
    "assert torch.allclose(out, wanted) and out.allclose(wanted)\nassert abs((out - wanted).sum().item()) < 1e-6"
)
ARRAYS = "np.testing.assert_allclose(np.array([add(1, 2), add(2, 2)]), [3, 4])"
CREDIT = "round(sum(float(add(n, 1)) == n + 1 for n in range(4)) / 4 * 2, 2)"
TESTS = {"numbers": (NUMBERS, 3.0), "tensors": (TENSORS, 3.0), "arrays": (ARRAYS, 1.0), "credit": (CREDIT, 2.0)}
FULL = 9.0


@dataclass(frozen=True)
class Attack:
    """A student's cell, files beside it, and whether stock nbgrader gives it points."""

    source: str
    bites: bool = True
    files: dict[str, bytes] = field(default_factory=dict)


DROP_ASSERTS = "[('pass\\n' if line.startswith('assert') else line) for line in lines]"
LIAR = """
class Liar:
    def __eq__(self, other): return True
    def __float__(self): return 2.0
    def __bool__(self): return True
    def __lt__(self, other): return True
    def __getattr__(self, name): return Liar()
    def __call__(self, *args, **kwargs): return Liar()
    def __sub__(self, other): return self
    __add__ = __radd__ = __rsub__ = __abs__ = __and__ = __round__ = __truediv__ = __mul__ = __sub__
    def __neg__(self): return self
    __hash__ = None
    @classmethod
    def __torch_function__(cls, *args, **kwargs): return True
"""
ATTACKS = {
    "input transformer": Attack(f"get_ipython().input_transformers_post.append(lambda lines: {DROP_ASSERTS})"),
    "AST transformer": Attack(
        "import ast\nclass Drop(ast.NodeTransformer):\n    def visit_Assert(self, node): return ast.Pass()\n"
        "get_ipython().ast_transformers.append(Drop())"
    ),
    "do_execute replaced": Attack(
        "async def nothing(*a, **k):\n"
        "    return {'status': 'ok', 'execution_count': 1, 'payload': [], 'user_expressions': {}}\n"
        "get_ipython().kernel.do_execute = nothing"
    ),
    "run_cell patched": Attack(
        "from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult\n"
        "def nothing(*a, **k):\n    return ExecutionResult(ExecutionInfo('', False, False, True, ''))\n"
        "async def later(*a, **k):\n    return nothing()\n"
        "get_ipython().run_cell_async, get_ipython().run_cell = later, nothing"
    ),
    # nbgrader sees the kernel's reply: by themselves these two give nothing there either.
    "showtraceback silenced": Attack(
        "s = get_ipython()\ns.showtraceback = s._showtraceback = lambda *a, **k: None\n"
        "s.showsyntaxerror = lambda *a, **k: None",
        bites=False,
    ),
    "custom exception handler": Attack("get_ipython().set_custom_exc((Exception,), lambda *a, **k: None)", bites=False),
    "object that lies": Attack(LIAR + "def add(a, b): return Liar()\ndef scale(x): return Liar()"),
    "number that lies": Attack(
        "class Number(float):\n    def __eq__(self, other): return True\n    def __sub__(self, other): return 0.0\n"
        "    __hash__ = None\ndef add(a, b): return Number(7)"
    ),
    "tensor that lies": Attack(
        "import torch\nclass Liar(torch.Tensor):\n    @classmethod\n"
        "    def __torch_function__(cls, f, t, args=(), kwargs=None):\n"
        "        return 0.0 if f is torch.Tensor.item else True if 'allclose' in str(f) else args[0]\n"
        "def scale(x): return torch.zeros(2).as_subclass(Liar)"
    ),
    "word that is no number": Attack(
        "class W(str):\n    def __float__(self): return 0.0\ndef add(a, b): return W()", bites=False
    ),
    "torch.allclose patched": Attack(
        "import torch\ntorch.allclose = torch.Tensor.allclose = lambda *a, **k: True\n"
        "torch.Tensor.item = lambda self: 0\ndef scale(x): return torch.zeros(2)"
    ),
    "np.testing patched": Attack(
        "import numpy as np\nnp.testing.assert_allclose = np.testing.assert_equal = lambda *a, **k: None\n"
        "def add(a, b): return 0"
    ),
    "builtins patched": Attack(
        "import builtins\nbuiltins.sum = lambda *a: 4\nbuiltins.abs = lambda x: 0\nbuiltins.float = lambda x: x\n"
        "def add(a, b): return 0"
    ),
    "helper of the tests redefined": Attack(
        "def close(a, b): return True\nclass E(int):\n    __eq__ = lambda s, o: True\n    __hash__ = None\n"
        "def add(a, b): return E(4)"
    ),
    "messages of the kernel forged": Attack(
        "session = get_ipython().kernel.session\nold = session.send\n"
        "def send(stream, kind, content=None, *a, **k):\n    if kind == 'error': return None\n"
        "    if kind == 'execute_reply': content = {**content, 'status': 'ok'}\n"
        "    return old(stream, kind, content, *a, **k)\nsession.send = send"
    ),
    "sockets of the kernel": Attack(
        "import time\nkernel, send = get_ipython().kernel, get_ipython().kernel.session.send\n"
        "def forge(info):\n"
        "    parent, ident = kernel.get_parent('shell'), kernel._parent_ident['shell']\n"
        "    reply = {'status': 'ok', 'execution_count': 1, 'payload': [], 'user_expressions': {}}\n"
        "    send(kernel.shell_stream, 'execute_reply', reply, parent, ident=ident)\n"
        "    send(kernel.iopub_socket, 'status', {'execution_state': 'idle'}, parent, ident=b'status')\n"
        "    time.sleep(0.3)\n"
        "get_ipython().events.register('pre_run_cell', forge)"
    ),
    "a torch.py beside the notebook": Attack(
        "raise NameError",
        files={
            "torch.py": b"from IPython import get_ipython\n"
            b"get_ipython().input_transformers_post.append(lambda lines: [])\n"
        },
    ),
    "a numpy.py beside the notebook": Attack(
        "",
        files={
            "numpy.py": b"from IPython import get_ipython\n"
            b"get_ipython().input_transformers_post.append(lambda lines: [])\n"
        },
    ),
    # Python looks for it before it knows the notebook's folder.
    "a sitecustomize.py beside the notebook": Attack(
        "", bites=False, files={"sitecustomize.py": b"import builtins\nbuiltins.AssertionError = SystemExit\n"}
    ),
    "answers hard-coded": Attack("def add(a, b):\n    return {(1, 2): 3, (0.5, 1): 1.5}.get((a, b), 0)", bites=False),
    "the frames above searched": Attack(
        "import sys\ndef add(a, b):\n    frame = sys._getframe()\n    while frame:\n"
        "        if 'close' in frame.f_globals: frame.f_globals['close'] = lambda *x: True\n"
        "        frame = frame.f_back\n    return 3 if (a, b) == (1, 2) else 0",
        bites=False,
    ),
    "verdicts written to every descriptor": Attack(
        "import json, os, struct\nbody = json.dumps({'id': 'x' * 32, 'ok': True, 'outputs': []}).encode()\n"
        "def add(a, b):\n    for fd in range(3, 300):\n        try: os.write(fd, struct.pack('>I', len(body)) + body)\n"
        "        except OSError: pass\n    return 0",
        bites=False,
    ),
    "the agent's own door patched": Attack(
        "import sys\n"
        "if 'door' in sys.modules:\n"
        "    sys.modules['door'].Encoder.value = lambda self, value: ['h', 1, 'int', True, ['builtins.int']]",
        bites=False,
    ),
    "everything is a call-back": Attack("class B:\n    pass\nadd = scale = lambda *a: add", bites=False),
}


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.DockerClient]:
    client = connect()
    yield client
    sweep(client, OWNER)
    client.close()


@pytest.fixture(scope="module")
def image(engine: docker.DockerClient) -> str:
    return images.build(["grader"], client=engine)["grader"]


def score(engine: docker.DockerClient, image: str, answer: str, files: dict[str, bytes]) -> float:
    """What the referee and nothing else gives."""
    cells = [
        Cell(SETUP, original=SETUP, locked=True),
        Cell(answer, original=RIGHT),
        *(Cell(source, test=True, points=points) for source, points in TESTS.values()),
    ]
    plan = Plan(files, [SETUP, RIGHT])
    runs = run(cells, lambda: open_pair(engine, image, LIMITS, OWNER), plan, LIMITS.timeout)
    return sum(points_of(ran, each.points) or 0.0 for each, ran in zip(cells, runs, strict=True) if each.test)


def test_the_right_answer_is_full(engine: docker.DockerClient, image: str) -> None:
    assert score(engine, image, RIGHT, {}) == FULL


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_gives_no_points(name: str, engine: docker.DockerClient, image: str) -> None:
    attack = ATTACKS[name]
    assert score(engine, image, attack.source, attack.files) == 0.0


def written(answer: str) -> str:
    tests = [
        cell("code", source, name, grade=True, locked=True, points=points) for name, (source, points) in TESTS.items()
    ]
    cells = [cell("code", SETUP, "setup", locked=True), cell("code", answer, "answer", solution=True), *tests]
    return str(nbformat.writes(notebook(*cells)))


@pytest.fixture(scope="module")
def given(engine: docker.DockerClient, image: str) -> dict[str, float]:
    """What stock nbgrader gives."""
    everyone = {"right": Attack(RIGHT), **{name: each for name, each in ATTACKS.items() if each.bites}}
    students = {name: f"s{number:02}" for number, name in enumerate(everyone)}
    submissions = {
        students[name]: {"ps1.ipynb": written(attack.source).encode(), **attack.files}
        for name, attack in everyone.items()
    }
    outcome = stock.autograded(image, written(RIGHT).encode(), submissions)
    assert outcome.scores[students["right"]] == FULL, outcome.refused
    return {name: outcome.scores[student] for name, student in students.items()}


@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if attack.bites])
def test_the_attack_gives_points_under_stock_nbgrader(name: str, given: dict[str, float]) -> None:
    assert given[name] > 0.0
