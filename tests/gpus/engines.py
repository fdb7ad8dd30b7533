"""Docker Engines inside containers of this machine's engine, for what only another version or a killed daemon shows.

Two kinds: Debian 13's (26.1) with CDI and a specification of devices that are not there, and this machine's own dockerd
with executables in place of NVIDIA's hook, by which engines without CDI know the ``nvidia`` driver, and of its runtime,
which is the default there. Both have a network and a process space of their own; their containers' cgroups lie below
this machine's.

The daemon is not the container's first process: `NestedEngine.kill` and `NestedEngine.start` are a crash and a restart.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import docker
import docker.errors
from docker.models.containers import Container
from docker.types import DeviceRequest, Mount

from gpuclass import images
from gpuclass.gpus.wiring import Wiring
from gpuclass.network import CLASS_LABEL
from gpuclass.settings import Settings
from gpuclass.spawner import environment, host_config

LABEL = "gpuclass.test.engine"
SEAT_IMAGE = "gpuclass-test-seat:latest"
PACKAGES = ("docker.io",)
START_TIMEOUT_S = 30
UUIDS = ("GPU-aaaa0000-0000-0000-0000-000000000000", "GPU-bbbb0000-0000-0000-0000-000000000000", "MIG-cccc0000")
"""What the engines of the tests' fixtures can give: the nth is ``/dev/nvidia<n>``."""
LINKS = ("bin", "sbin", "lib", "lib64")

QUICK = ("--bridge=none", "--iptables=false", "--ip6tables=false")
"""Options for dockerd whose containers need no network; safe only because it has a network of its own."""

# What --privileged would give, without CAP_SYS_RESOURCE: root lacks it on some virtual machines.
RIGHTS: dict[str, Any] = {
    "cap_add": ["ALL"],
    "cap_drop": ["SYS_RESOURCE"],
    "security_opt": ["seccomp=unconfined", "apparmor=unconfined"],
    "device_cgroup_rules": ["a *:* rwm"],
    "cgroupns": "host",
    "tmpfs": {"/run": "exec", "/var/lib/docker": "exec", "/tmp": "exec"},
}

HOOK = '''#!{python}
"""Stands in for nvidia-container-runtime-hook: gives a container a file per known device, refuses unknown ones."""
import json, os, subprocess, sys
state = json.load(sys.stdin)
config = json.load(open(os.path.join(state["bundle"], "config.json")))
environment = dict(pair.partition("=")[::2] for pair in config["process"]["env"])
asked = environment.get("NVIDIA_VISIBLE_DEVICES", "void")
known = json.load(open("/opt/double/devices.json"))
wanted = {{"void": [], "none": [], "": [], "all": known}}.get(asked, asked.split(","))
unknown = [uuid for uuid in wanted if uuid not in known]
if unknown:
    sys.exit(f"nvidia-container-cli: device error: {{unknown[0]}}: unknown device")
root = os.path.join(state["bundle"], config["root"]["path"])
for uuid in wanted:
    node = f"{{root}}/dev/nvidia{{known.index(uuid)}}"
    make = f"test -e {{node}} || mknod -m 666 {{node}} c 1 3"
    subprocess.run(["nsenter", "-t", str(state["pid"]), "-m", "sh", "-c", make], check=True)
'''

RUNTIME = '''#!{python}
"""Stands in for nvidia-container-runtime: runc with the hook for every container, whoever asked for a GPU."""
import json, os, sys
if "create" in sys.argv and "--bundle" in sys.argv:
    path = os.path.join(sys.argv[sys.argv.index("--bundle") + 1], "config.json")
    config = json.load(open(path))
    path_of_hook = "/opt/double/bin/nvidia-container-runtime-hook"
    hook = {{"path": path_of_hook, "args": ["hook", "prestart"], "env": ["PATH=/usr/bin"]}}
    config.setdefault("hooks", {{}}).setdefault("prestart", []).append(hook)
    json.dump(config, open(path, "w"))
os.execvp("runc", ["runc", *sys.argv[1:]])
'''


class Kind(StrEnum):
    """Which engine."""

    CDI = "cdi"
    HOOK = "hook"


