"""The class's walls, tried from inside real containers.

All traffic stays on this machine: the rest of the world is a network namespace that holds a public, a private, a
provider's and the metadata address. Each refusal is tried without the walls, too, where the probe must get through.
"""

from __future__ import annotations

import json
import socket
import socketserver
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import docker
import pytest
from docker.errors import NotFound
from docker.models.containers import Container

from gpuclass import firewall, network
from gpuclass.settings import Settings
from tests.docker import outside
from tests.docker.probes import run

pytestmark = pytest.mark.docker

NAMESPACE, LINK, LINK_INSIDE = "gpc-outside", "gpc-out0", "gpc-out1"
MACHINE, BEYOND = "10.98.0.1", "10.98.0.2"  # the two ends of the link
PUBLIC, PUBLIC_RESOLVER = "198.51.100.10", "198.51.100.53"  # TEST-NET-2 stands for the public internet
PRIVATE, RESOLVER = "10.98.77.10", "10.98.77.53"
METADATA, PROVIDER = "169.254.169.254", "100.64.0.10"
SUBNET = "10.97.0.0/24"
STUDENT, NEIGHBOUR = "10.97.0.2", "10.97.0.3"
LESSON_PORT = 8888


@dataclass(frozen=True)
class Host:
    """This machine's listeners, open on all its addresses."""

    hub: int
    exchange: int
    other: int


