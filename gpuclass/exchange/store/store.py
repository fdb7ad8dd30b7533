"""What the exchange keeps: assignments and their releases, submissions, feedback, and the jobs to grade them.

Content-addressed files (``blobs``) and one SQLite database (``schema``) in one folder. What a call has returned is on
disk and stays: nothing is ever overwritten or erased. Safe for several threads and several processes; a process that
forks makes its own ``Store`` afterwards.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from sqlalchemy import func, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Session, aliased

from gpuclass.exchange.names import file_paths, identifier
from gpuclass.exchange.records import (
    AlreadyThere,
    DiskFull,
    Feedback,
    File,
    Job,
    KeyReused,
    NotFound,
    QuotaExceeded,
    Standing,
    State,
    Submission,
)
from gpuclass.exchange.store import intake
from gpuclass.exchange.store.blobs import Blobs, Draft
from gpuclass.exchange.store.database import utc_now
from gpuclass.exchange.store.intake import Answered, Mine
from gpuclass.exchange.store.queue import Queue, latest_of
from gpuclass.exchange.store.schema import (
    AssignmentRow,
    CourseRow,
    FeedbackRow,
    JobRow,
    ReleaseRow,
    SubmissionRow,
    TreeRow,
)
from gpuclass.exchange.store.trees import Tree
from gpuclass.exchange.wire import show_time

__all__ = [
    "AlreadyThere",
    "DiskFull",
    "Draft",
    "Feedback",
    "File",
    "Files",
    "Job",
    "KeyReused",
    "NotFound",
    "QuotaExceeded",
    "Standing",
    "Store",
    "Submission",
]

Files = Mapping[str, bytes | Draft]  # content by path
TIMESTAMP_FILE = "timestamp.txt"  # where nbgrader looks for a submission's time


class Store(Queue):
    """The exchange's folder, opened.

    Args:
        folder: ``settings.exchange_folder``; made when it is not there.
        clock: aware times; the server's.
        reserve: bytes of the disk that new files leave free.
        attempts: of a student's submissions to an assignment so many are graded within an hour; 0: all.

    Attributes:
        blobs: the files.
    """

    def __init__(
        self, folder: Path, clock: Callable[[], datetime] = utc_now, *, reserve: int = 0, attempts: int = 0
    ) -> None:
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)  # the database in it is everybody's marks
        super().__init__(folder / "exchange.db", clock)
        self.blobs = Blobs(folder, reserve)
        self._attempts = attempts

    def close(self) -> None:
        """Close the database and remove files in the making."""
        super().close()
        self.blobs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def incoming(self) -> Path:
        """A folder for this process's unfinished uploads; removed with it."""
        return self.blobs.incoming

    def check_room(self, size: int) -> None:
        """Refuse ``size`` bytes that the disk has no room for.

        Raises:
            DiskFull: they would go below the reserve.
        """
        self.blobs.check_room(size)

    def draft(self) -> Draft:
        """A file to be written piece by piece, for ``submit``; nothing is left of it unless that takes it.

        Raises:
            DiskFull: there is no room.
        """
        return self.blobs.draft()

    # Assignments and their releases

    def release(self, course: str, assignment: str, files: Files, *, by: str, again: bool = False) -> int:
        """Make a version of an assignment the one that is fetched; returns its number.

        Submissions to earlier versions stay what they are. A hidden assignment appears again.

        Raises:
            UnsafeName: the assignment's name or a path.
            NotFound: the course.
            AlreadyThere: the assignment is released already and ``again`` was not asked for.
        """
        assignment = identifier(assignment)
        tree = self._keep(files)
        with self.writing() as session:
            _course(session, course)
            row = session.get(AssignmentRow, (course, assignment))
            if row is None:
                row = AssignmentRow(course=course, name=assignment)
                session.add(row)
                session.flush()
            elif row.hidden is None and not again:
                raise AlreadyThere
            row.hidden = None
            newest = session.scalar(
                select(func.max(ReleaseRow.version)).where(
                    ReleaseRow.course == course, ReleaseRow.assignment == assignment
                )
            )
            version = (newest or 0) + 1
            _add_tree(session, tree)
            session.add(
                ReleaseRow(
                    course=course,
                    assignment=assignment,
                    version=version,
                    released=self.clock(),
                    released_by=by,
                    tree=tree.sha256,
                )
            )
            return version

    def hide_assignment(self, course: str, assignment: str) -> None:
        """Let an assignment disappear, its submissions with it; all come back when it is released again."""
        with self.writing() as session:
            _assignment(session, course, assignment).hidden = self.clock()

    def assignments(self, course: str) -> list[str]:
        """Names of a course's assignments, sorted."""
        with self.reading() as session:
            _course(session, course)
            return list(
                session.scalars(
                    select(AssignmentRow.name)
                    .where(AssignmentRow.course == course, AssignmentRow.hidden.is_(None))
                    .order_by(AssignmentRow.name)
                )
            )

    def released_files(self, course: str, assignment: str) -> tuple[File, ...]:
        """The files of an assignment's newest version."""
        with self.reading() as session:
            _assignment(session, course, assignment)
            return _files(session, _newest_release(session, course, assignment).tree)

    def newest_version(self, course: str, assignment: str) -> int:
        """The number of an assignment's newest version, also of one that is hidden now."""
        with self.reading() as session:
            return _newest_release(session, course, assignment).version

    # Submissions

    def submit(
        self,
        course: str,
        assignment: str,
        student: str,
        files: Files,
        *,
        received: datetime | None = None,
        quota: int | None = None,
        version: int | None = None,
        key: str | None = None,
        queued: datetime | None = None,
    ) -> Submission:
        """Keep a submission and enqueue its grading; both are on disk when this returns.

        Args:
            course: its name.
            assignment: its name.
            student: the login, as the hub knows it.
            files: content by path, as bytes or as finished drafts.
            received: when the request arrived; now, if not given. No two submissions of a student to an assignment
                have the same time: a later one moves on by a microsecond.
            quota: bytes on disk that this student's submissions to this assignment may take.
            version: which release it answers, as the sender says; the newest if that is not known.
            key: the sender's own for this press. What comes again under it is the submission that came first.
            queued: when it was pressed, by the sender's clock, if it could not be sent at once.

        Raises:
            UnsafeName: a path.
            NotFound: the course or the assignment.
            KeyReused: other files came under this key before; nothing was kept.
            QuotaExceeded: the quota would be passed; nothing was kept.
            DiskFull: there is no room; nothing was kept.
            OSError: the disk is full or broken; there is no submission.
        """
        received = received or self.clock()
        mine = Mine(course, assignment, student)
        with self._drafts(files) as drafts:
            tree = _tree(drafts)
            with self.reading() as session:  # before anything has its place
                admitted = _admit(session, mine, key, tree, quota, version)
            if isinstance(admitted, Submission):
                return admitted
            self.blobs.keep(drafts.values())
        with self.writing() as session:
            admitted = _admit(session, mine, key, tree, quota, version)  # the same press may have come twice at once
            if isinstance(admitted, Submission):
                return admitted
            return intake.add(
                session.connection(),
                mine,
                tree,
                admitted,
                received=received,
                key=key,
                queued=queued,
                now=self.clock(),
                attempts=self._attempts,
            )

    def before(self, course: str, assignment: str, student: str, key: str) -> tuple[Submission | None, int | None]:
        """What came under this key, and the bytes that the student's submissions take, as ``quota`` counts them.

        No bytes at all, None, is the answer where there is no such assignment.
        """
        mine = Mine(course, assignment, student)
        with self.reading() as session:
            connection = session.connection()
            answers = intake.answered(connection, mine, None)
            return intake.under_key(connection, mine, key), None if answers is None else answers.used

    def submission(self, submission_id: int) -> Submission:
        """One submission by its number.

        Raises:
            NotFound: there is none.
        """
        with self.reading() as session:
            row = session.get(SubmissionRow, submission_id)
            if row is None:
                raise NotFound("submission")
            return _submission(row)

    def submissions(self, course: str, assignment: str, student: str | None = None) -> list[Submission]:
        """Submissions to an assignment in the order they came; of everybody or of one student.

        Raises:
            NotFound: the course or the assignment.
        """
        with self.reading() as session:
            _assignment(session, course, assignment)
            rows = session.scalars(
                select(SubmissionRow)
                .where(SubmissionRow.course == course, SubmissionRow.assignment == assignment)
                .where(*([SubmissionRow.student == student] if student is not None else []))
                .order_by(SubmissionRow.id)
            )
            return [_submission(row) for row in rows]

    def latest_submission(self, course: str, assignment: str, student: str) -> Submission | None:
        """The last that came, also of an assignment that is hidden now."""
        with self.reading() as session:
            row = latest_of(session, course, assignment, student)
            return None if row is None else _submission(row)

    def standing(self, course: str, student: str) -> list[Standing]:
        """All of one student's submissions in a course, in the order they came, and how far each is."""
        return self._standings(SubmissionRow.course == course, SubmissionRow.student == student)

    def standings(self, course: str, assignment: str) -> list[Standing]:
        """All submissions to an assignment in the order they came, and how far each is.

        Raises:
            NotFound: the course or the assignment.
        """
        with self.reading() as session:
            _assignment(session, course, assignment)
        return self._standings(SubmissionRow.course == course, SubmissionRow.assignment == assignment)

    def _standings(self, *which: Any) -> list[Standing]:
        job = aliased(JobRow)
        newest_job = select(func.max(job.id)).where(job.submission == SubmissionRow.id, job.kind == "grade")
        note = aliased(FeedbackRow)
        newest_note = select(func.max(note.id)).where(note.submission == SubmissionRow.id).scalar_subquery()
        with self.reading() as session:
            rows = session.execute(
                select(SubmissionRow, JobRow.state, FeedbackRow)
                .select_from(SubmissionRow)
                .outerjoin(JobRow, JobRow.id == newest_job.scalar_subquery())
                .outerjoin(FeedbackRow, FeedbackRow.id == newest_note)
                .where(*which)
                .order_by(SubmissionRow.id)
            )
            return [
                Standing(_submission(row), cast("State | None", state), None if found is None else _feedback(found))
                for row, state, found in rows
            ]

    def files(self, submission: Submission) -> tuple[File, ...]:
        """The list of a submission's files."""
        with self.reading() as session:
            return _files(session, submission.sha256)

    def read(self, file: File) -> bytes:
        """What is in a file."""
        return self.blobs.read(file.sha256)

    def write_files(self, submission: Submission, folder: Path) -> None:
        """Put a submission's files into ``folder``, replacing it, with the server's time as ``timestamp.txt``.

        The folder is complete or not there at all; nothing in it is a link. A ``timestamp.txt`` of the student's own,
        be it a file or a folder, is left out.
        """
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            draft.chmod(0o755)
            for file in self.files(submission):
                if file.path.split("/")[0] == TIMESTAMP_FILE:
                    continue
                path = draft / file.path
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.read(file))
            (draft / TIMESTAMP_FILE).write_text(show_time(submission.received), encoding="utf-8")
            if folder.exists():
                shutil.rmtree(folder)
            draft.rename(folder)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise

    # Feedback

    def put_feedback(
        self,
        submission: Submission,
        files: Files,
        *,
        released: bool,
        score: float | None = None,
        max_score: float | None = None,
    ) -> None:
        """Keep feedback on a submission in place of earlier one; students see it once ``released``.

        What is kept already is not kept again: a worker that was killed after this has its successor do it anew.
        """
        tree = self._keep(files)
        same = (tree.sha256, released, score, max_score)
        with self.writing() as session:
            newest = session.scalar(
                select(FeedbackRow)
                .where(FeedbackRow.submission == submission.id)
                .order_by(FeedbackRow.id.desc())
                .limit(1)
            )
            if newest is not None and (newest.tree, newest.released, newest.score, newest.max_score) == same:
                return
            _add_tree(session, tree)
            session.add(
                FeedbackRow(
                    submission=submission.id,
                    created=self.clock(),
                    released=released,
                    tree=tree.sha256,
                    score=score,
                    max_score=max_score,
                )
            )

    def feedback(self, submission: Submission, *, released: bool = False) -> Feedback | None:
        """The newest feedback on a submission, released or not; with ``released``, the newest that is."""
        with self.reading() as session:
            row = session.scalar(
                select(FeedbackRow)
                .where(FeedbackRow.submission == submission.id)
                .where(*([FeedbackRow.released] if released else []))
                .order_by(FeedbackRow.id.desc())
                .limit(1)
            )
            return None if row is None else _feedback(row)

    def feedback_files(self, feedback: Feedback) -> tuple[File, ...]:
        """The list of its files."""
        with self.reading() as session:
            return _files(session, feedback.sha256)

    def _keep(self, files: Files) -> Tree:
        """Put files on disk and return their list."""
        with self._drafts(files) as drafts:
            self.blobs.keep(drafts.values())
            return _tree(drafts)

    @contextmanager
    def _drafts(self, files: Files) -> Iterator[dict[str, Draft]]:
        """Finished drafts by safe path; those that were made here are dropped if nothing came of them."""
        with ExitStack() as made_here:
            drafts = {}
            for path, content in zip(file_paths(files), files.values(), strict=True):
                if isinstance(content, Draft):
                    drafts[path] = content
                else:
                    drafts[path] = made_here.enter_context(self.draft())
                    drafts[path].write(content)
                drafts[path].finish()
            yield drafts


