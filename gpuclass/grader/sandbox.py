"""One throwaway container per notebook: no network, nothing mounted, nothing writable but memory, always removed.

The host sends cells one at a time over the container's stdin and reads framed JSON from its stdout. Every wait has an
absolute deadline, every read a size cap. A sandbox that breaks a rule is `Lost`: it is never asked again.
"""

from __future__ import annotations

import base64
import secrets
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Protocol, Self

import docker
import docker.errors
import requests
from docker.models.containers import Container

from gpuclass.errors import PlainError
from gpuclass.grader import wire
from gpuclass.settings import SERVICE_UID, GradingSection

ZYGOTE = ("python", "-I", "/opt/gpuclass/zygote.py")  # takes a program and modules to import before it forks
AGENT = (*ZYGOTE, "agent")
REFEREE = (*ZYGOTE, "referee")
FOLDER = "/tmp/work"
LABEL = "gpuclass.sandbox"  # its value says whose: the class's data folder, or a run of `gpuclass grade`
EXPIRES_LABEL = "gpuclass.expires"  # seconds since 1970 after which it is garbage, whoever started it
EXPIRES_SLACK = 120.0  # seconds
START_SECONDS = 90.0  # a busy machine takes long to start a container and import IPython
GRACE_SECONDS = 3.0  # from the agent's own time limit to the host's
ENDING_SECONDS = 10.0  # from the end of a container's output to its own; a busy engine notices late
ENDING_POLL = 0.05  # seconds
KILLED = 137  # exit code of a container whose first process got SIGKILL: 128 + 9
OUTPUTS_FACTOR = 10  # a whole notebook may show as much as this many cells
FRAME_SLACK = 256 * 1024  # bytes of a frame that are not output: keys, one error
ENGINE_SECONDS = 60
END = b"!"  # a frame that begins so ends what runs in the container, as in grading/zygote.py; a token follows
RENEW_SECONDS = 20.0  # for that; starting another container would not take longer
REMOVALS = 3  # tries to remove a container before it is left to `sweep`
INODES = 20_000  # files in /tmp
OPEN_FILES = 1024

Reason = Literal["timeout", "total", "memory", "output", "garbled", "died"]


class Lost(Exception):  # noqa: N818  # the sentence reads "raise Lost('timeout')"
    """The sandbox is gone, with everything that student code had made in it."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class EngineError(PlainError):
    """Docker could not be asked for a sandbox: nobody's code is at fault."""


@dataclass(frozen=True)
class Limits:
    """What one sandbox may use. Sizes in bytes, times in seconds."""

    cpus: float
    memory: int
    tmp: int
    processes: int
    cell_timeout: float
    timeout: float
    output: int

    @classmethod
    def of(cls, grading: GradingSection) -> Self:
        """The limits in ``[grading]``."""
        return cls(
            cpus=grading.cpus,
            memory=grading.memory,
            tmp=grading.tmp,
            processes=grading.processes,
            cell_timeout=grading.cell_timeout,
            timeout=grading.timeout,
            output=grading.output_limit,
        )


def request(
    image: str, limits: Limits, *, name: str, owner: str, expires: float, command: Sequence[str] = AGENT
) -> dict[str, Any]:
    """The whole of what Docker is asked for, as keyword arguments of ``containers.create``."""
    threads = str(max(1, round(limits.cpus)))
    size = limits.tmp
    return {
        "image": image,
        "entrypoint": ["prepare-tmp"],  # no tini before it: the zygote is to be the first process
        "command": list(command),
        "name": name,
        "labels": {LABEL: owner, EXPIRES_LABEL: str(int(expires))},
        "user": f"{SERVICE_UID}:{SERVICE_UID}",
        "working_dir": "/tmp",
        "stdin_open": True,
        "stop_signal": "SIGKILL",  # an engine that stops must not look like code that ended itself
        "network_mode": "none",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "tmpfs": {"/tmp": f"rw,nosuid,nodev,noexec,size={size},nr_inodes={INODES},mode=1777"},
        "shm_size": size,
        "mem_limit": limits.memory,
        "memswap_limit": limits.memory,
        "nano_cpus": int(limits.cpus * 1e9),
        "pids_limit": limits.processes,
        "ulimits": [
            docker.types.Ulimit(name="core", soft=0, hard=0),
            docker.types.Ulimit(name="nofile", soft=OPEN_FILES, hard=OPEN_FILES),
        ],
        "log_config": docker.types.LogConfig(type="none"),
        "environment": {
            "HOME": "/tmp",
            "IPYTHONDIR": "/tmp/ipython",
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            "NVIDIA_VISIBLE_DEVICES": "void",
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
        },
    }


