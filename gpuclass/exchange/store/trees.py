"""The list of a folder's files in its one form: what a submission, a release or feedback is. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

BLOCK = 4096  # bytes a file takes on disk at least: many tiny files fill a quota too


class Tree:
    """A list of files, ready for the database.

    Attributes:
        entries: ``[path, sha256, md5, size]`` of each file, sorted.
        sha256: of the list.
        size: bytes of all files.
        space: bytes that they count against a quota.
    """

    def __init__(self, entries: Iterable[list[Any]]) -> None:
        self.entries = sorted(entries)
        self.sha256 = hashlib.sha256(json.dumps(self.entries, separators=(",", ":")).encode()).hexdigest()
        self.size = sum(size for *_, size in self.entries)
        self.space = max(BLOCK, sum(max(size, BLOCK) for *_, size in self.entries))  # a list without files is a row
