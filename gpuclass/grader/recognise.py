"""Which of a submission's cells is which of the instructor's, also after a student has mangled the notebook.

By its mark (grade_id) where there is one. Else by its text: a read-only cell inside a merged one, an answer that
defines the name it was asked for, or that stands where the answer stood. What is not recognised stays a cell like any
other and runs where it stands: no text of a student is dropped but copies of what was released.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from gpuclass.grader.template import SourceCell, Template

Repairs = dict[str, list[str]]  # what was done to which cells

# A line such as `import torch` may be anybody's own; a text of this many characters is the instructor's.
TELLING = 30
_DEFINITION = re.compile(r"^(?:async +)?(?:def|class) +(\w+)|^(\w+) *(?::[^=\n]+)?=(?!=)", re.MULTILINE)


@dataclass
class Cell:
    """A cell of the submission: text and what it claims to be, nothing else."""

    cell_type: str
    source: str
    grade_id: str | None = None
    attachments: dict[str, dict[str, str]] = field(default_factory=dict)
    known: SourceCell | None = None


def recognised(cells: Sequence[Cell], template: Template, repairs: Repairs) -> list[Cell]:
    """The cells, taken apart where they were merged and joined where they were split, each with what it is."""
    cells = _taken_apart(cells, template, repairs)
    cells = _joined(cells, template)
    cells = _by_mark(cells, template, repairs)
    _adopt(cells, template, repairs)
    return [cell for cell in cells if not _undoes(cell, cells)]


def note(repairs: Repairs, key: str, grade_id: str) -> None:
    """Remember a repair, once for each cell."""
    if grade_id not in repairs.setdefault(key, []):
        repairs[key].append(grade_id)


def _taken_apart(cells: Sequence[Cell], template: Template, repairs: Repairs) -> list[Cell]:
    """Cells in which the text of read-only cells stands beside other text, cut there."""
    marks = {cell.grade_id for cell in cells}
    lost = [known for known in template.cells if known.locked and known.grade_id not in marks]
    by_id = {known.grade_id: known for known in template.cells if known.locked}
    kept: list[Cell] = []
    for cell in cells:
        own = by_id.get(cell.grade_id or "")
        if own and _is_copy(cell, own):
            kept.append(cell)  # two tests may show the same lines
            continue
        blocks: list[tuple[str, SourceCell | None]] = [(known.shown, known) for known in ([own] if own else []) + lost]
        blocks += [(text, None) for kind, text in template.plain if kind == "markdown"]  # prose that is no code
        pieces = [cell]
        for text, known in blocks:
            pieces = [
                each for piece in pieces for each in _cut(piece, text, known, is_own=bool(known) and known is own)
            ]
            if known in lost and any(piece.grade_id == known.grade_id for piece in pieces if known):
                lost.remove(known)
                note(repairs, "merged" if len(pieces) > 1 else "recognised", known.grade_id)
            elif known and len(pieces) > 1:
                note(repairs, "merged", known.grade_id)
        kept += pieces
    return kept


def _cut(cell: Cell, text: str, known: SourceCell | None, *, is_own: bool) -> list[Cell]:
    """``cell`` in up to three pieces, of which one is ``text``; as it is where that does not stand in it."""
    if cell.known:
        return [cell]  # a piece that was cut already
    block = text.strip("\n")
    whole = cell.source.strip("\n") == block
    if not block.strip() or (whole and is_own) or (len(block) < TELLING and not (is_own or whole)):
        return [cell]
    if known is None and whole:
        return [cell]
    at = f"\n{cell.source}\n".find(f"\n{block}\n")
    if at < 0 or (known and not is_own and known.grade_id == cell.grade_id):
        return [cell]
    before, after = cell.source[:at].strip("\n"), cell.source[at + len(block) :].strip("\n")
    mark, kind = (known.grade_id, known.cell_type) if known else (None, "markdown")
    pieces = [
        replace(cell, source=before, grade_id=None if is_own else cell.grade_id),
        Cell(kind, block, mark, known=known),
        Cell(cell.cell_type, after, None if before.strip() or is_own else cell.grade_id),
    ]
    return [piece for piece in pieces if piece.source.strip()]


def _joined(cells: Sequence[Cell], template: Template) -> list[Cell]:
    """Answers that were split: both halves carry the mark, and only the first defines what was asked for."""
    answers = {known.grade_id: known for known in template.cells if known.solution and not known.locked}
    kept: list[Cell] = []
    for cell in cells:
        known = answers.get(cell.grade_id or "")
        before = kept[-1] if kept else None
        if known and before and before.grade_id == cell.grade_id and _are_halves(before.source, cell.source, known):
            kept[-1] = replace(before, source=f"{before.source}\n{cell.source}")
        else:
            kept.append(cell)
    return kept


def _are_halves(one: str, other: str, known: SourceCell) -> bool:
    released = known.shown.strip()
    asked = _defined(known.shown)
    if one.strip() == other.strip() or released in (one.strip(), other.strip()):
        return False  # a copy
    return not asked & _defined(other) if asked else known.cell_type != "code"


def _by_mark(cells: Sequence[Cell], template: Template, repairs: Repairs) -> list[Cell]:
    """Tie cells to the instructor's by grade_id.

    Of several answers the last counts, as in nbgrader, but none that is as it was released, or half of one, where
    another is not; others are plain cells.
    """
    by_id = {known.grade_id: known for known in template.cells}
    unmarked = [cell.source for cell in cells if cell.grade_id not in by_id]
    chosen: dict[str, int] = {}
    for number, cell in enumerate(cells):
        known = by_id.get(cell.grade_id or "")
        if known is None:
            continue
        first = chosen.setdefault(known.grade_id, number)
        if first != number:
            note(repairs, "duplicated", known.grade_id)
            if _worth(cell, known) >= _worth(cells[first], known):
                chosen[known.grade_id] = number
    kept: list[Cell] = []
    for number, cell in enumerate(cells):
        known = by_id.get(cell.grade_id or "")
        if known and chosen[known.grade_id] == number and not (_is_copy(cell, known) and _answered(known, unmarked)):
            cell.known = known
        elif known and (known.locked or _is_copy(cell, known)):
            continue  # a second copy of what was released has nothing to say, and may undo the answer
        kept.append(cell)
    return kept


def _worth(cell: Cell, known: SourceCell) -> tuple[bool, bool]:
    return not _is_copy(cell, known), _asked(known) <= _defined(cell.source)


def _answered(known: SourceCell, sources: Sequence[str]) -> bool:
    """Whether one of these texts is an answer to it, by the names that it defines."""
    asked = _asked(known)
    stubs = (known.shown.strip(), known.source.strip())
    return bool(asked) and any(asked <= _defined(text) and text.strip() not in stubs for text in sources)


def _asked(known: SourceCell) -> frozenset[str]:
    """The names that an answer in code is to define."""
    return _defined(known.shown) if known.solution and not known.locked and known.cell_type == "code" else frozenset()


def _undoes(cell: Cell, cells: Sequence[Cell]) -> bool:
    """Whether this is an answer as it was released, without a mark, beside the student's."""
    if cell.known is not None:
        return False
    others = [
        other.known for other in cells if other.known and _asked(other.known) and not _is_copy(other, other.known)
    ]
    return any(_is_copy(cell, known) for known in others)


