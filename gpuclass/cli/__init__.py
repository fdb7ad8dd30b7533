"""``gpuclass …``, the only command. Parses arguments and prints; every decision is made elsewhere.

Imports stand inside the commands: ``gpuclass --help`` should not load nbgrader or SQLAlchemy.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from gpuclass.cli import devices, exchange, grading, lessons, machine, people, results, running, usage
from gpuclass.errors import PlainError, UsageError


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
def check(
    assignment: Annotated[
        str | None,
        typer.Argument(help="An assignment of the course, or a folder such as exercises/01-pixels-to-tensors."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="With an assignment: the report as one JSON object.")] = False,
) -> None:
    """Read class.toml and say whether it can be used; with an assignment: try that before students get it.

    An assignment's solution, its untouched release and answers known to be right or wrong run both as they are graded
    and as in the student's notebook. What would not score the same is named by test and line. The hub need not run.

    Exit code 0 when all is in order, 1 when something has to be mended, 2 when the argument cannot be used.
    """
    from gpuclass import classroom
    from gpuclass.cli import checks
    from gpuclass.settings import load

    if assignment is not None:
        raise typer.Exit(checks.assignment(assignment, as_json=json))
    if json:
        raise UsageError("--json goes with an assignment: gpuclass check ASSIGNMENT --json")
    settings = load()
    classroom.check(settings)
    for warning in classroom.warnings(settings):
        typer.echo(f"Warning: {warning}", err=True)
    typer.echo(f"{settings.path}: class {settings.class_.name!r} can be used")


for part in (running.app, devices.app, usage.app, machine.app, lessons.app, results.app):
    app.add_typer(part)
app.add_typer(people.roster_app, name="roster")
app.add_typer(exchange.exchange_app, name="exchange")
app.add_typer(grading.grading_app, name="grading")


def main() -> None:
    """Run the command line."""
    app()
