"""One class day in a few minutes: an instructor releases, two students solve, one right and one wrong, both are graded.

What happens is what happens in a class; only the people are simulated (see rehearsal.py). Knows the example course's
reference solution, since somebody has to be right.
"""

from __future__ import annotations

import asyncio
import csv
import html
import re
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode as Notebook
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gpuclass import classroom
from gpuclass.curriculum import answers
from gpuclass.processes import StopSignal
from gpuclass.rehearsal import RehearsalError, Visitor
from gpuclass.roster import Role
from gpuclass.settings import Settings, load

ASSIGNMENT = "01-pixels-to-tensors"
LECTURE = "00-warm-up"
GRADED_WITHIN_S = 240
MERGED_WITHIN_S = 60

Say = Callable[[str], None]

_SCORE = re.compile(r'class="score">[^<\d]*([\d.]+) / ([\d.]+)')


@dataclass(frozen=True)
class Account:
    """Who logs in, and with what."""

    login: str
    name: str
    role: Role
    password: str


@dataclass(frozen=True)
class Cast:
    """Who plays the day."""

    instructor: Account
    right: Account
    wrong: Account


@dataclass(frozen=True)
class Score:
    """Points, as the student reads them in the feedback."""

    points: float
    of: float


@dataclass(frozen=True)
class Outcome:
    """What the day ended with."""

    right: Score
    wrong: Score

    @property
    def as_expected(self) -> bool:
        """The right one has every point, the wrong one fewer."""
        return self.right.points == self.right.of > 0 and self.wrong.points < self.wrong.of


class InterruptedDemoError(Exception):
    """Somebody pressed Ctrl-C while the day was played."""


def read_accounts(logins: Path) -> tuple[Account, ...]:
    """The log-in data that the roster's import wrote, in the roster's order."""
    with logins.open(encoding="utf-8-sig", newline="") as file:
        return tuple(
            Account(row["login"], row["name"], Role(row["role"]), row["password"]) for row in csv.DictReader(file)
        )


def cast_of(accounts: Sequence[Account]) -> Cast:
    """The first instructor and the first two students.

    Raises:
        RehearsalError: the roster has not that many.
    """
    instructors = [account for account in accounts if account.role is Role.INSTRUCTOR]
    students = [account for account in accounts if account.role is Role.STUDENT]
    if not instructors or len(students) < 2:
        raise RehearsalError("the demo needs an instructor and two students in the roster")
    return Cast(instructors[0], students[0], students[1])


def references(settings: Settings) -> dict[str, Notebook]:
    """The instructor's notebooks of the assignment, by name without suffix."""
    folder = settings.course_folder / "source" / ASSIGNMENT
    return {path.stem: nbformat.read(path, as_version=4) for path in sorted(folder.glob("*.ipynb"))}


def answered(released: Notebook, reference: Notebook, *, wrong: bool = False) -> Notebook:
    """The released notebook with its answers filled in.

    Args:
        released: the student's copy.
        reference: the instructor's version of the same notebook.
        wrong: leave the last answer as it was released.
    """
    cells = answers.solutions(reference)
    if wrong:
        cells.popitem()
    return answers.answered(released, cells)


def score_in(feedback: str) -> Score:
    """The score that a feedback page shows.

    Raises:
        RehearsalError: the page shows none.
    """
    found = _SCORE.search(html.unescape(feedback))
    if not found:
        raise RehearsalError("the feedback page shows no score")
    return Score(float(found[1]), float(found[2]))


def run(folder: Path, *, once: bool) -> int:
    """Open the example class in ``folder``, play the day and keep the class open, or not.

    Returns:
        The exit status: 0 when the scores were the expected ones.
    """
    console = Console(highlight=False)
    started = time.monotonic()

    def say(text: str) -> None:
        console.print(f"[dim]{time.monotonic() - started:6.1f} s[/]  {escape(text)}")

    stop = StopSignal()
    settings = load(classroom.start_from_examples(folder), environ={})
    logins = folder / "logins.csv"
    try:
        with classroom.opened(settings, say, passwords=None if logins.exists() else logins) as supervisor:
            stop.remember()
            say(f"The class is open on {settings.site.address}")
            accounts = read_accounts(logins)
            playing = day(settings, cast_of(accounts), references(settings), say)
            outcome = asyncio.run(_unless(stop, playing))
            _show_outcome(console, outcome)
            if not once:
                _show_way_in(console, settings, accounts)
                supervisor.watch(lambda: bool(stop))
            say("Closing the class…")
    except (InterruptedDemoError, KeyboardInterrupt):
        say("Stopped.")
        return 130
    return 0 if outcome.as_expected else 1


