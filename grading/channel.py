"""What the sandbox's agent and the referee share: frames to the host, and what a cell prints, with a limit."""

from __future__ import annotations

import base64
import fcntl
import io
import json
import os
import struct
import threading
import traceback

LENGTH = struct.Struct(">I")

MIME_TYPES = ("text/plain", "text/html", "image/png", "image/jpeg")
OUTPUTS_LIMIT = 900
TEST_NAME = "<test"  # file name of test cells in tracebacks
PRIVATE_DESCRIPTORS = 100
_HERE = os.path.dirname(__file__)  # noqa: PTH120  # as below
ESCAPE = 12  # bytes that JSON needs for one character at most


class Channel:
    """Frames to and from the host, on descriptors that no subprocess inherits."""

    def __init__(self) -> None:
        self._in = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, PRIVATE_DESCRIPTORS)
        self._process = os.getpid()
        self._out = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, PRIVATE_DESCRIPTORS)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)

    def read(self) -> bytes | None:
        """The next frame's body; None when the host has gone."""
        head = self._exactly(LENGTH.size)
        return head and self._exactly(LENGTH.unpack(head)[0])

    def write(self, body: bytes) -> None:
        """Send one frame."""
        if os.getpid() != self._process:
            os._exit(0)  # a fork ended up here: only one of the two may answer
        rest = memoryview(LENGTH.pack(len(body)) + body)
        while rest:
            rest = rest[os.write(self._out, rest) :]

    def answer(self, message: dict) -> None:
        """Send the host JSON."""
        self.write(json.dumps(message).encode("ascii"))

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

    def result(self, text: str) -> None:
        """What a test cell ends in: it may be its points. Whatever was printed before, it is never left out."""
        with self.lock:
            self.list.append({"type": "result", "data": {"text/plain": text[:2000]}})

    def error(self, name: str, message: str, lines: list[str]) -> None:
        """An exception. It is never left out, only shortened."""
        with self.lock:
            lines = [line[:2000] for line in lines[-50:]]
            self.list.append({"type": "error", "name": name[:200], "message": message[:2000], "traceback": lines})

    def take_text(self) -> str:
        """What was printed since, which is forgotten here."""
        with self.lock:
            text = "".join("".join(each["text"]) for each in self.list if each["type"] == "stream")
            self.list = []
            return text

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


def ours(path: str) -> bool:
    """Whether a file is one of the grader's own, which no traceback needs to show."""
    return os.path.dirname(path) == _HERE  # noqa: PTH120  # student's code may have no pathlib any more


def explain(error: BaseException, outputs: Outputs) -> None:
    """Add an exception to the outputs, its traceback from the test cell on."""
    name = type(error).__name__
    try:
        message = str(error)
        frames = error.__traceback__
        while frames and not frames.tb_frame.f_code.co_filename.startswith(TEST_NAME):
            frames = frames.tb_next
        shown = traceback.TracebackException(type(error), error, frames)
        shown.stack = traceback.StackSummary.from_list([each for each in shown.stack if not ours(each.filename)])
        lines = "".join(shown.format()).rstrip("\n").split("\n")
    except Exception as fault:  # an exception that cannot be shown is still an exception
        message, lines = "", [f"{name} (its text raised {type(fault).__name__})"]
    outputs.error(name, message, lines)
