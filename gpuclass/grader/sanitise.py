"""What a student sent, taken apart and put together anew: the only thing grading ever sees.

Reading never follows a link and never reads more than its caps. A notebook is rebuilt from its cells' text; read-only
cells, metadata, points and order come from the instructor's version, outputs from nobody. What cannot be rebuilt is
`Quarantined` with a reason for student and instructor.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import stat
import unicodedata
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

import nbformat
from nbformat import NotebookNode

from gpuclass.grader.recognise import Cell, note, recognised
from gpuclass.grader.template import SourceCell, Template
from gpuclass.grader.words import say
from gpuclass.settings import Language
from gpuclass.units import show_size

FILES_LIMIT = 200
FILE_LIMIT = 25 * 2**20  # bytes; as the exchange's own default
TOTAL_LIMIT = 50 * 2**20
FOLDER_DEPTH = 8
CELLS_LIMIT = 2000
CELL_LIMIT = 2**20  # characters of one cell
ROUNDS = 5  # of putting cells in order: a test that moves behind its answer changes what is out of order
NAME_LIMIT = 200  # characters of a path
TIMESTAMP = "timestamp.txt"  # nbgrader's file for the time of submission; ours comes from the server

# Data and helper modules; nothing that a browser would run if somebody opened it.
_CODE_AND_TEXT = {".py", ".txt", ".md", ".csv", ".tsv", ".json", ".jsonl", ".yaml", ".yml", ".toml"}
_ARRAYS = {".npy", ".npz", ".pt", ".pth", ".pkl", ".safetensors", ".dat", ".zip", ".gz"}
_MEDIA = {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".wav"}
SUFFIXES = frozenset(_CODE_AND_TEXT | _ARRAYS | _MEDIA)
_IMAGES = ("image/png", "image/jpeg", "image/gif")


class Quarantined(Exception):  # noqa: N818  # a state of the submission, not a fault of the program
    """A submission that is put aside for a person; ``key`` and ``details`` are for `words.say`."""

    def __init__(self, key: str, **details: Any) -> None:
        super().__init__(key)
        self.key = key
        self.details = details

    def reason(self, language: Language) -> str:
        """Why, for student and instructor."""
        return say(language, self.key, **self.details)


@dataclass(frozen=True)
class Files:
    """A submission's files by path: its notebooks, what may lie beside them, and what was left out."""

    notebooks: dict[str, bytes] = field(default_factory=dict)
    others: dict[str, bytes] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


def read(folder: Path, notebooks: Collection[str], given: Collection[str] = ()) -> Files:
    """The files of a submission.

    Args:
        folder: where they lie; anybody may have put anything there.
        notebooks: names (without .ipynb) that the assignment has.
        given: paths of the files that the instructor put beside them; none of a student's stands in their way.

    Raises:
        Quarantined: links, devices, too many or too large files, or two files for one notebook.
    """
    found: dict[str, bytes] = {}
    others: dict[str, bytes] = {}
    left_out: list[str] = []
    total = 0
    places = [PurePosixPath(path) for path in (*given, *(f"{name}.ipynb" for name in notebooks), TIMESTAMP)]
    for number, (path, full) in enumerate(_walk(folder, PurePosixPath())):
        if number >= FILES_LIMIT:
            raise Quarantined("too-many-files", limit=FILES_LIMIT)
        name = path.name
        notebook = notebook_name(path, notebooks)
        if notebook is None and (
            path.suffix.lower() not in SUFFIXES or name == TIMESTAMP or not _plain(path) or _obstructs(path, places)
        ):
            if name != TIMESTAMP:
                left_out.append(_printable(str(path)))
            continue
        data = _read_file(full, path)
        total += len(data)
        if total > TOTAL_LIMIT:
            raise Quarantined("total-size", limit=show_size(TOTAL_LIMIT))
        if notebook is None:
            others[str(path)] = data
        elif notebook in found:
            raise Quarantined("ambiguous", path=f"{notebook}.ipynb")
        else:
            found[notebook] = data
    return Files(found, others, tuple(left_out))


def rebuild(data: bytes, template: Template, notebook: str, language: Language) -> tuple[NotebookNode, list[str]]:
    """A submitted notebook as grading may see it.

    Returns:
        The notebook, and what was repaired, as sentences.

    Raises:
        Quarantined: it cannot be read.
    """
    cells = _parse(data, notebook)
    repairs: dict[str, list[str]] = {}
    cells = recognised(cells, template, repairs)
    _restore(cells, repairs)
    for _ in range(ROUNDS):
        before, cells = cells, _order(cells, template, repairs)
        if [cell.source for cell in cells] == [cell.source for cell in before]:
            break
    sentences = [say(language, key, cells=", ".join(ids)) for key, ids in repairs.items()]
    return _notebook(cells, template, {"repairs": sentences}), sentences


def withheld(template: Template, reason: str) -> NotebookNode:
    """The released notebook in place of one that is missing or quarantined; `execute` gives it 0 and says why."""
    cells = [Cell(source.cell_type, source.source, known=source) for source in template.cells]
    return _notebook(cells, template, {"withheld": reason})


