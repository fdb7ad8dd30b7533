"""py:percent sources become clean notebooks: the same bytes each time, ids that stay."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest

from gpuclass.curriculum.building import build, lecture_files, notebook_bytes, read_source, session_files
from gpuclass.curriculum.errors import SourceError

HEADER = "# ---\n# jupyter:\n#   kernelspec:\n#     display_name: Other\n#     name: other\n# ---\n\n"


def write(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEADER + body, encoding="utf-8")
    return path


def ids(path: Path) -> list[str]:
    return [cell["id"] for cell in read_source(path).cells]


def test_a_source_becomes_a_valid_notebook_without_outputs(tmp_path: Path) -> None:
    path = write(tmp_path / "a.py", '# %% [markdown]\n# # 제목\n\n# %% tags=["setup"]\nx = 1\n')
    made = json.loads(notebook_bytes(path))
    nbformat.validate(made)
    assert made["nbformat"], made["nbformat_minor"] == (4, 5)
    assert made["metadata"]["kernelspec"]["name"] == "python3"
    assert [cell["source"] for cell in made["cells"]] == [["# 제목"], ["x = 1"]]
    assert made["cells"][1]["metadata"] == {"tags": ["setup"]}
    assert made["cells"][1]["outputs"] == []
    assert made["cells"][1]["execution_count"] is None


def test_a_second_build_gives_the_same_bytes(tmp_path: Path) -> None:
    first = {path.relative_to(tmp_path / "1"): path.read_bytes() for path in build(tmp_path / "1")}
    second = {path.relative_to(tmp_path / "2"): path.read_bytes() for path in build(tmp_path / "2")}
    assert first == second
    assert Path("notebooks/00-warm-up/00-warm-up.ipynb") in first


def test_a_changed_or_added_cell_leaves_the_other_ids_alone(tmp_path: Path) -> None:
    before = ids(write(tmp_path / "a.py", "# %%\nx = 1\n\n# %%\ny = 2\n\n# %%\nz = 3\n"))
    after = ids(write(tmp_path / "a.py", "# %%\nx = 1\n\n# %% [markdown]\n# new\n\n# %%\ny = 20\n\n# %%\nz = 3\n"))
    assert (after[0], after[3]) == (before[0], before[2])
    assert len(set(after)) == 4


def test_cells_with_the_same_text_have_different_ids(tmp_path: Path) -> None:
    assert len(set(ids(write(tmp_path / "a.py", "# %%\nx\n\n# %%\nx\n\n# %%\nx\n")))) == 3


def test_a_graded_cell_is_called_by_its_grade_id(tmp_path: Path) -> None:
    path = write(tmp_path / "a.py", '# %% nbgrader={"grade_id": "one"}\nx\n\n# %% id="two"\ny\n')
    assert ids(path) == ["one", "two"]


def test_a_plain_python_file_is_not_a_source(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("x = 1\n")
    with pytest.raises(SourceError, match="not a py:percent source"):
        read_source(tmp_path / "helper.py")


def test_other_files_of_a_session_come_along_but_not_its_mutants(tmp_path: Path) -> None:
    write(tmp_path / "lesson.py", "# %%\nx\n")
    (tmp_path / "helper.py").write_text("x = 1\n")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/a.png").write_bytes(b"png")
    for name in ("mutants", ".hidden", "__pycache__"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.py").write_text("")
    assert [name for name, _ in session_files(tmp_path)] == ["helper.py", "lesson.ipynb", "pictures/a.png"]


def test_a_session_without_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "00-warm-up").mkdir()
    with pytest.raises(SourceError, match=r"99-nothing does not exist.*00-warm-up"):
        lecture_files(("99-nothing",), tmp_path)
