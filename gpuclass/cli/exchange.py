"""``gpuclass exchange``: run it, and look after what it keeps."""

from __future__ import annotations

import typer

exchange_app = typer.Typer(
    help="Assignments out, submissions in, feedback back: run the exchange, and look after what it keeps.",
    no_args_is_help=True,
)


@exchange_app.command("serve")
def exchange_serve() -> None:
    """Run the exchange until it is told to stop; `gpuclass up` does this for you."""
    from gpuclass.exchange.service import serve
    from gpuclass.settings import load

    serve(load())
