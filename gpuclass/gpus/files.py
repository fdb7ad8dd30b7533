"""Small JSON files that one process writes and others read at any moment: never half of one, never a lock."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def put(path: Path, value: Any) -> None:
    """Write ``value`` as JSON beside ``path`` and rename it to there, so that a reader sees the old or the new one.

    Not synced to disk: what such a file says is stale after a power cut anyway.

    Raises:
        OSError: the folder is missing, full or not ours.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    draft.replace(path)


def get(path: Path) -> Any:
    """What a file holds; None when it is not there, cannot be read or is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
