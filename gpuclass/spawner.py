"""DockerSpawner for a class: every container hardened the same way, ready when the hub hears of it, never lost.

Differences to DockerSpawner, each with its reason:

- ``poll()`` says "gone" only when the engine said so. JupyterHub forgets a server whose poll fails, and a forgotten
  container keeps its memory and, later, its GPU seat.
- ``start()`` itself waits for the port, every 50 ms. JupyterHub's own wait backs off and loses seconds.
- Docker is called from several threads with a client each. One thread makes the first of eighty wait for the last.
- A container that failed stays until the next start, so that its log can be read.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException
from docker.utils import kwargs_from_env
from dockerspawner import DockerSpawner
from jupyterhub.spawner import SpawnException
from traitlets import Instance

from gpuclass.mounts import Mount, mounts
from gpuclass.network import CLASS_LABEL
from gpuclass.roster import Role
from gpuclass.settings import Language, Settings

ENGINE_THREADS = 8  # calls to Docker in flight; the engine itself serialises much of a start
READY_INTERVAL_S = 0.05
PORT = 8888
USER_LABEL = "gpuclass.user"

_GONE = 404
_BEING_REMOVED = 409

MESSAGES: dict[Language, dict[str, str]] = {
    "ko": {
        "prepare": "내 자리를 준비하고 있어요…",
        "container": "내 컴퓨터(컨테이너)를 만들고 있어요…",
        "server": "노트북 서버를 켜고 있어요…",
        "ready": "준비가 끝났어요!",
        "crashed": "서버가 켜지다가 멈췄어요. 다시 시도해 보고, 그래도 안 되면 선생님께 알려 주세요.",
        "engine": "지금은 서버를 켤 수 없어요. 선생님께 알려 주세요. (Docker가 응답하지 않음)",
    },
    "en": {
        "prepare": "Getting your place ready…",
        "container": "Making your computer (a container)…",
        "server": "Starting the notebook server…",
        "ready": "Ready!",
        "crashed": "Your server stopped while starting. Try again; if it stays so, tell your teacher.",
        "engine": "Servers cannot be started right now. Please tell your teacher. (Docker does not answer)",
    },
}
STEPS = {"prepare": 5, "container": 25, "server": 60, "ready": 100}  # share of a start that has passed, in percent


def host_config(settings: Settings) -> dict[str, Any]:
    """Docker's host configuration for every user's container; only the mounts differ from user to user."""
    server = settings.server
    return {
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "read_only": True,
        "tmpfs": {"/tmp": f"rw,nosuid,nodev,exec,size={server.tmp},mode=1777"},
        "shm_size": server.shm,
        "mem_limit": server.memory,
        "memswap_limit": server.memory,
        "pids_limit": server.processes,
        "oom_score_adj": 500,  # when the machine runs out, students go before the hub
        "init": False,  # the image brings tini
        "auto_remove": False,
        "restart_policy": {},
        "log_config": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "2"}},
        "ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}, {"Name": "nofile", "Soft": 4096, "Hard": 4096}],
        "ipc_mode": "private",
    }


def environment(settings: Settings, role: str) -> dict[str, str]:
    """What a container is told about the class. Tokens and addresses of the hub are JupyterHub's own part."""
    threads = str(max(1, int(settings.server.cpus)))
    return {
        "GPUCLASS_COURSE": settings.course,
        "GPUCLASS_EXCHANGE_URL": settings.exchange_url,
        "GPUCLASS_LANGUAGE": settings.class_.language,
        "GPUCLASS_ROLE": role,
        "GPUCLASS_TIMEZONE": settings.class_.timezone,
        "MKL_NUM_THREADS": threads,
        "NVIDIA_VISIBLE_DEVICES": "void",  # an image may say "all"; a seat names its devices
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "TZ": settings.class_.timezone,
    }


