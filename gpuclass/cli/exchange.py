"""``gpuclass exchange``: run it, and look after what it keeps."""

from __future__ import annotations

from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from gpuclass.exchange.operating.status import Status
    from gpuclass.exchange.store.store import Store
    from gpuclass.settings import Settings

NAMED = 10  # logins in one line

exchange_app = typer.Typer(
    help="Assignments out, submissions in, feedback back: run the exchange, and look after what it keeps.",
    no_args_is_help=True,
)


@exchange_app.command("serve")
def exchange_serve() -> None:
    """Run the exchange until it is told to stop; `gpuclass up` does this for you."""
    from gpuclass.exchange.service.app import serve
    from gpuclass.settings import load

    serve(load())


@exchange_app.command("status")
def exchange_status(json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False) -> None:
    """Show what the exchange holds and how it is: assignments, deadlines, submissions, gradings, space.

    Exit 1 when something is wrong; without a running class that is it.
    """
    from dataclasses import asdict
    from datetime import UTC, datetime
    from json import dumps

    from gpuclass.exchange.operating.status import ask, gather
    from gpuclass.settings import load

    settings, now = load(), datetime.now(UTC)
    found = gather(settings.exchange_folder, ask(settings.exchange_url), settings.exchange.reserve, now)
    if json:
        typer.echo(dumps(asdict(found), ensure_ascii=False, default=lambda moment: moment.isoformat()))
    else:
        _show_status(found, settings, now)
    raise typer.Exit(1 if found.problems else 0)


def _show_status(found: Status, settings: Settings, now: datetime) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from gpuclass.exchange.when import show, span
    from gpuclass.units import show_size

    zone, console = settings.class_.timezone, Console(highlight=False)
    table = Table("course", "assignment", "version", "due", box=None)
    for heading in ("submissions", "students", "late", "sent later", "size"):
        table.add_column(heading, justify="right")
    for each in found.assignments:
        due = show(each.due, zone) if each.due else "–"
        table.add_row(
            escape(each.course),
            escape(each.name) + (" (hidden)" if each.hidden else ""),
            str(each.version),
            due + (f", {each.extensions} longer" if each.extensions else ""),
            *(str(figure) for figure in (each.submissions, each.students, each.late, each.queued)),
            show_size(each.size),
        )
    if found.assignments:
        console.print(table)
    jobs, sizes, disk = found.jobs, found.sizes, found.disk
    waits = f" (the oldest for {span(jobs.oldest_waiting)})" if jobs.oldest_waiting is not None else ""
    unused = f"; {sizes.unused} ({show_size(sizes.unused_bytes)}) nobody's" if sizes.unused else ""
    left = f"; {sizes.leftovers} uploads cut short, gone at the next start" if sizes.leftovers else ""
    for line in (
        f"courses: {', '.join(found.courses) or 'none'}; service: {'answers' if found.health.answers else 'no answer'}",
        f"grading: {jobs.waiting} waiting{waits}, {jobs.running} running, {jobs.done} done, {jobs.failed} failed",
        f"kept: {sizes.files} files ({show_size(sizes.bytes)}), database {show_size(sizes.database)}{unused}{left}",
        f"disk: {show_size(disk.free)} of {show_size(disk.total)} free, {show_size(disk.reserve)} of it reserved",
    ):
        console.print(line, markup=False, soft_wrap=True)
    for failure in jobs.failures:
        what = f"{failure.student}, {failure.assignment}, submission {failure.submission}: {failure.error}"
        console.print(f"  not graded: {what}", markup=False, soft_wrap=True)
    for problem in found.problems:
        console.print(f"! {problem}", style="red", markup=False, soft_wrap=True)


@exchange_app.command("verify")
def exchange_verify(
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    folder: Annotated[
        Path | None, typer.Option(help="Another folder than the class's exchange/, such as a backup of it.")
    ] = None,
) -> None:
    """Read every file that the exchange keeps and compare it with its hash; look at lists, rows and rights too.

    The class may run: it goes first. Exit 1 when something is damaged; it says what, whose, and what to do. Nothing is
    repaired or removed.
    """
    from dataclasses import asdict
    from json import dumps

    from gpuclass.exchange.operating.hashing import go_gently
    from gpuclass.exchange.operating.verifying import files_kept, verify
    from gpuclass.settings import load
    from gpuclass.units import show_size

    place = folder or load().exchange_folder
    go_gently()
    with _progress("Reading", sum(file.status.st_size for file in files_kept(place)[0].values())) as tell:
        report = verify(place, tell)
    if json:
        typer.echo(dumps({"well": not report.damages, **asdict(report)}, ensure_ascii=False))
    else:
        for damage in report.damages:
            typer.secho(damage.what, fg=typer.colors.RED)
            for holder in damage.holders:
                typer.echo(f"  part of {holder}")
            typer.echo(f"  {damage.do}")
        typer.echo(
            f"{report.files} files ({show_size(report.bytes)}) of {report.submissions} submissions, {report.releases} "
            f"releases and {report.feedback} feedbacks in {place}: "
            + (f"{len(report.damages)} damaged" if report.damages else "all as they were")
        )
        if report.unused:
            typer.echo(
                f"{report.unused} files ({show_size(report.unused_bytes)}) are nobody's: what was sent and then "
                "refused or cut short. They do no harm."
            )
    raise typer.Exit(1 if report.damages else 0)


