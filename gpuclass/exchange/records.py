"""What the exchange's store gives out, as plain values, and how it says no."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

State = Literal["waiting", "running", "done", "failed"]
Kind = Literal["grade", "preview"]
Outcome = Literal["graded", "quarantined"]


class NotFound(LookupError):  # noqa: N818  # the sentence reads "raise NotFound('submission')"
    """A course, assignment or submission that there is not, or no longer for those who ask."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"{kind.capitalize()} not found")
        self.kind = kind


class AlreadyThere(Exception):  # noqa: N818  # as above
    """A course or assignment of that name is there."""


class KeyReused(Exception):  # noqa: N818  # as above
    """Something else came under this idempotency key before."""


class QuotaExceeded(Exception):  # noqa: N818  # as above
    """A student's submissions to one assignment would take more room than they may."""

    def __init__(self, used: int, limit: int) -> None:
        super().__init__(f"{used} of {limit} bytes used")
        self.used = used
        self.limit = limit


class DiskFull(OSError):  # noqa: N818  # as above
    """Too little is free on the disk to take more; everything else on it needs what is left."""

    def __init__(self, free: int, reserve: int) -> None:
        super().__init__(errno.ENOSPC, f"{free} bytes are free on the disk and {reserve} of them reserved")
        self.free = free
        self.reserve = reserve


@dataclass(frozen=True)
class File:
    """One file of a release, a submission or feedback."""

    path: str
    sha256: str
    md5: str
    size: int


@dataclass(frozen=True)
class Submission:
    """A submission's receipt. ``sha256`` is that of the list of its files; ``size`` counts their bytes.

    Attributes:
        version: of the assignment, which it answers.
        key: the sender's own for this press; what comes again under it is this submission.
        queued: when the student pressed while the exchange could not be reached, by the student's own clock, which
            proves nothing; None for what came at once.
        again: what was sent just now had come before, under the same key; this is what was kept then.
    """

    id: int
    course: str
    assignment: str
    student: str
    received: datetime
    size: int
    sha256: str
    version: int
    key: str | None = None
    queued: datetime | None = None
    again: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Feedback:
    """The newest feedback on a submission."""

    submission: int
    created: datetime
    released: bool
    sha256: str
    score: float | None
    max_score: float | None


@dataclass(frozen=True)
class Job:
    """A submission to be graded; ``error`` says why it failed.

    Attributes:
        kind: ``preview`` is graded in a copy of the gradebook, and nobody's score changes.
        batch: of which grading again it is a part.
        not_before: when it may begin; the student has used up this hour's attempts.
        status, result: what came of it.
    """

    id: int
    course: str
    assignment: str
    student: str
    requested_by: str
    state: State
    error: str | None
    submission: int
    kind: Kind = "grade"
    batch: int | None = None
    not_before: datetime | None = None
    status: Outcome | None = None
    result: dict[str, Any] | None = None


@dataclass(frozen=True)
class Check:
    """An assignment that is tried out before its release; ``report`` once that is done or has failed."""

    id: int
    course: str
    assignment: str
    requested_by: str
    state: State
    report: dict[str, Any] | None


@dataclass(frozen=True)
class Standing:
    """How far one submission is: its newest job's state and, once there is some, its feedback."""

    submission: Submission
    state: State | None
    feedback: Feedback | None


@dataclass(frozen=True)
class Deadline:
    """An assignment's deadline; ``due`` is None for none, and then nobody is late.

    ``extensions`` has the times of students who have longer.
    """

    due: datetime | None = None
    extensions: Mapping[str, datetime] = field(default_factory=dict)

    def of(self, student: str) -> datetime | None:
        """When it is due for one student: an extension that is earlier than everybody's deadline is none."""
        return None if self.due is None else max(self.due, self.extensions.get(student, self.due))

    def late(self, student: str, received: datetime) -> bool:
        """Whether a submission that came at ``received`` is late; one that came at the very moment is not."""
        due = self.of(student)
        return due is not None and received > due
