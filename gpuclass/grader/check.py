"""Tries an assignment before students get it: the same answer must score the same in a notebook and with the referee.

The solution, the untouched release and answers known to be right or wrong run both ways: as they are graded, tests with
the referee, and as in the student's notebook, all cells in one process. A test whose verdict depends on that would cost
students points for nothing they did, or give points that their own notebook did not promise. What was in order is
remembered until the source version, the answers or the grader change.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import nbformat

from gpuclass.curriculum.answers import Answer
from gpuclass.curriculum.building import EXERCISES
from gpuclass.errors import PlainError
from gpuclass.grader.candidates import Candidate, answers_of, candidates, notebooks_of
from gpuclass.grader.cells import Cell, beside, originals
from gpuclass.grader.contract import contract_of, grader_digest, replace_file
from gpuclass.grader.execute import Plan, Ran, points_of, run
from gpuclass.grader.findings import Finding, Kind, Report, Tried
from gpuclass.grader.pair import OpenPair
from gpuclass.grader.sandbox import Limits, Lost
from gpuclass.grader.wire import CellRun

FOLDER = "checks"  # in the course folder: what is remembered
SLOW = 1 / 3  # of the time that a test or a notebook may take: a loaded machine is that much slower
SAME = 1e-6  # points; partial credit is rounded when it is printed
_LINE = re.compile(r'(?:File "<test [^"]*"|Cell In\[\d+\]), line (\d+)')  # with the referee; in IPython

Say = Callable[[str], None]


class CheckError(PlainError):
    """The assignment cannot even be tried."""


def check(
    course: Path,
    assignment: str,
    open_pair: OpenPair,
    limits: Limits,
    *,
    answers: Sequence[Answer] | None = None,
    exercises: Path = EXERCISES,
    anew: bool = False,
    say: Say = lambda _: None,
) -> Report:
    """Try ``source/<assignment>`` of a course folder.

    Args:
        course: the course folder.
        assignment: its name.
        open_pair: gives fresh containers.
        limits: theirs.
        answers: what to try besides solution and release; by default what `answers_of` finds.
        exercises: the curriculum's, for that.
        anew: also when it is remembered to be in order.
        say: is told each step.

    Raises:
        CheckError: the source version cannot be read.
        EngineError: there are no containers to be had.
        SourceError: an answer cannot be read.
    """
    began = time.monotonic()
    folder = course / "source" / assignment
    if not any(folder.glob("*.ipynb")):
        return Report(assignment, (Finding("missing", "", ()),))
    given = answers_of(course, assignment, exercises) if answers is None else answers
    memory = Memory(course / FOLDER / f"{assignment}.json", folder, given)
    if not anew and (known := memory.recall()):
        return known
    try:
        notebooks = notebooks_of(folder)
        planned = {name: list(candidates(source, given)) for name, source in notebooks.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, nbformat.ValidationError) as error:
        raise CheckError(f"{folder} is not a source version that can be tried: {error}") from error
    findings: list[Finding] = []
    tried: list[Tried] = []
    untried = 0
    for name, source in notebooks.items():
        paths = contract_of(course, assignment, name, open_pair, limits.timeout)
        trial = Trial(name, Plan(beside(folder), list(originals(source).values()), paths), open_pair, limits)
        first, rest = planned[name][:2], planned[name][2:]
        for candidate in [*first, *rest]:
            if candidate in rest and any(each.refuses and each.notebook == name for each in findings):
                untried += len(rest)
                break
            say(f"{name}: {candidate.name}")
            result, found = trial.of(candidate)
            tried.append(result)
            findings += found
    if not any(cell.test for each in planned.values() for cell in each[0].cells):
        findings.append(Finding("none", "", ()))
    report = Report(assignment, _joined(findings), tuple(tried), untried, round(time.monotonic() - began, 2))
    memory.keep(report)
    return report


@dataclass(frozen=True)
class Timed:
    """How one cell ran, and for how many seconds."""

    ran: Ran
    seconds: float = 0.0


class Trial:
    """Runs one notebook's candidates both ways."""

    def __init__(self, notebook: str, plan: Plan, open_pair: OpenPair, limits: Limits) -> None:
        self._notebook = notebook
        self._plan = plan
        self._open_pair = open_pair
        self._limits = limits

    def of(self, candidate: Candidate) -> tuple[Tried, list[Finding]]:
        """How a candidate does, and what is to be mended."""
        began = time.monotonic()
        again = candidate.kind == "solution"  # what depends on chance shows in it
        runs = self._in_one_pair(candidate.cells, again=again)
        alike = [runs[1:]]
        if not runs or self._different(candidate, runs[0], runs[1]):
            # A notebook begins with nothing: what an earlier run left behind in the process shall not be blamed.
            fresh = [self._afresh(candidate.cells) for _ in range(2 if again else 1)]
            alike = [[*(each[0] for each in fresh), *runs[:1]], [each[1] for each in fresh]]
            runs = fresh[0]
        apart, together = runs[:2]
        findings = list(self._by_chance(candidate, alike)) if again else []
        known = {finding.grade_id for finding in findings}
        findings += [each for each in self._verdicts(candidate, apart, together) if each.grade_id not in known]
        if candidate.kind == "solution":
            findings += self._remarks(candidate, apart, together)
        got = sum(_points(cell, each.ran) for cell, each in zip(candidate.cells, apart, strict=True) if cell.test)
        seconds = time.monotonic() - began
        return Tried(candidate.name, candidate.kind, self._notebook, got, candidate.most, round(seconds, 2)), findings

    def _in_one_pair(self, cells: Sequence[Cell], *, again: bool) -> list[list[Timed]]:
        """Both ways, one after the other in the same containers, which is much quicker; none if one of them ended.

        With ``again`` the second way is gone twice.
        """
        runs: list[list[Timed]] = [[]]
        kernels = 2 if again else 1
        with self._open_pair() as pair:
            plan = self._plan
            pair.start(plan.files, plan.notebook, (1 + kernels) * self._limits.timeout, plan.contract)
            try:
                for cell in cells:
                    runs[0].append(_timed(pair.test if cell.test else pair.run, cell))
                    if cell.original is not None:
                        pair.reached(cell.original, locked=cell.locked)
                for _ in range(kernels):
                    pair.run("%reset -f")
                    runs.append([_timed(pair.run, cell) for cell in cells])
            except Lost:
                return []
        return runs

    def _afresh(self, cells: Sequence[Cell]) -> list[list[Timed]]:
        """Both ways, each from nothing, and played on after a cell that ended its container."""
        alike = [replace(cell, test=False, original=None) for cell in cells]
        apart = run(cells, self._open_pair, self._plan, self._limits.timeout)
        together = run(alike, self._open_pair, self._plan, self._limits.timeout)
        return [[Timed(each) for each in ran] for ran in (apart, together)]

    @staticmethod
    def _different(candidate: Candidate, one: Sequence[Timed], other: Sequence[Timed]) -> bool:
        return any(_differs(cell, a.ran, b.ran) for cell, a, b in zip(candidate.cells, one, other, strict=True))

    def _verdicts(self, candidate: Candidate, apart: Sequence[Timed], together: Sequence[Timed]) -> Iterator[Finding]:
        total = 0.0
        for cell, one, other in zip(candidate.cells, apart, together, strict=True):
            if not cell.test:
                continue
            points = _points(cell, one.ran)
            total += points
            if _differs(cell, one.ran, other.ran):
                yield self._finding("differs", candidate, cell, one.ran, other.ran)
            elif points_of(one.ran, cell.points) is None:
                yield self._finding("credit", candidate, cell, one.ran, other.ran)
            elif candidate.kind in ("solution", "variant") and points < cell.points - SAME:
                yield self._finding(candidate.kind, candidate, cell, one.ran, other.ran)
            elif candidate.kind == "blank" and points > 0:
                yield self._finding("blank", candidate, cell, one.ran, other.ran)
        if candidate.kind == "mutant" and not candidate.least - SAME <= total <= candidate.most + SAME:
            yield Finding(
                *("mutant", self._notebook, (candidate.name,)),
                error=candidate.says,
                apart=total,
                least=candidate.least,
                most=candidate.most,
            )

    def _by_chance(self, candidate: Candidate, alike: Sequence[Sequence[Sequence[Timed]]]) -> Iterator[Finding]:
        """Tests whose points differ between runs that were alike."""
        for number, cell in enumerate(candidate.cells):
            pairs = [(runs[0][number].ran, other[number].ran) for runs in alike for other in runs[1:]]
            if differing := next((pair for pair in pairs if _differs(cell, *pair)), None):
                yield self._finding("chance", candidate, cell, *differing)

    def _remarks(self, candidate: Candidate, apart: Sequence[Timed], together: Sequence[Timed]) -> Iterator[Finding]:
        for cell, one, other in zip(candidate.cells, apart, together, strict=True):
            printed = _stderr(one.ran) or _stderr(other.ran)
            if cell.test and printed:
                yield Finding("stderr", self._notebook, (candidate.name,), cell.grade_id, error=printed)
            if cell.test and one.seconds > SLOW * self._limits.cell_timeout:
                yield self._slow(candidate, one.seconds, self._limits.cell_timeout, cell.grade_id)
        whole = sum(each.seconds for each in apart)
        if whole > SLOW * self._limits.timeout:
            yield self._slow(candidate, whole, self._limits.timeout)

    def _slow(self, candidate: Candidate, seconds: float, limit: float, grade_id: str = "") -> Finding:
        return Finding("slow", self._notebook, (candidate.name,), grade_id, apart=round(seconds, 1), most=limit)

    def _finding(self, kind: Kind, candidate: Candidate, cell: Cell, apart: Ran, together: Ran) -> Finding:
        one, other = _points(cell, apart), _points(cell, together)
        line, error = _where(apart if one <= other else together)
        lines = cell.source.splitlines()
        code = lines[line - 1].strip() if 0 < line <= len(lines) else ""
        return Finding(
            *(kind, self._notebook, (candidate.name,), cell.grade_id, line, code, cell.source, error, one, other),
            most=cell.points,
        )