def _walk(folder: Path, inside: PurePosixPath) -> Iterator[tuple[PurePosixPath, Path]]:
    """Regular files below ``folder``; hidden ones, caches and checkpoints are passed over."""
    try:
        if folder.is_symlink():
            raise Quarantined("link", path=_printable(folder.name))
        if not folder.is_dir():
            raise Quarantined("not-a-folder")
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        raise Quarantined("unreadable", path=_printable(str(inside))) from None
    for entry in entries:
        path = inside / entry.name
        if entry.name.startswith(".") or entry.name == "__pycache__":
            continue
        if entry.is_symlink():
            raise Quarantined("link", path=_printable(str(path)))
        if entry.is_dir(follow_symlinks=False):
            if len(path.parts) > FOLDER_DEPTH:
                raise Quarantined("too-many-files", limit=FILES_LIMIT)
            yield from _walk(Path(entry.path), path)
        else:
            yield path, Path(entry.path)


def _read_file(full: Path, path: PurePosixPath) -> bytes:
    try:
        descriptor = os.open(full, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        raise Quarantined("unreadable", path=_printable(str(path))) from None
    with open(descriptor, "rb") as stream:  # noqa: PTH123  # a descriptor, so that nobody can swap the file meanwhile
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Quarantined("special", path=_printable(str(path)))
        if status.st_nlink > 1:
            raise Quarantined("link", path=_printable(str(path)))
        if status.st_size > FILE_LIMIT:
            raise Quarantined("file-size", path=_printable(str(path)), limit=show_size(FILE_LIMIT))
        return stream.read(FILE_LIMIT)


def notebook_name(path: PurePath, notebooks: Collection[str]) -> str | None:
    """Which notebook of the assignment this is. macOS writes Korean names in another Unicode form."""
    if len(path.parts) > 1 or path.suffix != ".ipynb":
        return None
    name = unicodedata.normalize("NFC", path.stem)
    return next((known for known in notebooks if unicodedata.normalize("NFC", known) == name), None)


def _obstructs(path: PurePosixPath, places: Collection[PurePosixPath]) -> bool:
    """Whether a file is where ``places`` need a folder, or in a folder where they need a file."""
    return any(place != path and (place in path.parents or path in place.parents) for place in places)


def _plain(path: PurePosixPath) -> bool:
    text = str(path)
    return text.isprintable() and len(text) <= NAME_LIMIT and "\\" not in text


def _printable(text: str) -> str:
    """A file name that can be printed and written as UTF-8."""
    shown = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(c if c.isprintable() else "\ufffd" for c in shown)[:NAME_LIMIT]


def _parse(data: bytes, notebook: str) -> list[Cell]:
    try:
        raw = json.loads(data.decode("utf-8-sig"), parse_constant=str)
    except RecursionError:
        raise Quarantined("too-deep", notebook=notebook) from None
    except ValueError:
        raise Quarantined("not-json", notebook=notebook) from None
    if not isinstance(raw, dict):
        raise Quarantined("not-json", notebook=notebook)
    if raw.get("nbformat") != 4 or not isinstance(raw.get("cells"), list):
        raise Quarantined("not-v4", notebook=notebook)
    if len(raw["cells"]) > CELLS_LIMIT:
        raise Quarantined("too-many-cells", notebook=notebook, limit=CELLS_LIMIT)
    return [_parse_cell(cell, notebook, number) for number, cell in enumerate(raw["cells"], 1)]


def _parse_cell(raw: object, notebook: str, number: int) -> Cell:
    bad = Quarantined("bad-cell", notebook=notebook, number=number)
    if not isinstance(raw, dict) or raw.get("cell_type") not in ("code", "markdown", "raw"):
        raise bad
    source = raw.get("source")
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    if not isinstance(source, str) or len(source) > CELL_LIMIT:
        raise bad
    cell = Cell(raw["cell_type"], _clean(source).replace("\r\n", "\n"))
    metadata = raw.get("metadata")
    nbgrader = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    grade_id = nbgrader.get("grade_id") if isinstance(nbgrader, dict) else None
    cell.grade_id = grade_id if isinstance(grade_id, str) else None
    attachments = raw.get("attachments")
    if cell.cell_type == "markdown" and isinstance(attachments, dict):
        cell.attachments = {_clean(name): kept for name, kinds in attachments.items() if (kept := _images(kinds))}
    return cell


def _clean(text: str) -> str:
    """Text that can be written as UTF-8, without NUL."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")


def _images(kinds: object) -> dict[str, str]:
    if not isinstance(kinds, dict):
        return {}
    return {mime: data for mime, data in kinds.items() if mime in _IMAGES and isinstance(data, str) and _base64(data)}


def _base64(data: str) -> bool:
    try:
        return bool(base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError):
        return False


def _restore(cells: Sequence[Cell], repairs: dict[str, list[str]]) -> None:
    """Type and, where it is read-only, text of known cells."""
    for cell in cells:
        if cell.known is None:
            continue
        if cell.cell_type != cell.known.cell_type:
            note(repairs, "retyped", cell.known.grade_id)
            cell.cell_type = cell.known.cell_type
            cell.attachments = {} if cell.cell_type == "code" else cell.attachments
        if cell.known.locked and cell.source != cell.known.source:
            # Hidden tests were never there: a released cell differs from the instructor's without anybody's doing.
            if not _released_from(cell.source, cell.known.source):
                note(repairs, "rewritten", cell.known.grade_id)
            cell.source = cell.known.source


def _released_from(released: str, source: str) -> bool:
    """Whether ``released`` is ``source`` with whole lines left out, as for hidden tests."""
    lines = iter(source.rstrip().split("\n"))
    return all(any(line == other for other in lines) for line in released.rstrip().split("\n")) or not released.strip()


def _order(cells: list[Cell], template: Template, repairs: dict[str, list[str]]) -> list[Cell]:
    """Put read-only and graded cells that are missing or out of order before the next known cell.

    Tests stand behind the tests and answers that come before them in the instructor's version, wherever a student has
    put those.
    """
    place = {source.grade_id: number for number, source in enumerate(template.cells)}
    positions = [place[cell.known.grade_id] for cell in cells if cell.known]
    in_order = _longest_increasing(positions)
    kept: list[Cell] = []
    for cell, behind in zip(cells, _answers_behind(cells, place), strict=True):
        if cell.known and cell.known.locked and not _stays(cell.known, place[cell.known.grade_id], in_order, behind):
            note(repairs, "moved", cell.known.grade_id)
        else:
            kept.append(cell)
    present = {cell.known.grade_id for cell in kept if cell.known}
    moved = set(repairs.get("moved", ()))
    for source in template.cells:
        if source.grade_id in present or not (source.locked or source.grade or source.task):
            continue  # a plain answer without its mark still runs where it stands
        if source.grade_id not in moved:
            note(repairs, "restored", source.grade_id)
        following = {other.grade_id for other in template.cells[place[source.grade_id] + 1 :]}
        index = next((i for i, cell in enumerate(kept) if cell.known and cell.known.grade_id in following), len(kept))
        if _is_test(source):
            known = [
                (i, cell.known) for i, cell in enumerate(kept) if cell.known and cell.known.grade_id not in following
            ]
            index = max([index, *(i + 1 for i, earlier in known if _is_test(earlier) or _is_answer(earlier))])
        kept.insert(index, Cell(source.cell_type, source.source, known=source))
    return kept


def _is_answer(known: SourceCell) -> bool:
    return known.solution and known.cell_type == "code"


def _is_test(known: SourceCell) -> bool:
    return known.grade and known.locked


def _answers_behind(cells: Sequence[Cell], place: Mapping[str, int]) -> list[int]:
    """For each cell the smallest place in the instructor's version of the answers behind it."""
    smallest, found = len(place), []
    for cell in reversed(cells):
        found.append(smallest)
        if cell.known and _is_answer(cell.known):
            smallest = min(smallest, place[cell.known.grade_id])
    return found[::-1]


def _stays(known: SourceCell, place: int, in_order: Collection[int], behind: int) -> bool:
    """Whether a read-only cell may stay where it is: in order, and a test behind the answers before it."""
    return place in in_order and not (_is_test(known) and behind < place)


def _longest_increasing(values: Sequence[int]) -> set[int]:
    """The members of a longest increasing run of ``values``, which are all different."""
    tails: list[int] = []
    previous: dict[int, int | None] = {}
    for value in values:
        at = bisect_left(tails, value)
        previous[value] = tails[at - 1] if at else None
        tails[at : at + 1] = [value]
    chosen: set[int] = set()
    value_or_none = tails[-1] if tails else None
    while value_or_none is not None:
        chosen.add(value_or_none)
        value_or_none = previous[value_or_none]
    return chosen


def remark(notebook: NotebookNode, sentence: str) -> None:
    """Have the feedback page of a rebuilt notebook say one more thing, above everything else."""
    remarks = notebook.metadata["gpuclass"]
    remarks["repairs"] = [sentence, *remarks.get("repairs", [])]


def _notebook(cells: Sequence[Cell], template: Template, remarks: Mapping[str, Any]) -> NotebookNode:
    made: NotebookNode = nbformat.v4.new_notebook(metadata={**template.metadata, "gpuclass": dict(remarks)})
    for cell in cells:
        metadata = {"nbgrader": cell.known.metadata()} if cell.known else {}
        match cell.cell_type:
            case "code":
                made.cells.append(nbformat.v4.new_code_cell(cell.source, metadata=metadata))
            case "markdown":
                extra = {"attachments": cell.attachments} if cell.attachments else {}
                made.cells.append(nbformat.v4.new_markdown_cell(cell.source, metadata=metadata, **extra))
            case _:
                made.cells.append(nbformat.v4.new_raw_cell(cell.source, metadata=metadata))
    return made
