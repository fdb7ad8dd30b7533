"""The class's own Docker network and the walls around it, put up together and taken down together.

Nothing of another network, and no rule that is not ours, is ever changed.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException, NotFound
from docker.types import IPAMConfig, IPAMPool

from gpuclass import firewall
from gpuclass.engine import SOCKET
from gpuclass.errors import PlainError
from gpuclass.settings import Settings

CLASS_LABEL = "gpuclass.class"  # on the network and on every container in it: whose it is
ROUTES = Path("/proc/net/route")
BRIDGE_FILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
ROUTE_IS_UP = 0x1


class NetworkError(PlainError):
    """The class network cannot be put up or taken down; the text says why and what to do."""


@dataclass(frozen=True)
class Taken:
    """A range of addresses that somebody uses, and who."""

    range: ipaddress.IPv4Network
    by: str


@dataclass(frozen=True)
class Status:
    """What stands of the class network.

    Attributes:
        network: the Docker network is there and is the one that the settings describe.
        walls: the nftables table is there and holds the rules that the settings ask for.
        bridge_filter: the kernel shows the table what passes between two containers.
        refused: packets refused since the walls stand.
        containers: names of the containers in the network.
    """

    network: bool
    walls: bool
    bridge_filter: bool
    refused: int
    containers: tuple[str, ...]

    @property
    def up(self) -> bool:
        """Everything stands."""
        return self.network and self.walls and self.bridge_filter


def request(settings: Settings) -> dict[str, Any]:
    """The Docker network, as keyword arguments of ``APIClient.create_network``.

    With internet ``off`` it is an *internal* one: Docker closes the ways out, too, and from version 25 on its
    containers have no route to anywhere else, so that no flushed table opens them.
    """
    pool = IPAMPool(subnet=str(settings.network.subnet), gateway=str(settings.gateway))
    return {
        "name": settings.network_name,
        "driver": "bridge",
        "internal": settings.network.internet == "off",
        "enable_ipv6": False,
        "ipam": IPAMConfig(pool_configs=[pool]),
        "options": {
            "com.docker.network.bridge.name": settings.network_name,
            "com.docker.network.bridge.enable_icc": "false",
        },
        "labels": {CLASS_LABEL: settings.class_.name},
        "check_duplicate": True,
    }


def dns(settings: Settings) -> dict[str, list[str]]:
    """``dns``, ``dns_opt`` and ``dns_search`` of a container's host configuration.

    In a network of its own Docker answers names at 127.0.0.11 and passes on what it does not know: from the *machine*,
    past every rule about containers, when the servers are those of the machine's resolv.conf; from the *container* when
    they are named here. With internet ``off`` the one named is the container's own loopback, where nobody answers.
    Engine 20.10 then says nothing instead of an error and a program would wait for ten seconds: ``attempts:0``
    makes the C library give up at once, on any engine.
    """
    if settings.network.internet == "off":
        return {"dns": ["127.0.0.1"], "dns_opt": ["attempts:0"], "dns_search": ["."]}
    return {"dns": [str(address) for address in settings.network.resolvers], "dns_opt": [], "dns_search": ["."]}


def conflict(subnet: ipaddress.IPv4Network, taken: Iterable[Taken]) -> str | None:
    """Why ``subnet`` cannot be the class's, in one sentence; None when it is free."""
    found = [f"{use.range} ({use.by})" for use in taken if use.range.overlaps(subnet)]
    if not found:
        return None
    return (
        f"network.subnet {subnet} overlaps with what this machine uses already: {', '.join(found)}. "
        "Choose another private range in class.toml, such as 10.213.0.0/20."
    )


def routes(table: str) -> list[Taken]:
    """The ranges in the kernel's IPv4 routing table (the text of /proc/net/route), the default route left out."""
    taken = []
    for line in table.splitlines()[1:]:
        interface, destination, _, flags, *_, mask = line.split()[:8]
        if int(flags, 16) & ROUTE_IS_UP and int(mask, 16):
            address, netmask = (
                ipaddress.IPv4Address(bytes.fromhex(field)[::-1]) for field in (destination, mask)
            )  # little-endian
            taken.append(Taken(ipaddress.IPv4Network(f"{address}/{netmask}"), f"route through {interface}"))
    return taken


def up(settings: Settings, client: docker.DockerClient | None = None) -> None:
    """Put up the walls, then the network behind them. What stands already and is right stays as it is.

    Raises:
        NetworkError: not root, the range is in use, containers hold an older network, or Docker refused.
        gpuclass.firewall.FirewallError: nftables is missing or refused.
    """
    _need_root("put up")
    client = client or connect()
    wanted = request(settings)
    there = _inspect(client, settings)
    if there and not _same(there, wanted):
        _remove(client, settings, there)
        there = None
    if not there:
        problem = conflict(settings.network.subnet, [*routes(ROUTES.read_text("ascii")), *_networks(client)])
        if problem:
            raise NetworkError(problem)
    firewall.load(settings)
    if not there:
        try:
            client.api.create_network(**wanted)
        except APIError as error:
            firewall.remove(settings)
            raise NetworkError(
                f"Docker did not create the network {settings.network_name}: {error.explanation}"
            ) from None
    if not _bridge_filter():
        raise NetworkError(
            "The kernel does not show the firewall what passes between two containers, so students could reach each "
            "other. As root: modprobe br_netfilter; sysctl net.bridge.bridge-nf-call-iptables=1"
        )


