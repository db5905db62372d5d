"""Containers on a bridge: with each other, with the world, by address and by name."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time

import pytest

from tests.network.machines import ELSEWHERE, HOST, HOST6, INTERNET, INTERNET6, Machine
from tests.support.roots import environment

pytestmark = [pytest.mark.kernel, pytest.mark.peers("ip", "nft", "nsenter")]


def network_of(machine: Machine, name: str) -> dict[str, object]:
    found: dict[str, object] = machine.inspect(name)["network"]
    return found


def test_containers_reach_each_other_by_name_and_the_internet_as_the_host(machine: Machine) -> None:
    outside = subprocess.Popen(
        ["nsenter", "-t", str(machine.outside), "-n", sys.executable, machine.scripts / "serve", "tcp", "80"],
        stdout=subprocess.PIPE,
        env=environment(machine.root),
    )
    try:
        assert outside.stdout
        outside.stdout.readline()
        machine.serve("web", "-h", "webhost", "--network-alias", "db")
        machine.serve("other", kind="udp", port=53)
        web, other = network_of(machine, "web"), network_of(machine, "other")
        for name in ("web", "webhost", "db", str(web["ip_address"])):
            assert machine.ask_from("other", name, 80) == f"{other['ip_address']} webhost"
        assert machine.ask_from("other", str(web["ip6_address"]), 80) == f"{other['ip6_address']} webhost"
        assert machine.ask_from("web", "other", 53, kind="udp").startswith(f"{web['ip_address']} ")
        assert machine.ask_from("web", ELSEWHERE, 80).startswith(f"{HOST} ")
        assert machine.ask_from("web", INTERNET6, 80).startswith(f"{HOST6} ")
        assert machine.ask(str(web["ip_address"]), 80, at=machine.outside, wait=1) == "no answer: timed out"
    finally:
        outside.kill()
        outside.communicate()


def test_the_interface_is_as_it_should_be_and_its_traffic_is_counted(machine: Machine) -> None:
    machine.serve("web", "--ip", "10.207.1.9", "--mac-address", "02:00:00:00:00:77")
    described = network_of(machine, "web")
    assert described["ip_address"] == "10.207.1.9"
    assert described["mac_address"] == "02:00:00:00:00:77"
    shown = machine.cowl("exec", "web", "cat", "/sys/class/net/eth0/address", "/sys/class/net/eth0/mtu")
    assert shown.split() == ["02:00:00:00:00:77", "1400"]
    before = json.loads(machine.cowl("stats", "--no-stream", "--json", "web"))
    machine.ask("10.207.1.9", 80)
    after = json.loads(machine.cowl("stats", "--no-stream", "--json", "web"))
    assert after["net_rx_bytes"] > before["net_rx_bytes"]
    assert after["net_tx_bytes"] > before["net_tx_bytes"]
    assert "has it" in machine.cowl("run", "--rm", "--ip", "10.207.1.9", "starter", "true", fails=True)
    for text in ("192.0.2.9", "10.207.0.0", "10.207.0.1", "10.207.3.255", "10.207.4.2", "fd01::9"):
        words = ("run", "--rm", "--ip", text, "starter", "true")
        assert "10.207.0.0/22" in machine.cowl(*words, fails=True)
    machine.cowl("restart", "-t", "0", "web")
    assert network_of(machine, "web")["ip_address"] == "10.207.1.9"


def test_hosts_are_kept_true_and_what_the_container_wrote_stays(machine: Machine) -> None:
    machine.cowl("run", "-d", "--name", "a", "--add-host", "gate:host-gateway", "starter", "sleep", "100")
    machine.cowl("exec", "a", "sh", "-c", "echo 192.0.2.1 mine >> /etc/hosts")
    machine.cowl("run", "-d", "--name", "b", "starter", "sleep", "100")

    def hosts() -> dict[str, str]:
        lines = machine.cowl("exec", "a", "cat", "/etc/hosts").splitlines()
        pairs = [line.split() for line in lines if not line.startswith("#")]
        return {name: pair[0] for pair in pairs for name in pair[1:] if ":" not in pair[0]}

    found = hosts()
    assert found["b"] == network_of(machine, "b")["ip_address"]
    assert (found["gate"], found["mine"]) == ("10.207.0.1", "192.0.2.1")
    machine.cowl("rename", "b", "bee")
    assert "bee" in hosts()
    machine.cowl("rm", "-f", "bee")
    assert "bee" not in hosts()
    assert hosts()["mine"] == "192.0.2.1"


def test_resolv_conf(machine: Machine) -> None:
    options = ("--dns", "192.0.2.53", "--dns-search", "example.org", "--dns-option", "ndots:2")
    shown = machine.cowl("run", "--rm", *options, "starter", "cat", "/etc/resolv.conf")
    assert shown == "nameserver 192.0.2.53\nsearch example.org\noptions ndots:2\n"
    for words in (
        ("--network-alias", "a\n1.2.3.4 b"),
        ("--add-host", "a b:192.0.2.1"),
        ("--dns-search", "a b"),
    ):
        assert "no name of a host" in machine.cowl("run", *words, "starter", "true", fails=True)
    assert "bad address" in machine.cowl("run", "--dns", "x", "starter", "true", fails=True)


def test_the_network_of_another_container(machine: Machine) -> None:
    machine.serve("web", "-p", "8080:80")
    joined = ("run", "--rm", "--network", "container:web", "-v", f"{machine.scripts}:/scripts:ro", "starter")
    answer = machine.cowl(*joined, "python3", "/scripts/ask", "tcp", "127.0.0.1", "80", "5")
    assert answer.startswith("127.0.0.1 ")
    assert machine.cowl(*joined, "cat", "/etc/hosts") == machine.cowl("exec", "web", "cat", "/etc/hosts")
    machine.cowl("create", "--name", "late", *joined[2:], "true")
    machine.cowl("stop", "-t", "0", "web")
    assert "cowl start web" in machine.cowl("start", "late", fails=True)
    machine.cowl("start", "web")
    machine.cowl("start", "-a", "late")
    for option in (("-p", "1:1"), ("-h", "x"), ("--ip", "10.207.0.9"), ("--add-host", "a:192.0.2.1")):
        words = ("run", "--network", "container:web", *option, "starter", "true")
        assert "network" in machine.cowl(*words, fails=True)


def test_no_network_has_none_and_the_hosts_is_the_hosts(machine: Machine) -> None:
    lists = ("--rm", "starter", "ls", "/sys/class/net")
    assert machine.cowl("run", "--network", "none", *lists).split() == ["lo"]
    assert "up0" in machine.cowl("run", "--network", "host", *lists).split()
    assert machine.left() == []


def test_a_subnet_that_the_machine_has_a_way_to_is_not_taken(machine: Machine) -> None:
    machine.run("ip", "route", "add", "10.207.0.0/21", "via", INTERNET)
    machine.cowl("run", "-d", "--name", "a", "starter", "sleep", "100")
    assert network_of(machine, "a")["gateway"] == "10.207.8.1"


def test_two_roots_have_bridges_of_their_own(machine: Machine) -> None:
    second = machine._replace(root=machine.root._replace(path=f"{machine.root.path}-second"))
    subprocess.run(["cp", "-a", machine.root.path, second.root.path], check=True)
    try:
        machine.serve("web", "-p", "8080:80")
        second.cowl(
            "run", "-d", "--name", "web", "-v", f"{machine.scripts}:/scripts:ro", "starter", "sleep", "99"
        )
        mine, other = network_of(machine, "web"), network_of(second, "web")
        assert (mine["bridge"], other["bridge"]) == ("cowl0", "cowl1")
        assert mine["gateway"] != other["gateway"]
        assert second.ask_from("web", str(mine["ip_address"]), 80, wait=1) == "no answer: timed out"
        assert second.ask_from("web", HOST, 8080).split()
        refused = second.cowl("run", "--rm", "-p", "8080:80", "starter", "true", fails=True)
        assert "another root" in refused
    finally:
        second.cowl("rm", "-f", "web")
        machine.cowl("rm", "-f", "web")
        assert machine.settled() == []
        subprocess.run(["rm", "-rf", second.root.path], check=True)


def test_a_bridge_of_a_chosen_name_and_none_of_anybody_elses(machine: Machine) -> None:
    machine.run("ip", "link", "add", "taken0", "type", "bridge")
    refused = machine.cowl("run", "--rm", "starter", "true", fails=True, env={"COWL_BRIDGE": "taken0"})
    assert "another interface" in refused
    machine.cowl("run", "-d", "--name", "a", "starter", "sleep", "99", env={"COWL_BRIDGE": "own0"})
    assert network_of(machine, "a")["bridge"] == "own0"
    machine.run("ip", "link", "delete", "taken0")


def test_rules_that_somebody_flushed_come_back_with_the_next_container(machine: Machine) -> None:
    machine.run("nft", "add", "table", "inet", "theirs")
    machine.serve("web", "-p", "8080:80")
    machine.run("nft", "flush", "ruleset")
    assert machine.ask(HOST, 8080, wait=1).startswith("no answer")
    machine.cowl("run", "--rm", "starter", "true")
    assert machine.ask(HOST, 8080).split()


def test_a_bridge_that_somebody_took_away_is_made_anew(machine: Machine) -> None:
    machine.serve("old", "-h", "old", "-p", "8080:80")
    for line in (
        "link delete cowl0",
        "link add cowl0 type bridge",
        f"route add 10.207.0.0/22 via {INTERNET}",
    ):
        machine.run("ip", *line.split())
    machine.serve("new", "-h", "new", "-p", "9090:80")
    assert network_of(machine, "new")["bridge"] == "cowl1"
    assert machine.ask(HOST, 9090, at=machine.outside).endswith(" new")
    machine.cowl("restart", "-t", "0", "old")
    assert machine.ask_from("new", "old", 80).endswith(" old")
    assert machine.ask(HOST, 8080, at=machine.outside).endswith(" old")
    machine.run("ip", "link", "delete", "cowl0")


def test_nobody_elses_rules_are_touched(machine: Machine) -> None:
    machine.run("nft", "add", "table", "inet", "theirs")
    machine.serve("web", "-p", "8080:80")
    machine.cowl("rm", "-f", "web")
    deadline = time.monotonic() + 30
    while (left := machine.left()) != ["table inet theirs"]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    machine.run("nft", "delete", "table", "inet", "theirs")


def test_what_stopped_the_first_process_is_told_rather_than_that_a_dead_one_has_no_network(
    machine: Machine,
) -> None:
    identity = machine.cowl("create", "starter", "true").strip()
    shutil.rmtree(machine.root.layout.container(identity).upper)
    for _ in range(6):
        said = machine.cowl("start", "-a", identity, fails=True)
        assert "upperdir" in said, said
