"""The same image seen by cowl, umoci and podman, after random work in real containers and in theirs.

`COWL_EXAMPLES=300` makes it a long run.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, example, given, reject, settings

from engine.engine import Engine
from engine.model import LaunchOptions, Volume
from tests.differential import inside, judges, operations
from tests.differential.inside import Operation
from tests.differential.judges import Storage, Tree, storage, tree, umoci_tree
from tests.layers.oracle import expected
from tests.support import captures, roots, traces

pytestmark = [pytest.mark.kernel, pytest.mark.peers("umoci", "podman", "buildah", "skopeo")]

EXAMPLES = int(os.environ.get("COWL_EXAMPLES", "6"))
PROGRAM = Path(inside.__file__).read_text(encoding="utf-8")
PYTHON = ("/usr/bin/python3", "-I", "-S", "-c", PROGRAM)
PATIENT = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
    database=None,
    derandomize="COWL_EXAMPLES" not in os.environ,
    phases=(Phase.generate, Phase.shrink),
)


class World(NamedTuple):
    """What all examples of this file share."""

    engine: Engine
    scratch: str
    base: str
    """An OCI layout with the image ``base``, `base:latest` of the engine."""
    podman: Storage


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = roots.new_root(str(tmp_path_factory.getbasetemp()))
    scratch = f"{os.path.dirname(made.path)}/cowl-{os.getpid()}"  # podman takes 50 characters of a runroot
    os.makedirs(f"{scratch}/tree")
    try:
        with (
            Engine(made.path, cgroup_parent=made.cgroup_parent) as engine,
            storage(f"{scratch}/podman", "overlay") as podman,
        ):
            yield World(engine, scratch, _base(engine, scratch), podman)
            left = traces.settle(made)
    finally:
        traces.clean(made)
        shutil.rmtree(scratch)
    assert not left


def _base(engine: Engine, scratch: str) -> str:
    """The image that everything begins with: `operations.BASE`, and where the host's Python can be shown."""
    top = f"{scratch}/tree"
    judges.work(top, operations.BASE)
    for name in ("dev", "etc", "proc", "sys", "usr"):
        os.mkdir(f"{top}/{name}")
    for name in ("hosts", "hostname", "resolv.conf"):
        Path(f"{top}/etc/{name}").touch()
    for name in ("lib", "lib64"):
        os.symlink(f"usr/{name}", f"{top}/{name}")
    judges.run("tar", "--xattrs", "--xattrs-include=*", "-C", top, "-cf", f"{scratch}/base.tar", ".")
    engine.images.import_tree(f"{scratch}/base.tar", "base")
    engine.images.save(["base"], f"{scratch}/base", format="oci-dir")
    return f"{scratch}/base"


class Looked(NamedTuple):
    """A container that has done its work."""

    id: str
    before: Tree
    after: Tree


def contained(engine: Engine, image: str, wanted: Sequence[Operation]) -> Looked:
    """Do the operations *wanted* in a new container of *image*; what its tree was before and after."""
    options = LaunchOptions(image, PYTHON, interactive=True, volumes=(Volume("/usr", "/usr", True),))
    made = engine.containers.create(options)
    with captures.capture(json.dumps(wanted).encode()) as (streams, read):
        code = engine.containers.start(made.id, attach=True, interactive=True, streams=streams)
        out, err = read()
    assert (code, err) == (0, "")
    document = json.loads(out)
    return Looked(made.id, tree(document["before"]), tree(document["after"]))


