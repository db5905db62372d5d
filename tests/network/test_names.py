"""Whom a container asks for names, by what this machine says of itself."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from engine.network import names
from tests.network.machines import Machine
from tests.support.captures import wait_for

STUB = "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch lan.example\n"


@pytest.mark.parametrize(
    ("files", "ipv6", "servers"),
    [
        (("nameserver 192.0.2.1\nnameserver 192.0.2.2\n",), False, ["192.0.2.1", "192.0.2.2"]),
        (("nameserver 127.0.0.1\nnameserver 192.0.2.2\n",), False, ["192.0.2.2"]),
        ((STUB, "nameserver 192.0.2.1\n", "nameserver 192.0.2.9\n"), False, ["192.0.2.1"]),
        ((STUB, "", "nameserver 192.0.2.9\n"), False, ["192.0.2.9"]),
        ((STUB, STUB), False, []),
        (("nameserver 0.0.0.0\nnameserver ::1\n",), True, []),
        ((), False, []),
        (("nameserver fd01::1\nnameserver 192.0.2.1\n",), False, ["192.0.2.1"]),
        (("nameserver fd01::1\nnameserver fe80::1%eth0\n",), True, ["fd01::1"]),
        (("# nameserver 192.0.2.7\nnameserver\nnameserver 192.0.2.1 # ours\n",), False, ["192.0.2.1"]),
    ],
)
def test_servers_that_a_container_can_reach(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: tuple[str, ...],
    ipv6: bool,
    servers: list[str],
) -> None:
    paths = [tmp_path / str(number) for number in range(3)]
    for path, text in zip(paths, files, strict=False):
        path.write_text(text)
    monkeypatch.setattr(names, "SOURCES", tuple(map(str, paths)))
    assert names.write_resolver(str(tmp_path), (), (), (), ipv6=ipv6) == bool(servers)
    lines = (tmp_path / "resolv.conf").read_text().splitlines()
    assert [line.split()[1] for line in lines if line.startswith("nameserver")] == servers
    if files[:1] == (STUB,):
        assert lines[-2:] == ["search lan.example", "options edns0 trust-ad"]


@pytest.mark.kernel
@pytest.mark.peers("nsenter")
def test_that_nobody_can_be_asked_is_told(machine: Machine, tmp_path: Path) -> None:
    stub = tmp_path / "stub"
    stub.write_text(STUB)
    covered = [path for path in names.SOURCES if Path(path).exists()]
    mounts = " && ".join(f"mount --bind {stub} {path}" for path in covered)
    words = ("unshare", "-m", "sh", "-c", f'{mounts} && exec "$@"', "sh", sys.executable, "-m", "engine.cli")
    done = machine.run(*words, "run", "--rm", "starter", "cat", "/etc/resolv.conf")
    assert done.stdout == "search lan.example\noptions edns0 trust-ad\n"
    assert "cowl: warning: this machine has no name server that a container can ask" in done.stderr
    done = machine.run(
        *words, "run", "--rm", "--dns", "192.0.2.5", "starter", "grep", "name", "/etc/resolv.conf"
    )
    assert (done.stdout, done.stderr) == ("nameserver 192.0.2.5\n", "")


@pytest.mark.kernel
@pytest.mark.peers("nsenter")
def test_a_name_follows_its_container(machine: Machine) -> None:
    """Through a restart with another address, a rename, and whoever takes the name next."""
    nobody = ("--dns", "127.0.0.1")  # who is not in the hosts file is not found, at once
    machine.cowl("run", "-d", "--name", "asker", *nobody, "starter", "sleep", "100")
    machine.cowl("run", "-d", "--name", "web", "-h", "web.example.org", "starter", "sleep", "100")

    def found(name: str) -> str:
        program = f"import socket; print(socket.gethostbyname({name!r}))"
        done = machine.run(sys.executable, "-m", "engine.cli", "exec", "asker", "python3", "-c", program)
        return done.stdout.strip()

    def address(name: str) -> str:
        return str(machine.inspect(name)["network"]["ip_address"])

    before = address("web")
    assert {found(name) for name in ("web", "web.example.org")} == {before}
    machine.cowl("restart", "-t", "0", "web")
    assert found("web") == address("web") != before
    machine.cowl("rename", "web", "old")
    assert (found("web"), found("old")) == (address("old"), address("old"))  # the first of its host name
    machine.cowl("run", "-d", "--name", "db", "starter", "sleep", "100")
    machine.cowl("rename", "db", "base")
    assert (found("db"), found("base")) == ("", address("base"))
    machine.cowl("run", "-d", "--name", "db", "starter", "sleep", "100")
    assert found("db") == address("db")
    machine.cowl("rm", "-f", "db")
    assert found("db") == ""


LEASE = """
import fcntl, os, signal, time
signal.signal(signal.SIGIO, signal.SIG_IGN)
fcntl.fcntl(os.open("/etc/hosts", os.O_RDONLY), fcntl.F_SETLEASE, fcntl.F_RDLCK)
print("taken", flush=True)
time.sleep(100)
"""


@pytest.mark.kernel
@pytest.mark.peers("nsenter")
def test_nobody_waits_for_a_container_that_holds_its_hosts_file(machine: Machine) -> None:
    """By a lease, which whoever opens it for writing waits for: 45 s as a rule (fcntl(2), F_SETLEASE)."""
    machine.cowl("run", "-d", "--name", "holder", "starter", "python3", "-c", LEASE)
    wait_for(lambda: "taken" in machine.cowl("logs", "holder"))
    before = time.monotonic()
    machine.cowl("run", "-d", "--name", "other", "starter", "sleep", "100")
    machine.cowl("rename", "other", "another")
    machine.cowl("rm", "-f", "another")
    assert time.monotonic() - before < 40
