"""The plugin's own corner of a home: what was fetched, what is still to be sent, what Lab is to tell.

A notebook can write there as anywhere: what is read is taken for what it says of its own student only, never followed
through a link, and never larger than ``FILE_LIMIT``. A home that cannot be written to is no error here: then there is
simply nothing kept.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from gpuclass.exchange.client.folder import NotAFolder, open_plain, opened

PLACE = (".local", "share", "gpuclass")
FILE_LIMIT = 2**20  # bytes of one of these files: more is none of ours

NOTICES = "notices.json"
NOTICES_KEPT = 30
NOTICE_S = 3600.0  # how long Lab shows what was news once


class Corner:
    """The corner of the home ``home``."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.place = home.joinpath(*PLACE)

    def read(self, *path: str) -> dict[str, Any]:
        """The JSON object in a file; empty if there is none that can be read."""
        try:
            with open_plain(self.home, "/".join((*PLACE, *path))) as file:
                text = file.read(FILE_LIMIT + 1)
            found = json.loads(text) if len(text) <= FILE_LIMIT else {}
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def write(self, content: Mapping[str, Any], *path: str) -> bool:
        """Put a JSON object into a file, whole; False if it cannot be: then the file is as it was."""
        *folders, name = path
        draft = f".{name[:50]}.{secrets.token_hex(4)}"
        try:
            with opened(self.home, [*PLACE, *folders]) as folder:
                try:
                    write_synced(folder, draft, json.dumps(content, ensure_ascii=False).encode())
                    os.replace(draft, name, src_dir_fd=folder, dst_dir_fd=folder)  # Path knows no folder handles
                finally:
                    with suppress(OSError):
                        os.unlink(draft, dir_fd=folder)
        except (OSError, NotAFolder):
            return False
        return True

    def tell(self, mark: str, level: str, korean: str, english: str, now: float) -> None:
        """Have Lab show a notice, once; ``mark`` tells it from others."""
        notices = [notice for notice in self.notices() if notice.get("id") != mark][1 - NOTICES_KEPT :]
        notices.append({"id": mark, "level": level, "ko": korean, "en": english, "until": now + NOTICE_S})
        self.write({"notices": notices}, NOTICES)

    def notices(self) -> list[dict[str, Any]]:
        """What was to be told, oldest first; also what is over."""
        found = self.read(NOTICES).get("notices")
        return [notice for notice in found if isinstance(notice, dict)] if isinstance(found, list) else []


def write_synced(folder: int, name: str, content: bytes) -> None:
    """A new file in an open folder, on disk when this returns.

    Raises:
        OSError: it cannot be, or something is there.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, 0o600, dir_fd=folder), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
