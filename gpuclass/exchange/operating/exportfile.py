"""The file beside exported nbgrader folders: a line of JSON each for the course, its assignments and submissions.

It holds what nbgrader's folders cannot (receipts, versions, deadlines, extensions, members, scores, gradings) and says
of every file where in the folder its bytes are. Read again it is input like any other: nothing is believed unchecked.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import IO, Annotated, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
)

from gpuclass.errors import PlainError
from gpuclass.exchange.names import UnsafeName, file_paths, identifier

FORMAT = 1
TIMESTAMP_FILE = "timestamp.txt"  # nbgrader's own in each submission: when it came
SECRET_FILE = "submission_secret.txt"  # noqa: S105  # and by which it finds the submission's feedback
LINE_LIMIT = 16 * 2**20  # bytes; a submission of thousands of files has one
NUMBER_LIMIT = 10**9
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)  # before there was any nbgrader
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
DISTRUST = "distrust"  # validation's context for what is read; what the store holds is written as it is


class NotAnExport(PlainError):  # noqa: N818  # what it is
    """The file is none of ours, or not whole; the text says what to do."""


def _sane(moment: datetime, info: ValidationInfo) -> datetime:
    if info.context is not None and not EARLIEST <= moment <= LATEST:
        raise ValueError("is no time of a course")
    return moment


def _name(text: str, info: ValidationInfo) -> str:
    try:
        return text if info.context is None else identifier(text)
    except UnsafeName as error:
        raise ValueError(f"is no name that the exchange takes ({error.reason})") from None


Moment = Annotated[AwareDatetime, AfterValidator(_sane)]
Name = Annotated[str, AfterValidator(_name)]
Number = Annotated[int, Field(ge=1, le=NUMBER_LIMIT)]
Score = Annotated[float, Field(allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=20_000)]


class Line(BaseModel):
    """Common to all: nothing unknown, nothing converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class FileLine(Line):
    """One file; ``place`` is where its bytes are below the folder, None where they were lost before the export."""

    path: Annotated[str, Field(max_length=4000)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]
    place: Annotated[str, Field(max_length=4000)] | None


def _safe(files: tuple[FileLine, ...], info: ValidationInfo) -> tuple[FileLine, ...]:
    try:
        if info.context is None or file_paths(file.path for file in files) == [file.path for file in files]:
            return files
    except UnsafeName as error:
        raise ValueError(f"{error.name!r} is no file name that the exchange takes ({error.reason})") from None
    raise ValueError("a file name is not in its one form")


Files = Annotated[tuple[FileLine, ...], Field(strict=False), AfterValidator(_safe)]


class CourseLine(Line):
    """The first line."""

    kind: Literal["course"] = "course"
    format: int = FORMAT
    software: str
    course: Name
    created: Moment
    hidden: Moment | None
    exported: Moment


class MemberLine(Line):
    """What the API said of somebody in the course, over the roster."""

    kind: Literal["member"] = "member"
    login: Name
    role: Literal["instructor", "student", "removed"] | None
    first_name: Text | None
    last_name: Text | None
    email: Text | None


class ReleaseLine(Line):
    """One version of an assignment."""

    version: Number
    released: Moment
    by: Text
    files: Files


class DeadlineLine(Line):
    """A deadline as somebody set it; for one student if it has one."""

    student: Name | None
    due: Moment | None
    made: Moment
    by: Text


class AssignmentLine(Line):
    """An assignment with every version and every deadline it ever had, in the order they were made."""

    kind: Literal["assignment"] = "assignment"
    name: Name
    hidden: Moment | None
    releases: Annotated[tuple[ReleaseLine, ...], Field(strict=False)]
    deadlines: Annotated[tuple[DeadlineLine, ...], Field(strict=False)]


class FeedbackLine(Line):
    """Feedback on a submission."""

    created: Moment
    released: bool
    score: Score | None
    max_score: Score | None
    files: Files


class JobLine(Line):
    """A grading of a submission."""

    requested_by: Text
    state: Literal["waiting", "running", "done", "failed"]
    error: Text | None
    attempts: Annotated[int, Field(ge=0, le=NUMBER_LIMIT)]
    queued: Moment
    started: Moment | None
    finished: Moment | None


class SubmissionLine(Line):
    """A submission: its receipt, its files, and what became of it. ``folder`` is nbgrader's, if it has one."""

    kind: Literal["submission"] = "submission"
    number: Number
    assignment: Name
    student: Name
    received: Moment
    version: Number
    key: Annotated[str, Field(max_length=200)] | None
    queued: Moment | None
    folder: Text | None
    files: Files
    feedback: Annotated[tuple[FeedbackLine, ...], Field(strict=False)]
    jobs: Annotated[tuple[JobLine, ...], Field(strict=False)]


class EndLine(Line):
    """The last line, by which one sees that none is missing."""

    kind: Literal["end"] = "end"
    lines: int


AnyLine = CourseLine | MemberLine | AssignmentLine | SubmissionLine | EndLine
_LINE: TypeAdapter[AnyLine] = TypeAdapter(Annotated[AnyLine, Field(discriminator="kind")])


def file_name(course: str) -> str:
    """What the file is called, for a course."""
    return f"gpuclass-{course}.jsonl"


def write_line(file: IO[bytes], line: AnyLine) -> None:
    """Add a line."""
    file.write(line.model_dump_json().encode() + b"\n")


def read_lines(file: IO[bytes]) -> Iterator[AnyLine | str]:
    """The lines; for one that cannot be used, what is wrong with it.

    Raises:
        NotAnExport: it does not begin as one of ours, or is of a newer format, or ends too early.
    """
    count = 0
    while text := file.readline(LINE_LIMIT):
        try:
            line: AnyLine | str = _LINE.validate_json(text, context=DISTRUST)
        except ValidationError as error:
            line = _faults(count + 1, error)
        if count == 0 and not isinstance(line, CourseLine):
            raise NotAnExport(f"This is not a file that `gpuclass exchange export` wrote: {line}")
        if isinstance(line, CourseLine) and line.format != FORMAT:
            raise NotAnExport(
                f"It is of format {line.format}, made by gpuclass {line.software}; this one reads {FORMAT}."
            )
        if isinstance(line, EndLine):
            if line.lines == count and not file.read(1):
                return
            break
        count += 1
        yield line
    raise NotAnExport("The file beside the folders is not whole: copy it again, or export again.")


def _faults(number: int, error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"line {number} cannot be used: {where}: {first['msg']}"
