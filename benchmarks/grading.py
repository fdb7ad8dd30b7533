"""A class hands in an exercise that imports torch: one batch run of stock `nbgrader autograde`, then our worker.

    python benchmarks/grading.py [--submissions 80] [--spread 600] [--alone 5] [--only gpuclass|stock]

Stock runs all submissions in one process, tests in the student's kernel, in a container of the packages as installed.
Ours is the worker as a class runs it, `[grading] workers` one for each of two cores, every other setting at its
default; it starts when all have submitted, and is through when the last student's score and page are in the exchange,
which stock does not make. Then as many come one after another within `--spread` seconds, and at last a few alone. Every
second submission is right, the others are the exercise's mutants in turn. Ours must give each the points that the
exercise names; where stock gives others (it takes points for a warning on stderr) is listed.

CPU seconds are the whole machine's, Docker's included: let nothing else run. docs/explanation/grading.md says more. The
last line is one line of JSON, times in seconds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbgrader.preprocessors import ClearHiddenTests, ClearSolutions, ComputeChecksums, LockCells

from benchmarks import startup
from gpuclass import images
from gpuclass.curriculum.answers import Answer, answered, answers, points, solutions
from gpuclass.curriculum.building import EXERCISES, read_source, sources
from gpuclass.exchange.store.schema import CourseRow
from gpuclass.exchange.store.store import Store
from gpuclass.settings import CONFIG_VARIABLE, Settings, load

EXERCISE = EXERCISES / "01-pixels-to-tensors"
LIMIT = 0.6  # of stock's time
ALONE_LIMIT = 3.0  # seconds that one submission to an idle worker may take
CORES = 2
NAME = EXERCISE.name
SECONDS_EACH = 60.0  # that a submission may take before the benchmark gives up
SETTLE_SECONDS = 8.0  # what an idle worker is given to start sandboxes ahead
POLL_SECONDS = 0.25
GRADERS = ("stock", "gpuclass")


@dataclass(frozen=True)
class Figures:
    """What grading all submissions took.

    Attributes:
        seconds: from the start of the command to the last score.
        cpu: seconds of the whole machine meanwhile.
        scores: by login.
        waits: seconds from each submission to its score, ascending; none for stock.
    """

    seconds: float
    cpu: float
    scores: Mapping[str, float]
    waits: Sequence[float] = ()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, say whether the limits hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--submissions", type=int, default=80, help="how many (default: 80)")
    parser.add_argument(
        "--spread", type=float, default=600, help="seconds within which they come in the second round (0: skip it)"
    )
    parser.add_argument("--alone", type=int, default=5, help="how many come alone at the end (default: 5; 0: skip)")
    parser.add_argument("--only", choices=GRADERS, help="measure one, without a ratio")
    options = parser.parse_args(arguments)

    made = submissions(options.submissions)
    stock = ours = None
    rounds: dict[str, Sequence[float]] = {}
    if options.only != "gpuclass":
        stock = grade_stock(made)
        print(f"stock:    {json.dumps(line(stock))}", flush=True)
    if options.only != "stock":
        with tempfile.TemporaryDirectory(prefix="gpuclass-bench-", dir="/var/tmp") as folder:
            camp = Camp(Path(folder))
            ours = grade_ours(camp, made)
            print(f"gpuclass: {json.dumps(line(ours))}", flush=True)
            with camp.working():
                if options.spread:
                    rounds["spread"] = camp.come(made, options.spread / len(made))
                if options.alone:
                    rounds["alone"] = alone(camp, made, options.alone)
    return report(made, stock, ours, rounds)


def report(
    made: Mapping[str, NotebookNode],
    stock: Figures | None,
    ours: Figures | None,
    rounds: Mapping[str, Sequence[float]],
) -> int:
    """Print the last line; the exit status: 0 when our scores are right and no limit is passed."""
    found: dict[str, Any] = {"benchmark": "grading", "submissions": len(made)}
    good = True
    for name, figures in (("stock_differs", stock), ("differ", ours)):
        if figures:
            found[name] = unexpected(figures.scores, made)
            good = good and (name == "stock_differs" or not found[name])
    if stock and ours:
        found |= {"ratio": round(ours.seconds / stock.seconds, 3), "limit": LIMIT}
        found["cpu_ratio"] = round(ours.cpu / stock.cpu, 3)
        good = good and found["ratio"] <= LIMIT
    for name, figures in (("stock", stock), ("gpuclass", ours)):
        if figures:
            found[name] = line(figures)
    found |= {name: spread_of(waits) for name, waits in rounds.items()}
    if "alone" in rounds:
        found["alone"]["limit"] = ALONE_LIMIT
        good = good and found["alone"]["p50"] <= ALONE_LIMIT
    print(json.dumps(found))
    return 0 if good else 1


def line(figures: Figures) -> dict[str, Any]:
    """One grader's figures."""
    number = len(figures.scores)
    return {
        "seconds": round(figures.seconds, 1),
        "cpu_seconds": round(figures.cpu, 1),
        "cpu_seconds_each": round(figures.cpu / number, 2) if number else None,
        **({"to_score": spread_of(figures.waits)} if figures.waits else {}),
    }


