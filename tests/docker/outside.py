"""The rest of the world, in a network namespace: it accepts, answers names and remembers datagrams.

Run as ``python outside.py ANSWER SERVER…``: every name resolves to ANSWER, the name servers listen on SERVER…; prints a
line when it is ready.
"""

from __future__ import annotations

import json
import socket
import socketserver
import struct
import sys
import threading

PORT, DATAGRAMS, ECHO, DNS, DNS_OVER_TLS = 7000, 7001, 7002, 53, 853
SEEN: list[str] = []


def answer(query: bytes, address: str) -> bytes:
    """A DNS response that names ``address``, whatever was asked (no answer to AAAA)."""
    end = query.index(b"\0", 12) + 5
    is_a = query[end - 4 : end - 2] == b"\0\1"
    head = query[:2] + struct.pack(">5H", 0x8180, 1, int(is_a), 0, 0)
    record = struct.pack(">3HIH", 0xC00C, 1, 1, 5, 4) + socket.inet_aton(address)
    return head + query[12:end] + (record if is_a else b"")


class Names(socketserver.BaseRequestHandler):
    """Every name has one address."""

    address = "192.0.2.1"

    def handle(self) -> None:
        query, sock = self.request
        SEEN.append("query")
        sock.sendto(answer(query, self.address), self.client_address)


class Remember(socketserver.BaseRequestHandler):
    """Keep what a datagram said."""

    def handle(self) -> None:
        SEEN.append(self.request[0].decode())


class Tell(socketserver.BaseRequestHandler):
    """Say what was seen, to whoever connects."""

    def handle(self) -> None:
        self.request.sendall(json.dumps(SEEN).encode())


class Echo(socketserver.BaseRequestHandler):
    """Say back what is said."""

    def handle(self) -> None:
        while said := self.request.recv(64):
            self.request.sendall(said)


class TCP(socketserver.ThreadingTCPServer):
    """Restarts on the same port at once."""

    allow_reuse_address = True
    daemon_threads = True


def serve(server: socketserver.BaseServer) -> socketserver.BaseServer:
    """Serve in a thread."""
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


if __name__ == "__main__":
    Names.address = sys.argv[1]
    for port in (PORT, DNS, DNS_OVER_TLS):
        serve(TCP(("", port), Tell))
    serve(TCP(("", ECHO), Echo))
    serve(socketserver.UDPServer(("", DATAGRAMS), Remember))
    for name_server in sys.argv[2:]:  # each on its own address, or replies come from another
        serve(socketserver.UDPServer((name_server, DNS), Names))
    print("ready", flush=True)
    threading.Event().wait()
