"""A small world to be harmed: three images, a container with changes, one that has ended, and archives.

It is made once and put back before each harm, at the same place: containers know their paths.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import NamedTuple

from engine.engine import Engine
from engine.errors import NotFoundError
from engine.model import Container, LaunchOptions
from tests.images import stores
from tests.images.registries import docker_registry
from tests.layers.trees import Seen, snapshot
from tests.support import captures, images, roots, traces
from tests.support.traces import Root

PATIENCE_S = 60


class World(NamedTuple):
    """A root as it was before any harm."""

    root: Root
    files: str
    """A directory with ``more.tar`` (images that are not here), ``tree.tar`` and a copy of the store."""
    registry: str
    upper: dict[bytes, Seen]
    """What the container ``kept`` has changed."""
    tags: frozenset[str]

    def restore(self) -> None:
        """Put the store back."""
        shutil.rmtree(self.root.path, ignore_errors=True)
        shutil.rmtree(self.root.layout.run, ignore_errors=True)
        subprocess.run(["cp", "-a", f"{self.files}/store", self.root.path], check=True)

    def start(self, words: Sequence[str], fault: str = "") -> subprocess.Popen[str]:
        """`cowl` with *words*, in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "engine.cli", *words],
            env=roots.environment(self.root, {"COWL_FAULT": fault} if fault else None),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def cowl(self, *words: str, fault: str = "") -> tuple[int, str]:
        """Run `cowl` with *words* to its end: its exit code and what it complained of."""
        with self.start(words, fault) as process:
            _, said = process.communicate(timeout=PATIENCE_S)
            return process.returncode, said


@contextmanager
def world(fallback: str) -> Iterator[World]:
    """Make the world; nothing of it is left afterwards."""
    root = roots.new_root(fallback)
    files = f"{os.path.dirname(root.path)}/cowl-world-{os.getpid()}"  # named unlike the root: not its trace
    os.makedirs(f"{files}/tree")
    try:
        with ExitStack() as stack:
            registry = stack.enter_context(docker_registry(f"{files}/registry"))
            yield _make(root, files, registry)
    finally:
        traces.clean(root)
        shutil.rmtree(files, ignore_errors=True)


def _make(root: Root, files: str, registry: str) -> World:
    images.tiny_tree(f"{files}/tree")
    first = images.layer(lambda tar: tar.add(f"{files}/tree", "."))
    layers = [images.small_layer(word) for word in ("one", "two", "three")]
    images.archive(
        f"{files}/here.tar", {"tiny:1": [first], "two:1": [first, layers[0]], "lone:1": layers[:1]}
    )
    images.archive(f"{files}/more.tar", {"more:1": [first, *layers], "more:2": layers})
    subprocess.run(["tar", "-C", f"{files}/tree", "-cf", f"{files}/tree.tar", "."], check=True)
    destination = f"docker://{registry}/far:1"
    words = ["skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci-archive:{files}/more.tar:more:1"]
    subprocess.run([*words, destination], check=True)
    with Engine(root.path, cgroup_parent=root.cgroup_parent) as engine:
        engine.images.load(f"{files}/here.tar")
        for name in ("kept", "gone"):
            script = f"echo {name} > /new; rm /etc/passwd; mkdir /d; echo x > /d/x"
            made = engine.containers.create(LaunchOptions("two:1", ("sh", "-c", script), name=name))
            with captures.capture() as (streams, _):
                assert engine.containers.start(made.id, attach=True, streams=streams) == 0
        upper = snapshot(engine.store.layout.container(engine.containers.get("kept").id).upper)
    subprocess.run(["cp", "-a", root.path, f"{files}/store"], check=True)
    return World(root, files, registry, upper, tags_of(root))


def tags_of(root: Root) -> frozenset[str]:
    """The names of images, read past cowl's own code."""
    connection = sqlite3.connect(root.layout.database)
    try:
        return frozenset(name for (name,) in connection.execute("SELECT name FROM tags"))
    finally:
        connection.close()


def problems(world: World, takes: Sequence[str] = ()) -> list[str]:
    """What is wrong after a harm, by two judges: `check`, and one that knows only the files.

    *takes* are the images and containers that the harmed operation was to take away.
    """
    root = world.root
    with Engine(root.path, cgroup_parent=root.cgroup_parent) as engine:
        report = engine.check()
        found = [f"check: {damage}" for damage in report.damage]
        found += stores.problems(engine.store)
        found += [f"lost: {tag}" for tag in world.tags - tags_of(root) - {*takes}]
        listed = {each.name: each for each in engine.containers.list()}
        found += [f"lost: {name}" for name in {"kept", "gone"} - listed.keys() - {*takes}]
        if "kept" in listed:
            upper = snapshot(engine.store.layout.container(listed["kept"].id).upper)
            found += ["the changes of kept are others"] if upper != world.upper else []
        homes = set(os.listdir(root.layout.containers))
        found += [f"home without a record: {home}" for home in homes - {each.id for each in listed.values()}]
        if any(map(_lifeless, listed.values())):  # one may have ended just now
            found += [f"{each.name} is said to run" for each in engine.containers.list() if _lifeless(each)]
    return found


def _lifeless(container: Container) -> bool:
    """Whether it is said to run and has no process."""
    return container.state == "running" and not os.path.exists(f"/proc/{container.pid}")


def settle(world: World) -> list[str]:
    """Remove the containers that the harm was about; what is left of anything then."""
    with Engine(world.root.path, cgroup_parent=world.root.cgroup_parent) as engine:
        for each in engine.containers.list():
            if each.name not in ("kept", "gone"):
                with suppress(NotFoundError):  # its monitor was faster
                    engine.containers.remove(each.id, force=True)
        staying = {each.id for each in engine.containers.list()}
    deadline = time.monotonic() + traces.SETTLE_SECONDS
    while (left := _apart(traces.find(world.root), staying)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return [str(left)] if left else []


def _apart(found: traces.Traces, staying: set[str]) -> traces.Traces:
    """*found* without the run-time directories of containers that are there."""
    return found._replace(runtime=tuple(p for p in found.runtime if os.path.basename(p) not in staying))


def wait_until_dead(world: World, group: int) -> None:
    """Until no process of the *group* that was killed is left."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.002)
    raise AssertionError("processes of a killed command live on")
