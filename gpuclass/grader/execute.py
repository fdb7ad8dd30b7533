"""nbgrader's Execute replaced: the student's cells and the tests run in a sandbox, the points are decided here.

Where nbgrader's `determine_grade` gives full marks for a test cell without output and 0 for a warning on stderr, every
test cell leaves here with an explicit first output: a number of points, or an error.

A notebook with hidden tests is run twice, in two sandboxes. The first never sees them and brings everything that is
shown; the second brings nothing but whether they passed. So code that reads the hidden tests has nowhere to print them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode
from nbgrader.api import Gradebook
from nbgrader.preprocessors import NbGraderPreprocessor
from traitlets import Any as AnyTrait
from traitlets import Unicode, default

from gpuclass.grader.sandbox import Limits, Lost, Sandbox
from gpuclass.grader.visible import without_hidden
from gpuclass.grader.wire import CellRun, made
from gpuclass.grader.words import say
from gpuclass.settings import Language

Ran = CellRun | Lost | None  # how it ran; what ended the sandbox while it ran; it was not run
OpenSandbox = Callable[[], AbstractContextManager[Sandbox]]
NOT_FILES = frozenset(("timestamp.txt", "feedback"))
_NUMBER = re.compile(r"(?:np\.\w+|tensor)\((?P<inner>[^(),]+)(?:, dtype=[\w.]+)?\)")
_FALSE = frozenset(("False", "np.False_", "tensor(False)"))


@dataclass(frozen=True)
class Cell:
    """A code cell as it is to be run."""

    source: str
    test: bool  # an automatically graded test cell
    points: float = 0.0


def run(cells: Sequence[Cell], sandbox: Sandbox, *, test: Callable[[str], CellRun] | None = None) -> list[Ran]:
    """Run ``cells`` in order.

    Args:
        cells: of one notebook.
        sandbox: where the student's cells run.
        test: where the test cells run. This is the referee's place: it takes a test's source and says how it went. As
            long as there is none, tests run in the sandbox's own kernel, within reach of the student's code.

    Returns:
        For each cell how it ran; the `Lost` that ended the sandbox; after that None: it was not run.
    """
    runs: list[Ran] = []
    judge = test or (lambda source: sandbox.run(source, test=True))
    for cell in cells:
        try:
            runs.append(judge(cell.source) if cell.test else sandbox.run(cell.source))
        except Lost as lost:
            runs.append(lost)
            break
    return runs + [None] * (len(cells) - len(runs))


def points_of(run_of_test: Ran, points: float) -> float | None:
    """Points for a test cell: 0 unless it ran to its end; None when its partial credit makes no sense."""
    if not isinstance(run_of_test, CellRun) or not run_of_test.ok or _errors(run_of_test.outputs):
        return 0.0
    results = [output for output in run_of_test.outputs if output.output_type == "execute_result"]
    values = [output.data.get("text/plain", "") for output in results]
    if not values:
        return points
    if values[0] in _FALSE:
        return 0.0
    number = _number(values[0])
    if number is None:
        return points  # a test that ends in a word or a picture has passed, as with nbgrader
    return number if math.isfinite(number) and 0 <= number <= points else None


def _number(text: str) -> float | None:
    match = _NUMBER.fullmatch(text.strip())
    try:
        return float(match["inner"] if match else text)
    except ValueError:
        return None


def _errors(outputs: Sequence[NotebookNode]) -> list[NotebookNode]:
    return [output for output in outputs if output.output_type == "error"]


class SandboxedExecute(NbGraderPreprocessor, Preprocessor):  # type: ignore[misc]  # nbgrader has no types
    """Runs a notebook in a sandbox and leaves explicit verdicts in its test cells."""

    open_sandbox = AnyTrait(help="Gives a fresh `Sandbox`; by default as the class's settings say.").tag(config=True)
    language = Unicode("en", help="Language of what students read.").tag(config=True)
    limits = AnyTrait(help="`Limits` of the sandboxes, to be named when one is exceeded.").tag(config=True)

    @default("limits")
    def _limits_default(self) -> Limits:
        from gpuclass.settings import load

        return Limits.of(load().grading)

    @default("open_sandbox")
    def _open_sandbox_default(self) -> OpenSandbox:
        from gpuclass import images
        from gpuclass.grader.sandbox import connect, open_sandbox
        from gpuclass.settings import load

        settings = load()
        image = settings.grading.image or images.reference("grader")
        return lambda: open_sandbox(connect(), image, self.limits, owner=str(settings.data))

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """Run the notebook; points come from the gradebook, never from the notebook."""
        nb.metadata.setdefault("gpuclass", NotebookNode())["apart"] = True  # `feedback` shows no other's outputs
        points = _points(resources["nbgrader"])
        code = [cell for cell in nb.cells if cell.cell_type == "code"]
        cells = [Cell(cell.source, _is_test(cell), points.get(_grade_id(cell), 0.0)) for cell in code]
        reason = nb.metadata.get("gpuclass", {}).get("withheld")
        if reason:
            text = self._say("withheld", reason=reason)
            for count, (node, cell) in enumerate(zip(code, cells, strict=True), 1):
                node.execution_count = count
                node.outputs = [_error("Withheld", text)] if cell.test else []
            return nb, resources

        files = beside(Path(resources["metadata"]["path"]))
        visible = [replace(cell, source=self._visible(cell.source)) if cell.test else cell for cell in cells]
        shown = self._run(visible, files)
        decided = list(shown)
        hidden = [number for number, cell in enumerate(cells) if cell.source != visible[number].source]
        if hidden:
            for number, run_of_all in enumerate(self._run(cells[: hidden[-1] + 1], files)):
                if number in hidden:
                    decided[number] = run_of_all
        for number, node in enumerate(code):
            node.execution_count = number + 1
            node.outputs = self._outputs(cells[number], shown[number], decided[number])
        return nb, resources

    def _run(self, cells: Sequence[Cell], files: Mapping[str, bytes]) -> list[Ran]:
        with self.open_sandbox() as sandbox:
            sandbox.start(files)
            return run(cells, sandbox)

    def _outputs(self, cell: Cell, shown: Ran, decided: Ran) -> list[NotebookNode]:
        """What the cell's outputs become: for a test the verdict first, then what the visible run printed."""
        printed = list(shown.outputs) if isinstance(shown, CellRun) else []
        if not cell.test:
            return [self._plain(output) for output in printed] + self._stopped(shown)
        verdict = self._verdict(decided, cell.points)
        rest = [_on_stdout(self._plain(output)) for output in printed if output.output_type != "execute_result"]
        if decided is shown:
            rest = [output for output in rest if output.output_type != "error"]  # it is the verdict
        return [verdict, *rest] if decided is shown else [verdict, *rest, *self._stopped(shown)]

    def _verdict(self, decided: Ran, points: float) -> NotebookNode:
        if not isinstance(decided, CellRun):
            return self._stopped(decided)[0]
        errors = _errors(decided.outputs)
        if errors:
            return self._plain(errors[0])
        if not decided.ok:
            return _error("NoResult", self._say("no-result"))
        given = points_of(decided, points)
        if given is None:
            return _error("PartialCredit", self._say("bad-credit", points=points))
        return made("execute_result", data={"text/plain": repr(given)}, execution_count=None)

    def _stopped(self, lost: Ran) -> list[NotebookNode]:
        """The note on a cell during or before which the sandbox ended."""
        if isinstance(lost, CellRun):
            return []
        if lost is None:
            return [_error("NotRun", self._say("not-run"))]
        seconds = {"timeout": self.limits.cell_timeout, "total": self.limits.timeout}.get(lost.reason)
        name = "Stopped" if seconds is None else "CellTimeout"
        return [_error(name, self._say(lost.reason, seconds=seconds))]

    def _plain(self, output: NotebookNode) -> NotebookNode:
        """The agent's own time limit in the class's words."""
        if output.output_type == "error" and output.ename == "CellTimeout":
            return _error("CellTimeout", self._say("timeout", seconds=self.limits.cell_timeout))
        return output

    def _visible(self, source: str) -> str:
        return without_hidden(source, self.config)

    def _say(self, key: str, **details: Any) -> str:
        language: Language = "ko" if self.language == "ko" else "en"
        return say(language, key, **details)


