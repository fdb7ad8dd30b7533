"""Tokens by which the class's own processes know each other: one file each, readable by the service user only."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

TOKEN_BYTES = 32


def token(folder: Path, name: str) -> str:
    """The token called ``name``, made on first use.

    Args:
        folder: ``settings.secrets``.
        name: whose token it is, such as ``"exchange"``.

    Two processes that ask at once get the same token: only one of them can create the file.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / name
    fresh = secrets.token_hex(TOKEN_BYTES)
    draft = folder / f".{name}.{os.getpid()}.{fresh[:8]}"
    draft.write_text(fresh, encoding="ascii")
    draft.chmod(0o600)
    if os.geteuid() == 0:  # `sudo gpuclass …` may be the first to ask; the service user must be able to read it
        owner = folder.parent.stat()
        for made in (folder, draft):
            os.chown(made, owner.st_uid, owner.st_gid)
    try:
        os.link(draft, path)  # fails when the name exists, so a reader never sees half a token
    except FileExistsError:
        return path.read_text(encoding="ascii")
    else:
        return fresh
    finally:
        draft.unlink()
