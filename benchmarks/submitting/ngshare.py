"""ngshare, server and client, as published: what the exchange's API is compared with, in tests and in a benchmark.

Both come from the hashed lock beside this file into a folder of their own in the virtual environment, and work there
with the packages that we use ourselves: JupyterHub, Tornado, nbgrader, requests. So a difference in speed is none of
versions, but for SQLAlchemy: ngshare needs an older one. ``ngshare_exchange`` asks for an older ``jupyter_core``, too,
but works without.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
PREFIX = "/services/ngshare"
STARTS_WITHIN_S = 60


class NgshareError(RuntimeError):
    """ngshare could not be installed or did not start; the text holds what it said."""


def installed() -> Path:
    """The folder to put on ``PYTHONPATH``; filled from the lock the first time, which takes seconds.

    Raises:
        NgshareError: pip could not.
    """
    lock = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    folder = Path(sys.prefix) / f"ngshare-{lock}"
    if folder.is_dir():
        return folder
    draft = Path(tempfile.mkdtemp(prefix=".ngshare-", dir=sys.prefix))
    try:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--require-hashes", "--requirement", str(REQUIREMENTS), "--target", str(draft)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NgshareError(done.stdout + done.stderr)
        with suppress(OSError):  # another process was faster: what lies there is the same
            draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


@contextmanager
def serving(
    folder: Path, hub_api: str, address: str, port: int, admins: Sequence[str]
) -> Iterator[subprocess.Popen[bytes]]:
    """The server as a service of a hub; its database, files and log are in ``folder``.

    Args:
        folder: there already.
        hub_api: where it asks whose a token is.
        address: where it is asked whether it is up; it listens on every address.
        port: its own.
        admins: logins.

    Raises:
        NgshareError: it did not start.
    """
    log = folder / "ngshare.log"
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(installed()),
        "JUPYTERHUB_API_URL": hub_api,
        "JUPYTERHUB_API_TOKEN": "token-of-ngshare",
        "JUPYTERHUB_CLIENT_ID": "service-ngshare",
        "JUPYTERHUB_SERVICE_PREFIX": f"{PREFIX}/",
        "JUPYTERHUB_SERVICE_URL": f"http://{address}:{port}",
    }
    command = [sys.executable, "-m", "ngshare", "--database", f"sqlite:///{folder}/ngshare.db"]
    command += ["--storage", f"{folder}/files", "--admins", ",".join(admins)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + STARTS_WITHIN_S
        while not _answers(f"http://{address}:{port}/healthz"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise NgshareError(log.read_text(errors="replace"))
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
