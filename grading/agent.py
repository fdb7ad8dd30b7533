"""What runs inside the sandbox: IPython, driven over two private descriptors by the host, one cell at a time.

Nothing here is trusted by the host: the code under test shares this process. What this file does for fairness (caps, a
soft time limit) is undone by a student who wants to, and costs that student points, not the class. Tests never run
here: between cells this process does what the referee's asks of it (`answering`).
"""

import base64
import builtins
import codecs
import ctypes
import fcntl
import json
import os
import select
import signal
import struct
import sys
import termios
import threading
import time
import types
from pathlib import Path

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets import Type
from traitlets.config import Config

sys.path.insert(0, str(Path(__file__).parent))  # Python starts isolated: it knows no folder of ours
from answering import Answering
from channel import Channel, Outputs, Stream, explain
from door import DOOR, unpack
from side import CellTimeout

del sys.path[0]

PRINTED_LIMIT = 20_000  # bytes that a student's code prints while a test calls it
DRAIN_SECONDS = 0.5  # how long a cell waits for what its subprocesses printed


class Descriptors:
    """Descriptors 1 and 2 as pipes into the outputs: subprocesses and C libraries print too."""

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs
        self._ends = {}
        for number, name in ((1, "stdout"), (2, "stderr")):
            end, entry = os.pipe()
            os.dup2(entry, number)
            os.close(entry)
            self._ends[end] = (name, codecs.getincrementaldecoder("utf-8")("replace"))
        self._libc = ctypes.CDLL(None)
        threading.Thread(target=self._pump, daemon=True).start()

    def _pump(self) -> None:
        while True:
            ready, _, _ = select.select(list(self._ends), [], [])
            with self._outputs.lock:
                for end in ready:
                    name, decoder = self._ends[end]
                    self._outputs.stream(name, decoder.decode(os.read(end, 65536)))

    def drain(self) -> None:
        """Wait until what was printed so far has arrived."""
        self._libc.fflush(None)
        until = time.monotonic() + DRAIN_SECONDS
        while time.monotonic() < until:
            with self._outputs.lock:
                if not any(_waiting(end) for end in self._ends):
                    return
            time.sleep(0.001)


def _waiting(descriptor: int) -> int:
    return struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4))[0]


OUTPUTS = Outputs()


class Hook(DisplayHook):
    """Shows a cell's last value."""

    def write_output_prompt(self) -> None:
        """No prompt."""

    def write_format_data(self, format_dict, md_dict=None) -> None:
        """Show a value in all its forms."""
        OUTPUTS.show("result", format_dict)

    def finish_displayhook(self) -> None:
        """Nothing was begun."""


class Publisher(DisplayPublisher):
    """Shows what ``display`` is given."""

    def publish(self, data, metadata=None, *, transient=None, update=False, **_) -> None:
        """Show, or change what is shown."""
        OUTPUTS.show("display", data, (transient or {}).get("display_id"), update=update)

    def clear_output(self, wait=False) -> None:
        """Show nothing so far."""
        OUTPUTS.clear()


class Shell(InteractiveShell):
    """IPython without a terminal."""

    displayhook_class = Type(Hook)
    display_pub_class = Type(Publisher)

    def _showtraceback(self, etype, evalue, stb) -> None:
        OUTPUTS.error(etype.__name__, str(evalue), self.InteractiveTB.stb2text(stb).split("\n"))

    def enable_gui(self, gui=None) -> None:
        """There is no screen."""

    def ask_exit(self) -> None:
        """``exit()`` in a cell ends nothing."""


class Kernel:
    """Runs cells in one namespace."""

    def __init__(self, channel: Channel) -> None:
        self._descriptors = Descriptors(OUTPUTS)
        module = types.ModuleType("__main__")
        config = Config()
        config.HistoryManager.enabled = False
        config.InteractiveShell.colors = "nocolor"
        self._shell = Shell.instance(user_module=module, config=config)
        self._namespace = module.__dict__
        self._process = os.getpid()
        self._streams = Stream(OUTPUTS, "stdout"), Stream(OUTPUTS, "stderr")
        self._answering = Answering(lambda: _still_there(channel.read()), channel.write, self._namespace, OUTPUTS)
        builtins.input = _no_input
        signal.signal(signal.SIGALRM, _out_of_time)

    def run(self, request: dict) -> dict:
        """Run one cell and say what it showed."""
        OUTPUTS.start(request["limit"])
        sys.stdout, sys.stderr = self._streams
        ok = False
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, request["seconds"])
                ok = self._cell(request["source"])
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except CellTimeout as error:  # outside, for the alarm that rings while the timer is switched off
            OUTPUTS.error("CellTimeout", str(error), [f"CellTimeout: {error}"])
        if os.getpid() != self._process:
            os._exit(0)  # a fork in the cell ended up here: only one of the two may answer
        self._descriptors.drain()
        return {"id": request["id"], "ok": ok, "outputs": OUTPUTS.take()}

    def answer(self, frame: bytes) -> None:
        """Do what the referee asks for."""
        OUTPUTS.start(PRINTED_LIMIT)
        sys.stdout, sys.stderr = self._streams
        self._answering.begin(*unpack(frame[len(DOOR) :]))
        if os.getpid() != self._process:
            os._exit(0)

    def _cell(self, source: str) -> bool:
        try:
            return bool(self._shell.run_cell(source, store_history=True).success)
        except CellTimeout:
            raise
        except BaseException as error:  # IPython itself fell over what the cell did to it
            explain(error, OUTPUTS)
            return False


def _still_there(frame: bytes | None) -> bytes:
    if frame is None:
        os._exit(0)  # the host has gone
    return frame


def _no_input(prompt: object = "") -> str:
    raise EOFError("input() has nobody to ask while a notebook is graded")


def _out_of_time(*_: object) -> None:
    raise CellTimeout("the cell was stopped: its time was up")


def _write_files(folder: Path, files: list[dict]) -> None:
    for file in files:
        path = folder / file["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(file["content"]))


def main() -> None:
    """Take files, then cells, until the host goes away."""
    channel = Channel()
    hello = json.loads(_still_there(channel.read()))
    folder = Path(hello["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    _write_files(folder, hello["files"])
    os.chdir(folder)
    # Last, not first: a numpy.py beside the notebook is not numpy.
    sys.path.append(str(folder))
    kernel = Kernel(channel)
    channel.answer({"ready": True})
    while True:
        frame = _still_there(channel.read())
        if frame.startswith(DOOR):
            kernel.answer(frame)
        else:
            channel.answer(kernel.run(json.loads(frame)))


if __name__ == "__main__":
    main()
