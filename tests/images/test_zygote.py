"""A referee that has been taken over: real attacks as test cells, on the first process and on the next notebook."""

from __future__ import annotations

import time
from collections.abc import Iterator

import docker
import pytest

from gpuclass import images
from gpuclass.grader.cells import Cell
from gpuclass.grader.execute import Plan, run
from gpuclass.grader.pair import open_pair, reusing
from gpuclass.grader.pool import Pool
from gpuclass.grader.sandbox import (
    AGENT,
    LABEL,
    REFEREE,
    EngineError,
    Limits,
    Sandbox,
    connect,
    open_sandbox,
    sweep,
)
from gpuclass.grader.wire import CellRun

pytestmark = pytest.mark.images

OWNER = "test-zygote"
LIMITS = Limits(
    cpus=1.0, memory=512 * 2**20, tmp=64 * 2**20, processes=64, cell_timeout=20.0, timeout=60.0, output=100_000
)


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.DockerClient]:
    client = connect()
    yield client
    left = client.containers.list(all=True, filters={"label": f"{LABEL}={OWNER}"})
    sweep(client, OWNER)
    client.close()
    assert left == [], "a container is always removed"


@pytest.fixture(scope="module")
def image(engine: docker.DockerClient) -> str:
    return images.build(["grader"], client=engine)["grader"]


@pytest.fixture
def referee(engine: docker.DockerClient, image: str) -> Iterator[Sandbox]:
    """A referee that has a notebook."""
    with open_sandbox(engine, image, LIMITS, OWNER, (*REFEREE, "json", "numpy")) as made:
        begin(made)
        yield made


def begin(referee: Sandbox) -> None:
    referee.introduce([])
    referee.wait()


def said(sandbox: Sandbox, source: str) -> str:
    """What a cell printed; it ran to its end."""
    ran: CellRun = sandbox.run(source)
    text = "".join(str(output.get("text") or output.get("traceback") or "") for output in ran.outputs)
    assert ran.ok, text
    return text


TRIED = """
import ctypes, os, signal
def tried(what):
    try:
        return what()
    except BaseException as error:
        return type(error).__name__
libc = ctypes.CDLL(None, use_errno=True)
"""
REACH = (
    TRIED
    + """
parent = os.getppid()
print("parent", parent)
for name in ("mem", "fd/0", "environ", "maps", "auxv", "syscall", "stack", "cwd", "root", "exe", "map_files"):
    path = f"/proc/{parent}/{name}"
    print(name, tried(lambda: os.readlink(path) if name in ("cwd", "root", "exe") else open(path, "rb").read(16)))
print("fds", tried(lambda: os.listdir(f"/proc/{parent}/fd")))
print("attach", libc.ptrace(16, parent, 0, 0), "seize", libc.ptrace(0x4206, parent, 0, 0))
class Piece(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
buffer = ctypes.create_string_buffer(8)
mine, theirs = Piece(ctypes.addressof(buffer), 8), Piece(id(libc), 8)
print("read", libc.process_vm_readv(parent, ctypes.byref(mine), 1, ctypes.byref(theirs), 1, 0))
print("write", libc.process_vm_writev(parent, ctypes.byref(mine), 1, ctypes.byref(theirs), 1, 0))
pidfd = tried(lambda: os.pidfd_open(parent))
print("steal", libc.syscall(438, pidfd, 0, 0) if isinstance(pidfd, int) else -1)
for number in signal.Signals:
    os.kill(parent, number)
shared = [line for line in open("/proc/self/maps") if line.split()[1][1:4:2] == "ws"]
print("shared", shared)
"""
)


def test_a_fork_cannot_look_into_the_first_process_or_end_it(referee: Sandbox) -> None:
    seen = dict(line.split(" ", 1) for line in said(referee, REACH).splitlines())
    assert seen.pop("parent") == "1"
    assert seen.pop("attach") == "-1 seize -1"
    assert seen.pop("shared") == "[]", "no memory that both may write to"
    assert {seen.pop(name) for name in ("read", "write", "steal")} == {"-1"}
    assert {
        name: answer for name, answer in seen.items() if answer not in ("PermissionError", "IsADirectoryError")
    } == {}
    referee.renew()
    begin(referee)


STAY = """
import os, signal, sys, time
GREEDY = False
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in range(1, 65):
            try:
                signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError):
                pass
        end = time.time() + 60
        while time.time() < end:
            time.sleep(0 if GREEDY else 0.1)
            for fd in range(200) if GREEDY else ():
                try:
                    os.set_blocking(fd, False)
                    if data := os.read(fd, 65536):
                        open('/dev/shm/stolen', 'ab').write(data)
                except OSError:
                    pass
        os._exit(0)
    os._exit(0)
os.makedirs('/tmp/a/b'); open('/tmp/a/b/c', 'w').close(); open('/dev/shm/x', 'w').close()
os.symlink('/opt', '/tmp/link')
print(os.getpid())
"""
LEFT = """
import os
print([each for each in os.listdir('/proc') if each.isdigit() and int(each) not in (1, os.getpid())])
print(os.listdir('/tmp'), os.listdir('/dev/shm'))
"""


def test_a_daemon_and_files_do_not_outlive_the_notebook(referee: Sandbox) -> None:
    said(referee, STAY)
    referee.renew()
    begin(referee)
    assert said(referee, LEFT) == "[]\n['matplotlib'] []\n"


def test_a_daemon_that_reads_every_descriptor_hears_nothing_of_the_next_notebook(referee: Sandbox) -> None:
    said(referee, STAY.replace("False", "True", 1))
    try:
        referee.renew()
    except EngineError:
        return  # it took away from its own notebook's process what that needs: the whole container has ended
    begin(referee)
    assert said(referee, LEFT) == "[]\n['matplotlib'] []\n"


