"""A submission is rebuilt from its cells' text, or put aside with a reason."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat import NotebookNode

from gpuclass.grader.sanitise import Quarantined, read, rebuild, withheld
from gpuclass.grader.template import SourceCell, Template
from tests.grader.courses import HIDDEN, VISIBLE, by_id, cell, released, solved, source_version, write

KERNEL = {"name": "python3", "display_name": "Python 3"}
ROLES = {"grade": False, "solution": False, "locked": False, "task": False, "points": 0.0}


def template() -> Template:
    """What the gradebook holds of `source_version`: answers as released, tests whole."""
    cells = []
    for whole, public in zip(source_version().cells, released().cells, strict=True):
        known = whole.metadata.get("nbgrader")
        if known:
            roles = {key: known.get(key, value) for key, value in ROLES.items()}
            source = public.source if known["solution"] else whole.source
            cells.append(
                SourceCell(known["grade_id"], whole.cell_type, source, checksum=None, released=public.source, **roles)
            )
    return Template(tuple(cells), {"kernelspec": KERNEL})


def rebuilt(nb: NotebookNode | bytes) -> tuple[NotebookNode, list[str]]:
    data = nb if isinstance(nb, bytes) else nbformat.writes(nb).encode()
    made, repairs = rebuild(data, template(), "ps1", "en")
    nbformat.validate(made)
    return made, repairs


def identify(one: NotebookNode) -> str | None:
    found: str | None = one.metadata.get("nbgrader", {}).get("grade_id")
    return found


def ids(nb: NotebookNode) -> list[str]:
    return [each.metadata.nbgrader.grade_id for each in nb.cells if "nbgrader" in each.metadata]


IN_ORDER = ["imports", "add", "test-add", "test-add-hidden", "scale", "test-scale", "why"]


def test_an_honest_submission_needs_no_repair_and_gets_its_hidden_tests() -> None:
    made, repairs = rebuilt(solved())
    assert repairs == []
    assert ids(made) == IN_ORDER
    assert HIDDEN in by_id(made, "test-add-hidden").source
    assert by_id(made, "add").source == by_id(solved(), "add").source


def edit(grade_id: str, **changes: Any) -> Callable[[NotebookNode], None]:
    def change(nb: NotebookNode) -> None:
        by_id(nb, grade_id).update(changes)

    return change


def delete(grade_id: str) -> Callable[[NotebookNode], None]:
    return lambda nb: nb.cells.remove(by_id(nb, grade_id))


def tell(grade_id: str, /, **known: Any) -> Callable[[NotebookNode], None]:
    return lambda nb: by_id(nb, grade_id).metadata.nbgrader.update(known)


def duplicate(grade_id: str) -> Callable[[NotebookNode], None]:
    return lambda nb: nb.cells.insert(0, nbformat.from_dict({**by_id(nb, grade_id), "id": "again"}))


def reorder(nb: NotebookNode) -> None:
    nb.cells.reverse()


def fill_in_outputs(nb: NotebookNode) -> None:
    by_id(nb, "test-add").outputs = [nbformat.v4.new_output("execute_result", data={"text/plain": "1e9"})]


ATTACKS: dict[str, Callable[[NotebookNode], None]] = {
    "test edited": edit("test-add", source="pass"),
    "test deleted": delete("test-add"),
    "all tests deleted": lambda nb: nb.update(cells=[c for c in nb.cells if not str(identify(c)).startswith("test")]),
    "test retyped": edit("test-add", cell_type="markdown"),
    "test turned into solution": tell("test-add", solution=True, locked=False, grade=False),
    "points 1e9": tell("test-add", points=1e9),
    "points NaN": tell("test-add", points=float("nan")),
    "points text": tell("test-add", points="many"),
    "grade false": tell("test-add", grade=False),
    "schema of the future": tell("test-add", schema_version=99),
    "id removed": lambda nb: by_id(nb, "test-add").metadata.nbgrader.pop("grade_id") and None,
    "id not text": tell("test-add", grade_id=["test-add"]),
    "metadata removed": lambda nb: by_id(nb, "test-add").metadata.clear(),
    "test duplicated": duplicate("test-add"),
    "reordered": reorder,
    "outputs filled in": fill_in_outputs,
    "kernelspec foreign": lambda nb: nb.metadata.update(kernelspec={"name": "bash", "display_name": "x"}),
    "kernelspec null": lambda nb: nb.metadata.update(kernelspec=None),
    "kernelspec missing": lambda nb: nb.metadata.clear(),
    "extra cells": lambda nb: nb.cells.extend([cell("code", "1"), cell("code", "2", "foreign", grade=True, points=5)]),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_no_change_moves_a_test_its_points_or_its_text(name: str) -> None:
    nb = solved()
    ATTACKS[name](nb)
    made, _ = rebuilt(json.dumps(nb).encode())
    assert [i for i in ids(made) if i.startswith("test")] == [i for i in IN_ORDER if i.startswith("test")]
    for source in template().cells:
        if source.locked:
            found = by_id(made, source.grade_id)
            assert (found.cell_type, found.source) == (source.cell_type, source.source)
            assert found.metadata.nbgrader == source.metadata()
            assert found.outputs == []
    assert made.metadata.kernelspec == KERNEL


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (delete("test-add"), "deleted cells were put back: test-add"),
        (edit("imports", source="import os"), "changed read-only cells were restored: imports"),
        (edit("add", cell_type="markdown"), "cells whose type had changed were restored: add"),
        (duplicate("test-add"), "of duplicated cells the last was kept: test-add"),
    ],
)
def test_a_repair_is_told(change: Callable[[NotebookNode], None], sentence: str) -> None:
    nb = solved()
    change(nb)
    assert rebuilt(json.dumps(nb).encode())[1] == [sentence]


def test_a_moved_test_goes_back_behind_its_answer() -> None:
    nb = solved()
    test = by_id(nb, "test-add")
    nb.cells.remove(test)
    nb.cells.insert(0, test)
    made, repairs = rebuilt(nb)
    assert ids(made) == IN_ORDER
    assert repairs == ["cells out of order were moved back: test-add"]


def test_an_answer_that_was_moved_to_the_end_still_comes_before_its_tests() -> None:
    nb = solved()
    answer = by_id(nb, "add")
    nb.cells.remove(answer)
    nb.cells.append(answer)
    made, repairs = rebuilt(nb)
    assert [i for i in ids(made) if i != "scale"] == [
        i for i in (*IN_ORDER[:1], "why", *IN_ORDER[1:-1]) if i != "scale"
    ]
    assert repairs == ["cells out of order were moved back: test-add, test-add-hidden, test-scale"]


def test_in_a_notebook_turned_upside_down_every_answer_comes_before_its_tests() -> None:
    nb = solved()
    reorder(nb)
    order = ids(rebuilt(nb)[0])
    assert order.index("add") < order.index("test-add") < order.index("test-add-hidden") < order.index("test-scale")
    assert order.index("scale") < order.index("test-scale")


def test_an_answer_that_lost_its_mark_still_comes_before_its_test() -> None:
    nb = solved()
    by_id(nb, "add").metadata.clear()
    delete("test-add")(nb)
    made, _ = rebuilt(nb)
    sources = [each.source for each in made.cells]
    assert sources.index("def add(a, b):\n    return a + b\n") < sources.index(VISIBLE)


def test_of_two_answers_the_last_is_the_students() -> None:
    nb = solved()
    again = nbformat.from_dict({**by_id(nb, "add"), "id": "again", "source": "def add(a, b):\n    return 0\n"})
    nb.cells.insert(2, again)
    made, _ = rebuilt(nb)
    assert by_id(made, "add").source == "def add(a, b):\n    return a + b\n"
    assert again.source in [each.source for each in made.cells]


@pytest.mark.parametrize(
    ("data", "key"),
    [
        (b"", "not-json"),
        (b"not json", "not-json"),
        (b"\xff\xfe\x00", "not-json"),
        (b"[]", "not-json"),
        (b'{"nbformat": 4}', "not-v4"),
        (b'{"nbformat": 3, "worksheets": []}', "not-v4"),
        (b'{"nbformat": 4, "cells": {}}', "not-v4"),
        (b'{"nbformat": 4, "cells": [1]}', "bad-cell"),
        (b'{"nbformat": 4, "cells": [{"cell_type": "heading", "source": ""}]}', "bad-cell"),
        (b'{"nbformat": 4, "cells": [{"cell_type": "code", "source": [1]}]}', "bad-cell"),
        (b'{"nbformat": 4, "cells": [{"cell_type": "code"}]}', "bad-cell"),
        (b'{"nbformat": 4, "cells":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too-deep"),
        (
            json.dumps({"nbformat": 4, "cells": [{"cell_type": "raw", "source": ""}] * 100_000}).encode(),
            "too-many-cells",
        ),
        (json.dumps({"nbformat": 4, "cells": [{"cell_type": "raw", "source": "x" * 2**21}]}).encode(), "bad-cell"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_cannot_be_rebuilt_is_quarantined_with_a_reason(data: bytes, key: str) -> None:
    with pytest.raises(Quarantined) as caught:
        rebuilt(data)
    assert caught.value.key == key
    assert "ps1" in caught.value.reason("ko")


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8) | st.sampled_from(IN_ORDER),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
cells = st.fixed_dictionaries(
    {},
    optional={
        "cell_type": st.sampled_from(["code", "markdown", "raw"]) | json_values,
        "source": st.text() | json_values,
        "metadata": json_values
        | st.fixed_dictionaries({"nbgrader": st.fixed_dictionaries({"grade_id": json_values}) | json_values}),
        "attachments": json_values,
        "outputs": json_values,
    },
)


@settings(max_examples=150, deadline=None)
@given(st.fixed_dictionaries({"nbformat": st.just(4), "cells": st.lists(cells, max_size=8) | json_values}))
def test_whatever_is_sent_is_rebuilt_or_quarantined(notebook: dict[str, Any]) -> None:
    try:
        made, _ = rebuilt(json.dumps(notebook).encode())
    except Quarantined:
        return
    assert set(ids(made)) >= {source.grade_id for source in template().cells if source.locked or source.grade}
    nbformat.writes(made).encode("utf-8")


def test_a_withheld_notebook_is_the_released_one() -> None:
    made = withheld(template(), "why not")
    assert ids(made) == IN_ORDER
    assert made.metadata.gpuclass == {"withheld": "why not"}


# Files


def test_notebooks_and_data_are_read_and_the_rest_left_out(tmp_path: Path) -> None:
    folder = write(tmp_path / "kim", solved())
    for name in ("data.csv", "helper.py", "page.html", "timestamp.txt", "other.ipynb", ".hidden", "x.svg"):
        (folder / name).write_text("x")
    (folder / "more").mkdir()
    (folder / "more" / "deep.csv").write_text("y")
    files = read(folder, ["ps1"])
    assert set(files.notebooks) == {"ps1"}
    assert files.others == {"data.csv": b"x", "helper.py": b"x", "more/deep.csv": b"y"}
    assert files.left_out == ("other.ipynb", "page.html", "x.svg")


def test_a_korean_name_in_another_unicode_form_is_the_same_notebook(tmp_path: Path) -> None:
    folder = write(tmp_path, solved(), "\u1112\u1161\u11ab")  # 한 in letters, as macOS writes it
    assert set(read(folder, ["\ud55c"]).notebooks) == {"\ud55c"}


def link(folder: Path) -> None:
    (folder / "ps1.ipynb").symlink_to("/etc/passwd")


def link_to_folder(folder: Path) -> None:
    (folder / "data").symlink_to("/etc")


def hard_link(folder: Path) -> None:
    (folder.parent / "gradebook.db").write_text("secret")
    os.link(folder.parent / "gradebook.db", folder / "ps1.ipynb")


def fifo(folder: Path) -> None:
    os.mkfifo(folder / "ps1.ipynb")


def a_socket(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(folder / "a.txt"))


def sparse(folder: Path) -> None:
    with (folder / "big.csv").open("wb") as file:
        file.truncate(2**40)


def many(folder: Path) -> None:
    for number in range(300):
        (folder / f"{number}.txt").touch()


def deep(folder: Path) -> None:
    folder.joinpath(*["d"] * 30).mkdir(parents=True)


def both_forms(folder: Path) -> None:
    for name in ("ps1\u0041\u030a", "ps1\u00c5"):
        (folder / f"{name}.ipynb").write_text("{}")


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (link, "link"),
        (link_to_folder, "link"),
        (hard_link, "link"),
        (fifo, "special"),
        (a_socket, "unreadable"),
        (sparse, "file-size"),
        (many, "too-many-files"),
        (deep, "too-many-files"),
        (both_forms, "ambiguous"),
    ],
)
def test_files_that_are_no_plain_files_put_the_submission_aside(
    make: Callable[[Path], None], key: str, tmp_path: Path
) -> None:
    folder = tmp_path / "kim"
    folder.mkdir()
    make(folder)
    with pytest.raises(Quarantined) as caught:
        read(folder, ["ps1", "ps1\u00c5"])
    assert caught.value.key == key
    assert caught.value.reason("ko") != caught.value.reason("en")


def test_a_submission_folder_that_is_a_link_is_put_aside(tmp_path: Path) -> None:
    write(tmp_path / "lee", solved())
    (tmp_path / "kim").symlink_to(tmp_path / "lee")
    with pytest.raises(Quarantined, match="link"):
        read(tmp_path / "kim", ["ps1"])


@pytest.mark.parametrize("name", ["ps1.ipynb/x.py", "timestamp.txt/x.py", "data.csv/x.py", "tables.txt"])
def test_a_file_where_the_assignment_needs_a_folder_or_the_other_way_round_is_left_out(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("x")
    (tmp_path / "own.py").write_text("x")
    files = read(tmp_path, ["ps1"], ["data.csv", "tables.txt/one.csv"])
    assert (files.others, files.left_out) == ({"own.py": b"x"}, (name,))


def test_a_file_in_the_instructors_place_is_read_and_later_replaced(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("x")
    assert read(tmp_path, ["ps1"], ["data.csv"]).others == {"data.csv": b"x"}


def test_an_attachment_whose_name_is_no_unicode_can_be_written() -> None:
    nb = solved(lambda nb: nb.cells[0].update(attachments={"\ud800.png": {"image/png": "aGVsbG8="}}))
    made, _ = rebuilt(json.dumps(nb).encode())
    assert made.cells[0].attachments == {"?.png": {"image/png": "aGVsbG8="}}
    nbformat.writes(made).encode("utf-8")
