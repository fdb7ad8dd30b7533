"""What students hand in who want more than they have earned, or want nobody to get anything.

Each is worth what an honest reading of it gives: most hold the same answers, right for small numbers only, so that a
point too many and a point too few both show.
"""

from __future__ import annotations

import io
import json
import os
import socket
import stat
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from tests.grader.courses import RIGHT, by_id, cell, released, solved, write

FULL = 10.0
HALF_RIGHT = "def add(a, b):\n    return abs(a) + b\n"
HALF = 5.0  # the visible tests of `add`, and `scale`


@dataclass(frozen=True)
class Hostile:
    """A submission.

    Attributes:
        make: writes it into an empty folder.
        score: what it is worth.
        quarantined: whether a person has to look.
        stock: what stock nbgrader does with it: gives "less" or "nothing", is "robbed", or is not asked.
    """

    make: Callable[[Path], object]
    score: float = HALF
    quarantined: bool = False
    stock: str = ""


def changed(change: Callable[[NotebookNode], object], answer: str = HALF_RIGHT) -> Callable[[Path], object]:
    """Half right, and changed beyond its answers."""

    def make(folder: Path) -> None:
        made = solved(add=answer)
        change(made)
        write(folder, json.dumps(made).encode())  # nbformat would refuse some of them

    return make


def edit(grade_id: str, **changes: Any) -> Callable[[NotebookNode], object]:
    return lambda nb: by_id(nb, grade_id).update(changes)


def tell(grade_id: str, /, **known: Any) -> Callable[[NotebookNode], object]:
    return lambda nb: by_id(nb, grade_id).metadata.nbgrader.update(known)


def without(*grade_ids: str) -> Callable[[NotebookNode], object]:
    return lambda nb: [nb.cells.remove(by_id(nb, grade_id)) for grade_id in grade_ids]


def twice(grade_id: str, source: str) -> Callable[[NotebookNode], object]:
    def change(nb: NotebookNode) -> None:
        copy = nbformat.from_dict({**by_id(nb, grade_id), "id": "again", "source": source})
        nb.cells.insert(nb.cells.index(by_id(nb, grade_id)) + 1, copy)

    return change


def filled_in(nb: NotebookNode) -> None:
    for grade_id in ("test-add", "test-add-hidden"):
        result = nbformat.v4.new_output("execute_result", data={"text/plain": "1e9"}, execution_count=1)
        by_id(nb, grade_id).update(outputs=[result], execution_count=1)


def old_release(nb: NotebookNode) -> None:
    """Another text, other points, another checksum, as in a version that was worth more."""
    test = by_id(nb, "test-add-hidden")
    test.source = "assert add(1, 1) == 2"
    test.metadata.nbgrader.update(points=50, checksum="0" * 32)


METADATA: dict[str, Hostile] = {
    "a test turned into an answer": Hostile(
        changed(tell("test-add-hidden", solution=True, locked=False, grade=True)), stock="nothing"
    ),
    "a test turned into an answer, and emptied": Hostile(
        changed(
            lambda nb: (tell("test-add-hidden", solution=True, locked=False)(nb), edit("test-add-hidden", source=""))
        )
    ),
    "grade false": Hostile(changed(tell("test-add-hidden", grade=False, locked=False))),
    "points 1e9": Hostile(changed(tell("test-add", points=1e9))),
    "points NaN": Hostile(changed(tell("test-add", points=float("nan")))),
    "metadata removed": Hostile(changed(lambda nb: by_id(nb, "test-add-hidden").metadata.clear())),
    "grade_id removed": Hostile(changed(lambda nb: by_id(nb, "test-add").metadata.nbgrader.pop("grade_id"))),
    "a test twice, the second empty": Hostile(changed(twice("test-add-hidden", "")), stock="nothing"),
    "an answer twice": Hostile(changed(twice("add", HALF_RIGHT), answer="def add(a, b): return 0")),
    "a test retyped": Hostile(changed(edit("test-add-hidden", cell_type="markdown"))),
    "tests deleted": Hostile(changed(without("test-add", "test-add-hidden")), stock="less"),
    "cells reordered": Hostile(changed(lambda nb: nb.cells.reverse()), stock="nothing"),
    "outputs filled in": Hostile(changed(filled_in)),
    "a foreign kernel": Hostile(
        changed(lambda nb: nb.metadata.update(kernelspec={"name": "bash", "display_name": "x"}))
    ),
    "a null kernel": Hostile(changed(lambda nb: nb.metadata.update(kernelspec=None)), stock="nothing"),
    "no kernel": Hostile(changed(lambda nb: nb.metadata.clear())),
    "an old release": Hostile(changed(old_release)),
    "an old release of another format": Hostile(changed(tell("test-add", schema_version=1)), stock="nothing"),
    "cells of its own": Hostile(
        changed(lambda nb: nb.cells.extend([cell("code", "1"), cell("code", "7", "mine", grade=True, points=50)]))
    ),
}


