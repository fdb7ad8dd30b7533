"""The released curriculum in a student's home: real git, real nbgitpuller. The student's edit always wins."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from random import Random

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from gpuclass.curriculum import MergeResult, merge, pulling
from gpuclass.curriculum.pulling import MINIMUM_FREE_MIB
from gpuclass.curriculum.releasing import commit

pytestmark = pytest.mark.slow


def notebook(*sources: str) -> bytes:
    """A notebook whose cells are called a, b, c …; text that starts with # is prose."""
    cells = [
        new_markdown_cell(text, id=name) if text.startswith("#") else new_code_cell(text, id=name)
        for name, text in zip("abcdefghijklmnop", sources, strict=False)
    ]
    text: str = nbformat.writes(new_notebook(cells=cells))
    return (text + "\n").encode()


def texts(path: Path) -> list[str]:
    made = nbformat.read(path, as_version=4)
    nbformat.validate(made)
    return [cell.source for cell in made.cells]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tmp_path / "release.git"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "집 홍길동"  # a home may have any name
    path.mkdir()
    return path


@pytest.fixture
def release(repository: Path) -> Callable[..., None]:
    def make(**files: bytes) -> None:
        commit({name.replace("__", "/").replace("_ipynb", ".ipynb"): text for name, text in files.items()}, repository)

    return make


def edit(path: Path, change: Callable[[nbformat.NotebookNode], None]) -> None:
    """Change a notebook as Jupyter would save it."""
    made = nbformat.read(path, as_version=4)
    change(made)
    nbformat.write(made, path)


def set_source(index: int, text: str) -> Callable[[nbformat.NotebookNode], None]:
    def change(made: nbformat.NotebookNode) -> None:
        made.cells[index].source = text

    return change


LESSON = "00/lesson.ipynb"


def test_the_first_merge_brings_every_file(repository: Path, home: Path, release: Callable[..., None]) -> None:
    release(**{LESSON: notebook("# one", "x = 1"), "00/그림.txt": b"picture"})
    result = merge(repository, home)
    assert result == MergeResult("fresh", updated=("00/lesson.ipynb", "00/그림.txt"))
    assert texts(home / "notebooks" / LESSON) == ["# one", "x = 1"]
    assert sorted(path.name for path in home.iterdir()) == [".gpuclass-merge.lock", "notebooks"]


def test_a_merge_with_nothing_new_changes_nothing(repository: Path, home: Path, release: Callable[..., None]) -> None:
    release(**{LESSON: notebook("x = 1")})
    merge(repository, home)
    assert merge(repository, home) == MergeResult("unchanged")


def test_an_edited_file_stays_as_edited(repository: Path, home: Path, release: Callable[..., None]) -> None:
    release(**{LESSON: notebook("# one", "x = 1")})
    merge(repository, home)
    edit(home / "notebooks" / LESSON, set_source(1, "x = 42  # 내 코드"))
    mine = (home / "notebooks" / LESSON).read_bytes()
    result = merge(repository, home)
    assert (home / "notebooks" / LESSON).read_bytes() == mine
    assert result == MergeResult("unchanged", kept=(LESSON,))


def test_a_deleted_file_comes_back(repository: Path, home: Path, release: Callable[..., None]) -> None:
    release(**{LESSON: notebook("x = 1"), "data.txt": b"1"})
    merge(repository, home)
    (home / "notebooks" / LESSON).unlink()
    (home / "notebooks" / "00").rmdir()
    assert merge(repository, home) == MergeResult("updated", restored=(LESSON,))
    assert texts(home / "notebooks" / LESSON) == ["x = 1"]