@dataclass
class NestedEngine:
    """An engine that can be killed.

    Attributes:
        kind: which.
        folder: on this machine; holds ``docker.sock``, the daemon's log and what the engine is told of devices. Its
            containers may mount what is in it, under the same path.
        container: the container, in this machine's engine, that it runs in.
        client: speaks to the nested engine.
    """

    kind: Kind
    folder: Path
    container: Container
    client: docker.DockerClient = field(init=False)

    @property
    def address(self) -> Path:
        """Where it answers: ``DOCKER_HOST=unix://…``."""
        return self.folder / "docker.sock"

    def start(self, *options: str) -> None:
        """Start dockerd and wait until it answers; ``options`` go to its command line."""
        command = " ".join(
            ["exec dockerd -H unix:///opt/double/docker.sock -H unix:///var/run/docker.sock", "--group 0", *options]
        )
        path = {"PATH": "/opt/double/bin:/usr/sbin:/usr/bin", "DOCKER_ALLOW_IPV6_ON_IPV4_INTERFACE": "1"}
        self.container.exec_run(["sh", "-c", f"{command} >>/opt/double/log 2>&1"], environment=path, detach=True)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.answers():
            assert time.monotonic() < deadline, f"dockerd does not answer:\n{self.log()[-4000:]}"
            time.sleep(0.05)
        self.client = docker.DockerClient(base_url=f"unix://{self.address}", version="auto", timeout=30)

    def answers(self) -> bool:
        """Whether somebody listens on its socket; dockerd does so when it has loaded its containers."""
        with socket.socket(socket.AF_UNIX) as connection:
            return connection.connect_ex(str(self.address)) == 0

    def kill(self) -> None:
        """End dockerd and its containerd as a crash would (SIGKILL); shims and containers go on, as they do then."""
        script = (
            "for file in /var/run/docker.pid /var/run/docker/containerd/containerd.pid; do "
            "test -e $file && kill -9 $(cat $file); rm -f $file; done; true"
        )
        status, output = self.container.exec_run(["sh", "-c", script])
        assert status == 0, output
        self.client.close()
        self.address.unlink(missing_ok=True)

    def log(self) -> str:
        """What dockerd wrote."""
        with suppress(FileNotFoundError):
            return (self.folder / "log").read_text(encoding="utf-8", errors="replace")
        return ""


@contextmanager
def nested(
    host: docker.DockerClient,
    kind: Kind,
    *,
    devices: Sequence[str] = (),
    shared: Sequence[Path] = (),
    network: str = "none",
    options: Sequence[str] = QUICK,
) -> Iterator[NestedEngine]:
    """An engine with `SEAT_IMAGE` in it; gone, with all its containers, at the end.

    Args:
        host: this machine's engine.
        kind: which one.
        devices: UUIDs that it can give; the nth is ``/dev/nvidia<n>`` in a container (really ``/dev/null``).
        shared: folders of this machine that its containers may mount, under the same path.
        network: of the container that it runs in; ``none`` suffices where its containers need none.
        options: for dockerd.
    """
    image = debian_13(host) if kind is Kind.CDI else this_machine(host)
    folder = Path(tempfile.mkdtemp(prefix="gpuclass-engine-"))  # a socket's path has room for 107 characters only
    _prepare(folder, kind, devices)
    same = [(path, str(path)) for path in (folder, Path("/sys/fs/cgroup"), *shared)]
    binds = [(folder, "/opt/double"), (folder / "cdi", "/etc/cdi"), *same]
    mounts = [Mount(target, str(source), type="bind") for source, target in binds]
    if kind is Kind.HOOK:
        mounts.append(Mount("/usr", "/usr", type="bind", read_only=True))
    container = host.containers.create(
        image,
        [
            "sh",
            "-c",
            "while :; do sleep 1; done",
        ],  # as the first process, a shell collects what a killed dockerd leaves
        labels={LABEL: kind.value},
        network_mode=network,
        mounts=mounts,
        **RIGHTS,
    )
    engine = NestedEngine(kind, folder, container)
    try:
        container.start()
        script = "mkdir -p /etc/docker && cp /opt/double/daemon.json /etc/docker/"
        status, output = container.exec_run(["sh", "-c", script])
        assert status == 0, output
        engine.start(*options)
        wants_all = ["ENV NVIDIA_VISIBLE_DEVICES=all"]  # as CUDA's images say
        repository, _, tag = SEAT_IMAGE.partition(":")
        engine.client.api.import_image_from_data(seat_image(), repository, tag, changes=wants_all)
        yield engine
    finally:
        _empty(engine)
        container.remove(force=True, v=True)
        shutil.rmtree(folder, ignore_errors=True)


def _empty(engine: NestedEngine) -> None:
    """Remove the nested containers, so that no cgroup of theirs stays on this machine."""
    if engine.answers():  # a dead daemon's go with the container that it ran in
        for container in engine.client.containers.list(all=True):
            container.remove(force=True, v=True)
        engine.client.close()


def _prepare(folder: Path, kind: Kind, devices: Sequence[str]) -> None:
    folder.chmod(0o755)
    (folder / "cdi").mkdir()
    runtime = {"nvidia": {"path": "/opt/double/bin/nvidia-container-runtime"}}
    bad_default = {
        "runtimes": runtime,
        "default-runtime": "nvidia",
    }  # what our docs advise against must not hurt either
    daemon = {"features": {"cdi": True}} if kind is Kind.CDI else bad_default
    (folder / "daemon.json").write_text(json.dumps(daemon), encoding="utf-8")
    (folder / "devices.json").write_text(json.dumps(list(devices)), encoding="utf-8")
    if kind is Kind.CDI:
        (folder / "cdi" / "nvidia.yaml").write_text(
            json.dumps(specification(devices)), encoding="utf-8"
        )  # JSON is YAML, too
    else:
        (folder / "bin").mkdir()
        for name, script in (("nvidia-container-runtime-hook", HOOK), ("nvidia-container-runtime", RUNTIME)):
            path = folder / "bin" / name
            path.write_text(script.format(python="/usr/bin/python3"), encoding="utf-8")
            path.chmod(0o755)


