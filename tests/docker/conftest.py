"""A tiny image for probes: nothing in it but links into this machine's own /usr, which is mounted read-only."""

from __future__ import annotations

import io
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from gpuclass.network import connect

PROBE_IMAGE = "gpuclass-test-probe:latest"


def host_python() -> str:
    """A Python under /usr that containers see, too."""
    own = Path(sys.executable).resolve()
    return str(own) if own.is_relative_to("/usr") else "/usr/bin/python3"


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    client = connect()
    yield client
    client.close()


@pytest.fixture(scope="session")
def probe_image(engine: docker.DockerClient) -> Iterator[str]:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for folder in ("usr", "etc", "tmp", "proc", "sys", "dev", "run"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = (
                tarfile.DIRTYPE,
                0o1777 if folder == "tmp" else 0o755,
            )  # a tmpfs there takes the mode
            tar.addfile(entry)
        for link in ("bin", "sbin", "lib", "lib64"):
            entry = tarfile.TarInfo(link)
            entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{link}"
            tar.addfile(entry)
    repository, _, tag = PROBE_IMAGE.partition(":")
    engine.api.import_image_from_data(archive.getvalue(), repository=repository, tag=tag)
    yield PROBE_IMAGE
    engine.images.remove(PROBE_IMAGE, force=True)
