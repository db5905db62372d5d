"""Which addresses a bridge gives, as numbers: no machine is needed."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.cli.ports import ports_text, published
from engine.errors import LaunchError, UsageError
from engine.kernel.links import AF_INET, Route
from engine.model import PublishedPort
from engine.network import addressing

KEY = "0123456789abcdef"
NETWORKS = st.tuples(st.integers(0, (1 << 32) - 1), st.integers(1, 32)).map(
    lambda drawn: IPv4Network((drawn[0], drawn[1]), strict=False)
)
PRIVATE = [IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]


def route(network: IPv4Network) -> Route:
    return Route(AF_INET, network.network_address.packed, network.prefixlen, 1)


@given(st.lists(NETWORKS, max_size=12))
def test_a_subnet_is_private_and_nobody_elses(taken: list[IPv4Network]) -> None:
    try:
        subnet = addressing.choose([route(network) for network in taken], KEY, ipv6=True)
    except LaunchError:
        pools = [IPv4Network(text) for text in ("10.207.0.0/16", "172.29.0.0/16", "192.168.0.0/16")]
        assert all(any(pool.overlaps(network) for network in taken) for pool in pools)
        return
    own = IPv4Network((subnet.network, addressing.PREFIX))
    assert any(own.subnet_of(private) for private in PRIVATE)
    assert not any(own.overlaps(network) for network in taken)
    assert subnet.gateway6 == bytes.fromhex("fd0123456789") + bytes(9) + b"\x01"


@settings(max_examples=20)
@given(st.integers(0, (1 << 32) - 1))
def test_every_address_is_offered_once_whatever_was_last(last: int) -> None:
    subnet = addressing.choose([], KEY, ipv6=False)
    own = IPv4Network((subnet.network, addressing.PREFIX))
    offered = [IPv4Address(packed) for packed in subnet.candidates(last)]
    assert set(offered) == set(own.hosts()) - {IPv4Address(subnet.gateway)}
    assert len(offered) == len(set(offered))
    assert all(packed.packed in subnet for packed in offered)
    if IPv4Address(last) in offered[1:]:
        assert offered[-1] == IPv4Address(last)


def test_the_default_route_takes_nothing() -> None:
    assert addressing.choose([Route(AF_INET, b"", 0, 1)], KEY, ipv6=False).gateway == b"\x0a\xcf\0\x01"


@pytest.mark.parametrize(
    "text", ["", "x", "01:00:5e:00:00:01", "00:00:00:00:00:00", "02:00:00:00:00", "zz:0:0:0:0:0"]
)
def test_what_is_no_hardware_address(text: str) -> None:
    with pytest.raises(UsageError, match="write it like"):
        addressing.parse_mac(text)


def test_neighbouring_ports_are_shown_as_one() -> None:
    ports = [
        *(PublishedPort("", 7000 + number, 80 + number) for number in range(3)),
        PublishedPort("", 9000, 80),
        PublishedPort("::1", 53, 53, "udp"),
    ]
    assert ports_text(ports) == ("0.0.0.0:7000-7002->80-82/tcp, 0.0.0.0:9000->80/tcp, [::1]:53->53/udp")


def test_how_ports_are_spelled() -> None:
    assert published(["80", "127.0.0.1::81", "0:82", "[::2]:8080:80/UDP", "8000-8001:90-91"]) == (
        PublishedPort("", 0, 80),
        PublishedPort("127.0.0.1", 0, 81),
        PublishedPort("", 0, 82),
        PublishedPort("::2", 8080, 80, "udp"),
        PublishedPort("", 8000, 90),
        PublishedPort("", 8001, 91),
    )
    assert published(["8000-8010:80"]) == (PublishedPort("", 8000, 80, "tcp", 8010),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "80-81:1-3",
        "80:80-81",
        "65536:1",
        "\uff11:2",
        "::1:80:80",
        "[::1:80",
        "80/ip",
        "2-1:1",
        "h:1:1",
    ],
)
def test_what_is_no_port(text: str) -> None:
    with pytest.raises(UsageError, match="bad port"):
        published([text])
