"""``gpuclass …``, the only command. Parses arguments and prints; every decision is made elsewhere.

Imports stand inside the commands: ``gpuclass --help`` should not load nbgrader or SQLAlchemy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

_DEMO_FOLDER = Path("var")

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


roster_app = typer.Typer(help="Who is in the class, and their passwords.", no_args_is_help=True)
app.add_typer(roster_app, name="roster")


@roster_app.command("import")
def roster_import(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change and change nothing.")] = False,
    passwords: Annotated[
        Path | None, typer.Option(help="New CSV file for the passwords made; without it they are printed.")
    ] = None,
) -> None:
    """Make accounts, roles and teams those of the roster; passwords of people who have one stay.

    A running hub takes them over at once. Who is no longer in the roster cannot log in; their files stay.
    """
    from gpuclass import accounts, membership, roster
    from gpuclass.logincards import print_logins, write_logins
    from gpuclass.roles import ROSTER_SERVICE
    from gpuclass.secrets import token
    from gpuclass.settings import load

    settings = load()
    with _plainly(roster.RosterError, accounts.AccountError, membership.HubError):
        people = roster.read(settings.roster_path)
        store = accounts.Accounts(settings.accounts_path)
        ours = settings.login.makes_passwords
        for line in accounts.describe(accounts.changes(store.all(), people, passwords=ours)):
            typer.echo(line, err=True)
        if dry_run:
            return
        keep = (lambda made: write_logins(passwords, people, made)) if passwords else None
        made = accounts.import_roster(store, people, passwords=ours, keep=keep)
        if not passwords:
            print_logins(people, made)
        with membership.Hub(settings.hub_api, token(settings.secrets, ROSTER_SERVICE)) as hub:
            if hub.running():
                hub.synchronise(people)
                typer.echo("The running hub knows.", err=True)
            else:
                typer.echo("No hub is running; it will know when it starts.", err=True)


@roster_app.command("list")
def roster_list(json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False) -> None:
    """Show who is in the class, as imported last."""
    from json import dumps

    from gpuclass.accounts import AccountError, Accounts
    from gpuclass.settings import load

    settings = load()
    with _plainly(AccountError):
        found = Accounts(settings.accounts_path).all().values()
    rows = [
        {
            "login": account.person.login,
            "name": account.person.name,
            "role": account.person.role.value,
            "team": account.person.team,
            "active": account.active,
        }
        for account in found
    ]
    if json:
        typer.echo(dumps(rows, ensure_ascii=False, indent=2))
        return
    if not rows:
        typer.echo("Nobody yet: `gpuclass roster import` takes in the roster.")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("login", "name", "role", "team", "", box=None)
    for row in rows:
        cells = [str(row[column]) for column in ("login", "name", "role", "team")]
        table.add_row(*cells, "" if row["active"] else "left")
    Console().print(table)


@roster_app.command("reset")
def roster_reset(login: str) -> None:
    """Give somebody a new password and print it; the old one is refused from then on."""
    from gpuclass.accounts import AccountError, Accounts
    from gpuclass.passwords import digest, generate
    from gpuclass.settings import load

    settings = load()
    with _plainly(AccountError):
        if not settings.login.makes_passwords:
            raise AccountError(f"passwords are kept by {settings.login.authenticator}, not here: reset it there.")
        password = generate()
        Accounts(settings.accounts_path).set_password(login, digest(password))
    typer.echo(password)


@app.command()
def setup(
    tests: Annotated[bool, typer.Option("--tests", help="Also what only the tests need, such as Chromium.")] = False,
) -> None:
    """Have everything that is not Python: Docker Engine, Debian packages, the proxy, the images (root)."""
    from gpuclass import classroom, engine, images, proxy

    with _plainly(engine.EngineError, proxy.ProxyError, images.ImageError):
        classroom.set_up(typer.echo, tests=tests)


engine_app = typer.Typer(help="Docker Engine on this machine.", no_args_is_help=True)
app.add_typer(engine_app, name="engine")


@engine_app.command("release")
def engine_release() -> None:
    """Stop Docker Engine if gpuclass started it and nobody uses it; leave any other engine alone."""
    from gpuclass import engine

    engine.release(typer.echo)


@app.command()
def up(
    passwords: Annotated[
        Path | None, typer.Option(help="Import the roster first; write the passwords made to this new CSV file.")
    ] = None,
) -> None:
    """Open the class and keep it open until Ctrl-C (root). Whatever dies is started again."""
    from gpuclass import classroom
    from gpuclass.processes import StopSignal
    from gpuclass.settings import load

    settings = load()
    stop = StopSignal()
    with _plainly(*classroom.ERRORS), classroom.opened(settings, typer.echo, passwords=passwords) as supervisor:
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
def exchange() -> None:
    """Run the exchange: assignments out, submissions in, feedback back."""
    from gpuclass.exchange.service import serve
    from gpuclass.roster import RosterError
    from gpuclass.settings import load

    with _plainly(RosterError):
        serve(load())


curriculum_app = typer.Typer(help="Notebooks and exercises: build, check, release.", no_args_is_help=True)
app.add_typer(curriculum_app, name="curriculum")


@curriculum_app.command("build")
def curriculum_build(
    out: Annotated[Path, typer.Option(help="Folder for the built notebooks.")] = Path("build/curriculum"),
) -> None:
    """Build every session and exercise, to look at; the class gets its own by release."""
    from gpuclass.curriculum import build
    from gpuclass.curriculum.errors import CurriculumError

    with _plainly(CurriculumError):
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
def curriculum_release() -> None:
    """Give the class its sessions: lectures to students' homes, exercises to the course folder."""
    from gpuclass.curriculum import prepare_course, release
    from gpuclass.curriculum.errors import CurriculumError
    from gpuclass.settings import load

    settings = load()
    with _plainly(CurriculumError):
        released = release(settings)
        course = prepare_course(settings)
    what = "released" if released.changed else "unchanged"
    typer.echo(f"{what}: {released.files} files, commit {released.commit[:12]}; running servers merge it on demand")
    typer.echo(f"exercises: {len(course.written)} written, {len(course.unchanged)} unchanged")
    for name in course.kept:
        typer.echo(f"kept as an instructor edited it: {settings.course_folder / 'source' / name}")


