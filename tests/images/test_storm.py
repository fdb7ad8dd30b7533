"""A small class start, both sides, for real: nobody fails and nothing stays. How long it takes is never asserted."""

import json
import subprocess
import sys
from pathlib import Path

import docker
import pytest

from gpuclass import ROOT

pytestmark = [pytest.mark.images, pytest.mark.slow]

STUDENTS = 3


def test_students_start_at_once_in_a_class_and_in_stock(engine: docker.DockerClient) -> None:
    command = [sys.executable, "benchmarks/storm.py", "--students", str(STUDENTS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout, done.stderr
    line = json.loads(done.stdout.splitlines()[-1])
    for side in ("stock", "gpuclass"):
        found = line[side]
        assert found["failed"] == 0, done.stdout
        assert 0 < found["first"] <= found["p50"] <= found["p95"] <= found["last"]
        assert found["cpu_seconds"]["containers"] > 0
        assert found["memory_mib"] > 0
    assert line["ratio"] == pytest.approx(line["gpuclass"]["last"] / line["stock"]["last"], abs=0.001)
    names = [container.name for container in engine.containers.list(all=True)]
    assert [name for name in names if "storm" in str(name)] == []
    assert list(Path("/var/tmp").glob("gpuclass-storm-*")) == []
