"""A user's Jupyter server with the image's own configuration, as a process on loopback: no container, no hub."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from gpuclass import ROOT
from tests.exchange.conftest import free_port

CONFIGURATION = ROOT / "images/student/etc/jupyter"
TOKEN = "a-token-for-tests"  # noqa: S105  # of a server that this test starts and ends


@contextmanager
def jupyter(home: Path, role: str, environment: Mapping[str, str]) -> Iterator[str]:
    """Serve ``home``; gives the address. Ends with what the server said when it did not answer."""
    port = free_port("127.0.0.1")
    log = home.parent / f"{home.name}.log"
    variables = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "JUPYTER_CONFIG_PATH": f"{CONFIGURATION}/roles/{role}:{CONFIGURATION}",
        "JUPYTER_CONFIG_DIR": str(home / ".jupyter"),
        "JUPYTER_PLATFORM_DIRS": "1",
        "GPUCLASS_ROLE": role,
        **environment,
    }
    command = [sys.executable, "-m", "jupyter", "lab", "--allow-root", "--ServerApp.ip=127.0.0.1"]
    options = [f"--ServerApp.port={port}", f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={home}"]
    with log.open("ab") as said:
        server = subprocess.Popen([*command, *options], env=variables, cwd=home, stdout=said, stderr=said)
    try:
        address = f"http://127.0.0.1:{port}"
        _await(server, f"{address}/api/status?token={TOKEN}", log)
        yield address
    finally:
        server.kill()
        server.wait()


def _await(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    for _ in range(600):
        try:
            httpx.get(url).raise_for_status()
        except httpx.HTTPError:
            assert server.poll() is None, log.read_text()
            time.sleep(0.1)
        else:
            return
    raise AssertionError(log.read_text())
