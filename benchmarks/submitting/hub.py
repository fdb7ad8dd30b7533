"""A double of the hub for exchanges: the token ``token-of-LOGIN`` belongs to the user LOGIN. A process of its own.

    python -m benchmarks.submitting.hub ADDRESS PORT

It answers faster than a hub does, to the good of who asks it most often.
"""

from __future__ import annotations

import asyncio
import json
import sys

SCOPES = ["access:services!service=exchange", "access:services!service=ngshare"]


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection: HTTP/1.1, kept open, requests without a body."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            path = head[0].split()[1]
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
            kind, _, login = headers.get("authorization", "").partition(" token-of-")
            known = path == "/hub/api/user" and kind in ("token", "Bearer") and login
            user = {"kind": "user", "name": login, "admin": False, "groups": [], "scopes": SCOPES}
            body = json.dumps(user if known else {"status": 403, "message": "Forbidden"}).encode()
            status = "200 OK" if known else "403 Forbidden"
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main(address: str, port: int) -> None:
    """Answer until killed."""
    server = await asyncio.start_server(answer, address, port, backlog=1000)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
