"""Python code as tokens that renaming, comments and layout do not change. Text in, text out: nothing is run. Pure.

The lexer is Pygments': it takes any text, also what is no Python.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from pygments.lexers import PythonLexer
from pygments.token import Comment, Keyword, Name, String, Text, _TokenType

_OPEN, _CLOSE = frozenset("([{"), frozenset(")]}")
_NAMES = {Name, Name.Variable, Name.Function, Name.Class, Name.Namespace}  # what somebody may choose freely


class Token(NamedTuple):
    """A token as it is compared, and where in the text it stands."""

    text: str
    start: int
    end: int


def lines(source: str, limit: int = 10**6) -> Iterator[list[Token]]:
    """The tokens of each line that has any, without imports.

    Names become ``n``, except behind a dot, where they are the library's more often than the student's; a string of
    whatever text becomes ``s``; comments, docstrings and spaces go. No more than ``limit`` of the lexer's pieces
    are looked at: it is slow.
    """
    line: list[Token] = []
    depth, importing = 0, False
    for start, kind, text in islice(PythonLexer().get_tokens_unprocessed(source), limit):
        if kind in Text or kind in Comment or kind is String.Doc:
            if "\n" in text and line:
                yield line
                line = []
            if "\n" in text and depth <= 0:
                importing = False
            continue
        depth += (text in _OPEN) - (text in _CLOSE)
        importing = importing or (not line and depth <= 0 and kind is Keyword.Namespace)
        if not importing:
            _add(line, kind, text, start)
    if line:
        yield line


def _add(line: list[Token], kind: _TokenType, text: str, start: int) -> None:
    before = line[-1] if line else None
    if kind in String and kind is not String.Interpol:
        if before and before.text == "s":  # the lexer takes a string apart
            line[-1] = before._replace(end=start + len(text))
            return
        shown = "s"
    elif kind in _NAMES and not (before and before.text == "."):
        shown = "n"
    else:
        shown = text
    line.append(Token(shown, start, start + len(text)))


def form(line: list[Token]) -> str:
    """What lines have in common that differ in names, strings, comments and spaces only."""
    return " ".join(token.text for token in line)
