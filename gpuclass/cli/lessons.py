"""``gpuclass curriculum`` and ``grade``: what is taught, and what it was worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


curriculum_app = typer.Typer(help="Notebooks and exercises: build, check, release.", no_args_is_help=True)
app.add_typer(curriculum_app, name="curriculum")


@curriculum_app.command("build")
def curriculum_build(
    out: Annotated[Path, typer.Option(help="Folder for the built notebooks.")] = Path("build/curriculum"),
) -> None:
    """Build every session and exercise, to look at; the class gets its own by release."""
    from gpuclass.curriculum import build

    for path in build(out):
        typer.echo(path)


@curriculum_app.command("check")
def curriculum_check() -> None:
    """List what is wrong in the sources, by file and line."""
    from gpuclass.curriculum import check

    problems = check()
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise typer.Exit(1)
    typer.echo("The curriculum's sources are in order.")


@curriculum_app.command("release")
def curriculum_release(
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Lay the exercises out without trying them; quick, and needs no Docker.")
    ] = False,
) -> None:
    """Give the class its sessions: lectures to students' homes, exercises to the course folder.

    An exercise that is new or changed is tried before that, as gpuclass check does; if it has to be mended, nothing is
    released.
    """
    from gpuclass.cli import checks
    from gpuclass.curriculum import prepare_course, release
    from gpuclass.settings import load

    settings = load()
    if unchecked:
        typer.echo("Exercises are not tried here; Formgrader's release tries each before students get it.", err=True)
    else:
        checks.exercises(settings)
    released = release(settings)
    course = prepare_course(settings)
    what = "released" if released.changed else "unchanged"
    typer.echo(f"{what}: {released.files} files, commit {released.commit[:12]}; running servers merge it on demand")
    typer.echo(f"exercises: {len(course.written)} written, {len(course.unchanged)} unchanged")
    for name in course.kept:
        typer.echo(f"kept as an instructor edited it: {settings.course_folder / 'source' / name}")


@app.command()
def grade(
    assignment: Annotated[str, typer.Argument(help="An assignment of the course, or a folder with a source version.")],
    submissions: Annotated[
        list[Path] | None, typer.Argument(help="Folders, each named after its student; none: the course's submissions.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a submission, each on a line.")] = False,
    feedback: Annotated[Path | None, typer.Option(help="Write feedback to this folder: STUDENT/NOTEBOOK.html.")] = None,
) -> None:
    """Grade one assignment's submissions in throwaway containers; the hub need not run.

    Exit code 0 when all were graded or quarantined, 1 when something failed, 2 when the arguments cannot be used.
    """
    import signal
    import sys
    from functools import partial

    from gpuclass import images
    from gpuclass.grader import grade as grades
    from gpuclass.grader.child import Setup
    from gpuclass.grader.report import JsonReport, TableReport
    from gpuclass.grader.sandbox import Limits
    from gpuclass.scratch import scratch
    from gpuclass.settings import GradingSection, NoSettingsError, load

    try:
        settings = load()
    except NoSettingsError:
        settings = None
    limits = settings.grading if settings else GradingSection.model_validate({})
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # as Ctrl-C: no sandbox stays behind
    with scratch("gpuclass-grade-") as folder:
        plan = grades.plan(assignment, submissions or [], settings, folder / "course")
        image = limits.image or images.build(["grader"], say=partial(typer.echo, err=True))["grader"]
        report = JsonReport(plan) if json else TableReport(plan)
        with report:
            for submission, graded in grades.run(
                plan, Setup(image, Limits.of(limits), "grade", limits.preload), limits.workers
            ):
                report.add(submission, graded)
                if feedback:
                    grades.copy_feedback(submission, graded, feedback)
    raise typer.Exit(1 if report.failed else 0)
