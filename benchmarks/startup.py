"""CPU time of a user's server until it answers: the student image against the same packages unconfigured.

    python benchmarks/startup.py [--runs 5]

Both run in the same containers with a home of their own, in turns, so that a busy machine slows both. The last line is
one line of JSON. What was put off, the first look at the Assignments tab, is measured too: it is not free, only later.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import docker

from gpuclass import images
from gpuclass.trial import cpu_seconds, memory_mib, serve

LIMIT = 0.3  # what the class start needs: eighty servers on one machine within two minutes
STOCK = Path(__file__).parent / "stock"


def main() -> int:
    """Measure, print, say whether the limit holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="starts of each variant (default: 5)")
    runs: int = parser.parse_args().runs

    client = images.connect()
    student = images.build(["student"], client=client)["student"]
    variants = {"gpuclass": student, "stock": stock(client, student)}
    figures: dict[str, list[Figures]] = {name: [] for name in variants}
    for run in range(runs):
        for name, image in variants.items():
            figures[name].append(found := measure(client, image))
            print(
                f"run {run + 1}: {name:8} {found.start:5.2f} CPU-s to the first 200, "
                f"{found.first_use:5.2f} for Assignments, {found.memory:4.0f} MiB"
            )

    medians = {
        what: {name: round(statistics.median(getattr(run, what) for run in figures[name]), 3) for name in variants}
        for what in ("start", "first_use", "memory")
    }
    ratio = round(medians["start"]["gpuclass"] / medians["start"]["stock"], 3)
    line = {
        "benchmark": "startup",
        "ratio": ratio,
        "limit": LIMIT,
        "runs": runs,
        "cpu_seconds": medians["start"],
        "first_assignments_cpu_seconds": medians["first_use"],
        "memory_mib": medians["memory"],
        "exchange_plugin_cpu_seconds": plugin(client, student),
    }
    print(json.dumps(line))
    return 0 if ratio <= LIMIT else 1


@dataclass(frozen=True)
class Figures:
    """One start: CPU seconds until the first 200, memory then, CPU seconds of the first look at Assignments."""

    start: float
    memory: float
    first_use: float


def stock(client: docker.DockerClient, student: str) -> str:
    """The stock variant of a student image, built when it is not there."""
    tag = f"gpuclass-stock:{student.split(':')[1]}"
    if not client.images.list(tag):
        print(f"{tag}: from benchmarks/stock")
        arguments = {"PARENT": student, **images.proxies(), **images.indexes()}
        client.images.build(path=str(STOCK), tag=tag, buildargs=arguments, rm=True, forcerm=True)
    return tag


def plugin(client: docker.DockerClient, student: str) -> float:
    """CPU seconds of importing our nbgrader plugin beside nbgrader itself: the least of three, in the image."""
    code = "import time, nbgrader.exchange.abc; t = time.process_time(); import gpuclass.exchange.client.classes; "
    command = ["python", "-c", f"{code}print(time.process_time() - t)"]
    return round(min(float(client.containers.run(student, command, remove=True)) for _ in range(3)), 4)


def measure(client: docker.DockerClient, image: str) -> Figures:
    """Start a server once and look at its Assignments."""
    with tempfile.TemporaryDirectory(prefix="gpuclass-startup-") as folder:
        home = Path(folder)
        home.chmod(0o777)  # the container's user is another than ours
        with serve(client, image, home) as server:
            memory, before = memory_mib(server.container), cpu_seconds(server.container)
            server.request("GET", "assignments?course_id=camp")
            return Figures(server.start_cpu_seconds, memory, cpu_seconds(server.container) - before)


if __name__ == "__main__":
    sys.exit(main())
