"""The queue in the hub: who is let in when, and what becomes of seats. The engine is in memory, the ledger is real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import pytest

from gpuclass.gpus.labels import USER_LABEL, seat_labels
from gpuclass.gpus.ledger import Ledger, LedgerError
from gpuclass.gpus.model import Device, Inventory, Lease, Mode, State
from gpuclass.network import CLASS_LABEL
from gpuclass.queue import broker as brokers
from gpuclass.queue.admission import Place, Why
from gpuclass.queue.broker import Applicant, Broker
from gpuclass.settings import Settings
from tests.conftest import MakeSettings
from tests.queue.world import EngineDouble

GIB = 2**30


class Clock:
    """Time that passes when the test says so."""

    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class HubDouble:
    """The hub's API as the broker uses it: it starts servers by asking the broker, as the spawner would."""

    def __init__(self, unknown: tuple[str, ...] = ()) -> None:
        self.unknown = unknown
        self.started: list[str] = []
        self.start: Callable[[str], object] = lambda user: None

    async def answers(self) -> None:
        await asyncio.sleep(0)

    async def start_server(self, user: str) -> bool:
        self.started.append(user)
        if user not in self.unknown:
            self.start(user)
        return user not in self.unknown


class ServerDouble:
    """A user's server as JupyterHub has it: there, until the hub is done with it."""

    active = True


class World:
    """A class with its engine, ledger and broker, and the doings of a spawner in one line each."""

    def __init__(self, settings: Settings, engine: EngineDouble, clock: Clock, gpus: int, cores: int = 2) -> None:
        self.settings, self.engine, self.clock = settings, engine, clock
        devices = tuple(Device("local", f"GPU-{i}", "H100", str(i), 80 * GIB) for i in range(gpus))
        self.inventories = [Inventory("local", clock(), devices)]
        self.ledger = Ledger(settings.ledger_path, now=clock)
        self.broker = Broker(
            settings, self.ledger, engine, inventories=lambda: self.inventories, cores=cores, now=clock
        )
        self.hub = HubDouble()
        self.hub.start = lambda user: self.ask(user)
        self.tasks: list[asyncio.Task[object]] = []
        self.servers: dict[str, ServerDouble] = {}

    async def open(self) -> World:
        self.tasks.append(asyncio.create_task(self.broker.run(self.hub)))
        await until(lambda: self.broker._open)
        return self

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.ledger.close()

    def ask(self, user: str, *, gpu: bool = True, role: str = "student") -> asyncio.Task[Lease]:
        server = self.servers[user] = ServerDouble()
        self.broker.hands.servers[user] = server
        task = asyncio.create_task(self.broker.turn(Applicant(user, gpu, role)))
        self.tasks.append(task)
        return task

    def run(self, lease: Lease) -> None:
        """The container of a lease is made and runs, and its server listens."""
        labels = {CLASS_LABEL: self.settings.class_.name, USER_LABEL: lease.user}
        labels |= seat_labels(lease, self.settings.gpu.mode)
        made = self.engine.create(lease.user, labels)
        self.engine.containers[lease.user].state = "running"
        self.broker.started(lease, made)
        self.broker.ready(lease.user)

    def stop(self, user: str) -> None:
        """The hub stops a server, as the spawner and JupyterHub do."""
        self.broker.stopping(user)
        self.engine.containers.pop(user, None)
        self.broker.stopped(user)
        self.over(user)

    def over(self, user: str) -> None:
        self.servers.pop(user, None)
        self.broker.over(user)

    def place(self, user: str) -> Place:
        """Where somebody is, who must be somewhere."""
        place = self.broker.place(user)
        assert place
        return place

    def state(self, user: str) -> State | None:
        lease = self.ledger.lease_of(user)
        return lease.state if lease else None


async def until(true: Callable[[], object], timeout_s: float = 5) -> None:
    async with asyncio.timeout(timeout_s):
        while not true():  # noqa: ASYNC110  # what is waited for is another's state
            await asyncio.sleep(0.005)


