"""``gpuclass grades``: what came out of the class."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gpuclass.grades import Grades

NAMED = 20  # logins in one line

app = typer.Typer()


class Form(StrEnum):
    """What `gpuclass grades` writes."""

    CSV = "csv"
    JSON = "json"


@app.command()
def grades(
    course: Annotated[str, typer.Argument(help="The course; the class's own has the class's name.")],
    form: Annotated[Form, typer.Option("--format", help="csv for a spreadsheet, json for a program.")] = Form.CSV,
    out: Annotated[
        Path | None, typer.Option(help="Write to this file, readable by you only; without it to the terminal.")
    ] = None,
    assignment: Annotated[str | None, typer.Option(help="This assignment only.")] = None,
) -> None:
    """Show everybody's grades, with names from the roster: a row a student, points of each assignment, the total.

    Who has submitted nothing has an empty cell, not a 0, and is named below the table. The CSV opens in Excel with a
    double click, also in Korean. Points are those of the gradebook now, with manual grading and late penalties.
    """
    from gpuclass.accounts import Accounts
    from gpuclass.grades import as_json, gather, table
    from gpuclass.settings import load

    settings = load()
    folder = settings.course_folder.parent / course
    found = gather(course, folder, settings.exchange_folder, Accounts(settings.accounts_path).all(), assignment)
    written = table(found, settings.class_.language) if form is Form.CSV else as_json(found).encode()
    if out:
        _write(out, written)
    else:
        typer.echo(written, nl=False)
    _tell(found)


def _tell(found: Grades) -> None:
    """What the table alone may hide, on stderr."""
    for name in found.assignments:
        if missing := found.without_submission(name):
            more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
            typer.echo(f"{name}: nothing submitted by {', '.join(missing[:NAMED])}{more}", err=True)
    if gone := [each.login for each in found.students if not each.in_class]:
        typer.echo(f"Not in the roster, but with work: {', '.join(gone)}", err=True)


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all; grades are nobody else's business."""
    import os
    import tempfile

    from gpuclass.errors import UsageError

    try:
        handle, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with open(handle, "wb") as stream:  # noqa: PTH123  # a descriptor
            stream.write(content)
        os.replace(draft, path)  # noqa: PTH105  # of a path in text
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from None
