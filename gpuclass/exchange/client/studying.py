"""nbgrader's exchange for students: fetch, list, fetch feedback; ``submit`` has the rest."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from typing import Any

from nbgrader.exchange import abc
from traitlets import Bool

from gpuclass.exchange.client import folder, inbound
from gpuclass.exchange.client.folder import NotAFolder
from gpuclass.exchange.client.outbox import Outbox, Press
from gpuclass.exchange.client.plugin import FEEDBACK_FOLDER, Exchange, checksum, files_in, notebooks_of
from gpuclass.exchange.client.receipts import due_line, pressed_line
from gpuclass.exchange.client.versions import md5


class ExchangeFetchAssignment(Exchange, abc.ExchangeFetchAssignment):  # type: ignore[misc]  # nbgrader has no types
    """Bring an assignment into the student's folder; what the student changed stays as it is."""

    def copy_files(self) -> None:
        """Fetch."""
        assignment = self.assignment
        target = self.work_folder(assignment)
        there = target.is_symlink() or target.exists()
        if target.is_symlink():
            raise NotAFolder(target)
        item = self.known(assignment)
        versions = self.versions(assignment)
        if there and self.bring(item):
            return
        if there and not self.replace_missing_files:
            self.fail(self.say("client.there", folder=target.name))
        version, files = self.release_of(assignment)
        if there:
            folder.write_missing(target, files)
        else:
            folder.write_new(target, files)
        versions.fetched(version, {path: files[path] for path in files if checksum(target / path) == md5(files[path])})
        self.log.info(self.say("client.fetched", folder=target.name))


class ExchangeList(Exchange, abc.ExchangeList):  # type: ignore[misc]  # nbgrader has no types
    """List what is released, what one has submitted, or (instructors) what has come in. The server's word, no cache."""

    as_json = Bool(False, help="Print the list as JSON.").tag(config=True)

    def list_files(self) -> list[dict[str, Any]]:
        """The list, in the form that nbgrader's own exchange and its Assignments tab use."""
        found = self._inbound() if self.inbound else self._submitted() if self.cached else self._released()
        if self.as_json:
            print(json.dumps(found))  # what --json asks for
        for line in self._lines(found):
            self.log.info(line)
        return found

    def remove_files(self) -> list[dict[str, Any]]:
        """Hide the released assignments of the list (instructors); submissions cannot be removed."""
        if self.inbound or self.cached:
            self.fail(self.say("client.not_removable"))
        found = self._released()
        for item in found:
            self.connection.delete("api", "assignment", self.course, item["assignment_id"])
            item["status"] = "removed"
            self.log.info(self.say("client.hidden", assignment=item["assignment_id"]))
        return found

    def _wanted(self) -> Iterable[dict[str, Any]]:
        name = self.coursedir.assignment_id
        return [item for item in self.overview().values() if name in ("", "*", item["name"])]

    def _released(self) -> list[dict[str, Any]]:
        return [self._released_entry(item) for item in self._wanted()]

    def _released_entry(self, item: Mapping[str, Any]) -> dict[str, Any]:
        place = self.work_folder(item["name"])
        there = place.is_dir() and not place.is_symlink()
        if there:
            self.bring(item)
        names = notebooks_of(item)
        if there:  # what the student can open: theirs, the assignment's own names first
            own = {path.stem for path in place.glob("*.ipynb")}
            names = [*(name for name in names if name in own), *sorted(own - set(names))]
        return {
            "course_id": self.course,
            "assignment_id": item["name"],
            "status": "fetched" if there else "released",
            "path": str(place),
            "notebooks": [{"notebook_id": name, "path": str(place / f"{name}.ipynb")} for name in names],
            "version": item["version"],
            "due": item["due"],
            "note": due_line(self.spoken, self.timezone, item["due"], self.course_overview["now"])
            if item["due"]
            else "",
        }

    def _submitted(self) -> list[dict[str, Any]]:
        waiting = Outbox(self.corner.home).waiting(time.time())
        found = []
        for item in self._wanted():
            entries = [self._submission(item, submission) for submission in item["submissions"]]
            here = [press for press in waiting if (press.course, press.assignment) == (self.course, item["name"])]
            entries += [self._waiting(item, press) for press in here]
            if entries:
                found.append(
                    {
                        "course_id": self.course,
                        "student_id": self.coursedir.student_id,
                        "assignment_id": item["name"],
                        "status": "submitted",
                        "submissions": entries,
                    }
                )
        return found

    def _waiting(self, item: Mapping[str, Any], press: Press) -> dict[str, Any]:
        """A press that is not sent yet, as an entry of the list."""
        return {
            "course_id": self.course,
            "student_id": self.coursedir.student_id,
            "assignment_id": item["name"],
            "timestamp": pressed_line(self.spoken, self.timezone, press.pressed),
            "status": "waiting",
            "path": str(self.work_folder(item["name"])),
            "notebooks": [],
            "has_local_feedback": False,
            "has_exchange_feedback": False,
            "local_feedback_path": None,
            "feedback_updated": False,
            "submission": None,
            "state": "waiting to be sent",
            "score": None,
            "max_score": None,
        }

    def _submission(self, item: Mapping[str, Any], submission: Mapping[str, Any]) -> dict[str, Any]:
        """One submission, and for each of its known notebooks whether there is feedback and whether it was fetched."""
        place = self.feedback_folder(item["name"], submission)
        given = {file["path"]: file["checksum"] for file in submission["feedback"]}
        notebooks = []
        for name in notebooks_of(item):
            page = f"{name}.html"
            own = checksum(place / page)
            notebooks.append(
                {
                    "notebook_id": name,
                    "path": str(self.work_folder(item["name"]) / f"{name}.ipynb"),
                    "has_local_feedback": own is not None,
                    "has_exchange_feedback": page in given,
                    "local_feedback_path": str(place / page) if own is not None else None,
                    "feedback_updated": own is not None and page in given and given[page] != own,
                }
            )
        graded = [notebook for notebook in notebooks if notebook["has_exchange_feedback"]]
        fetched = bool(graded) and all(notebook["has_local_feedback"] for notebook in graded)
        return {
            "course_id": self.course,
            "student_id": self.coursedir.student_id,
            "assignment_id": item["name"],
            "timestamp": self.shown(item, submission),
            "status": "submitted",
            "path": str(self.work_folder(item["name"])),
            "notebooks": notebooks,
            "has_local_feedback": fetched,
            "has_exchange_feedback": bool(graded),
            "local_feedback_path": str(place) if fetched else None,
            "feedback_updated": any(notebook["feedback_updated"] for notebook in notebooks),
            "submission": submission["submission"],
            "version": submission["version"],
            "late": submission["late"],
            "queued": submission["queued"],
            "state": submission["state"],
            "score": submission["score"],
            "max_score": submission["max_score"],
        }

    def _inbound(self) -> list[dict[str, Any]]:
        return [
            entry for item in self._wanted() for entry in inbound.listed(self, item["name"], self.coursedir.student_id)
        ]

    def _lines(self, found: list[dict[str, Any]]) -> Iterable[str]:
        for item in found:
            if item["status"] == "submitted":
                for entry in item["submissions"]:
                    student = f"{entry['student_id']} " if self.inbound else ""
                    line = f"{item['course_id']} {student}{item['assignment_id']} {entry['timestamp']}"
                    yield " · ".join([line, *entry.get("remarks", ())])
            else:
                due = f" · {item['note']}" if item["note"] else ""
                yield f"{item['course_id']} {item['assignment_id']} ({item['status']}){due}"


