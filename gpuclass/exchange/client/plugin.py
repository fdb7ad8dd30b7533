"""What the parts of nbgrader's exchange over HTTP share. Runs in the containers; see ``client``."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

from nbgrader.exchange import abc
from nbgrader.exchange.abc import ExchangeError
from traitlets import Bool, Unicode, default

from gpuclass.exchange.client import folder
from gpuclass.exchange.client.connection import Connection, Refused, from_environment
from gpuclass.exchange.client.corner import Corner
from gpuclass.exchange.client.folder import Contents, NotAFolder, Plain, TooManyFiles
from gpuclass.exchange.client.receipts import local, marks, progress
from gpuclass.exchange.client.versions import Versions, md5, told
from gpuclass.exchange.messages import LANGUAGES, Language, megabytes, say
from gpuclass.exchange.names import DEPTH_LIMIT, UnsafeName, identifier

TIMESTAMP_FILE = "timestamp.txt"
FEEDBACK_FOLDER = "feedback"
LIMITS_FILE = "limits.json"
TRIES = 3

T = TypeVar("T")


class Exchange(abc.Exchange):  # type: ignore[misc]  # nbgrader has no types
    """What all eight share: the connection, the course, and words in the class's language."""

    path_includes_course = Bool(
        False, help="Whether assignments lie in a folder of the course: ./course/assignment instead of ./assignment."
    ).tag(config=True)

    language = Unicode(help="Language of messages: ko or en. Default: GPUCLASS_LANGUAGE.").tag(config=True)

    @default("language")
    def _language_default(self) -> str:
        return "en" if os.environ.get("GPUCLASS_LANGUAGE") == "en" else "ko"

    @default("timezone")
    def _timezone_default(self) -> str:
        return os.environ.get("GPUCLASS_TIMEZONE") or "UTC"

    @cached_property
    def connection(self) -> Connection:
        """The exchange, as the environment names it."""
        return from_environment(self.spoken)

    @property
    def spoken(self) -> Language:
        """The language of messages."""
        return cast("Language", self.language)

    @property
    def course(self) -> str:
        """The course that was named, or the class's."""
        course: str = self.coursedir.course_id or os.environ.get("GPUCLASS_COURSE", "")
        return course if course and course != "*" else self.fail(self.say("client.course"))

    @property
    def assignment(self) -> str:
        """The assignment that was named."""
        try:
            return identifier(self.coursedir.assignment_id)
        except UnsafeName as error:
            self.fail(self.say(f"name.{error.reason}", name=error.name, limit=DEPTH_LIMIT))

    def say(self, key: str, **values: object) -> str:
        """A text in the class's language."""
        return say(self.spoken, key, **values)

    def fail(self, msg: str) -> NoReturn:
        """Stop, telling why."""
        self.log.fatal(msg)
        raise ExchangeError(msg)

    def start(self) -> Any:
        """Do it; what the exchange refuses becomes nbgrader's ExchangeError, in one sentence."""
        try:
            return super().start()
        except Refused as refusal:
            self.fail(str(refusal))
        except NotAFolder as error:
            self.fail(self.say("client.not_a_folder", folder=error.path))
        finally:
            if "connection" in self.__dict__:
                self.connection.close()

    def init_src(self) -> None:
        """Nothing to prepare."""

    def init_dest(self) -> None:
        """Nothing to prepare."""

    def copy_files(self) -> None:
        """Nothing to copy."""

    def work_folder(self, assignment: str) -> Path:
        """Where the student's copy of an assignment lies."""
        place = Path(self.assignment_dir).absolute()
        return place / self.course / assignment if self.path_includes_course else place / assignment

    @cached_property
    def course_overview(self) -> dict[str, Any]:
        """What the exchange says of the course to this caller; asked once."""
        found = self.connection.get("gpuclass", "v1", "assignments", self.course)
        if found["limits"] != self.limits:
            self.corner.write(found["limits"], LIMITS_FILE)
        return found

    @property
    def limits(self) -> dict[str, int]:
        """The limits that the exchange has said last; empty before the first time."""
        if "course_overview" in self.__dict__:
            said: dict[str, int] = self.course_overview["limits"]
            return said
        kept = self.corner.read(LIMITS_FILE)
        names = ("submission_limit", "file_limit", "files_limit")
        return {name: kept[name] for name in names} if all(isinstance(kept.get(name), int) for name in names) else {}

    @cached_property
    def corner(self) -> Corner:
        """What the plugin remembers in this home."""
        return Corner(Path.home())

    def versions(self, assignment: str) -> Versions:
        """Which version of an assignment the student has."""
        return Versions(self.corner.home, self.course, assignment, self.work_folder(assignment), self.spoken)

    def release_of(self, assignment: str) -> tuple[int, dict[str, bytes]]:
        """The newest version of an assignment and its files, which belong together."""
        for _ in range(TRIES):
            item = self.known(assignment)
            files = files_in(self.connection.get("api", "assignment", self.course, assignment))
            listed = {file["path"]: file["checksum"] for file in item["release_files"]}
            if listed == {path: md5(content) for path, content in files.items()}:
                break
            del self.course_overview  # released again between the two
        return item["version"], files

    def bring(self, item: Mapping[str, Any]) -> bool:
        """Bring a newer version of an assignment that was fetched, and say so; whether there was one."""
        versions = self.versions(item["name"])
        if not versions.is_behind(item["version"]):
            return False
        try:
            version, files = self.release_of(item["name"])
            done = versions.update(version, files)
        except (OSError, NotAFolder, UnsafeName, Refused) as error:
            self.log.warning(self.say("version.failed", assignment=item["name"], reason=error))
            return False
        self.announce(
            f"version-{self.course}-{item['name']}-{version}",
            "info",
            {language: told(language, item["name"], version, done) for language in LANGUAGES},
        )
        return True

    def announce(self, mark: str, level: str, texts: Mapping[Language, str]) -> None:
        """Say a line here and, once, in Lab."""
        (self.log.warning if level == "warning" else self.log.info)(texts[self.spoken])
        self.corner.tell(mark, level, texts["ko"], texts["en"], time.time())

    def overview(self) -> dict[str, dict[str, Any]]:
        """The course's assignments by name, with the caller's own submissions."""
        return {item["name"]: item for item in self.course_overview["assignments"]}

    def known(self, assignment: str) -> dict[str, Any]:
        """One assignment of the overview; fails naming those there are."""
        found = self.overview()
        if assignment not in found:
            names = ", ".join(found) or self.say("client.none")
            self.fail(self.say("client.no_assignment", assignment=assignment, known=names))
        return found[assignment]

    def local(self, timestamp: str) -> datetime:
        """A time of the exchange in the class's zone."""
        return local(timestamp, self.timezone)

    def moment(self, submission: Mapping[str, Any]) -> str:
        """A submission's time, as file names may have it, and its number."""
        return f"{self.local(submission['timestamp']):%Y-%m-%d %H.%M.%S} ({submission['submission']})"

    def label(self, submission: Mapping[str, Any]) -> str:
        """What a submission is called as a folder of feedback: its time, its number and its score."""
        moment = self.moment(submission)
        if submission["score"] is None or submission["max_score"] is None:
            return moment
        return f"{moment} · {self.say('state.score', score=submission['score'], max_score=submission['max_score'])}"

    def shown(self, item: Mapping[str, Any], submission: Mapping[str, Any]) -> str:
        """What a submission is called in lists: time, number, how far it is; late or not, version where several are."""
        several = (item.get("version") or 1) > 1
        found = marks(
            self.spoken,
            late=submission.get("late"),
            due=None,
            version=submission.get("version") if several else None,
        )
        far = progress(self.spoken, self.timezone, item, submission, self.course_overview["now"])
        return " · ".join(filter(None, [self.moment(submission), far, *found]))

    def feedback_folder(self, assignment: str, submission: Mapping[str, Any]) -> Path:
        """Where feedback on a submission is put."""
        return self.work_folder(assignment) / FEEDBACK_FOLDER / self.label(submission)

    def read_folder(self, path: Path) -> dict[str, bytes]:
        """The files to be released from a folder, within the limits; what is left out is said."""
        limits = self.connection.get("gpuclass", "v1", "limits")
        found = self._within(limits, lambda **bounds: folder.read(path, **bounds))
        self._check_size(sum(map(len, found.files.values())), limits)
        return found.files

    def scan_folder(self, path: Path, limits: Mapping[str, int]) -> dict[str, Plain]:
        """The files to be sent from a folder, unread, within the limits; what is left out is said."""
        found = self._within(limits, lambda **bounds: folder.scan(path, **bounds))
        self._check_size(sum(plain.size for plain in found.files.values()), limits)
        return found.files

    def _within(self, limits: Mapping[str, int], collect: Callable[..., Contents[T]]) -> Contents[T]:
        try:
            found = collect(
                ignore=[*self.coursedir.ignore, TIMESTAMP_FILE],
                file_limit=limits["file_limit"],
                files_limit=limits["files_limit"],
            )
        except TooManyFiles as error:
            self.not_sent("size.count", count=error.count, limit=limits["files_limit"])
        for name in found.links:
            self.log.warning(self.say("client.skipped_link", name=name))
        for name, reason in found.unsafe.items():
            text = self.say(f"name.{reason}", name=name, limit=DEPTH_LIMIT)
            self.log.warning(self.say("client.skipped_name", reason=text))
        limit = megabytes(limits["file_limit"])
        for name, size in found.too_large.items():
            if name.endswith(".ipynb"):
                self.not_sent("size.file", name=name, size=megabytes(size), limit=limit)
            self.log.warning(self.say("client.skipped_size", name=name, size=megabytes(size), limit=limit))
        return found

    def _check_size(self, total: int, limits: Mapping[str, int]) -> None:
        limit = limits["submission_limit"]
        if total > limit:
            self.not_sent("size.submission", size=megabytes(total), limit=megabytes(limit))

    def not_sent(self, key: str, **values: object) -> NoReturn:
        """Stop, telling why nothing was sent."""
        self.fail(self.say("client.not_submitted", reason=self.say(key, **values)))


def files_in(answer: Mapping[str, Any]) -> dict[str, bytes]:
    """The files in an answer of the service."""
    return {item["path"]: base64.b64decode(item["content"]) for item in answer["files"]}


def notebooks_of(item: Mapping[str, Any]) -> list[str]:
    """Names of an assignment's notebooks, without the ending."""
    return [path.removesuffix(".ipynb") for path in item["files"] if path.endswith(".ipynb") and "/" not in path]


def checksum(path: Path) -> str | None:
    """MD5 of a file as ngshare gives it; None if there is none."""
    try:
        return md5(path.read_bytes())
    except OSError:
        return None
