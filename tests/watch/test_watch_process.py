"""The watch as a process, with a driver that hangs."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gpuclass.gpus.devices import read_snapshots
from gpuclass.settings import Settings
from gpuclass.watch.alarm import EXIT_HUNG
from tests.conftest import MakeSettings
from tests.gpus.nvml import NvmlDouble, UnitDouble

WATCH = """
import logging, threading
from gpuclass.watch import service as watch
from gpuclass.settings import load

logging.basicConfig()
watch.HANG_S, watch.INTERVAL_S = 1.5, (0.1, 0.3)  # seconds; nobody waits for a minute here
watch.run(load(), threading.Event())
"""
PATIENCE_S = 30


@pytest.fixture
def shared(make_settings: MakeSettings) -> Settings:
    return make_settings('[gpu]\nmode = "shared"')


@pytest.mark.slow
def test_while_the_driver_hangs_nothing_is_published_and_the_watch_ends_to_be_started_again(
    shared: Settings, nvml: NvmlDouble, tmp_path: Path
) -> None:
    nvml.write(UnitDouble("GPU-0"))
    environment = {"GPUCLASS_CONFIG": str(shared.path), "PATH": os.environ["PATH"], **nvml.environment}
    watch = subprocess.Popen([sys.executable, "-c", WATCH], env=environment, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not read_snapshots(shared.gpus_folder, time.time()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        nvml.hang = True
        nvml.write()
        hung_at = time.time()
        _, said = watch.communicate(timeout=PATIENCE_S)
    finally:
        watch.kill()
        watch.wait()
    assert watch.returncode == EXIT_HUNG
    assert "driver has not answered" in said
    (snapshot,) = read_snapshots(shared.gpus_folder, time.time())
    assert snapshot.taken_at <= hung_at + 0.1


def test_without_seats_there_is_nothing_to_watch(settings: Settings) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gpuclass", "watch"],
        env={"GPUCLASS_CONFIG": str(settings.path), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "no seats to watch" in done.stderr
