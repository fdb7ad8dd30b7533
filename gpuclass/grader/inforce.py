"""Which instructor's version of an assignment is in force: the one that submissions are graded with.

A teacher who corrects a test in ``source/`` changes nobody's score by saving the file. So grading reads a copy, kept as
it was when it came into force:

- with the assignment's first grading,
- when the gradebook was written anew from ``source/`` (Formgrader's Generate),
- when a new version is released,
- when a re-grade is applied.

A copy is never changed: a grading that began with one ends with it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

FOLDER = ".in-force"  # in the course folder
TRIALS = ".regrade"  # in the course folder: for each re-grade that is tried out, a course folder (`regrade`)
READY = "ready.json"  # there, when it is made
CONTRACTS = "contracts"  # beside ``source/``, for every version the same: an entry says of which text it is
_SKIPPED = shutil.ignore_patterns(".*", "__pycache__")


@dataclass(frozen=True)
class Mark:
    """What is in force.

    Attributes:
        source: the version's digest, which names its folder.
        gradebook: digest of what the gradebook knew of it.
        release: the exchange's number of the newest release then.
        batch: the newest re-grade whose version came into force, or was passed over for a newer one.
        changing: the folder, below the course's, whose version is being put in force; empty when that was ended.
    """

    source: str
    gradebook: str
    release: int = 0
    batch: int = 0
    changing: str = ""


class InForce:
    """The versions kept in a course folder, and which of them is in force."""

    def __init__(self, course: Path) -> None:
        self._course = course
        self._folder = course / FOLDER

    def mark(self, assignment: str) -> Mark | None:
        """What is in force; None when nothing was graded yet."""
        try:
            return Mark(**json.loads(self._path(assignment).read_text(encoding="ascii")))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def put(self, assignment: str, mark: Mark) -> None:
        """Have a version that is kept in force; it is on disk before this returns."""
        part = self._path(assignment).with_suffix(".part")
        with part.open("w", encoding="ascii") as file:
            json.dump(asdict(mark), file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._path(assignment))

    def keep(self, source: Path) -> str:
        """Keep a copy of an assignment's folder; its digest."""
        digest = digest_of(source)
        kept = self._folder / digest
        if not kept.exists():
            self._folder.mkdir(exist_ok=True)
            draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=self._folder))
            try:
                draft.chmod(0o755)
                shutil.copytree(source, draft / "source" / source.name, ignore=_SKIPPED)
                (self._course / CONTRACTS).mkdir(exist_ok=True)
                (draft / CONTRACTS).symlink_to(Path("..", "..", CONTRACTS))
                draft.rename(kept)
            finally:
                shutil.rmtree(draft, ignore_errors=True)  # it has another name now, unless it failed
        return digest

    def source(self, mark: Mark) -> Path:
        """The folder that stands for ``source/``."""
        return self._folder / mark.source / "source"

    def _path(self, assignment: str) -> Path:
        return self._folder / f"{assignment}.json"


def digest_of(source: Path) -> str:
    """Of an assignment's name and all its files."""
    digest = hashlib.sha256(source.name.encode())
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source)
        if path.is_file() and not any(part.startswith(".") or part == "__pycache__" for part in name.parts):
            found = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"\0{name.as_posix()}\0{found}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:32]
