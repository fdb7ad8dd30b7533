"""Docker Engine on this machine: found, installed or started, and stopped again only where we started it.

An engine that runs already is never configured, restarted or stopped.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

import docker
from docker.errors import DockerException

from gpuclass.errors import PlainError

SOCKET = Path("/var/run/docker.sock")
STATE = Path("/run/gpuclass-engine")
"""Who started the engine and who uses it. It goes with the machine's next boot, as the engine does."""

STARTED = "started"  # holds the systemd units to stop; empty where dockerd was started without systemd
LOG = "dockerd.log"
PID_FILE = Path("/var/run/docker.pid")
PID_FILES = {PID_FILE: "dockerd", Path("/var/run/docker/containerd/containerd.pid"): "containerd"}
PROGRAMS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # root's PATH where `su` kept a user's
DETACHED = ("setsid", "--fork", "env")  # Ctrl-C in our terminal is not for the engine
ENGINE_PACKAGE = "docker.io"
UNITS = ("docker.service", "containerd.service")
SOCKET_UNIT = "docker.socket"
APT_KINDS = {"dlstatus": "downloading", "pmstatus": "installing"}

START_TIMEOUT_S = 60  # dockerd on a slow disk, first start; it takes 1 to 3 s elsewhere
STOP_TIMEOUT_S = 30  # dockerd gives containers 10 s before it ends itself
APT_LOCK_S = 300  # a fresh machine runs its unattended upgrades first
POLL_S = 0.1
PROGRESS_STEP = 20  # per cent of the installation between two lines
TAIL_LINES = 12  # of a failed program's output: enough for the reason

Say = Callable[[str], None]


class EngineError(PlainError):
    """There is no Docker Engine to work with; the text says why and what to do."""


class Step(Enum):
    """What has to be done until the engine answers."""

    INSTALL = auto()
    START_UNIT = auto()
    START_DAEMON = auto()


@dataclass(frozen=True)
class Found:
    """What is there.

    Attributes:
        answers: an engine answers on its socket.
        missing: Debian packages that were asked for and are not installed, the engine's included.
        root: we may install and start things.
        apt: this machine installs packages with apt-get.
        systemd: systemd runs here.
    """

    answers: bool
    missing: tuple[str, ...]
    root: bool
    apt: bool
    systemd: bool


def plan(found: Found) -> tuple[Step, ...]:
    """The steps, in order, that lead from what is there to an engine that answers with every package in place.

    Raises:
        EngineError: a step is needed that cannot be done here.
    """
    steps: list[Step] = []
    if found.missing:
        steps.append(Step.INSTALL)
    if not found.answers:
        steps.append(Step.START_UNIT if found.systemd else Step.START_DAEMON)
    if Step.INSTALL in steps and not found.apt:
        raise EngineError(
            f"Missing on this machine: {', '.join(found.missing)}. It has no apt-get; install what these packages hold "
            "(Docker Engine: https://docs.docker.com/engine/install/) and try again."
        )
    if steps and not found.root:
        todo = f"install {' '.join(found.missing)}" if found.missing else "start Docker Engine"
        raise EngineError(f"Only root can {todo}: run this with sudo, or do it yourself and try again.")
    return tuple(steps)


