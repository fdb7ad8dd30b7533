"""What a killed command left is removed by the next run, and nobody else's."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuclass.scratch import YOUNG_S, scratch

WORKING = """
import time
from gpuclass.scratch import scratch
with scratch("working-") as folder:
    (folder / "notebook").write_text("x")
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))


@pytest.fixture
def working() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process at work, and its folder, which looks as if it were old."""
    with subprocess.Popen([sys.executable, "-c", WORKING], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        folder = Path(process.stdout.readline().strip())
        age(folder)
        yield process, folder
        process.kill()


def age(folder: Path) -> None:
    then = time.time() - YOUNG_S - 1
    os.utime(folder, (then, then))


def test_a_folder_is_gone_at_the_end() -> None:
    with scratch("working-") as folder:
        (folder / "notebook").touch()
        assert Path(tempfile.mkdtemp()).parent == folder, "a process of this one's would have left it"
    assert not folder.exists()


def test_what_a_killed_process_left_goes_with_the_next_run(working: tuple[subprocess.Popen[str], Path]) -> None:
    process, folder = working
    process.kill()
    process.wait()
    assert folder.exists()
    with scratch("working-"):
        assert not folder.exists()


def test_the_folder_of_a_process_at_work_stays(working: tuple[subprocess.Popen[str], Path]) -> None:
    _, folder = working
    with scratch("working-"):
        assert (folder / "notebook").exists()


def test_a_folder_that_was_only_just_made_stays(tmp_path: Path) -> None:
    young = tmp_path / "working-abc"
    young.mkdir()
    with scratch("working-"):
        assert young.exists()


def test_a_link_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis").touch()
    (tmp_path / "working-link").symlink_to(tmp_path / "home")
    age(tmp_path / "home")
    with scratch("working-"):
        assert (tmp_path / "home" / "thesis").exists()