@exchange_app.command("backup")
def exchange_backup(
    folder: Annotated[Path, typer.Argument(help="A folder for the backup, on another disk; the same one each time.")],
) -> None:
    """Copy all that the exchange keeps; the class may run. Each time after the first, only what is new is copied.

    The folder always holds a whole backup, also if this is cut short. `gpuclass exchange verify --folder` reads it, and
    docs/howto/exchange.md says how to restore it. Exit 1 when something kept was damaged.
    """
    from gpuclass.exchange.operating.backup import back_up
    from gpuclass.exchange.operating.hashing import go_gently
    from gpuclass.exchange.operating.verifying import files_kept
    from gpuclass.settings import load
    from gpuclass.units import show_size

    place = load().exchange_folder
    go_gently()
    there = files_kept(folder)[0]
    new = sum(file.status.st_size for sha256, file in files_kept(place)[0].items() if sha256 not in there)
    with _progress("Copying", new) as tell:
        done = back_up(place, folder, tell)
    for sha256 in done.damaged:
        typer.secho(
            f"Damaged, and not copied: {sha256}. `gpuclass exchange verify` says whose it is.", fg="red", err=True
        )
    typer.echo(f"{folder}: {done.files} new files ({show_size(done.bytes)}), {done.there} were there already")
    raise typer.Exit(1 if done.damaged else 0)


@exchange_app.command("export")
def exchange_export(
    course: Annotated[str, typer.Argument(help="The course; the class's own has the class's name.")],
    folder: Annotated[Path, typer.Argument(help="A new or empty folder, on another disk if it is large.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be written and write nothing.")] = False,
) -> None:
    """Write a course as plain folders that nbgrader's own exchange takes, with everything in it; the class may run.

    What such folders cannot hold (receipts, versions, deadlines, scores) is in one file beside them, from which
    `gpuclass exchange import` makes the same course again. Exit 1 when something kept was damaged.
    """
    from datetime import UTC, datetime

    from gpuclass.exchange.operating.exporting import export
    from gpuclass.exchange.operating.hashing import go_gently
    from gpuclass.settings import load
    from gpuclass.units import show_size

    settings, now = load(), datetime.now(UTC)
    planned = export(settings.exchange_folder, course, folder, now, dry_run=True)
    if dry_run:
        found, done = planned, "would be written"
    else:
        go_gently()
        with _progress("Writing", planned.bytes) as tell:
            found, done = export(settings.exchange_folder, course, folder, now, tell=tell), "written"
    typer.echo(
        f"{course}: {found.assignments} assignments, {found.submissions} submissions of {found.students} students and "
        f"{found.feedback} feedbacks, {found.files} files ({show_size(found.bytes)}), {done} to {folder}"
    )
    for text in found.apart:
        typer.echo(f"Not in nbgrader's folders, but beside them: {text}.", err=True)
    for text in found.damaged:
        typer.secho(f"Damaged, and not written: {text}. `gpuclass exchange verify` says more.", fg="red", err=True)
    raise typer.Exit(1 if found.damaged else 0)


@exchange_app.command("import")
def exchange_import(
    course: Annotated[str, typer.Argument(help="The course's name in the folder.")],
    folder: Annotated[Path, typer.Argument(help="An exported folder, or the root of nbgrader's own exchange.")],
    into: Annotated[str, typer.Option("--into", metavar="COURSE", help="Another name for the course here.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be taken and change nothing.")] = False,
    grade: Annotated[bool, typer.Option("--grade", help="Have each student's latest one that is new graded.")] = False,
    members: Annotated[
        bool, typer.Option("--members", help="Also who the folder says is in the course: if you trust who made it.")
    ] = False,
) -> None:
    """Take assignments, submissions and feedback from plain folders; the class may run, and what it has stays.

    Called again it goes on, and adds nothing that is there. Links, unsafe names, impossible times and what is over the
    limits of [exchange] are left out and named; exit 1 then.
    """
    from datetime import UTC, datetime

    from gpuclass.accounts import Accounts
    from gpuclass.errors import PlainError
    from gpuclass.exchange.operating.hashing import go_gently
    from gpuclass.exchange.operating.importing import size_of, take, without_keeping
    from gpuclass.exchange.operating.importsources import Root, find
    from gpuclass.exchange.records import DiskFull
    from gpuclass.processes import go_on_as_service_user
    from gpuclass.settings import load

    settings = load()
    go_on_as_service_user(settings)
    go_gently()
    with closing(Root(folder)) as root:
        found = find(root, course, settings.exchange, settings.class_.timezone, datetime.now(UTC))
        with _progress("Reading", size_of(found)) as tell, ExitStack() as stack:
            if dry_run:
                database, blobs = stack.enter_context(without_keeping(settings.exchange_folder)), None
            else:
                store = stack.enter_context(_written(settings))
                database, blobs = store, store.blobs
            try:
                done = take(database, blobs, root, found, into or course, members=members, grade=grade, tell=tell)
            except DiskFull as error:
                raise PlainError(
                    "The disk has no room beyond the reserve ([exchange] reserve). Nothing was taken; make room and "
                    "call this again."
                ) from error
    for text in done.notes:
        typer.echo(f"Note: {text}", err=True)
    strangers = sorted(done.students - {person.login for person in Accounts(settings.accounts_path).roster().people})
    if strangers:
        more = "" if len(strangers) <= NAMED else f" and {len(strangers) - NAMED} more"
        typer.echo(f"Note: not in the roster: {', '.join(strangers[:NAMED])}{more}.", err=True)
    for text in done.left_out:
        typer.secho(f"Left out: {text}", fg=typer.colors.RED, err=True)
    typer.echo(
        f"{'would be ' if dry_run else ''}taken into {into or course}: {done.assignments} assignments, {done.releases} "
        f"versions, {done.deadlines} deadlines, {done.submissions} submissions of {len(done.students)} students, "
        f"{done.feedback} feedbacks; {done.there} submissions were there already; {done.graded} to be graded"
    )
    raise typer.Exit(1 if done.left_out else 0)


