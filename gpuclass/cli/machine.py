"""``gpuclass setup``, ``engine``, ``images``, ``network``: what the class needs of the machine."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def setup(
    tests: Annotated[bool, typer.Option("--tests", help="Also what only the tests need, such as Chromium.")] = False,
    hold: Annotated[
        int | None, typer.Option(help="Keep the engine for this process, until it ends or releases.")
    ] = None,
) -> None:
    """Have everything that is not Python: Docker Engine, Debian packages, the proxy, the images (root)."""
    from gpuclass import classroom

    classroom.set_up(typer.echo, tests=tests, holder=hold)


engine_app = typer.Typer(help="Docker Engine on this machine.", no_args_is_help=True)
app.add_typer(engine_app, name="engine")


@engine_app.command("release")
def engine_release(
    hold: Annotated[int | None, typer.Option(help="The process it was kept for by `setup --hold`.")] = None,
) -> None:
    """Stop Docker Engine if gpuclass started it and nobody uses it; leave any other engine alone."""
    from gpuclass import engine

    engine.release(typer.echo, holder=hold)


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

    images.build(names or tuple(images.PARENTS), say=typer.echo)


@images_app.command("prune")
def images_prune() -> None:
    """Remove images of earlier files that no container uses."""
    from gpuclass import images

    if not images.prune(say=typer.echo):
        typer.echo("Nothing to remove.")


network_app = typer.Typer(help="The class's network and its walls.", no_args_is_help=True)
app.add_typer(network_app, name="network")


@network_app.command("up")
def network_up() -> None:
    """Put up the Docker network and the firewall table of this class (root)."""
    from gpuclass import network
    from gpuclass.settings import load

    settings = load()
    network.up(settings)
    typer.echo(f"{settings.network_name}: {settings.network.subnet}, internet {settings.network.internet}")


@network_app.command("down")
def network_down() -> None:
    """Take down the Docker network and the firewall table of this class (root)."""
    from gpuclass import network
    from gpuclass.settings import load

    settings = load()
    network.down(settings)
    typer.echo(f"{settings.network_name}: gone")


@network_app.command("show")
def network_show(json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False) -> None:
    """Say what stands of it (root); exit 1 when it is not all of what class.toml asks for."""
    from dataclasses import asdict
    from json import dumps

    from gpuclass import network
    from gpuclass.settings import load

    settings = load()
    status = network.status(settings)
    if json:
        typer.echo(dumps({"name": settings.network_name, "up": status.up, **asdict(status)}))
    else:
        typer.echo("\n".join(network.describe(settings, status)))
    raise typer.Exit(0 if status.up else 1)
