"""A machine that does not forward: cowl has it do so for containers, and for nobody else."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.network import machines
from tests.network.machines import ELSEWHERE, HOST, Machine, new_network, server_at
from tests.support.captures import wait_for
from tests.support.roots import environment

pytestmark = [pytest.mark.kernel, pytest.mark.peers("ip", "nft", "nsenter")]

SWITCH = "net.ipv4.ip_forward"
REDIRECTS = "net.ipv4.conf.all.accept_redirects"
FENCE = "table inet cowl_forwarding"
SLEEPING = ("starter", "sleep", "100")
NO = {"COWL_FORWARDING": "no"}


@pytest.fixture
def still(lone: Machine) -> Machine:
    """A machine with a way to the internet that does not forward."""
    machines.wire(lone, forwarding=False)
    return lone


@pytest.fixture
def answering(still: Machine) -> Iterator[Machine]:
    """`still`, with somebody in the internet who answers."""
    with server_at(still, 80, at=still.outside):
        yield still


def sysctl(machine: Machine, name: str) -> str:
    return machine.run("sysctl", "-n", name).stdout.strip()


def tables(machine: Machine) -> list[str]:
    return machine.run("nft", "list", "tables").stdout.splitlines()


def commands(machine: Machine, *lines: str, at: int | None = None) -> None:
    for line in lines:
        done = machine.run(*line.split(), at=at)
        assert done.returncode == 0, f"{line}: {done.stderr}"


def ask(machine: Machine, name: str, place: str = ELSEWHERE, wait: float = 5) -> str:
    return machine.ask_from(name, place, 80, wait=wait)


def test_it_forwards_while_there_are_containers_and_is_then_as_it_was(answering: Machine) -> None:
    commands(answering, f"sysctl -qw {REDIRECTS}=1")
    done = answering.run(
        *(sys.executable, "-m", "engine.cli", "run", "-d", "--name", "a"),
        *("-v", f"{answering.scripts}:/scripts:ro", *SLEEPING),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert ask(answering, "a").startswith(f"{HOST} ")
    assert sysctl(answering, SWITCH) == "2"
    assert sysctl(answering, REDIRECTS) == "1"
    assert FENCE in tables(answering)
    answering.cowl("rm", "-f", "a")
    assert answering.settled() == []
    assert sysctl(answering, SWITCH) == "0"
    assert sysctl(answering, REDIRECTS) == "1"


def test_it_does_not_become_a_router(answering: Machine) -> None:
    with new_network() as neighbour:
        commands(
            answering,
            f"ip link add lan0 type veth peer name eth0 netns {neighbour}",
            "ip address add 192.0.2.1/24 dev lan0",
            "ip link set lan0 up",
        )
        commands(
            answering,
            *("ip address add 192.0.2.2/24 dev eth0", "ip link set eth0 up"),
            "ip route add default via 192.0.2.1",
            at=neighbour,
        )
        commands(answering, f"ip route add 192.0.2.0/24 via {HOST}", at=answering.outside)
        answering.serve("web", "-h", "web", "-p", "8080:80")
        assert answering.ask(HOST, 8080, at=neighbour) == "192.0.2.2 web"
        assert ask(answering, "web").startswith(f"{HOST} ")
        assert answering.ask(ELSEWHERE, 80, at=neighbour, wait=1) == "no answer: timed out"
        # Seen to be the table that holds: without it the way is open.
        answering.run("nft", "delete", *FENCE.split())
        assert answering.ask(ELSEWHERE, 80, at=neighbour).startswith("192.0.2.2 ")
        answering.cowl("run", "--rm", "starter", "true")
        assert answering.ask(ELSEWHERE, 80, at=neighbour, wait=1) == "no answer: timed out"
        commands(answering, "ip link delete lan0")


def test_what_goes_through_somebodys_bridge_still_does(still: Machine) -> None:
    if sysctl(still, "net.bridge.bridge-nf-call-iptables") != "1":
        pytest.skip("this kernel shows rules for IP nothing of bridges")
    with new_network() as one, new_network() as other:
        commands(still, "ip link add theirs0 type bridge", "ip link set theirs0 up")
        for number, at in enumerate((one, other), 1):
            commands(
                still,
                f"ip link add port{number} type veth peer name eth0 netns {at}",
                f"ip link set port{number} master theirs0 up",
            )
            commands(
                still,
                *(f"ip address add 192.0.2.{number}/24 dev eth0", "ip link set eth0 up"),
                at=at,
            )
        still.cowl("run", "-d", *SLEEPING)
        with server_at(still, 80, at=other):
            assert still.ask("192.0.2.2", 80, at=one).startswith("192.0.2.1 ")
            still.run("nft", "flush", "set", *FENCE.split()[1:], "bridges")
            assert still.ask("192.0.2.2", 80, at=one, wait=1) == "no answer: timed out"
            still.cowl("run", "--rm", "starter", "true")
            assert still.ask("192.0.2.2", 80, at=one).startswith("192.0.2.1 ")
        commands(still, "ip link delete theirs0", "ip link delete port1", "ip link delete port2")


def test_an_administrator_may_forbid_it(still: Machine) -> None:
    done = still.run(sys.executable, "-m", "engine.cli", "run", "--rm", "starter", "true", env=NO)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.count("cowl: warning: this machine does not forward packets (COWL_FORWARDING=no)") == 1
    done = still.run(
        sys.executable, "-m", "engine.cli", "run", "--network", "none", "--rm", "starter", "true"
    )
    assert done.stderr == ""
    still.cowl("create", "--name", "a", *SLEEPING)
    for words in (("start", "a"), ("restart", "-t", "0", "a")):
        done = still.run(sys.executable, "-m", "engine.cli", *words, env=NO)
        assert "does not forward packets" in done.stderr
    assert sysctl(still, SWITCH) == "0"


def test_that_some_interface_forwards_is_somebodys_choice(still: Machine) -> None:
    commands(still, "sysctl -qw net.ipv4.conf.up0.forwarding=1")
    done = still.run(sys.executable, "-m", "engine.cli", "run", "--rm", "starter", "true")
    assert "that up0 alone forwards is somebody's choice" in done.stderr
    assert still.settled() == []
    assert (sysctl(still, SWITCH), sysctl(still, "net.ipv4.conf.up0.forwarding")) == ("0", "1")


def test_a_switch_that_cannot_be_turned_is_told_of(still: Machine) -> None:
    done = still.run(
        *("unshare", "-m", "sh", "-c", 'mount --bind -o ro /proc/sys /proc/sys && exec "$@"', "sh"),
        *(sys.executable, "-m", "engine.cli", "run", "--rm", "starter", "echo", "runs"),
    )
    assert done.stdout == "runs\n"
    assert "does not forward packets (/proc/sys is read-only here)" in done.stderr


@pytest.mark.parametrize("how", ["comes", "goes"])
def test_what_somebody_else_turns_on_stays_on(still: Machine, how: str) -> None:
    """Seen when somebody comes or goes."""
    still.cowl("run", "-d", "--name", "a", *SLEEPING)
    still.cowl("run", "-d", "--name", "b", *SLEEPING)
    commands(still, f"sysctl -qw {SWITCH}=1")  # as docker does, and podman
    assert FENCE in tables(still)
    if how == "comes":
        still.cowl("run", "-d", "--name", "c", *SLEEPING)
    else:
        still.cowl("stop", "-t", "0", "a")
    deadline = time.monotonic() + 30
    while FENCE in tables(still):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    still.cowl("rm", "-f", *still.cowl("ps", "-aq").split())
    assert still.settled() == []
    assert sysctl(still, SWITCH) == "1"


def test_what_somebody_turns_off_is_not_turned_on_by_leaving(still: Machine) -> None:
    still.cowl("run", "-d", "--name", "a", *SLEEPING)
    commands(still, f"sysctl -qw {SWITCH}=0")
    still.cowl("rm", "-f", "a")
    assert still.settled() == []
    assert sysctl(still, SWITCH) == "0"


def test_the_last_of_several_roots_turns_it_off(answering: Machine) -> None:
    second = answering._replace(root=answering.root._replace(path=f"{answering.root.path}-second"))
    subprocess.run(["cp", "-a", answering.root.path, second.root.path], check=True)
    run = ("run", "-d", "--name", "a", "-v", f"{answering.scripts}:/scripts:ro", *SLEEPING)
    try:
        answering.cowl(*run)
        second.cowl(*run)
        answering.cowl("rm", "-f", "a")
        deadline = time.monotonic() + 30
        while len(tables(answering)) > 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert sysctl(second, SWITCH) == "2"
        assert ask(second, "a").startswith(f"{HOST} ")
    finally:
        second.cowl("rm", "-f", "a")
        assert answering.settled() == []
        subprocess.run(["rm", "-rf", second.root.path], check=True)
    assert sysctl(second, SWITCH) == "0"


def test_many_roots_that_come_and_go_agree(still: Machine) -> None:
    """Each is last again and again; in the end nobody is."""
    others = [
        still._replace(root=still.root._replace(path=f"{still.root.path}-{number}")) for number in range(3)
    ]
    script = """
        for number in 1 2 3; do
            "$0" -m engine.cli run --rm starter cat /etc/hostname >/dev/null || exit 1
            sleep 0.$((number * 2 + $1))
        done
    """
    try:
        for other in others:
            subprocess.run(["cp", "-a", still.root.path, other.root.path], check=True)
        running = [
            subprocess.Popen(
                ["nsenter", "-t", str(still.pid), "-n", "sh", "-c", script, sys.executable, str(number)],
                env=environment(other.root, machines.HERE),
                stderr=subprocess.PIPE,
            )
            for number, other in enumerate(others)
        ]
        for each in running:
            _, said = each.communicate(timeout=60)
            assert (each.returncode, said) == (0, b"")
    finally:
        assert still.settled() == []
        for other in others:
            subprocess.run(["rm", "-rf", other.root.path], check=True)
    assert sysctl(still, SWITCH) == "0"


@pytest.mark.parametrize("step", ["after-fence", "after-switching-on", "after-switching-off"])
def test_a_power_cut_at_every_step(still: Machine, step: str) -> None:
    words = ("-m", "engine.cli", "run", "--rm", "--name", "a", "starter", "true")
    still.run(sys.executable, *words, env={"COWL_FAULT": f"network.{step}"})
    if step == "after-fence":
        assert sysctl(still, SWITCH) == "0"
    if step != "after-switching-off":
        still.run(sys.executable, "-m", "engine.cli", "rm", "-f", "a")
    else:
        wait_for(lambda: sysctl(still, SWITCH) == "0")  # the fence is what is left
        still.cowl("run", "--rm", "starter", "true")
    assert still.settled() == []
    assert sysctl(still, SWITCH) == "0"


def test_a_firewall_that_drops_is_told_of_once(answering: Machine) -> None:
    answering.run("nft", "add", "table", "inet", "filter")
    answering.run(
        *("nft", "add", "chain", "inet", "filter", "forward"),
        "{ type filter hook forward priority 0; policy drop; }",
    )
    run = ("-m", "engine.cli", "run", "-d", "-v", f"{answering.scripts}:/scripts:ro", "--name")
    done = answering.run(sys.executable, *run, "a", *SLEEPING)
    assert "a firewall of this machine, inet filter forward, drops" in done.stderr
    assert ask(answering, "a", wait=1) == "no answer: timed out"
    assert answering.run(sys.executable, *run, "b", *SLEEPING).stderr == ""
    answering.cowl("rm", "-f", "a", "b")
    for way in ("iifname", "oifname"):
        commands(answering, f"nft add rule inet filter forward {way} cowl* accept")
    done = answering.run(sys.executable, *run, "a", *SLEEPING)
    assert done.stderr == ""
    assert ask(answering, "a").startswith(f"{HOST} ")
    answering.run("nft", "delete", "table", "inet", "filter")


@pytest.mark.peers("iptables-legacy")
def test_a_firewall_of_the_older_kind_is_told_of(answering: Machine) -> None:
    if answering.run("iptables-legacy", "-P", "FORWARD", "DROP").returncode:
        pytest.skip("this kernel has no iptables of the older kind")
    run = ("-m", "engine.cli", "run", "-d", "-v", f"{answering.scripts}:/scripts:ro", "--name")
    done = answering.run(sys.executable, *run, "a", *SLEEPING)
    assert "a firewall of this machine, iptables-legacy FORWARD, drops" in done.stderr
    assert ask(answering, "a", wait=1) == "no answer: timed out"
    commands(answering, *(f"iptables-legacy -A FORWARD {way} cowl+ -j ACCEPT" for way in ("-i", "-o")))
    assert ask(answering, "a").startswith(f"{HOST} ")
    answering.cowl("rm", "-f", "a")
    assert answering.settled() == []
    assert answering.run(sys.executable, *run, "b", *SLEEPING).stderr == ""
