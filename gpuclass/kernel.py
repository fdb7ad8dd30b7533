"""What a class adds to every notebook's kernel: an IPython extension, loaded by /etc/ipython/ipython_config.py.

- ``seat()`` is there without an import.
- Below the traceback of an error about memory stands what it means and what to do. The traceback itself stays as it is.
- A kernel that comes back after the operating system killed it for memory says so at the next cell: whoever trained
  over night with a closed browser sees no message of Lab's.
- A cell that the watch interrupts says that it was the watch, and why.
- Where the class has a desk, cells and error classes are counted for it: gpuclass.reporting.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpuclass import cgroup
from gpuclass.noticeboard import posted
from gpuclass.reporting import wanted
from gpuclass.seat import NOTICES, read, seat

if TYPE_CHECKING:
    from IPython.core.interactiveshell import ExecutionResult

KILLS = Path("/tmp/gpuclass")
"""Folder where each notebook's kernel leaves how often the container had been killed for memory when it started."""

HELP = {"ko": "도움말", "en": "Help"}
RESTARTED = {
    "ko": "도움말: 메모리(RAM)가 부족해서 이 노트북의 커널이 꺼졌다가 다시 켜졌어요. 적어 둔 코드는 그대로지만 변수는 "
    "모두 사라졌어요. 한 번에 읽는 데이터나 배치 크기를 줄인 다음, 위에서부터 다시 실행해 주세요.",
    "en": "Help: This notebook's kernel was stopped because memory (RAM) ran out, and has started again. Your code is "
    "still there, the variables are gone. Read less data at once or use smaller batches, then run from the top.",
}


class Notebook:
    """One kernel's hooks.

    Args:
        session: the notebook's path, as Jupyter says it; empty for a kernel without one.
        language: "ko" or "en".
        folder, cgroups, notices: see KILLS, gpuclass.cgroup and gpuclass.seat.
    """

    def __init__(
        self,
        session: str,
        language: str,
        folder: Path = KILLS,
        cgroups: Path = cgroup.CGROUPS,
        notices: Path = NOTICES,
    ) -> None:
        self.language = language
        self.cgroups = cgroups
        self.notices = notices
        self.kills = self._kills()
        self.restarted = bool(session) and killed_since_last_start(folder, session, self.kills)

    def _kills(self) -> int:
        memory = cgroup.memory(self.cgroups)
        return memory.kills if memory else 0

    def before_cell(self, info: object) -> None:
        """Say once that the kernel is not the one that ran the cells above."""
        self.kills = self._kills()
        if self.restarted:
            self.restarted = False
            print(RESTARTED.get(self.language, RESTARTED["en"]))

    def after_cell(self, result: ExecutionResult) -> None:
        """Explain an error about memory, and who interrupted a cell when the student did not."""
        error = result.error_in_exec
        if isinstance(error, KeyboardInterrupt):
            for text in interruptions(self.notices, self.language):
                print(text)
        elif isinstance(error, RuntimeError | MemoryError):
            from gpuclass.memoryerrors import explain

            explanation = explain(error, read(), self._kills() - self.kills)
            if explanation:
                from IPython.display import display

                display(explanation)  # type: ignore[no-untyped-call]  # IPython's has no annotations


def interruptions(folder: Path, language: str, now: float | None = None) -> list[str]:
    """What the watch says about cells that it has just interrupted, or is about to; empty when it is silent.

    Args:
        folder: where the notices are.
        language: "ko" or "en".
        now: seconds since the epoch; the clock's if not given.
    """
    return [
        f"{HELP.get(language, HELP['en'])}: {notice['text']}"
        for notice in posted(folder, language, time.time() if now is None else now, files=("watch.json",))
        if notice["id"].startswith(("over-", "interrupted-"))
    ]


def killed_since_last_start(folder: Path, session: str, kills: int) -> bool:
    """Whether the container was killed for memory since this notebook's kernel started last; remembers this start."""
    mark = folder / hashlib.sha256(session.encode()).hexdigest()[:16]
    try:
        before = int(mark.read_text())
    except (OSError, ValueError):
        before = kills  # its first start
    try:
        folder.mkdir(exist_ok=True)
        mark.write_text(str(kills))
    except OSError:
        return False  # /tmp is full: no reason to stop a kernel, and what cannot be remembered would be said for ever
    return kills > before


def load_ipython_extension(shell: Any) -> None:
    """Called by IPython when a kernel starts."""
    session = os.environ.get("JPY_SESSION_NAME", "")
    notebook = Notebook(session, os.environ.get("GPUCLASS_LANGUAGE", "ko"))
    shell.push({"seat": seat}, interactive=False)  # not among the student's own variables
    shell.events.register("pre_run_cell", notebook.before_cell)
    shell.events.register("post_run_cell", notebook.after_cell)
    if session and wanted(os.environ):  # a terminal's IPython and the self-check's kernels have no session
        from gpuclass.reporting.telling import Cells

        cells = Cells()
        shell.events.register("post_run_cell", cells.after_cell)
        cells.tell()  # so that the desk knows which notebook is open before a cell is run
