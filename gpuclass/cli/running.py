"""``gpuclass up``, ``demo``, ``desk`` and ``watch``; ``exchange serve`` and ``grading serve`` are beside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()
_DEMO_FOLDER = Path("var")


@app.command()
def up(
    passwords: Annotated[
        Path | None,
        typer.Option(help="Import the roster first; write new passwords to this new CSV file, below the data folder."),
    ] = None,
) -> None:
    """Open the class and keep it open until Ctrl-C (root). Whatever dies is started again."""
    from gpuclass import classroom
    from gpuclass.processes import StopSignal
    from gpuclass.settings import load

    settings = load()
    stop = StopSignal()
    with classroom.opened(settings, typer.echo, passwords=passwords) as supervisor:
        stop.remember()
        typer.echo(f"The class is open: {settings.site.address}. Ctrl-C closes it.")
        supervisor.watch(lambda: bool(stop))
        typer.echo("Closing the class…")


@app.command(name="demo")
def demo_command(
    once: Annotated[bool, typer.Option("--once", help="Stop after the scores; exit 0 only if they are right.")] = False,
    folder: Annotated[Path, typer.Option(help="Data folder; filled from the examples if it is empty.")] = _DEMO_FOLDER,
) -> None:
    """Open an example class and play a day in it: release, solve right and wrong, submit, grade, feedback (root)."""
    from gpuclass import demo

    raise typer.Exit(demo.run(folder.resolve(), once=once))


@app.command()
def desk() -> None:
    """Run the class desk, the pages from which a lesson is run, until it is told to stop; `gpuclass up` does this."""
    from gpuclass.desk.app import serve
    from gpuclass.settings import load

    serve(load())


@app.command()
def watch() -> None:
    """Watch the GPUs: publish what there is and how it is used, hold seats to their memory, tell their holders."""
    import logging
    import signal
    import threading

    from gpuclass.settings import load
    from gpuclass.watch.service import run

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    run(load(), stop)
