"""What runs inside the sandbox: IPython, driven over two private descriptors by the host, one cell at a time.

Nothing here is trusted by the host: the code under test shares this process. What this file does for fairness (caps, a
soft time limit, tests that do not go through IPython's replaceable parts) is undone by a student who wants to, and
costs that student points, not the class.
"""

import ast
import asyncio
import base64
import builtins
import codecs
import ctypes
import fcntl
import inspect
import io
import json
import linecache
import os
import select
import signal
import struct
import sys
import termios
import threading
import time
import traceback
import types
from pathlib import Path

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.inputtransformer2 import TransformerManager
from IPython.core.interactiveshell import InteractiveShell
from traitlets import Type
from traitlets.config import Config

LENGTH = struct.Struct(">I")
MIME_TYPES = ("text/plain", "text/html", "image/png", "image/jpeg")
OUTPUTS_LIMIT = 900
TEST_NAME = "<test"  # file name of test cells in tracebacks
DRAIN_SECONDS = 0.5  # how long a cell waits for what its subprocesses printed
PRIVATE_DESCRIPTORS = 100
ESCAPE = 12  # bytes that JSON needs for one character at most

# Taken before any student's code runs: replacing the names in builtins, ast or asyncio does not reach these.
_compile, _eval, _repr, _clock = compile, eval, repr, time.monotonic
_Expr, _Expression, _run_coroutine = ast.Expr, ast.Expression, asyncio.run
_TEST_FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


class CellTimeout(BaseException):
    """The cell used up its time."""


class Channel:
    """Frames to and from the host, on descriptors that no subprocess inherits."""

    def __init__(self) -> None:
        self._in = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, PRIVATE_DESCRIPTORS)
        self._out = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, PRIVATE_DESCRIPTORS)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)

    def read(self) -> dict | None:
        """The next message; None when the host has gone."""
        head = self._exactly(LENGTH.size)
        body = head and self._exactly(LENGTH.unpack(head)[0])
        return json.loads(body) if body else None

    def write(self, message: dict) -> None:
        """Send one message."""
        body = json.dumps(message).encode("ascii")
        rest = memoryview(LENGTH.pack(len(body)) + body)
        while rest:
            rest = rest[os.write(self._out, rest) :]

    def _exactly(self, count: int) -> bytes | None:
        parts = []
        while count:
            part = os.read(self._in, min(count, 1 << 20))
            if not part:
                return None
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