async def _unless(stop: StopSignal, work: Coroutine[Any, Any, Outcome]) -> Outcome:
    """Do the work; give up when the signal comes."""
    task = asyncio.create_task(work)
    while not task.done():
        if stop:
            task.cancel()
            raise InterruptedDemoError
        await asyncio.wait([task], timeout=0.2)
    return task.result()


def _show_outcome(console: Console, outcome: Outcome) -> None:
    table = Table("student", "points", "of", title="Scores")
    table.add_row("right", f"{outcome.right.points:g}", f"{outcome.right.of:g}")
    table.add_row("wrong", f"{outcome.wrong.points:g}", f"{outcome.wrong.of:g}")
    console.print(table)
    console.print("[green]As expected.[/]" if outcome.as_expected else "[red]Not what was expected.[/]")


def _show_way_in(console: Console, settings: Settings, accounts: Sequence[Account]) -> None:
    table = Table("login", "name", "role", "password", title=f"Log in at {settings.site.address}")
    for account in accounts:
        table.add_row(account.login, account.name, account.role.value, account.password)
    console.print(table)
    console.print("Instructors find Formgrader at …/user/<login>/formgrader. Ctrl-C closes the class.")


async def day(settings: Settings, cast: Cast, references: Mapping[str, Notebook], say: Say) -> Outcome:
    """Play the day against a running class.

    Args:
        settings: the class.
        cast: who plays; all three are in the roster.
        references: the instructor's notebooks of the assignment, by name without suffix.
        say: is told each step as it happens.

    Raises:
        RehearsalError: a step failed; the text says which and how.
    """
    async with _visitor(settings, cast.instructor) as teacher:
        await _come_in(teacher, cast.instructor, say)
        await _release(teacher, say)
        async with _visitor(settings, cast.right) as right, _visitor(settings, cast.wrong) as wrong:
            students = ((right, cast.right, False), (wrong, cast.wrong, True))
            await asyncio.gather(*(_come_in(visitor, account, say) for visitor, account, _ in students))
            await asyncio.gather(*(_lesson(visitor, account, say) for visitor, account, _ in students))
            scores = await asyncio.gather(
                *(_solve(visitor, account, settings, references, fails, say) for visitor, account, fails in students)
            )
        await _look_at_grades(teacher, say)
    return Outcome(*scores)


def _visitor(settings: Settings, account: Account) -> Visitor:
    site = settings.site
    return Visitor(site.address, account.login, account.password, subdomains=site.subdomains, connect=str(site.listen))


async def _come_in(visitor: Visitor, account: Account, say: Say) -> None:
    await visitor.log_in()
    say(f"{account.login} ({account.name}) is logged in")
    started = time.monotonic()
    await visitor.start_server(lambda message: say(f"{account.login}: {message}"))
    say(f"{account.login} is in Lab, {time.monotonic() - started:.1f} s after asking for it")


async def _release(teacher: Visitor, say: Say) -> None:
    listed = {found["name"]: found for found in await teacher.formgrader("GET", "assignments")}
    if ASSIGNMENT not in listed:
        raise RehearsalError(f"{ASSIGNMENT} is not in the course; Formgrader lists {', '.join(listed) or 'nothing'}")
    if listed[ASSIGNMENT]["status"] == "released":
        say(f"{ASSIGNMENT} is released already")
        return
    await teacher.formgrader("POST", f"assignment/{ASSIGNMENT}/assign")
    say(f"{teacher.login} made the students' version of {ASSIGNMENT} in Formgrader")
    await teacher.formgrader("POST", f"assignment/{ASSIGNMENT}/release")
    say(f"{teacher.login} released {ASSIGNMENT}")


