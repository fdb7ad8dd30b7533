"""What the plugin and the server's extension cost before anybody uses them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

LIMIT_S = 0.050  # of the plugin, beside nbgrader itself
HEAVY = {"requests", "urllib3", "httpx", "numpy", "pandas", "sqlalchemy", "pydantic", "fastapi", "email", "nbformat"}


def importing(module: str, after: str = "sys") -> dict[str, Any]:
    """CPU seconds that an import takes in a fresh process, and what it brings, after another has been imported."""
    code = f"""
import sys, json, time
import {after}
before = set(sys.modules)
begun = time.process_time()
import {module}
print(json.dumps([time.process_time() - begun, sorted(set(sys.modules) - before)]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, modules = json.loads(done.stdout)
    return {"seconds": seconds, "modules": set(modules), "packages": {name.split(".")[0] for name in modules}}


def test_the_plugin_costs_less_than_50_ms_beside_nbgrader() -> None:
    runs = [importing("gpuclass.exchange.client.classes", after="nbgrader.exchange.abc") for _ in range(3)]
    seconds = min(run["seconds"] for run in runs)  # the machine has other things to do
    print(f"{seconds * 1000:.1f} ms")
    assert seconds < LIMIT_S


def test_the_plugin_brings_nothing_heavy_that_nbgrader_does_not_bring() -> None:
    brought = importing("gpuclass.exchange.client.classes", after="nbgrader.exchange.abc")["packages"]
    assert HEAVY & brought == set()
    assert "gpuclass" in brought  # it was really imported here


def test_the_servers_extension_imports_neither_nbgrader_nor_requests() -> None:
    brought = importing("gpuclass.lab", after="jupyter_server.serverapp")
    assert {"nbgrader", "requests", "sqlalchemy"} & brought["packages"] == set()
    assert "gpuclass.exchange.client.background" in brought["modules"]
    assert not {"gpuclass.exchange.client.outbox", "gpuclass.exchange.client.connection"} & brought["modules"]


def test_the_sender_in_the_server_needs_no_nbgrader() -> None:
    brought = importing("gpuclass.exchange.client.sender")
    assert {"nbgrader", "traitlets"} & brought["packages"] == set()