@contextmanager
def _progress(doing: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on the terminal, beside what is printed; nothing where there is none."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(doing), BarColumn(), DownloadColumn(binary_units=True), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(doing, total=total)
        yield lambda count: progress.advance(task, count)


@exchange_app.command("deadline")
def exchange_deadline(
    assignment: Annotated[str, typer.Argument(help="The assignment's name.")],
    when: Annotated[
        str,
        typer.Argument(
            help='"2026-11-24 18:00", "18:00" for today, "+30m" or "+2h" from now, or "none"; without it the deadline '
            "is shown."
        ),
    ] = "",
    student: Annotated[str, typer.Option(metavar="LOGIN", help="Only for this student: more time than others.")] = "",
    course: Annotated[str, typer.Option(help="Another course than the class's own.")] = "",
) -> None:
    """Show until when an assignment can be handed in, or set it; the class's time, and at once.

    A submission counts by when it reached the exchange; a late one is taken like any other and marked.
    """
    from datetime import UTC, datetime

    from gpuclass.accounts import Accounts
    from gpuclass.errors import UsageError
    from gpuclass.exchange.names import UnsafeName, identifier
    from gpuclass.exchange.store.deadlines import Deadlines
    from gpuclass.exchange.when import moment
    from gpuclass.settings import load

    settings = load()
    course, zone, now = course or settings.course, settings.class_.timezone, datetime.now(UTC)
    due = moment(when, zone, now) if when else None
    try:
        student = identifier(student) if student else ""
    except UnsafeName:
        raise UsageError(f"{student!r} cannot be anybody's login.") from None
    with _written(settings) as store:
        deadlines = Deadlines(store)
        _existing(store, course, assignment)
        if when:
            deadlines.put(course, assignment, due, by="operator", student=student or None)
            if student and Accounts(settings.accounts_path).person(student) is None:
                typer.echo(f"Warning: nobody in the class logs in as {student!r} (`gpuclass roster list`).", err=True)
            if due is not None and due < now:
                typer.echo("Warning: that is in the past; what comes now is late.", err=True)
        elif student:
            typer.echo(f"{assignment}, {student}: {_due(deadlines.of(course, assignment).of(student), settings, now)}")
            return
        found = deadlines.of(course, assignment)
        typer.echo(f"{assignment}: {_due(found.due, settings, now)}")
        for login, extension in sorted(found.extensions.items()):
            counts = found.of(login) == extension
            reason = "no effect: " + ("the class has no deadline" if found.due is None else "the class has longer")
            typer.echo(f"  {login}: {_due(extension, settings, now)}{'' if counts else f' ({reason})'}")


def _due(due: datetime | None, settings: Settings, now: datetime) -> str:
    from gpuclass.exchange.when import show, span

    if due is None:
        return "no deadline; nobody is late"
    seconds = (due - now).total_seconds()
    away = f"in {span(seconds)}" if seconds > 0 else f"{span(-seconds)} ago"
    return f"due {show(due, settings.class_.timezone)} ({settings.class_.timezone}), {away}"


def _written(settings: Settings) -> Store:
    """The store, to be changed; as the user who owns it."""
    from gpuclass.exchange.store.store import Store
    from gpuclass.processes import go_on_as_service_user

    go_on_as_service_user(settings)
    return Store(settings.exchange_folder, reserve=settings.exchange.reserve)


def _existing(store: Store, course: str, assignment: str) -> None:
    from gpuclass.errors import UsageError
    from gpuclass.exchange.store.store import NotFound

    try:
        known = store.assignments(course)
    except NotFound:
        raise UsageError(f"There is no course {course!r}; `gpuclass exchange status` shows those there are.") from None
    if assignment not in known:
        names = ", ".join(known) or "none yet"
        raise UsageError(f"No assignment {assignment!r} is released in {course}. Released: {names}.")
