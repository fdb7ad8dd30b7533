"""A double of a disk that loses what was not synced, fed with the system calls of a real process as strace wrote them.

A file's content lasts as it was when its last fsync began; a folder's names likewise. What came later is gone after a
power cut, or any part of it is there: both are what a real disk may do.
"""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

STRACE = (
    "strace",
    "--daemonize=grandchild",  # the traced process is the child, and signals reach it
    "--follow-forks",
    "--seccomp-bpf",
    "--decode-fds=path",
    "--strings-in-hex=all",
    "--string-limit=1000000",
    "--trace=openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,unlink,unlinkat,rmdir,write,pwrite64,"
    "pwritev,pwritev2,writev,copy_file_range,sendfile,ftruncate,fallocate,lseek,fsync,fdatasync,sync,syncfs,"
    "sync_file_range,sendto,sendmsg",
)
SYNCS = ("fsync", "fdatasync")

_LINE = re.compile(r"^(\d+) +(.*)$")
_UNFINISHED = " <unfinished ...>"
_RESUMED = re.compile(r"^<\.\.\. \w+ resumed>(.*)$")
_CALL = re.compile(r"^(\w+)\((.*)\) += (-?\d+)(?:<([^>]*)>)?(.*)$")
_FILE = re.compile(r"(?:(\d+)|AT_FDCWD)<([^>]*)>")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')


@dataclass(frozen=True)
class Call:
    """A system call that succeeded. ``path`` is the file of its first argument or, if it opened one, of its result.

    Attributes:
        handle: the number of that file in its process.
        texts: its strings: names, or what is written.
        numbers: its plain numbers, in order.
        began, ended: places in the order of all beginnings and ends.
    """

    name: str
    handle: int
    path: str
    texts: tuple[bytes, ...]
    numbers: tuple[int, ...]
    flags: str
    result: int
    began: int
    ended: int

    def names(self) -> list[str]:
        """Whole paths of its strings."""
        folders = [_plain(found[2]) for found in _FILE.finditer(self.flags)] or ["/"]
        folders += folders[-1:] * len(self.texts)
        return [str(PurePosixPath(folder) / text.decode()) for folder, text in zip(folders, self.texts, strict=False)]


def calls(trace: Path) -> list[Call]:
    """What strace wrote, in the order in which the calls ended."""
    open_calls: dict[str, tuple[str, int]] = {}
    found = []
    for place, line in enumerate(trace.read_text(encoding="ascii").splitlines()):
        match = _LINE.match(line)
        assert match, line
        thread, text = match.groups()
        if text.startswith(("+++", "---")):
            continue
        if text.endswith(_UNFINISHED):
            open_calls[thread] = text.removesuffix(_UNFINISHED), place
            continue
        began = place
        resumed = _RESUMED.match(text)
        if resumed:
            head, began = open_calls.pop(thread)
            text = head + resumed[1]
        call = _call(text, began, place)
        if call is not None:
            found.append(call)
    return found


def _call(text: str, began: int, ended: int) -> Call | None:
    match = _CALL.match(text)
    if match is None or int(match[3]) < 0:
        return None  # it failed, or the process was killed in it
    name, arguments, result, opened, _ = match.groups()
    assert "..." not in arguments, f"strace cut a string short: {name}"
    first = _FILE.match(arguments)
    plain = _TEXT.sub("", _FILE.sub("", arguments))
    return Call(
        name=name,
        handle=int(result) if opened is not None else int(first[1] or -1) if first else -1,
        path=_plain(opened if opened is not None else first[2] if first else ""),
        texts=tuple(bytes.fromhex(part.replace("\\x", "")) for part, _ in _TEXT.findall(arguments)),
        numbers=tuple(int(number) for number in re.findall(r"(?<![\w-])-?\d+(?!\w)", plain)),
        flags=arguments if not name.startswith(("write", "pwrite", "send")) else "",
        result=int(result),
        began=began,
        ended=ended,
    )


def _plain(text: str) -> str:
    return re.sub(r"(?:\\x[0-9a-f]{2})+", lambda hexes: bytes.fromhex(hexes[0].replace("\\x", "")).decode(), text)


@dataclass
class _File:
    """Content: as a process sees it, as it was synced last, and what was written since."""

    data: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    since: list[tuple[int, bytes | None]] = field(default_factory=list)  # None: cut off there

    def change(self, at: int, data: bytes | None) -> None:
        _change(self.data, at, data)
        self.since.append((at, data))

    def after_cut(self, chance: random.Random | None) -> bytes:
        if chance is None:
            return self.synced
        left = bytearray(self.synced)
        some = [change for change in self.since if chance.random() < 0.5]
        chance.shuffle(some)
        for at, data in some:
            _change(left, at, data)
        return bytes(left)


@dataclass
class _Folder:
    """Names: as a process sees them, as they were synced last, and what was done since."""

    names: dict[str, _File | _Folder] = field(default_factory=dict)
    synced: dict[str, _File | _Folder] = field(default_factory=dict)
    since: list[tuple[str, _File | _Folder | None]] = field(default_factory=list)  # None: the name was taken away

    def change(self, name: str, node: _File | _Folder | None) -> None:
        if node is None:
            del self.names[name]
        else:
            self.names[name] = node
        self.since.append((name, node))

    def after_cut(self, chance: random.Random | None) -> dict[str, _File | _Folder]:
        left = dict(self.synced)
        for name, node in self.since if chance is not None else []:
            if chance is not None and chance.random() < 0.5:
                if node is None:
                    left.pop(name, None)
                else:
                    left[name] = node
        return left


