"""What a curious student would try. Runs inside a container with nothing but Python's standard library.

`run` sends this very file there and brings the answer back as plain data.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import socket
import struct
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docker.models.containers import Container

PATIENCE_S = 3.0
"""After this a probe counts as ignored: neither let through nor refused."""

CLONE_NEWUSER = 0x10000000  # linux/sched.h


def connect(host: str, port: int) -> str:
    """Open a TCP connection: "open", "refused" at once, "no route" or "ignored"."""
    try:
        with socket.create_connection((host, port), timeout=PATIENCE_S):
            return "open"
    except TimeoutError:
        return "ignored"
    except ConnectionRefusedError:
        return "refused"
    except OSError:
        return "no route"


def ask(server: str, name: str) -> str:
    """Ask a name server over UDP for an address: "answered", "failed" (it said so), "refused" or "ignored"."""
    question = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"
    query = struct.pack(">6H", 4711, 0x100, 1, 0, 0, 0) + question + struct.pack(">2H", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(PATIENCE_S)
        try:
            asking.connect((server, 53))
            asking.send(query)
            reply = asking.recv(512)
        except TimeoutError:
            return "ignored"
        except OSError:
            return "refused"
    return "answered" if struct.unpack(">H", reply[6:8])[0] else "failed"


def resolve(name: str) -> dict[str, Any]:
    """Resolve a name as programs do: its addresses, or none, and the seconds it took."""
    begin = time.monotonic()
    try:
        found = sorted({str(entry[4][0]) for entry in socket.getaddrinfo(name, 80, proto=socket.IPPROTO_TCP)})
    except OSError:
        found = []
    return {"addresses": found, "seconds": time.monotonic() - begin}


def send_as(source: str, host: str, port: int, text: str) -> str:
    """Send one datagram under another's address; needs CAP_NET_RAW."""
    payload = text.encode()
    header = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, socket.IPPROTO_UDP, 0, socket.inet_aton(source), socket.inet_aton(host)
    )
    datagram = struct.pack(">4H", 40000, port, 8 + len(payload), 0) + payload
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sending:
        sending.sendto(header + datagram, (host, 0))
    return "sent"


def hold(host: str, port: int, seconds: float) -> str:
    """Talk over one connection to a server that says back what is said: "kept" for so long, or "ended"."""
    end = time.monotonic() + seconds
    with socket.create_connection((host, port), timeout=PATIENCE_S) as stream:
        while time.monotonic() < end:
            try:
                stream.sendall(b"still there?")
                stream.recv(64)
            except OSError:
                return "ended"
            time.sleep(0.05)
    return "kept"


def listen(port: int) -> None:
    """Accept TCP connections for ever."""
    with socket.create_server(("0.0.0.0", port)) as server:  # noqa: S104  # inside a test's container
        while True:
            server.accept()[0].close()


def fetch(url: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
    """GET: the status and the beginning of the text, or status 0 and the reason."""
    asking = urllib.request.Request(url, headers=headers or {})  # noqa: S310  # http, from the test
    try:
        with urllib.request.urlopen(asking, timeout=PATIENCE_S) as answer:  # noqa: S310  # same
            return {"status": answer.status, "text": answer.read(4096).decode(errors="replace")}
    except urllib.error.HTTPError as error:
        with error:
            return {"status": error.code, "text": error.read(4096).decode(errors="replace")}
    except OSError as error:
        return {"status": 0, "text": str(error)}


def unix(path: str) -> str:
    """Connect to a Unix socket: "open", or the reason why not."""
    with socket.socket(socket.AF_UNIX) as trying:
        try:
            trying.connect(path)
        except OSError as error:
            return errno.errorcode[error.errno or 0]
    return "open"


def read(path: str) -> str:
    """A file's text or a folder's names, or the reason why not."""
    try:
        if Path(path).is_dir():
            return " ".join(sorted(entry.name for entry in Path(path).iterdir()))
        return Path(path).read_text("utf-8")
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def fill(path: str, mib: int) -> dict[str, Any]:
    """Write a file of so many MiB, and remove it: how many went in, and the reason why no more did."""
    written, reason = 0, ""
    try:
        with Path(path).open("wb", buffering=0) as file:
            while written < mib and file.write(bytes(2**20)) == 2**20:
                written += 1
    except OSError as error:
        reason = errno.errorcode[error.errno or 0]
    if written:
        Path(path).unlink()
    return {"mib": written, "reason": reason}


def fork(limit: int) -> dict[str, Any]:
    """Start sleeping processes: how many came to be, and the reason why no more did."""
    children: list[int] = []
    reason = ""
    while len(children) < limit:
        try:
            child = os.fork()
        except OSError as error:
            reason = errno.errorcode[error.errno or 0]
            break
        if not child:
            time.sleep(60)
            os._exit(0)
        children.append(child)
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return {"processes": len(children), "reason": reason}


def new_user_namespace() -> str:
    """Ask the kernel for a user namespace, in which one is root: "open", or the reason why not."""
    libc = ctypes.CDLL(None, use_errno=True)
    return errno.errorcode[ctypes.get_errno()] if libc.unshare(CLONE_NEWUSER) else "open"


PROBES = {
    probe.__name__: probe
    for probe in (connect, ask, resolve, send_as, hold, listen, fetch, unix, read, fill, fork, new_user_namespace)
}


def run(container: Container, probe: str, *arguments: object, python: str = "/usr/bin/python3", **options: Any) -> Any:
    """Run a probe in a container and return what it found.

    Args:
        container: where.
        probe: one of `PROBES`.
        arguments: the probe's own.
        python: the container's Python.
        options: of docker's ``exec_run``, such as ``user``.
    """
    source = Path(__file__).read_text("utf-8")
    command = [python, "-c", source, probe, json.dumps(arguments)]
    code, output = container.exec_run(command, **options)
    assert isinstance(output, bytes)
    text = output.decode(errors="replace")
    if code:
        log = container.logs().decode(errors="replace")
        raise AssertionError(f"probe {probe}{arguments} broke in {container.name}:\n{text}\nIts log:\n{log}")
    return json.loads(text)


if __name__ == "__main__":
    json.dump(PROBES[sys.argv[1]](*json.loads(sys.argv[2])), sys.stdout)