def also(more: str, answer: str = HALF_RIGHT, at: int = 3) -> Callable[[Path], object]:
    """Half right, with a cell of the student's own before the first test; later tests still need the answer."""
    return changed(lambda nb: nb.cells.insert(at, cell("code", more)), answer)


def beside(name: str, content: bytes, answer: str = HALF_RIGHT) -> Callable[[Path], object]:
    """Half right, with a file beside the notebook."""

    def make(folder: Path) -> None:
        write(folder, solved(add=answer))
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    return make


def special(put: Callable[[Path], object]) -> Callable[[Path], object]:
    """Half right, with something in the folder that is no file."""

    def make(folder: Path) -> None:
        write(folder, solved(add=HALF_RIGHT))
        put(folder)

    return make


def hard_link(folder: Path) -> None:
    (folder.parent / "gradebook.db").write_text("secret")
    os.link(folder.parent / "gradebook.db", folder / "x.txt")


def a_device(folder: Path) -> None:
    """The disk; for those who may not make one, a socket, which is as little a file."""
    try:
        os.mknod(folder / "disk.dat", stat.S_IFBLK | 0o666, os.makedev(8, 0))
    except PermissionError:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(folder / "disk.dat"))


FOUND = "FOUND"  # what a thief's cell prints when it got somewhere
LOOK = """
import os, socket, sqlite3, urllib.request
def tried(name, what):
    try:
        print('FO' + 'UND' if what() else 'nothing', name)
    except Exception as error:
        print(type(error).__name__, name)
def found(name):
    return [place + '/' + name for top in ('/srv', '/tmp', '/home', '/mnt', '/var')
            for place, _, names in os.walk(top) if name in names]
"""
WRITE_GRADEBOOK = """
for path in ('../../../gradebook.db', *found('gradebook.db')):
    def forge(path=path):
        with sqlite3.connect(f'file:{path}?mode=rw', uri=True) as db:
            of = "select n.id from submitted_notebook n join submitted_assignment a on n.assignment_id = a.id"
            db.execute("update grade set manual_score = 77 where notebook_id in (" + of + " where a.student_id = 'a')")
        return True
    tried('gradebook', forge)
"""
READ_SOURCE = """
for path in ('../../../source/ps1/ps1.ipynb', *found('ps1.ipynb')):
    tried('source', lambda: 'sec' + 'ret' in open(path).read() and print(open(path).read()) is None)
"""
PLANT = """
for folder in ('../../../feedback/b/ps1', '../../feedback', '.'):
    tried('planted', lambda: (os.makedirs(folder, exist_ok=True),
                              open(folder + '/ps1.html', 'w').write('<script>planted()</script>')) and folder != '.')
try:
    os.symlink('/etc/passwd', 'passwd.txt')
except OSError:
    pass
"""
NETWORK = """
for address in (('1.1.1.1', 53), ('172.17.0.1', 8081), ('127.0.0.1', 8081), ('169.254.169.254', 80), ('10.0.0.1', 80)):
    tried('network', lambda: socket.create_connection(address, 1))
tried('dns', lambda: socket.gethostbyname('example.com'))
tried('metadata', lambda: urllib.request.urlopen('http://169.254.169.254/latest/meta-data/', timeout=1))
tried('hub', lambda: urllib.request.urlopen(os.environ['JUPYTERHUB_API_URL'], timeout=1))
tried('token', lambda: [key for key in os.environ if 'TOKEN' in key or 'JUPYTERHUB' in key])
tried('engine', lambda: os.path.exists('/var/run/docker.sock'))
"""
THEFT: dict[str, Hostile] = {
    "writing the gradebook": Hostile(also(LOOK + WRITE_GRADEBOOK), stock="robbed"),
    "reading the source": Hostile(also(LOOK + READ_SOURCE), stock="robbed"),
    "planting a page": Hostile(also(LOOK + PLANT), stock="robbed"),
    "hub, metadata, DNS": Hostile(also(LOOK + NETWORK)),
    "a planted page beside the notebook": Hostile(beside("ps1.html", b"<script>planted()</script>")),
    "a symlinked file": Hostile(special(lambda f: (f / "x.txt").symlink_to("/etc/passwd")), 0.0, quarantined=True),
    "a symlinked folder": Hostile(special(lambda f: (f / "data").symlink_to("/etc")), 0.0, quarantined=True),
    "a hard link": Hostile(
        special(hard_link),
        0.0,
        quarantined=True,
    ),
    "a FIFO": Hostile(special(lambda f: os.mkfifo(f / "x.txt")), 0.0, quarantined=True),
    "a device": Hostile(special(a_device), 0.0, quarantined=True),
    "names that no path should have": Hostile(
        special(
            lambda f: [(f / name).write_bytes(b"x") for name in ("a\nb.txt", "a+b.txt", "..\\up.txt", "\u0430.txt")]
        )
    ),
    "two notebooks whose names differ only in Unicode form": Hostile(
        special(lambda f: [(f / f"{name}.ipynb").write_text("{}") for name in ("ps1A\u030a", "ps1\u00c5")])
    ),
    "a timestamp of 1999": Hostile(beside("timestamp.txt", b"1999-01-01 00:00:00 UTC")),
    "a timestamp that is none": Hostile(beside("timestamp.txt", b"\xff not a time"), stock="nothing"),
}


