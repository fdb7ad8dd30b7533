"""The class's spawner: what a container is asked for, and what the hub hears of it. No Docker here."""

import asyncio
import logging
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import docker
import pytest
import requests
from docker.errors import APIError
from jupyterhub.spawner import SpawnException

from gpuclass.gpus.model import Lease, State
from gpuclass.queue import broker as brokers
from gpuclass.queue.admission import Place, Why
from gpuclass.queue.books import Hands
from gpuclass.queue.broker import Applicant
from gpuclass.settings import Settings
from gpuclass.spawner import ClassSpawner, environment, host_config
from tests.conftest import MakeSettings


def answer(status: int) -> APIError:
    response = requests.Response()
    response.status_code = status
    return APIError("the engine's words", response=response)


class EngineDouble:
    """Stands where the Docker Engine would answer; each method's answer is set by the test."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    async def __call__(self, method: str, *args: Any, **kwargs: Any) -> Any:
        self.asked.append((method, args, kwargs))
        found = self.answers[method]
        if isinstance(found, Exception):
            raise found
        return found


class QueueDouble:
    """Stands where the hub's queue would be; remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        self.hands = Hands()
        self.places: list[Place | None] = [None]

    def place(self, user: str) -> Place | None:
        return self.places.pop(0) if len(self.places) > 1 else self.places[0]

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **more: self.told.append((name, *args, *more.values()))


@pytest.fixture(autouse=True)
def queue(monkeypatch: pytest.MonkeyPatch) -> QueueDouble:
    double = QueueDouble()
    monkeypatch.setattr(brokers, "_current", double)
    return double


@pytest.fixture
def make_spawner(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(*groups: str, **answers: Any) -> ClassSpawner:
        user = SimpleNamespace(name="s001", id=1, groups=[SimpleNamespace(name=group) for group in groups])
        spawner = ClassSpawner(settings=settings)
        spawner.user = user
        spawner.log = logging.getLogger("spawner")
        spawner.object_name = "gpuclass-camp-s001"
        monkeypatch.setattr(spawner, "docker", EngineDouble(**answers), raising=False)
        spawner._lease = Lease(1, "s001", State.RESERVED)
        return spawner

    return make


def state(**values: Any) -> dict[str, Any]:
    ended = {"Running": False, "ExitCode": 137, "Error": "", "FinishedAt": "2026-01-01T00:00:00Z"}
    return {"Id": "abc", "State": {**ended, **values}}


def test_every_container_is_walled_in_the_same_way(make_settings: MakeSettings) -> None:
    settings = make_settings('[server]\nmemory = "3G"\nshm = "256M"\ntmp = "64M"\nprocesses = 99')
    assert host_config(settings) == {
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "read_only": True,
        "tmpfs": {"/tmp": "rw,nosuid,nodev,exec,size=67108864,mode=1777"},
        "shm_size": 268435456,
        "mem_limit": 3221225472,
        "memswap_limit": 3221225472,
        "pids_limit": 99,
        "oom_score_adj": 500,
        "init": False,
        "auto_remove": False,
        "restart_policy": {},
        "log_config": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "2"}},
        "ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}, {"Name": "nofile", "Soft": 4096, "Hard": 4096}],
        "ipc_mode": "private",
    }


