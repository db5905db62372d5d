"""Interfaces and packet rules, made by our messages and looked at by ip(8) and nft(8)."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Callable, Iterator

import pytest

from engine.kernel import links, namespaces, nftables, traffic
from engine.kernel.netlink import Netlink
from tests.network.machines import new_network

pytestmark = [pytest.mark.kernel, pytest.mark.peers("ip", "nft", "nsenter")]
Tell = Callable[..., str]


@pytest.fixture
def tell() -> Iterator[Tell]:
    """Make this process's thread live in a network of its own for a test; what a command says in it."""
    back = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    with new_network() as pid:
        namespaces.enter(f"/proc/{pid}/ns/net", namespaces.CLONE_NEWNET)
        try:
            with Netlink() as channel:
                try:
                    channel.change(links.add_bridge("probe0", b"\x02\0\0\0\0\x01", 1500))
                except OSError as error:
                    pytest.skip(f"this kernel has no bridges: {error}")
                found = links.find(channel, "probe0")
                assert found
                channel.change(links.remove(found.number))
            yield lambda *words: subprocess.run(words, capture_output=True, text=True, check=True).stdout
        finally:
            namespaces.setns(back, namespaces.CLONE_NEWNET)
            os.close(back)


def test_a_bridge_with_a_pair_is_what_ip_shows(tell: Tell) -> None:
    with new_network() as other, Netlink() as channel:
        channel.change(links.add_bridge("b0", b"\x02c\x0a\x01\0\x01", 1400))
        bridge = links.find(channel, "b0")
        assert bridge is not None
        channel.change(
            links.add_address(bridge.number, links.AF_INET, b"\x0a\x01\0\x01", 24),
            links.add_address(bridge.number, links.AF_INET6, b"\xfd" + bytes(14) + b"\x01", 64),
            links.add_name(bridge.number, "b0-by-a-name-that-is-longer"),
            links.add_veth("v0", bridge.number, 1300, "eth0", b"\x02c\x0a\x01\0\x02", other),
            links.set_alias("v0", "what it is for"),
            links.set_hairpin("v0"),
        )
        assert links.find(channel, "b0-by-a-name-that-is-longer") == links.find(channel, "b0")
        assert links.find(channel, "nothing") is None
        (port,) = links.ports(channel, bridge.number)
        assert (port.name, port.alias, port.kind, port.mtu, port.up) == (
            "v0",
            "what it is for",
            "veth",
            1300,
            True,
        )
        assert [(route.destination, route.prefix) for route in links.routes(channel, links.AF_INET)] == [
            (b"\x0a\x01\0\0", 24)
        ]
        addresses = links.addresses(channel, links.AF_INET6)
        assert (b"\xfd" + bytes(14) + b"\x01", 64, 0) in [
            (one.address, one.prefix, one.scope) for one in addresses
        ]
        (shown,) = json.loads(tell("ip", "-j", "-d", "link", "show", "v0"))
        assert shown["linkinfo"]["info_slave_data"]["hairpin"] is True
        assert shown["master"] == "b0"
        (theirs,) = json.loads(tell("nsenter", "-t", str(other), "-n", "ip", "-j", "link", "show", "eth0"))
        assert (theirs["address"], theirs["mtu"]) == ("02:63:0a:01:00:02", 1300)
        assert traffic.transferred(other) == (0, 0)
        channel.change(links.remove(port.number))
        assert links.ports(channel, bridge.number) == []


def test_a_failure_says_what_why_and_does_not_stop_the_others(tell: Tell) -> None:
    with Netlink() as channel:
        channel.change(links.add_bridge("b0", b"\x02\0\0\0\0\x01", 1500))
        with pytest.raises(OSError, match="cannot make the bridge b0: File exists") as caught:
            channel.change(
                links.add_bridge("b0", b"\x02\0\0\0\0\x01", 1500),
                links.add_bridge("b1", b"\x02\0\0\0\0\x01", 1500),
            )
        assert caught.value.errno == errno.EEXIST
        assert links.find(channel, "b1") is not None
        bridge = links.find(channel, "b0")
        assert bridge
        with pytest.raises(OSError, match="Nexthop has invalid gateway"):  # the kernel's own word
            channel.change(links.add_default_route(bridge.number, links.AF_INET, b"\x0a\x01\0\x01"))


def test_a_table_is_what_nft_shows_and_comes_whole_or_not_at_all(tell: Tell) -> None:
    ports = nftables.Map("ports", ("inet_proto", "inet_service"), ("ipv4_addr", "inet_service"))
    rule = nftables.family(nftables.IPV4) + nftables.local_destination()
    rule += nftables.to_mapped(nftables.IPV4, "ports", by_address=False)
    leave = nftables.interface("b0", way="out", equal=False) + nftables.family(nftables.IPV4)
    leave += nftables.address_in(nftables.IPV4, "saddr", b"\x0a\x01\x04\0", 22) + nftables.masquerade()
    chains = (
        nftables.Chain("in", "nat", "prerouting", -100, (rule,)),
        nftables.Chain("out", "nat", "postrouting", 100, (leave,)),
    )
    with nftables.open_channel() as channel:
        assert not nftables.exists(channel, "probe")
        wrong = nftables.Chain(
            "wrong", "nat", "prerouting", -100, (nftables.to_mapped(2, "none", by_address=False),)
        )
        with pytest.raises(OSError, match="cannot add a rule to the chain wrong"):
            nftables.create(channel, "probe", (ports,), (*chains, wrong))
        assert not nftables.exists(channel, "probe")
        nftables.create(channel, "probe", (ports,), chains)
        key = nftables.concatenation(b"\x06", (8080).to_bytes(2, "big"))
        value = nftables.concatenation(b"\x0a\x01\x04\x09", (80).to_bytes(2, "big"))
        many = [
            (nftables.concatenation(b"\x11", number.to_bytes(2, "big")), value) for number in range(1, 3001)
        ]
        nftables.add_elements(channel, "probe", "ports", [(key, value), *many])
        other = nftables.concatenation(b"\x0a\x01\x04\x0a", (80).to_bytes(2, "big"))
        with pytest.raises(OSError, match="File exists"):
            nftables.add_elements(channel, "probe", "ports", [(b"\x06\0\0\0\0\x01\0\0", other), (key, other)])
        nftables.remove_elements(channel, "probe", "ports", [pair[0] for pair in many])
        nftables.remove_elements(channel, "probe", "ports", [b"\x06\0\0\0\0\x07\0\0", many[0][0]])
        shown = " ".join(tell("nft", "list", "table", "inet", "probe").split())
        assert "elements = { tcp . 8080 : 10.1.4.9 . 80 }" in shown
        assert "fib daddr type local dnat ip to meta l4proto . th dport map @ports" in shown
        assert 'oifname != "b0" ip saddr 10.1.4.0/22 masquerade' in shown
        nftables.remove(channel, "probe")
        nftables.remove(channel, "probe")
        assert not nftables.exists(channel, "probe")
