"""Published ports: from everywhere, of every kind, and refused where somebody has them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from engine.kernel import process
from tests.network.machines import HOST, HOST6, Machine, server_at
from tests.support.captures import wait_for
from tests.support.roots import environment

pytestmark = [pytest.mark.kernel, pytest.mark.peers("ip", "nft", "nsenter")]


FIFTY = """
from concurrent.futures import ThreadPoolExecutor
from engine.engine import Engine
from engine.model import LaunchOptions, PublishedPort

def start(number):
    port = PublishedPort("", 8000 + number, 80)
    options = LaunchOptions("starter", ("sleep", "100"), name=f"c{number}", publish=(port,))
    return engine.containers.run(options)

with Engine(launcher=True) as engine, ThreadPoolExecutor(8) as pool:
    list(pool.map(start, range(50)))
"""


def monitor_of(machine: Machine, name: str) -> int:
    identity = machine.inspect(name)["id"]
    with open(f"{machine.root.layout.run}/{identity}/state.json", encoding="utf-8") as file:
        return int(json.load(file)["monitor"])


def test_a_port_is_reached_from_everywhere(machine: Machine) -> None:
    machine.serve("web", "-h", "web", "-p", "8080:80", "-p", "127.0.0.1:9090:80")
    machine.serve("other", "-p", "5300:53/udp", kind="udp", port=53)
    for place in ("127.0.0.1", HOST, HOST6):
        assert machine.ask(place, 8080).endswith(" web"), place
    assert machine.ask("::1", 8080).endswith("refused")
    assert machine.ask("127.0.0.1", 9090).endswith(" web")
    assert machine.ask(HOST, 9090).endswith("refused")
    assert machine.ask("127.0.0.1", 5300, kind="udp").split()
    outside = machine.outside
    assert machine.ask(HOST, 8080, at=outside) == "198.51.100.2 web"
    assert machine.ask(HOST6, 8080, at=outside) == "fd01::2 web"
    assert machine.ask(HOST, 5300, at=outside, kind="udp").startswith("198.51.100.2 ")
    assert machine.ask(HOST, 9090, at=outside).endswith("refused")
    for name in ("other", "web"):  # another container, and itself
        assert machine.ask_from(name, HOST, 8080).endswith(" web")
        assert machine.ask_from(name, "10.207.0.1", 8080).endswith(" web")


def test_ranges_free_ports_and_what_lists_them(machine: Machine) -> None:
    machine.serve("web", "-h", "web", "-p", "7000-7199:80-279", "-p", "80", "-p", "53/udp")
    assert machine.ask(HOST, 7000).endswith(" web")
    listed = json.loads(machine.cowl("port", "--json", "web"))
    free = next(port for port in listed if port["container_port"] == 80 and port["host_port"] != 7000)
    assert machine.ask(HOST, free["host_port"]).endswith(" web")
    assert len(listed) == 202
    assert machine.cowl("port", "web", "81").strip() == "0.0.0.0:7001"
    assert "0.0.0.0:7000-7199->80-279/tcp" in machine.cowl("ps", "--no-trunc")
    assert "not published" in machine.cowl("port", "web", "999", fails=True)
    machine.cowl("stop", "-t", "0", "web")
    assert machine.cowl("port", "web") == ""
    assert machine.ask(HOST, 7000).endswith("refused")


def test_the_first_free_port_of_a_range(machine: Machine) -> None:
    sleeping = ("-p", "127.0.0.1:7000-7002:80", "starter", "sleep", "99")
    with server_at(machine, 7001):
        for number in range(2):
            machine.cowl("run", "-d", "--name", f"c{number}", *sleeping)
        refused = machine.cowl("run", *sleeping, fails=True)
    assert "cannot publish port 127.0.0.1:7000-7002/tcp (none of them is free)" in refused
    assert [machine.cowl("port", f"c{number}", "80").strip() for number in range(2)] == [
        "127.0.0.1:7000",
        "127.0.0.1:7002",
    ]
    machine.cowl("run", "-d", "--name", "two", "-p", "7000-7003:80", "-p", "7000-7004:81", *sleeping[2:])
    assert machine.cowl("port", "two", "80").strip() == "0.0.0.0:7001"
    assert machine.cowl("port", "two", "81").strip() == "0.0.0.0:7003"
    machine.cowl("rm", "-f", "c0")
    machine.cowl("restart", "-t", "0", "two")  # the range is looked through anew
    assert machine.cowl("port", "two", "81").strip() == "0.0.0.0:7001"


def test_what_an_image_exposes_is_published_at_free_ports(machine: Machine) -> None:
    machine.cowl("run", "--name", "made", "starter", "true")
    machine.cowl("commit", "-c", "EXPOSE 80 53/udp 9000", "made", "exposing")
    expose = ("--expose", "80", "--expose", "8000-8001/udp")
    machine.cowl("run", "-d", "--name", "web", "-P", "-p", "7000:9000", *expose, "exposing", "sleep", "99")
    listed = json.loads(machine.cowl("port", "--json", "web"))
    assert {(port["container_port"], port["protocol"]) for port in listed} == {
        (80, "tcp"),
        (53, "udp"),
        (9000, "tcp"),
        (8000, "udp"),
        (8001, "udp"),
    }
    assert next(port["host_port"] for port in listed if port["container_port"] == 9000) == 7000
    assert all(port["host_port"] for port in listed)
    assert "is no port" in machine.cowl("run", "--expose", "0", "starter", "true", fails=True)


def test_a_version_of_ip_of_ones_own(machine: Machine) -> None:
    machine.serve(
        "web", "-h", "web", "-p", "0.0.0.0:8080:80", "-p", "[::]:9090:80", "-p", f"[{HOST6}]:8080:80"
    )
    assert machine.ask(HOST, 8080).endswith(" web")
    assert machine.ask(HOST, 9090).endswith("refused")
    assert machine.ask(HOST6, 9090).endswith(" web")
    assert machine.ask(HOST6, 8080).endswith(" web")
    assert machine.ask("::1", 9090).endswith("refused")
    refused = machine.cowl("run", "-p", "[::1]:1:1", "starter", "true", fails=True)
    assert "cannot publish a port at [::1]" in refused


def test_a_port_that_somebody_has_is_refused_with_their_name(machine: Machine) -> None:
    machine.serve("web", "-p", "8080:80", "-p", "5300:53/udp")
    for option in ("8080:80", "127.0.0.1:8080:1", "5300:1/udp"):
        assert "the container web has it" in machine.cowl("run", "-p", option, "starter", "true", fails=True)
    machine.cowl("run", "--rm", "-p", "8080:80/udp", "starter", "true")
    server = subprocess.Popen(
        ["nsenter", "-t", str(machine.pid), "-n", sys.executable, machine.scripts / "serve", "tcp", "6000"],
        stdout=subprocess.PIPE,
        env=environment(machine.root),
    )
    try:
        assert server.stdout
        server.stdout.readline()
        words = ("run", "-d", "--name", "late", "-p", "6000:80", "starter", "sleep", "99")
        assert f"the process {server.pid}, python" in machine.cowl(*words, fails=True)
        taken = machine.run(sys.executable, machine.scripts / "serve", "tcp", "8080")
        assert "Address already in use" in taken.stderr
    finally:
        server.kill()
        server.communicate()
    machine.cowl("start", "late")
    assert "no address of this machine" in machine.cowl(
        "run", "-p", "192.0.2.1:1:1", "starter", "true", fails=True
    )


def test_the_hosts_loopback_is_out_of_reach(machine: Machine) -> None:
    machine.cowl(
        "run", "-d", "--name", "a", "-p", "8080:80", "--cap-add", "NET_ADMIN", "starter", "sleep", "99"
    )
    machine.run("ip", "address", "add", "127.0.0.77/8", "dev", "lo")
    pid = machine.inspect("a")["pid"]
    for line in (
        "ip address delete 127.0.0.1/8 dev lo",
        "ip link set lo down",
        "ip route add 127.0.0.77 via 10.207.0.1",
    ):
        machine.run(*line.split(), at=pid)
    machine.run("sysctl", "-qw", "net.ipv4.conf.eth0.route_localnet=1", at=pid)
    server = subprocess.Popen(
        ["nsenter", "-t", str(machine.pid), "-n", sys.executable, machine.scripts / "serve", "tcp", "6000"],
        stdout=subprocess.PIPE,
        env=environment(machine.root),
    )
    try:
        assert server.stdout
        server.stdout.readline()
        assert machine.ask("127.0.0.77", 6000).split()
        assert machine.ask("127.0.0.77", 6000, at=pid, wait=1) == "no answer: timed out"
        # Seen to be the rule that holds: without it the way is open.
        table = machine.run("nft", "list", "tables").stdout.split()[2]
        machine.run("nft", "flush", "chain", "inet", table, "guard")
        assert machine.ask("127.0.0.77", 6000, at=pid).endswith(os.uname().nodename)
    finally:
        server.kill()
        server.communicate()


def test_fifty_at_once_and_nothing_left(machine: Machine) -> None:
    done = machine.run(sys.executable, "-c", FIFTY)
    assert done.returncode == 0, done.stderr
    with open(f"{machine.root.layout.run}/network.json", encoding="utf-8") as file:
        members = json.load(file)["members"]
    assert len({fields[7] for fields in members.values()}) == 50
    hosts = machine.cowl("exec", "c0", "cat", "/etc/hosts")
    assert all(f"c{number}\n" in hosts for number in range(50))
    machine.cowl("rm", "-f", *(f"c{number}" for number in range(50)))
    assert machine.settled() == []


@pytest.mark.parametrize("how", ["end", "rm -f", "start again"])
def test_a_killed_monitor_leaves_nothing_for_long(machine: Machine, how: str) -> None:
    machine.cowl("run", "-d", "--name", "a", "-p", "8080:80", "starter", "sleep", "100")
    os.kill(monitor_of(machine, "a"), signal.SIGKILL)
    if how == "rm -f":
        machine.cowl("rm", "-f", "a")
    else:
        os.kill(machine.inspect("a")["pid"], signal.SIGKILL)
        wait_for(lambda: machine.cowl("ps", "-q") == "")
        machine.cowl("start", "a") if how == "start again" else machine.cowl(
            "run", "--rm", "-p", "8080:80", "starter", "true"
        )
        machine.cowl("rm", "-f", "a")
    assert machine.settled() == []


def test_a_power_cut_for_the_monitor_at_every_step(machine: Machine) -> None:
    words = ("-m", "engine.cli", "run", "--name", "a", "-p", "8080:80")
    steps = ("after-link", "after-bridge", "after-pair", "after-ports", "after-record", "before-forgetting")
    for step in steps:
        mode = "--rm" if step == "after-pair" else "-d"
        fault = {"COWL_FAULT": f"network.{step}"}
        done = machine.run(sys.executable, *words, mode, "starter", "true", env=fault)
        assert done.returncode or step == "before-forgetting", step
        if machine.cowl("ps", "-aq"):
            machine.cowl("rm", "-f", "a")
        assert machine.settled() == [], step


def test_a_start_that_fails_leaves_nothing(machine: Machine) -> None:
    machine.cowl("run", "--rm", "-p", "8080:80", "starter", "/nowhere", fails=True)
    assert machine.settled() == []


def test_after_a_reboot_addresses_and_ports_are_free(machine: Machine) -> None:
    machine.serve("web", "-p", "8080:80")
    first, monitor = machine.inspect("web")["pid"], monitor_of(machine, "web")
    for pid in (monitor, first):
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda pid=pid: process.start_time(pid) is None)
    subprocess.run(["rm", "-rf", machine.root.layout.run], check=True)
    machine.cowl("start", "web")
    wait_for(lambda: machine.ask(HOST, 8080).startswith(f"{HOST} "))