def bomb() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.csv", b"0" * 200_000_000)
    return made.getvalue()


def sparse(folder: Path) -> None:
    with (folder / "data.csv").open("wb") as file:
        file.truncate(2**40)


def hog(source: str) -> Hostile:
    """Right, and with a cell before all tests that is to stop them."""
    return Hostile(also(source, RIGHT), FULL)


def raw(content: bytes) -> Hostile:
    """A file in the notebook's place."""
    return Hostile(lambda folder: write(folder, content), 0.0, quarantined=True)


def many_cells() -> bytes:
    made = solved()
    made.cells.extend([cell("raw", "")] * 100_000)
    return json.dumps(made).encode()


def attached(nb: NotebookNode) -> None:
    nb.cells[0].attachments = {"x.png": {"image/png": "A" * 20_000_000, "text/html": "<script>planted()</script>"}}


STUBBORN = """
import signal
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
while True:
    pass
"""
STREAM = """
import os, signal
signal.signal(signal.SIGALRM, signal.SIG_IGN)
while True:
    for fd in range(3, 200):
        try:
            os.write(fd, b'\\0\\0\\0\\5' + b'x' * 60000)
        except OSError:
            pass
"""
AVAILABILITY: dict[str, Hostile] = {
    "an infinite loop": hog("while True: pass"),
    "an infinite loop in a function that tests call": Hostile(
        changed(lambda nb: None, answer="def add(a, b):\n    while True:\n        pass"), 2.0
    ),
    "an infinite loop that ignores SIGINT": hog(STUBBORN),
    "os._exit": hog("import os\nos._exit(0)"),
    "os._exit in a function that tests call": Hostile(
        changed(lambda nb: None, answer="import os\ndef add(a, b): os._exit(0)"), 2.0
    ),
    "a fork bomb": hog("import os\nwhile True: os.fork()"),
    "a memory hog": hog("kept = []\nwhile True: kept.append(bytearray(2**24))"),
    "a shared memory hog": hog("with open('/dev/shm/x', 'wb') as f:\n    while True: f.write(b'x' * 2**20)"),
    "a disk filler": hog("with open('x', 'wb') as f:\n    while True: f.write(b'x' * 2**20)"),
    "an inode filler": hog("for n in range(10**7): open(str(n), 'w').close()"),
    "a line of 30 MB": hog("print('x' * 30_000_000)"),
    "a million messages": hog("from IPython.display import display\nfor n in range(10**6): print(n)"),
    "a daemon that stays": Hostile(
        also("import subprocess\nsubprocess.Popen('while :; do :; done', shell=True, start_new_session=True)")
    ),
    "input()": hog("input('? ')"),
    "a result stream that never ends": hog(STREAM),
    "a zip bomb": Hostile(beside("data.zip", bomb(), RIGHT), FULL),
    "base64 of 20 MB": Hostile(changed(attached, RIGHT), FULL),
    "a sparse terabyte": Hostile(special(sparse), 0.0, quarantined=True),
    "not JSON": raw(b"\x89PNG\r\n"),
    "JSON nested 100,000 deep": raw(b'{"nbformat": 4, "cells": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "100,000 cells": raw(many_cells()),
}

SCRIPT = "<script>planted()</script><img src=x onerror=planted()>"
SHOWN = f"""
from IPython.display import HTML, Javascript, SVG, display
display(HTML({SCRIPT!r}), Javascript('planted()'), {{'text/html': {SCRIPT!r}, 'image/svg+xml': {SCRIPT!r}}}, raw=False)
print({SCRIPT!r})
class {"A" * 8}(Exception): pass
raise AAAAAAAA({SCRIPT!r})
"""
PAGE: dict[str, Hostile] = {
    "a script in output": Hostile(also(SHOWN)),
    "a script in markdown": Hostile(
        changed(
            lambda nb: nb.cells.append(cell("markdown", f"{SCRIPT} [x](javascript:planted()) ![y](https://x/y.png)"))
        )
    ),
    "a script in a file's name": Hostile(beside("<img src=x onerror=planted()>.txt", b"x")),
    "<img src=x onerror=planted()>": Hostile(changed(lambda nb: None)),
}

NOISY = """
import sys, warnings
def add(a, b):
    warnings.warn("careful")
    print("\\r 50%|#####     | 1/2 [00:00<00:00]", end="", file=sys.stderr)
    return a + b
"""
HONEST: dict[str, Hostile] = {
    "right": Hostile(lambda folder: write(folder, solved()), FULL),
    "right, with a progress bar and warnings on stderr": Hostile(
        lambda folder: write(folder, solved(add=NOISY)), FULL, stock="less"
    ),
    "half right": Hostile(lambda folder: write(folder, solved(add=HALF_RIGHT))),
    "blank": Hostile(lambda folder: write(folder, released()), 0.0),
}
EVERYTHING = {**METADATA, **THEFT, **AVAILABILITY, **PAGE, **HONEST}
