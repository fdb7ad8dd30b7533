"""Requests written by hand, byte for byte: what no library would send."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from gpuclass.exchange.service.app import PREFIX
from gpuclass.exchange.store.store import Store
from tests.exchange.conftest import Camp
from tests.exchange.streaming import new_key

BOUNDARY = b"b0undary"
STUDENT = "127.9.9.9"  # an address of its own, as each container has one


@contextmanager
def connected(camp: Camp, *, source: str = "127.0.0.1") -> Iterator[socket.socket]:
    """A connection to the exchange; ``source`` is the address it comes from."""
    place = (str(camp.settings.gateway), camp.settings.site.exchange_port)
    with socket.create_connection(place, timeout=30, source_address=(source, 0)) as connection:
        yield connection


def head(
    camp: Camp, path: str, *headers: str, method: str = "POST", login: str = "student1", version: str = "HTTP/1.1"
) -> bytes:
    """A request's first lines, with a token."""
    camp.by(login)
    lines = [f"{method} {PREFIX}/{path} {version}", "Host: x", f"Authorization: token token-of-{login}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def upload(camp: Camp, assignment: str, body: bytes, *headers: str, login: str = "student1", key: str = "") -> bytes:
    """A streaming upload as a whole, with this body."""
    first = head(
        camp,
        f"gpuclass/v1/submission/camp/{assignment}",
        f"Idempotency-Key: {key or new_key()}",
        f"Content-Type: multipart/form-data; boundary={BOUNDARY.decode()}",
        *(headers or [f"Content-Length: {len(body)}"]),
        login=login,
    )
    return first + body


def part(content: bytes, name: str = "file", *headers: bytes) -> bytes:
    """One part of a form."""
    lines = [b'Content-Disposition: form-data; name="' + name.encode() + b'"', *headers]
    return b"--" + BOUNDARY + b"\r\n" + b"\r\n".join(lines) + b"\r\n\r\n" + content + b"\r\n"


END = b"--" + BOUNDARY + b"--\r\n"


def said(connection: socket.socket) -> bytes:
    """All that comes until the other side closes or says nothing for two seconds."""
    connection.settimeout(2)
    answer = b""
    try:
        while piece := connection.recv(65536):
            answer += piece
    except (TimeoutError, ConnectionResetError):
        pass
    return answer


def ask(camp: Camp, request: bytes, *, source: str = "127.0.0.1") -> bytes:
    """Send a request and read everything that comes back; it is to end the connection."""
    with connected(camp, source=source) as connection:
        with suppress(OSError):  # refused before all of it was sent
            connection.sendall(request)
        return said(connection)


def status_of(answer: bytes) -> int:
    """The first answer's status; 0 if there was none."""
    return int(answer.split()[1]) if answer.startswith(b"HTTP/1.") else 0


def kept(camp: Camp, assignment: str) -> list[dict[str, Any]]:
    """Every submission to an assignment: who, and content by path, from the store itself."""
    with Store(camp.settings.exchange_folder) as store:
        return [
            {
                "id": each.id,
                "student": each.student,
                "files": {file.path: store.read(file) for file in store.files(each)},
            }
            for each in store.submissions("camp", assignment)
        ]
