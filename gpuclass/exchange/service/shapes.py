"""What each call answers, as OpenAPI shows it: the fields, and nothing beside them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gpuclass.exchange.records import Outcome, State
from gpuclass.exchange.service.health import Trouble
from gpuclass.exchange.store.batches import BatchState
from gpuclass.settings import FeedbackPolicy

Time = Annotated[
    str,
    Field(
        pattern=r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6} UTC$",
        description="in UTC, by the server's clock",
        examples=["2026-11-23 09:00:00.123456 UTC"],
    ),
]
Md5 = Annotated[str, Field(pattern="^[0-9a-f]{32}$", description="MD5 of the content")]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the list of files")]
Count = Annotated[int, Field(ge=0)]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Failure(_Shape):
    """Any refusal. `message` is ngshare's where ngshare has one, `hint` what the person should read beside it."""

    success: Literal[False]
    message: str
    hint: str = ""


class Unwell(_Shape):
    """The exchange cannot take submissions."""

    success: Literal[False]
    message: str
    reason: Trouble


class Done(_Shape):
    """It was done."""

    success: Literal[True]


# ngshare's


class CourseList(Done):
    """Names of courses."""

    courses: list[str]


class Person(_Shape):
    """Somebody in a course; null is what nobody filled in."""

    username: str
    first_name: str | None
    last_name: str | None
    email: str | None


class ShownPerson(Done, Person):
    """Somebody in a course; null is what nobody filled in."""


class InstructorList(Done):
    """Instructors of a course."""

    instructors: list[Person]


class StudentList(Done):
    """Students of a course."""

    students: list[Person]


class Added(_Shape):
    """Whether one student was added; `message` says why not."""

    username: str
    success: bool
    message: str = ""


class AddedList(Done):
    """Whether each student was added."""

    status: list[Added]


class AssignmentList(Done):
    """Names of assignments."""

    assignments: list[str]


class TreeFile(_Shape):
    """A file; without `content` when only a list was asked for."""

    path: str
    content: str = Field("", description="in base64")
    checksum: Md5


class Tree(Done):
    """Files of a release."""

    files: list[TreeFile]


class TimedTree(Tree):
    """Files of a submission, or feedback on it."""

    timestamp: Time


class Sent(_Shape):
    """That a student submitted."""

    student_id: str
    timestamp: Time


class SentList(Done):
    """Submissions in the order they came."""

    submissions: list[Sent]


class ShortReceipt(Done):
    """ngshare's receipt, with what we add to it."""

    timestamp: Time
    submission: int
    size: Count
    sha256: Sha256


# Our own


class Receipt(ShortReceipt):
    """What it names is on disk."""

    files: Count
    version: int
    due: Time | None
    late: bool
    queued: Time | None
    again: bool


class Limits(_Shape):
    """How much may be submitted."""

    submission_limit: int
    file_limit: int
    files_limit: int


class ShownLimits(Done, Limits):
    """How much may be submitted."""


class Listed(_Shape):
    """A file without its content."""

    path: str
    checksum: Md5


class ReleasedFile(Listed):
    """A file of a release."""

    size: Count


class OwnSubmission(_Shape):
    """One of the caller's submissions; score and feedback once they are shown.

    While it waits, `place` is how many jobs are before it, and `not_before` when it may be graded if the student has
    used up this hour's attempts; then it has no place yet. `status` is what came of it.
    """

    submission: int
    timestamp: Time
    version: int
    late: bool
    queued: Time | None
    size: Count
    files: list[str]
    state: State | None
    not_before: Time | None
    place: Count | None
    status: Outcome | None
    score: float | None
    max_score: float | None
    feedback: list[Listed]


class Assignment(_Shape):
    """An assignment's newest version, and what the caller sent."""

    name: str
    version: int
    released: Time
    due: Time | None
    feedback_opens: FeedbackPolicy
    files: list[str]
    release_files: list[ReleasedFile]
    submissions: list[OwnSubmission]


class Overview(Done):
    """All that a client needs before it fetches or submits."""

    now: Time
    limits: Limits
    assignments: list[Assignment]


class Version(Done):
    """The number of the version that was released."""

    version: int


class Enqueued(Done):
    """The number of a grading job."""

    job: int


class Job(Done):
    """How far a grading job is."""

    job: int
    assignment: str
    student: str
    state: State
    error: str | None


class GradedCount(_Shape):
    """How many students' latest submissions to an assignment are how far; `delayed` wait for the hour to allow it."""

    name: str
    submitted: Count
    waiting: Count
    delayed: Count
    running: Count
    graded: Count
    quarantined: Count
    failed: Count


class Worker(_Shape):
    """Whether a grading worker is at work, and its last sign of life."""

    alive: bool
    seen: Time | None


class Failing(_Shape):
    """A submission that could not be graded; Autograde tries again."""

    student: str
    assignment: str
    job: int
    reason: str


class Quarantined(_Shape):
    """A submission that a person has to look at."""

    student: str
    assignment: str
    reason: str


class Progress(Done):
    """How far a course's grading is."""

    assignments: list[GradedCount]
    worker: Worker
    failing: list[Failing]
    quarantined: list[Quarantined]


class RegradeRequested(Done):
    """The number of a grading again."""

    batch: int


class ChangedCell(_Shape):
    """A test or an answer whose points change; null where there is no such cell, or was none."""

    name: str
    before: float | None
    after: float | None


class ChangedScore(_Shape):
    """A student whose score changes; `before` is null if there was none."""

    student: str
    before: float | None
    after: float
    max_score: float
    cells: list[ChangedCell]


class NotRegraded(_Shape):
    """A student whose submission could not be graded again, and why."""

    student: str
    reason: str


class Regrade(Done):
    """How far a grading again is; `total`, `done`, `failed` count its previews, once it is applied its gradings.

    `source` is a digest of the instructor's version, `student` whose it is if of one only.
    """

    state: BatchState
    student: str | None
    source: str | None
    total: Count
    done: Count
    failed: Count
    changes: list[ChangedScore]
    unchanged: Count
    failing: list[NotRegraded]


class CheckRequested(Done):
    """The number of a check."""

    check: int


class Check(Done):
    """How far a check before a release is, and its report: what it found, or `error`, why it could not be made."""

    state: State
    report: dict[str, Any] | None


class Deadline(_Shape):
    """Until when an assignment can be handed in; extensions by login, for instructors only."""

    assignment: str
    due: Time | None
    extensions: dict[str, Time]


class ShownDeadline(Done, Deadline):
    """Until when an assignment can be handed in."""


class DeadlineList(Done):
    """Deadlines of a course."""

    deadlines: list[Deadline]


class Standing(_Shape):
    """A submission as instructors see it."""

    submission: int
    student_id: str
    timestamp: Time
    version: int
    due: Time | None
    late: bool
    queued: Time | None
    size: Count
    state: State | None
    score: float | None
    max_score: float | None


class StandingList(Done):
    """All submissions to an assignment."""

    now: Time
    version: int
    due: Time | None
    submissions: list[Standing]
