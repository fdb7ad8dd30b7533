"""The class's walls: one nftables table, a pure function of the settings, loaded and removed in one step each.

The table only ever refuses. Other tables (Docker's, the operator's) still see what it lets through, and what it refuses
stays refused whatever they say. It never touches a rule that is not its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gpuclass.errors import PlainError
from gpuclass.settings import Settings

CLOSED_RANGES = (  # not public IPv4, after the IANA special-purpose registry
    "0.0.0.0/8",  # this network
    "10.0.0.0/8",  # private
    "100.64.0.0/10",  # shared between a provider and its customers (CGNAT)
    "127.0.0.0/8",  # loopback
    "169.254.0.0/16",  # link-local: the cloud's metadata address
    "172.16.0.0/12",  # private
    "192.0.0.0/24",  # protocol assignments: some clouds' metadata
    "192.168.0.0/16",  # private
    "198.18.0.0/15",  # benchmarks
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved, and broadcast
)
DNS_PORTS = "{ 53, 853 }"

_TEMPLATE = """\
table inet {table} {{
{sets}\
	chain refuse {{
		counter
		meta l4proto tcp reject with tcp reset
		reject with icmpx admin-prohibited
	}}

	chain before_redirects {{
		type filter hook prerouting priority mangle; policy accept;
		iifname "{bridge}" meta nfproto ipv6 drop
		iifname "{bridge}" ip saddr != {subnet} drop
		iifname "{bridge}" fib daddr type local goto class_to_machine
	}}

	chain input {{
		type filter hook input priority filter - 10; policy accept;
		iifname "{bridge}" goto class_to_machine
		iifname != "lo" ip daddr {gateway} goto refuse
	}}

	chain class_to_machine {{
		ct direction reply ct state established accept
		meta l4proto icmp ct state related accept
		ip daddr {gateway} tcp dport {{ {ports} }} accept
{machine}\
		goto refuse
	}}

	chain forward {{
		type filter hook forward priority filter - 10; policy accept;
		iifname "{bridge}" goto from_class
		oifname "{bridge}" goto to_class
	}}

	chain from_class {{
{onward}\
	}}

	chain to_class {{
		ct direction reply ct state established accept
		meta l4proto icmp ct state related accept
		goto refuse
	}}
}}
"""


class FirewallError(PlainError):
    """nftables could not do what was asked; the text says what and what to do."""


@dataclass(frozen=True)
class Loaded:
    """The class's table as the kernel has it.

    Attributes:
        digest: that of the rules it was loaded from.
        refused: packets refused since.
    """

    digest: str
    refused: int


def table_name(settings: Settings) -> str:
    """``gpuclass_<class>``; hyphens, which nftables does not know in names, become underscores."""
    return f"gpuclass_{settings.class_.name.replace('-', '_')}"


def ruleset(settings: Settings) -> str:
    """The class's table in nftables' own language.

    What comes from the class's bridge is judged packet by packet, by where it goes: only *replies* are let through for
    belonging to a connection, so a table that gets stricter also ends what is open already. What is meant for the
    machine is judged before a published port could redirect it elsewhere, and again where it arrives.
    """
    site, is_open = settings.site, settings.network.internet == "open"
    if is_open:
        sets = _set("resolvers", map(str, settings.network.resolvers)) + _set("closed", CLOSED_RANGES, "flags interval")
        ask = "ip daddr @resolvers meta l4proto { tcp, udp } th dport 53 accept"
        machine = [ask]
        onward = [
            f'oifname "{settings.network_name}" goto refuse',
            ask,
            f"meta l4proto {{ tcp, udp }} th dport {DNS_PORTS} goto refuse",
            "ip daddr @closed goto refuse",
        ]
    else:
        sets, machine, onward = "", [], ["goto refuse"]
    return _TEMPLATE.format(
        table=table_name(settings),
        sets=sets,
        bridge=settings.network_name,
        subnet=settings.network.subnet,
        gateway=settings.gateway,
        ports=", ".join(str(port) for port in sorted({site.hub_port, site.exchange_port, site.desk_port})),
        machine=_rules(machine),
        onward=_rules(onward),
    )


def digest(rules: str) -> str:
    """A short name for these rules; the loaded table carries it as a comment."""
    return hashlib.sha256(rules.encode()).hexdigest()[:12]


def load(settings: Settings) -> None:
    """Put the class's table in place of the one that may be there, in one step: there is no moment without it.

    Raises:
        FirewallError: nftables is missing or refused.
    """
    rules, name = ruleset(settings), table_name(settings)
    signed = rules.replace("counter\n", f'counter comment "{digest(rules)}"\n')
    _nft("-f", "-", text=f"table inet {name}\ndelete table inet {name}\n{signed}")


def remove(settings: Settings) -> None:
    """Remove the class's table; nothing happens when it is not there."""
    name = table_name(settings)
    _nft("-f", "-", text=f"table inet {name}\ndelete table inet {name}\n")


def loaded(settings: Settings) -> Loaded | None:
    """What the kernel has of the class's table; None when it has none."""
    name = table_name(settings)
    tables = _objects(_nft("-j", "list", "tables", "inet"), "table")
    if not any(table["name"] == name for table in tables):
        return None
    listing = _nft("-j", "list", "table", "inet", name)
    counting = [rule for rule in _objects(listing, "rule") if "counter" in rule["expr"][0]]
    return Loaded(
        digest=next((rule["comment"] for rule in counting if "comment" in rule), ""),
        refused=sum(rule["expr"][0]["counter"]["packets"] for rule in counting),
    )


def _set(name: str, addresses: Iterable[str], flags: str = "") -> str:
    lines = ["type ipv4_addr", *([flags] if flags else []), f"elements = {{ {', '.join(addresses)} }}"]
    return f"\tset {name} {{\n{_rules(lines)}\t}}\n\n"


def _rules(lines: Iterable[str]) -> str:
    return "".join(f"\t\t{line}\n" for line in lines)


def _objects(listing: str, kind: str) -> list[dict[str, Any]]:
    return [entry[kind] for entry in json.loads(listing)["nftables"] if kind in entry]


def _nft(*arguments: str, text: str | None = None) -> str:
    program = shutil.which("nft", path=f"{os.defpath}:/usr/sbin:/sbin")
    if program is None:
        raise FirewallError("nftables is not installed, so the class has no walls: apt-get install nftables")
    done = subprocess.run([program, *arguments], input=text, capture_output=True, text=True, check=False)  # noqa: S603  # our own arguments
    if done.returncode:
        raise FirewallError(
            f"nftables refused ({' '.join(arguments)}): {done.stderr.strip()}\n"
            "The rules need root and a kernel with nf_tables; `gpuclass network show` says what is in place."
        )
    return done.stdout