def _is_copy(cell: Cell, known: SourceCell) -> bool:
    return cell.source.strip() in (known.shown.strip(), known.source.strip())


def _adopt(cells: Sequence[Cell], template: Template, repairs: Repairs) -> None:
    """Tie answers that lost their mark, or carry a read-only cell's, to what they answer."""
    present = {cell.known.grade_id for cell in cells if cell.known}
    missing = [known for known in template.cells if known.solution and known.grade_id not in present]
    place = {known.grade_id: number for number, known in enumerate(template.cells)}
    defined = [_defined(cell.source) for cell in cells] if missing else []
    for known in missing:
        names = _asked(known)
        by_name = [cell for cell, found in zip(cells, defined, strict=True) if names and names <= found and _free(cell)]
        by_name = [cell for cell in by_name if not _is_copy(cell, known)] or by_name
        if by_name:
            found = by_name[-1]
        else:
            gap = [cell for cell in _gap(cells, place, place[known.grade_id]) if _may_be(cell, known, template)]
            if not gap or names:
                continue
            found = gap[0]
        found.known = known
        note(repairs, "recognised", known.grade_id)


def _free(cell: Cell) -> bool:
    """Whether a cell may be an answer: it is nothing else, or it says it is a read-only cell and is not at all."""
    if cell.known is None:
        return True
    return cell.known.locked and not _defined(cell.source) <= _defined(cell.known.shown)


def _may_be(cell: Cell, known: SourceCell, template: Template) -> bool:
    text = cell.source.strip()
    given = any(text == released.strip() for _, released in template.plain)
    return cell.known is None and cell.cell_type == known.cell_type and bool(text) and not given


def _gap(cells: Sequence[Cell], place: dict[str, int], wanted: int) -> Sequence[Cell]:
    """The cells between the nearest known ones before and behind where a cell should stand, if those are in order."""
    known = [(place[cell.known.grade_id], at) for at, cell in enumerate(cells) if cell.known]
    known = [(-1, -1), *known, (len(place), len(cells))]
    for (before, begin), (behind, end) in pairwise(known):
        if before < wanted < behind:
            return cells[begin + 1 : end]
    return []


def _defined(source: str) -> frozenset[str]:
    """The names that are defined at the left margin; by text, since it may be no Python."""
    return frozenset(function or name for function, name in _DEFINITION.findall(source))