class Channel(Protocol):
    """A byte stream to an agent. Deadlines are instants of ``time.monotonic``; past them, TimeoutError."""

    def send(self, data: bytes, deadline: float) -> None:
        """Send all of it; OSError when nobody reads any more."""

    def receive(self, deadline: float) -> bytes:
        """Some bytes; none at the end of the stream."""

    def why_closed(self) -> Reason:
        """What ended the stream; EngineError if that was the engine and not the agent."""

    def close(self) -> None:
        """Remove the agent, whatever state it is in."""


class ContainerChannel:
    """The stdin and stdout of a container that this object creates and removes."""

    _HEADER = struct.Struct(">BxxxI")  # Docker's own framing of an attached stream: which one, how long
    _STDOUT = 1

    def __init__(self, client: docker.DockerClient, wanted: Mapping[str, Any]) -> None:
        self._buffer = bytearray()
        self._container: Container | None = None
        self._attached: Any = None
        self._socket: socket.socket
        try:
            self._container = client.containers.create(**wanted)
            parameters = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
            self._attached = self._container.attach_socket(params=parameters)
            self._socket = self._attached._sock  # the SDK has no other name for it
            self._container.start()
        except (docker.errors.DockerException, requests.RequestException, OSError) as error:
            self.close()
            raise EngineError(f"Docker did not start a sandbox: {error}") from error

    def send(self, data: bytes, deadline: float) -> None:
        """Send all of it."""
        self._socket.settimeout(_left(deadline))
        self._socket.sendall(data)

    def receive(self, deadline: float) -> bytes:
        """Some bytes of its stdout."""
        while True:
            header = self._exactly(self._HEADER.size, deadline)
            if len(header) < self._HEADER.size:
                return b""
            stream, length = self._HEADER.unpack(header)
            payload = self._exactly(length, deadline)
            if stream == self._STDOUT or len(payload) < length:
                return payload if stream == self._STDOUT else b""

    def _exactly(self, count: int, deadline: float) -> bytes:
        while len(self._buffer) < count:
            self._socket.settimeout(_left(deadline))
            part = self._socket.recv(65536)
            if not part:
                break
            self._buffer += part
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def why_closed(self) -> Reason:
        """Whether the kernel's memory limit ended it, or its own code.

        Who kills the container from outside, as `docker kill` and a restart of the engine do, kills its first process;
        its own code cannot, and when that kills itself the first process says another exit code. So that one, a stream
        that ends while the container runs, and a vanished engine or container are nobody's code's fault.
        """
        if self._container is None:
            raise EngineError("there is no sandbox")
        try:
            state = self._ended(self._container)
        except (docker.errors.DockerException, requests.RequestException) as error:
            raise EngineError(f"Docker went away while a sandbox ran: {error}") from error
        if state.get("OOMKilled"):
            return "memory"
        if state.get("Running"):
            raise EngineError("Docker let go of a sandbox that still runs")
        if state.get("ExitCode") == KILLED:
            raise EngineError("somebody killed a sandbox: `docker kill`, or the engine as it stopped")
        return "died"

    def _ended(self, container: Container) -> dict[str, Any]:
        """The container's state once it has ended: its output ends a moment before."""
        deadline = time.monotonic() + ENDING_SECONDS
        while True:
            container.reload()
            state: dict[str, Any] = container.attrs["State"]
            if not state.get("Running") or time.monotonic() > deadline:
                return state
            time.sleep(ENDING_POLL)

    def close(self) -> None:
        """Kill and remove it. What an unreachable engine keeps, `sweep` removes later."""
        if self._attached is not None:  # first: Docker does not remove a container whose output nobody reads
            self._attached._response.close()  # before its socket, or Python 3.13 complains when it is collected
            self._socket.close()
            self._attached.close()
        if self._container is not None:
            remove(self._container)