def test_an_update_arrives_beside_the_students_edit(repository: Path, home: Path, release: Callable[..., None]) -> None:
    release(**{LESSON: notebook("# one", "x = 1", "y = 2"), "other.ipynb": notebook("z = 3")})
    merge(repository, home)
    edit(home / "notebooks" / LESSON, set_source(1, "x = 42"))
    release(
        **{
            LESSON: notebook("# one, mended", "x = 100", "y = 2", "# new"),
            "other.ipynb": notebook("z = 4"),
            "n.txt": b"",
        }
    )
    result = merge(repository, home)
    assert texts(home / "notebooks" / LESSON) == ["# one, mended", "x = 42", "y = 2", "# new"]
    assert texts(home / "notebooks/other.ipynb") == ["z = 4"]
    assert result == MergeResult("updated", updated=(LESSON, "n.txt", "other.ipynb"), kept=(LESSON,))


def test_a_students_new_file_with_the_name_of_a_released_one_is_kept(
    repository: Path, home: Path, release: Callable[..., None]
) -> None:
    release(**{LESSON: notebook("x = 1")})
    merge(repository, home)
    (home / "notebooks" / "메모.txt").write_text("내 메모")
    release(**{LESSON: notebook("x = 1"), "메모.txt": "선생님 메모".encode()})
    result = merge(repository, home)
    assert (home / "notebooks/메모.txt").read_text() == "선생님 메모"
    (aside,) = result.set_aside
    assert (home / "notebooks" / aside).read_text() == "내 메모"


def test_a_file_that_the_release_drops_stays_where_it_was_edited(
    repository: Path, home: Path, release: Callable[..., None]
) -> None:
    release(**{LESSON: notebook("x = 1"), "old.ipynb": notebook("a"), "unread.ipynb": notebook("b")})
    merge(repository, home)
    edit(home / "notebooks/old.ipynb", set_source(0, "a  # mine"))
    release(**{LESSON: notebook("x = 1")})
    assert merge(repository, home).state != "failed"
    assert texts(home / "notebooks/old.ipynb") == ["a  # mine"]
    assert not (home / "notebooks/unread.ipynb").exists()


@pytest.mark.parametrize("kind", ["folder", "link", "file-for-folder"])
def test_what_stands_in_the_way_is_moved_aside(
    kind: str, repository: Path, home: Path, release: Callable[..., None]
) -> None:
    release(**{LESSON: notebook("x = 1")})
    merge(repository, home)
    lesson = home / "notebooks" / LESSON
    lesson.unlink()
    if kind == "folder":
        lesson.mkdir()
        (lesson / "mine.txt").write_text("mine")
    elif kind == "link":
        (home / "elsewhere.txt").write_text("mine")
        lesson.symlink_to(home / "elsewhere.txt")
    else:
        lesson.parent.rmdir()
        lesson.parent.write_text("mine")
    release(**{LESSON: notebook("x = 2")})
    assert merge(repository, home).state == "updated"
    assert texts(lesson) == ["x = 2"]
    assert any(path.is_file() and path.read_text() == "mine" for path in home.rglob("*") if ".git" not in path.parts)


def empty(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o644)
            path.write_bytes(b"")


