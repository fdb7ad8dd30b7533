"""``gpuclass …``, the only command. Parses arguments and prints; every decision is made elsewhere.

Imports stand inside the commands: ``gpuclass --help`` should not load nbgrader or SQLAlchemy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

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


network_app = typer.Typer(help="The class's network and its walls.", no_args_is_help=True)
app.add_typer(network_app, name="network")


@network_app.command("up")
def network_up() -> None:
    """Put up the Docker network and the firewall table of this class (root)."""
    from gpuclass import firewall, network
    from gpuclass.settings import load

    settings = load()
    with _plainly(network.NetworkError, firewall.FirewallError):
        network.up(settings)
    typer.echo(f"{settings.network_name}: {settings.network.subnet}, internet {settings.network.internet}")


@network_app.command("down")
def network_down() -> None:
    """Take down the Docker network and the firewall table of this class (root)."""
    from gpuclass import firewall, network
    from gpuclass.settings import load

    settings = load()
    with _plainly(network.NetworkError, firewall.FirewallError):
        network.down(settings)
    typer.echo(f"{settings.network_name}: gone")


@network_app.command("show")
def network_show(json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False) -> None:
    """Say what stands of it (root); exit 1 when it is not all of what class.toml asks for."""
    from dataclasses import asdict
    from json import dumps

    from gpuclass import firewall, network
    from gpuclass.settings import load

    settings = load()
    with _plainly(network.NetworkError, firewall.FirewallError):
        status = network.status(settings)
    if json:
        typer.echo(dumps({"name": settings.network_name, "up": status.up, **asdict(status)}))
    else:
        typer.echo("\n".join(network.describe(settings, status)))
    raise typer.Exit(0 if status.up else 1)


images_app = typer.Typer(help="The images: what is built from what; `build` builds what is missing.")
app.add_typer(images_app, name="images")


@images_app.callback(invoke_without_command=True)
def images_show(
    context: typer.Context, json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False
) -> None:
    """Show what is built from what, and whether it is current; exit 1 when something is missing."""
    from dataclasses import asdict
    from json import dumps

    from gpuclass import images

    if context.invoked_subcommand:
        return
    with _plainly(images.ImageError):
        rows = images.status()
    if json:
        typer.echo(dumps([asdict(row) for row in rows]))
    else:
        typer.echo("\n".join(images.describe(rows)))
    raise typer.Exit(0 if all(row.built for row in rows) else 1)


@images_app.command("build")
def images_build(
    names: Annotated[list[str] | None, typer.Argument(help="base, student, grader; all if none is named.")] = None,
) -> None:
    """Build images whose files have changed, and those that are missing."""
    from gpuclass import images

    with _plainly(images.ImageError):
        images.build(names or tuple(images.PARENTS), say=typer.echo)


@contextmanager
def _plainly(*kinds: type[Exception]) -> Iterator[None]:
    """Print errors of these kinds, which a person can act on, without a traceback."""
    try:
        yield
    except kinds as error:
        typer.secho(str(error), fg=typer.colors.RED, err=True)
        raise typer.Exit(1) from None


def main() -> None:
    """Run the command line; errors that a person can act on are printed without a traceback."""
    from gpuclass.settings import SettingsError

    try:
        app()
    except SettingsError as error:
        typer.secho(str(error), fg=typer.colors.RED, err=True)
        raise SystemExit(2) from None
