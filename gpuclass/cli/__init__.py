"""``gpuclass …``, the only command. Parses arguments and prints; every decision is made elsewhere.

Imports stand inside the commands: ``gpuclass --help`` should not load nbgrader or SQLAlchemy.
"""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from gpuclass.cli import devices, exchange, lessons, machine, people, results, running, usage
from gpuclass.errors import PlainError


class PlainGroup(TyperGroup):
    """Prints errors that a person can act on without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except PlainError as error:
            typer.secho(str(error), fg=typer.colors.RED, err=True)
            raise typer.Exit(error.exit_code) from None


app = typer.Typer(
    cls=PlainGroup,
    name="gpuclass",
    help="The GPU classroom: a container per student, notebooks in it, exercises graded with nbgrader.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)


@app.command()
def check() -> None:
    """Read class.toml, look for all that it names, and say whether it can be used."""
    from gpuclass import classroom
    from gpuclass.settings import load

    settings = load()
    classroom.check(settings)
    for warning in classroom.warnings(settings):
        typer.echo(f"Warning: {warning}", err=True)
    typer.echo(f"{settings.path}: class {settings.class_.name!r} can be used")


for part in (running.app, devices.app, usage.app, machine.app, lessons.app, results.app):
    app.add_typer(part)
app.add_typer(people.roster_app, name="roster")
app.add_typer(exchange.exchange_app, name="exchange")


def main() -> None:
    """Run the command line."""
    app()
