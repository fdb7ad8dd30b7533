"""An engine of the tests' own with a small grader image in it; this machine's is everybody's and is not killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import docker
from docker.types import Mount

from gpuclass import images
from gpuclass.grader.sandbox import LABEL
from tests.gpus.engines import Kind, NestedEngine, nested

GRADER_IMAGE = "gpuclass-killed-grader:latest"

PACK = """
import importlib.metadata as metadata, os, re, sys, tarfile
from pathlib import Path

wanted, found = ["ipython", "numpy", "matplotlib-inline"], {}
while wanted:
    name = wanted.pop()
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        continue
    found[name] = distribution
    needs = [need for need in distribution.requires or [] if "extra ==" not in need]
    wanted += {re.match(r"[\\w.-]+", need)[0].lower() for need in needs} - set(found)
packages = {str(each.locate_file(Path(file).parts[0])) for each in found.values() for file in each.files
            if not str(file).startswith("..")}
below = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/lib/python3.13", "/usr/lib/x86_64-linux-gnu", "/etc"]
links = ["/bin", "/lib", "/lib64", "/sbin", "/usr/lib64"]
paths = [*links, *below, *sorted(packages), f"{sys.prefix}/bin", f"{sys.prefix}/pyvenv.cfg", "/opt/gpuclass"]
there = set()


def once(entry):
    return None if entry.name in there else there.add(entry.name) or entry


with tarfile.open("/out/grader.tar", "w") as archive:
    for folder in ("usr", "usr/lib", "opt", "tmp", "var", "proc", "sys", "dev", "run", "home"):
        archive.add(f"/{folder}", folder, recursive=False, filter=once)
    for path in filter(os.path.lexists, paths):
        archive.add(path, filter=once)
"""
"""Writes the grader image's Python, what the agent imports, and the agent; without torch and all that comes with it."""


@contextmanager
def grading_engine(host: docker.DockerClient) -> Iterator[NestedEngine]:
    """An engine that can start sandboxes from `GRADER_IMAGE` and may be killed. It has no network."""
    with nested(host, Kind.CDI) as engine:
        put_grader_image(host, engine)
        yield engine


def put_grader_image(host: docker.DockerClient, engine: NestedEngine) -> None:
    """The class's grader image, as it is built now, as far as an exercise without torch needs it; kept in memory."""
    original = host.images.get(images.build(["grader"], client=host)["grader"])
    out = engine.folder / "grader"
    out.mkdir()
    mounts = [Mount("/out", str(out), type="bind")]
    host.containers.run(
        original, ["-c", PACK], entrypoint=["python"], user="0", network_mode="none", mounts=mounts, remove=True
    )
    archive = out / "grader.tar"
    name, _, tag = GRADER_IMAGE.partition(":")
    engine.client.api.import_image_from_file(str(archive), name, tag, changes=_changes(original.attrs["Config"]))
    archive.unlink()


def _changes(config: dict[str, Any]) -> list[str]:
    """What a tar archive loses of an image, as lines of a Dockerfile."""
    pairs = [pair.partition("=") for pair in config["Env"]]
    return [
        *(f"ENV {name}={json.dumps(value)}" for name, _, value in pairs),
        f"ENTRYPOINT {json.dumps(config['Entrypoint'])}",
    ]


def sandboxes(engine: NestedEngine) -> list[str]:
    """Ids of the sandboxes that are there, running or not."""
    return [str(each.id) for each in engine.client.containers.list(all=True, filters={"label": LABEL})]
