"""The one safe form of names: courses, assignments, people, and the paths of files. Pure.

Client and service use the same rules, so what the client sends the service takes. No name that passes can leave the
folder it is put in, shadow another one, or mean something else on another machine.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Literal

NAME_LIMIT = 100  # characters of a course's or assignment's name
COMPONENT_LIMIT = 255  # bytes of one file or folder name: what Linux file systems take
PATH_LIMIT = 1000  # bytes of a whole path
DEPTH_LIMIT = 10  # folders and the file itself

_FORBIDDEN = frozenset('/\\:*?"<>|')  # separators, wildcards, and what Windows and HTML give a meaning to
_RESERVED = frozenset(
    ["con", "prn", "aux", "nul", *(f"com{n}" for n in range(1, 10)), *(f"lpt{n}" for n in range(1, 10))]
)  # devices on Windows, with any extension


Reason = Literal["path", "character", "edge", "reserved", "length", "depth", "twin"]


class UnsafeName(ValueError):  # noqa: N818  # it names what is wrong; "UnsafeNameError" would say it twice
    """A name that has no safe form.

    Attributes:
        name: the name as it was given, cut short when it is longer than any name may be.
        reason: which rule it breaks; ``messages`` puts it into words.
    """

    def __init__(self, name: str, reason: Reason) -> None:
        self.name = name if len(name) <= PATH_LIMIT else f"{name[:NAME_LIMIT]}…"
        super().__init__(f"{self.name!r}: {reason}")
        self.reason = reason


def identifier(text: str) -> str:
    """The safe form of a course's, assignment's or person's name.

    Spaces and letters of any script are allowed; ``+`` is not, because nbgrader separates names with it.

    Raises:
        UnsafeName: it has none.
    """
    name = _component(text, text)
    if "+" in name or name.startswith((".", "-")):
        raise UnsafeName(text, "character")
    if len(name) > NAME_LIMIT:
        raise UnsafeName(text, "length")
    return name


def file_path(text: str) -> str:
    """The safe form of a file's path inside a submission: relative, Unix style, composed Unicode (NFC).

    Raises:
        UnsafeName: it has none.
    """
    parts = text.split("/")
    if len(parts) > DEPTH_LIMIT:
        raise UnsafeName(text, "depth")
    path = "/".join(_component(part, text) for part in parts)
    if len(path.encode()) > PATH_LIMIT:
        raise UnsafeName(text, "length")
    return path


def file_paths(texts: Iterable[str]) -> list[str]:
    """The safe forms of all paths of one folder, in the same order.

    Raises:
        UnsafeName: one has none, or two would be the same file on some machine: they differ only in upper and lower
            case or in how Unicode composes them, or one is a folder of another.
    """
    paths = [file_path(text) for text in texts]
    folded = [path.casefold() for path in paths]
    folders = {"/".join(parts[:end]) for key in folded for parts in [key.split("/")] for end in range(1, len(parts))}
    seen: set[str] = set()
    for path, key in zip(paths, folded, strict=True):
        if key in seen or key in folders:
            raise UnsafeName(path, "twin")
        seen.add(key)
    return paths


def _component(text: str, whole: str) -> str:
    """One file or folder name in its safe form; ``whole`` is what an error names."""
    name = unicodedata.normalize("NFC", text)
    if name in ("", ".", ".."):
        raise UnsafeName(whole, "path")
    if any(character in _FORBIDDEN or unicodedata.category(character)[0] == "C" for character in name):
        raise UnsafeName(whole, "character")  # category C: NUL, control, direction marks, half a surrogate pair
    if name != name.strip() or name.endswith("."):
        raise UnsafeName(whole, "edge")
    if name.split(".")[0].casefold() in _RESERVED:
        raise UnsafeName(whole, "reserved")
    if len(name.encode()) > COMPONENT_LIMIT:
        raise UnsafeName(whole, "length")
    return name