def essence(shown: Tree, tick: int = 1) -> Tree:
    """*shown* as far as layers keep it: no sockets, no times of directories; times in ticks of so many ns."""
    return {
        path: seen._replace(mtime_ns=0 if stat.S_ISDIR(seen.kind) else seen.mtime_ns // tick)
        for path, seen in shown.items()
        if not stat.S_ISSOCK(seen.kind)
    }


def assert_keeps(image: Tree, shown: Tree) -> None:
    """An image has all of the container's tree. Names that a copy without a change had parted (a lower file
    that was opened for writing, no more) are together again.
    """
    parted = {path: seen._replace(names=()) for path, seen in essence(shown).items()}
    assert {path: seen._replace(names=()) for path, seen in essence(image).items()} == parted
    for path in parted:
        assert set(shown[path].names) <= set(image[path].names)


def rootless(shown: Tree) -> Tree:
    """*shown* without its root: umoci makes that itself and gives it no metadata."""
    return {path: seen for path, seen in shown.items() if path}


def as_go_tells(shown: Tree) -> Tree:
    """*shown* as Go's archive/tar reads it.

    There a PAX record without a value is none (pax(5)), and a name that has to be escaped, as GNU tar does
    it, because an equals sign ends it, stays so.
    """
    return {
        path: seen._replace(
            xattrs=tuple(sorted((escaped(name), value) for name, value in seen.xattrs if value))
        )
        for path, seen in shown.items()
    }


def escaped(name: str) -> str:
    return name.replace("%", "%25").replace("=", "%3D")


def with_root_of(podman: Tree, shown: Tree) -> Tree:
    """What podman shows, with what it does not keep of the root taken from *shown*.

    containers/storage makes the root of a layer dr-xr-xr-x unless the layer's tar has an entry for it, and
    gives it to root whenever it mounts it.
    """
    root, wanted = podman[b""], shown[b""]
    mode = wanted.mode if root.mode == 0o555 else root.mode
    return {**podman, b"": root._replace(mode=mode, owner=wanted.owner)}


def forget(engine: Engine, tags: Sequence[str]) -> None:
    """Take the images of one example away."""
    for container in engine.containers.list():
        engine.containers.remove(container.id, force=True)
    for tag in reversed(tags):
        engine.images.remove([tag])


Steps = list[list[Operation]]


@pytest.mark.timeout(60 + 20 * EXAMPLES)
@PATIENT
@given(steps=operations.STEPS)
@example(steps=[[], [("xattr", "/a", "user.with=sign", "one")]])
def test_what_containers_committed_is_the_same_tree_everywhere(world: World, steps: Steps) -> None:
    engine = world.engine
    image, tags = "base", list[str]()
    shown: Tree | None = None
    try:
        for number, wanted in enumerate(steps):
            done = contained(engine, image, wanted)
            if shown is not None:
                assert_keeps(done.before, shown)
            shown = done.after
            assert sorted(engine.changes.of(done.id)) == expected(done.before, done.after)
            image = f"step:{number}"
            engine.changes.commit(done.id, image)
            tags.append(image)
        assert shown is not None
        last = contained(engine, image, [])
        assert_keeps(last.before, shown)
        shown = last.before
        saved = f"{world.scratch}/saved"
        engine.images.save([image], saved, format="oci-dir")
        try:
            name = f"{saved}:{image}"
            told = as_go_tells(essence(shown))
            assert rootless(essence(umoci_tree(name, world.scratch))) == rootless(told)
            assert essence(with_root_of(judges.podman_tree(world.podman, name), shown)) == told
        finally:
            shutil.rmtree(saved)
    finally:
        forget(engine, tags)


class Peer(NamedTuple):
    """Another engine, as it writes images (``layout:tag``) and as it reads them."""

    write: Callable[[World, str, Steps], Tree]
    read: Callable[[World, str], Tree]


def _umoci_tree(world: World, image: str) -> Tree:
    """Where a directory has become a symlink to itself, umoci deletes through it, and cannot read that."""
    try:
        return umoci_tree(image, world.scratch)
    except AssertionError as error:
        if "too many levels of symbolic links" in str(error):
            reject()
        raise


def _podman_tree(world: World, image: str) -> Tree:
    return judges.podman_tree(world.podman, image)


PEERS = {
    "umoci": Peer(lambda world, image, steps: judges.umoci_image(image, steps, world.scratch), _umoci_tree),
    "buildah": Peer(
        lambda world, image, steps: judges.buildah_image(world.podman, image, steps), _podman_tree
    ),
    "podman": Peer(lambda world, image, steps: judges.podman_image(world.podman, image, steps), _podman_tree),
}


@pytest.mark.timeout(60 + 20 * EXAMPLES)
@pytest.mark.parametrize("peer", PEERS)
@settings(PATIENT, max_examples=max(EXAMPLES // 3, 1))
@given(steps=operations.STEPS)
def test_what_others_committed_is_the_same_tree_here(world: World, peer: str, steps: Steps) -> None:
    theirs, name = f"{world.scratch}/theirs", "theirs:1"
    image = f"{theirs}:{name}"
    judges.run("skopeo", "copy", "-q", f"oci:{world.base}:base:latest", f"oci:{image}")
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, theirs)
        PEERS[peer].write(world, image, [operations.outside(each) for each in steps])
        loaded = world.engine.images.load(theirs)
        stack.callback(forget, world.engine, loaded)
        assert name in loaded
        found = contained(world.engine, name, []).before
        seen = PEERS[peer].read(world, image)
        assert rootless(essence(found)) == rootless(essence(seen))