async def settle() -> None:
    """Let everything happen that needs no time."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of seconds are over in hundredths."""
    monkeypatch.setattr(brokers, "BETWEEN_LOOKS_S", 0.01)
    monkeypatch.setattr(brokers, "RETRY_S", 0.02)
    monkeypatch.setattr(brokers, "LOOK_S", 0.04)
    monkeypatch.setattr(brokers, "BACK_WITHIN_S", 0.5)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def make_world(make_settings: MakeSettings, clock: Clock) -> AsyncIterator[Callable[..., World]]:
    made: list[World] = []

    def make(more: str = '[gpu]\nmode = "exclusive"', *, gpus: int = 1, engine: EngineDouble | None = None) -> World:
        made.append(World(make_settings(more), engine or EngineDouble(), clock, gpus))
        return made[-1]

    yield make
    for world in made:
        await world.close()


async def test_second_student_gets_the_other_gpu(make_world: Callable[..., World]) -> None:
    world = await make_world(gpus=2).open()
    first, second = await world.ask("s001"), await world.ask("s002")
    assert {first.device, second.device} == {"GPU-0", "GPU-1"}


async def test_somebody_without_a_free_gpu_waits_is_told_so_and_gets_it_when_it_comes_back(
    make_world: Callable[..., World],
) -> None:
    world = await make_world().open()
    world.run(await world.ask("s001"))
    waiting = world.ask("s002")
    await settle()
    place = world.place("s002")
    assert (place.state, place.why, place.ahead, place.of) == ("queued", Why.SEAT, 0, 1)
    assert world.broker.free().gpu_seats_free == 0
    world.stop("s001")
    lease = await asyncio.wait_for(waiting, 5)
    assert lease.device == "GPU-0"
    assert world.state("s001") is None


async def test_where_no_gpu_works_nobody_is_told_to_be_next(make_world: Callable[..., World]) -> None:
    world = await make_world(gpus=0).open()
    world.ask("s001")
    await settle()
    assert world.place("s001").why is Why.DEVICES


async def test_a_seat_that_is_given_or_set_aside_is_not_offered_to_who_comes_now(
    make_world: Callable[..., World],
) -> None:
    world = await make_world('[gpu]\nmode = "exclusive"\nreserved = 1', gpus=8).open()
    assert (world.broker.free().gpu_seats_open, world.broker.free("instructor").gpu_seats_open) == (7, 8)
    world.run(await world.ask("t001", role="instructor"))
    assert world.broker.free().gpu_seats_open == 7, "the seat that was set aside is theirs"
    asked = [world.ask(f"s{number:03}") for number in range(6)]
    await settle()
    given = sum(task.done() for task in asked)
    assert 0 < given < 6, "some start, some have a seat and wait for their turn"
    seen = world.broker.free()
    assert (seen.gpu_seats_free, seen.gpu_seats_open, seen.waiting_to_start) == (7 - given, 1, 6 - given)


async def test_a_seat_is_not_free_before_the_engine_says_that_its_container_is_gone(
    make_world: Callable[..., World], clock: Clock
) -> None:
    world = await make_world().open()
    world.run(await world.ask("s001"))
    waiting = world.ask("s002")
    world.broker.stopping("s001")
    world.broker.stopped("s001")  # the hub believes so, and yet the container runs
    world.over("s001")
    await asyncio.sleep(0.1)
    assert not waiting.done()
    assert "s001" in world.engine.containers
    clock.now += 20
    await asyncio.wait_for(waiting, 5)
    assert world.engine.containers == {}


async def test_while_the_engine_is_silent_seats_stay_held_and_nobody_is_let_in(
    make_world: Callable[..., World],
) -> None:
    world = await make_world(gpus=2).open()
    world.run(await world.ask("s001"))
    world.engine.silent = True
    world.broker.look_soon()
    await until(lambda: world.state("s001") is State.LOST)
    waiting = world.ask("s002", gpu=False)
    await asyncio.sleep(0.05)
    place = world.place("s002")
    assert (place.why, place.seconds) == (Why.ENGINE, None)
    assert not waiting.done()
    world.engine.silent = False
    await asyncio.wait_for(waiting, 5)
    await until(lambda: world.state("s001") is State.ACTIVE)


async def test_whoever_wants_a_gpu_waits_while_its_state_is_unknown_and_others_do_not(
    make_world: Callable[..., World],
) -> None:
    world = make_world()
    inventories, world.inventories = world.inventories, []
    await world.open()
    wants = world.ask("s001")
    await asyncio.wait_for(world.ask("s002", gpu=False), 5)
    place = world.place("s001")
    assert place.why is Why.DEVICES
    assert not world.broker.free().known
    world.inventories = inventories
    assert (await asyncio.wait_for(wants, 5)).device == "GPU-0"