class ClassSpawner(DockerSpawner):  # type: ignore[misc]  # dockerspawner carries no types
    """One hardened container per user; see the module for what differs from DockerSpawner."""

    settings = Instance(Settings, help="The class; set by gpuclass.hub.configure.").tag(config=True)

    _threads: ThreadPoolExecutor | None = None
    _clients = threading.local()
    _phase = "prepare"

    @property
    def executor(self) -> ThreadPoolExecutor:
        """Threads that talk to Docker, shared by all users."""
        if ClassSpawner._threads is None:
            ClassSpawner._threads = ThreadPoolExecutor(ENGINE_THREADS, thread_name_prefix="docker")
        return ClassSpawner._threads

    @property
    def client(self) -> docker.APIClient:
        """This thread's client: a requests session is not made to be shared."""
        if not hasattr(ClassSpawner._clients, "client"):
            ClassSpawner._clients.client = docker.APIClient(**kwargs_from_env(), version="auto")
        return ClassSpawner._clients.client  # type: ignore[no-any-return]  # a thread-local has no types

    @property
    def groups(self) -> set[str]:
        """The user's groups: role and team, from the roster."""
        return {group.name for group in self.user.groups}

    @property
    def teaches(self) -> bool:
        """Whether the user is an instructor of the course."""
        return Role.INSTRUCTOR.group in self.groups

    @property
    def role(self) -> str:
        """The word the container is told; decides which nbgrader extensions it offers."""
        return Role.INSTRUCTOR if self.teaches else Role.STUDENT

    @property
    def message_of(self) -> dict[str, str]:
        """Texts in the class's language."""
        return MESSAGES[self.settings.class_.language]

    def mounts_of_user(self) -> list[Mount]:
        """This user's mounts; makes the home on first use."""
        home = self.settings.homes / self.user.name
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return mounts(self.user.name, teaches=self.teaches, settings=self.settings)

    def labels(self) -> dict[str, str]:
        """Who a container belongs to; the truth after a crash of the hub."""
        return {CLASS_LABEL: self.settings.class_.name, USER_LABEL: self.user.name}

    async def start(self) -> tuple[str, int]:
        """Start the container and wait until its server listens.

        Returns:
            The container's address on the class network, and the port.

        Raises:
            SpawnException: with a sentence for the student; the log has the rest.
        """
        self._phase = "prepare"
        try:
            self.mounts = self.mounts_of_user()
            self.extra_create_kwargs = {"labels": self.labels()}
            self.environment.update(environment(self.settings, self.role))
            self._phase = "container"
            address, port = await super().start()
        except (DockerException, requests.RequestException) as error:
            self.log.exception("Docker could not start the container of %s", self.user.name)
            raise SpawnException(
                self.message_of["engine"], reason="engine", log_message=str(error), status_code=503
            ) from error
        self._phase = "server"
        await self._wait_for_port(address, port)
        self._phase = "ready"
        return address, port

    async def _wait_for_port(self, address: str, port: int) -> None:
        """Return when the server listens; raise when its container has stopped. The hub's start_timeout bounds it."""
        polled = 0.0
        clock = asyncio.get_running_loop().time
        while True:
            try:
                _, writer = await asyncio.wait_for(asyncio.open_connection(address, port), timeout=1)
            except (OSError, TimeoutError):
                if clock() - polled > 1:
                    polled = clock()
                    await self._raise_if_stopped()
                await asyncio.sleep(READY_INTERVAL_S)
            else:
                writer.close()
                return

    async def _raise_if_stopped(self) -> None:
        stopped = await self.poll()
        if stopped is None:
            return
        try:
            log = (await self.docker("logs", self.object_id, tail=30)).decode(errors="replace")
        except APIError as error:
            log = f"(no log: {error})"
        self.log.error("The server of %s stopped while starting: %s\n%s", self.user.name, stopped, log)
        raise SpawnException(
            self.message_of["crashed"],
            reason="crashed",
            log_message=f"stopped while starting: {stopped}",
            status_code=500,
        )

    async def get_object(self) -> dict[str, Any] | None:
        """What the engine says of the container; None only when it answered that there is none.

        Raises:
            APIError: the engine answered with something else. DockerSpawner takes HTTP 500 for "gone".
        """
        try:
            found: dict[str, Any] = await self.docker("inspect_container", self.object_name)
        except APIError as error:
            if error.status_code != _GONE:
                raise
            self.object_id = ""
            return None
        self.object_id = found[self.object_id_key]
        return found

    async def remove_object(self) -> None:
        """Remove the container, running or not: one that a killed hub left behind would keep its name taken."""
        try:
            await self.docker("remove_container", self.object_id, v=True, force=True)
        except APIError as error:
            if error.status_code not in (_GONE, _BEING_REMOVED):
                raise

    async def poll(self) -> int | str | None:
        """None while the container runs or the engine cannot say; else how it ended."""
        try:
            ended: int | str | None = await super().poll()
        except (DockerException, requests.RequestException) as error:
            self.log.warning("The engine does not say how the container of %s is: %s", self.user.name, error)
            return None
        return ended

    async def progress(self) -> AsyncGenerator[dict[str, Any], None]:
        """What the waiting student reads, in the class's language."""
        told = ""
        while True:
            phase = self._phase
            if phase != told:
                told = phase
                yield {"progress": STEPS[phase], "message": self.message_of[phase]}
            if phase == "ready":
                return
            await asyncio.sleep(0.2)
