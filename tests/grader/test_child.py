"""A grading process that is killed takes nothing with it and leaves nothing behind."""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from typing import Any, cast

import docker
import pytest
import requests

from gpuclass.grader.child import Child, ChildDied, Setup, remove_scratch, scratch_of
from gpuclass.grader.job import Task
from gpuclass.grader.sandbox import EngineError, sweep
from tests.grader.agents import LIMITS
from tests.grader.courses import solved, source_version, write

pytestmark = pytest.mark.slow


def scratch(owner: str) -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"{scratch_of(owner)}*"))


def test_a_killed_grading_process_leaves_no_folder_behind(tmp_path: Path) -> None:
    write(tmp_path / "course" / "source" / "ps1", source_version())
    folder = write(tmp_path / "kim", solved())
    task = Task(str(tmp_path / "course"), "camp", "en", "ps1", "kim", str(folder))
    owner = f"test:{tmp_path}"
    seen: list[Path] = []

    def kill_at_work() -> None:
        while not seen:
            seen.extend(scratch(owner))
            time.sleep(0.01)
        assert child._process is not None
        child._process.kill()

    with Child(Setup("no-image", LIMITS, owner)) as child:
        killer = threading.Thread(target=kill_at_work)
        killer.start()
        with pytest.raises(ChildDied):
            child.grade(task)
        killer.join()
        assert len(seen) == 1
        assert scratch(owner) == []


def test_what_a_killed_worker_left_is_removed_and_another_classs_is_not(tmp_path: Path) -> None:
    mine, others = f"class:{tmp_path}", f"class:{tmp_path}/other"
    for owner in (mine, others):
        tempfile.mkdtemp(prefix=f"{scratch_of(owner)}1234-")
    assert remove_scratch(scratch_of(mine)) == 1
    assert (len(scratch(mine)), len(scratch(others))) == (0, 1)
    remove_scratch(scratch_of(others))


class GoneEngine:
    """Docker's client when its engine dies between two questions."""

    @property
    def containers(self) -> Any:
        raise requests.ConnectionError("Remote end closed connection without response")


def test_an_engine_that_dies_while_it_is_asked_is_an_engines_error() -> None:
    with pytest.raises(EngineError, match="Docker went away"):
        sweep(cast("docker.DockerClient", GoneEngine()), "nobody")