def specification(devices: Sequence[str]) -> dict[str, Any]:
    """A CDI specification as ``nvidia-ctk cdi generate`` writes it, with ``/dev/null`` for each device."""
    return {
        "cdiVersion": "0.5.0",
        "kind": "nvidia.com/gpu",
        "containerEdits": {"env": ["NVIDIA_VISIBLE_DEVICES=void"]},
        "devices": [
            {"name": uuid, "containerEdits": {"deviceNodes": [{"path": f"/dev/nvidia{n}", "hostPath": "/dev/null"}]}}
            for n, uuid in enumerate(devices)
        ],
    }


def debian_13(host: docker.DockerClient) -> str:
    """The image with Debian 13's engine; made from packages the first time (about 30 s), then kept."""
    digest = hashlib.sha256(" ".join([images.DEBIAN_SUITE, *PACKAGES]).encode()).hexdigest()[:12]
    tag = f"gpuclass-test-engine:{digest}"
    with suppress(docker.errors.ImageNotFound):
        host.images.get(tag)
        return tag
    with tempfile.TemporaryDirectory(prefix="gpuclass-engine-") as folder:
        tree = Path(folder) / "debian.tar"
        command = images.mmdebstrap([*PACKAGES], tree, *_apt())
        subprocess.run(command, check=True, capture_output=True)
        host.api.import_image_from_file(str(tree), *tag.split(":"))
    return tag


def _apt() -> tuple[str, str]:
    """This machine's mirrors and apt configuration, as the class's own images use them."""
    queries = (["apt-get", "indextargets", "--format", "$(REPO_URI)"], ["apt-config", "dump"])
    first, second = (subprocess.run(query, check=True, capture_output=True, text=True).stdout for query in queries)
    return first, second


def this_machine(host: docker.DockerClient) -> str:
    """An image of nothing but links into this machine's /usr, which is mounted: its own dockerd, of its version."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for folder in ("usr", "etc", "tmp", "proc", "sys", "dev", "run", "var", "var/lib", "opt"):
            tar.addfile(_entry(folder, tarfile.DIRTYPE))
        for link in LINKS:
            tar.addfile(_entry(link, tarfile.SYMTYPE, f"usr/{link}"))
        tar.addfile(_entry("var/run", tarfile.SYMTYPE, "/run"))
    host.api.import_image_from_data(archive.getvalue(), "gpuclass-test-engine", "own")
    return "gpuclass-test-engine:own"


def seat_image() -> bytes:
    """The files of `SEAT_IMAGE`: one busybox."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for folder in ("bin", "dev", "proc", "sys", "tmp", "etc"):
            tar.addfile(_entry(folder, tarfile.DIRTYPE))
        tar.add(Path("/bin/busybox").resolve(), "bin/busybox")
        for name in ("sh", "ls", "sleep", "env", "cat", "echo"):
            tar.addfile(_entry(f"bin/{name}", tarfile.SYMTYPE, "busybox"))
    return archive.getvalue()


def look_inside(engine: NestedEngine, settings: Settings, wiring: Wiring) -> tuple[list[str], dict[str, str]]:
    """What a student's container has, hardened as the spawner asks for it: its GPUs and the files that an MPS daemon
    left in /dev/shm (``of-the-daemon…``), and its environment.
    """
    api = engine.client.api
    config = api.create_host_config(
        **host_config(settings),
        network_mode="none",
        device_requests=[DeviceRequest(**asked) for asked in wiring.device_requests],
        mounts=[Mount(mount["target"], mount["source"], type="bind") for mount in wiring.mounts],
    )
    container = api.create_container(
        SEAT_IMAGE,
        ["sh", "-c", "ls /dev /dev/shm; echo --; env"],
        environment={**environment(settings, "student"), **(wiring.environment or {})},
        host_config=config,
        user="1000",
        labels={CLASS_LABEL: settings.class_.name},
    )
    try:
        api.start(container)
        assert api.wait(container)["StatusCode"] == 0
        devices, _, variables = api.logs(container).decode().partition("--\n")
    finally:
        api.remove_container(container, force=True)
    pairs = [line.partition("=")[::2] for line in variables.splitlines()]
    assert len(pairs) == len(dict(pairs)), "a variable is there twice"
    return [name for name in devices.split() if name.startswith(("nvidia", "of-the-daemon"))], dict(pairs)


def _entry(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.mode = kind, link, 0o755
    return entry
