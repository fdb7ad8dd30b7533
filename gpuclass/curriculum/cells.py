"""Three-way merge of a notebook, cell by cell: what the student changed stays, the release's other changes arrive.

git merges lines; in a notebook's JSON that can tear a cell. git calls this module as its merge driver for ``*.ipynb``
while nbgitpuller merges. What cannot be read as a notebook stays the student's, byte for byte. Standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any

Cell = dict[str, Any]
Notebook = dict[str, Any]


def merge_notebooks(base: bytes, yours: bytes, released: bytes) -> bytes:
    """The student's notebook with the release's changes in every cell that the student left alone.

    Args:
        base: the release that the student's notebook comes from.
        yours: the student's notebook.
        released: the new release.

    A cell that the student edited, moved or added stays; one that they deleted stays deleted. Outputs go where the
    release changed the code above them.
    """
    old, mine, new = _read(base), _read(yours), _read(released)
    if old is None or mine is None or new is None:
        return yours
    ids = {_id(cell) for cell in mine["cells"]} & {_id(cell) for cell in old["cells"]}
    if mine["cells"] and not ids - {""}:
        return yours  # saved by something that drops cell ids: nothing says which cell is which
    mine["cells"] = _merge_cells(old["cells"], mine["cells"], new["cells"])
    return (json.dumps(mine, ensure_ascii=False, indent=1) + "\n").encode()


def sources(content: bytes) -> list[str] | None:
    """The text of each cell; None where the content is not a notebook."""
    notebook = _read(content)
    return None if notebook is None else [_text(cell) for cell in notebook["cells"]]


def _merge_cells(old: Sequence[Cell], mine: Sequence[Cell], new: Sequence[Cell]) -> list[Cell]:
    before = {_id(cell): cell for cell in old}
    came_from = _origins(old, new)
    now = {origin: cell for cell, origin in zip(new, came_from, strict=True) if origin}
    merged: list[Cell] = []
    place: dict[str, int] = {}  # of cells that both sides know: index in merged
    for cell in mine:
        origin = _id(cell)
        was, becomes = before.get(origin), now.get(origin)
        untouched = was is not None and _same(cell, was) and origin not in place
        if untouched and becomes is None:
            continue  # the release dropped a cell that the student never changed
        place.setdefault(origin, len(merged))
        changed = was is not None and becomes is not None and not _same(was, becomes)
        merged.append(becomes if untouched and changed and becomes is not None else cell)
    known = {_id(cell) for cell in merged} | set(before)
    after = 0  # where the next new cell goes: behind the last one that stands before it in the release
    for cell, origin in zip(new, came_from, strict=True):
        if origin:
            after = max(after, place.get(origin, -1) + 1)
        elif _id(cell) not in known:
            merged.insert(after, cell)
            place = {name: index + (index >= after) for name, index in place.items()}
            after += 1
    return merged


def _origins(old: Sequence[Cell], new: Sequence[Cell]) -> list[str]:
    """For each released cell the id of the cell it was in the last release; empty for a new one.

    An id made from a cell's text changes with the text: a run of cells replaced by as many others of the same kinds
    is taken as those cells, changed.
    """
    old_ids, new_ids = [_id(cell) for cell in old], [_id(cell) for cell in new]
    origins = [name if name in set(old_ids) else "" for name in new_ids]
    for kind, a, b, c, d in SequenceMatcher(None, old_ids, new_ids, autojunk=False).get_opcodes():
        if kind == "replace" and b - a == d - c:
            for was, becomes, index in zip(old[a:b], new[c:d], range(c, d), strict=True):
                if was["cell_type"] == becomes["cell_type"] and not origins[index] and _id(was) not in new_ids:
                    origins[index] = _id(was)
    return origins


def _read(content: bytes) -> Notebook | None:
    try:
        notebook = json.loads(content)
    except (ValueError, RecursionError):  # also where it is not UTF-8
        return None
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        return None
    whole = all(isinstance(cell, dict) and "cell_type" in cell and "source" in cell for cell in notebook["cells"])
    return notebook if whole else None


def _id(cell: Cell) -> str:
    return str(cell.get("id", ""))


def _text(cell: Cell) -> str:
    source = cell["source"]
    return "".join(map(str, source)) if isinstance(source, list) else str(source)


def _same(one: Cell, other: Cell) -> bool:
    return one["cell_type"] == other["cell_type"] and _text(one) == _text(other)
