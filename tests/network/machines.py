"""Machines for networks: a namespace that plays the host of containers, and one that plays the internet."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from engine.kernel import namespaces
from tests.support.roots import environment
from tests.support.traces import Root

HOST, INTERNET, ELSEWHERE = "198.51.100.1", "198.51.100.2", "203.0.113.9"
HOST6, INTERNET6 = "fd01::1", "fd01::2"
HERE = {"COWL_NETWORK": "bridge", "COWL_LAUNCHER": "no", "COWL_FORWARDING": "yes"}
"""What cowl may do on a machine of a test's own."""
SERVE = """
import socket, sys
kind, port = sys.argv[1], int(sys.argv[2])
server = socket.socket(socket.AF_INET6, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("::", port))
if kind == "tcp":
    server.listen(64)
print("ready", flush=True)
while True:
    if kind == "tcp":
        peer, address = server.accept()
        peer.sendall((address[0].removeprefix("::ffff:") + " " + socket.gethostname()).encode())
        peer.close()
    else:
        _, address = server.recvfrom(64)
        server.sendto((address[0].removeprefix("::ffff:") + " " + socket.gethostname()).encode(), address)
"""
"""Answers everybody with their own address and its host name."""
ASK = """
import socket, sys
kind, host, port = sys.argv[1:4]
family = socket.AF_INET6 if ":" in host else socket.AF_INET
asker = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
asker.settimeout(float(sys.argv[4]))
try:
    asker.connect((host, int(port)))
    if kind == "udp":
        asker.send(b"?")
    print(asker.recv(64).decode())
except OSError as error:
    print(f"no answer: {error}")
"""


class Machine(NamedTuple):
    """A network namespace that cowl runs in as a whole, with a way to another that is the internet."""

    pid: int
    outside: int
    root: Root
    scripts: Path

    def run(self, *words: str, at: int | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command on it, or in the internet with *at*."""
        return subprocess.run(
            ["nsenter", "-t", str(at or self.pid), "-n", *words],
            env=environment(self.root, {**HERE, **options.pop("env", {})}),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **options,
        )

    def cowl(self, *words: str, fails: bool = False, **options: Any) -> str:
        """What a command line prints; its error, if it *fails*."""
        done = self.run(sys.executable, "-m", "engine.cli", *words, **options)
        assert bool(done.returncode) == fails, f"cowl {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stderr if fails else done.stdout

    def inspect(self, name: str) -> Any:
        """The document of a container."""
        return json.loads(self.cowl("inspect", "--json", name))[0]

    def serve(self, name: str, *options: str, kind: str = "tcp", port: int = 80) -> None:
        """Start a container that answers at *port*."""
        words = ("starter", "python3", "/scripts/serve", kind, str(port))
        self.cowl("run", "-d", "--name", name, "-v", f"{self.scripts}:/scripts:ro", *options, *words)
        deadline = time.monotonic() + 20
        while "ready" not in self.cowl("logs", name):
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def ask(self, host: str, port: int, *, kind: str = "tcp", at: int | None = None, wait: float = 5) -> str:
        """What is answered to this machine, or to the internet with *at*."""
        script = str(self.scripts / "ask")
        return self.run(sys.executable, script, kind, host, str(port), str(wait), at=at).stdout.strip()

    def ask_from(self, name: str, host: str, port: int, *, kind: str = "tcp", wait: float = 5) -> str:
        """What is answered to a container."""
        words = ("python3", "/scripts/ask", kind, host, str(port), str(wait))
        return self.cowl("exec", name, *words).strip()

    def left(self) -> list[str]:
        """Interfaces and tables of packet rules beyond those that it began with."""
        links = [
            line.split()[0].partition("@")[0] for line in self.run("ip", "-br", "link").stdout.splitlines()
        ]
        tables = self.run("nft", "list", "tables").stdout.splitlines()
        return [*(link for link in links if link not in ("lo", "up0")), *tables]

    def settled(self, seconds: float = 30) -> list[str]:
        """`left`, once it is empty or *seconds* have passed."""
        deadline = time.monotonic() + seconds
        while (found := self.left()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return found


@contextlib.contextmanager
def server_at(machine: Machine, port: int, *, kind: str = "tcp", at: int | None = None) -> Iterator[None]:
    """A server of the machine itself, or of the network of *at*, that answers at *port*."""
    server = subprocess.Popen(
        [
            "nsenter",
            "-t",
            str(at or machine.pid),
            "-n",
            sys.executable,
            machine.scripts / "serve",
            kind,
            str(port),
        ],
        stdout=subprocess.PIPE,
        env=environment(machine.root),
    )
    try:
        assert server.stdout
        server.stdout.readline()
        yield
    finally:
        server.kill()
        server.communicate()


@contextlib.contextmanager
def new_network() -> Iterator[int]:
    """A network namespace; the pid of what keeps it."""
    reader, writer = os.pipe()
    keeper = os.fork()
    if keeper == 0:
        try:
            namespaces.unshare(namespaces.CLONE_NEWNET)
            namespaces.bring_up_loopback()
            os.write(writer, b"!")
            os.close(writer)
            os.closerange(3, 256)
            while True:
                time.sleep(3600)
        finally:
            os._exit(1)
    try:
        os.close(writer)
        assert os.read(reader, 1) == b"!"
        yield keeper
    finally:
        os.close(reader)
        os.kill(keeper, 9)
        os.waitpid(keeper, 0)


def wire(machine: Machine, *, forwarding: bool = True) -> None:
    """Put the cable between the machine and the internet, and let it forward."""
    inside = str(machine.outside)
    commands = [
        f"ip link add up0 mtu 1400 type veth peer name inet0 mtu 1400 netns {inside}",
        f"ip address add {HOST}/24 dev up0",
        f"ip address add {HOST6}/64 dev up0 nodad",
        "ip link set up0 up",
        f"ip route add default via {INTERNET}",
        f"ip -6 route add default via {INTERNET6}",
    ]
    theirs = [
        f"ip address add {INTERNET}/24 dev inet0",
        f"ip address add {INTERNET6}/64 dev inet0 nodad",
        f"ip address add {ELSEWHERE}/32 dev lo",
        "ip link set inet0 up",
        f"ip route add 10.0.0.0/8 via {HOST}",
    ]
    if forwarding:
        commands += ["sysctl -qw net.ipv4.ip_forward=1", "sysctl -qw net.ipv6.conf.all.forwarding=1"]
    for at, lines in ((machine.pid, commands[:4]), (machine.outside, theirs), (machine.pid, commands[4:])):
        for line in lines:
            done = machine.run(*line.split(), at=at)
            assert done.returncode == 0, f"{line}: {done.stderr}"