async def test_a_few_starts_run_at_once_and_the_first_does_not_wait_for_the_last(
    make_world: Callable[..., World],
) -> None:
    world = await make_world("").open()
    asked = [world.ask(f"s{number:03}") for number in range(20)]
    await settle()
    assert [task.done() for task in asked] == [True] * 4 + [False] * 16
    last = world.place("s019")
    assert (last.ahead, last.of, last.why) == (15, 16, Why.START)
    world.run(asked[0].result())
    await settle()
    assert [task.done() for task in asked] == [True] * 5 + [False] * 15


async def test_an_instructor_goes_before_waiting_students(make_world: Callable[..., World]) -> None:
    world = await make_world("").open()
    asked = [world.ask(f"s{number:03}") for number in range(6)]
    teacher = world.ask("teacher", role="instructor")
    await settle()
    world.run(asked[0].result())
    await settle()
    assert teacher.done()
    assert world.place("s004").ahead == 0


async def test_somebody_whose_server_broke_gets_their_seat_before_those_who_wait(
    make_world: Callable[..., World],
) -> None:
    world = await make_world().open()
    world.run(await world.ask("s001"))
    waiting = world.ask("s002")
    world.engine.containers["s001"].state = "exited"
    world.over("s001")  # JupyterHub: poll says dead
    await until(lambda: world.state("s001") is State.LOST)
    assert not waiting.done()
    again = await asyncio.wait_for(world.ask("s001"), 5)
    assert again.device == "GPU-0"
    assert world.engine.containers == {}
    assert not waiting.done()


async def test_the_seat_of_somebody_who_does_not_come_back_is_given_away(
    make_world: Callable[..., World], clock: Clock
) -> None:
    world = await make_world().open()
    world.run(await world.ask("s001"))
    waiting = world.ask("s002")
    world.engine.containers["s001"].state = "exited"
    world.over("s001")
    await until(lambda: world.state("s001") is State.LOST)
    clock.now += world.settings.gpu.wait + 1
    await asyncio.wait_for(waiting, 5)


async def test_whoever_cancels_while_waiting_has_left_the_queue(make_world: Callable[..., World]) -> None:
    world = await make_world().open()
    world.run(await world.ask("s001"))
    second, third = world.ask("s002"), world.ask("s003")
    await settle()
    second.cancel()
    await settle()
    world.over("s002")
    await settle()
    assert world.state("s002") is None
    assert (world.place("s003").ahead, world.place("s003").of) == (0, 1)
    assert world.broker.place("s002") is None
    world.stop("s001")
    await asyncio.wait_for(third, 5)


async def test_a_cancelled_start_gives_its_turn_and_its_seat_back(make_world: Callable[..., World]) -> None:
    world = await make_world().open()
    await world.ask("s001")
    waiting = world.ask("s002")
    await settle()
    world.over("s001")  # before there was a container
    await asyncio.wait_for(waiting, 5)
    assert world.state("s001") is None


async def test_a_start_that_failed_because_docker_did_not_answer_keeps_its_place(
    make_world: Callable[..., World],
) -> None:
    world = await make_world().open()
    lease = await world.ask("s001")
    world.engine.silent = True
    world.broker.failed("s001", keeps_place=True)
    world.over("s001")
    await settle()
    world.engine.silent = False
    await until(lambda: world.broker.waits_only("s001"))
    assert world.place("s001").state == "queued"
    assert (await asyncio.wait_for(world.ask("s001"), 5)).id == lease.id


async def test_from_gpu_to_cpu_is_a_start_without_a_seat(make_world: Callable[..., World]) -> None:
    world = await make_world().open()
    world.run(await world.ask("s001"))
    world.ask("s002").cancel()
    await settle()
    world.over("s002")
    lease = await asyncio.wait_for(world.ask("s002", gpu=False), 5)
    assert (lease.seats, lease.gpu) == ((), False)


async def test_no_seats_are_given_where_there_are_no_gpus(make_world: Callable[..., World]) -> None:
    world = await make_world("").open()
    assert world.settings.gpu.mode is Mode.OFF
    lease = await asyncio.wait_for(world.ask("s001"), 5)
    assert not lease.gpu


