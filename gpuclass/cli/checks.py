"""Assignments tried before students get them, from the command line."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import typer

from gpuclass.errors import PlainError
from gpuclass.scratch import scratch

if TYPE_CHECKING:
    from gpuclass.grader.pair import OpenPair
    from gpuclass.grader.sandbox import Limits
    from gpuclass.settings import Settings

tell = partial(typer.echo, err=True)


class NotInOrderError(PlainError):
    """An exercise that students must not get as it is."""


def assignment(named: str, *, as_json: bool) -> int:
    """``gpuclass check ASSIGNMENT``; its exit code."""
    from gpuclass.grader import advice, candidates
    from gpuclass.grader.check import check
    from gpuclass.grader.grade import give_to_owner
    from gpuclass.settings import NoSettingsError, load

    try:
        settings = load()
    except NoSettingsError:
        settings = None
    with scratch("gpuclass-check-") as folder, _containers(settings) as (open_pair, limits):
        draft = folder / "course"
        draft.mkdir()
        course, name, answers = candidates.located(named, settings, draft)
        report = check(course, name, open_pair, limits, answers=answers, anew=True, say=tell)
        if settings and course == settings.course_folder:
            give_to_owner(course)
    lines = advice.lines(report, settings.class_.language if settings else "en")
    typer.echo(json.dumps({**report.as_dict(), "lines": lines}) if as_json else "\n".join(lines))
    return int(report.refused)


def exercises(settings: Settings) -> None:
    """Try those of the class's exercises that a release would write into the course folder, before it does.

    Those that an instructor edited there are the instructor's, and are tried when they are released to students. What
    was in order is remembered in the course folder.

    Raises:
        NotInOrderError: one must not be given to students so; nothing was laid out.
    """
    from gpuclass.curriculum.answers import answers
    from gpuclass.curriculum.building import EXERCISES, exercise_files, write_files
    from gpuclass.curriculum.releasing import plan
    from gpuclass.grader import advice
    from gpuclass.grader.check import FOLDER, check
    from gpuclass.grader.contract import FOLDER as CONTRACTS

    course, refused = settings.course_folder, []
    files = exercise_files(settings.curriculum.sessions)
    names = sorted({name.split("/")[0] for name in plan(files, course).written})
    if not names:
        return
    with scratch("gpuclass-check-") as folder, _containers(settings) as (open_pair, limits):
        draft = folder / "course"
        write_files(files, draft / "source")
        if (course / FOLDER).is_dir():
            shutil.copytree(course / FOLDER, draft / FOLDER)
        for name in names:
            report = check(draft, name, open_pair, limits, answers=tuple(answers(EXERCISES / name)), say=tell)
            refused += [name] if report.refused else []
            for line in advice.lines(report, settings.class_.language):
                tell(line)
        if not refused:
            for kept in (FOLDER, CONTRACTS):  # found for these very bytes: good for the course's own copy too
                if (draft / kept).is_dir():
                    shutil.copytree(draft / kept, course / kept, dirs_exist_ok=True)
            return
    raise NotInOrderError(
        f"Not released, and nothing is changed: {', '.join(refused)} must be mended first; what and where stands "
        "above. --unchecked lays the exercises out all the same."
    )


@contextmanager
def _containers(settings: Settings | None) -> Iterator[tuple[OpenPair, Limits]]:
    """Containers to try an assignment in, with the class's limits."""
    from gpuclass import images
    from gpuclass.grader.pair import open_pair
    from gpuclass.grader.sandbox import Limits, connect
    from gpuclass.settings import GradingSection

    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # as Ctrl-C: no sandbox stays behind
    section = settings.grading if settings else GradingSection.model_validate({})
    limits = Limits.of(section)
    client = connect()
    try:
        image = section.image or images.build(["grader"], say=tell, client=client)["grader"]
        yield lambda: open_pair(client, image, limits, owner="check"), limits
    finally:
        client.close()
