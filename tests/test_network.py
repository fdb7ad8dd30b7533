"""The class network and its walls as values; tests/docker/test_network.py tries them from inside."""

import ipaddress
from typing import Any

import pytest

from gpuclass import network
from gpuclass.firewall import ruleset, table_name
from gpuclass.settings import Settings

OFF = """\
table inet gpuclass_deep_camp {
	chain refuse {
		counter
		meta l4proto tcp reject with tcp reset
		reject with icmpx admin-prohibited
	}

	chain before_redirects {
		type filter hook prerouting priority mangle; policy accept;
		iifname "gpc-deep-camp" meta nfproto ipv6 drop
		iifname "gpc-deep-camp" ip saddr != 10.89.0.0/20 drop
		iifname "gpc-deep-camp" fib daddr type local goto class_to_machine
	}

	chain input {
		type filter hook input priority filter - 10; policy accept;
		iifname "gpc-deep-camp" goto class_to_machine
		iifname != "lo" ip daddr 10.89.0.1 goto refuse
	}

	chain class_to_machine {
		ct direction reply ct state established accept
		meta l4proto icmp ct state related accept
		ip daddr 10.89.0.1 tcp dport { 8081, 8082, 8083 } accept
		goto refuse
	}

	chain forward {
		type filter hook forward priority filter - 10; policy accept;
		iifname "gpc-deep-camp" goto from_class
		oifname "gpc-deep-camp" goto to_class
	}

	chain from_class {
		goto refuse
	}

	chain to_class {
		ct direction reply ct state established accept
		meta l4proto icmp ct state related accept
		goto refuse
	}
}
"""

OPEN_FROM_CLASS = """\
	chain from_class {
		oifname "gpc-deep-camp" goto refuse
		ip daddr @resolvers meta l4proto { tcp, udp } th dport 53 accept
		meta l4proto { tcp, udp } th dport { 53, 853 } goto refuse
		ip daddr @closed goto refuse
	}
"""


def settings(**network_section: Any) -> Settings:
    return Settings.model_validate(
        {"class": {"name": "deep-camp", "title": "Deep camp"}, "network": network_section, "path": "/data/class.toml"},
        strict=False,
    )


def open_settings() -> Settings:
    return settings(internet="open", resolvers=["10.0.0.53", "1.1.1.1"])


def test_off_is_the_hub_and_the_exchange_and_nothing_else() -> None:
    assert ruleset(settings()) == OFF


def test_open_is_public_addresses_and_the_named_resolvers() -> None:
    rules = ruleset(open_settings())
    assert OPEN_FROM_CLASS in rules
    assert "elements = { 10.0.0.53, 1.1.1.1 }" in rules


def test_only_the_ways_out_differ_between_off_and_open() -> None:
    shared = [line for line in OFF.splitlines() if line in ruleset(open_settings()).splitlines()]
    assert shared == OFF.splitlines()


def test_the_table_is_named_after_the_class() -> None:
    assert table_name(settings()) == "gpuclass_deep_camp"


def test_the_networks_whole_request() -> None:
    assert network.request(settings()) == {
        "name": "gpc-deep-camp",
        "driver": "bridge",
        "internal": True,
        "enable_ipv6": False,
        "ipam": {
            "Driver": "default",
            "Config": [{"Subnet": "10.89.0.0/20", "IPRange": None, "Gateway": "10.89.0.1", "AuxiliaryAddresses": None}],
        },
        "options": {
            "com.docker.network.bridge.name": "gpc-deep-camp",
            "com.docker.network.bridge.enable_icc": "false",
        },
        "labels": {"gpuclass.class": "deep-camp"},
        "check_duplicate": True,
    }
    assert network.request(open_settings())["internal"] is False


def test_names_are_asked_of_the_named_resolvers_or_of_nobody() -> None:
    assert network.dns(settings()) == {"dns": ["127.0.0.1"], "dns_opt": ["attempts:0"], "dns_search": ["."]}
    assert network.dns(open_settings()) == {"dns": ["10.0.0.53", "1.1.1.1"], "dns_opt": [], "dns_search": ["."]}


@pytest.mark.parametrize("resolver", ["127.0.0.53", "169.254.169.254", "224.0.0.251"])
def test_a_resolver_that_containers_cannot_or_must_not_reach_is_refused(resolver: str) -> None:
    with pytest.raises(ValueError, match=resolver.replace(".", r"\.")):
        settings(internet="open", resolvers=[resolver])


ROUTES = """\
Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	010200C0	0003	0	0	0	00000000	0	0	0
docker0	000011AC	00000000	0001	0	0	0	0000FFFF	0	0	0
tun0	0000590A	00000000	0001	0	0	0	00F0FFFF	0	0	0
old0	0000600A	00000000	0000	0	0	0	00F0FFFF	0	0	0
"""


def test_routes_are_read_without_the_default_one_and_those_that_are_down() -> None:
    assert network.routes(ROUTES) == [
        network.Taken(ipaddress.IPv4Network("172.17.0.0/16"), "route through docker0"),
        network.Taken(ipaddress.IPv4Network("10.89.0.0/20"), "route through tun0"),
    ]


def test_a_range_in_use_is_refused_by_the_name_of_the_setting() -> None:
    problem = network.conflict(ipaddress.IPv4Network("10.89.4.0/24"), network.routes(ROUTES))
    assert problem is not None
    assert problem.startswith("network.subnet 10.89.4.0/24 overlaps")
    assert "10.89.0.0/20 (route through tun0)" in problem


def test_a_free_range_is_no_conflict() -> None:
    assert network.conflict(ipaddress.IPv4Network("10.90.0.0/20"), network.routes(ROUTES)) is None


def test_without_root_the_message_says_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    for act in (network.up, network.down, network.status):
        with pytest.raises(network.NetworkError, match="sudo"):
            act(settings())
