"""``gpuclass grades`` and ``gpuclass similar``: what came out of the class."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpuclass.grades import Grades
    from gpuclass.similar.pairs import Comparison
    from gpuclass.similar.reading import Unreadable

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


@app.command()
def similar(
    assignment: Annotated[str, typer.Argument(help="Its name, as released.")],
    course: Annotated[str | None, typer.Option(help="Another course than the class's own.")] = None,
    threshold: Annotated[
        float, typer.Option(min=0.1, max=1, help="List pairs of whom one shares at least this part of the own code.")
    ] = 0.6,
    html: Annotated[
        Path | None, typer.Option(help="Write a page that shows the passages side by side; readable by you only.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """List pairs of students whose last submissions share more than the assignment explains.

    Similar does not mean copied: teams, talks at the table and one idea that two had look the same. Only code in answer
    cells counts, without lines of the release and the lectures, imports, comments, names, and what many wrote alike. Of
    answers too short to tell it says so. No student's code is run.
    """
    from gpuclass.accounts import Accounts
    from gpuclass.curriculum.building import lecture_files
    from gpuclass.settings import load
    from gpuclass.similar.page import as_json, as_page
    from gpuclass.similar.pairs import compare
    from gpuclass.similar.reading import Unreadable, read, works

    settings = load()
    people = {login: account.person for login, account in Accounts(settings.accounts_path).all().items()}
    given = [data for path, data in lecture_files(settings.curriculum.sessions).items() if path.endswith(".ipynb")]
    released, sent = read(settings.exchange_folder, course or settings.course, assignment, given)
    language = settings.class_.language
    found = list(works(released, sent, lambda login: people[login].team if login in people else "", language))
    unreadable = [each for each in found if isinstance(each, Unreadable)]
    compared = compare([each for each in found if not isinstance(each, Unreadable)], threshold)

    def name(login: str) -> str:
        return people[login].name if login in people else ""

    if html:
        _write(html, as_page(assignment, compared, unreadable, threshold, name, language).encode())
    if json:
        typer.echo(as_json(assignment, compared, unreadable, threshold), nl=False)
    else:
        _show(compared, unreadable, name)


def _show(found: Comparison, unreadable: list[Unreadable], name: Callable[[str], str]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from gpuclass.similar.page import visible
    from gpuclass.similar.pairs import ENOUGH

    console = Console(highlight=False)
    if found.pairs:
        table = Table("student", "", "student", "", box=None)
        for heading in ("shared", "passages", ""):
            table.add_column(heading, justify="right" if heading else "left")
        for pair in found.pairs:
            people = [escape(text) for each in (pair.a, pair.b) for text in (each.login, name(each.login))]
            share = f"{pair.share_a:.0%} / {pair.share_b:.0%}"
            table.add_row(*people, share, str(len(pair.passages)), "same team" if pair.same_team else "")
        console.print(table)
    lines = [f"{found.compared} students compared, {len(found.pairs)} pairs stand out. Similar does not mean copied."]
    if found.too_short:
        named = ", ".join(found.too_short[:NAMED]) + (" …" if len(found.too_short) > NAMED else "")
        lines.append(
            f"Too short to tell (fewer than {ENOUGH} tokens of their own): {len(found.too_short)} students, {named}"
        )
    lines += [f"Cannot be read: {visible(each.login)}, {visible(each.reason)}" for each in unreadable]
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


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