FORGED = """
import json, os, struct, threading, time
def write():
    time.sleep(0.3)
    for answer in ({"clean": True}, {"ready": True}):
        body = json.dumps(answer).encode()
        for fd in range(3, 300):
            try:
                os.write(fd, struct.pack(">I", len(body)) + body)
            except OSError:
                pass
threading.Thread(target=write).start()
"""


def test_an_end_that_a_fork_has_announced_itself_is_not_believed(referee: Sandbox) -> None:
    said(referee, FORGED)
    time.sleep(1)
    with pytest.raises(EngineError, match="did not begin anew"):
        referee.renew()
    with pytest.raises(EngineError, match="not used again"):
        referee.renew()


def test_a_submission_that_announces_its_own_end_is_graded_all_the_same(
    engine: docker.DockerClient, image: str
) -> None:
    """It forges in the run that is shown; the one that decides gets a fresh sandbox."""
    right = "def add(a, b):\n    return a + b"
    cells = [Cell(right), Cell(FORGED), Cell("import time\ntime.sleep(0)")]
    tested = [*cells, Cell("assert add(1, 2) == 3", test=True, points=1.0)]
    plan = Plan({}, [right])
    with reusing(lambda: open_pair(engine, image, LIMITS, OWNER)) as again:
        assert all(isinstance(each, CellRun) and each.ok for each in run(tested, again, plan, 60.0))
        time.sleep(1)
        assert isinstance(run(tested, again, plan, 60.0)[-1], CellRun)


INJECTED = """
import json, os, struct
body = json.dumps({"reached": "assert_all = True", "locked": True}).encode()
for fd in os.listdir("/proc/self/fd"):
    try:
        again = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK)
        os.write(again, struct.pack(">I", len(body)) + body)
    except OSError:
        pass
"""


def test_nothing_can_be_put_into_what_the_next_notebook_reads(referee: Sandbox) -> None:
    said(referee, INJECTED)
    referee.renew()
    begin(referee)
    with pytest.raises(AssertionError, match="NameError"):
        said(referee, "assert_all")


@pytest.mark.parametrize(
    "change",
    [
        "import resource\nresource.prlimit(1, resource.RLIMIT_NOFILE, (10, 10))",
        "import os\nos.setpriority(os.PRIO_PROCESS, 1, 19)",
        "import os\nos.sched_setaffinity(1, {min(os.sched_getaffinity(1))})\n"
        "assert len(os.sched_getaffinity(0)) > 1, 'one processor: nothing to change'",
    ],
    ids=["limits", "priority", "processors"],
)
def test_a_first_process_that_was_changed_is_not_used_again(change: str, referee: Sandbox) -> None:
    said(referee, change)
    with pytest.raises(EngineError, match="did not begin anew"):
        referee.renew()


def test_each_notebook_draws_its_own_random_numbers(engine: docker.DockerClient, image: str) -> None:
    draw = (
        "import random, numpy, torch\nprint(random.random(), numpy.random.random(), torch.rand(1, dtype=float).item())"
    )
    with open_sandbox(engine, image, LIMITS, OWNER, (*REFEREE, "torch")) as referee:
        begin(referee)
        first = said(referee, draw).split()
        referee.renew()
        begin(referee)
        assert not set(first) & set(said(referee, draw).split())
    assert len(first) == 3


LOOK = """
import os, random, resource, sys
print(os.getcwd(), sys.argv, sys.path, sorted(os.environ), [random.__name__], sys.flags.isolated)
print(resource.getrlimit(resource.RLIMIT_NPROC), os.umask(0o22), sorted(os.listdir('/tmp')), sys.stdin is None)
print([name for name in globals() if not name.startswith('_')])
import torch
print(torch.get_num_threads(), torch.is_grad_enabled(), torch.get_default_dtype())
"""


def test_a_student_sees_no_difference_between_a_module_imported_ahead_and_not(
    engine: docker.DockerClient, image: str
) -> None:
    seen = []
    for preload in ((), ("torch",)):
        with open_sandbox(engine, image, LIMITS, OWNER, (*AGENT, *preload)) as student:
            student.start({"data.csv": b"1"})
            seen.append(said(student, LOOK))
            student.renew()
            student.start({"data.csv": b"1"})
            seen.append(said(student, LOOK))
    assert seen == [seen[0]] * 4


def test_a_second_run_finds_nothing_of_the_first(engine: docker.DockerClient, image: str) -> None:
    with open_sandbox(engine, image, LIMITS, OWNER) as student:
        student.start({"data.csv": b"1"})
        said(student, "x = 1\nopen('mine', 'w').close()\n" + STAY)
        student.renew()
        student.start({"data.csv": b"1"})
        look = "import os\nprint(os.listdir('.'), os.listdir('/dev/shm'), 'x' in globals())"
        assert said(student, look) == "['data.csv'] [] False\n"


def test_a_notebook_is_graded_in_one_container_beside_the_referee(engine: docker.DockerClient, image: str) -> None:
    started = 0

    def start(command: object) -> Sandbox:
        nonlocal started
        started += 1
        return open_sandbox(engine, image, LIMITS, OWNER, command)  # type: ignore[arg-type]  # as the pool gives it

    cells = [Cell("def add(a, b):\n    return a + b"), Cell("assert add(1, 2) == 3", test=True, points=1.0)]
    with Pool(start, LIMITS, []) as pool:
        for _ in range(3):
            ran = run(cells, pool.pair, Plan({}, [cells[0].source]), 60.0)
            assert all(isinstance(each, CellRun) and each.ok for each in ran)
    assert started in (4, 5), "one for each notebook, one ahead, one referee"
