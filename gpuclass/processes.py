"""The processes of a running class, and the supervisor that `gpuclass up` is.

Proxy, hub, exchange, grading worker, class desk and the watch over GPUs are separate processes: one that dies takes no
other with it and is started again. As root, each drops to the service user and loses every capability that it does not
need; on a server systemd does the same with the same commands.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

from gpuclass import ROOT, proxy
from gpuclass.errors import PlainError
from gpuclass.gpus.model import Mode
from gpuclass.secrets import token
from gpuclass.settings import CONFIG_VARIABLE, SERVICE_UID, Settings

STOP_TIMEOUT_S = 10
KILL_TIMEOUT_S = 3  # a process that hangs in a driver outlives even that signal; the class closes without it
BACK_OFF_S = (0.5, 1, 2, 5, 15, 30)  # from one start to the next of a process that keeps dying
STEADY_S = 60  # a process that lived this long starts again without a wait
BIN = Path(sys.executable).parent

Say = Callable[[str], None]


class ProcessError(PlainError):
    """A process of the class could not be started; the text says which and where its log is."""


@dataclass(frozen=True)
class Process:
    """One process of the class."""

    name: str
    argv: tuple[str, ...]
    talks_to_docker: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    listens: tuple[str, int] | None = None


def processes(settings: Settings) -> tuple[Process, ...]:
    """What runs, in the order of starting; stopping goes the other way round."""
    site, gateway = settings.site, str(settings.gateway)
    python = str(BIN / "python")
    watch = Process("watch", (python, "-m", "gpuclass", "watch"), talks_to_docker=True)
    return (
        Process(
            "proxy",
            proxy.command(settings),
            environment={"CONFIGPROXY_AUTH_TOKEN": token(settings.secrets, "proxy")},
            listens=(str(site.listen), site.port),
        ),
        Process("exchange", (python, "-m", "gpuclass", "exchange", "serve"), listens=(gateway, site.exchange_port)),
        # Before the hub, which adds the routes of services when it has found them
        Process("desk", (python, "-m", "gpuclass", "desk"), listens=(gateway, site.desk_port)),
        *(() if settings.gpu.mode is Mode.OFF else (watch,)),
        Process(
            "hub",
            (python, "-m", "jupyterhub", "--config", str(ROOT / "jupyterhub_config.py")),
            talks_to_docker=True,
            listens=(gateway, site.hub_port),
        ),
        Process("grading", (python, "-m", "gpuclass", "grading", "serve"), talks_to_docker=True),
    )


def environment(settings: Settings, extra: Mapping[str, str]) -> dict[str, str]:
    """A process's whole environment; nothing of the caller's gets in."""
    return {
        CONFIG_VARIABLE: str(settings.path),
        "HOME": str(settings.data),
        "LANG": "C.UTF-8",
        "PATH": f"{BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONUNBUFFERED": "1",
        **extra,
    }


def as_service_user(
    argv: Iterable[str], *, caller_uid: int, docker_gid: int | None, may_read_checkout: bool
) -> tuple[str, ...]:
    """The command that runs ``argv`` with the service user's rights only.

    Args:
        argv: the program.
        caller_uid: who calls; rights can be dropped only as root.
        docker_gid: the group that may use the engine's socket, for the processes that need it.
        may_read_checkout: whether it can reach checkout, Python and data folder. Below a home that is closed
            to others it cannot; then it keeps the one capability of reading and searching, and nothing else.
    """
    drop: tuple[str, ...] = ()
    if caller_uid == 0:
        groups = "--clear-groups" if docker_gid is None else f"--groups={docker_gid}"
        caps = "-all" if may_read_checkout else "-all,+dac_read_search"
        drop = (
            f"--reuid={SERVICE_UID}",
            f"--regid={SERVICE_UID}",
            groups,
            f"--inh-caps={caps}",
            f"--ambient-caps={caps}",
            f"--bounding-set={caps}",
            "--no-new-privs",
            # access(2), which git uses, takes a user's capabilities for nothing unless this bit is set
            *(() if may_read_checkout else ("--securebits=+no_setuid_fixup",)),
        )
    return ("setpriv", "--pdeathsig=TERM", *drop, "--", *argv)


def service_user_may_read(*paths: Path) -> bool:
    """Whether everyone may read these paths and enter all folders above them."""
    above = {folder for path in paths for folder in (path, path.resolve(), *path.parents, *path.resolve().parents)}
    return all(folder.stat().st_mode & 0o005 == 0o005 for folder in above)


def wrapped(process: Process, docker_gid: int, data: Path) -> tuple[str, ...]:
    """The process's command as started on this machine."""
    return as_service_user(
        process.argv,
        caller_uid=os.geteuid(),
        docker_gid=docker_gid if process.talks_to_docker else None,
        may_read_checkout=service_user_may_read(ROOT, Path(sys.executable), data.parent),
    )


