"""Which version of an assignment a student's files are of, and how a corrected one reaches them.

A file that the student never touched is replaced by the new one. One that they changed stays, and the new one is put
beside it under a name that says its version; a notebook put there carries the number inside, so that whoever takes it
over under the old name answers the new version, edited or not. A file that is missing is put there again. Nothing that
the student wrote is ever changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from gpuclass.exchange.client import folder
from gpuclass.exchange.client.corner import Corner
from gpuclass.exchange.messages import Language, say

FOLDER = "assignments"
NOTEBOOK_LIMIT = 2**26  # bytes of a notebook that is looked into for the number of its version
COPIES = 20  # names that are tried for a file put beside


@dataclass
class Known:
    """What is known of one assignment in one folder.

    Attributes:
        seen: the newest version that was brought here.
        files: path → version and MD5 of what was put there last.
        beside: path → name, version and MD5 of the newest copy that was put beside it.
    """

    seen: int = 0
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    beside: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass
class Update:
    """What bringing a version did: names of files replaced, added or put back, and put beside."""

    replaced: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    back: list[str] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)


class Versions:
    """The versions in one folder of one assignment.

    Args:
        home: where the plugin keeps what it knows.
        course, assignment, place: of what, and where the student has it.
        language: of the names that are given.
    """

    def __init__(self, home: Path, course: str, assignment: str, place: Path, language: Language) -> None:
        self.place = place
        self._corner = Corner(home)
        self._language = language
        # Hashed: names may be longer in UTF-8 than a file's may be, and one assignment may lie in two folders.
        mark = "\0".join((course, assignment, str(place)))
        self._file = hashlib.sha256(mark.encode("utf-8", "surrogateescape")).hexdigest()[:32] + ".json"

    def known(self) -> Known:
        """What is known; empty if nothing is."""
        found = self._corner.read(FOLDER, self._file)
        try:
            return Known(int(found["seen"]), _entries(found["files"]), _entries(found["beside"]))
        except (KeyError, TypeError, ValueError):
            return Known()

    def _remember(self, known: Known) -> None:
        content = {"seen": known.seen, "files": known.files, "beside": known.beside}
        self._corner.write(content, FOLDER, self._file)

    def fetched(self, version: int, files: Mapping[str, bytes]) -> None:
        """These files were put there as they are in this version."""
        known = self.known()
        known.seen = max(known.seen, version)
        known.files.update({path: {"version": version, "md5": md5(content)} for path, content in files.items()})
        self._remember(known)

    def is_behind(self, version: int) -> bool:
        """Whether the student has an older version than this; not if nothing is known."""
        known = self.known()
        return 0 < known.seen < version

    def update(self, version: int, files: Mapping[str, bytes]) -> Update:
        """Bring a newer version; once.

        Raises:
            OSError: the home cannot take it; what is there is whole, and the rest comes with the next try.
            NotAFolder: a link lies in the way.
        """
        known, done = self.known(), Update()
        for path, content in files.items():
            self._bring(path, content, version, known, done)
        known.seen = version
        self._remember(known)
        return done

    def _bring(self, path: str, content: bytes, version: int, known: Known, done: Update) -> None:
        before, now, new = known.files.get(path), self._md5(path), md5(content)
        beside = known.beside.get(path, {})
        if now is None and not self._is_there(path):
            if folder.write_missing(self.place, {path: content}):
                (done.back if before else done.added).append(path)
        elif now is not None and now == new:
            pass  # nothing has changed, or an earlier try came as far as this
        elif now is not None and now in [entry["md5"] for entry in (before, beside) if entry]:
            folder.write_over(self.place, {path: content})
            done.replaced.append(path)
        elif before and new == before["md5"]:
            pass  # the student's own work on a file that is the same in both versions
        else:
            self._put_beside(path, content, version, known, done)
            return  # what is there still answers the older version
        known.files[path] = {"version": version, "md5": new}

    def _put_beside(self, path: str, content: bytes, version: int, known: Known, done: Update) -> None:
        stamped = stamp(content, version) if path.endswith(".ipynb") else content
        for number in range(1, COPIES):
            name = self._name_beside(path, version, number)
            if folder.write_missing(self.place, {name: stamped}) or self._md5(name) == md5(stamped):
                known.beside[path] = {"name": name, "version": version, "md5": md5(stamped)}
                done.beside.append(name)
                return

    def _name_beside(self, path: str, version: int, number: int) -> str:
        pure = PurePosixPath(path)
        mark = say(self._language, "receipt.version", version=version)
        again = f" {number}" if number > 1 else ""
        return str(pure.with_name(f"{pure.stem} ({mark}){again}{pure.suffix}"))

    def _is_there(self, path: str) -> bool:
        place = self.place / path
        return place.is_symlink() or place.exists()

    def _md5(self, path: str) -> str | None:
        """MD5 of a plain file; None if there is none."""
        try:
            with folder.open_plain(self.place, path) as file:
                return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        except OSError:
            return None

    def answered(self) -> int | None:
        """The version that the notebooks, as they lie there, answer: the oldest of them. None if one is unknown."""
        known = self.known()
        paths = [path for path in {**known.files, **known.beside} if path.endswith(".ipynb") and self._is_there(path)]
        found = [self._version_of(path, known) for path in paths]
        return min(found, default=None) if None not in found else None  # type: ignore[type-var]  # just asked

    def _version_of(self, path: str, known: Known) -> int | None:
        """By what was put there or, once another was put beside it, by the number that a copy carries inside."""
        base: int | None = known.files[path]["version"] if path in known.files else None
        if path in known.beside:
            taken_over = self._stamp(path)
            return base if taken_over is None else max(taken_over, base or 0)
        return base

    def _stamp(self, path: str) -> int | None:
        try:
            with folder.open_plain(self.place, path) as file:
                content = file.read(NOTEBOOK_LIMIT)
            found = json.loads(content)["metadata"]["gpuclass"]["version"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        return found if isinstance(found, int) and found > 0 else None

    def edited_beside(self) -> dict[str, str]:
        """Notebooks that are handed in as they are, though the student also worked in the copy beside; path → copy."""
        known = self.known()
        return {
            path: copy["name"]
            for path, copy in known.beside.items()
            if path.endswith(".ipynb")
            and self._md5(copy["name"]) not in (None, copy["md5"])
            and (self._stamp(path) or 0) < copy["version"]
        }


def told(language: Language, assignment: str, version: int, done: Update) -> str:
    """What an update did, in one line."""
    parts = [say(language, "version.new", assignment=assignment, version=version)]
    for key, names in (
        ("version.replaced", [*done.replaced, *done.added]),
        ("version.back", done.back),
        ("version.beside", done.beside),
    ):
        if names:
            parts.append(say(language, key, names=", ".join(names)))
    return " ".join(parts)


def stamp(content: bytes, version: int) -> bytes:
    """A notebook with the number of its version inside; what is no notebook stays as it is."""
    try:
        notebook = json.loads(content)
        metadata = notebook.setdefault("metadata", {})
        metadata["gpuclass"] = {**metadata.get("gpuclass", {}), "version": version}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return content
    return json.dumps(notebook, ensure_ascii=False, indent=1).encode() + b"\n"


def md5(content: bytes) -> str:
    """MD5 as ngshare gives it."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _entries(found: Any) -> dict[str, dict[str, Any]]:
    """Entries of the plugin's own file, which anybody in the container may have written.

    Raises:
        TypeError, KeyError, ValueError: they are none.
    """
    return {
        str(path): {**entry, "version": int(entry["version"]), "md5": str(entry["md5"])}
        for path, entry in dict(found).items()
    }
