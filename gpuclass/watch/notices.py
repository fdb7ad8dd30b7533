"""What the holder of a seat is told: small files in a folder that their container sees and cannot write to.

The folder is mounted read-only at ``mounts.NOTICES``. Nothing here reads or writes below a student's home.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from gpuclass.errors import PlainError
from gpuclass.gpus.files import get, put
from gpuclass.roster import LOGIN

RENEW_S = 10.0  # a file that says the same is written anew this often: its age says whether anybody still watches
HOLDS_S = 30.0  # a notice without an end, from the last time it was written: its writer may have died
KEEP_S = 300.0  # how long somebody can read what was done to them
FOLDER_MODE = 0o755

Level = Literal["info", "warning", "error"]


class LoginError(PlainError):
    """A login cannot be the name of a folder."""


@dataclass(frozen=True)
class Notice:
    """One thing to tell.

    Attributes:
        id: the same as long as it is the same notice; who has read it need not read it again.
        at: since when it holds.
        level: how much it matters.
        ko, en: the text.
        until: when it is over; None for as long as its writer goes on showing it.
    """

    id: str
    at: float
    level: Level
    ko: str
    en: str
    until: float | None = None


@dataclass(frozen=True)
class Memory:
    """GPU memory of a seat, in bytes."""

    used: int
    limit: int


class Board:
    """The notices of one writer, such as the watch or the hub, to everybody."""

    def __init__(self, folder_of: Callable[[str], Path], writer: str) -> None:
        """
        Args:
            folder_of: ``settings.notices``.
            writer: the file's name without ``.json``.
        """
        self._folder_of = folder_of
        self._writer = writer
        self._shown: dict[str, tuple[float, dict[str, Any]]] = {}

    def prepare(self, login: str) -> Path:
        """Have the folder of one person, so that it can be mounted.

        Raises:
            LoginError: the login is no safe name for a folder.
            OSError: the data folder is not ours.
        """
        if not LOGIN.fullmatch(login):
            raise LoginError(f"{login!r} cannot be a login: no notices are written for it.")
        folder = self._folder_of(login)
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(FOLDER_MODE)  # whatever the umask is: the container's user must be able to read it
        return folder

    def show(self, login: str, notices: Sequence[Notice], now: float, memory: Memory | None = None) -> None:
        """Tell one person this, and nothing else from now on.

        A notice without an end has to be shown again before `HOLDS_S` have passed, or it is over.

        Raises:
            LoginError: the login is no safe name for a folder.
            OSError: the folder cannot be written to.
        """
        said: dict[str, Any] = {"notices": [asdict(notice) for notice in notices]}
        if memory:
            said["memory"] = asdict(memory)
        written, before = self._shown.get(login, (0.0, {}))
        if said == before and 0 <= now - written < RENEW_S:
            return
        ending = [{**each, "until": each["until"] or now + HOLDS_S} for each in said["notices"]]
        put(self.prepare(login) / f"{self._writer}.json", {"at": now, **said, "notices": ending})
        self._shown[login] = (now, said)

    def withdraw(self, login: str) -> None:
        """Take back what one person was told; nothing happens when it was nothing."""
        self._shown.pop(login, None)
        if LOGIN.fullmatch(login):
            with suppress(FileNotFoundError):
                (self._folder_of(login) / f"{self._writer}.json").unlink()

    def keep_only(self, logins: Iterable[str], everybody: Path) -> None:
        """Take back what this writer told anybody else, also before it was started.

        Args:
            logins: who keeps their notices.
            everybody: the folder that holds the folder of each person.
        """
        kept = set(logins)
        for path in everybody.glob(f"*/{self._writer}.json"):
            if path.parent.name not in kept:
                self.withdraw(path.parent.name)


def read(folder: Path, writer: str) -> list[Notice]:
    """What one writer tells one person; empty when it is nothing."""
    try:
        return [Notice(**notice) for notice in get(folder / f"{writer}.json")["notices"]]
    except (KeyError, TypeError):
        return []


def gigabytes(count: int) -> str:
    """``"7.5 GiB"``: the unit of PyTorch's own message about memory, on the same screen."""
    return f"{count / 2**30:.1f} GiB"


# What to do comes first in each text: Lab shows the first 140 characters and the rest behind a button.