def go_on_as_service_user(settings: Settings) -> None:
    """As root over a data folder of the service user, start this very command again with that user's rights.

    What root writes there, the services cannot read. Does not return when it starts the command again.
    """
    if os.geteuid() != 0 or settings.data.stat().st_uid != SERVICE_UID:
        return
    command = as_service_user(
        (str(BIN / "python"), "-m", "gpuclass", *sys.argv[1:]),
        caller_uid=0,
        docker_gid=None,
        may_read_checkout=service_user_may_read(ROOT, Path(sys.executable), settings.data.parent),
    )
    kept = {name: os.environ[name] for name in ("TERM", "COLUMNS", "NO_COLOR") if name in os.environ}
    os.execvpe(command[0], command, environment(settings, kept))  # noqa: S606  # own program, no shell


class Supervisor:
    """Starts the processes, starts again what dies, and stops all of them."""

    def __init__(self, settings: Settings, docker_gid: int, say: Say = print) -> None:
        self._settings = settings
        self._docker_gid = docker_gid
        self._say = say
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._started: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._stopping = False

    def log_of(self, name: str) -> Path:
        """Where a process writes."""
        return self._settings.data / "log" / f"{name}.log"

    def start(self, timeout_s: float = 60) -> None:
        """Start all, each when the one before it listens.

        Raises:
            ProcessError: one of them did not come up; its last lines are in the text.
        """
        for process in processes(self._settings):
            self._start(process)
            self._wait_until_it_listens(process, timeout_s)

    def watch(self, until: Callable[[], bool]) -> None:
        """Start again what dies, until told otherwise."""
        while not until():
            time.sleep(0.2)
            self.revive()

    def revive(self) -> None:
        """Start again each process that died, when its wait is over."""
        for process in processes(self._settings):
            child = self._running[process.name]
            if self._stopping or child.poll() is None:
                continue
            now = time.monotonic()
            lived = now - self._started[process.name]
            failures = self._failures[process.name] = 0 if lived > STEADY_S else self._failures.get(process.name, 0)
            if lived < BACK_OFF_S[min(failures, len(BACK_OFF_S) - 1)]:
                continue
            self._failures[process.name] = failures + 1
            self._say(
                f"{process.name} ended ({child.returncode}) and is started again; see {self.log_of(process.name)}"
            )
            self._start(process)

    def stop(self) -> None:
        """Stop all, last started first; kill what does not listen to reason."""
        self._stopping = True
        for name, child in reversed(self._running.items()):
            if child.poll() is None:
                child.terminate()
                try:
                    child.wait(STOP_TIMEOUT_S)
                except subprocess.TimeoutExpired:
                    self._say(f"{name} does not stop and is killed")
                    child.kill()
                    self._bury(name, child)
        self._running.clear()

    def _bury(self, name: str, child: subprocess.Popen[bytes]) -> None:
        try:
            child.wait(KILL_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._say(f"{name} (process {child.pid}) hangs in a driver and ends when the kernel lets it; see `dmesg`")

    def _start(self, process: Process) -> None:
        self._started[process.name] = time.monotonic()
        with self._log(process.name) as log:
            self._running[process.name] = subprocess.Popen(  # noqa: S603  # commands from processes(), no shell
                wrapped(process, self._docker_gid, self._settings.data),
                cwd=self._settings.data,
                env=environment(self._settings, process.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the supervisor, which stops them in order
            )

    def _log(self, name: str) -> IO[bytes]:
        path = self.log_of(name)
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        return path.open("ab")

    def _wait_until_it_listens(self, process: Process, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while process.listens and not _listens(process.listens):
            ended = self._running[process.name].poll()
            if ended is not None or time.monotonic() > deadline:
                what = f"ended with {ended}" if ended is not None else f"does not listen after {timeout_s:.0f} s"
                path = self.log_of(process.name)
                tail = "\n  ".join(path.read_text(errors="replace").splitlines()[-15:])
                raise ProcessError(f"{process.name} {what}. Its log, {path}, ends with:\n  {tail}")
            time.sleep(0.05)


def _listens(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=1).close()
    except OSError:
        return False
    return True


class StopSignal:
    """SIGINT, SIGTERM and SIGHUP: they interrupt what is being set up, so that it is undone; later they are remembered.

    True once one came. A second SIGINT interrupts even then.
    """

    def __init__(self) -> None:
        self.came = False
        self._remembers = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._handle)

    def __bool__(self) -> bool:
        return self.came

    def remember(self) -> None:
        """From now on a signal is a wish to stop that somebody looks for."""
        self._remembers = True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self._remembers or (self.came and number == signal.SIGINT):
            self._remembers = True  # the next one must not interrupt the undoing
            raise KeyboardInterrupt
        self.came = True
