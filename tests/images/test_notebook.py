"""What a student sees in a notebook: the seat, errors about memory, DataLoader workers; under a class's own limits."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest
import websockets
from nbformat.v4 import new_code_cell, new_notebook

from gpuclass.rehearsal import Kernel
from gpuclass.seat import GIB
from gpuclass.settings import Settings
from gpuclass.spawner import host_config
from gpuclass.trial import USER, Server
from tests.images.conftest import Run, StartServer
from tests.test_memoryerrors import pytorch_text
from tests.test_seat import environment, notice, watch_says

pytestmark = pytest.mark.images

RUNNER = """
import json, sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read("/lecture/notebook.ipynb", as_version=4)
NotebookClient(notebook, timeout=90, allow_errors=True, resources={"metadata": {"path": "/tmp"}}).execute()
print("RESULT" + json.dumps(notebook))
"""
BATCHES = """
import torch
class Pictures(torch.utils.data.Dataset):
    def __len__(self):
        return 16
    def __getitem__(self, number):
        return torch.full((3, 1024, 1024), float(number))  # 12 MiB
loader = torch.utils.data.DataLoader(Pictures(), batch_size=4, num_workers=2)
"""
FULL_SHM = """
open("/dev/shm/full", "wb").write(b"x" * (1024 - 20) * 2**20)
sum(len(batch) for batch in loader)
"""
JOINED_WITHIN_S = 3
GREEDY = "data = []\nwhile True:\n    data.append(bytearray(10_000_000))"


def out_of_memory(**figures: Any) -> str:
    return f"import torch\nraise torch.OutOfMemoryError({pytorch_text(**figures)!r})"


def test_a_notebook_shows_the_seat_explains_full_memory_and_runs_workers(
    engine: docker.DockerClient, built: dict[str, str], settings: Settings, tmp_path: Path
) -> None:
    cells = [
        "seat()",
        "%who",
        out_of_memory(tried=2 * GIB, free=50 * GIB, held=18 * GIB, allowed=19 * GIB),
        out_of_memory(tried=2 * GIB, free=GIB, held=4 * GIB, allowed=19 * GIB),
        "raise RuntimeError('mine')",
        "raise KeyboardInterrupt",
        BATCHES + "\nsum(len(batch) for batch in loader)",
        FULL_SHM,
        "1 + 1",
    ]
    watch_says(tmp_path / "run", GIB, time.time(), [notice("interrupted-1")])
    first, names, over, full, mine, stopped, workers, starved, after = run_cells(
        engine, built["student"], settings, tmp_path, cells
    )
    assert "19.0 GiB 중 1.0 GiB" in first[0]["data"]["text/plain"]
    assert "<table" in first[0]["data"]["text/html"]
    assert "empty" in names[0]["text"], "seat is not among the student's variables"
    for outputs, title in ((over, "내 자리의 GPU 메모리 한도"), (full, "GPU 전체의 메모리가 가득")):
        assert [output["output_type"] for output in outputs] == ["error", "display_data"]
        assert outputs[0]["ename"] == "OutOfMemoryError"
        assert "has a total capacity of" in "".join(outputs[0]["traceback"]), "the real traceback stays"
        assert title in outputs[1]["data"]["text/plain"]
    assert [output["output_type"] for output in mine] == ["error"]
    assert [output["output_type"] for output in stopped] == ["error", "stream"]
    assert stopped[1]["text"] == "도움말: interrupted-1 알림\n"
    assert workers[0]["data"]["text/plain"] == "16", "48 MiB a batch, two workers: more than Docker's 64 MiB at once"
    assert starved[-1]["output_type"] == "display_data", starved
    assert "/dev/shm" in starved[-1]["data"]["text/plain"]
    assert after[0]["data"]["text/plain"] == "2"


def run_cells(
    engine: docker.DockerClient, image: str, settings: Settings, folder: Path, cells: list[str]
) -> list[list[dict[str, Any]]]:
    """Run cells under the limits of a class's container; each one's outputs."""
    folder.chmod(0o755)
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    (folder / "notebook.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    asked = host_config(settings)
    names = "cap_drop", "security_opt", "read_only", "tmpfs", "shm_size", "mem_limit", "memswap_limit", "pids_limit"
    container = engine.containers.run(
        image,
        ["python", "-c", RUNNER],
        environment=environment(),
        volumes=[f"{folder}:/lecture:ro", f"{folder}/run:/run/gpuclass:ro"],
        network_mode="none",
        detach=True,
        **{name: asked[name] for name in names},
    )
    try:
        status = container.wait(timeout=150)["StatusCode"]
        log = container.logs().decode()
    finally:
        container.remove(force=True)
    assert status == 0, log
    return [cell.get("outputs", []) for cell in json.loads(log.rpartition("RESULT")[2])["cells"]]


def test_pytorchs_library_speaks_as_the_explanation_expects(built: dict[str, str], python: Run) -> None:
    missing = python(
        built["student"],
        """
        import importlib.util, pathlib
        folder = pathlib.Path(importlib.util.find_spec("torch").origin).parent / "lib"
        library = (folder / "libc10_cuda.so").read_bytes()
        for phrase in (
            "CUDA out of memory. Tried to allocate ", " has a total capacity of ", " of which ", " is free. ",
            "Including non-PyTorch memory, this process", " memory in use. ", " allowed; ", "Of the allocated memory ",
            " is allocated by PyTorch, ", " is reserved by PyTorch but unallocated.",
            "it would exceed per_process_memory_fraction limit. Requested size: ",
        ):
            if phrase.encode() not in library:
                print(phrase)
        """,
    )
    assert missing == "", "gpuclass/memoryerrors.py reads these"


@asynccontextmanager
async def notebook_kernel(server: Server, path: str) -> AsyncIterator[Kernel]:
    """The kernel of a notebook that is open in Lab."""
    asked = {"path": path, "name": path, "type": "notebook", "kernel": {"name": "python3"}}
    session = server.request("POST", "api/sessions", asked).json()
    uri = f"{server.url.replace('http', 'ws', 1)}api/kernels/{session['kernel']['id']}/channels"
    async with websockets.connect(uri, additional_headers={"Authorization": f"token {USER}"}) as socket:
        yield Kernel(session["kernel"]["id"], socket)


def kernels(server: Server) -> set[str]:
    """Process ids of the kernels that run."""
    top = server.container.top()
    pid = top["Titles"].index("PID")
    return {process[pid] for process in top["Processes"] if "ipykernel_launcher" in process[-1]}


async def until(condition: Any, what: str, seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.2)
    return found


async def test_a_kernel_killed_for_memory_says_so_in_lab_and_in_the_notebook(start: StartServer) -> None:
    with start(limits={"mem_limit": "400m", "memswap_limit": "400m"}) as server:

        def told() -> list[dict[str, str]]:
            notices: list[dict[str, str]] = server.request("GET", "gpuclass/seat").json()["notices"]
            return notices

        assert told() == []
        async with notebook_kernel(server, "big.ipynb") as kernel:
            assert (await kernel.run("print(1)")).printed == "1\n"
            before = kernels(server)
            greedy = asyncio.create_task(kernel.run(GREEDY, timeout_s=60))
            notices = await until(told, "no notice")
            assert "메모리(RAM)가 부족해서" in notices[0]["text"]
            assert "0.4 GiB" in notices[0]["text"]
            assert notices[0]["level"] == "error"
            greedy.cancel()
            # By its process: the state that Jupyter tells stays "busy" when the new kernel's first message is missed.
            await until(lambda: kernels(server) - before, "the kernel does not come back")
            # What a kernel prints while Jupyter still joins its new sockets is lost; nothing tells when that is over.
            await asyncio.sleep(JOINED_WITHIN_S)
        async with notebook_kernel(server, "big.ipynb") as again:
            assert again.id == kernel.id
            first, second = await again.run("print('me')"), await again.run("print('me')")
            assert "커널이 꺼졌다가 다시 켜졌어요" in first.printed
            assert second.printed == "me\n"


def test_lab_is_told_what_the_host_put_up_and_only_its_user_is(start: StartServer, tmp_path: Path) -> None:
    watch_says(tmp_path / "run", 18 * GIB, time.time(), [notice("greedy")])
    (tmp_path / "run").chmod(0o755)
    volumes = {str(tmp_path / "run"): "/run/gpuclass:ro"}
    with start(volumes=volumes, **environment()) as server:
        said = server.request("GET", "gpuclass/seat").json()
        assert said["text"].startswith("GPU 18.0 / 19.0 GiB · RAM ")
        assert [found["text"] for found in said["notices"]] == ["greedy 알림"]
        assert httpx.get(f"{server.url}gpuclass/seat").status_code == 403
        before = server.request("GET", "api/status").json()["last_activity"]
        assert server.request("GET", "gpuclass/seat").status_code == 200
        assert server.request("GET", "api/status").json()["last_activity"] <= before
        logged = [line for line in server.log().splitlines() if "gpuclass/seat" in line]
        assert [line.split("ServerApp] ")[1][:3] for line in logged] == ["403"], "only what failed"
