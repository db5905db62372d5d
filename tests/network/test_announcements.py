"""What a container announces to those on its bridge, and nobody believes."""

from __future__ import annotations

import os
import sys
import time

import pytest

from tests.network.machines import Machine

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.peers("ip", "nsenter"),
    pytest.mark.skipif(not os.path.exists("/proc/net/if_inet6"), reason="no IPv6 here"),
]

ROUTER = """
import socket, struct, time
link = socket.if_nametoindex("eth0")
with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
    raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
    raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, link)
    packet = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
    packet += struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 3600, 3600, 0) + bytes.fromhex("fd77" + "00" * 14)
    sent = 0
    for _ in range(100):
        try:
            raw.sendto(packet, ("ff02::1", 0, 0, link))
            sent += 1
        except OSError:  # its own address is not settled yet
            pass
        if sent == 5:
            break
        time.sleep(0.1)
    print("sent", sent)
"""


def test_neither_the_host_nor_a_neighbour_believes_in_a_new_router(lone: Machine) -> None:
    """It would have all of their traffic (CVE-2020-13401)."""
    lone.cowl("run", "-d", "--name", "victim", "starter", "sleep", "100")
    said = lone.cowl("run", "--rm", "starter", "python3", "-c", ROUTER)
    assert said == "sent 5\n"
    time.sleep(0.2)
    routes = ("python3", "-c", "print(open('/proc/net/ipv6_route').read())")
    for found in (
        lone.run(sys.executable, *routes[1:]).stdout,
        lone.cowl("exec", "victim", *routes),
    ):
        assert "fe80" in found
        assert "fd77" not in found
        # A way to everywhere through somebody: no network, no length, a gateway.
        assert not [
            line for line in found.splitlines() if line.startswith("0" * 32 + " 00 ") and " fe80" in line
        ]
