"""What novices, editors and clouds do to a notebook on its way back; each mangling changes the notebook in place."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

Cell = dict[str, Any]
Notebook = dict[str, Any]
Mangling = Callable[[Notebook, random.Random], None]


def mark(cell: Cell) -> str:
    """The cell's grade_id; empty for none."""
    metadata = cell.get("metadata")
    known = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    return str(known.get("grade_id", "")) if isinstance(known, dict) else ""


def duplicate(notebook: Notebook, chance: random.Random) -> None:
    cells = notebook["cells"]
    at = chance.randrange(len(cells))
    cells.insert(chance.choice([at + 1, chance.randrange(len(cells) + 1)]), copy.deepcopy(cells[at]))


def delete(notebook: Notebook, chance: random.Random) -> None:
    cells = notebook["cells"]
    if len(cells) > 1:
        cells.pop(chance.randrange(len(cells)))


def retype(notebook: Notebook, chance: random.Random) -> None:
    cell = chance.choice(notebook["cells"])
    cell["cell_type"] = chance.choice(["code", "markdown", "raw"])


def move(notebook: Notebook, chance: random.Random) -> None:
    cells = notebook["cells"]
    cell = cells.pop(chance.randrange(len(cells)))
    cells.insert(chance.randrange(len(cells) + 1), cell)


def shuffle(notebook: Notebook, chance: random.Random) -> None:
    chance.shuffle(notebook["cells"])


def lose_mark(notebook: Notebook, chance: random.Random) -> None:
    cell = chance.choice(notebook["cells"])
    cell["metadata"] = chance.choice([{}, None, {"nbgrader": None}, {"nbgrader": {"grade_id": None}}, "none"])


def lose_all_marks(notebook: Notebook, chance: random.Random) -> None:
    for cell in notebook["cells"]:
        cell["metadata"] = {}


def merge(notebook: Notebook, chance: random.Random) -> None:
    """As Lab does: the first one's type and mark, all texts."""
    cells = notebook["cells"]
    at, number = chance.randrange(len(cells)), chance.choice([2, 2, 3])
    merged = cells[at : at + number]
    cells[at : at + number] = [{**merged[0], "source": "\n\n".join(each["source"] for each in merged)}]


def split(notebook: Notebook, chance: random.Random) -> None:
    """As Lab does: both keep the mark."""
    cells = notebook["cells"]
    at = chance.randrange(len(cells))
    lines = cells[at]["source"].split("\n")
    cut = chance.randrange(len(lines) + 1)
    halves = ["\n".join(part) for part in (lines[:cut], lines[cut:])]
    cells[at : at + 1] = [{**copy.deepcopy(cells[at]), "source": half} for half in halves]


def edit_read_only(notebook: Notebook, chance: random.Random) -> None:
    locked = [cell for cell in notebook["cells"] if cell.get("metadata") and "test" in mark(cell) + cell["source"]]
    for cell in locked[:1]:
        cell["source"] += chance.choice(["\nprint('여기')", " ", "\n\n# why?", "\nimport math"])


def insert(notebook: Notebook, chance: random.Random) -> None:
    cell = {"cell_type": "code", "metadata": {}, "source": chance.choice(["1 / 0", "", "x = 3", "!ls", "def ("])}
    notebook["cells"].insert(chance.randrange(len(notebook["cells"]) + 1), cell)


def paste_the_stub_again(notebook: Notebook, chance: random.Random) -> None:
    """Undo and paste: the released cell stands below the answer, with its mark."""
    stubs = notebook.get("stubs", [])
    if stubs:
        notebook["cells"].append(copy.deepcopy(chance.choice(stubs)))


def foreign_kernel(notebook: Notebook, chance: random.Random) -> None:
    notebook["metadata"] = chance.choice([None, {}, {"kernelspec": None}, {"kernelspec": {"name": "conda-env-ai-py"}}])


def odd_json(notebook: Notebook, chance: random.Random) -> None:
    cell = chance.choice(notebook["cells"])
    metadata = cell["metadata"] if isinstance(cell["metadata"], dict) else {}
    cell.update(
        chance.choice(
            [
                {"outputs": None, "execution_count": "7"},
                {"outputs": [{"output_type": "stream"}] * 50, "id": 3},
                {"attachments": {"a.png": {"image/png": "!"}}, "metadata": {**metadata, "tags": 1}},
                {"source": cell["source"].replace("\n", "\r\n")},
                {"collapsed": float("nan"), "extra": {"가": [None, -0.0, 1e400]}},
            ]
        )
    )
    notebook["nbformat_minor"] = chance.choice([0, 2, 4, 5, 99, None, "5"])


MANGLINGS: tuple[Mangling, ...] = (
    duplicate,
    delete,
    retype,
    move,
    shuffle,
    lose_mark,
    lose_all_marks,
    merge,
    split,
    edit_read_only,
    insert,
    paste_the_stub_again,
    foreign_kernel,
    odd_json,
)


def cut_short(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def conflict(data: bytes, chance: random.Random) -> bytes:
    lines = data.split(b"\n")
    at = chance.randrange(len(lines))
    return b"\n".join([*lines[:at], b"<<<<<<< HEAD", *lines[at : at + 1], b"=======", *lines[at:], b">>>>>>> theirs"])


def other_encoding(data: bytes, chance: random.Random) -> bytes:
    return data.decode().encode(chance.choice(["utf-16", "cp949", "utf-8-sig"]), "replace")


def other_notebook_format(data: bytes, chance: random.Random) -> bytes:
    return data.replace(b'"nbformat": 4', b'"nbformat": 3')


def deep(data: bytes, chance: random.Random) -> bytes:
    return data[:-1] + b', "x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


def crowd(data: bytes, chance: random.Random) -> bytes:
    notebook = json.loads(data)
    notebook["cells"] += [{"cell_type": "raw", "metadata": {}, "source": ""}] * 100_000
    return json.dumps(notebook).encode()


FILE_MANGLINGS = (cut_short, conflict, other_encoding, other_notebook_format, deep, crowd)
