"""A read-write layer becomes a node, with the configuration that was asked for, or nothing is left of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from engine.changes import Changes
from engine.errors import ConflictError, NotFoundError, UsageError
from engine.images.images import Images
from engine.images.instructions import apply_instructions
from engine.images.load import load
from engine.store import records
from engine.store.store import Store
from tests.images import peers, stores
from tests.images.archives import docker_archive, simple_layer
from tests.layers.overlay import Overlay

kernel = pytest.mark.kernel

CONFIG: dict[str, Any] = {
    "architecture": "amd64",
    "os": "linux",
    "author": "somebody",
    "container_config": {"Cmd": ["gone"]},
    "config": {"Env": ["PATH=/bin", "A=1"], "Cmd": ["old"], "Entrypoint": ["old"], "Labels": {"a": "1"}},
    "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "first"}],
}


@pytest.fixture
def web(store: Store, tmp_path: Path) -> Store:
    """A store with the image `it:1` and a container `web` on it."""
    load(store, docker_archive(tmp_path / "it.tar", [simple_layer("one")], **CONFIG))
    stores.new_container(store, "web", "it:1", ["sh", "-c", "echo it's"])
    return store


@kernel
def test_a_commit_is_a_child_with_the_merged_tree_of_the_container(web: Store, mounts: Overlay) -> None:
    inside = stores.change(web, mounts, "web", [("write", "etc/two", b"2"), ("remove", "etc/one")])
    node = Changes(web).commit("web", "mine:1", message="why", author="me")
    assert node.parent == Images(web).resolve("it:1").chain_id
    assert node.tags == ("mine:1",)
    assert (node.size, node.file_count) == (1, 3)
    assert (node.comment, node.created_by) == ("why", """sh -c 'echo it'"'"'s'""")
    assert stores.merged(web, mounts, "mine:1") == inside
    config = Images(web).get("mine:1").config
    assert config["author"] == "me"
    assert config["created"] == node.created
    assert "container_config" not in config
    assert config["config"] == CONFIG["config"]
    assert config["rootfs"]["diff_ids"][1] == node.diff_id
    assert config["history"][0] == {"created": "2024-01-01T00:00:00Z", "created_by": "first"}
    assert config["history"][1]["comment"] == "why"
    assert Changes(web).between("web", "mine:1") == []
    assert stores.problems(_without_container(web)) == []


def _without_container(store: Store) -> Store:
    stores.remove_container(store, "web")
    return store


@kernel
def test_the_same_changes_give_the_same_node(web: Store, mounts: Overlay) -> None:
    stores.change(
        web,
        mounts,
        "web",
        [("write", "etc/two", b"2"), ("utime", "etc/two", 10**18), ("utime", "etc", 10**18)],
    )
    first = Changes(web).commit("web", "mine:1")
    again = Changes(web).commit("web", "mine:2")
    assert first.chain_id == again.chain_id
    assert again.tags == ("mine:1", "mine:2")
    assert len(os.listdir(web.layout.layers)) == 2
    assert stores.problems(web) == []


@kernel
def test_nothing_changed_gives_an_empty_layer(web: Store, mounts: Overlay) -> None:
    node = Changes(web).commit("web")
    assert (node.size, node.file_count, node.tags) == (0, 0, ())
    before, after = stores.merged(web, mounts, "it:1"), stores.merged(web, mounts, node.chain_id)
    assert peers.comparable(before) == peers.comparable(after)


@kernel
def test_a_commit_of_a_bare_node_gets_a_configuration_of_its_own(
    store: Store, mounts: Overlay, tmp_path: Path
) -> None:
    load(store, docker_archive(tmp_path / "it.tar", [simple_layer("one"), simple_layer("two")], **CONFIG))
    base = Images(store).forest()[0].chain_id
    stores.new_container(store, "web", base)
    stores.change(store, mounts, "web", [("write", "new", b"new")])
    node = Changes(store).commit("web", "mine:1")
    assert node.parent == base
    config = Images(store).get("mine:1").config
    assert config["config"] == {"Env": CONFIG["config"]["Env"]}
    assert len(config["history"]) == len(config["rootfs"]["diff_ids"]) == 2
    Images(store).save(["mine:1"], f"{tmp_path}/mine.tar")


@kernel
def test_what_cowl_put_into_the_tree_is_no_change_and_not_committed(web: Store, mounts: Overlay) -> None:
    row = records.container_row(web.connection, "web")
    paths = web.layout.container(row.id)
    os.makedirs(f"{paths.init}/proc")
    os.makedirs(f"{paths.init}/etc")
    with open(f"{paths.init}/etc/hosts", "w"):
        pass
    tree = web.layout.tree(row.chain_id)
    mounts.change([paths.init, tree], paths.home, [("write", "new", b"new"), ("open", "etc/hosts")])
    assert [change.path for change in Changes(web).of("web")] == ["/new"]
    Changes(web).commit("web", "mine:1")
    assert set(stores.merged(web, mounts, "mine:1")) == {b"", b"etc", b"etc/one", b"new"}


@kernel
@pytest.mark.parametrize(
    "fault", ["commit.after-capture", "commit.after-sync", "commit.after-rename", "commit.before-commit"]
)
def test_a_commit_that_is_killed_leaves_nothing(web: Store, mounts: Overlay, fault: str) -> None:
    stores.change(web, mounts, "web", [("write", "etc/two", b"2")])
    killed = stores.in_process(web, "changes.commit('web', 'mine:1')", fault=fault)
    assert killed.returncode == -9
    again = Store(web.layout.root)
    assert stores.problems(again) == []
    assert [image.name for image in Images(again).list()] == ["it:1"]
    assert Changes(again).commit("web", "mine:1").tags == ("mine:1",)
    again.close()


@kernel
def test_a_commit_that_was_recorded_is_done(web: Store) -> None:
    assert (
        stores.in_process(web, "changes.commit('web', 'mine:1')", fault="commit.after-commit").returncode
        == -9
    )
    web.sweep()
    assert Images(web).resolve("mine:1").tags == ("mine:1",)
    assert stores.problems(web) == []


@kernel
def test_bad_names_and_instructions_are_refused_before_anything_is_done(web: Store) -> None:
    changes = Changes(web)
    for name, instructions in (
        ("Upper", ()),
        ("a@sha256:" + "0" * 64, ()),
        ("ok", ["FROM x"]),
        ("ok", ["CMD"]),
    ):
        with pytest.raises(UsageError):
            changes.commit("web", name, changes=instructions)
    with pytest.raises(NotFoundError):
        changes.commit("nobody", "ok")
    assert len(os.listdir(web.layout.layers)) == 1


@kernel
def test_128_layers_are_enough(store: Store, tmp_path: Path) -> None:
    layers = [simple_layer(f"{number}") for number in range(128)]
    load(store, docker_archive(tmp_path / "it.tar", layers))
    stores.new_container(store, "web", "it:1")
    with pytest.raises(ConflictError, match="128"):
        Changes(store).commit("web", "mine:1")


@kernel
def test_names_are_proposed_that_nobody_has(web: Store, tmp_path: Path) -> None:
    changes, images = Changes(web), Images(web)
    assert changes.propose_name("web") == "it:2"
    images.tag("it:1", "it:2")
    assert changes.propose_name("web") == "it:3"
    images.tag("it:1", "it:latest")
    stores.new_container(web, "Web_2", "it:latest")
    assert changes.propose_name("Web_2") == "web-2:1"
    images.tag("it:1", "web-2:1")
    assert changes.propose_name("Web_2") == "web-2:2"
    stores.new_container(web, "bare", images.resolve("it:1").chain_id)
    assert changes.propose_name("bare") == "bare:1"
    for name in ("web", "Web_2", "bare"):
        images.tag("it:1", changes.propose_name(name))


@pytest.mark.parametrize(
    ("instructions", "expected"),
    [
        (['CMD ["a", "b c"]'], {"Cmd": ["a", "b c"]}),
        (["CMD echo $HOME"], {"Cmd": ["/bin/sh", "-c", "echo $HOME"]}),
        (["CMD=/bin/bash"], {"Cmd": ["/bin/sh", "-c", "/bin/bash"]}),
        (['ENTRYPOINT ["x"]'], {"Entrypoint": ["x"], "Cmd": None}),
        (['cmd ["y"]', 'entrypoint ["x"]'], {"Entrypoint": ["x"], "Cmd": ["y"]}),
        (["ENV A=2 B='x y'"], {"Env": ["PATH=/bin", "A=2", "B=x y"]}),
        (["ENV A two words"], {"Env": ["PATH=/bin", "A=two words"]}),
        (["LABEL b=2"], {"Labels": {"a": "1", "b": "2"}}),
        (["EXPOSE 80 90-91/udp"], {"ExposedPorts": {"80/tcp": {}, "90/udp": {}, "91/udp": {}}}),
        (['VOLUME ["/a"]', "VOLUME /b /c"], {"Volumes": {"/a": {}, "/b": {}, "/c": {}}}),
        (["WORKDIR /a", "WORKDIR b"], {"WorkingDir": "/a/b"}),
        (["USER 1000:1000", "STOPSIGNAL SIGINT"], {"User": "1000:1000", "StopSignal": "SIGINT"}),
    ],
)
def test_instructions_change_the_configuration(instructions: list[str], expected: dict[str, object]) -> None:
    before = json.dumps(CONFIG["config"])
    config = apply_instructions(CONFIG["config"], instructions)
    assert {key: config.get(key) for key in expected} == expected
    assert json.dumps(CONFIG["config"]) == before


@pytest.mark.parametrize(
    "text",
    [
        "",
        "RUN x",
        "CMD",
        "ENV",
        "ENV A",
        "ENV =1",
        "EXPOSE x",
        "EXPOSE 0",
        "EXPOSE 9-8",
        "LABEL x",
        "ENV A='1",
    ],
)
def test_what_is_no_instruction(text: str) -> None:
    with pytest.raises(UsageError):
        apply_instructions({}, [text])


@kernel
def test_names_that_mean_a_deletion_are_not_committed(web: Store, mounts: Overlay) -> None:
    stores.change(web, mounts, "web", [("write", "etc/.wh.one", b""), ("write", "etc/a.wh.b", b"")])
    with pytest.raises(ConflictError, match=r"/etc/\.wh\.one cannot be part of a layer"):
        Changes(web).commit("web", "mine:1")
    stores.change(web, mounts, "web", [("remove", "etc/.wh.one")])
    Changes(web).commit("web", "mine:1")
    assert set(stores.merged(web, mounts, "mine:1")) == {b"", b"etc", b"etc/one", b"etc/a.wh.b"}