class ExchangeFetchFeedback(Exchange, abc.ExchangeFetchFeedback):  # type: ignore[misc]  # nbgrader has no types
    """Bring feedback into the student's folder: pages of the assignment's notebooks and nothing else."""

    def copy_files(self) -> None:
        """Fetch."""
        name = self.coursedir.assignment_id
        items = [self.known(self.assignment)] if name not in ("", "*") else list(self.overview().values())
        for item in items:
            found = [self._fetch(item, submission) for submission in item["submissions"]]
            if not any(found):
                self.log.info(self.say("client.no_feedback", assignment=item["name"]))

    def _fetch(self, item: Mapping[str, Any], submission: Mapping[str, Any]) -> bool:
        """Whether there is feedback; what has changed is fetched."""
        given = {file["path"]: file["checksum"] for file in submission["feedback"]}
        known = {f"{name}.html" for name in notebooks_of(item)} & given.keys()
        place = self.feedback_folder(item["name"], submission)
        if any(checksum(place / page) != given[page] for page in known):
            answer = self.connection.get(
                "api", "feedback", self.course, item["name"], self.myself(), timestamp=submission["timestamp"]
            )
            pages = {path: content for path, content in files_in(answer).items() if path in known}
            relative = f"{FEEDBACK_FOLDER}/{place.name}"
            folder.write_over(self.work_folder(item["name"]), {f"{relative}/{page}": pages[page] for page in pages})
            for page in sorted(pages):
                self.log.info(self.say("client.feedback", path=f"{item['name']}/{relative}/{page}"))
        return bool(known)

    def myself(self) -> str:
        """The caller's login; the service knows it better, but ngshare's path wants it."""
        return os.environ.get("JUPYTERHUB_USER", "")
