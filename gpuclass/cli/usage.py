"""``gpuclass usage``: who had how much of the GPUs."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def usage(
    since: Annotated[
        str, typer.Option(help='"2026-12-01", "2026-12-01 09:00", "today", or how long ago: "90m", "2d". Default: all.')
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Lines for a spreadsheet.")] = False,
) -> None:
    """Show for how long everybody in the class had a GPU seat, and how long they waited for it."""
    import time
    from dataclasses import asdict
    from json import dumps

    from gpuclass.accounts import Accounts
    from gpuclass.errors import UsageError
    from gpuclass.gpus.accounting import as_csv, clock, moment, shares
    from gpuclass.gpus.ledger import Ledger
    from gpuclass.settings import load

    if json and csv:
        raise UsageError("--json and --csv cannot be had at once.")
    settings = load()
    begin = moment(since, settings.class_.timezone, time.time()) if since else 0.0
    rows = []
    if settings.ledger_path.exists():  # looking makes no ledger
        with Ledger(settings.ledger_path) as ledger:
            rows = ledger.usage(begin)
    found = shares(rows, Accounts(settings.accounts_path).all())
    if json:
        typer.echo(dumps([asdict(share) for share in found], ensure_ascii=False, indent=2))
        return
    if csv:
        typer.echo(as_csv(found), nl=False)
        return
    if not rows:
        typer.echo("Nobody has had a GPU seat" + (f" since {since}." if since else " yet."))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("login", "name", "team", box=None)
    for heading in ("seats", "GPU time", "mean wait", "longest wait"):
        table.add_column(heading, justify="right")
    for share in found:
        waits = (clock(share.wait_mean), clock(share.wait_max)) if share.waits else ("", "")
        figures = (str(share.seats), clock(share.gpu_seconds), *waits) if share.seats else ("0", "–", "", "")
        table.add_row(share.login, share.name, share.team, *figures)
    console = Console()
    console.print(table)
    console.print(f"{len(rows)} people, {clock(sum(row.seconds for row in rows))} of GPU time (hours:minutes)")