def _timed(run_it: Callable[[str], CellRun], cell: Cell) -> Timed:
    began = time.monotonic()
    return Timed(run_it(cell.source), time.monotonic() - began)


def _points(cell: Cell, ran: Ran) -> float:
    return points_of(ran, cell.points) or 0.0


def _differs(cell: Cell, one: Ran, other: Ran) -> bool:
    return cell.test and abs(_points(cell, one) - _points(cell, other)) > SAME


def _where(ran: Ran) -> tuple[int, str]:
    """The line of a test on which it ended, and what was said."""
    if not isinstance(ran, CellRun):
        return 0, str(ran or "")
    error = next((output for output in ran.outputs if output.output_type == "error"), None)
    if error is None:
        return 0, ""
    said = f"{error.ename}: {error.evalue}" if error.evalue else str(error.ename)
    found = _LINE.search("\n".join(error.traceback))
    return int(found[1]) if found else 0, said.splitlines()[0]


def _stderr(ran: Ran) -> str:
    if not isinstance(ran, CellRun):
        return ""
    texts = [output.text for output in ran.outputs if output.output_type == "stream" and output.name == "stderr"]
    return "".join(texts).strip().split("\n")[-1][:200]


def _joined(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The same line with several answers is one finding."""
    joined: dict[tuple[object, ...], Finding] = {}
    for each in findings:
        key = (each.kind, each.notebook, each.grade_id, each.line, each.error) if each.grade_id else (each,)
        first = joined.get(key)
        joined[key] = replace(first, answers=(*first.answers, *each.answers)) if first else each
    return tuple(joined.values())


class Memory:
    """What was found to be in order, beside the contract. Anything refused is tried anew each time."""

    def __init__(self, path: Path, source: Path, answers: Sequence[Answer]) -> None:
        self._path = path
        digest = hashlib.sha256(grader_digest().encode())
        files = [
            path for path in sorted(source.rglob("*")) if path.is_file() and "/." not in f"/{path.relative_to(source)}"
        ]
        for path in (*files, *(answer.path for answer in answers)):
            digest.update(json.dumps([path.name, hashlib.sha256(path.read_bytes()).hexdigest()]).encode())
        self._digest = digest.hexdigest()

    def recall(self) -> Report | None:
        """The report on this very source version, if all was in order."""
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            if kept["source"] == self._digest:
                report = replace(Report.of(kept["report"]), remembered=True)
                return None if report.refused else report
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return None

    def keep(self, report: Report) -> None:
        """Remember it; a full disk or a folder without rights costs the next release some seconds."""
        if report.refused:
            return
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._path, json.dumps({"source": self._digest, "report": report.as_dict()}, indent=1) + "\n")
