"""Attacks on the machine, from inside the real sandbox: each ends with the sandbox gone and the next one unharmed."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator

import docker
import pytest

from gpuclass import images
from gpuclass.grader.cells import Cell
from gpuclass.grader.execute import Plan, Ran, points_of, run
from gpuclass.grader.pair import open_pair
from gpuclass.grader.sandbox import (
    LABEL,
    ContainerChannel,
    Limits,
    Lost,
    connect,
    request,
    sweep,
)
from gpuclass.grader.wire import CellRun

pytestmark = pytest.mark.images

OWNER = "test-sandbox"
LIMITS = Limits(
    cpus=1.0, memory=512 * 2**20, tmp=64 * 2**20, processes=64, cell_timeout=20.0, timeout=60.0, output=100_000
)
QUICK = dataclasses.replace(LIMITS, cell_timeout=2.0)
RIGHT = "def add(a, b):\n    return a + b"
TEST = Cell("assert add(1, 2) == 3", test=True, points=1.0)


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.DockerClient]:
    client = connect()
    yield client
    sweep(client, OWNER)
    client.close()


@pytest.fixture(scope="module")
def image(engine: docker.DockerClient) -> str:
    return images.build(["grader"], client=engine)["grader"]


@pytest.fixture(autouse=True)
def nothing_stays(engine: docker.DockerClient) -> Iterator[None]:
    yield
    left = engine.containers.list(all=True, filters={"label": f"{LABEL}={OWNER}"})
    assert left == [], "a sandbox is always removed"


def played(engine: docker.DockerClient, image: str, *sources: str, limits: Limits = LIMITS) -> list[Ran]:
    """Run ``sources``, then a test of ``add``."""
    cells = [*(Cell(source) for source in sources), TEST]
    plan = Plan({"data.csv": b"1,2"}, [RIGHT])
    return run(cells, lambda: open_pair(engine, image, limits, OWNER), plan, limits.timeout)


def shown(ran: Ran) -> str:
    assert isinstance(ran, CellRun), ran
    return "".join(str(output.get("text") or output.get("data") or output.get("traceback")) for output in ran.outputs)


def test_honest_work_runs_with_torch_figures_and_data(engine: docker.DockerClient, image: str) -> None:
    figure = "import matplotlib.pyplot as plt\nplt.title('한글')\nplt.plot([1, 2])"
    table = "import pandas as pd\npd.read_csv('data.csv', header=None)"
    torch = "import torch, warnings\nwarnings.warn('careful')\ntorch.get_num_threads(), torch.ones(2).sum()"
    drawn, tabled, computed, tested = played(engine, image, RIGHT + "\n" + figure, table, torch)
    assert isinstance(drawn, CellRun)
    assert any("image/png" in output.get("data", {}) for output in drawn.outputs)
    assert "Glyph" not in shown(drawn), "Korean in figures needs a font"
    assert 'class="dataframe"' in shown(tabled)
    assert "(1, tensor(2.))" in shown(computed)
    assert points_of(tested, 1.0) == 1.0


LOOK_AROUND = """
import os, socket
def tried(what):
    try:
        return what()
    except BaseException as error:
        return type(error).__name__
def connect(host, port):
    return tried(lambda: socket.create_connection((host, port), 2).close())
print('uid', os.getuid(), os.getgid(), os.getgroups())
status = dict(line.split(':', 1) for line in open('/proc/self/status'))
caps = ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb')
print('caps', {status[name].strip() for name in caps}, status['NoNewPrivs'].strip())
print('net', os.listdir('/sys/class/net'), connect('1.1.1.1', 53), connect('172.17.0.1', 8081),
      connect('169.254.169.254', 80), tried(lambda: socket.gethostbyname('example.com')))
mounts = [line.split() for line in open('/proc/self/mounts')]
print('written', [m[1] for m in mounts if m[3].startswith('rw') and m[2] in ('ext4', 'xfs', 'btrfs', 'overlay')])
print('root', *[tried(lambda: open(path, 'w')) for path in ('/x', '/home/jovyan/x', '/opt/x')])
outside = ('/var/run/docker.sock', '/srv/course', '/srv/curriculum.git', '/opt/course')
print('there', [path for path in outside if os.path.exists(path)])
print('secrets', [k for k in os.environ if 'TOKEN' in k or 'JUPYTERHUB' in k])
open('/tmp/x.sh', 'w').close()
os.chmod('/tmp/x.sh', 0o755)
print('exec', tried(lambda: os.execv('/tmp/x.sh', ['x'])))
"""


def test_there_is_nothing_to_reach_and_nothing_to_write_to(engine: docker.DockerClient, image: str) -> None:
    seen = dict(line.split(" ", 1) for line in shown(played(engine, image, LOOK_AROUND)[0]).splitlines())
    assert seen["uid"].startswith("1000 1000 ")
    assert seen["caps"] == "{'0000000000000000'} 1"
    assert seen["net"] == "['lo'] OSError OSError OSError gaierror"
    assert seen["root"] == "OSError OSError OSError"
    assert seen["written"] in ("[]", "['/etc/resolv.conf', '/etc/hostname', '/etc/hosts']")
    assert seen["there"] == "[]"
    assert seen["secrets"] == "[]"
    assert seen["exec"] == "PermissionError"


FILL = """
with open('/tmp/big', 'wb') as file:
    for _ in range(200):
        file.write(b'x' * 2**20)
