"""The façade of changes: whatever a container or an image is called, what it changes is found."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine.changes import Changes
from engine.errors import NotFoundError
from engine.images.images import Images
from engine.images.load import load
from engine.model import LaunchOptions
from engine.store import records
from engine.store.store import Store
from tests.images import stores
from tests.images.archives import docker_archive, simple_layer
from tests.layers.overlay import Overlay
from tests.support.captures import wait_for

if TYPE_CHECKING:
    from engine.engine import Engine

pytestmark = pytest.mark.kernel
CLOCK_REALTIME_COARSE = 5
"""clock_getres(2)."""


@pytest.fixture
def web(store: Store, tmp_path: Path, mounts: Overlay) -> Store:
    """A store with `it:1` (etc/one, then etc/two) and a container `web` that changed it."""
    load(store, docker_archive(tmp_path / "it.tar", [simple_layer("one"), simple_layer("two")]))
    stores.new_container(store, "web", "it:1")
    stores.change(
        store,
        mounts,
        "web",
        [("write", "etc/one", b"other\n"), ("write", "new", b"n"), ("remove", "etc/two")],
    )
    return store


def letters(changes: list) -> list[str]:  # type: ignore[type-arg]
    return [f"{change.kind[0].upper()} {change.path}" for change in changes]


def test_changes_of_a_container_and_of_an_image(web: Store) -> None:
    changes = Changes(web)
    assert letters(changes.of("web")) == ["M /etc/one", "D /etc/two", "A /new"]
    assert letters(changes.of("web", ["/etc"])) == ["M /etc/one", "D /etc/two"]
    assert letters(changes.of(records.container_row(web.connection, "web").id[:12])) == letters(
        changes.of("web")
    )
    assert letters(changes.of("it:1")) == ["A /etc/two"]
    base = Images(web).forest()[0].chain_id
    assert "A /etc/one" in letters(changes.of(base))


def test_between_any_two(web: Store) -> None:
    changes = Changes(web)
    base, top = (node.chain_id for node in Images(web).forest())
    assert letters(changes.between(base, top)) == ["A /etc/two"]
    assert letters(changes.between(top, base)) == ["D /etc/two"]
    assert letters(changes.between(base, "web")) == ["M /etc/one", "A /new"]
    assert letters(changes.between("web", "it:1")) == ["M /etc/one", "A /etc/two", "D /new"]
    assert changes.between("web", "web") == []


def test_the_diff_of_a_file(web: Store) -> None:
    text = Changes(web).diff("web", "/etc/one").text
    assert "+other" in text
    assert "-one" in text


@pytest.mark.parametrize("name", ["nobody", "UPPER", "ffff", "it:2"])
def test_what_is_neither_container_nor_image(web: Store, name: str) -> None:
    for ask in (Changes(web).of, Changes(web).fingerprint, Changes(web).commit, Changes(web).propose_name):
        with pytest.raises(NotFoundError):
            ask(name)


def next_tick() -> None:
    """Wait until the clock that the times of files are taken from has moved on."""
    before = time.clock_gettime_ns(CLOCK_REALTIME_COARSE)
    while time.clock_gettime_ns(CLOCK_REALTIME_COARSE) == before:
        time.sleep(0.001)


def test_the_fingerprint_moves_with_every_change(web: Store, mounts: Overlay) -> None:
    changes = Changes(web)
    seen = [changes.fingerprint("web")]
    assert changes.fingerprint("web") == seen[0]
    operations = [
        ("append", "new", b"x"),
        ("chmod", "new", 0o600),
        ("mkdir", "a/b/c"),
        ("write", "a/b/c/d", b""),
        ("rename", "a/b/c/d", "a/b/c/e"),
        ("xattr", "new", "user.a", b"1"),
        ("remove", "etc/one"),
        ("remove", "a"),
    ]
    for operation in operations:
        next_tick()
        stores.change(web, mounts, "web", [operation])
        seen.append(changes.fingerprint("web"))
    assert len(set(map(repr, seen))) == len(seen)


def test_a_layer_that_vanishes_is_not_found(web: Store) -> None:
    import shutil

    shutil.rmtree(web.layout.container(records.container_row(web.connection, "web").id).home)
    with pytest.raises(NotFoundError):
        Changes(web).of("web")
    with pytest.raises(NotFoundError):
        Changes(web).commit("web", "mine:1")


def test_a_paused_commit_catches_one_moment(engine: Engine) -> None:
    """Two files that a container writes one after the other are never more than one step apart."""
    loop = "i=0; while :; do i=$((i+1)); echo $i > /a; echo $i > /b; done"
    container = engine.containers.run(LaunchOptions("starter", ("sh", "-c", loop), name="web"))
    try:
        wait_for(lambda: engine.changes.of("web"))
        for number in range(5):
            node = engine.changes.commit("web", f"mine:{number}", pause=True)
            tree = engine.store.layout.tree(node.chain_id)
            one, two = (int(Path(tree, name).read_text() or 0) for name in ("a", "b"))
            assert one - two in (0, 1) or 0 in (one, two)
        assert engine.containers.get("web").state == "running"
    finally:
        engine.containers.remove("web", force=True)
    assert container
