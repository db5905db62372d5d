"""Who is on the bridge of a root: one document in its run-time directory, changed under a lock.

It lives where state.json does, not among the records: a reboot takes interfaces, rules and this together, and
a monitor writes it, which never opens the records. The kernel has the last word on what is in use.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from typing import Any

from engine.kernel import process
from engine.model import PublishedPort
from engine.record import Record

DOCUMENT = "network.json"
LOCK = "network.lock"


class Member(Record):
    """A container on the bridge."""

    name: str
    hostname: str
    aliases: tuple[str, ...]
    home: str
    """Its directory in the store, with its hosts file."""
    pid: int
    pid_start: int
    link: str
    """The host's end of its pair."""
    ip: str
    ip6: str
    """Empty without IPv6."""
    mac: str
    ports: tuple[PublishedPort, ...]

    @property
    def alive(self) -> bool:
        """Whether its first process still runs."""
        return process.alive(process.Identity(self.pid, self.pid_start))


class Members:
    """The document, held for changing it or read once."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.last = 0
        """The address that was given last, as a number."""
        self.left = 0.0
        """When somebody left last, on the monotonic clock."""
        self.by_id: dict[str, Member] = {}
        with contextlib.suppress(FileNotFoundError), open(self.path, "rb", buffering=0) as file:
            document = json.loads(file.read())
            self.last, self.left = document["last"], document["left"]
            self.by_id = {identity: member_of(fields) for identity, fields in document["members"].items()}

    @property
    def path(self) -> str:
        """The file."""
        return f"{self.run}/{DOCUMENT}"

    def save(self) -> None:
        """Write it, whole or not at all."""
        document = {"last": self.last, "left": self.left, "members": self.by_id}
        descriptor = os.open(f"{self.path}.new", os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, json.dumps(document).encode())
        finally:
            os.close(descriptor)
        os.rename(f"{self.path}.new", self.path)

    def forget(self, identity: str) -> Member | None:
        """Take a container off the list; it as it was on it."""
        self.left = time.monotonic()
        return self.by_id.pop(identity, None)

    def dead(self) -> list[str]:
        """Those whose first process has ended without anybody taking them off."""
        return [identity for identity, member in self.by_id.items() if not member.alive]


def member_of(fields: list[Any]) -> Member:
    """The one that JSON has as *fields*."""
    *others, ports = fields
    made = Member._make((*others, tuple(PublishedPort(*port) for port in ports)))
    return made._replace(aliases=tuple(made.aliases))


@contextlib.contextmanager
def locked(run: str) -> Iterator[Members]:
    """Be alone with the network of the root whose run-time directory is *run*."""
    descriptor = os.open(f"{run}/{LOCK}", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield Members(run)
    finally:
        os.close(descriptor)


def find(run: str, identity: str) -> Member | None:
    """The container *identity*, if it is on the bridge: one read, and no lock."""
    try:
        with open(f"{run}/{DOCUMENT}", "rb", buffering=0) as file:
            data = file.read()
    except FileNotFoundError:
        return None
    if identity.encode() not in data:
        return None
    fields = json.loads(data)["members"].get(identity)
    return member_of(fields) if fields else None
