"""One engine for this folder's tests; nothing of this machine's engine is killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import docker
import pytest

from tests.gpus.engines import NestedEngine
from tests.kills.engine import grading_engine


@pytest.fixture(scope="package")
def killable() -> Iterator[NestedEngine]:
    """An engine with a grader image, which tests kill and start again."""
    with closing(docker.from_env()) as host, grading_engine(host) as engine:
        yield engine
