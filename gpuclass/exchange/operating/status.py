"""What the exchange holds and how it is: for an operator who wants to know at a glance."""

from __future__ import annotations

import errno
import fcntl
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import httpx
from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from gpuclass.exchange.operating.looking import DATABASE, Look
from gpuclass.exchange.operating.verifying import files_kept
from gpuclass.exchange.store.deadlines import Deadline, deadlines_of
from gpuclass.exchange.store.schema import (
    AssignmentRow,
    CourseRow,
    JobRow,
    ReleaseRow,
    SubmissionRow,
    TreeRow,
    UtcDateTime,
)

FAILED_SHOWN = 20  # of the gradings that failed, the newest
SLOW_S = 600  # a submission that waits so long while none is graded: nobody grades
ANSWER_S = 5.0  # seconds in which the service should answer


@dataclass(frozen=True)
class Health:
    """Whether the service takes submissions; ``said`` is why not."""

    answers: bool
    takes: bool
    said: str = ""


@dataclass(frozen=True)
class Disk:
    """Bytes of the disk that the data folder is on; ``reserve`` of them the exchange leaves free."""

    free: int
    total: int
    reserve: int


@dataclass(frozen=True)
class AssignmentStatus:
    """One assignment: its newest version, the class's deadline, and what has come.

    ``queued`` submissions were pressed while the exchange could not be reached, and came later.
    """

    course: str
    name: str
    hidden: bool
    version: int
    released: datetime
    due: datetime | None
    extensions: int
    submissions: int
    students: int
    late: int
    queued: int
    size: int


@dataclass(frozen=True)
class Failure:
    """A grading that failed and was not tried again."""

    submission: int
    course: str
    assignment: str
    student: str
    finished: datetime | None
    error: str


@dataclass(frozen=True)
class Jobs:
    """Gradings by state, and how long the oldest that waits has waited, in seconds.

    Failed are those of somebody's latest submission that were not tried again: they wait for a person. ``failures`` has
    the newest of them.
    """

    waiting: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    oldest_waiting: float | None = None
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True)
class Sizes:
    """Bytes on the disk.

    Attributes:
        database: with its log.
        files, bytes: what is kept, each content once.
        unused, unused_bytes: of these, what nobody refers to.
        leftovers: folders of uploads whose process is gone; the service's next start removes them.
    """

    database: int
    files: int
    bytes: int
    unused: int
    unused_bytes: int
    leftovers: int


@dataclass(frozen=True)
class Status:
    """All of it, and what is wrong, a sentence each."""

    health: Health
    disk: Disk
    courses: tuple[str, ...]
    assignments: tuple[AssignmentStatus, ...]
    jobs: Jobs
    sizes: Sizes
    problems: tuple[str, ...] = field(default=())


def ask(url: str) -> Health:
    """What the service at ``url`` says of itself."""
    try:
        answer = httpx.get(f"{url}/gpuclass/v1/health", timeout=ANSWER_S, trust_env=False)
    except httpx.HTTPError as error:
        return Health(answers=False, takes=False, said=str(error) or type(error).__name__)
    if answer.status_code == httpx.codes.OK:
        return Health(answers=True, takes=True)
    try:
        body = answer.json()
        said = str(body.get("reason") or body.get("message") or "")
    except (ValueError, AttributeError):
        said = ""
    return Health(answers=True, takes=False, said=said or f"status {answer.status_code}")


def disk_of(folder: Path, reserve: int) -> Disk:
    """The disk that ``folder`` is on."""
    found = os.statvfs(folder)
    return Disk(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize, reserve)


def gather(folder: Path, health: Health, reserve: int, now: datetime) -> Status:
    """Look at everything.

    Args:
        folder: the exchange's.
        health: what the service said.
        reserve: bytes that the exchange leaves free.
        now: the time.

    Raises:
        CannotLook: the exchange has kept nothing yet, or its database cannot be read.
    """
    kept, _ = files_kept(folder)  # before the database: what comes meanwhile is not taken for unused
    with Look(folder) as look, look.reading() as session:
        courses = session.scalars(select(CourseRow).order_by(CourseRow.name)).all()
        assignments = tuple(each for course in courses for each in _assignments(session, course))
        jobs = _jobs(session, now)
        used = {entry[1] for files in session.scalars(select(TreeRow.files)) for entry in files}
    unused = [file.status.st_size for sha256, file in kept.items() if sha256 not in used]
    found = Status(
        health,
        disk_of(folder, reserve),
        tuple(course.name for course in courses if course.hidden is None),
        assignments,
        jobs,
        Sizes(
            database=sum(path.stat().st_size for path in folder.glob(f"{DATABASE}*")),
            files=len(kept),
            bytes=sum(file.status.st_size for file in kept.values()),
            unused=len(unused),
            unused_bytes=sum(unused),
            leftovers=sum(1 for _ in leftovers(folder / "incoming")),
        ),
    )
    return Status(**{**vars(found), "problems": tuple(_problems(found))})