@app.command()
def grading() -> None:
    """Run the grading worker: submissions from the exchange are graded as they come."""
    import logging
    import signal

    from gpuclass.grader.worker import worker
    from gpuclass.settings import load

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    running = worker(load())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: running.stop())
    running.run()


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
    from functools import partial
    from tempfile import TemporaryDirectory

    from gpuclass import images
    from gpuclass.grader import grade as grades
    from gpuclass.grader.child import Setup
    from gpuclass.grader.report import JsonReport, TableReport
    from gpuclass.grader.sandbox import EngineError, Limits
    from gpuclass.settings import GradingSection, NoSettingsError, load

    try:
        settings = load()
    except NoSettingsError:
        settings = None
    limits = settings.grading if settings else GradingSection.model_validate({})
    with TemporaryDirectory(prefix="gpuclass-grade-") as scratch, _plainly(images.ImageError, EngineError):
        try:
            plan = grades.plan(assignment, submissions or [], settings, Path(scratch))
        except grades.UsageError as error:
            typer.secho(str(error), fg=typer.colors.RED, err=True)
            raise typer.Exit(2) from None
        image = limits.image or images.build(["grader"], say=partial(typer.echo, err=True))["grader"]
        report = JsonReport(plan) if json else TableReport(plan)
        with report:
            for submission, graded in grades.run(plan, Setup(image, Limits.of(limits), owner="grade"), limits.workers):
                report.add(submission, graded)
                if feedback:
                    grades.copy_feedback(submission, graded, feedback)
    raise typer.Exit(1 if report.failed else 0)


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
