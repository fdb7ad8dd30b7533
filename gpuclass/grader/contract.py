"""Where a test may use an object of the student's: noted once while the instructor's own solution is tested.

An object that a student's function returns could pretend to be any answer, so the referee lets a test use one only
where the solution gave one too. That is found out by running the solution as a student's would be run, with the referee
taking notes, and is kept beside the source version until that, or the referee, changes.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from gpuclass import ROOT
from gpuclass.grader.cells import beside, code_cells, grade_id, is_locked, is_test, originals
from gpuclass.grader.pair import OpenPair
from gpuclass.grader.sandbox import Lost

FOLDER = "contracts"  # in the course folder
TRIES = 3  # a solution that does not pass is recorded so often before what it gave is kept: the machine may be at fault

log = logging.getLogger("gpuclass.grading")


@dataclass(frozen=True)
class Contract:
    """What one recording brought.

    Attributes:
        paths: where an object may be used, in the referee's notation (``Net().parameters()``); None when the solution
            did not come to its end: the referee then goes by what the instructor's notebook defines.
        failed: the tests that the solution did not pass, by grade_id.
        tries: how often it was recorded without passing.
    """

    paths: tuple[str, ...] | None
    failed: tuple[str, ...] = ()
    tries: int = 0


def record(source: NotebookNode, files: dict[str, bytes], open_pair: OpenPair, seconds: float) -> Contract:
    """Test the instructor's solution and note where it gives objects.

    Args:
        source: the instructor's notebook, solution and hidden tests in it.
        files: beside it.
        open_pair: gives a fresh pair.
        seconds: for the whole notebook.

    Raises:
        EngineError: there are no containers to be had; the solution is not at fault.
    """
    failed: list[str] = []
    with open_pair() as pair:
        pair.start(files, list(originals(source).values()), seconds, record=True)
        try:
            for cell in code_cells(source):
                if not is_test(cell):
                    pair.run(cell.source)
                    pair.reached(cell.source, locked=is_locked(cell))
                elif not pair.test(cell.source).ok:
                    failed.append(grade_id(cell))
            return Contract(tuple(pair.recorded()), tuple(failed))
        except Lost:
            return Contract(None, tuple(failed))


def contract_of(
    course: Path, assignment: str, notebook: str, open_pair: OpenPair, seconds: float
) -> tuple[str, ...] | None:
    """The kept paths of a notebook of ``source/<assignment>``; recorded now if they are missing or out of date.

    One process at a time records an assignment; the others wait for what it brings.

    Raises:
        EngineError: as `record`.
    """
    folder = course / "source" / assignment
    source = nbformat.read(folder / f"{notebook}.ipynb", as_version=4)
    files = beside(folder)
    digest = digest_of(source, files)
    kept = Kept(course / FOLDER / f"{assignment}.json")
    found = kept.read(notebook, digest)
    if found is None or _is_doubtful(found):
        with kept.locked():
            found = kept.read(notebook, digest)  # by somebody else meanwhile
            if found is None or _is_doubtful(found):
                found = _again(found, lambda: record(source, files, open_pair, seconds))
                kept.write(notebook, digest, found)
    return found.paths


def _again(before: Contract | None, make: Callable[[], Contract]) -> Contract:
    found = make()
    if found.paths is not None and not found.failed:
        return found
    tries = (before.tries if before else 0) + 1
    log.warning("the solution itself does not pass: %s", ", ".join(found.failed) or "its run ended early")
    return Contract(found.paths, found.failed, tries)


def _is_doubtful(contract: Contract) -> bool:
    return (contract.paths is None or bool(contract.failed)) and contract.tries < TRIES


def digest_of(source: NotebookNode, files: dict[str, bytes]) -> str:
    """SHA-256 of everything that a recording depends on: code cells, files beside the notebook, the grader itself."""
    digest = hashlib.sha256(grader_digest().encode())
    for cell in code_cells(source):
        digest.update(json.dumps([cell.source, grade_id(cell), is_test(cell), is_locked(cell)]).encode())
    for name, data in sorted(files.items()):
        digest.update(json.dumps([name, hashlib.sha256(data).hexdigest()]).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


@cache
def grader_digest() -> str:
    """SHA-256 of what runs in the grader's containers."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "grading").glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


class Kept:
    """The file with an assignment's contracts. What cannot be read, or was changed by hand, counts as missing."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, notebook: str, digest: str) -> Contract | None:
        """What was recorded of this very notebook."""
        match self._notebooks().get(notebook):
            case {"source": str() as source, "paths": paths, "failed": list() as failed, "tries": int() as tries} if (
                source == digest
            ):
                return Contract(None if paths is None else tuple(paths), tuple(failed), tries)
        return None

    def write(self, notebook: str, digest: str, contract: Contract) -> None:
        """Keep it; only with `locked`. A full disk or a folder without rights costs the next grading some seconds."""
        notebooks = self._notebooks() | {notebook: {"source": digest, **asdict(contract)}}
        text = json.dumps({"notebooks": notebooks, "sha256": _checksum(notebooks)}, indent=1, ensure_ascii=True)
        try:
            replace_file(self._path, text + "\n")
        except OSError as error:
            log.warning("%s is not kept: %s", self._path, error)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time; without a folder to put a lock in, everybody for themselves."""
        with contextlib.ExitStack() as stack:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                lock = stack.enter_context(self._path.with_suffix(".lock").open("a"))
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError as error:
                log.warning("%s cannot be locked: %s", self._path, error)
            yield

    def _notebooks(self) -> dict[str, Any]:
        try:
            kept = json.loads(self._path.read_text(encoding="ascii"))
            notebooks = kept["notebooks"]
            return dict(notebooks) if kept["sha256"] == _checksum(notebooks) else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}


def _checksum(notebooks: object) -> str:
    return hashlib.sha256(json.dumps(notebooks, sort_keys=True).encode()).hexdigest()


def replace_file(path: Path, text: str) -> None:
    """Write a file of ASCII so that readers see the old or the new one."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(text, encoding="ascii")
    os.replace(part, path)  # noqa: PTH105  # over what is there