def _change(content: bytearray, at: int, data: bytes | None) -> None:
    if data is None:
        del content[at:]
        return
    content.extend(bytes(max(0, at - len(content))))
    content[at : at + len(data)] = data


class VolatileDisk:
    """What is below ``root``, a folder that lasts and is empty at first.

    Args:
        root: as the traced process calls it. Files that were in it before do not matter.
        trace: of ``calls``.
        ignored: syncs that this disk says yes to and does not do.
    """

    def __init__(self, root: Path, trace: list[Call], ignored: Callable[[Call], bool] = lambda call: False) -> None:
        self._root = root
        self._tree = _Folder()
        self._positions: dict[int, int] = {}
        self._snapshots: dict[int, tuple[_File | _Folder, object, int]] = {}
        moments = [(call.ended, 1, call) for call in trace]
        moments += [(call.began, 0, call) for call in trace if call.name in SYNCS and not ignored(call)]
        self._moments = sorted(moments, key=lambda moment: moment[:2])
        self._next = 0

    def run_until(self, place: int) -> None:
        """Let all happen that ended before ``place``."""
        while self._next < len(self._moments) and self._moments[self._next][0] < place:
            _, end, call = self._moments[self._next]
            self._next += 1
            if end:
                self._apply(call)
            else:
                self._begin_sync(call)

    def cut_power(self, folder: Path, chance: random.Random | None = None) -> None:
        """Put into ``folder`` what is left; with ``chance`` also any part of what was not synced."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        _write_out(self._tree, folder, chance)

    def _begin_sync(self, call: Call) -> None:
        node = self._find(call.path)
        if node is not None:
            state: object = bytes(node.data) if isinstance(node, _File) else dict(node.names)
            self._snapshots[call.ended] = node, state, len(node.since)

    def _end_sync(self, call: Call) -> None:
        if call.ended not in self._snapshots:
            return
        node, state, count = self._snapshots.pop(call.ended)
        node.synced = state  # type: ignore[assignment]  # taken of this very node
        del node.since[:count]
        for other, (waiting, seen, length) in self._snapshots.items():
            if waiting is node:  # two threads sync it at once
                self._snapshots[other] = waiting, seen, max(0, length - count)

    def _apply(self, call: Call) -> None:
        match call.name:
            case "fsync" | "fdatasync":
                self._end_sync(call)
            case "open" | "openat" | "creat":
                self._positions[call.handle] = 0
                if "O_CREAT" in call.flags and "O_TMPFILE" not in call.flags:
                    self._make(call.path, _File())
                if "O_TRUNC" in call.flags:
                    self._write(call.path, 0, None)
            case "mkdir" | "mkdirat":
                self._make(call.names()[0], _Folder())
            case "rename" | "renameat" | "renameat2":
                self._rename(*call.names())
            case "unlink" | "unlinkat" | "rmdir":
                self._take_away(call.names()[0])
            case "lseek":
                self._positions[call.handle] = call.result
            case "write":
                at = self._positions.get(call.handle, 0)
                self._write(call.path, at, call.texts[0][: call.result])
                self._positions[call.handle] = at + call.result
            case "pwrite64":
                self._write(call.path, call.numbers[-1], call.texts[0][: call.result])
            case "ftruncate":
                node = self._find(call.path)
                longer = isinstance(node, _File) and call.numbers[-1] > len(node.data)
                self._write(call.path, call.numbers[-1], b"" if longer else None)
            case _:
                assert self._find(call.path) is None, f"the double does not know {call.name}"

    def _parent(self, path: str) -> tuple[_Folder, str] | None:
        here = PurePosixPath(path)
        if not here.is_relative_to(self._root) or here == PurePosixPath(self._root):
            return None
        node: _File | _Folder = self._tree
        *folders, name = here.relative_to(self._root).parts
        for folder in folders:
            found = node.names.get(folder) if isinstance(node, _Folder) else None
            if found is None:
                return None
            node = found
        assert isinstance(node, _Folder), path
        return node, name

    def _find(self, path: str) -> _File | _Folder | None:
        if PurePosixPath(path) == PurePosixPath(self._root):
            return self._tree
        place = self._parent(path)
        return place[0].names.get(place[1]) if place else None

    def _make(self, path: str, node: _File | _Folder) -> None:
        place = self._parent(path)
        if place and place[1] not in place[0].names:
            place[0].change(place[1], node)

    def _take_away(self, path: str) -> None:
        place = self._parent(path)
        if place and place[1] in place[0].names:
            place[0].change(place[1], None)

    def _rename(self, old: str, new: str) -> None:
        here, there = self._parent(old), self._parent(new)
        if here and there:
            node = here[0].names[here[1]]
            there[0].change(there[1], node)
            here[0].change(here[1], None)

    def _write(self, path: str, at: int, data: bytes | None) -> None:
        node = self._find(path)
        if isinstance(node, _File):
            node.change(at, data)


def _write_out(folder: _Folder, path: Path, chance: random.Random | None) -> None:
    for name, node in folder.after_cut(chance).items():
        if isinstance(node, _Folder):
            (path / name).mkdir()
            _write_out(node, path / name, chance)
        else:
            (path / name).write_bytes(node.after_cut(chance))


def sent(trace: list[Call]) -> Iterator[tuple[Call, bytes]]:
    """What was sent to sockets, piece by piece."""
    for call in trace:
        if "socket:" in call.path:
            for text in call.texts:
                yield call, text