async def test_another_class_on_the_same_engine_keeps_its_gpu(make_world: Callable[..., World]) -> None:
    engine = EngineDouble()
    engine.create(
        "other",
        {
            "gpuclass.class": "other",
            "gpuclass.user": "x",
            "gpuclass.lease": "7",
            "gpuclass.seat.engine": "local",
            "gpuclass.seat.device": "GPU-0",
            "gpuclass.seat.slots": "0",
            "gpuclass.seat.memory": str(80 * GIB),
            "gpuclass.mode": "exclusive",
        },
    )
    engine.containers["other"].state = "running"
    world = await make_world(gpus=2, engine=engine).open()
    assert (await world.ask("s001")).device == "GPU-1"
    waiting = world.ask("s002")
    await asyncio.sleep(0.1)
    assert not waiting.done()
    assert "other" in engine.containers


async def test_the_queue_goes_on_in_order_in_the_next_hub(
    make_world: Callable[..., World],
) -> None:
    engine = EngineDouble()
    world = await make_world("", engine=engine).open()
    leases = [world.ask(f"s{number:03}") for number in range(9)]
    await settle()
    world.run(leases[0].result())  # the fifth's turn; 1 to 4 are starting when the hub is killed
    await settle()
    await world.close()

    after = make_world("", engine=engine)
    await after.open()
    assert after.hub.started == [f"s{number:03}" for number in range(1, 9)]
    await settle()
    assert [after.state(f"s{number:03}") for number in range(9)] == [State.ACTIVE] + [State.RESERVED] * 4 + [
        State.QUEUED
    ] * 4


async def test_whoever_the_hub_does_not_know_any_more_is_taken_from_the_queue(
    make_world: Callable[..., World],
) -> None:
    world = make_world()
    world.ledger.enqueue("gone", gpu=True)
    world.ledger.enqueue("here", gpu=True)
    world.hub.unknown = ("gone",)
    await world.open()
    await until(lambda: world.state("here") is State.RESERVED)
    assert world.state("gone") is None


async def test_after_a_night_the_queue_of_the_day_before_is_forgotten(
    make_world: Callable[..., World], clock: Clock
) -> None:
    world = make_world()
    world.ledger.enqueue("s001", gpu=True)
    world.broker._note_that_we_live()
    clock.now += 12 * 3600
    await world.open()
    assert world.hub.started == []
    assert world.state("s001") is None


async def test_in_the_morning_no_seat_is_kept_for_the_people_of_the_day_before(
    make_world: Callable[..., World], clock: Clock
) -> None:
    engine = EngineDouble()
    evening = await make_world(engine=engine).open()
    evening.run(await evening.ask("s001"))
    await evening.close()
    engine.containers.clear()  # as closing the class does
    clock.now += 12 * 3600
    morning = await make_world(engine=engine).open()
    assert morning.state("s001") is None
    assert (await asyncio.wait_for(morning.ask("s002"), 5)).device == "GPU-0"


async def test_a_container_that_the_hub_has_no_server_for_is_removed_after_a_while(
    make_world: Callable[..., World], clock: Clock
) -> None:
    world = await make_world().open()
    world.run(await world.ask("s001"))
    world.servers.clear()  # killed in the middle of a stop: JupyterHub has forgotten the server
    await asyncio.sleep(0.1)
    assert "s001" in world.engine.containers
    clock.now += 20
    await until(lambda: not world.engine.containers)
    await until(lambda: world.state("s001") is None)


async def test_a_container_from_before_does_not_keep_its_owner_from_the_only_gpu(
    make_world: Callable[..., World],
) -> None:
    engine = EngineDouble()
    before = await make_world(engine=engine).open()
    before.run(await before.ask("s001"))
    await before.close()
    before.settings.ledger_path.unlink()

    world = await make_world(engine=engine).open()
    again = world.ask("s001")
    assert (await asyncio.wait_for(again, 5)).device == "GPU-0"
    assert world.engine.containers == {}