"""
FORK = """
import os, time
for _ in range(2000):
    if os.fork() == 0:
        time.sleep(100)
"""
THREADS = """
import threading, time
for _ in range(2000):
    threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
"""
HOGS = {
    "fork bomb": FORK,
    "fork bomb in the shell": "import os\nos.system(':(){ :|:& };: 2>/dev/null')",
    "threads": THREADS,
    "daemon that stays": "import subprocess as s\ns.Popen('while :; do :; done', shell=True, start_new_session=True)",
    "disk": FILL,
    "shm": FILL.replace("/tmp/big", "/dev/shm/big"),
    "inodes": "for i in range(100_000): open(f'/tmp/{i}', 'w').close()",
    "open files": "kept = [open('/dev/null') for _ in range(100_000)]",
    "sparse file": "open('/tmp/s', 'wb').truncate(2**40)",
    "30 MB line": "print('x' * 30_000_000)",
    "a million messages": "for i in range(1_000_000): print(i)",
    "stream from a subprocess": "import os\nos.system('yes | head -c 200000000')",
    "kill all others": "import os, signal\nos.kill(-1, signal.SIGKILL)",
    "core dump": "import ctypes, os\nif os.fork() == 0: ctypes.string_at(0)",
}


@pytest.mark.parametrize("name", HOGS)
def test_a_hog_harms_at_most_its_own_cell(name: str, engine: docker.DockerClient, image: str) -> None:
    *_, hog, tested = played(engine, image, RIGHT, HOGS[name])
    assert isinstance(hog, CellRun), "the cell ended, by itself or by an error"
    assert points_of(tested, 1.0) == 1.0
    assert len(shown(hog)) < LIMITS.output


DEAF = "import os, signal, time\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\n"
STUBBORN = """
import signal
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
while True:
    pass
"""
WRITE = """
while True:
    for fd in range(3, 200):
        try:
            os.write(fd, {what})
        except OSError:
            pass
    time.sleep({pause})
"""
SHARED = "import mmap\nkept = [mmap.mmap(-1, 2**28) for _ in range(8)]\nfor each in kept: each.write(b'x' * 2**28)"
ENDS = {
    "memory": ("kept = []\nwhile True: kept.append(bytearray(2**24))", "memory"),
    "memory in shared memory": (SHARED, "memory"),
    "exit": ("import os\nos._exit(0)", "died"),
    "kills itself": ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "died"),
    "stubborn loop": (STUBBORN, "timeout"),
    "loop in C": ("sum(range(10**12))", "timeout"),
    "endless stream": (DEAF + WRITE.format(what="b'\\0\\0\\0\\5' + b'x' * 60000", pause=0), "garbled"),
    "trickle": (DEAF + WRITE.format(what="b'\\0'", pause=0.5), "garbled"),
}


@pytest.mark.parametrize("name", ENDS)
def test_what_ends_a_sandbox_costs_nothing_else_and_ends_in_time(
    name: str, engine: docker.DockerClient, image: str
) -> None:
    source, reason = ENDS[name]
    begin = time.monotonic()
    _, ended, tested = played(engine, image, RIGHT, source, limits=QUICK)
    assert time.monotonic() - begin < 30
    assert isinstance(ended, Lost), ended
    assert ended.reason == reason
    assert points_of(tested, 1.0) == 1.0


def test_a_sandbox_of_a_killed_worker_is_swept(engine: docker.DockerClient, image: str) -> None:
    def left_behind(name: str, owner: str, expires: float) -> ContainerChannel:
        return ContainerChannel(engine, request(image, LIMITS, name=name, owner=owner, expires=expires))

    later = time.time() + 3600
    ours = left_behind("gpuclass-sandbox-test-ours", f"{OWNER}#123", later)
    expired = left_behind("gpuclass-sandbox-test-expired", "test-other#9", 1.0)
    others = left_behind("gpuclass-sandbox-test-others", "test-other#9", later)
    try:
        assert sweep(engine, OWNER) >= 2
        names = {each.name for each in engine.containers.list(all=True, filters={"label": LABEL})}
        assert "gpuclass-sandbox-test-others" in names
        assert not names & {"gpuclass-sandbox-test-ours", "gpuclass-sandbox-test-expired"}
    finally:
        for channel in (ours, expired, others):
            channel.close()
