"""Every lecture runs from top to bottom in the student image: on a CPU, without network, in fast mode."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import docker
import docker.errors
import pytest

from gpuclass.curriculum.building import LECTURES, notebook_bytes, read_source, session_names, sources

pytestmark = pytest.mark.images

SOURCES = [source for name in session_names(LECTURES) for source in sources(LECTURES / name)]
SECONDS = 120  # a lecture in fast mode, on one core of a busy machine
RUNNER = """
import json, sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read("/lecture/lecture.ipynb", as_version=4)
NotebookClient(notebook, timeout=60, resources={"metadata": {"path": "/tmp"}}).execute()
print("RESULT" + json.dumps(notebook))
"""


def execute(
    engine: docker.DockerClient, image: str, notebook: bytes, folder: Path, **environment: str
) -> dict[str, Any]:
    """Run a notebook as a student's container would; the notebook with its outputs."""
    folder.chmod(0o755)
    (folder / "lecture.ipynb").write_bytes(notebook)
    container = engine.containers.run(
        image,
        ["timeout", str(SECONDS), "python", "-c", RUNNER],
        environment={"GPUCLASS_FAST": "1", "OMP_NUM_THREADS": "1", **environment},
        volumes={str(folder): {"bind": "/lecture", "mode": "ro"}},
        network_mode="none",
        read_only=True,
        tmpfs={"/tmp": "size=256m,mode=1777", "/home/jovyan": "size=16m,uid=1000"},
        detach=True,
    )
    try:
        status = container.wait(timeout=SECONDS + 30)["StatusCode"]
        log = container.logs().decode()
    finally:
        container.remove(force=True)
    assert status == 0, log
    made: dict[str, Any] = json.loads(log.rpartition("RESULT")[2])
    return made


def outputs(notebook: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return [(cell, output) for cell in notebook["cells"] for output in cell.get("outputs", [])]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_lecture_runs_to_its_end_without_a_complaint(
    source: Path, engine: docker.DockerClient, built: dict[str, str], tmp_path: Path
) -> None:
    done = execute(engine, built["student"], notebook_bytes(source), tmp_path)
    for cell, output in outputs(done):
        announced = "raises-exception" in cell["metadata"].get("tags", [])
        assert announced or output["output_type"] != "error", output
        # matplotlib says here that a glyph is missing, torch that something is out of date
        assert output.get("name") != "stderr", output["text"]
    assert any("image/png" in output.get("data", {}) for _, output in outputs(done)), "a session has a picture"


def test_a_gpu_seat_has_its_card_too(engine: docker.DockerClient, built: dict[str, str], tmp_path: Path) -> None:
    warm_up = read_source(LECTURES / "00-warm-up" / "00-warm-up.py")
    setup = next(cell for cell in warm_up.cells if "setup" in cell.metadata.get("tags", []))
    setup.source += "\nprint(seat())\nseat().draw()"
    warm_up.cells = [setup]
    seat = {"gpu": True, "device": "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "mode": "mig", "enforcement": "hardware"}
    declared = json.dumps({**seat, "memory": 10 * 2**30, "device_memory": 10 * 2**30, "shares": 1, "of": 1})
    done = execute(engine, built["student"], json.dumps(warm_up).encode(), tmp_path, GPUCLASS_SEAT=declared)
    text = "".join(str(output.get("text", "")) for _, output in outputs(done))
    for part in ("GPU 자리", "10.0 GiB", "MIG 조각", "하드웨어가 지켜요"):
        assert part in text
    assert "PyTorch가 찾지 못해요" in text, "this machine's test has no GPU, and the card does not hide it"
    assert any("image/png" in output.get("data", {}) for _, output in outputs(done))
    assert not [output for _, output in outputs(done) if output.get("name") == "stderr"]