async def _lesson(visitor: Visitor, account: Account, say: Say) -> None:
    names = await _merged_notebooks(visitor)
    say(f"{account.login} finds the curriculum: {', '.join(names)}")
    async with visitor.kernel() as kernel:
        result = await kernel.run(
            "import torch\nx = torch.ones(3, requires_grad=True)\n(x ** 2).sum().backward()\nx.grad"
        )
        if result.error or "2." not in result.value:
            raise RehearsalError(f"{account.login}: the cell gave {result.error or result.value!r}")
        say(f"{account.login} ran a cell: {result.value}")


async def _merged_notebooks(visitor: Visitor) -> list[str]:
    deadline = time.monotonic() + MERGED_WITHIN_S
    while time.monotonic() < deadline:
        listing = await visitor.request("GET", f"{visitor.server}/api/contents/notebooks/{LECTURE}")
        if listing.status_code == 200:
            names = [entry["name"] for entry in listing.json()["content"] if entry["type"] == "notebook"]
            if names:
                return names
        await asyncio.sleep(0.3)
    raise RehearsalError(f"{visitor.login}: the curriculum did not arrive within {MERGED_WITHIN_S} s")


async def _solve(
    visitor: Visitor, account: Account, settings: Settings, references: Mapping[str, Notebook], fails: bool, say: Say
) -> Score:
    course = settings.course
    if await _status(visitor, course) == "released":
        await visitor.assignment("fetch", ASSIGNMENT, course)
        say(f"{account.login} fetched {ASSIGNMENT}")
    for name, reference in references.items():
        path = f"{ASSIGNMENT}/{name}.ipynb"
        released = nbformat.from_dict(await visitor.read(path))
        await visitor.save(path, answered(released, reference, wrong=fails))
    say(f"{account.login} answered {'wrong' if fails else 'right'} and saved")
    before = len(await _submissions(visitor, course))
    submitted = time.monotonic()
    await visitor.assignment("submit", ASSIGNMENT, course)
    say(f"{account.login} submitted and has a receipt")
    feedback = await _feedback(visitor, course, before, next(iter(references)))
    score = score_in(feedback)
    waited = time.monotonic() - submitted
    say(f"{account.login} reads the feedback {waited:.1f} s after submitting: {score.points:g} of {score.of:g}")
    return score


async def _status(visitor: Visitor, course: str) -> str:
    for found in await visitor.assignments(course):
        if found["assignment_id"] == ASSIGNMENT and found["status"] in ("released", "fetched"):
            return str(found["status"])
    raise RehearsalError(f"{visitor.login}: {ASSIGNMENT} is not in the Assignments tab")


async def _submissions(visitor: Visitor, course: str) -> list[dict[str, Any]]:
    return [
        submission
        for found in await visitor.assignments(course)
        if found["assignment_id"] == ASSIGNMENT and found["status"] == "submitted"
        for submission in found["submissions"]
    ]


async def _feedback(visitor: Visitor, course: str, before: int, notebook: str) -> str:
    """The newest submission's feedback page, once it is there."""
    deadline = time.monotonic() + GRADED_WITHIN_S
    while time.monotonic() < deadline:
        submissions = await _submissions(visitor, course)
        if len(submissions) > before and _newest(submissions)["has_exchange_feedback"]:
            await visitor.assignment("fetch_feedback", ASSIGNMENT, course)
            folder = _newest(await _submissions(visitor, course))["local_feedback_path"]
            return str(await visitor.read(f"{folder}/{notebook}.html"))
        await asyncio.sleep(0.5)
    raise RehearsalError(f"{visitor.login}: no feedback within {GRADED_WITHIN_S} s")


def _newest(submissions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return max(submissions, key=lambda found: str(found["timestamp"]))


async def _look_at_grades(teacher: Visitor, say: Say) -> None:
    for found in await teacher.formgrader("GET", f"submissions/{ASSIGNMENT}"):
        if found["autograded"]:
            say(f"{teacher.login} sees in Formgrader: {found['student']} {found['score']:g} of {found['max_score']:g}")