BREAKAGES: dict[str, Callable[[Path], object]] = {
    "no .git": lambda folder: subprocess.run(["rm", "-rf", folder / ".git"], check=True),
    "HEAD is rubbish": lambda folder: (folder / ".git/HEAD").write_text("rubbish"),
    "config is rubbish": lambda folder: (folder / ".git/config").write_text("[[[["),
    "index is rubbish": lambda folder: (folder / ".git/index").write_bytes(b"rubbish"),
    "no objects": lambda folder: subprocess.run(["rm", "-rf", folder / ".git/objects"], check=True),
    "empty objects": lambda folder: empty(folder / ".git/objects"),
    "no refs": lambda folder: subprocess.run(
        ["rm", "-rf", folder / ".git/refs", folder / ".git/packed-refs"], check=True
    ),
    ".git is a file": lambda folder: subprocess.run(
        ["sh", "-c", "rm -rf .git && echo hello > .git"], cwd=folder, check=True
    ),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_broken_git_folder_is_recovered_and_nothing_is_lost(
    breakage: str, repository: Path, home: Path, release: Callable[..., None]
) -> None:
    release(**{LESSON: notebook("x = 1"), "other.ipynb": notebook("y = 1"), "gone.txt": b"1"})
    merge(repository, home)
    folder = home / "notebooks"
    edit(folder / LESSON, set_source(0, "x = 42"))
    (folder / "gone.txt").unlink()
    (folder / "mine.txt").write_text("mine")
    BREAKAGES[breakage](folder)
    release(**{LESSON: notebook("x = 2"), "other.ipynb": notebook("y = 2"), "gone.txt": b"1", "new.txt": b"new"})
    result = merge(repository, home)
    assert result.state == "updated", result
    assert texts(folder / LESSON) == ["x = 42"]
    assert (folder / "mine.txt").read_text() == "mine"
    assert texts(folder / "other.ipynb") == ["y = 2"], "an untouched file must follow the release"
    assert (folder / "gone.txt").exists()
    assert (folder / "new.txt").exists()
    assert merge(repository, home) == MergeResult("unchanged", kept=(LESSON,))
    release(**{LESSON: notebook("x = 2", "# more"), "other.ipynb": notebook("y = 2")})
    assert merge(repository, home).state == "updated"
    assert texts(folder / LESSON) == ["x = 42", "# more"]


def test_recovery_does_not_take_the_students_commits_for_releases(
    repository: Path, home: Path, release: Callable[..., None]
) -> None:
    release(**{LESSON: notebook("x = 1"), "data.txt": b"1"})
    merge(repository, home)
    edit(home / "notebooks" / LESSON, set_source(0, "x = 42"))
    release(**{LESSON: notebook("x = 1"), "data.txt": b"2"})
    merge(repository, home)  # nbgitpuller has committed the edit
    BREAKAGES["index is rubbish"](home / "notebooks")
    release(**{LESSON: notebook("x = 2"), "data.txt": b"3"})
    assert merge(repository, home).state == "updated"
    assert texts(home / "notebooks" / LESSON) == ["x = 42"]


@pytest.mark.parametrize("harm", ["gone", "torn", "a cell lost"])
def test_what_a_merge_that_goes_wrong_takes_is_put_back(
    harm: str, repository: Path, home: Path, release: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    release(**{LESSON: notebook("x = 1", "y = 1")})
    merge(repository, home)
    lesson = home / "notebooks" / LESSON
    edit(lesson, set_source(0, "x = 42"))
    mine = lesson.read_bytes()
    release(**{LESSON: notebook("x = 1", "y = 2")})

    def go_wrong(url: str, folder: Path) -> None:
        lesson.unlink()
        if harm != "gone":
            lesson.write_bytes(mine[:50] if harm == "torn" else notebook("x = 1", "y = 2"))

    monkeypatch.setattr(pulling, "_nbgitpuller", go_wrong)
    environment = dict(os.environ)
    try:
        pulling.pull(repository, home)
    finally:
        os.environ.clear()
        os.environ.update(environment)
    assert lesson.read_bytes() == mine


def test_a_notebooks_folder_from_before_the_release_is_kept(
    repository: Path, home: Path, release: Callable[..., None]
) -> None:
    (home / "notebooks").mkdir()
    (home / "notebooks" / "mine.txt").write_text("mine")
    release(**{LESSON: notebook("x = 1")})
    assert merge(repository, home).updated == (LESSON,)
    assert (home / "notebooks/mine.txt").read_text() == "mine"


def test_a_file_called_notebooks_is_moved_aside(repository: Path, home: Path, release: Callable[..., None]) -> None:
    (home / "notebooks").write_text("mine")
    release(**{LESSON: notebook("x = 1")})
    assert merge(repository, home).state != "failed"
    assert (home / "notebooks.yours-1").read_text() == "mine"


def test_a_release_begun_anew_still_merges(
    tmp_path: Path, repository: Path, home: Path, release: Callable[..., None]
) -> None:
    release(**{LESSON: notebook("x = 1"), "other.ipynb": notebook("y = 1")})
    merge(repository, home)
    edit(home / "notebooks" / LESSON, set_source(0, "x = 42"))
    repository.rename(tmp_path / "lost.git")
    release(**{LESSON: notebook("x = 2"), "other.ipynb": notebook("y = 2")})
    assert merge(repository, home).state == "updated"
    assert texts(home / "notebooks" / LESSON) == ["x = 42"]
    assert texts(home / "notebooks/other.ipynb") == ["y = 2"]


@pytest.mark.parametrize("after_first", [False, True])
@pytest.mark.parametrize("fault", ["missing", "empty folder", "no commit", "half written"])
def test_a_release_at_fault_changes_nothing(
    fault: str, after_first: bool, repository: Path, home: Path, release: Callable[..., None]
) -> None:
    if after_first:
        release(**{LESSON: notebook("x = 1")})
        merge(repository, home)
        edit(home / "notebooks" / LESSON, set_source(0, "x = 42"))
        release(**{LESSON: notebook("x = 2")})
    before = {path: path.read_bytes() for path in home.rglob("*.ipynb")}
    subprocess.run(["rm", "-rf", repository], check=True) if fault != "half written" else None
    if fault == "empty folder":
        repository.mkdir()
    elif fault == "no commit":
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", repository], check=True)
    elif fault == "half written":
        release(**{LESSON: notebook("x = 3"), "big.txt": os.urandom(1000)})
        for path in (repository / "objects").glob("??/*"):
            path.chmod(0o644)
            path.write_bytes(path.read_bytes()[:9])
    result = merge(repository, home)
    assert result.state == "failed"
    assert result.reason == ("release-unreadable" if fault == "half written" else "no-release")
    assert "선생님" in result.text("ko") or "수업 자료가 없어요" in result.text("ko")
    assert {path: path.read_bytes() for path in home.rglob("*.ipynb")} == before


def test_a_lock_left_by_a_killed_git_does_not_block(repository: Path, home: Path, release: Callable[..., None]) -> None:
    release(**{LESSON: notebook("x = 1"), "other.ipynb": notebook("y = 1")})
    merge(repository, home)
    folder = home / "notebooks"
    edit(folder / LESSON, set_source(0, "x = 42"))
    subprocess.run(["git", "-c", "user.name=s", "-c", "user.email=s", "commit", "-qam", "s"], cwd=folder, check=True)
    lock = folder / ".git/index.lock"
    lock.write_text("")
    os.utime(lock, (1, 1))
    (folder / LESSON).unlink()  # git was killed while it replaced the file: the student deleted nothing
    release(**{LESSON: notebook("x = 1", "# more"), "other.ipynb": notebook("y = 2")})
    assert merge(repository, home).state == "updated"
    assert texts(folder / LESSON) == ["x = 42", "# more"]
    assert texts(folder / "other.ipynb") == ["y = 2"]


def test_a_full_disk_is_said_and_nothing_is_begun(
    repository: Path, home: Path, release: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    release(**{LESSON: notebook("x = 1")})
    real = os.statvfs(home)
    free = MINIMUM_FREE_MIB * 2**20 // real.f_frsize - 1
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((*real[:4], free, *real[5:])))
    result = pulling.pull(repository, home)
    assert (result.state, result.reason) == ("failed", "disk-full")
    assert list(home.iterdir()) == []


def test_a_merge_that_takes_too_long_is_stopped(repository: Path, home: Path, release: Callable[..., None]) -> None:
    release(**{LESSON: notebook("x = 1")})
    assert merge(repository, home, time_limit=0.01).reason == "timeout"
    assert merge(repository, home).state == "fresh"


def test_a_second_merge_at_the_same_time_says_so(repository: Path, home: Path, release: Callable[..., None]) -> None:
    import fcntl

    release(**{LESSON: notebook("x = 1")})
    with (home / ".gpuclass-merge.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert merge(repository, home).reason == "busy"
    assert merge(repository, home).state == "fresh"


def test_a_home_that_is_gone_is_a_result_not_an_error(repository: Path, release: Callable[..., None]) -> None:
    release(**{LESSON: notebook("x = 1")})
    assert merge(repository, Path("/nonexistent")).reason == "error"


def test_the_students_own_git_configuration_has_no_say(
    repository: Path, home: Path, release: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".gitconfig").write_text("[commit]\n\tgpgsign = true\n[merge]\n\tff = only\n[fetch]\n\tprune = rubbish\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    release(**{LESSON: notebook("x = 1")})
    merge(repository, home)
    edit(home / "notebooks" / LESSON, set_source(0, "x = 42"))
    release(**{LESSON: notebook("x = 1", "# more")})
    assert merge(repository, home).state == "updated"
    assert texts(home / "notebooks" / LESSON) == ["x = 42", "# more"]


def test_modules_in_the_home_are_not_run(
    repository: Path, home: Path, release: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json.py", "nbgitpuller.py", "sitecustomize.py"):
        (home / name).write_text("raise SystemExit('a student may name a file as they like')")
    monkeypatch.chdir(home)
    monkeypatch.setenv("PYTHONPATH", str(home))
    release(**{LESSON: notebook("x = 1")})
    assert merge(repository, home).state == "fresh"


def test_a_notebook_that_was_only_run_takes_the_update(
    repository: Path, home: Path, release: Callable[..., None]
) -> None:
    def run(made: nbformat.NotebookNode) -> None:
        for number, cell in enumerate(made.cells, 1):
            cell.execution_count = number
            cell.outputs = [new_output("stream", text=f"output {number}\n")]
        made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}

    release(**{LESSON: notebook("print(1)", "print(2)")})
    merge(repository, home)
    edit(home / "notebooks" / LESSON, run)
    release(**{LESSON: notebook("print(1)", "print(20)")})
    merge(repository, home)
    cells = json.loads((home / "notebooks" / LESSON).read_text())["cells"]
    assert [cell["source"] for cell in cells] == [["print(1)"], ["print(20)"]]
    assert [len(cell["outputs"]) for cell in cells] == [1, 0], "no stale output under corrected code"


@pytest.mark.parametrize("seed", range(3))
def test_whatever_student_and_release_do_no_text_is_lost(
    seed: int, repository: Path, home: Path, release: Callable[..., None]
) -> None:
    """Three rounds of random edits on both sides: cells changed, added, deleted, moved; files deleted and added."""
    random = Random(seed)  # noqa: S311  # edits that can be repeated, not secrets
    folder = home / "notebooks"
    lessons = {f"{number}/lesson.ipynb": [f"{number}.{cell}" for cell in range(5)] for number in range(3)}
    release(**{name: notebook(*cells) for name, cells in lessons.items()})
    merge(repository, home)
    written: dict[str, set[str]] = {name: set() for name in lessons}
    for turn in range(3):
        for name in list(lessons):
            if random.random() < 0.2:
                (folder / name).unlink()
                written[name].clear()
                continue

            def student(made: nbformat.NotebookNode, name: str = name, turn: int = turn) -> None:
                for number in range(random.randrange(3)):
                    text = f"mine {turn}.{number}"
                    if made.cells and random.random() < 0.5:
                        victim = random.choice(made.cells)
                        written[name].discard(victim.source)
                        victim.source = text
                    else:
                        made.cells.insert(random.randrange(len(made.cells) + 1), new_code_cell(text))
                    written[name].add(text)
                if len(made.cells) > 3 and random.random() < 0.3:
                    written[name].discard(made.cells.pop(random.randrange(len(made.cells))).source)
                random.shuffle(made.cells) if random.random() < 0.2 else None

            edit(folder / name, student)
            lessons[name] = [text + "!" if random.random() < 0.3 else text for text in lessons[name]]
            if random.random() < 0.4:
                lessons[name].insert(random.randrange(5), f"new {turn}")
        release(**{name: notebook(*cells) for name, cells in lessons.items()})
        result = merge(repository, home)
        assert result.state in ("updated", "unchanged"), result
        assert not result.detail, "nothing needed recovery"
        for name, mine in written.items():
            assert mine <= set(texts(folder / name)), f"{name} in turn {turn}"