def beside(folder: Path) -> dict[str, bytes]:
    """The files that lie beside the notebook and go into the sandbox with it."""
    found = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        name: path.read_bytes()
        for name, path in found.items()
        if path.suffix != ".ipynb" and path.name not in NOT_FILES and not path.is_symlink()
    }


def _points(where: Mapping[str, str]) -> dict[str, float]:
    """Points of each grade cell, from the gradebook."""
    with Gradebook(where["db_url"]) as gradebook:
        notebook = gradebook.find_notebook(where["notebook"], where["assignment"])
        return {cell.name: float(cell.max_score) for cell in notebook.grade_cells}


def _grade_id(cell: NotebookNode) -> str:
    return str(cell.metadata.get("nbgrader", {}).get("grade_id", ""))


def _is_test(cell: NotebookNode) -> bool:
    """Automatically graded: graded, and not an answer."""
    known = cell.metadata.get("nbgrader", {})
    return bool(known.get("grade")) and not known.get("solution")


def _on_stdout(output: NotebookNode) -> NotebookNode:
    """nbgrader takes any stderr in a test cell for a failure; a warning is none."""
    if output.output_type == "stream":
        output.name = "stdout"
    return output


def _error(name: str, text: str) -> NotebookNode:
    return made("error", ename=name, evalue=text, traceback=[text])