def spread_of(waits: Sequence[float]) -> dict[str, float]:
    """Median, what nobody of 95 in a hundred waited longer than, and the longest."""
    ordered = sorted(waits)
    p95 = ordered[math.ceil(len(ordered) * 0.95) - 1]
    return {"p50": round(statistics.median(ordered), 2), "p95": round(p95, 2), "max": round(ordered[-1], 2)}


def unexpected(scores: Mapping[str, float], made: Mapping[str, NotebookNode]) -> list[str]:
    """Who got other points than the exercise names for such an answer, and who got none at all."""
    full = sum(points(next(iter(made.values()))).values())
    ranges = [each.points or (full, full) for each in cycle_of_answers(len(made))]
    return [
        login
        for login, (least, most) in zip(made, ranges, strict=True)
        if not least <= scores.get(login, math.nan) <= most
    ]


def submissions(number: int) -> dict[str, NotebookNode]:
    """What the class hands in, by login: every second one right, the others wrong in every way that is known."""
    source = read_source(sources(EXERCISE)[0])
    blank = nbformat.from_dict(source)
    resources: dict[str, Any] = {}
    for step in (LockCells, ClearSolutions, ComputeChecksums, ClearHiddenTests):
        blank, resources = step().preprocess(blank, resources)
    own = solutions(source)
    handed_in = [answered(blank, {**own, **answer.cells}) for answer in cycle_of_answers(number)]
    return {f"s{place:03d}": notebook for place, notebook in enumerate(handed_in)}


def cycle_of_answers(number: int) -> list[Answer]:
    """The answers of so many students, in their order."""
    known = answers(EXERCISE)
    solution = Answer(EXERCISE, "the solution", None, {})
    right = itertools.cycle([solution, *(each for each in known if each.points is None)])
    wrong = itertools.cycle(each for each in known if each.points is not None)
    return list(itertools.islice(itertools.chain.from_iterable(zip(right, wrong, strict=False)), number))


def machine_cpu() -> float:
    """CPU seconds that all cores have worked so far; see proc(5)."""
    user, nice, system, _, _, interrupts, soft, *_ = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")


# Stock

IN_CONTAINER = """
import json, os, pathlib, subprocess, sys, time
os.makedirs('/tmp/course')
os.chdir('/tmp/course')
for path, text in json.load(sys.stdin).items():
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(path).write_text(text)
def busy():
    fields = pathlib.Path('/proc/stat').read_text().split()[1:9]
    return sum(int(fields[each]) for each in (0, 1, 2, 5, 6)) / os.sysconf('SC_CLK_TCK')
def nbgrader(*arguments):
    command = [sys.executable, '-m', 'nbgrader', *arguments, '--course=camp']
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        sys.exit(ran.stderr[-5000:])
nbgrader('generate_assignment', sys.argv[1])
begin, before = time.monotonic(), busy()
nbgrader('autograde', sys.argv[1])
seconds, cpu = time.monotonic() - begin, busy() - before
from nbgrader.api import Gradebook
with Gradebook('sqlite:///gradebook.db') as gradebook:
    scores = {each.student.id: each.score for each in gradebook.find_assignment(sys.argv[1]).submissions}
print(json.dumps({'seconds': seconds, 'cpu': cpu, 'scores': scores}))
"""


