"""The released curriculum into a student's home, inside the student's container. The student's edit always wins.

:func:`merge` runs ``pulling`` as a child with a time limit and says what came of it; it never raises. Standard library
only.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

TIME_LIMIT = 120.0  # seconds for one merge; a first clone takes about one

State = Literal["fresh", "updated", "unchanged", "failed"]
Reason = Literal["", "no-release", "release-unreadable", "disk-full", "busy", "timeout", "error"]

_SAYS: dict[str, dict[str, str]] = {
    "ko": {
        "fresh": "수업 노트북을 notebooks 폴더에 넣었어요.",
        "updated": "새 수업 자료가 도착했어요.",
        "unchanged": "수업 노트북이 이미 최신이에요.",
        "kept": "직접 고친 파일 {count}개는 그대로 두었어요.",
        "set_aside": "이름이 겹친 파일은 다른 이름으로 옮겨 두었어요: {names}",
        "no-release": "아직 나눠 준 수업 자료가 없어요. 지금 있는 파일은 그대로예요.",
        "release-unreadable": "새 수업 자료를 읽을 수 없었어요. 지금 있는 파일은 그대로예요. 선생님께 알려 주세요.",
        "disk-full": "저장 공간이 부족해서 새 수업 자료를 받지 못했어요. 큰 파일을 지우고 다시 눌러 주세요.",
        "busy": "다른 곳에서 수업 자료를 받고 있어요. 잠시 뒤 다시 눌러 주세요.",
        "timeout": "수업 자료를 받는 데 너무 오래 걸려서 멈췄어요. 잠시 뒤 다시 눌러 주세요.",
        "error": "수업 자료를 받지 못했어요. 지금 있는 파일은 그대로예요. 선생님께 알려 주세요.",
    },
    "en": {
        "fresh": "The class's notebooks are in the folder notebooks.",
        "updated": "New class notebooks have arrived.",
        "unchanged": "Your class notebooks are up to date.",
        "kept": "{count} file(s) that you changed were left as they are.",
        "set_aside": "Files with the same name as a new one were moved aside: {names}",
        "no-release": "No notebooks have been released yet. Your files are as they were.",
        "release-unreadable": "The new notebooks cannot be read. Your files are as they were. Please tell a teacher.",
        "disk-full": "There is too little space left for the new notebooks. Delete large files and try again.",
        "busy": "The notebooks are being fetched already. Try again in a moment.",
        "timeout": "Fetching the notebooks took too long and was stopped. Try again in a moment.",
        "error": "The notebooks could not be fetched. Your files are as they were. Please tell a teacher.",
    },
}


@dataclass(frozen=True)
class MergeResult:
    """What one merge did. Paths are relative to ``~/notebooks``."""

    state: State
    updated: tuple[str, ...] = ()  # new in the release, or changed by it
    restored: tuple[str, ...] = ()  # the student had deleted them
    kept: tuple[str, ...] = ()  # differ from the release because the student changed them
    set_aside: tuple[str, ...] = ()  # the student's files that stood in the way, under their new names
    reason: Reason = ""
    detail: str = ""  # for the log; never shown to students

    def text(self, language: str = "ko") -> str:
        """What the student reads, one or more sentences."""
        says = _SAYS.get(language, _SAYS["en"])
        if self.state == "failed":
            return says[self.reason or "error"]
        sentences = [says[self.state]]
        if self.kept:
            sentences.append(says["kept"].format(count=len(self.kept)))
        if self.set_aside:
            sentences.append(says["set_aside"].format(names=", ".join(self.set_aside)))
        return " ".join(sentences)


def merge(repository: Path, home: Path, *, time_limit: float = TIME_LIMIT) -> MergeResult:
    """Bring ``home/notebooks`` up to the release in ``repository``. Never raises; blocks for ``time_limit`` at most.

    Args:
        repository: the bare repository that ``release`` wrote; read only.
        home: the student's home.
        time_limit: seconds after which the merge is stopped; what it had done so far stays consistent.
    """
    command = [sys.executable, "-I", "-m", "gpuclass.curriculum", "merge", str(repository), str(home)]
    try:
        child = subprocess.Popen(  # noqa: S603  # our own interpreter and module
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            start_new_session=True,  # so that git, its child, is stopped with it
            text=True,
            errors="replace",
        )
    except OSError as error:
        return failed("error", str(error))
    with child:
        try:
            out, err = child.communicate(timeout=time_limit)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
            return failed("timeout", f"stopped after {time_limit:g} s")
    try:
        said = json.loads(out)
        fields: dict[str, Any] = {key: tuple(item) if isinstance(item, list) else item for key, item in said.items()}
        return MergeResult(**fields)
    except (ValueError, TypeError, AttributeError):
        return failed("error", f"exit {child.returncode}: {err[-2000:]}")


def failed(reason: Reason, detail: str) -> MergeResult:
    """The result of a merge that left everything as it was."""
    return MergeResult("failed", reason=reason, detail=detail)
