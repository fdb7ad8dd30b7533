"""A folder that shall be imported, read with distrust: nbgrader's own exchange folder, or one that ``exporting`` wrote.

No link is followed anywhere below it, what is no plain file is not opened, names and times get their safe form or are
refused, and nothing larger than the limits is read. What is left out is said.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from gpuclass.errors import UsageError
from gpuclass.exchange.names import DEPTH_LIMIT, UnsafeName, file_path, file_paths, identifier
from gpuclass.exchange.operating.exportfile import (
    EARLIEST,
    SECRET_FILE,
    TIMESTAMP_FILE,
    AssignmentLine,
    CourseLine,
    DeadlineLine,
    FileLine,
    JobLine,
    MemberLine,
    NotAnExport,
    SubmissionLine,
    file_name,
    read_lines,
)
from gpuclass.settings import ExchangeSection
from gpuclass.units import show_size

AHEAD = timedelta(days=1)  # how far another machine's clock may be ahead of ours
SMALL_LIMIT = 4096  # bytes of timestamp.txt and the like

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # NONBLOCK: a pipe would wait for a writer
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d(?:\.\d{1,6})?) ?(\S*)", re.ASCII)
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)", re.ASCII)


class LeftOut(Exception):  # noqa: N818  # what happens to it
    """Something is not taken; the text says why."""


@dataclass(frozen=True)
class Source:
    """A file to be taken: its safe path, where it is, its size, and its hash if that was announced."""

    path: str
    place: tuple[str, ...]
    size: int
    sha256: str | None = None


@dataclass(frozen=True)
class ReleaseSource:
    """A version of an assignment; ``version`` is None where nobody counted."""

    version: int | None
    released: datetime
    by: str
    files: tuple[Source, ...]


@dataclass(frozen=True)
class AssignmentSource:
    """An assignment to be taken."""

    name: str
    hidden: datetime | None
    releases: tuple[ReleaseSource, ...]
    deadlines: tuple[DeadlineLine, ...] = ()


@dataclass(frozen=True)
class FeedbackSource:
    """Feedback on a submission."""

    created: datetime
    released: bool
    score: float | None
    max_score: float | None
    files: tuple[Source, ...]


@dataclass(frozen=True)
class SubmissionSource:
    """A submission to be taken; ``label`` is what it is called when something about it is said."""

    label: str
    assignment: str
    student: str
    received: datetime
    version: int | None
    key: str | None
    queued: datetime | None
    files: tuple[Source, ...]
    feedback: tuple[FeedbackSource, ...] = ()
    jobs: tuple[JobLine, ...] = ()


@dataclass
class Found:
    """All that a folder holds.

    Attributes:
        submissions: in the order in which they came.
        left_out: what is not taken, with the reason, for a person.
        notes: what to know besides.
    """

    assignments: dict[str, AssignmentSource] = field(default_factory=dict)
    submissions: list[SubmissionSource] = field(default_factory=list)
    members: list[MemberLine] = field(default_factory=list)
    created: datetime | None = None
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Root:
    """A folder in which everything is opened by handles, from the top, without following a link."""

    def __init__(self, path: Path) -> None:
        try:
            self._handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise UsageError(f"{path} cannot be opened: {error.strerror}.") from None

    def close(self) -> None:
        """Give it back."""
        os.close(self._handle)

    @contextmanager
    def folder(self, *parts: str) -> Iterator[int]:
        """A handle on a folder.

        Raises:
            LeftOut: there is none, or a link on the way.
        """
        handle = os.dup(self._handle)
        try:
            for part in parts:
                try:
                    inner = os.open(part, _FOLDER, dir_fd=handle)
                except (OSError, ValueError) as error:
                    raise LeftOut(f"{'/'.join(parts)!r} is no folder: {_reason(error)}") from None
                os.close(handle)
                handle = inner
            yield handle
        finally:
            os.close(handle)

    @contextmanager
    def file(self, parts: tuple[str, ...]) -> Iterator[int]:
        """A handle on a plain file.

        Raises:
            LeftOut: it is none, or not readable.
        """
        with self.folder(*parts[:-1]) as folder:
            handle = _plain(parts[-1], folder, "/".join(parts))
        try:
            yield handle
        finally:
            os.close(handle)

    def entries(self, *parts: str) -> list[str]:
        """Names in a folder, sorted; none if there is no such folder."""
        try:
            with self.folder(*parts) as handle:
                return sorted(os.listdir(handle))  # noqa: PTH208  # Path knows no folder handles
        except LeftOut:
            return []

    def small(self, *parts: str) -> bytes | None:
        """What is in a small file; None if there is none."""
        try:
            with self.file(parts) as handle:
                return os.read(handle, SMALL_LIMIT)
        except LeftOut:
            return None


def _plain(name: str, folder: int, shown: str) -> int:
    try:
        handle = os.open(name, _FILE, dir_fd=folder)
    except (OSError, ValueError) as error:
        raise LeftOut(f"{shown!r} cannot be read: {_reason(error)}") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise LeftOut(f"{shown!r} is not a plain file")
    return handle


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        return "it is a link or no folder" if error.errno in (20, 40) else str(error.strerror).lower()
    return "its name is none"


def find(root: Root, course: str, limits: ExchangeSection, zone: str, now: datetime) -> Found:
    """What ``root`` holds of ``course``; reads lists and names, no contents but small ones.

    Args:
        root: the folder.
        course: its name there.
        limits: of sizes and counts, as for submissions.
        zone: the class's, for times that name it.
        now: the time; what is later by more than a day is refused.

    Raises:
        UsageError: there is no such course.
        NotAnExport: the file beside the folders cannot be used.
    """
    name = file_name(course)
    if name in root.entries():
        return _Ours(root, course, limits, now).read(name)
    if course not in root.entries():
        known = [each for each in root.entries() if root.entries(each, "inbound") or root.entries(each, "outbound")]
        hint = " It should hold COURSE/inbound and COURSE/outbound."
        if known:
            hint = f" Courses there: {', '.join(map(repr, known))}."
        raise UsageError(f"The folder has no course {course!r}.{hint}")
    return _Plain(root, course, limits, zone, now).read()


def moment(text: str, zone: str) -> datetime:
    """A time as nbgrader writes it, in UTC: ``2026-11-23 09:00:00.123456 UTC``; the zone is a name or an offset.

    Raises:
        LeftOut: it is none, or its zone is not known.
    """
    found = _TIME.fullmatch(text.strip())
    if not found:
        raise LeftOut(f"{text[:60]!r} is no time that nbgrader writes")
    day, clock, where = found.groups()
    try:
        naive = datetime.fromisoformat(f"{day}T{clock if '.' not in clock else clock.ljust(15, '0')}")
        if where in ("UTC", "GMT", "Z", ""):
            return naive.replace(tzinfo=UTC)
        if offset := _OFFSET.fullmatch(where):
            away = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
            return (naive - away if offset[1] == "+" else naive + away).replace(tzinfo=UTC)
        for fold in (0, 1):
            local = naive.replace(tzinfo=ZoneInfo(zone), fold=fold)
            if local.tzname() == where:
                return local.astimezone(UTC)
    except (ValueError, OverflowError):
        raise LeftOut(f"{text[:60]!r} is no time") from None
    raise LeftOut(f"{text[:60]!r}: the zone {where!r} is not known here ([class] timezone is {zone})")


def _sane(when: datetime, now: datetime) -> datetime:
    if not EARLIEST <= when <= now + AHEAD:
        raise LeftOut(f"{when:%Y-%m-%d %H:%M} UTC cannot be when it came")
    return when


def _check_sizes(files: tuple[Source, ...], limits: ExchangeSection) -> None:
    if len(files) > limits.files_limit:
        raise LeftOut(f"it has {len(files)} files; [exchange] files_limit is {limits.files_limit}")
    for file in files:
        if file.size > limits.file_limit:
            much, allowed = show_size(file.size), show_size(limits.file_limit)
            raise LeftOut(f"{file.path!r} has {much}; [exchange] file_limit is {allowed}")
    total = sum(file.size for file in files)
    if total > limits.submission_limit:
        much, allowed = show_size(total), show_size(limits.submission_limit)
        raise LeftOut(f"it has {much}; [exchange] submission_limit is {allowed}")


class _Ours:
    """A folder that ``exporting`` wrote: what the file beside says, checked."""

    def __init__(self, root: Root, course: str, limits: ExchangeSection, now: datetime) -> None:
        self._root = root
        self._course = course
        self._limits = limits
        self._now = now
        self._found = Found()

    def read(self, name: str) -> Found:
        """Everything."""
        try:
            with self._root.file((name,)) as handle, os.fdopen(os.dup(handle), "rb") as file:
                for line in read_lines(file):
                    self._take(line)
        except LeftOut as reason:
            raise NotAnExport(f"{name}: {reason}.") from None
        return self._found

    def _take(self, line: object) -> None:
        found = self._found
        match line:
            case str():
                found.left_out.append(line)
            case CourseLine():
                if line.course != self._course:
                    raise UsageError(f"The file beside the folders is of course {line.course!r}, not {self._course!r}.")
                found.created = line.created
            case MemberLine():
                found.members.append(line)
            case AssignmentLine():
                found.assignments[line.name] = AssignmentSource(
                    line.name, line.hidden, tuple(self._releases(line)), line.deadlines
                )
            case SubmissionLine():
                label = f"{line.student}'s submission {line.number} to {line.assignment}"
                try:
                    found.submissions.append(self._submission(label, line))
                except LeftOut as reason:
                    found.left_out.append(f"{label}: {reason}")

    def _releases(self, line: AssignmentLine) -> Iterator[ReleaseSource]:
        for release in line.releases:
            try:
                files = self._files(release.files)
                yield ReleaseSource(release.version, _sane(release.released, self._now), release.by, files)
            except LeftOut as reason:
                self._found.left_out.append(f"version {release.version} of {line.name} as released: {reason}")

    def _submission(self, label: str, line: SubmissionLine) -> SubmissionSource:
        feedback = []
        for note in line.feedback:
            try:
                files = self._files(note.files)
            except LeftOut as reason:
                self._found.left_out.append(f"feedback on {label}: {reason}")
                continue
            feedback.append(FeedbackSource(note.created, note.released, note.score, note.max_score, files))
        return SubmissionSource(
            label,
            line.assignment,
            line.student,
            _sane(line.received, self._now),
            line.version,
            line.key,
            line.queued,
            self._files(line.files),
            tuple(feedback),
            line.jobs,
        )

    def _files(self, lines: tuple[FileLine, ...]) -> tuple[Source, ...]:
        files = []
        for line in lines:
            if line.place is None:
                raise LeftOut(f"{line.path!r} was damaged when it was exported")
            parts = tuple(line.place.split("/"))
            if any(part in ("", ".", "..") for part in parts):
                raise LeftOut(f"{line.place!r} leads out of the folder")
            files.append(Source(line.path, parts, line.size, line.sha256))
        _check_sizes(tuple(files), self._limits)
        return tuple(files)


class _Plain:
    """nbgrader's own exchange folder."""

    def __init__(self, root: Root, course: str, limits: ExchangeSection, zone: str, now: datetime) -> None:
        self._root = root
        self._course = course
        self._limits = limits
        self._zone = zone
        self._now = now
        self._found = Found()

    def read(self) -> Found:
        """Everything."""
        for name in self._root.entries(self._course, "outbound"):
            self._try(f"outbound/{name}", lambda name=name: self._assignment(name))  # type: ignore[misc]
        feedback = set(self._root.entries(self._course, "feedback"))
        for name in self._root.entries(self._course, "inbound"):
            self._try(f"inbound/{name}", lambda name=name: self._submission(name, feedback))  # type: ignore[misc]
        self._found.submissions.sort(key=lambda each: each.received)
        return self._found

    def _try(self, what: str, take: Callable[[], None]) -> None:
        try:
            take()
        except LeftOut as reason:
            self._found.left_out.append(f"{what!r}: {reason}")

    def _assignment(self, name: str) -> None:
        place = (self._course, "outbound", name)
        assignment = _identifier(name)
        files = self._files(place)
        with self._root.folder(*place) as handle:
            changed = datetime.fromtimestamp(os.fstat(handle).st_mtime, UTC)
        released = min(max(changed, EARLIEST), self._now)
        self._found.assignments[assignment] = AssignmentSource(
            assignment, None, (ReleaseSource(None, released, "import", files),)
        )

    def _submission(self, name: str, feedback: set[str]) -> None:
        parts = name.split("+", 3)
        if len(parts) < 3:
            raise LeftOut("its name is not STUDENT+ASSIGNMENT+TIME")
        student, assignment = _identifier(parts[0]), _identifier(parts[1])
        place = (self._course, "inbound", name)
        received = _sane(moment(parts[2], self._zone), self._now)
        inside = self._root.small(*place, TIMESTAMP_FILE)
        if inside is not None:
            with suppress(LeftOut):
                if moment(inside.decode("utf-8", "replace"), self._zone) != received:
                    self._found.notes.append(f"{name!r}: {TIMESTAMP_FILE} has another time; the folder's name counts.")
        files = self._files(place, ignore=frozenset({TIMESTAMP_FILE, SECRET_FILE}))
        if not files:
            raise LeftOut("there is no file in it that could be taken")
        notes = self._feedback(place, parts, received, files, feedback)
        self._found.submissions.append(
            SubmissionSource(f"{name!r}", assignment, student, received, None, None, None, files, notes)
        )

    def _files(self, place: tuple[str, ...], ignore: frozenset[str] = frozenset()) -> tuple[Source, ...]:
        """The plain files of a folder; what is none, or has no safe name, is left out and said."""
        sources: dict[str, Source] = {}
        with self._root.folder(*place) as top:

            def unreadable(error: OSError) -> None:
                self._skip(place, (str(error.filename),), "it cannot be read")

            for where, folders, names, handle in os.fwalk(".", dir_fd=top, follow_symlinks=False, onerror=unreadable):
                above = tuple(part for part in where.split("/") if part != ".")
                for name in sorted(folders):
                    if stat.S_ISLNK(os.stat(name, dir_fd=handle, follow_symlinks=False).st_mode):
                        self._skip(place, (*above, name), "it is a link")
                    elif len(above) + 1 >= DEPTH_LIMIT:
                        self._skip(place, (*above, name), "it lies too deep")
                folders[:] = sorted(folders) if len(above) + 1 < DEPTH_LIMIT else []
                for name in sorted(names):
                    if above or name not in ignore:
                        self._add(sources, place, (*above, name), handle)
                if len(sources) > self._limits.files_limit:
                    raise LeftOut(f"it has more files than [exchange] files_limit, {self._limits.files_limit}")
        files = self._without_twins(place, sources)
        _check_sizes(files, self._limits)
        return files

    def _add(self, sources: dict[str, Source], place: tuple[str, ...], inner: tuple[str, ...], folder: int) -> None:
        try:
            path = file_path("/".join(inner))
            handle = _plain(inner[-1], folder, "/".join(inner))
        except UnsafeName as error:
            self._skip(place, inner, f"no name that the exchange takes ({error.reason})")
            return
        except LeftOut:
            self._skip(place, inner, "it is not a plain file, or cannot be read")
            return
        size = os.fstat(handle).st_size
        os.close(handle)
        if path in sources:
            self._skip(place, inner, "another file has the same name")
        else:
            sources[path] = Source(path, (*place, *inner), size)

    def _without_twins(self, place: tuple[str, ...], sources: dict[str, Source]) -> tuple[Source, ...]:
        """Without those whose names could be one; a notebook is kept rather than something else."""
        kept: list[str] = []
        for path in sorted(sources, key=lambda path: (not path.endswith(".ipynb"), path)):
            try:
                file_paths([*kept, path])
            except UnsafeName:
                self._skip(place, (path,), "another file has nearly the same name")
            else:
                kept.append(path)
        return tuple(sources[path] for path in sorted(kept))

    def _skip(self, place: tuple[str, ...], inner: tuple[str, ...], why: str) -> None:
        self._found.left_out.append(f"{'/'.join((*place[1:], *inner))!r}: {why}; the rest was taken.")

    def _feedback(
        self, place: tuple[str, ...], parts: list[str], received: datetime, files: tuple[Source, ...], known: set[str]
    ) -> tuple[FeedbackSource, ...]:
        """The pages that nbgrader would find for this submission."""
        secret = self._root.small(*place, SECRET_FILE)
        pages, created = [], received
        for file in files:
            if "/" in file.path or not file.path.endswith(".ipynb"):
                continue
            notebook = file.path.removesuffix(".ipynb")
            page = f"{self._hash(file, parts, notebook, secret)}.html"
            if page not in known:
                continue
            where = (self._course, "feedback", page)
            try:
                with self._root.file(where) as handle:
                    status = os.fstat(handle)
            except LeftOut as reason:
                self._found.left_out.append(str(reason))
                continue
            created = max(created, min(datetime.fromtimestamp(status.st_mtime, UTC), self._now))
            pages.append(Source(f"{notebook}.html", where, status.st_size))
        try:
            _check_sizes(tuple(pages), self._limits)
        except LeftOut as reason:
            self._found.left_out.append(f"feedback on {place[-1]!r}: {reason}")
            return ()
        return (FeedbackSource(created, True, None, None, tuple(pages)),) if pages else ()

    def _hash(self, file: Source, parts: list[str], notebook: str, secret: bytes | None) -> str:
        """nbgrader's name for the feedback: by the submission's secret or, before it had one, by what was submitted."""
        if secret is not None:
            return hashlib.md5(secret + notebook.encode(), usedforsecurity=False).hexdigest()
        found = hashlib.md5(usedforsecurity=False)
        with self._root.file(file.place) as handle:
            while piece := os.read(handle, 2**20):
                found.update(piece)
        found.update("+".join((self._course, parts[1], notebook, parts[0], parts[2])).encode("utf-8", "replace"))
        return found.hexdigest()


def _identifier(text: str) -> str:
    try:
        return identifier(text)
    except UnsafeName as error:
        raise LeftOut(f"{text!r} is no name that the exchange takes ({error.reason})") from None