class Sandbox:
    """A started agent that runs cells."""

    def __init__(
        self, channel: Channel, limits: Limits, clock: Callable[[], float] = time.monotonic, folder: str = FOLDER
    ) -> None:
        self._folder = folder
        self._channel = channel
        self._limits = limits
        self._clock = clock
        self._ends = clock() + START_SECONDS + limits.timeout
        self._output_left = limits.output * OUTPUTS_FACTOR
        self._buffer = bytearray()
        self._lost: Lost | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def close(self) -> None:
        """Remove it."""
        self._channel.close()

    def greet(self, files: Mapping[str, bytes]) -> None:
        """Have the agent put ``files`` beside the notebook; `wait` waits for it."""
        sent = [{"path": path, "content": base64.b64encode(data).decode("ascii")} for path, data in files.items()]
        self._begin({"folder": self._folder, "files": sent})

    def introduce(
        self, notebook: Sequence[str], contract: Sequence[str] | None = None, *, record: bool = False
    ) -> None:
        """Have the referee read the instructor's code cells; `wait` waits for it. The rest as in `Pair.start`."""
        known = None if contract is None else list(contract)
        self._begin({"cells": list(notebook), "contract": known, "record": record})

    def wait(self, seconds: float | None = None) -> None:
        """Wait until cells can run, for ``seconds`` from then on.

        Raises:
            EngineError: it did not get ready. No student's code has run yet, so none is at fault.
        """
        try:
            answer = self._answer(self._clock() + START_SECONDS, FRAME_SLACK)
        except Lost as lost:
            raise EngineError(f"a sandbox did not get ready: {lost}") from lost
        if answer != {"ready": True}:
            raise EngineError(f"a sandbox did not get ready: {answer}")
        self._ends = self._clock() + (self._limits.timeout if seconds is None else seconds)

    def renew(self) -> None:
        """Have everything that ran in it ended and its files removed; then it is as it was before `greet`.

        Raises:
            EngineError: it could not be done: this one is of no use any more.
        """
        if self._lost:
            raise EngineError("a sandbox that broke a rule is not used again")
        token = secrets.token_hex(16)  # what ran before cannot have said this: only the first process reads it
        frame = END + token.encode("ascii")
        try:
            deadline = self._clock() + RENEW_SECONDS
            self.send(wire.LENGTH.pack(len(frame)) + frame, deadline)
            answer = self._answer(deadline, FRAME_SLACK)
        except Lost as lost:
            raise EngineError(f"a sandbox did not begin anew: {lost}") from lost
        if answer != {"clean": token} or self._buffer:
            raise EngineError(f"a sandbox did not begin anew: {self.lose('garbled')}")
        self._output_left = self._limits.output * OUTPUTS_FACTOR

    @property
    def whole(self) -> bool:
        """Whether it kept all rules so far."""
        return self._lost is None

    def start(self, files: Mapping[str, bytes]) -> None:
        """`greet` and `wait`."""
        self.greet(files)
        self.wait()

    def tell(self, message: dict[str, Any]) -> None:
        """Tell the referee something that it only acknowledges.

        Raises:
            Lost: it does not.
        """
        if self.ask(message) != {"ready": True}:
            raise self.lose("garbled")

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """The referee's answer to a question of the host's own.

        Raises:
            Lost: there is none.
        """
        deadline = self._clock() + self.seconds() + GRACE_SECONDS
        self.send(wire.encode(message), deadline)
        return self._answer(deadline, FRAME_SLACK)

    def seconds(self) -> float:
        """What a cell that begins now may take.

        Raises:
            Lost: it ended before, or the notebook's whole time is up.
        """
        if self._lost:
            raise self._lost
        seconds = min(self._limits.cell_timeout, self._ends - self._clock())
        if seconds <= 0:
            raise self.lose("total")
        return seconds

    def run(self, source: str) -> wire.CellRun:
        """Run one cell.

        Raises:
            Lost: the sandbox broke a limit or ended; from then on every call raises this.
        """
        seconds = self.seconds()
        limit = max(0, min(self._limits.output, self._output_left))
        asked = secrets.token_hex(16)  # an answer written in advance does not know it
        deadline = self._clock() + seconds + GRACE_SECONDS
        self.send(wire.encode({"id": asked, "source": source, "seconds": seconds, "limit": limit}), deadline)
        frame = self.frame(deadline, limit + FRAME_SLACK)
        self._output_left -= len(frame)
        return self.reply(frame, asked)

    def reply(self, frame: bytes, asked: str) -> wire.CellRun:
        """How the cell ``asked`` went, from a frame that says so.

        Raises:
            Lost: it does not.
        """
        try:
            return wire.reply(wire.decode(frame), asked)
        except wire.Garbled as error:
            raise self.lose("garbled", str(error)) from error

    def send(self, data: bytes, deadline: float) -> None:
        """Send bytes.

        Raises:
            Lost: nobody takes them in time.
        """
        try:
            self._channel.send(data, deadline)
        except TimeoutError as error:
            raise self.lose("timeout") from error
        except OSError as error:
            raise self.lose(self._channel.why_closed(), str(error)) from error

    def frame(self, deadline: float, limit: int) -> bytes:
        """The next frame's body, of no more than ``limit`` bytes.

        Raises:
            Lost: there is none in time.
        """
        try:
            (length,) = wire.LENGTH.unpack(self._exactly(wire.LENGTH.size, deadline))
            if length > limit:
                raise self.lose("output", f"a frame of {length} bytes")
            return self._exactly(length, deadline)
        except TimeoutError as error:
            raise self.lose("timeout") from error
        except OSError as error:
            raise self.lose(self._channel.why_closed(), str(error)) from error

    def lose(self, reason: Reason, detail: str = "") -> Lost:
        """What to raise when it broke a rule: it is never asked again."""
        self._lost = Lost(reason, detail)
        return self._lost

    def _begin(self, message: dict[str, Any]) -> None:
        try:
            self.send(wire.encode(message), self._clock() + START_SECONDS)
        except Lost as lost:
            raise EngineError(f"a sandbox did not get ready: {lost}") from lost

    def _answer(self, deadline: float, limit: int) -> dict[str, Any]:
        try:
            return wire.decode(self.frame(deadline, limit))
        except wire.Garbled as error:
            raise self.lose("garbled", str(error)) from error

    def _exactly(self, count: int, deadline: float) -> bytes:
        while len(self._buffer) < count:
            part = self._channel.receive(deadline)
            if not part:
                raise self.lose(self._channel.why_closed())
            self._buffer += part
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken


def open_sandbox(
    client: docker.DockerClient,
    image: str,
    limits: Limits,
    owner: str,
    command: Sequence[str] = AGENT,
    ahead: float = 0.0,
) -> Sandbox:
    """A fresh container of ``image``; leave the ``with`` block and it is gone.

    Args:
        client: the engine.
        image: its reference.
        limits: of this sandbox.
        owner: whose it is, for `sweep`.
        command: what runs in it.
        ahead: seconds that it may wait for its last notebook.

    Raises:
        EngineError: Docker refused or cannot be reached.
    """
    expires = time.time() + ahead + START_SECONDS + 2 * limits.timeout + EXPIRES_SLACK
    name = f"gpuclass-sandbox-{secrets.token_hex(6)}"
    wanted = request(image, limits, name=name, owner=owner, expires=expires, command=command)
    return Sandbox(ContainerChannel(client, wanted), limits)


def sweep(client: docker.DockerClient, owner: str | None = None, now: Callable[[], float] = time.time) -> int:
    """Remove what a killed process left: every expired sandbox, and all of ``owner``'s and its children's.

    Returns:
        How many were removed.

    Raises:
        EngineError: the engine does not answer.
    """
    try:
        found = client.containers.list(all=True, filters={"label": LABEL}, ignore_removed=True)
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise EngineError(f"Docker went away while its sandboxes were looked for: {error}") from error
    garbage = [each for each in found if _belongs(each, owner) or _expired(each, now())]
    for each in garbage:
        remove(each)
    return len(garbage)


def remove(container: Container, wait: Callable[[float], object] = time.sleep) -> None:
    """Kill and remove it; it may be gone already, or going."""
    for number in range(1, REMOVALS + 1):
        try:
            container.remove(force=True, v=True)
        except (docker.errors.APIError, requests.RequestException) as error:
            status = getattr(getattr(error, "response", None), "status_code", 0)
            if status in (404, 409) or number == REMOVALS:
                return
            wait(number)
        else:
            return


def connect() -> docker.DockerClient:
    """The engine that the environment names.

    Raises:
        EngineError: it does not answer.
    """
    try:
        return docker.from_env(timeout=ENGINE_SECONDS)
    except docker.errors.DockerException as error:
        raise EngineError(f"Docker cannot be reached: {error}. Is its daemon running?") from error


def _belongs(container: Container, owner: str | None) -> bool:
    """A child's owner is ``<owner>#<pid>``."""
    label = container.labels.get(LABEL, "")
    return owner is not None and (label == owner or label.startswith(f"{owner}#"))


def _expired(container: Container, now: float) -> bool:
    text = container.labels.get(EXPIRES_LABEL, "")
    return text.isdigit() and float(text) < now


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