def _tree(drafts: Mapping[str, Draft]) -> Tree:
    """The list of finished files."""
    blobs = {path: draft.finish() for path, draft in drafts.items()}
    return Tree([path, blob.sha256, blob.md5, blob.size] for path, blob in blobs.items())


def _add_tree(session: Session, tree: Tree) -> None:
    session.execute(insert(TreeRow).values(sha256=tree.sha256, files=tree.entries).on_conflict_do_nothing())


def _course(session: Session, name: str) -> CourseRow:
    row = session.get(CourseRow, name)
    if row is None or row.hidden is not None:
        raise NotFound("course")
    return row


def _assignment(session: Session, course: str, name: str) -> AssignmentRow:
    _course(session, course)
    row = session.get(AssignmentRow, (course, name))
    if row is None or row.hidden is not None:
        raise NotFound("assignment")
    return row


def _newest_release(session: Session, course: str, assignment: str) -> ReleaseRow:
    return session.scalars(
        select(ReleaseRow)
        .where(ReleaseRow.course == course, ReleaseRow.assignment == assignment)
        .order_by(ReleaseRow.version.desc())
        .limit(1)
    ).one()


def _admit(
    session: Session, mine: Mine, key: str | None, tree: Tree, quota: int | None, version: int | None
) -> Submission | Answered:
    """What came under this key before; if this is new and may be kept, the release that it answers."""
    connection = session.connection()
    answers = intake.answered(connection, mine, version)
    if answers is None:
        _course(session, mine.course)
        raise NotFound("assignment")
    earlier = None if key is None else intake.under_key(connection, mine, key)
    if earlier is not None and earlier.sha256 != tree.sha256:
        raise KeyReused
    if earlier is not None:
        return earlier
    if quota is not None and answers.used + tree.space > quota:
        raise QuotaExceeded(answers.used, quota)
    return answers


def _files(session: Session, tree: str) -> tuple[File, ...]:
    return tuple(File(*entry) for entry in session.get_one(TreeRow, tree).files)


def _submission(row: SubmissionRow) -> Submission:
    return Submission(
        row.id,
        row.course,
        row.assignment,
        row.student,
        row.received,
        row.size,
        row.tree,
        row.answered.version,
        row.key,
        row.queued,
    )


def _feedback(row: FeedbackRow) -> Feedback:
    return Feedback(row.submission, row.created, row.released, row.tree, row.score, row.max_score)