def grade_stock(made: Mapping[str, NotebookNode]) -> Figures:
    """All in one run of `nbgrader autograde`; making the assignment is not counted."""
    client = images.connect()
    image = startup.stock(client, images.build(["student"], client=client)["student"])
    client.close()
    file = f"{sources(EXERCISE)[0].stem}.ipynb"
    sent = {f"source/{NAME}/{file}": nbformat.writes(read_source(sources(EXERCISE)[0]))}
    sent |= {f"submitted/{login}/{NAME}/{file}": nbformat.writes(each) for login, each in made.items()}
    command = ["docker", "run", "-i", "--rm", "--network=none", f"--cpus={CORES}", "--entrypoint=tini", image, "--"]
    ran = subprocess.run(
        [*command, "python", "-c", IN_CONTAINER, NAME],
        input=json.dumps(sent),
        stdout=subprocess.PIPE,
        text=True,
        timeout=SECONDS_EACH * len(made),
        check=True,
    )
    return Figures(**json.loads(ran.stdout.splitlines()[-1]))


# Ours


class Camp:
    """A class in a folder of its own: its course, its exchange's store, its grading worker."""

    def __init__(self, folder: Path) -> None:
        config = folder / "class.toml"
        config.write_text(f'[class]\nname = "camp"\ntitle = "Camp"\n[grading]\nworkers = {CORES}\n', encoding="utf-8")
        self.settings: Settings = load(config)
        source = self.settings.course_folder / "source" / NAME
        source.mkdir(parents=True)
        path = sources(EXERCISE)[0]
        self._file = f"{path.stem}.ipynb"
        nbformat.write(read_source(path), source / self._file)
        images.build(["grader"])
        with self._store() as store:
            with store.writing() as session:
                session.add(CourseRow(name=self.settings.course, created=store.clock()))
            store.release(self.settings.course, NAME, {self._file: b"{}"}, by="teacher")

    def _store(self) -> Store:
        return Store(self.settings.exchange_folder)

    def submit(self, login: str, notebook: NotebookNode) -> int:
        """Hand in; the submission's number."""
        with self._store() as store:
            files = {self._file: nbformat.writes(notebook).encode()}
            return store.submit(self.settings.course, NAME, login, files).id

    def scored(self, numbers: Sequence[int]) -> dict[int, tuple[str, float, float]]:
        """Wait for these submissions' feedback: who, score and seconds from submission to it.

        Raises:
            TimeoutError: with the worker's log.
        """
        wanted = set(numbers)
        end = time.monotonic() + SECONDS_EACH * len(wanted)
        with self._store() as store:
            while True:
                found = {
                    each.submission.id: (
                        each.submission.student,
                        float(each.feedback.score or 0),
                        (each.feedback.created - each.submission.received).total_seconds(),
                    )
                    for each in store.standings(self.settings.course, NAME)
                    if each.submission.id in wanted and each.feedback
                }
                if len(found) == len(wanted):
                    return found
                if time.monotonic() > end:
                    raise TimeoutError((self.settings.data / "grading.log").read_text())
                time.sleep(POLL_SECONDS)

    @contextmanager
    def working(self) -> Iterator[None]:
        """The worker, as a class runs it."""
        with (self.settings.data / "grading.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "gpuclass", "grading", "serve"],
                env={**os.environ, CONFIG_VARIABLE: str(self.settings.path)},
                stdout=log,
                stderr=log,
            )
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)

    def come(self, made: Mapping[str, NotebookNode], pause: float) -> list[float]:
        """Let students hand in ``pause`` seconds after one another; each one's seconds to the score."""
        numbers = []
        begin = time.monotonic()
        for place, (login, notebook) in enumerate(made.items()):
            time.sleep(max(0.0, begin + place * pause - time.monotonic()))
            numbers.append(self.submit(login, notebook))
        return [wait for _, _, wait in self.scored(numbers).values()]


def grade_ours(camp: Camp, made: Mapping[str, NotebookNode]) -> Figures:
    """All of them there when the worker starts."""
    numbers = [camp.submit(login, notebook) for login, notebook in made.items()]
    begin, before = time.monotonic(), machine_cpu()
    with camp.working():
        found = camp.scored(numbers)
        seconds, cpu = time.monotonic() - begin, machine_cpu() - before
    scores = {login: score for login, score, _ in found.values()}
    return Figures(seconds, cpu, scores, sorted(wait for _, _, wait in found.values()))


def alone(camp: Camp, made: Mapping[str, NotebookNode], times: int) -> list[float]:
    """One at a time, each to a worker that has had nothing to do for a while."""
    waits: list[float] = []
    for login, notebook in itertools.islice(itertools.cycle(made.items()), times):
        time.sleep(SETTLE_SECONDS)
        waits += camp.come({login: notebook}, 0)
    return waits


if __name__ == "__main__":
    sys.exit(main())
