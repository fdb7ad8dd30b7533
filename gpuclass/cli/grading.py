"""``gpuclass grading``: run the worker, see how far it is, grade again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gpuclass.exchange.store.batches import Batch, Batches
    from gpuclass.exchange.store.progress import Count, Latest
    from gpuclass.exchange.store.workers import Life, Workers
    from gpuclass.settings import Settings

POLL_S = 0.3  # from one look at the queue to the next

grading_app = typer.Typer(
    help="Submissions into scores: run the grading worker, see how far it is, and grade again after a corrected test.",
    no_args_is_help=True,
)


@grading_app.command("serve")
def grading_serve() -> None:
    """Run the grading worker until it is told to stop; `gpuclass up` does this for you.

    Submissions are graded as they come. Only one worker runs for a class: a second one says who runs, and ends.
    """
    import logging
    import signal

    from gpuclass.grader.alone import alone
    from gpuclass.grader.worker import worker
    from gpuclass.settings import load

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    settings = load()
    with alone(settings.data):
        running = worker(settings)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: running.stop())
        running.run()


@grading_app.command("status")
def grading_status(json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False) -> None:
    """Show how far grading is: of each assignment, how many students' latest submissions wait, are graded, failed.

    Exit 1 when no worker is at work, or a submission could not be graded.
    """
    from json import dumps

    from gpuclass.exchange.store.progress import counts, latest
    from gpuclass.exchange.store.shown import progress
    from gpuclass.exchange.store.store import Store
    from gpuclass.exchange.store.workers import Workers
    from gpuclass.processes import go_on_as_service_user
    from gpuclass.settings import load

    settings = load()
    go_on_as_service_user(settings)
    with Store(settings.exchange_folder) as store:
        found, life = latest(store, settings.course), Workers(store).life()
        if json:
            typer.echo(dumps(progress(found, life), ensure_ascii=False))
        else:
            _show(counts(found), found, life, settings)
    raise typer.Exit(1 if not life.alive or any(each.stage == "failed" for each in found) else 0)


@grading_app.command("regrade")
def grading_regrade(
    assignment: Annotated[str, typer.Argument(help="The assignment's name.")],
    student: Annotated[str | None, typer.Option(help="Only this student's latest submission, by login.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Apply it without asking.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object; without --yes nothing is applied.")] = False,
) -> None:
    """Grade latest submissions again, as after a corrected test in source/: first shows whose score changes, then asks.

    Each is tried out in a copy of the gradebook, with the version in the course folder as it is now; manual points and
    late penalties are kept. Only when you say yes does that version come into force and does any score change. Say no,
    or press Ctrl-C before, and nothing has changed.

    Exit 1 when somebody's submission could not be graded again, or nothing could be applied.
    """
    from json import dumps

    from gpuclass.errors import PlainError
    from gpuclass.exchange.records import NotFound
    from gpuclass.exchange.store import shown
    from gpuclass.exchange.store.batches import Batches, NotNow
    from gpuclass.exchange.store.store import Store
    from gpuclass.exchange.store.workers import Workers
    from gpuclass.processes import go_on_as_service_user
    from gpuclass.settings import load

    settings = load()
    go_on_as_service_user(settings)
    with Store(settings.exchange_folder) as store:
        batches, workers = Batches(store), Workers(store)
        try:
            number = batches.preview(settings.course, assignment, student, requested_by="operator")
        except NotFound as error:
            raise PlainError(
                f"{error}: {assignment!r} in course {settings.course!r}{f' of {student}' if student else ''}. "
                "`gpuclass grading status` shows what there is; only what was graded once can be graded again."
            ) from None
        except NotNow as error:
            raise PlainError(str(error)) from None
        try:
            found = _followed(batches, workers, number, "Trying out")
            if not json:
                _show_changes(found)
            wanted = found.failed < found.total and (
                yes or (not json and typer.confirm("Change the scores so?", default=False))
            )
        except (KeyboardInterrupt, typer.Abort, PlainError):
            batches.cancel(number)
            typer.echo("Nothing has changed.", err=True)
            raise
        if wanted:
            try:
                batches.apply(number, requested_by="operator")
            except NotNow as error:  # somebody else asked for one meanwhile
                raise PlainError(str(error)) from None
            found = _followed(batches, workers, number, "Grading")
        else:
            batches.cancel(number)
            found = batches.batch(number)
        if json:
            typer.echo(dumps({"batch": number, **shown.batch(found)}, ensure_ascii=False))
        elif wanted:
            typer.echo(f"{found.done - found.failed} of {found.total} submissions of {assignment} are graded again.")
            for who, reason in found.failing:
                typer.secho(f"not graded: {who}: {reason}", fg=typer.colors.RED)
        else:
            typer.echo("Nothing has changed.")
    raise typer.Exit(1 if found.failed or not found.total else 0)


def _followed(batches: Batches, workers: Workers, number: int, what: str) -> Batch:
    """Wait with a progress bar until the batch's previews, or its gradings, have ended.

    Raises:
        PlainError: no worker is at work.
    """
    import time

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from gpuclass.errors import PlainError

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        while (found := batches.batch(number)).state in ("previewing", "applying"):
            bar.update(task, completed=found.done, total=found.total)
            if not workers.life().alive:
                raise PlainError(
                    "No grading worker is at work. Open the class (`gpuclass up`), then try again; what is being "
                    "applied goes on by itself."
                )
            time.sleep(POLL_S)
    return found


def _show_changes(found: Batch) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    def points(value: float | None) -> str:
        return "–" if value is None else f"{value:g}"

    console = Console(highlight=False)
    table = Table("student", box=None)
    for heading in ("before", "after", "of"):
        table.add_column(heading, justify="right")
    table.add_column("because of")
    for change in found.changes:
        worse = change.before is not None and change.after < change.before
        cells = ", ".join(f"{cell.name} {points(cell.before)} → {points(cell.after)}" for cell in change.cells)
        figures = (points(change.before), points(change.after), points(change.max_score))
        table.add_row(escape(change.student), *figures, escape(cells), style="yellow" if worse else "")
    if found.changes:
        console.print(table)
    console.print(f"{len(found.changes)} scores would change, {found.unchanged} stay as they are.", markup=False)
    for who, reason in found.failing:
        console.print(f"not graded: {who}: {reason}", style="red", markup=False, soft_wrap=True)


def _show(counted: list[Count], found: list[Latest], life: Life, settings: Settings) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from gpuclass.exchange.when import show

    console = Console(highlight=False)
    table = Table("assignment", box=None)
    headings = ("submitted", "graded", "waiting", "delayed", "running", "quarantined", "failed")
    for heading in headings:
        table.add_column(heading, justify="right")
    for count in counted:
        table.add_row(escape(count.name), *(str(getattr(count, heading)) for heading in headings))
    console.print(table if counted else "Nobody has submitted yet.")
    for stage, style in (("quarantined", "yellow"), ("failed", "red")):
        for each in found:
            if each.stage == stage:
                line = f"{stage}: {each.student}, {each.assignment}: {each.reason}"
                console.print(line, style=style, markup=False, soft_wrap=True)
    if not life.alive:
        seen = f"it was seen last {show(life.seen, settings.class_.timezone)}" if life.seen else "none ever was"
        text = f"! No grading worker is at work: {seen}. Is the class open (`gpuclass up`)? Its log is log/grading.log."
        console.print(text, style="red", markup=False, soft_wrap=True)
