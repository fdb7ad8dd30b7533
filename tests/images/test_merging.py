"""The curriculum is merged inside the student image as in a class: everything else read-only, homes that fill."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import docker.errors
import pytest

from gpuclass.curriculum.building import lecture_files
from gpuclass.curriculum.releasing import commit

pytestmark = pytest.mark.images

SCRIPT = """
import dataclasses, json, os, pathlib, sys
from gpuclass.curriculum import merge
assert "nbgitpuller" not in sys.modules and "pydantic" not in sys.modules
home = pathlib.Path.home()
results = [merge(pathlib.Path("/srv/curriculum.git"), home)]
exec(os.environ["BETWEEN"])
results.append(merge(pathlib.Path("/srv/curriculum.git"), home))
files = sorted(str(path.relative_to(home)) for path in home.rglob("*.ipynb"))
print("RESULT" + json.dumps({"results": [dataclasses.asdict(result) for result in results], "files": files}))
"""
Merge = Callable[..., dict[str, Any]]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "release.git"
    commit(lecture_files(("00-warm-up", "01-pixels-to-tensors")), path)
    return path


@pytest.fixture
def merge_inside(engine: docker.DockerClient, built: dict[str, str], repository: Path) -> Merge:
    """Merge, run some Python, merge again; what the merges said and the notebooks that are there."""

    def run(
        between: str = "", after: str = "", *, size: str = "64m", next_release: Path | None = None
    ) -> dict[str, Any]:
        volumes = {str(repository): {"bind": "/srv/curriculum.git", "mode": "ro"}}
        if next_release:
            volumes[str(next_release)] = {"bind": "/srv/next.git", "mode": "ro"}
        try:
            log: bytes = engine.containers.run(
                built["student"],
                ["python", "-c", SCRIPT],
                environment={"BETWEEN": between},
                volumes=volumes,
                network_mode="none",
                read_only=True,
                cap_drop=["ALL"],
                tmpfs={"/tmp": "size=64m,mode=1777", "/home/jovyan": f"size={size},uid=1000"},
                stderr=True,
                remove=True,
            )
        except docker.errors.ContainerError as error:
            pytest.fail(f"exit {error.exit_status}: {error.stderr!r}")
        said: dict[str, Any] = json.loads(log.decode().rpartition("RESULT")[2])
        return said

    return run


LESSON = "notebooks/00-warm-up/00-warm-up.ipynb"


def test_a_student_gets_the_sessions_and_a_deleted_one_back(merge_inside: Merge) -> None:
    said = merge_inside(f"(home / '{LESSON}').unlink()")
    assert [result["state"] for result in said["results"]] == ["fresh", "updated"], said
    assert said["results"][1]["restored"] == ["00-warm-up/00-warm-up.ipynb"]
    assert said["files"] == [LESSON, "notebooks/01-pixels-to-tensors/01-pixels-to-tensors.ipynb"]


def test_another_owner_of_the_release_is_no_obstacle(merge_inside: Merge, repository: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give the release to another user")
    for path in (repository, *repository.rglob("*")):
        os.chown(path, 12345, 12345)
    assert merge_inside()["results"][0]["state"] == "fresh"


def test_a_home_without_space_is_said(merge_inside: Merge) -> None:
    said = merge_inside(size="8m")
    assert [result["reason"] for result in said["results"]] == ["disk-full", "disk-full"]
    assert said["files"] == []


def test_a_home_that_fills_while_merging_loses_nothing(merge_inside: Merge, repository: Path, tmp_path: Path) -> None:
    following = tmp_path / "next.git"
    shutil.copytree(repository, following)
    files = lecture_files(("00-warm-up", "01-pixels-to-tensors"))
    lesson = LESSON.removeprefix("notebooks/")
    files[lesson] = files[lesson].replace("다음 시간에는".encode(), b"mended")
    commit(files | {"big.bin": os.urandom(20 * 2**20)}, following)
    edit_and_fill = f"""
path = home / "{LESSON}"
made = json.loads(path.read_text())
made["cells"][3]["source"] = ["mine"]
path.write_text(json.dumps(made))
def contents():
    files = [each for each in (home / "notebooks").rglob("*") if each.is_file() and ".git" not in each.parts]
    return {{each: each.read_bytes() for each in files}}
before = contents()
(home / "ballast").write_bytes(b"x" * (22 * 2**20))  # the new file fits once, not as an object and a file
results.append(merge(pathlib.Path("/srv/next.git"), home))
assert contents() == before
assert json.loads(path.read_text())["cells"][3]["source"] == ["mine"]
(home / "ballast").unlink()
results.append(merge(pathlib.Path("/srv/next.git"), home))
assert json.loads(path.read_text())["cells"][3]["source"] == ["mine"]
assert "mended" in path.read_text()
assert (home / "notebooks/big.bin").stat().st_size == 20 * 2**20
"""
    said = merge_inside(edit_and_fill, size="56m", next_release=following)
    assert [result["state"] for result in said["results"][:3]] == ["fresh", "failed", "updated"], said
    assert said["results"][1]["reason"] == "disk-full"