def sh(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    servers = [outside.TCP(("", 0), outside.Tell) for _ in range(3)]
    for server in servers:
        outside.serve(server)
    yield Host(*(server.server_address[1] for server in servers))
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def world() -> Iterator[None]:
    """The namespace, reached over a link, with a server on every stand-in address."""
    beyond = (PUBLIC, PUBLIC_RESOLVER, PRIVATE, RESOLVER, METADATA, PROVIDER)
    sh("ip", "netns", "add", NAMESPACE)
    try:
        sh("ip", "link", "add", LINK, "type", "veth", "peer", "name", LINK_INSIDE, "netns", NAMESPACE)
        sh("ip", "address", "add", f"{MACHINE}/30", "dev", LINK)
        sh("ip", "link", "set", LINK, "up")
        within = ("ip", "-n", NAMESPACE)
        sh(*within, "link", "set", "lo", "up")
        sh(*within, "address", "add", f"{BEYOND}/30", "dev", LINK_INSIDE)
        sh(*within, "link", "set", LINK_INSIDE, "up")
        sh(*within, "route", "add", "default", "via", MACHINE)
        for address in beyond:
            sh(*within, "address", "add", f"{address}/32", "dev", "lo")
            sh("ip", "route", "add", f"{address}/32", "via", BEYOND, "dev", LINK)
        command = [sys.executable, outside.__file__, PUBLIC, RESOLVER, PUBLIC_RESOLVER]
        with subprocess.Popen(["ip", "netns", "exec", NAMESPACE, *command], stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            yield
            server.terminate()
    finally:
        subprocess.run(["ip", "link", "delete", LINK], check=False, stderr=subprocess.DEVNULL)  # the routes go with it
        sh("ip", "netns", "delete", NAMESPACE)


def make_settings(
    folder: Path, host: Host, internet: Literal["off", "open"], name: str = "walltest", subnet: str = SUBNET
) -> Settings:
    section = {"internet": internet, "subnet": subnet, "resolvers": [RESOLVER]}
    return Settings.model_validate(
        {
            "class": {"name": name, "title": "Walls"},
            "site": {"hub_port": host.hub, "exchange_port": host.exchange},
            "network": section,
            "path": folder / "class.toml",
        }
    )


@pytest.fixture(scope="module")
def walls(tmp_path_factory: pytest.TempPathFactory, host: Host) -> dict[str, Settings | None]:
    folder = tmp_path_factory.mktemp("class")
    return {"off": make_settings(folder, host, "off"), "open": make_settings(folder, host, "open"), "none": None}


@pytest.fixture(scope="module")
def start(engine: docker.DockerClient, probe_image: str) -> Iterator[Callable[..., Container]]:
    """Start a container that is hardened as students' are, unless told otherwise."""
    started: list[Container] = []

    def start_one(name: str, command: list[str], **options: Any) -> Container:
        hardened: dict[str, Any] = {"cap_drop": ["ALL"], "security_opt": ["no-new-privileges"], "user": "1000:1000"}
        container = engine.containers.create(
            probe_image,
            command,
            name=f"gpuclass-test-{name}",
            volumes={"/usr": {"bind": "/usr", "mode": "ro"}},
            read_only=True,
            **{**hardened, **options},
        )
        started.append(container)
        container.start()
        return container

    yield start_one
    for container in started:
        with suppress(NotFound):
            container.remove(force=True)


def listening(port: int) -> list[str]:
    source = Path(__file__).with_name("probes.py").read_text("utf-8")
    return ["/usr/bin/python3", "-c", source, "listen", json.dumps([port])]


def attached(engine: docker.DockerClient, name: str, address: str) -> dict[str, Any]:
    """Options that put a container into a network under this address."""
    return {
        "network": name,
        "networking_config": {name: engine.api.create_endpoint_config(ipv4_address=address)},
    }


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def bare(engine: docker.DockerClient, walls: dict[str, Settings | None], world: None) -> Iterator[str]:
    """The class's network with all of Docker's own walls off: open to the world, and containers see each other."""
    settings = walls["open"]
    assert settings is not None
    request = network.request(settings)
    request["options"]["com.docker.network.bridge.enable_icc"] = "true"
    engine.api.create_network(**request)
    yield settings.network_name
    engine.api.remove_network(settings.network_name)


@pytest.fixture(scope="module")
def class_containers(
    engine: docker.DockerClient, bare: str, start: Callable[..., Container]
) -> Iterator[tuple[Container, Container]]:
    student = start("student", listening(LESSON_PORT), **attached(engine, bare, STUDENT))
    neighbour = start("neighbour", listening(LESSON_PORT), **attached(engine, bare, NEIGHBOUR))
    for address in (STUDENT, NEIGHBOUR):
        until(partial(reaches, address, LESSON_PORT))
    yield student, neighbour
    for container in (student, neighbour):
        container.remove(force=True)


@pytest.fixture(scope="module")
def student(class_containers: tuple[Container, Container]) -> Container:
    return class_containers[0]


@contextmanager
def put_up(walls: dict[str, Settings | None], which: str) -> Iterator[None]:
    settings = walls[which]
    if settings is None:
        yield
        return
    firewall.load(settings)
    try:
        yield
    finally:
        firewall.remove(settings)


def reaches(address: str, port: int) -> bool:
    with socket.socket() as trying:
        trying.settimeout(3)
        return trying.connect_ex((address, port)) == 0


def reaches_from_outside(address: str, port: int) -> str:
    source = Path(__file__).with_name("probes.py").read_text("utf-8")
    arguments = [sys.executable, "-c", source, "connect", json.dumps([address, port])]
    return str(json.loads(sh("ip", "netns", "exec", NAMESPACE, *arguments)))


TARGETS: dict[str, tuple[str, int | str, str, str]] = {
    # what: (address, port or the listener's name, with internet off, with internet open)
    "the hub": ("10.97.0.1", "hub", "open", "open"),
    "the exchange": ("10.97.0.1", "exchange", "open", "open"),
    "another port of the machine": ("10.97.0.1", "other", "refused", "refused"),
    "the hub's port on the machine's other address": (MACHINE, "hub", "refused", "refused"),
    "the hub's port on Docker's bridge": ("docker0", "hub", "refused", "refused"),
    "another port on the machine's other address": (MACHINE, "other", "refused", "refused"),
    "a neighbour": (NEIGHBOUR, LESSON_PORT, "refused", "refused"),
    "the public internet": (PUBLIC, outside.PORT, "refused", "open"),
    "a private range": (PRIVATE, outside.PORT, "refused", "refused"),
    "the metadata address": (METADATA, outside.PORT, "refused", "refused"),
    "a provider's range": (PROVIDER, outside.PORT, "refused", "refused"),
    "the named resolver": (RESOLVER, outside.DNS, "refused", "open"),
    "the named resolver's other ports": (RESOLVER, outside.PORT, "refused", "refused"),
    "another resolver": (PUBLIC_RESOLVER, outside.DNS, "refused", "refused"),
    "DNS over TLS": (PUBLIC, outside.DNS_OVER_TLS, "refused", "refused"),
}


def docker0() -> str:
    [link] = json.loads(sh("ip", "-json", "-4", "address", "show", "docker0"))
    return str(link["addr_info"][0]["local"])


def target(what: str, host: Host) -> tuple[str, int]:
    address, port, *_ = TARGETS[what]
    return docker0() if address == "docker0" else address, getattr(host, port) if isinstance(port, str) else port


@pytest.mark.parametrize("what", TARGETS)
@pytest.mark.parametrize("which", ["none", "off", "open"])
def test_a_container_reaches(
    what: str, which: str, student: Container, host: Host, walls: dict[str, Settings | None]
) -> None:
    expected = {"none": "open", "off": TARGETS[what][2], "open": TARGETS[what][3]}[which]
    with put_up(walls, which):
        assert run(student, "connect", *target(what, host)) == expected


@pytest.mark.parametrize(
    ("server", "which", "expected"),
    [
        (RESOLVER, "none", "answered"),
        (PUBLIC_RESOLVER, "none", "answered"),
        (RESOLVER, "open", "answered"),
        (PUBLIC_RESOLVER, "open", "refused"),
        (RESOLVER, "off", "refused"),
        (PUBLIC_RESOLVER, "off", "refused"),
    ],
)
def test_only_named_resolvers_answer(
    server: str, which: str, expected: str, student: Container, walls: dict[str, Settings | None]
) -> None:
    with put_up(walls, which):
        assert run(student, "ask", server, "outside.example") == expected


@pytest.mark.parametrize("which", ["none", "off", "open"])
def test_this_machine_reaches_a_students_server(
    which: str, student: Container, walls: dict[str, Settings | None]
) -> None:
    with put_up(walls, which):
        assert reaches(STUDENT, LESSON_PORT)


@pytest.mark.parametrize(("which", "expected"), [("none", "open"), ("off", "refused"), ("open", "refused")])
def test_nobody_else_reaches_a_students_server_whatever_other_rules_allow(
    which: str, expected: str, student: Container, walls: dict[str, Settings | None]
) -> None:
    rule = ("DOCKER-USER", "-i", LINK, "-j", "ACCEPT")
    sh("iptables", "-I", *rule)
    try:
        with put_up(walls, which):
            assert reaches_from_outside(STUDENT, LESSON_PORT) == expected
    finally:
        sh("iptables", "-D", *rule)


@pytest.mark.parametrize(("which", "expected"), [("none", "open"), ("off", "refused"), ("open", "refused")])
def test_nobody_else_reaches_the_hub_on_the_class_network(
    which: str, expected: str, student: Container, host: Host, walls: dict[str, Settings | None]
) -> None:
    with put_up(walls, which):
        assert reaches_from_outside("10.97.0.1", host.hub) == expected


@pytest.mark.parametrize(("which", "expected"), [("none", "open"), ("off", "refused"), ("open", "refused")])
def test_a_published_port_is_no_way_out(
    which: str, expected: str, student: Container, walls: dict[str, Settings | None]
) -> None:
    published = ("PREROUTING", "-d", MACHINE, "-p", "tcp", "--dport", "7999", "-j", "DNAT")
    rule = (*published, "--to-destination", f"{PUBLIC}:{outside.PORT}")
    sh("iptables", "-t", "nat", "-I", *rule)
    try:
        with put_up(walls, which):
            assert run(student, "connect", MACHINE, 7999) == expected
    finally:
        sh("iptables", "-t", "nat", "-D", *rule)


def seen() -> list[str]:
    with socket.create_connection((PUBLIC, outside.PORT), timeout=3) as asking, asking.makefile() as answer:
        return list(json.load(answer))


@pytest.mark.parametrize(("which", "arrives"), [("none", True), ("open", False)])
def test_a_packet_under_another_address_goes_nowhere(
    which: str,
    arrives: bool,
    engine: docker.DockerClient,
    bare: str,
    start: Callable[..., Container],
    walls: dict[str, Settings | None],
) -> None:
    raw = {"cap_drop": [], "cap_add": ["NET_RAW"], "user": "0:0"}  # no student has this
    spoofer = start(f"spoofer-{which}", ["sleep", "600"], **raw, **attached(engine, bare, "10.97.0.9"))
    try:
        with put_up(walls, which):
            run(spoofer, "send_as", "10.98.0.66", PUBLIC, outside.DATAGRAMS, f"forged {which}")
            run(spoofer, "send_as", "10.97.0.9", PUBLIC, outside.DATAGRAMS, f"honest {which}")
            until(lambda: f"honest {which}" in seen())
        assert (f"forged {which}" in seen()) is arrives
    finally:
        spoofer.remove(force=True)


@pytest.mark.parametrize(("which", "expected"), [("none", "open"), ("off", "ignored"), ("open", "ignored")])
def test_ipv6_is_closed_even_where_a_container_has_it(
    which: str,
    expected: str,
    engine: docker.DockerClient,
    bare: str,
    start: Callable[..., Container],
    walls: dict[str, Settings | None],
) -> None:
    container = start(f"six-{which}", ["sleep", "600"], **attached(engine, bare, "10.97.0.8"))
    container.reload()
    within = ("nsenter", "--target", str(container.attrs["State"]["Pid"]), "--net")
    [link] = json.loads(sh("ip", "-json", "-6", "address", "show", bare))
    gateway = f"{link['addr_info'][0]['local']}%eth0"
    try:
        sh(*within, "sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6")
        with listener_on_ipv6() as port, put_up(walls, which):
            time.sleep(2)  # an address of its own takes a second to be confirmed
            assert run(container, "connect", gateway, port) == expected
    finally:
        container.remove(force=True)


@contextmanager
def listener_on_ipv6() -> Iterator[int]:
    with socket.create_server(("::", 0), family=socket.AF_INET6) as server:
        yield int(server.getsockname()[1])


@pytest.mark.parametrize(("then", "expected"), [("open", "kept"), ("off", "ended")])
def test_stricter_walls_end_what_was_open(
    then: str, expected: str, student: Container, walls: dict[str, Settings | None]
) -> None:
    with put_up(walls, "open"), ThreadPoolExecutor(1) as pool:
        talk = pool.submit(run, student, "hold", PUBLIC, outside.ECHO, 3.0)
        time.sleep(1.5)
        with put_up(walls, then):
            assert talk.result() == expected


@pytest.fixture
def own(tmp_path: Path, host: Host) -> Iterator[Callable[[Literal["off", "open"]], Settings]]:
    """Settings of a class of this one test, whose network and walls are gone when it ends."""

    def make(internet: Literal["off", "open"]) -> Settings:
        return make_settings(tmp_path, host, internet, name="wall-up", subnet="10.96.0.0/24")

    yield make
    network.down(make("off"))


def left_of(settings: Settings) -> list[str]:
    """Every trace of the class on this machine."""
    with closing(docker.from_env()) as client:
        networks = "".join(f"{network.name}\n" for network in client.networks.list())
    everything = sh("nft", "list", "ruleset") + sh("ip", "link") + networks + sh("iptables-save")
    names = (firewall.table_name(settings), settings.network_name, str(settings.network.subnet))
    return [line for line in everything.splitlines() if any(name in line for name in names)]


MakeOwn = Callable[[Literal["off", "open"]], Settings]
Start = Callable[..., Container]


@pytest.fixture
def member(start: Start) -> Iterator[Callable[[Settings], Container]]:
    """Start a container in a class's network with the class's name servers."""
    members: list[Container] = []

    def join(settings: Settings) -> Container:
        name = f"member-{len(members)}"
        members.append(start(name, ["sleep", "600"], network=settings.network_name, **network.dns(settings)))
        return members[-1]

    yield join
    for container in members:
        container.remove(force=True)


def test_up_and_down_leave_nothing_however_often(own: MakeOwn) -> None:
    settings = own("off")
    assert left_of(settings) == []
    for _ in range(2):
        network.up(settings)
        assert network.status(settings).up
    assert left_of(settings) != []
    for _ in range(2):
        network.down(settings)
        assert left_of(settings) == []


@pytest.mark.parametrize("missing", ["network", "walls"])
def test_what_is_half_there_is_completed_and_taken_down(
    missing: str, own: MakeOwn, engine: docker.DockerClient
) -> None:
    settings = own("open")

    def halve() -> None:
        network.up(settings)
        if missing == "network":
            engine.api.remove_network(settings.network_name)
        else:
            firewall.remove(settings)
        assert getattr(network.status(settings), missing) is False

    halve()
    network.up(settings)
    assert network.status(settings).up
    halve()
    network.down(settings)
    assert left_of(settings) == []


def test_another_setting_is_applied_when_nobody_is_in_the_network(own: MakeOwn) -> None:
    network.up(own("open"))
    assert not network.status(own("off")).up
    network.up(own("off"))
    assert network.status(own("off")).up


def test_a_network_with_containers_is_neither_changed_nor_removed_and_keeps_its_walls(
    own: MakeOwn, member: Callable[[Settings], Container]
) -> None:
    network.up(own("off"))
    member(own("off"))
    for act, settings in ((network.up, own("open")), (network.down, own("off"))):
        with pytest.raises(network.NetworkError, match="gpuclass-test-member-0"):
            act(settings)
        assert network.status(own("off")).up


def test_a_range_in_use_is_refused_and_nothing_is_left(tmp_path: Path, host: Host, world: None) -> None:
    settings = make_settings(tmp_path, host, "off", name="wall-up", subnet="10.98.0.0/16")
    with pytest.raises(network.NetworkError, match=r"network\.subnet 10\.98\.0\.0/16 overlaps .* through gpc-out0"):
        network.up(settings)
    assert [line for line in left_of(settings) if settings.network_name in line] == []


def test_a_network_of_somebody_else_is_left_alone(own: MakeOwn, engine: docker.DockerClient) -> None:
    settings = own("off")
    engine.networks.create(settings.network_name, driver="bridge", labels={"whose": "theirs"})
    try:
        for act in (network.up, network.down):
            with pytest.raises(network.NetworkError, match="left alone"):
                act(settings)
        assert engine.networks.get(settings.network_name).attrs["Labels"] == {"whose": "theirs"}
    finally:
        engine.api.remove_network(settings.network_name)


def test_off_resolves_no_name_and_a_program_learns_so_at_once(
    own: MakeOwn, member: Callable[[Settings], Container], monkeypatch: pytest.MonkeyPatch
) -> None:
    network.up(own("off"))
    container = member(own("off"))
    asked: list[str] = []
    monkeypatch.setattr(outside, "SEEN", asked)
    with socketserver.UDPServer(
        ("127.0.0.1", 53), outside.Names
    ) as resolver:  # the machine's own, past which none must get
        outside.serve(resolver)
        found = run(container, "resolve", "outside.example")
        assert run(container, "ask", "127.0.0.11", "outside.example") in ("failed", "ignored")
        assert asked == []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.sendto(b"\0" * 12 + b"\1a\0\0\1\0\1", ("127.0.0.1", 53))
        until(lambda: asked == ["query"])  # so it would have heard
        resolver.shutdown()
    assert found["addresses"] == []
    assert found["seconds"] < 0.5


def test_open_resolves_through_the_named_resolver(
    own: MakeOwn, member: Callable[[Settings], Container], world: None
) -> None:
    network.up(own("open"))
    container = member(own("open"))
    assert run(container, "resolve", "outside.example")["addresses"] == [PUBLIC]
    assert run(container, "connect", "outside.example", outside.PORT) == "open"


def test_off_has_no_way_out_even_when_our_table_is_gone(
    own: MakeOwn, member: Callable[[Settings], Container], host: Host, world: None
) -> None:
    network.up(own("off"))
    container = member(own("off"))
    assert run(container, "connect", "10.96.0.1", host.hub) == "open"
    firewall.remove(own("off"))
    for address in (PUBLIC, METADATA):
        assert run(container, "connect", address, outside.PORT) in ("no route", "ignored")


def test_refused_packets_are_counted(own: MakeOwn, member: Callable[[Settings], Container], host: Host) -> None:
    network.up(own("off"))
    container = member(own("off"))
    before = network.status(own("off"))
    assert run(container, "connect", "10.96.0.1", host.other) == "refused"
    after = network.status(own("off"))
    assert after.refused > before.refused
    assert after.containers == (container.name,)