class Outputs:
    """What the running cell has shown so far, no more than ``limit`` bytes of it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.start(0)

    def start(self, limit: int) -> None:
        """Forget the last cell's."""
        with self.lock:
            self.list, self._left, self._cut = [], limit, False

    def take(self) -> list[dict]:
        """The outputs in order, streams joined."""
        with self.lock:
            for output in self.list:
                output.pop("id", None)
                if output["type"] == "stream":
                    output["text"] = "".join(output["text"])
            return self.list

    def stream(self, name: str, text: str) -> None:
        """Printed text."""
        with self.lock:
            text = self._fitting(text)
            if not text:
                return
            last = self.list[-1] if self.list else {}
            if last.get("type") == "stream" and last["name"] == name:
                last["text"].append(text)
            else:
                self.list.append({"type": "stream", "name": name, "text": [text]})

    def show(self, kind: str, data: dict, display_id: str | None = None, *, update: bool = False) -> None:
        """A picture, table or value; an update takes the place of what it updates."""
        shown = {mime: _as_text(data[mime]) for mime in MIME_TYPES if mime in data}
        with self.lock:
            if update and display_id:
                for output in self.list:
                    if output.get("id") == display_id:
                        output["data"] = shown if self._fits(shown.values()) else output["data"]
                return
            if self._fits(shown.values()):
                self.list.append({"type": kind, "data": shown, "id": display_id})

    def error(self, name: str, message: str, lines: list[str]) -> None:
        """An exception. It is never left out, only shortened."""
        with self.lock:
            lines = [line[:2000] for line in lines[-50:]]
            self.list.append({"type": "error", "name": name[:200], "message": message[:2000], "traceback": lines})

    def clear(self) -> None:
        """IPython's clear_output."""
        with self.lock:
            self.list = []

    def _fits(self, texts) -> bool:
        size = sum(_size(text) for text in texts)
        if self._cut or size > self._left or len(self.list) >= OUTPUTS_LIMIT:
            self._mark_cut()
            return False
        self._left -= size
        return True

    def _fitting(self, text: str) -> str:
        if self._cut or len(self.list) >= OUTPUTS_LIMIT:
            self._mark_cut()
            return ""
        size = _size(text) if len(text) <= self._left else len(text)
        if size > self._left:
            self._mark_cut(text[: self._left // ESCAPE])
            return ""
        self._left -= size
        return text

    def _mark_cut(self, last_words: str = "") -> None:
        if not self._cut:
            self._cut = True
            self.list.append({"type": "stream", "name": "stdout", "text": [last_words, "\n… output cut …\n"]})


def _size(text: str) -> int:
    """Bytes of ``text`` in JSON."""
    return len(json.dumps(text))


def _as_text(value: object) -> str:
    return base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else str(value)


class Stream(io.TextIOBase):
    """``sys.stdout`` and ``sys.stderr`` of the student's code."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, outputs: Outputs, name: str) -> None:
        self._outputs, self.name = outputs, name

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str) -> int:
        """Add to the cell's outputs."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._outputs.stream(self.name, text)
        return len(text)


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
        until = _clock() + DRAIN_SECONDS
        while _clock() < until:
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

    def __init__(self) -> None:
        self._descriptors = Descriptors(OUTPUTS)
        module = types.ModuleType("__main__")
        config = Config()
        config.HistoryManager.enabled = False
        config.InteractiveShell.colors = "nocolor"
        self._shell = Shell.instance(user_module=module, config=config)
        self._namespace = module.__dict__
        self._process = os.getpid()
        self._streams = Stream(OUTPUTS, "stdout"), Stream(OUTPUTS, "stderr")
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
                ok = self._test(request["source"]) if request["test"] else self._cell(request["source"])
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except CellTimeout as error:  # outside, for the alarm that rings while the timer is switched off
            OUTPUTS.error("CellTimeout", str(error), [f"CellTimeout: {error}"])
        if os.getpid() != self._process:
            os._exit(0)  # a fork in the cell ended up here: only one of the two may answer
        self._descriptors.drain()
        return {"id": request["id"], "ok": ok, "outputs": OUTPUTS.take()}

    def _cell(self, source: str) -> bool:
        try:
            return bool(self._shell.run_cell(source, store_history=True).success)
        except CellTimeout:
            raise
        except BaseException as error:  # IPython itself fell over what the cell did to it
            _explain(error)
            return False

    def _test(self, source: str) -> bool:
        """Run a test cell without IPython's machinery: a student's cell may have replaced parts of that."""
        try:
            value = self._evaluate(source)
        except CellTimeout:
            raise
        except BaseException as error:  # whatever ended the test, the test did not pass
            _explain(error)
            return False
        if value is not None:
            OUTPUTS.show("result", {"text/plain": _repr(value)})
        return True

    def _evaluate(self, source: str) -> object:
        name = f"{TEST_NAME} {hash(source) & 0xFFFFFF:06x}>"
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        try:
            tree = _compile(source, name, "exec", _TEST_FLAGS | ast.PyCF_ONLY_AST)
        except SyntaxError:  # perhaps a magic
            changed = TransformerManager().transform_cell(source)
            tree = _compile(changed, name, "exec", _TEST_FLAGS | ast.PyCF_ONLY_AST)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], _Expr) else None
        self._step(_compile(tree, name, "exec", _TEST_FLAGS))
        return self._step(_compile(_Expression(last.value), name, "eval", _TEST_FLAGS)) if last else None

    def _step(self, code: types.CodeType) -> object:
        value = _eval(code, self._namespace)
        return _run_coroutine(value) if code.co_flags & inspect.CO_COROUTINE else value


def _explain(error: BaseException) -> None:
    name = type(error).__name__
    try:
        message = str(error)
        frames = error.__traceback__
        while frames and not frames.tb_frame.f_code.co_filename.startswith(TEST_NAME):
            frames = frames.tb_next
        lines = "".join(traceback.format_exception(type(error), error, frames)).rstrip("\n").split("\n")
    except Exception as fault:  # an exception that cannot be shown is still an exception
        message, lines = "", [f"{name} (its text raised {type(fault).__name__})"]
    OUTPUTS.error(name, message, lines)


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
    hello = channel.read()
    if hello is None:
        return
    folder = Path(hello["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    _write_files(folder, hello["files"])
    os.chdir(folder)
    # Last, not first: a numpy.py beside the notebook is not numpy.
    sys.path.append(str(folder))
    kernel = Kernel()
    channel.write({"ready": True})
    while (request := channel.read()) is not None:
        channel.write(kernel.run(request))


if __name__ == "__main__":
    main()