class Machine:
    """What the steps touch: apt, systemd, dockerd and its socket on this machine. Tests put another in its place."""

    def look(self, packages: Collection[str]) -> Found:
        """What is there; ``packages`` are those asked for beside the engine's."""
        systemd = Path("/run/systemd/system").is_dir()
        asleep = systemd and self._active(SOCKET_UNIT) and not self._active(UNITS[0])  # a look would wake it up
        answers = not asleep and self.version() is not None
        installed = answers or shutil.which("dockerd", path=PROGRAMS) is not None
        wanted = [*packages, *([] if installed else [ENGINE_PACKAGE])]
        return Found(
            answers=answers,
            missing=tuple(sorted(name for name in wanted if not self._has_package(name))),
            root=os.geteuid() == 0,
            apt=shutil.which("apt-get") is not None,
            systemd=systemd,
        )

    def version(self) -> str | None:
        """The version of the engine that answers; None when none does."""
        try:
            client = docker.DockerClient(base_url=f"unix://{SOCKET}", version="auto", timeout=10)
        except DockerException as error:
            if SOCKET.exists() and not os.access(SOCKET, os.W_OK):
                raise EngineError(f"{SOCKET} may not be used by this user: run this with sudo.") from error
            return None
        with closing(client):
            return str(client.version()["Version"])

    def containers(self) -> list[str]:
        """Names of the running containers."""
        with closing(docker.DockerClient(base_url=f"unix://{SOCKET}", version="auto")) as client:
            return sorted(str(container.name) for container in client.containers.list())

    def install(self, packages: Sequence[str], say: Say) -> None:
        """apt-get update and install, progress told as it happens."""
        self._apt(["update"], lambda _: None)
        self._apt(["install", "--yes", "--no-install-recommends", *packages], say)

    def active_units(self) -> list[str]:
        """Which of the engine's units systemd has running."""
        return [unit for unit in UNITS if self._active(unit)]

    def start_unit(self) -> None:
        """Start the distribution's service; systemd's limit of three starts a minute is for crashes, not for us."""
        self._systemctl("reset-failed", UNITS[0], SOCKET_UNIT)
        if self._systemctl("start", UNITS[0]):
            raise EngineError(f"systemctl start {UNITS[0]} failed; `journalctl -u {UNITS[0]}` says why.")

    def stop_units(self, units: Sequence[str]) -> None:
        """Stop these services."""
        self._systemctl("stop", *units)

    def start_daemon(self, log: Path) -> None:
        """Start dockerd with the machine's own configuration, detached from our terminal."""
        dockerd = shutil.which("dockerd", path=PROGRAMS)
        if dockerd is None:
            raise EngineError("dockerd is not on this machine although its package is; reinstall docker.io.")
        for path, program in PID_FILES.items():
            forget_stale(path, program)
        with log.open("ab") as output:
            subprocess.run(  # noqa: S603  # the machine's own dockerd
                [*DETACHED, f"PATH={PROGRAMS}", dockerd],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                check=True,
            )

    def daemon(self) -> int | None:
        """Process id of the running dockerd."""
        return process_in(PID_FILE, "dockerd")

    def stop_daemon(self, pid: int) -> bool:
        """End dockerd and wait for it; False when it did not end in time."""
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        return _wait(lambda: not self.alive(pid), STOP_TIMEOUT_S)

    def alive(self, pid: int) -> bool:
        """Whether this process runs; one that ended and was not yet collected by its parent does not."""
        try:
            state = Path(f"/proc/{pid}/stat").read_text("ascii", errors="replace").rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return False
        return state != "Z"

    def _has_package(self, name: str) -> bool:
        query = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", name]
        with suppress(FileNotFoundError):
            done = subprocess.run(query, capture_output=True, text=True, check=False)  # noqa: S603  # our own names
            return done.stdout == "installed"
        return False

    def _active(self, unit: str) -> bool:
        return self._systemctl("is-active", "--quiet", unit) == 0

    def _systemctl(self, *arguments: str) -> int:
        return subprocess.run(["systemctl", *arguments], stderr=subprocess.DEVNULL, check=False).returncode  # noqa: S603, S607  # our own arguments; the machine's systemctl

    def _apt(self, arguments: Sequence[str], say: Say) -> None:
        reader, writer = os.pipe()
        quiet = ["env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8"]
        options = ["--quiet", "-o", f"APT::Status-Fd={writer}", "-o", f"DPkg::Lock::Timeout={APT_LOCK_S}"]
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(  # noqa: S603  # our own arguments
                [*quiet, "apt-get", *options, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[writer],
            )
            os.close(writer)
            with os.fdopen(reader, encoding="utf-8", errors="replace") as lines:
                for line in progress(lines):
                    say(f"  {line}")
            if process.wait():
                output.seek(0)
                said = output.read().decode(errors="replace").strip().splitlines()[-TAIL_LINES:]
                raise EngineError(
                    f"{' '.join(['apt-get', *arguments])} failed:\n"
                    + "".join(f"  {line}\n" for line in said)
                    + "Check that this machine reaches its Debian or Ubuntu mirror, run that command, and try again."
                )


@dataclass(frozen=True)
class Engine:
    """An engine that answers.

    Attributes:
        version: what it says it is.
        ours: we started it, so `release` ends it.
    """

    version: str
    ours: bool


def ensure(
    say: Say = print,
    *,
    packages: Collection[str] = (),
    machine: Machine | None = None,
    state: Path = STATE,
    holder: int | None = None,
) -> Engine:
    """Have Docker Engine answer on this machine, and these Debian packages installed.

    Where we start the engine, `release` stops it again, when the last process that called this has called that. A
    command that ends at once calls it for another process, ``holder``, such as the shell that runs several of them.

    Raises:
        EngineError: it cannot be had; the text says why and what to do.
    """
    machine = machine or Machine()
    found = machine.look(packages)
    steps = plan(found)
    before = machine.active_units() if found.systemd and steps else []
    if not found.answers:
        _forget(state)
        _remember(state, found, before)
    if Step.INSTALL in steps:
        say(f"Installing {', '.join(found.missing)} with apt-get…")
        machine.install(found.missing, say)
    if not found.answers:
        say("Starting Docker Engine…")
        if Step.START_UNIT in steps:
            machine.start_unit()
        elif machine.daemon() is None:  # else the package's own script has started it
            machine.start_daemon(state / LOG)
    version = _answer(machine, state)
    ours = (state / STARTED).exists()
    if ours and found.root:
        (state / str(holder or os.getpid())).touch()
    return Engine(version=version, ours=ours)


def release(
    say: Say = print, *, machine: Machine | None = None, state: Path = STATE, holder: int | None = None
) -> None:
    """Stop the engine if we started it and nobody needs it any more; leave every other engine alone."""
    machine = machine or Machine()
    if not (state / STARTED).exists():
        return
    (state / str(holder or os.getpid())).unlink(missing_ok=True)
    users = [path.name for path in state.iterdir() if path.name.isdigit() and machine.alive(int(path.name))]
    if users:
        say(f"Docker Engine stays: process {', '.join(users)} uses it.")
        return
    if machine.version() is not None and (running := machine.containers()):
        say(f"Docker Engine stays: these containers run in it: {', '.join(running)}.")
        return
    units = (state / STARTED).read_text("utf-8").split()
    if units:
        machine.stop_units(units)
    elif (pid := machine.daemon()) is not None and not machine.stop_daemon(pid):
        say(f"Docker Engine (process {pid}) has not ended after {STOP_TIMEOUT_S} s; its log: {state / LOG}")
        return
    _forget(state)


def process_in(path: Path, program: str) -> int | None:
    """The process a pid file names, if it still is that program: after a power cut another one may have its number."""
    try:
        pid = int(path.read_text("ascii"))
        return pid if Path(f"/proc/{pid}/comm").read_text("utf-8", errors="replace").strip() == program else None
    except (OSError, ValueError):
        return None


def forget_stale(path: Path, program: str) -> None:
    """Remove a pid file whose program is gone; dockerd takes any process of that number for itself and gives up."""
    if process_in(path, program) is None:
        path.unlink(missing_ok=True)


def docker_group_gid() -> int:
    """The group that may use the engine's socket: services that are not root run with it.

    Raises:
        EngineError: there is no socket.
    """
    try:
        return SOCKET.stat().st_gid
    except FileNotFoundError:
        raise EngineError(f"{SOCKET} is not there: Docker Engine does not run.") from None


def progress(lines: Iterable[str]) -> Iterator[str]:
    """What a person wants to know of apt's status lines (``kind:package:per cent:text``): a line each 20 per cent."""
    told: dict[str, int] = {}
    for line in lines:
        kind, _, rest = line.partition(":")
        _, _, rest = rest.partition(":")
        percent, _, _ = rest.partition(":")
        if kind not in APT_KINDS or not re.fullmatch(r"\d+(\.\d+)?", percent):
            continue
        step = int(float(percent)) // PROGRESS_STEP * PROGRESS_STEP
        if step > told.get(kind, 0):
            told[kind] = step
            yield f"{APT_KINDS[kind]} {step}%"


def _remember(state: Path, found: Found, before: Sequence[str]) -> None:
    """Note, before anything is started, what will have to be stopped: a start that is interrupted is ours, too."""
    state.mkdir(mode=0o755, parents=True, exist_ok=True)
    units = [unit for unit in UNITS if unit not in before] if found.systemd else []
    (state / STARTED).write_text(" ".join(units), encoding="utf-8")


def _forget(state: Path) -> None:
    shutil.rmtree(state, ignore_errors=True)


def _answer(machine: Machine, state: Path) -> str:
    """The version of the engine, once it answers."""
    version: list[str] = []

    def answers() -> bool:
        version[:] = [said for said in [machine.version()] if said]
        return bool(version)

    if _wait(answers, START_TIMEOUT_S):
        return version[0]
    log = state / LOG
    said = log.read_text("utf-8", errors="replace").splitlines()[-TAIL_LINES:] if log.exists() else []
    raise EngineError(
        f"Docker Engine was started but does not answer after {START_TIMEOUT_S} s. The end of its log ({log}):\n"
        + "".join(f"  {line}\n" for line in said)
    )


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(POLL_S)
    return True
