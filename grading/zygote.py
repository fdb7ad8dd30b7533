"""First process of a grading container: imports once, then forks a fresh process for each run of a notebook.

Nothing that a run did is left when the next one begins. What runs in the fork may be hostile (always in the sandbox,
in the referee if data from the student's side should ever take it over). So this process does nothing but pass frames
on, and keeps out of the fork's reach: it is the first of its process namespace, which nobody in there can kill or stop,
and not dumpable, so that they can neither trace it nor open its memory or descriptors. Only it reads what the host
sends, in order: a run that was told to end sees nothing of the next one's.
"""

import contextlib
import ctypes
import importlib
import json
import os
import resource
import select
import shutil
import signal
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

LENGTH = struct.Struct(">I")
END = b"!"  # a frame for this process begins so: end what runs, say the token that follows, begin anew
END_LENGTH = 33  # bytes; as in gpuclass/grader/sandbox.py
PIECE = 1 << 20  # bytes passed on at a time
WRITABLE = ("/tmp", "/dev/shm")  # a container's own
TEMPLATE = Path("/opt/gpuclass/tmp")  # what prepare-tmp puts into /tmp
LIMITS = sorted(value for name, value in vars(resource).items() if name.startswith("RLIMIT_"))
_PR_SET_DUMPABLE = 4


class Zygote:
    """Forks runs, one at a time, and is their only way to the host."""

    def __init__(self, run: Callable[[], object]) -> None:
        self._run = run
        self._in, self._out = os.dup(0), os.dup(1)
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1):
            os.dup2(nothing, number)  # in a fork these are its socket
        os.close(nothing)
        self._woken, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # wakes `_relay` up
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        dumpable(False)
        self._settings = own_settings()

    def serve(self) -> None:
        """Fork until the host goes away, a run ends by itself or cannot be cleared away: then the container ends."""
        while True:
            ours, theirs = socket.socketpair()
            run = os.fork()
            if run == 0:
                self._become_run(ours, theirs)
            theirs.close()
            token = self._relay(run, ours)
            ours.close()
            end_others()
            if own_settings() != self._settings:
                sys.exit("a run changed this process's limits")
            for folder in WRITABLE:
                empty(Path(folder))
            for path in TEMPLATE.glob("*"):
                shutil.copytree(path, Path(WRITABLE[0], path.name))  # not the folder itself: it belongs to root
            body = json.dumps({"clean": token}).encode("ascii")
            self._say(LENGTH.pack(len(body)) + body)

    def _become_run(self, ours: socket.socket, theirs: socket.socket) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in (self._in, self._out):
            os.close(number)
        for each in (self._woken, self._waker, ours):
            each.close()
        os.dup2(theirs.fileno(), 0)
        os.dup2(theirs.fileno(), 1)
        theirs.close()
        dumpable(True)
        draw_anew()
        status = 1
        try:
            self._run()
            status = 0
        finally:
            os._exit(status)

    def _relay(self, run: int, theirs: socket.socket) -> str:
        """Pass frames on until the host wants an end; the token that it is to be told then."""
        watched = [self._in, theirs, self._woken]
        while True:
            ready, _, _ = select.select(watched, [], [])
            if self._woken in ready:
                self._woken.recv(PIECE)
                if run in reaped():
                    self._say(rest_of(theirs))
                    sys.exit(1)
            if theirs in ready:
                piece = theirs.recv(PIECE)
                self._say(piece)
                if not piece:
                    watched.remove(theirs)
            if self._in in ready and (token := self._pass_on(theirs)):
                return token

    def _pass_on(self, theirs: socket.socket) -> str:
        """Hand over one frame; if it says that this is the end, the token in it instead."""
        (length,) = LENGTH.unpack(self._hear(LENGTH.size))
        first = b""
        if length == END_LENGTH:
            first = self._hear(length)
            if first.startswith(END):
                return first[len(END) :].decode("ascii")
        with contextlib.suppress(OSError):  # it does not listen any more: the host will see
            theirs.sendall(LENGTH.pack(length) + first)
        length -= len(first)
        while length:
            piece = self._hear(min(length, PIECE))
            length -= len(piece)
            with contextlib.suppress(OSError):
                theirs.sendall(piece)
        return ""

    def _hear(self, count: int) -> bytes:
        parts = []
        while count:
            part = os.read(self._in, min(count, PIECE))
            if not part:
                sys.exit(0)  # the host has gone
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def _say(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._out, rest) :]


def dumpable(whether: bool) -> None:
    """Whether processes of the same user may look into this one."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, int(whether), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def own_settings() -> list[object]:
    """What another process of the same user could change of this one, and forks inherit."""
    limits = [resource.getrlimit(each) for each in LIMITS]
    return [
        limits,
        os.getpriority(os.PRIO_PROCESS, 0),
        os.sched_getscheduler(0),
        os.sched_getaffinity(0),
        os.getpgid(0),
    ]


def draw_anew() -> None:
    """Each run has random numbers of its own, as when it imports them itself; Python's ``random`` sees to that."""
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    if "torch" in sys.modules:
        sys.modules["torch"].default_generator.seed()


def reaped() -> list[int]:
    """Processes that have ended; each orphan is this process's to bury."""
    found = []
    with contextlib.suppress(ChildProcessError):
        while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
            found.append(pid)
    return found


def end_others() -> None:
    """Kill every other process of this namespace and see that it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)  # all of them have become this process's children
    others = [name for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]  # noqa: PTH208  # names are what is wanted
    if others:
        sys.exit(f"{len(others)} processes do not end")


def empty(folder: Path) -> None:
    """Remove all that is in it; what cannot be removed ends this process."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def rest_of(connection: socket.socket) -> bytes:
    """What its other end had sent before it ended."""
    parts = []
    with contextlib.suppress(BlockingIOError):
        while part := connection.recv(PIECE, socket.MSG_DONTWAIT):
            parts.append(part)
    return b"".join(parts)


def main(arguments: Sequence[str]) -> None:
    """``zygote.py PROGRAM [MODULE…]``: import all of them, then run the program's ``main`` in fork after fork."""
    if os.getpid() != 1:
        sys.exit("this ends every other process that it may: it is for the first process of a container only")
    program, *modules = arguments
    here = str(Path(__file__).parent)
    sys.path.insert(0, here)
    module = importlib.import_module(program)
    module.__name__ = "__main__"  # as if it had been started by itself: what tests define says where it is from
    sys.modules["__main__"] = module
    sys.path.remove(here)
    sys.argv[:] = [f"{here}/{program}.py"]
    for name in modules:
        with contextlib.suppress(Exception):  # a notebook that needs it will say so
            importlib.import_module(name)
    Zygote(module.main).serve()


if __name__ == "__main__":
    main(sys.argv[1:])