def down(settings: Settings, client: docker.DockerClient | None = None) -> None:
    """Take down the network, then its walls, whatever of the two is there.

    Raises:
        NetworkError: not root, or containers are still in the network (then the walls stay, too).
        gpuclass.firewall.FirewallError: nftables refused.
    """
    _need_root("take down")
    client = client or connect()
    there = _inspect(client, settings)
    if there:
        _remove(client, settings, there)
    firewall.remove(settings)


def status(settings: Settings, client: docker.DockerClient | None = None) -> Status:
    """What stands, compared with what the settings ask for. Needs root, as nftables shows its tables to nobody else."""
    _need_root("look at")
    there = _inspect(client or connect(), settings)
    table = firewall.loaded(settings)
    return Status(
        network=there is not None and _same(there, request(settings)),
        walls=table is not None and table.digest == firewall.digest(firewall.ruleset(settings)),
        bridge_filter=_bridge_filter(),
        refused=table.refused if table else 0,
        containers=_containers(there) if there else (),
    )


def describe(settings: Settings, status: Status) -> list[str]:
    """The status as a person reads it, one line each."""
    return [
        f"class network {settings.network_name}, {settings.network.subnet}, internet {settings.network.internet}",
        f"  Docker network   {'stands' if status.network else 'is missing or another than class.toml describes'}",
        f"  firewall table   {'stands' if status.walls else 'is missing or older than class.toml'}",
        f"  between students {'closed' if status.bridge_filter else 'OPEN: br_netfilter is off'}",
        f"  packets refused  {status.refused}",
        f"  containers       {', '.join(status.containers) or 'none'}",
    ]


def connect() -> docker.DockerClient:
    """A client for this machine's engine.

    Raises:
        NetworkError: it does not answer.
    """
    try:
        return docker.DockerClient(base_url=f"unix://{SOCKET}", version="auto")
    except DockerException as error:
        raise NetworkError(
            f"Docker does not answer at {SOCKET}: {error}. Start it first: systemctl start docker, or dockerd."
        ) from None


def _same(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether an inspected network is the wanted one; options and labels that the engine adds do not count."""
    pools = [(pool["Subnet"], pool.get("Gateway")) for pool in there["IPAM"]["Config"] or []]
    return (
        there["Driver"] == wanted["driver"]
        and there["Internal"] == wanted["internal"]
        and there["EnableIPv6"] == wanted["enable_ipv6"]
        and pools == [(pool["Subnet"], pool["Gateway"]) for pool in wanted["ipam"]["Config"]]
        and wanted["options"].items() <= there["Options"].items()
        and wanted["labels"].items() <= there["Labels"].items()
    )


def _containers(there: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(sorted(endpoint["Name"] for endpoint in (there.get("Containers") or {}).values()))


def _inspect(client: docker.DockerClient, settings: Settings) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = client.api.inspect_network(settings.network_name)
    except NotFound:
        return None
    if found["Labels"].get(CLASS_LABEL) != settings.class_.name:
        raise NetworkError(
            f"A Docker network {settings.network_name} is there that this class did not make; it is left alone. "
            f"Remove it (docker network rm {settings.network_name}) or give the class another name."
        )
    return found


def _remove(client: docker.DockerClient, settings: Settings, there: Mapping[str, Any]) -> None:
    if names := _containers(there):
        raise NetworkError(
            f"The network {settings.network_name} cannot be removed or changed while containers are in it: "
            f"{', '.join(names)}. Stop them first."
        )
    try:
        client.api.remove_network(settings.network_name)
    except APIError as error:
        raise NetworkError(f"Docker did not remove the network {settings.network_name}: {error.explanation}") from None


def _networks(client: docker.DockerClient) -> list[Taken]:
    return [
        Taken(ipaddress.IPv4Network(config["Subnet"]), f"Docker network {network['Name']}")
        for network in client.api.networks()
        for config in network["IPAM"].get("Config") or []
        if ":" not in config["Subnet"]
    ]


def _bridge_filter() -> bool:
    return BRIDGE_FILTER.exists() and BRIDGE_FILTER.read_text("ascii").strip() == "1"


def _need_root(what: str) -> None:
    if os.geteuid():
        raise NetworkError(f"Only root may {what} the class network and its firewall table: run this with sudo.")
