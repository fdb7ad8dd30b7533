"""What a client of the streaming upload sends, in parts that a test can spoil."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import Any

import httpx


def manifest(files: Mapping[str, bytes], **more: Any) -> dict[str, Any]:
    entries = [
        {"path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for path, content in files.items()
    ]
    return {"files": entries, "version": None, "queued": None, **more}


def form(files: Mapping[str, bytes], **more: Any) -> list[tuple[str, tuple[str | None, bytes, str]]]:
    """The whole form, for httpx's ``files``."""
    return form_of(manifest(files, **more), files)


def form_of(manifest: Any, files: Mapping[str, bytes]) -> list[tuple[str, tuple[str | None, bytes, str]]]:
    first = ("manifest", (None, json.dumps(manifest).encode(), "application/json"))
    return [first, *(("file", ("x", content, "application/octet-stream")) for content in files.values())]


def new_key() -> str:
    return secrets.token_urlsafe(16)


def send(
    client: httpx.Client, assignment: str, files: Mapping[str, bytes], key: str | None = None, **more: Any
) -> httpx.Response:
    return client.post(
        f"gpuclass/v1/submission/camp/{assignment}",
        files=form(files, **more),
        headers={"Idempotency-Key": key or new_key()},
    )
