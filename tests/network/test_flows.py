"""Connections of UDP when the container behind a port is another: the one of now is reached."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.network.machines import HOST, HOST6, INTERNET, Machine, server_at
from tests.support.captures import wait_for
from tests.support.roots import environment

pytestmark = [pytest.mark.kernel, pytest.mark.peers("ip", "nft", "nsenter")]

STEADY = """
import socket, sys, time
host, port = sys.argv[1:3]
asker = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
asker.settimeout(0.05)
asker.connect((host, int(port)))
while True:
    try:
        asker.send(b"?")
        print(asker.recv(64).decode().split()[1], flush=True)
    except OSError:
        print("nobody", flush=True)
    time.sleep(0.02)
"""
"""A client that goes on asking from one port, and prints who answers."""
ENDS = ("src=", "dst=", "sport=", "dport=")
"""Words that say between whom a connection is; the others change."""


@contextlib.contextmanager
def steady(machine: Machine, host: str, port: int, at: int) -> Iterator[subprocess.Popen[str]]:
    """One of them in the network of *at*."""
    client = subprocess.Popen(
        ["nsenter", "-t", str(at), "-n", sys.executable, "-c", STEADY, host, str(port)],
        stdout=subprocess.PIPE,
        env=environment(machine.root),
        text=True,
    )
    try:
        yield client
    finally:
        client.kill()
        client.communicate()


def await_answer(client: subprocess.Popen[str], who: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    assert client.stdout
    said = ""
    while (line := client.stdout.readline().strip()) != who:
        said = line or said
        assert time.monotonic() < deadline, f"{said} answers instead of {who}"


@pytest.mark.parametrize("host", [HOST, HOST6])
def test_a_client_that_goes_on_sending_reaches_the_container_of_now(machine: Machine, host: str) -> None:
    place = f"[{host}]:5300:53/udp" if ":" in host else f"{host}:5300:53/udp"
    with steady(machine, host, 5300, machine.outside) as client:
        await_answer(client, "nobody")  # it is known as a connection to the machine itself
        machine.serve("one", "-h", "first", "-p", "5300:53/udp", kind="udp", port=53)
        await_answer(client, "first")
        machine.cowl("rm", "-f", "one")
        await_answer(client, "nobody")
        machine.serve("two", "-h", "second", "-p", place, kind="udp", port=53)
        await_answer(client, "second")
        kill_with_its_monitor(machine, "two")
        machine.serve("three", "-h", "third", "-p", "5300-5302:53-55/udp", kind="udp", port=53)
        await_answer(client, "third")


def test_a_server_of_the_machine_has_its_port_back(machine: Machine) -> None:
    with steady(machine, HOST, 5300, machine.outside) as client:
        machine.serve("one", "-h", "first", "-p", "5300:53/udp", kind="udp", port=53)
        machine.cowl("run", "-d", "starter", "sleep", "100")
        await_answer(client, "first")
        machine.cowl("rm", "-f", "one")
        with server_at(machine, 5300, kind="udp"):
            await_answer(client, os.uname().nodename)


def kill_with_its_monitor(machine: Machine, name: str) -> None:
    """Nobody tidies up after it."""
    found = machine.inspect(name)
    with open(f"{machine.root.layout.run}/{found['id']}/state.json", encoding="utf-8") as file:
        os.kill(int(json.load(file)["monitor"]), signal.SIGKILL)
    os.kill(found["pid"], signal.SIGKILL)


def test_other_connections_stay(machine: Machine) -> None:
    """Whatever their port: to elsewhere, of TCP, to other containers."""
    for name in ("tcp_timeout_close", "udp_timeout", "udp_timeout_stream"):  # none ends by itself meanwhile
        machine.run("sysctl", "-qw", f"net.netfilter.nf_conntrack_{name}=600")
    machine.serve("kept", "-h", "kept", "-p", "6000:53/udp", kind="udp", port=53)
    machine.ask(HOST, 6000, kind="udp", at=machine.outside)
    machine.ask(HOST, 5300, at=machine.outside)
    machine.ask(INTERNET, 5300, kind="udp", wait=0.1)

    def known() -> set[str]:
        lines = machine.run("cat", "/proc/net/nf_conntrack").stdout.splitlines()
        ends = [[word for word in line.split() if word.startswith(ENDS)] for line in lines]
        return {" ".join(found) for found in ends if found}

    before = {line for line in known() if "port=6000" in line or "port=5300" in line}
    assert len(before) >= 2
    machine.serve("one", "-p", "5300:53/udp", kind="udp", port=53)
    machine.ask(HOST, 5300, kind="udp", at=machine.outside)
    machine.cowl("rm", "-f", "one")
    wait_for(lambda: not any("src=10." in line and "dport=5300" in line for line in known()))
    assert before <= known()