def over(now: float, *, used: int, limit: int, seconds: float, mark: str) -> Notice:
    """The seat uses too much; so many seconds are left."""
    return Notice(
        f"over-{mark}",
        now,
        "warning",
        f"{round(seconds)}초 안에 GPU 메모리를 줄여 주세요. 안 쓰는 노트북의 커널을 끄거나(커널 → 커널 종료) 배치 "
        f"크기를 줄이면 돼요. 내 자리는 {gigabytes(limit)}인데 {gigabytes(used)}를 쓰고 있어요. 같은 GPU를 쓰는 "
        "친구의 코드가 멈출 수 있어서, 줄지 않으면 실행 중인 셀을 멈춰요.",
        f"Use less GPU memory within {round(seconds)} s: shut down kernels that you do not use (Kernel → Shut Down "
        f"Kernel), or make the batch smaller. You use {gigabytes(used)}; your seat has {gigabytes(limit)}. Code of "
        "others on the same GPU may fail, so otherwise your running cells are interrupted.",
    )


def interrupted(now: float, *, used: int, limit: int, seconds: float, mark: str) -> Notice:
    """Its cells were interrupted; so many seconds until its kernels are restarted."""
    return Notice(
        f"interrupted-{mark}",
        now,
        "error",
        f"실행 중인 셀을 멈췄어요(KeyboardInterrupt). {round(seconds)}초 안에 모델과 텐서를 del로 지우고 "
        "torch.cuda.empty_cache()를 실행하거나 커널을 다시 시작하세요. "
        f"내 자리의 GPU 메모리는 {gigabytes(limit)}인데 {gigabytes(used)}를 계속 썼어요. 줄지 않으면 커널을 다시 "
        "시작하고, 그러면 변수가 사라져요.",
        f"Your cells were interrupted (KeyboardInterrupt). Within {round(seconds)} s, delete models with del and call "
        "torch.cuda.empty_cache(), or restart the kernel. "
        f"They went on using {gigabytes(used)} of GPU memory; your seat has {gigabytes(limit)}. If it does not become "
        "less, the kernel is restarted and its variables are lost.",
        until=now + KEEP_S,
    )


def restarted(now: float, *, used: int, limit: int, mark: str) -> Notice:
    """Its kernels were restarted."""
    return Notice(
        f"restarted-{mark}",
        now,
        "error",
        "커널을 다시 시작했어요. 변수는 사라졌지만 노트북과 파일은 그대로예요. 배치 크기나 모델을 줄인 뒤 처음부터 "
        f"실행하세요. 내 자리의 GPU 메모리는 {gigabytes(limit)}인데 {gigabytes(used)}를 계속 썼어요.",
        "Your kernel was restarted. Its variables are lost; notebooks and files are as they were. Make batch or model "
        f"smaller, then run from the top. It went on using {gigabytes(used)} of GPU memory; your seat has "
        f"{gigabytes(limit)}.",
        until=now + KEEP_S,
    )


def fault(now: float, *, device: str) -> Notice:
    """The device has failed."""
    return Notice(
        f"fault-{device}",
        now,
        "error",
        "내 자리의 GPU가 고장 났어요. 내 잘못이 아니에요. 노트북을 저장하고 서버를 껐다 켜면 다른 GPU 자리를 받아요"
        "(파일 → 허브 컨트롤 패널).",
        "The GPU of your seat has failed; it is not your fault. Save your notebooks, then stop and start your server "
        "(File → Hub Control Panel): you get a seat on another GPU.",
    )


def idle(now: float, *, seconds: float, mark: str) -> Notice:
    """The seat is idle and given back soon."""
    minutes = max(1, round(seconds / 60))
    return Notice(
        f"idle-{mark}",
        now,
        "warning",
        f"GPU 자리를 계속 쓰려면 GPU를 쓰는 셀을 실행하세요. 오래 쓰지 않아서 {minutes}분 뒤에 서버를 끄고 자리를 "
        "돌려받아요. 파일은 그대로 남아요.",
        f"Run a cell that uses the GPU to keep your seat. It has been idle for long: in {minutes} min your server is "
        "stopped and the seat given back. Your files stay as they are.",
        until=now + seconds,
    )
