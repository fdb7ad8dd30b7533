"""DockerSpawner for a class: every container hardened the same way, ready when the hub hears of it, never lost.

Differences to DockerSpawner, each with its reason:

- ``poll()`` says "gone" only when the engine said so. JupyterHub forgets a server whose poll fails, and a forgotten
  container keeps its memory and, later, its GPU seat.
- ``start()`` itself waits for the port, every 50 ms. JupyterHub's own wait backs off and loses seconds.
- Everybody waits for their turn, and for a GPU seat if they want one, before ``start()``: in the hook that
  ``start_timeout`` does not count. ``start()`` keeps the turn until the server listens.
- A start that is cancelled or fails is undone: the call that Docker has at that moment goes on to its end, no other
  follows, and what came of it is removed. Until then ``poll()`` waits, so nothing is started on top of it.
- Docker is called from several threads with a client each. One thread makes the first of eighty wait for the last.
- A container that failed stays until the next start, so that its log can be read.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException
from docker.utils import kwargs_from_env
from dockerspawner import DockerSpawner
from jupyterhub.spawner import SpawnException
from jupyterhub.utils import maybe_future
from traitlets import Instance

from gpuclass.gpus import wiring
from gpuclass.gpus.labels import LEASE_LABEL, USER_LABEL, seat_labels
from gpuclass.gpus.model import Lease, Mode
from gpuclass.mounts import Mount, mounts
from gpuclass.network import CLASS_LABEL
from gpuclass.queue import broker as brokers
from gpuclass.queue import words
from gpuclass.queue.admission import Place, Why
from gpuclass.queue.broker import Applicant, Broker
from gpuclass.roster import TEAM_PREFIX, Role
from gpuclass.settings import Settings
from gpuclass.watch.notices import Board

PROGRESS_INTERVAL_S = 0.25  # from one look at what a waiting student should read to the next
QUEUE_INTERVAL_S = 1.0  # the same in the queue, where eighty people are told
ESTIMATE_STEP_S = 5
RANKS = (Role.INSTRUCTOR, Role.OPERATOR, Role.MENTOR)  # whose role counts first for somebody with several
ENGINE_THREADS = 8  # calls to Docker in flight; the engine itself serialises much of a start
READY_INTERVAL_S = 0.05
PORT = 8888

_GONE = 404
_BEING_REMOVED = _NAME_TAKEN = 409

STEPS = {"queue": 2, "prepare": 5, "container": 25, "server": 60, "ready": 100}
"""Share of a start that has passed, in percent, by its phase."""


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
        "GPUCLASS_DESK_URL": settings.desk_url,
        "GPUCLASS_EXCHANGE_URL": settings.exchange_url,
        "GPUCLASS_LANGUAGE": settings.class_.language,
        "GPUCLASS_REPORTS": "1" if settings.desk.reports else "0",
        "GPUCLASS_ROLE": role,
        "GPUCLASS_TIMEZONE": settings.class_.timezone,
        "MKL_NUM_THREADS": threads,
        "NVIDIA_VISIBLE_DEVICES": "void",  # an image may say "all"; a seat names its devices
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "TZ": settings.class_.timezone,
    }


class StartGivenUpError(Exception):
    """The start was cancelled: it makes no further call."""


class ClassSpawner(DockerSpawner):  # type: ignore[misc]  # dockerspawner carries no types
    """One hardened container per user; see the module for what differs from DockerSpawner."""

    settings = Instance(Settings, help="The class; set by gpuclass.hub.configure.").tag(config=True)

    _threads: ThreadPoolExecutor | None = None
    _clients = threading.local()
    _phase = "prepare"
    object_id: str  # a trait of DockerSpawner: the container, once it is made
    _lease: Lease
    _undoing: asyncio.Future[None] | None = None
    _given_up = False
    _host_config: dict[str, Any] | None = None  # every container's, without a seat's part

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
        return words.words(self.settings.class_.language)

    def mounts_of_user(self) -> list[Mount]:
        """This user's mounts; makes the home on first use."""
        home = self.settings.homes / self.user.name
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        notices = None if self.settings.gpu.mode is Mode.OFF else self._board.prepare(self.user.name)
        return mounts(self.user.name, teaches=self.teaches, settings=self.settings, notices=notices)

    @property
    def _board(self) -> Board:
        return Board(self.settings.notices, "hub")

    @property
    def broker(self) -> Broker:
        """The queue of this hub."""
        broker = brokers.current()
        if broker is None:
            raise RuntimeError("a server can be started only in a hub: gpuclass.hub.begin makes its queue")
        return broker

    @property
    def applicant(self) -> Applicant:
        """This user as somebody who wants a server."""
        return Applicant(
            self.user.name,
            gpu=bool(self.user_options.get("gpu", True)),
            role=next((role for role in RANKS if role.group in self.groups), Role.STUDENT),
            teams=tuple(sorted(each.removeprefix(TEAM_PREFIX) for each in self.groups if each.startswith(TEAM_PREFIX))),
        )

    def labels(self, lease: Lease) -> dict[str, str]:
        """Who a container belongs to, and what it holds; the truth after a crash of the hub."""
        own = {CLASS_LABEL: self.settings.class_.name, USER_LABEL: self.user.name}
        return own | seat_labels(lease, self.settings.gpu.mode)

    async def run_pre_spawn_hook(self) -> None:
        """Wait for this user's turn, and for their GPU seat. JupyterHub's ``start_timeout`` begins after this."""
        self._keep_known_options()
        await maybe_future(super().run_pre_spawn_hook())
        self.broker.hands.servers[self.user.name] = self
        self._phase = "queue"
        self._lease = await self.broker.turn(self.applicant)

    def _keep_known_options(self) -> None:
        """Keep our one option of what came through the API: the hub stores all of it, and sends it to everybody who
        lists servers, whether it is one word or twenty megabytes."""
        told: dict[str, Any] = self.user_options  # type: ignore[has-type]  # a trait of JupyterHub's
        known = {name: value for name, value in told.items() if name == "gpu" and isinstance(value, bool)}
        if known != told:
            self.user_options = self.orm_spawner.user_options = known

    def run_post_stop_hook(self) -> Any:
        """JupyterHub is done with this server, however it ended, also if it never began."""
        self.broker.over(self.user.name)
        return super().run_post_stop_hook()

    async def start(self) -> tuple[str, int]:
        """Start the container and wait until its server listens. Cancelled or failed, it leaves no container.

        Returns:
            The container's address on the class network, and the port.

        Raises:
            SpawnException: with a sentence for the student; the log has the rest.
        """
        lease = self._lease
        self._phase = "prepare"
        making = asyncio.ensure_future(self._make_container(lease))
        try:
            address, port = await asyncio.shield(making)
            self.broker.started(lease, self.object_id)
            self._phase = "server"
            await self._wait_for_port(address, port)
        except asyncio.CancelledError:
            self._undoing = asyncio.ensure_future(self._undo(making, lease))
            raise
        except SpawnException:  # it crashed: its container stays until the next start, for its log
            raise
        except Exception as error:
            self._undoing = asyncio.ensure_future(self._undo(making, lease))
            # an engine that does not answer is nobody's fault; one that refuses this container would do so again
            silent = isinstance(error, DockerException | requests.RequestException) and not isinstance(error, APIError)
            self.broker.failed(self.user.name, keeps_place=silent)
            if not isinstance(error, DockerException | requests.RequestException | wiring.WiringError):
                raise
            of_the_seat = str(error) if isinstance(error, wiring.WiringError) else wiring.explain(str(error))
            self.log.exception("Docker could not start the container of %s. %s", self.user.name, of_the_seat)
            raise SpawnException(
                self.message_of["seat-gone" if of_the_seat else "engine"],
                reason="engine",
                log_message=of_the_seat or str(error),
                status_code=503,
            ) from error
        self._phase = "ready"
        self.broker.ready(self.user.name)
        return address, port

    async def _make_container(self, lease: Lease) -> tuple[str, int]:
        """The calls to Docker, from the first to the address of a running container."""
        wired = await self._wiring(lease)
        self.mounts = [*self.mounts_of_user(), *wired.mounts]
        self.extra_create_kwargs = {"labels": self.labels(lease)}
        self.environment.update(environment(self.settings, self.role) | dict(wired.environment or {}))
        if self._host_config is None:
            self._host_config = dict(self.extra_host_config)  # type: ignore[has-type]  # a trait of DockerSpawner
        self.extra_host_config = self._host_config | {"device_requests": list(wired.device_requests)}
        self._phase = "container"
        try:
            made = await self.create_object()
        except APIError as error:
            if error.status_code != _NAME_TAKEN:
                raise
            if await self.get_object():  # kept for its log, or left by a hub that was killed
                await self.remove_object()
            made = await self.create_object()
        self.object_id = made[self.object_id_key]
        return await self._run_container(made[self.object_id_key])

    async def _run_container(self, container: str) -> tuple[str, int]:
        """Start the container; its address. Both in one turn of a thread: when eighty people press start, the hub's
        loop takes long to come round, and the first of them would wait for that once more."""

        def run() -> dict[str, Any]:
            self.client.start(container)
            found: dict[str, Any] = self.client.inspect_container(container)
            return found

        found = await self._in_thread(run)
        return self.get_network_ip(found["NetworkSettings"]), self.port

    async def _wiring(self, lease: Lease) -> wiring.Wiring:
        """What the container is created with for its seat, or for having none."""
        mode = self.settings.gpu.mode
        if not lease.seats:
            return wiring.request(None, mode, wiring.Capability(wiring.Way.NVIDIA, "not asked"))
        device, of = self.broker.device_of(lease)
        if device is None:
            raise wiring.WiringError(f"{lease.device} of {self.user.name}'s seat is not seen any more.")
        able = await asyncio.wrap_future(self.executor.submit(lambda: wiring.capability_of(self.client, device.engine)))
        return wiring.request(lease, mode, able, device, of)

    def docker(self, method: str, *args: Any, **kwargs: Any) -> Awaitable[Any]:
        """Call Docker in a thread. A start that was given up makes no further calls."""
        return self._in_thread(lambda: getattr(self.client, method)(*args, **kwargs))

    def _in_thread(self, call: Callable[[], Any]) -> Awaitable[Any]:
        if self._given_up:
            raise StartGivenUpError
        return asyncio.wrap_future(self.executor.submit(call))

    async def _undo(self, making: asyncio.Future[tuple[str, int]], lease: Lease) -> None:
        """Wait for the call that Docker is in, then remove what the start made. What cannot be removed is left to
        the broker, which finds it by its label."""
        self._given_up = True
        await asyncio.wait([making])
        self._given_up = False
        if not making.cancelled():
            making.exception()  # it was told already, or is why we are here
        try:
            found = await self.get_object()
            if found and found["Config"]["Labels"].get(LEASE_LABEL) == str(lease.id):
                await self.remove_object()
                self.object_id = ""
        except Exception:  # poll() waits for us, and must not raise
            self.log.exception("The container of %s could not be removed yet", self.user.name)
        finally:
            self.broker.look_soon()

    async def stop(self, now: bool = False) -> None:
        """Stop and remove the container; nothing to do where there is none."""
        user = self.user.name
        if self.broker.waits_only(user):
            return
        self.broker.stopping(user)
        try:
            if self.object_id or await self.get_object():
                await super().stop(now)
        finally:
            self.broker.stopped(user)

    async def _wait_for_port(self, address: str, port: int) -> None:
        """Return when the server listens; raise when its container has stopped. The hub's start_timeout bounds it."""
        polled = 0.0
        clock = asyncio.get_running_loop().time
        while True:
            try:
                async with asyncio.timeout(1):  # wait_for can lose a cancellation (cpython#86296)
                    _, writer = await asyncio.open_connection(address, port)
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

    async def get_command(self) -> list[str] | None:
        """None: the image's own command. DockerSpawner asks the engine for it at every start, to say it back."""
        given: list[str] | None = await super().get_command() if self.cmd or self.get_args() else None
        return given

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
        self.broker.hands.servers[self.user.name] = self  # a started-again hub asks each server that it knows of
        if self._undoing:
            await asyncio.shield(self._undoing)
        try:
            ended: int | str | None = await super().poll()
        except (DockerException, requests.RequestException) as error:
            self.log.warning("The engine does not say how the container of %s is: %s", self.user.name, error)
            return None
        if ended is not None:
            self.broker.look_soon()
        return ended

    async def get_url(self) -> str:
        """Where the server is. A hub that was killed while the server started has not written it down."""
        known: str = self.server.url
        if self.server.ip:
            return known
        try:
            address, port = await self.get_ip_and_port()
        except (DockerException, requests.RequestException) as error:
            self.log.warning("The engine does not say where the container of %s is: %s", self.user.name, error)
            return known
        return f"http://{address}:{port}{self.server.base_url}"

    async def progress(self) -> AsyncGenerator[dict[str, Any], None]:
        """What the waiting student reads, in the class's language; ``gpuclass`` has it as values, for the page."""
        told: dict[str, Any] = {}
        while self._phase != "ready":
            event = self._event()
            if event != told:
                told = event
                yield event
            await asyncio.sleep(QUEUE_INTERVAL_S if self._phase == "queue" else PROGRESS_INTERVAL_S)
        yield {"progress": STEPS["ready"], "message": self.message_of["ready"]}

    def _event(self) -> dict[str, Any]:
        place = self.broker.place(self.user.name)
        if self._phase != "queue":
            place = Place("starting", 0, 0, place.seconds if place else None, Why.START, place.gpu if place else False)
            message = self.message_of[self._phase]
        elif place is None:
            place, message = Place("queued", 0, 1, None, Why.START, self.applicant.gpu), self.message_of["prepare"]
        else:
            message = words.queued(
                self.settings.class_.language, why=place.why.value, ahead=place.ahead, seconds=place.seconds
            )
        if place.seconds is not None:  # in steps, so that eighty pages are not told of every start
            place = replace(place, seconds=ESTIMATE_STEP_S * math.ceil(place.seconds / ESTIMATE_STEP_S))
        return {"progress": STEPS[self._phase], "message": message, "gpuclass": asdict(place)}
