"""``gpuclass grading``: run the worker, see how far it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gpuclass.exchange.store.progress import Count, Latest
    from gpuclass.exchange.store.workers import Life
    from gpuclass.settings import Settings

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
