"""Cells in the real agent, which runs here as a plain process: what is asked of the agent, not of the container."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from gpuclass.grader.cells import Cell
from gpuclass.grader.execute import Plan, Ran, points_of, run
from gpuclass.grader.sandbox import Limits, Lost
from gpuclass.grader.wire import CellRun, made
from tests.grader.agents import LIMITS, local_pair, local_sandbox
from tests.grader.courses import RIGHT

pytestmark = pytest.mark.slow

TEST = Cell("assert add(1, 2) == 3, 'one and two'", test=True, points=2.0)
QUICK = dataclasses.replace(LIMITS, cell_timeout=0.5)


def played(folder: Path, *sources: str, limits: Limits = LIMITS) -> list[Ran]:
    """Run ``sources``, then a test of ``add``."""
    cells = [*(Cell(source) for source in sources), TEST]
    return run(cells, lambda: local_pair(folder, limits), Plan(notebook=[RIGHT]), limits.timeout)


def text_of(ran: Ran) -> str:
    assert isinstance(ran, CellRun)
    return "".join(str(output.get("text") or output.get("data") or output.get("traceback")) for output in ran.outputs)


@pytest.mark.parametrize(
    ("value", "points"),
    [
        ("1.5", 1.5),
        ("0", 0.0),
        ("2", 2.0),
        ("float('nan')", 0.0),
        ("float('inf')", 0.0),
        ("-1", 0.0),
        ("1e9", 0.0),
        ("'well done'", 2.0),
        ("None", 2.0),
        ("False", 0.0),
    ],
)
def test_partial_credit_is_a_number_between_nothing_and_all(value: str, points: float) -> None:
    text = repr(eval(value))  # noqa: S307  # the parameters above
    outputs = () if value == "None" else (made("execute_result", data={"text/plain": text}),)
    assert (points_of(CellRun(True, outputs), 2.0) or 0.0) == points


@pytest.mark.parametrize(
    "text", ["np.float64(1.5)", "tensor(1.5000)", "tensor(1.5, dtype=torch.float64)", "np.int64(1)"]
)
def test_partial_credit_may_be_a_numpy_or_torch_number(text: str) -> None:
    assert points_of(CellRun(True, (made("execute_result", data={"text/plain": text}),)), 2.0) in (1.0, 1.5)


def test_an_endless_loop_loses_only_its_own_cell(tmp_path: Path) -> None:
    *_, hung, tested = played(tmp_path, RIGHT, "while True:\n    pass", limits=QUICK)
    assert isinstance(hung, CellRun)
    assert hung.outputs[-1].ename == "CellTimeout"
    assert points_of(tested, 2.0) == 2.0


WRITE_EVERYWHERE = "import os\nfor fd in range(90, 300):\n    try: os.write(fd, {!r})\n    except OSError: pass"
CLOSE_EVERYTHING = "import os\nfor fd in range(50, 300):\n    try: os.close(fd)\n    except OSError: pass"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import signal\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\nwhile True: pass", "timeout"),
        ("import os\nos._exit(0)", "died"),
        ("import os\nos.kill(os.getpid(), 9)", "died"),
        (CLOSE_EVERYTHING, "died"),
        (WRITE_EVERYWHERE.format(b"\0\0\0\2[]"), "garbled"),
        (WRITE_EVERYWHERE.format(b"\xff" * 9), "output"),
    ],
    ids=["ignores the alarm", "exits", "kills itself", "closes the channel", "forges", "floods"],
)
def test_a_cell_that_ends_the_sandbox_costs_nothing_else(source: str, reason: str, tmp_path: Path) -> None:
    first, ended, tested = played(tmp_path, RIGHT, source, limits=QUICK)
    assert isinstance(first, CellRun)
    assert isinstance(ended, Lost)
    assert ended.reason == reason
    assert points_of(tested, 2.0) == 2.0


@pytest.mark.parametrize(
    "source",
    [
        "print('x' * 30_000_000)",
        "for i in range(200_000): print(i)",
        "from IPython.display import display\nfor i in range(5000): display(i)",
        "import os\nos.system('yes | head -c 30000000')",
        "input('name?')",
        "exit()",
        "import sys\nsys.exit(1)",
        "import os\nif os.fork() == 0:\n    print('child')",
        "import sys\nsys.stdout = None",
        "raise KeyboardInterrupt",
        "class E(BaseException):\n    def __str__(self): raise RuntimeError('no text')\nraise E",
        "this is not python",
        "\\x00",
    ],
    ids=lambda source: repr(source)[:40],
)
def test_odd_cells_cost_nothing_elsewhere(source: str, tmp_path: Path) -> None:
    *_, odd, tested = played(tmp_path, RIGHT, source)
    assert points_of(tested, 2.0) == 2.0
    assert len(text_of(odd)) < LIMITS.output


FORGERIES = {
    "input transformer": "get_ipython().input_transformers_post.append(lambda lines: ['pass\\n'])",
    "AST transformer": "import ast\n"
    "class Drop(ast.NodeTransformer):\n"
    "    def visit_Assert(self, node): return ast.Pass()\n"
    "get_ipython().ast_transformers.append(Drop())",
    "run_cell patched": "ip = get_ipython()\nip.run_cell = lambda *a, **k: type('R', (), {'success': True})()",
    "class patched": "from IPython.core.interactiveshell import InteractiveShell as I\n"
    "I.run_cell = lambda *a, **k: type('R', (), {'success': True})()\nI.run_code = lambda *a, **k: False",
    "showtraceback silenced": "get_ipython().showtraceback = get_ipython()._showtraceback = lambda *a, **k: None",
    "custom exception handler": "get_ipython().set_custom_exc((Exception,), lambda *a, **k: None)",
    "compile replaced": "import builtins\nold = builtins.compile\n"
    "builtins.compile = lambda s, *a, **k: old('pass' if 'add(' in str(s) else s, *a, **k)",
    "exec replaced": "import builtins\nbuiltins.exec = builtins.eval = lambda *a, **k: None",
    "answer written in advance": "import json, os, struct\n"
    "body = json.dumps({'id': 'x' * 32, 'ok': True, 'outputs': []}).encode()\n"
    "for fd in range(90, 300):\n"
    "    try: os.write(fd, struct.pack('>I', len(body)) + body)\n"
    "    except OSError: pass",
}


@pytest.mark.parametrize("name", FORGERIES)
def test_replacing_parts_of_ipython_gives_no_points(name: str, tmp_path: Path) -> None:
    tested = played(tmp_path, FORGERIES[name])[-1]
    assert points_of(tested, 2.0) == 0.0


def test_printing_goes_where_it_was_printed_from(tmp_path: Path) -> None:
    source = "import os, sys\nprint('a')\nos.system('echo b; echo c >&2')\nprint('d', file=sys.stderr)"
    ran = played(tmp_path, source)[0]
    assert isinstance(ran, CellRun)
    streams = {name: "".join(o.text for o in ran.outputs if o.get("name") == name) for name in ("stdout", "stderr")}
    assert streams["stdout"].split() == ["a", "b"]
    assert sorted(streams["stderr"].split()) == ["c", "d"]


def test_magics_awaits_and_displays_work(tmp_path: Path) -> None:
    display = "from IPython.display import *\nh = display('one', display_id=True)\nh.update('two')\nHTML('<b>x</b>')"
    timed, awaited, shown, _ = played(tmp_path, "%%time\n2 + 2", "import asyncio\nawait asyncio.sleep(0)\n7", display)
    assert "Wall time" in text_of(timed)
    assert "7" in text_of(awaited)
    assert "two" in text_of(shown)
    assert "one" not in text_of(shown)
    assert "<b>x</b>" in text_of(shown)


def test_files_lie_beside_the_notebook_and_do_not_shadow_modules(tmp_path: Path) -> None:
    files = {"data/a.csv": b"1,2", "json.py": b"raise RuntimeError('shadowed')", "own.py": b"x = 5"}
    with local_sandbox(tmp_path) as sandbox:
        sandbox.start(files)
        ran = sandbox.run("import json, own\nopen('data/a.csv').read(), own.x")
    assert "('1,2', 5)" in text_of(ran)