async def test_a_broken_round_does_not_end_the_queue(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = await make_world().open()

    look, calls = world.broker._books.look, []

    async def fails_once() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise OSError("disk full")
        await look()

    monkeypatch.setattr(world.broker._books, "look", fails_once)
    await until(lambda: "disk full" in caplog.text)
    world.run(await world.ask("s001"))
    world.stop("s001")
    await until(lambda: world.state("s001") is None)


async def test_nobody_comes_first_to_a_seat_by_ending_their_own_server(make_world: Callable[..., World]) -> None:
    world = await make_world().open()
    world.run(await world.ask("s001"))
    second = world.ask("s002")
    world.run(await world.ask("s003", gpu=False))
    world.engine.containers["s003"].state = "exited"
    world.over("s003")
    third = world.ask("s003")
    await until(lambda: world.state("s003") is State.QUEUED)
    world.stop("s001")
    await asyncio.wait_for(second, 5)
    assert not third.done()


async def test_a_queue_that_cannot_open_at_once_opens_later(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = make_world()
    look, calls = world.broker._books.look, []

    async def fails_once(*, keep_s: float | None = None) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise OSError("disk full")
        await look(keep_s=keep_s)

    monkeypatch.setattr(world.broker._books, "look", fails_once)
    await world.open()
    assert "disk full" in caplog.text


@contextmanager
def full_disk(ledger: Ledger) -> Iterator[None]:
    """The ledger can be read and not written."""

    def refuse() -> None:
        raise LedgerError("The disk is full")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger, "_transaction", refuse)
        yield


async def test_with_a_full_disk_servers_stop_and_their_seats_come_back_later(
    make_world: Callable[..., World], clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    world = await make_world().open()
    world.run(await world.ask("s001"))
    waiting = world.ask("s002")
    await until(lambda: world.state("s002") is State.QUEUED)
    with full_disk(world.ledger):
        world.stop("s001")
    assert "The disk is full" in caplog.text
    await until(lambda: world.state("s001") is State.LOST)
    clock.now += world.settings.gpu.wait + 1
    assert (await asyncio.wait_for(waiting, 5)).device == "GPU-0"


async def test_with_a_full_disk_whoever_cancels_has_left_the_queue_later(
    make_world: Callable[..., World], clock: Clock
) -> None:
    world = await make_world().open()
    world.run(await world.ask("s001"))
    waiting = world.ask("s002")
    await until(lambda: world.state("s002") is State.QUEUED)
    waiting.cancel()
    await settle()
    with full_disk(world.ledger):
        world.over("s002")
    clock.now += world.settings.gpu.wait + 1
    await until(lambda: world.state("s002") is None)


async def test_one_lease_that_cannot_be_written_does_not_keep_the_others(
    make_world: Callable[..., World], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await make_world(gpus=3).open()
    leases = [await world.ask(user) for user in ("s001", "s002", "s003")]
    for lease in leases:
        world.run(lease)
    lose = world.ledger.lose

    def refuse_one(lease_id: int, why: str) -> Lease:
        if lease_id == leases[0].id:
            raise LedgerError("held by another process for seconds")
        return lose(lease_id, why)

    monkeypatch.setattr(world.ledger, "lose", refuse_one)
    world.engine.containers.clear()
    await until(lambda: world.state("s003") is State.LOST)
    assert [world.state(lease.user) for lease in leases] == [State.ACTIVE, State.LOST, State.LOST]


async def test_a_container_without_a_server_is_removed_though_the_disk_is_full(
    make_world: Callable[..., World], clock: Clock
) -> None:
    world = await make_world().open()
    world.run(await world.ask("s001"))
    world.servers.clear()
    await asyncio.sleep(0.1)
    clock.now += 20
    with full_disk(world.ledger):
        await until(lambda: not world.engine.containers)


async def test_why_a_server_was_stopped_is_forgotten_at_the_next_start(make_world: Callable[..., World]) -> None:
    world = await make_world(gpus=2).open()
    world.broker.reclaimed |= {"s001", "s002"}
    await world.ask("s001")
    assert world.broker.reclaimed == {"s002"}


async def test_a_seat_larger_than_any_device_is_said_to_be_so(make_world: Callable[..., World]) -> None:
    world = await make_world('[gpu]\nmode = "mig"\n[gpu.seats]\ninstructor = 2').open()
    small = tuple(Device("local", f"MIG-{i}", "H100", f"0:{i}", 10 * GIB, parent="GPU-0") for i in range(2))
    world.inventories = [Inventory("local", world.clock(), small)]
    world.ask("t001", role="instructor")
    await settle()
    assert world.place("t001").why is Why.SIZE
    assert (await asyncio.wait_for(world.ask("s001"), 5)).device in {"MIG-0", "MIG-1"}