def test_thread_counts_follow_the_cpu_limit_and_no_gpu_comes_by_default(make_settings: MakeSettings) -> None:
    told = environment(make_settings("[server]\ncpus = 3.5"), "student")
    assert {told[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")} == {"3"}
    assert told["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert environment(make_settings("[server]\ncpus = 0.5"), "student")["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize(
    ("groups", "role"), [(("students", "team-1"), "student"), (("instructors",), "instructor"), ((), "student")]
)
def test_the_role_comes_from_the_groups(make_spawner: Any, groups: tuple[str, ...], role: str) -> None:
    assert make_spawner(*groups).role == role


async def test_a_container_runs_its_images_command_and_the_engine_is_not_asked_for_it(make_spawner: Any) -> None:
    spawner = make_spawner("students")
    assert await spawner.get_command() is None
    assert spawner.docker.asked == []
    spawner.args = ["--debug"]
    spawner.docker.answers["inspect_image"] = {"Config": {"Cmd": ["start-server"]}}
    assert await spawner.get_command() == ["start-server", "--debug"]


async def test_poll_says_gone_when_the_engine_says_so(make_spawner: Any) -> None:
    assert await make_spawner(inspect_container=answer(404)).poll() == 0


async def test_poll_tells_how_a_stopped_container_ended(make_spawner: Any) -> None:
    assert "ExitCode=137" in await make_spawner(inspect_container=state()).poll()


@pytest.mark.parametrize("trouble", [answer(500), answer(503), requests.ConnectionError("refused"), requests.Timeout()])
async def test_poll_keeps_the_server_when_the_engine_cannot_say(make_spawner: Any, trouble: Exception) -> None:
    spawner = make_spawner(inspect_container=trouble)
    spawner.object_id = "abc"
    assert await spawner.poll() is None
    assert spawner.object_id == "abc"


async def test_a_running_container_left_behind_is_removed_by_force(make_spawner: Any) -> None:
    spawner = make_spawner(remove_container=None)
    spawner.object_id = "abc"
    await spawner.remove_object()
    assert spawner.docker.asked == [("remove_container", ("abc",), {"v": True, "force": True})]


async def test_start_waits_until_the_server_listens(make_spawner: Any) -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    waiting = asyncio.create_task(make_spawner(inspect_container=state(Running=True))._wait_for_port("127.0.0.1", port))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", port)
    await asyncio.wait_for(waiting, 5)
    server.close()


async def test_a_server_that_stops_while_starting_is_not_waited_for(
    make_spawner: Any, caplog: pytest.LogCaptureFixture
) -> None:
    spawner = make_spawner(inspect_container=state(), logs=b"ImportError: no module named torch")
    spawner.object_id = "abc"
    with pytest.raises(SpawnException) as caught:
        await asyncio.wait_for(spawner._wait_for_port("127.0.0.1", 9), 5)
    assert "서버가 켜지다가 멈췄어요" in caught.value.message
    assert "ImportError: no module named torch" in caplog.text


async def test_an_engine_that_does_not_answer_is_explained_to_the_student(
    make_spawner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ClassSpawner, "client", docker.APIClient(version="1.41"))
    spawner = make_spawner("students", create_container=requests.ConnectionError("refused"))
    monkeypatch.setattr(spawner, "get_env", dict)
    with pytest.raises(SpawnException) as caught:
        await spawner.start()
    assert "선생님께 알려 주세요" in caught.value.message
    assert caught.value.status_code == 503


async def test_a_container_that_was_left_behind_makes_way(make_spawner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    spawner = make_spawner("students", inspect_container=state(), remove_container=None)
    outcomes = [answer(409), {"Id": "new"}]

    async def create() -> dict[str, str]:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome  # type: ignore[return-value]  # the other one

    async def run(_: str) -> tuple[str, int]:
        return "10.89.0.7", 8888

    monkeypatch.setattr(spawner, "create_object", create)
    monkeypatch.setattr(spawner, "_run_container", run)
    assert await spawner._make_container(spawner._lease) == ("10.89.0.7", 8888)
    assert [(method, args) for method, args, _ in spawner.docker.asked] == [
        ("inspect_container", ("gpuclass-camp-s001",)),
        ("remove_container", ("abc",)),
    ]
    assert spawner.object_id == "new"


async def test_an_engine_that_refuses_a_container_is_not_asked_again(
    make_spawner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spawner = make_spawner("students")

    async def create() -> None:
        raise answer(404)  # no such image

    monkeypatch.setattr(spawner, "create_object", create)
    with pytest.raises(APIError):
        await spawner._make_container(spawner._lease)
    assert spawner.docker.asked == []


async def test_progress_is_told_in_the_class_language(make_spawner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio, "sleep", _no_sleep)
    spawner = make_spawner()
    steps = iter(["container", "server", "ready"])
    told = []
    async for event in spawner.progress():
        told.append(event)
        spawner._phase = next(steps, "ready")
    assert [event["progress"] for event in told] == [5, 25, 60, 100]
    assert told[-1]["message"] == "준비가 끝났어요!"


async def test_whoever_waits_is_told_their_place_and_an_estimate(
    make_spawner: Any, queue: QueueDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asyncio, "sleep", _no_sleep)
    spawner = make_spawner()
    spawner._phase = "queue"
    queue.places = [Place("queued", ahead, 9, 12.4 + ahead, Why.SEAT, gpu=True) for ahead in (2, 2, 1)]
    progress = spawner.progress()
    first, second = await anext(progress), await anext(progress)
    await progress.aclose()
    assert first["gpuclass"] == {"state": "queued", "ahead": 2, "of": 9, "seconds": 15, "why": "seat", "gpu": True}
    assert second["gpuclass"]["ahead"] == 1
    assert "2명" in first["message"]


@pytest.mark.parametrize(
    ("groups", "role"),
    [
        (("students", "team-a"), "student"),
        (("mentors", "team-a"), "mentor"),
        (("mentors", "instructors"), "instructor"),
    ],
)
def test_the_queue_hears_role_team_and_choice(make_spawner: Any, groups: tuple[str, ...], role: str) -> None:
    spawner = make_spawner(*groups)
    spawner.user_options = {"gpu": False}
    teams = ("a",) if "team-a" in groups else ()
    assert spawner.applicant == Applicant("s001", gpu=False, role=role, teams=teams)


@pytest.mark.parametrize(
    ("told", "kept"), [({"gpu": False}, {"gpu": False}), ({"gpu": "no", "image": "x", "more": "A" * 999}, {}), ({}, {})]
)
async def test_of_what_the_api_is_told_the_hub_keeps_our_one_option(
    make_spawner: Any, queue: QueueDouble, monkeypatch: pytest.MonkeyPatch, told: dict[str, Any], kept: dict[str, bool]
) -> None:
    spawner = make_spawner()
    spawner.orm_spawner = SimpleNamespace(user_options=told, server=None)
    spawner.user_options = told
    monkeypatch.setattr(queue, "turn", AsyncMock(return_value=spawner._lease), raising=False)
    await spawner.run_pre_spawn_hook()
    assert (spawner.user_options, spawner.orm_spawner.user_options) == (kept, kept)


async def _no_sleep(_: float) -> None:
    return None
