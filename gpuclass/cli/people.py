"""``gpuclass roster``: who is in the class."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

roster_app = typer.Typer(help="Who is in the class, and their passwords.", no_args_is_help=True)


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

    from gpuclass.accounts import Accounts
    from gpuclass.settings import load

    settings = load()
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
    if not settings.login.makes_passwords:
        raise AccountError(f"passwords are kept by {settings.login.authenticator}, not here: reset it there.")
    password = generate()
    Accounts(settings.accounts_path).set_password(login, digest(password))
    typer.echo(password)
