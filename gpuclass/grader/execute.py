"""nbgrader's Execute replaced: the student's cells run in a sandbox, tests with the referee; points are decided here.

Where nbgrader's `determine_grade` gives full marks for a test cell without output and 0 for a warning on stderr, every
test cell leaves here with an explicit first output: a number of points, or an error.

Hidden tests never enter the student's process, but the inputs that they give to a student's function do, and code that
keeps them could show them later. So a notebook with hidden tests is run twice: first without them, and that is what is
shown; then with them, and that decides the points.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nbformat
from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode
from nbgrader.api import Gradebook
from nbgrader.preprocessors import NbGraderPreprocessor
from traitlets import Any as AnyTrait
from traitlets import Unicode, default

from gpuclass.grader.cells import Cell, beside, code_cells, grade_id, is_locked, is_test, originals, with_passed
from gpuclass.grader.contract import contract_of
from gpuclass.grader.pair import REPLAYS, OpenPair, Pair, reusing
from gpuclass.grader.sandbox import Limits, Lost
from gpuclass.grader.visible import without_hidden
from gpuclass.grader.wire import CellRun, made
from gpuclass.grader.words import say
from gpuclass.settings import Language

Ran = CellRun | Lost | None  # how it ran; what ended the sandbox while it ran; it was not run
_NUMBER = re.compile(r"(?:np\.\w+|tensor)\((?P<inner>[^(),]+)(?:, dtype=[\w.]+)?\)")
_FALSE = frozenset(("False", "np.False_", "tensor(False)"))


@dataclass(frozen=True)
class Plan:
    """What a notebook's run needs: the student's files and the code of the instructor's version."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    notebook: Sequence[str] = ()  # its tests left out
    contract: Sequence[str] | None = None  # where tests may use the student's objects (`contract`)


def run(
    cells: Sequence[Cell],
    open_pair: OpenPair,
    plan: Plan,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> list[Ran]:
    """Run ``cells`` in order, the student's in the sandbox and the tests with the referee.

    When one of the two ends, a fresh pair plays what came before again and leaves out the cell that ended it. What a
    cell did the first time stands.

    Args:
        cells: of one notebook.
        open_pair: gives a fresh pair.
        plan: what the pair needs.
        seconds: for the whole notebook, starts not counted.
        clock: monotonic.

    Returns:
        For each cell how it ran; the `Lost` that ended a pair; None: it was not run.
    """
    runs: list[Ran] = [None] * len(cells)
    lost_in: set[int] = set()
    for _ in range(REPLAYS + 2):
        with open_pair() as pair:
            pair.start(plan.files, plan.notebook, seconds, plan.contract)
            began = clock()
            lost = _play(cells, pair, runs, lost_in)
            seconds -= clock() - began
        if lost is None or lost.reason == "total" or len(lost_in) > REPLAYS or seconds <= 0 or None not in runs:
            break
    return runs


def _play(cells: Sequence[Cell], pair: Pair, runs: list[Ran], lost_in: set[int]) -> Lost | None:
    for number, cell in enumerate(cells):
        ran: Ran = None
        try:
            for source, locked in cell.passed:
                pair.reached(source, locked=locked)
            if number not in lost_in:
                ran = pair.test(cell.source) if cell.test else pair.run(cell.source)
            if cell.original is not None and not cell.test:  # also where it was left out: no test's value stands for it
                pair.reached(cell.original, locked=cell.locked)
        except Lost as lost:
            runs[number] = runs[number] or lost
            lost_in.add(number)
            return lost
        runs[number] = runs[number] or ran
    return None


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
    """Runs a notebook and leaves explicit verdicts in its test cells."""

    open_pair = AnyTrait(help="Gives a fresh `Pair`; by default as the class's settings say.").tag(config=True)
    source = Unicode("", help="Folder of the source versions; by default the class's.").tag(config=True)
    language = Unicode("en", help="Language of what students read.").tag(config=True)
    limits = AnyTrait(help="`Limits` of the sandboxes, to be named when one is exceeded.").tag(config=True)

    @default("limits")
    def _limits_default(self) -> Limits:
        from gpuclass.settings import load

        return Limits.of(load().grading)

    @default("open_pair")
    def _open_pair_default(self) -> OpenPair:
        from gpuclass import images
        from gpuclass.grader.pair import open_pair
        from gpuclass.grader.sandbox import connect
        from gpuclass.settings import load

        settings = load()
        image = settings.grading.image or images.reference("grader")
        return lambda: open_pair(connect(), image, self.limits, owner=str(settings.data))

    @default("source")
    def _source_default(self) -> str:
        from gpuclass.settings import load

        return str(load().course_folder / "source")

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """Run the notebook; points come from the gradebook, never from the notebook."""
        nb.metadata.setdefault("gpuclass", NotebookNode())["apart"] = True  # `feedback` shows no other's outputs
        where = resources["nbgrader"]
        points = _points(where)
        path = Path(self.source) / where["assignment"] / f"{where['notebook']}.ipynb"
        version = nbformat.read(path, as_version=4)
        own = originals(version)
        code = code_cells(nb)
        cells = [
            Cell(
                source=cell.source,
                test=is_test(cell),
                points=points.get(grade_id(cell), 0.0),
                original=own.get(grade_id(cell)),
                locked=is_locked(cell),
                grade_id=grade_id(cell),
            )
            for cell in code
        ]
        cells = with_passed(cells, version)
        reason = nb.metadata.get("gpuclass", {}).get("withheld")
        if reason:
            text = self._say("withheld", reason=reason)
            for count, (node, cell) in enumerate(zip(code, cells, strict=True), 1):
                node.execution_count = count
                node.outputs = [_error("Withheld", text)] if cell.test else []
            return nb, resources

        course, seconds = Path(self.source).parent, self.limits.timeout
        contract = contract_of(course, where["assignment"], where["notebook"], self.open_pair, seconds)
        plan = Plan(beside(Path(resources["metadata"]["path"])), list(own.values()), contract)
        visible = [replace(cell, source=self._visible(cell.source)) if cell.test else cell for cell in cells]
        hiding = [number for number, cell in enumerate(cells) if cell.source != visible[number].source]
        with reusing(self.open_pair) as open_pair:
            # The one that is shown comes first: what it leaves behind in the sandbox can tell the other nothing new.
            shown = run(visible, open_pair, plan, seconds)
            decided = run(cells, open_pair, plan, seconds) if hiding else shown
        for number, node in enumerate(code):
            node.execution_count = number + 1
            ran = decided[number] if number in hiding else shown[number]
            node.outputs = self._outputs(cells[number], shown[number], ran)
        return nb, resources

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


def _points(where: Mapping[str, str]) -> dict[str, float]:
    """Points of each grade cell, from the gradebook."""
    with Gradebook(where["db_url"]) as gradebook:
        notebook = gradebook.find_notebook(where["notebook"], where["assignment"])
        return {cell.name: float(cell.max_score) for cell in notebook.grade_cells}


def _on_stdout(output: NotebookNode) -> NotebookNode:
    """nbgrader takes any stderr in a test cell for a failure; a warning is none."""
    if output.output_type == "stream":
        output.name = "stdout"
    return output


def _error(name: str, text: str) -> NotebookNode:
    return made("error", ename=name, evalue=text, traceback=[text])
