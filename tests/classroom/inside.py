"""A student's kernel with probes in it: code that tries what it must not reach and prints what became of that."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from gpuclass.rehearsal import Kernel, Visitor

PROBES = '''
import json, os, socket, time, urllib.error, urllib.request

def tcp(host, port, timeout=4):
    """What became of a connection: "open", or the kind of refusal."""
    started = time.monotonic()
    try:
        socket.create_connection((host, port), timeout).close()
        became = "open"
    except OSError as error:
        became = type(error).__name__
    return {"became": became, "seconds": time.monotonic() - started}

def http(method, url, token=os.environ["JUPYTERHUB_API_TOKEN"], data=None, **headers):
    """Status and body of a request with this container's token."""
    request = urllib.request.Request(url, data, {"Authorization": "token " + token, **headers}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return {"status": answer.status, "body": answer.read().decode()[:5000], "url": answer.url}
    except urllib.error.HTTPError as error:
        return {"status": error.code, "body": error.read().decode()[:500]}

def fill(path, megabytes):
    """Write that much; where it stopped and why."""
    written = 0
    try:
        with open(path, "wb") as file:
            for _ in range(megabytes):
                file.write(bytes(2 ** 20))
                file.flush()
                written += 1
        became = "written"
    except OSError as error:
        became = error.strerror
    if os.path.exists(path):
        os.remove(path)
    return {"became": became, "megabytes": written}
'''


@dataclass
class Inside:
    """A student's kernel, with the probes defined in it."""

    kernel: Kernel
    student: Visitor

    async def tries(self, expression: str) -> Any:
        """Value of an expression, as JSON."""
        result = await self.kernel.run(f"print(json.dumps({expression}))")
        assert not result.error, result.text
        return json.loads(result.printed)
