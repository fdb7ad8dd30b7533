"""The curriculum into the class: one commit a change, and what an instructor edited stays."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from gpuclass.curriculum import prepare_course, release
from gpuclass.curriculum.errors import ReleaseError
from gpuclass.curriculum.releasing import MANIFEST, commit, lay_out
from gpuclass.settings import SERVICE_UID, load


def git(repository: Path, *arguments: str) -> str:
    command = ["git", "-c", "safe.directory=*", "--git-dir", str(repository), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def content(repository: Path) -> dict[str, str]:
    names = git(repository, "ls-tree", "-rz", "--name-only", "main").split("\0")
    return {name: git(repository, "show", f"main:{name}") for name in names if name}


def test_the_repository_holds_exactly_the_released_files(tmp_path: Path) -> None:
    repository = tmp_path / "curriculum" / "release.git"
    commit({"a/그림.txt": b"1", "b.txt": b"2"}, repository)
    commit({"a/그림.txt": b"10"}, repository)
    assert content(repository) == {"a/그림.txt": "10"}
    assert git(repository, "rev-list", "--count", "main") == "2"


def test_a_second_release_without_a_change_makes_no_commit(tmp_path: Path) -> None:
    first = commit({"a": b"1"}, tmp_path / "release.git")
    second = commit({"a": b"1"}, tmp_path / "release.git")
    assert (first.changed, second.changed) == (True, False)
    assert second.commit == first.commit


@pytest.mark.parametrize("damage", ["HEAD", "objects"])
def test_a_repository_that_cannot_be_read_is_set_aside_and_begun_anew(tmp_path: Path, damage: str) -> None:
    repository = tmp_path / "release.git"
    commit({"a": b"1"}, repository)
    for path in [repository / "HEAD"] if damage == "HEAD" else (repository / "objects").glob("??/*"):
        path.chmod(0o644)
        path.write_bytes(b"rubbish")
    commit({"a": b"1"}, repository)
    assert content(repository) == {"a": "1"}
    assert (tmp_path / "release.git.broken-1").is_dir()


def test_the_service_user_owns_and_everyone_may_read_what_root_releases(tmp_path: Path) -> None:
    previous = os.umask(0o077)
    try:
        commit({"a": b"1"}, tmp_path / "release.git")
        commit({"a": b"2"}, tmp_path / "release.git")
    finally:
        os.umask(previous)
    owner = SERVICE_UID if os.geteuid() == 0 else os.geteuid()
    for path in (tmp_path / "release.git").rglob("*"):
        assert path.stat().st_uid == owner, path
        if path.parent.name != "hooks" and path.parent.name != "info":
            assert path.stat().st_mode & 0o444 == 0o444, path


def test_a_release_that_fails_says_what_students_have(tmp_path: Path) -> None:
    repository = tmp_path / "release.git"
    commit({"a": b"1"}, repository)
    (repository / "refs/heads/main.lock").write_text("")  # someone else moves the branch at this moment
    with pytest.raises(ReleaseError, match="Students keep the last release"):
        commit({"a": b"2"}, repository)
    assert content(repository) == {"a": "1"}


def test_a_class_gets_its_sessions_and_their_exercises(tmp_path: Path) -> None:
    (tmp_path / "class.toml").write_text(
        '[class]\nname = "camp"\ntitle = "Camp"\n[curriculum]\nsessions = ["00-warm-up"]\n'
    )
    settings = load(tmp_path / "class.toml")
    assert release(settings).changed
    assert not release(settings).changed
    assert list(content(settings.curriculum_repository)) == ["00-warm-up/00-warm-up.ipynb"]
    assert prepare_course(settings).written == ("00-warm-up/exercise-00.ipynb",)
    assert prepare_course(settings).unchanged == ("00-warm-up/exercise-00.ipynb",)
    source = (settings.course_folder / "source/00-warm-up/exercise-00.ipynb").read_text()
    assert "BEGIN HIDDEN TESTS" in source, "the instructor's version"


def test_what_an_instructor_edited_is_kept_and_the_rest_follows(tmp_path: Path) -> None:
    assert lay_out({"a/1": b"old", "a/2": b"old"}, tmp_path).written == ("a/1", "a/2")
    (tmp_path / "source/a/1").write_bytes(b"edited")
    course = lay_out({"a/1": b"new", "a/2": b"new"}, tmp_path)
    assert (course.written, course.kept) == (("a/2",), ("a/1",))
    assert (tmp_path / "source/a/1").read_bytes() == b"edited"
    assert lay_out({"a/1": b"newer", "a/2": b"new"}, tmp_path).kept == ("a/1",)


def test_a_deleted_exercise_comes_back(tmp_path: Path) -> None:
    lay_out({"a/1": b"1"}, tmp_path)
    (tmp_path / "source/a/1").unlink()
    assert lay_out({"a/1": b"1"}, tmp_path).written == ("a/1",)


@pytest.mark.parametrize("manifest", [b"", b"[]", b"\xff", b'{"a/1": 5}'])
def test_a_broken_manifest_overwrites_nothing(tmp_path: Path, manifest: bytes) -> None:
    lay_out({"a/1": b"old"}, tmp_path)
    (tmp_path / MANIFEST).write_bytes(manifest)
    assert lay_out({"a/1": b"new"}, tmp_path).kept == ("a/1",)
    assert (tmp_path / "source/a/1").read_bytes() == b"old"
