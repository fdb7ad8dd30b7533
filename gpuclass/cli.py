"""``gpuclass …``, the only command. Parses arguments and prints; every decision is made elsewhere.

Imports stand inside the commands: ``gpuclass --help`` should not load nbgrader or SQLAlchemy.
"""

from __future__ import annotations

import typer

app = typer.Typer(
    name="gpuclass",
    help="The GPU classroom: a container per student, notebooks in it, exercises graded with nbgrader.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)


@app.callback()
def _root() -> None:
    """Keep `gpuclass` a group of commands even while there is only one."""


@app.command()
def check() -> None:
    """Read class.toml and say whether it can be used."""
    from gpuclass.settings import load

    settings = load()
    typer.echo(f"{settings.path}: class {settings.class_.name!r} can be used")


def main() -> None:
    """Run the command line; errors that a person can act on are printed without a traceback."""
    from gpuclass.settings import SettingsError

    try:
        app()
    except SettingsError as error:
        typer.secho(str(error), fg=typer.colors.RED, err=True)
        raise SystemExit(2) from None