def leftovers(incoming: Path) -> Iterator[Path]:
    """Folders of uploads that no living process holds."""
    with suppress(FileNotFoundError):
        for path in incoming.iterdir():
            with suppress(OSError):  # gone meanwhile
                handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    yield path
                except OSError as error:
                    if error.errno != errno.EWOULDBLOCK:
                        raise
                finally:
                    os.close(handle)


def _assignments(session: Session, course: CourseRow) -> Iterator[AssignmentStatus]:
    due = deadlines_of(session, course.name)
    newest = {
        row.assignment: row
        for row in session.scalars(
            select(ReleaseRow).where(ReleaseRow.course == course.name).order_by(ReleaseRow.version)
        )
    }
    sent: dict[str, list[tuple[str, datetime, bool, int]]] = defaultdict(list)
    columns = (SubmissionRow.assignment, SubmissionRow.student, SubmissionRow.received, SubmissionRow.queued)
    for name, student, received, queued, size in session.execute(
        select(*columns, SubmissionRow.size).where(SubmissionRow.course == course.name)
    ):
        sent[name].append((student, received, queued is not None, size))
    rows = select(AssignmentRow).where(AssignmentRow.course == course.name).order_by(AssignmentRow.name)
    for row in session.scalars(rows):
        if row.name not in newest:
            continue  # a damaged database; `verify` names it
        deadline = due.get(row.name, Deadline())
        yield AssignmentStatus(
            course=course.name,
            name=row.name,
            hidden=row.hidden is not None or course.hidden is not None,
            version=newest[row.name].version,
            released=newest[row.name].released,
            due=deadline.due,
            extensions=len(deadline.extensions),
            submissions=len(sent[row.name]),
            students=len({student for student, *_ in sent[row.name]}),
            late=sum(deadline.late(student, received) for student, received, *_ in sent[row.name]),
            queued=sum(queued for _, _, queued, _ in sent[row.name]),
            size=sum(size for *_, size in sent[row.name]),
        )


def _jobs(session: Session, now: datetime) -> Jobs:
    graded = JobRow.kind == "grade"
    by_state = session.execute(select(JobRow.state, func.count()).where(graded).group_by(JobRow.state)).all()
    counts = {row[0]: row[1] for row in by_state}
    waits_since = func.coalesce(
        JobRow.not_before, JobRow.queued, type_=UtcDateTime
    )  # one that must wait does not count
    oldest = session.scalar(select(func.min(waits_since)).where(graded, JobRow.state == "waiting", waits_since <= now))
    later, newer = aliased(JobRow), aliased(SubmissionRow)
    tried_again = (
        select(later.id)
        .where(later.submission == JobRow.submission, later.kind == "grade", later.id > JobRow.id)
        .exists()
    )
    sent_again = (
        select(newer.id)
        .where(
            newer.course == SubmissionRow.course,
            newer.assignment == SubmissionRow.assignment,
            newer.student == SubmissionRow.student,
            newer.id > SubmissionRow.id,
        )
        .exists()
    )
    failed = session.execute(
        select(JobRow, SubmissionRow)
        .join(SubmissionRow, SubmissionRow.id == JobRow.submission)
        .where(graded, JobRow.state == "failed", ~tried_again, ~sent_again)
        .order_by(JobRow.id.desc())
    ).all()
    return Jobs(
        waiting=counts.get("waiting", 0),
        running=counts.get("running", 0),
        done=counts.get("done", 0),
        failed=len(failed),
        oldest_waiting=(now - oldest).total_seconds() if oldest else None,
        failures=tuple(
            Failure(sent.id, sent.course, sent.assignment, sent.student, job.finished, job.error or "")
            for job, sent in failed[:FAILED_SHOWN]
        ),
    )


def _problems(found: Status) -> Sequence[str]:
    problems = []
    if not found.health.answers:
        problems.append(
            f"The service does not answer ({found.health.said}): nobody can submit. Is the class open (`gpuclass up`)? "
            "Its log is log/exchange.log."
        )
    elif not found.health.takes:
        problems.append(f"The service answers but takes no submissions: {found.health.said}.")
    if found.disk.free <= found.disk.reserve:
        problems.append(
            "The disk has no room beyond the reserve ([exchange] reserve): submissions are refused until there is. "
            "docs/howto/disk.md says what to do."
        )
    waited = found.jobs.oldest_waiting
    if waited is not None and waited > SLOW_S and not found.jobs.running:
        problems.append(
            "Submissions wait and none is graded: is the grading worker running? Its log is log/grading.log."
        )
    if found.jobs.failed:
        problems.append(
            f"{found.jobs.failed} submissions could not be graded. Autograde in Formgrader tries again; see "
            "log/grading.log."
        )
    return problems
