"""The kernel's part: counts cells and errors, and tells the user's server after each cell.

A cell must cost and risk nothing by this: a datagram is sent without waiting and dropped where nobody takes it, from a
socket of its own each time, so that no file descriptor is kept that a student's code could close, inherit or fill.
What is sent are totals, so a dropped datagram is made good by the next. Only modules that a kernel has anyway are
imported.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpuclass.reporting import CLASSES_LIMIT, DATAGRAM_LIMIT, SOCKET, class_name

if TYPE_CHECKING:
    from IPython.core.interactiveshell import ExecutionResult

OTHER = "Exception"  # stands for an error whose class is the student's own, or one too many


class Cells:
    """One kernel's count.

    Args:
        path: the server's socket.

    Attributes:
        cells: cells run.
        errors: class → how often.
        repeated: how often in a row the cell that failed last has failed with the same class. Cells that succeed in
            between change nothing: whoever goes up to mend another cell is still stuck at this one.
    """

    def __init__(self, path: Path = SOCKET) -> None:
        self.cells = 0
        self.errors: dict[str, int] = {}
        self.repeated = 0
        self._failing: tuple[object, str] | None = None
        self._path = str(path)
        self._pid = os.getpid()

    def after_cell(self, result: ExecutionResult) -> None:
        """Count a cell that has ended, and tell."""
        with suppress(Exception):  # whatever a student's classes do when they are looked at, the cell is over and right
            if os.getpid() == self._pid:  # else: a child that the cell forked, and that came back from it
                error = result.error_before_exec or result.error_in_exec
                info: Any = result.info  # always there for a cell, though IPython's type says otherwise
                self.count(info.cell_id or hash(info.raw_cell), error)
                self.tell()

    def count(self, cell: object, error: BaseException | None) -> None:
        """Count a cell.

        Args:
            cell: which one; stays the same when its code is edited, where the page says which it is.
            error: what ended it, if it did not come to its end.
        """
        self.cells += 1
        if error is None:
            if self._failing and self._failing[0] == cell:
                self._failing, self.repeated = None, 0
        elif isinstance(error, Exception):  # not an interruption or an exit, which somebody wanted
            name = reported(error)
            if name not in self.errors and len(self.errors) >= CLASSES_LIMIT:
                name = OTHER
            self.errors[name] = self.errors.get(name, 0) + 1
            self.repeated = self.repeated + 1 if self._failing == (cell, name) else 1
            self._failing = cell, name

    def tell(self) -> None:
        """Send the totals to the server, if it is there and has room."""
        content = dumps({"cells": self.cells, "errors": self.errors, "repeated": self.repeated}).encode()
        if len(content) > DATAGRAM_LIMIT:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(content, self._path)


def reported(error: BaseException) -> str:
    """The name of an error's class, or of what it derives from where a notebook made the class up: a name that the
    student chose is the student's text."""
    for kind in type(error).__mro__:
        if kind.__module__ != "__main__" and (name := class_name(kind.__name__)):
            return name
    return OTHER
