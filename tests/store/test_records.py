"""What is recorded is found again, under every name that it may be called by."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import AmbiguousError, ConflictError, NotFoundError, StoreError
from engine.model import Health, LaunchOptions, Limits, Volume
from engine.store import records
from engine.store.records import ContainerRow, LayerRow, ManifestRow, NodeRow
from engine.store.store import Store


def node(number: int, parent: int | None = None) -> NodeRow:
    below = chain(parent) if parent is not None else None
    return NodeRow(chain(number), below, chain(number), number, 1, "2024", "made", "")


def chain(number: int) -> str:
    return f"sha256:{number:064x}"


def container(name: str, identity: str, number: int = 0) -> ContainerRow:
    return ContainerRow(
        identity, name, "it:1", chain(number), None, "2024", ("sh", "-c", "é"), LaunchOptions("it:1")
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path / "root"))
    with store.write() as connection:
        for number in range(200):
            records.add_node(connection, node(number, number - 1 if number else None))
    return store


def test_a_lineage_goes_from_the_top_to_the_root(store: Store) -> None:
    found = records.lineage(store.connection, chain(199))
    assert found == [chain(number) for number in range(199, -1, -1)]
    assert records.lineage(store.connection, chain(999)) == []
    assert records.children(store.connection, chain(7)) == [chain(8)]


def test_a_node_is_recorded_once(store: Store) -> None:
    with store.write() as connection:
        assert not records.add_node(connection, node(3, 2))
        assert records.add_node(connection, node(1000))
    row = records.node_row(store.connection, chain(1000))
    assert row == node(1000)


def test_a_node_without_its_parent_is_refused(store: Store) -> None:
    with pytest.raises(StoreError), store.write() as connection:
        records.add_node(connection, node(1001, 5000))
    assert records.node_row(store.connection, chain(1001)) is None


def test_containers_by_name_id_and_prefix(store: Store) -> None:
    one, two = "ab" + "0" * 62, "ac" + "0" * 62
    with store.write() as connection:
        records.add_container(connection, container("web", one))
        records.add_container(connection, container("ab", two))
    find = records.container_row
    connection = store.connection
    assert find(connection, "web") == container("web", one)
    assert find(connection, one).name == "web"
    assert find(connection, "ab0").name == "web"
    assert find(connection, "ab").name == "ab", "a name goes before a prefix"
    with pytest.raises(AmbiguousError, match="ab0000000000"):
        find(connection, "a")
    for unknown in ("", "ad", "xyz", "%", "ab0%"):
        with pytest.raises(NotFoundError):
            find(connection, unknown)
    with store.write() as writing:
        records.delete_container(writing, one)
    with pytest.raises(NotFoundError):
        find(connection, "web")


def test_a_container_needs_a_free_name_and_a_node(store: Store) -> None:
    with store.write() as connection:
        records.add_container(connection, container("web", "1" * 64))
        records.add_container(connection, container("db", "2" * 64))
    with pytest.raises(ConflictError, match="web"), store.write() as connection:
        records.add_container(connection, container("web", "3" * 64))
    with pytest.raises(NotFoundError, match="it:1"), store.write() as connection:
        records.add_container(connection, container("new", "3" * 64, 5000))
    with pytest.raises(ConflictError), store.write() as connection:
        records.rename_container(connection, "1" * 64, "db")
    with store.write() as connection:
        records.rename_container(connection, "1" * 64, "www")
        records.set_options(connection, "1" * 64, LaunchOptions("it:1", limits=Limits(pids=7)))
    row = records.container_row(store.connection, "www")
    assert row.options.limits.pids == 7
    assert [each.name for each in records.containers(store.connection)] == ["www", "db"]


TEXT = st.text(max_size=20)
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
SECONDS = st.floats(0, 100)
OPTIONS = st.builds(
    LaunchOptions,
    image=TEXT,
    command=TEXTS,
    entrypoint=st.none() | TEXTS,
    env=TEXTS,
    volumes=st.lists(st.builds(Volume, TEXT, TEXT, st.booleans()), max_size=2).map(tuple),
    limits=st.builds(Limits, cpus=st.none() | st.floats(0.1, 64), memory=st.none() | st.integers(0, 1 << 60)),
    stop_timeout=st.floats(0, 100),
    health=st.none() | st.builds(Health, TEXTS, *(SECONDS, SECONDS, st.integers(0, 9), SECONDS, SECONDS)),
)


@given(OPTIONS)
def test_options_come_back_as_they_were(options: LaunchOptions) -> None:
    assert records.decode_options(records.encode_options(options)) == options


def test_options_of_another_cowl_are_understood() -> None:
    assert records.decode_options('{"image": "x", "later": 1}') == LaunchOptions("x")


def test_manifests_go_with_their_layers(store: Store) -> None:
    manifest = ManifestRow(chain(1), "type", b"body", chain(2), b'{"a": 1}', chain(5))
    layers = [LayerRow(chain(4), chain(4), 10, "tar", True), LayerRow(chain(5), chain(5), 11, "tar", False)]
    with store.write() as connection:
        records.add_manifest(connection, manifest, layers)
        records.add_manifest(connection, manifest, layers)
        records.set_tag(connection, "it:1", chain(1), "2024")
        records.set_tag(connection, "it:2", chain(1), "2025")
    connection = store.connection
    assert records.manifest_row(connection, chain(1)) == manifest
    assert records.manifest_layers(connection, chain(1)) == layers
    assert records.manifest_config(connection, chain(1)) == {"a": 1}
    assert records.find_tag(connection, "it:1") == chain(1)
    assert records.tags_of_manifest(connection, chain(1)) == ["it:1", "it:2"]
    assert records.tags(connection) == [("it:1", chain(1), chain(5)), ("it:2", chain(1), chain(5))]
    assert records.is_written_anew(connection, chain(5), chain(5))
    assert not records.is_written_anew(connection, chain(4), chain(4))
    with pytest.raises(NotFoundError):
        records.manifest_config(connection, chain(9))


def test_the_newest_tag_says_which_manifest_a_node_is_used_with(store: Store) -> None:
    with store.write() as connection:
        for number in (1, 2, 3):
            records.add_manifest(connection, ManifestRow(chain(number), "t", b"", "c", b"{}", chain(5)), [])
        records.set_tag(connection, "a:1", chain(2), "2024")
        records.set_tag(connection, "a:2", chain(3), "2025")
    assert records.manifests_of_node(store.connection, chain(5)) == [chain(3), chain(2), chain(1)]
