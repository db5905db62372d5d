"""Names of images are taken as docker takes them, and mean what is recorded."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import AmbiguousError, NotFoundError, UsageError
from engine.oci.reference import normalise, parse, resolve_image
from engine.store import records
from engine.store.records import ManifestRow, NodeRow
from engine.store.store import Store

DIGEST = "sha256:" + "0123456789abcdef" * 4

WORD = st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True)
COMPONENT = st.lists(WORD, min_size=1, max_size=3).flatmap(
    lambda words: st.sampled_from([".", "_", "__", "-", "--"]).map(lambda mark: mark.join(words))
)
DOMAIN = st.sampled_from(["", "localhost/", "localhost:5000/", "example.org/", "a.b-c.org:443/", "[::1]:80/"])
PATH = st.lists(COMPONENT, min_size=1, max_size=4).map("/".join)
TAG = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)


@given(DOMAIN, PATH, st.none() | TAG, st.booleans())
def test_what_is_written_is_read(domain: str, path: str, tag: str | None, with_digest: bool) -> None:
    text = domain + path + (f":{tag}" if tag else "") + (f"@{DIGEST}" if with_digest else "")
    reference = parse(text)
    assert reference == (domain + path, tag, DIGEST if with_digest else None)
    assert str(reference) == text
    assert parse(str(reference)) == reference
    if not with_digest:
        assert normalise(text) == f"{domain}{path}:{tag or 'latest'}"
        assert normalise(normalise(text)) == normalise(text)


@given(st.text(max_size=30))
def test_anything_is_read_or_refused(text: str) -> None:
    try:
        reference = parse(text)
    except UsageError:
        return
    assert parse(str(reference)) == reference


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("docker.io/library/ubuntu:14.04", "ubuntu:14.04"),
        ("docker.io/me/it", "me/it:latest"),
        ("index.docker.io/library/a", "a:latest"),
        ("docker.io.example.org/a", "docker.io.example.org/a:latest"),
        ("library/a", "library/a:latest"),
        ("localhost/a:1", "localhost/a:1"),
    ],
)
def test_the_registry_that_docker_leaves_out(text: str, expected: str) -> None:
    assert normalise(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "A", "a:", "a:b:c", "/a", "a/", "a//b", "-a", "a_-b", "a@sha256:12", "a b", "a\n", "a" * 256, "ä"],
)
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)


def test_a_tag_is_no_digest() -> None:
    with pytest.raises(UsageError):
        normalise(f"a@{DIGEST}")


CHAINS = ["sha256:" + digits * 8 for digits in ("abcd1234", "abcd5678", "12345678", "feedbeef")]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Four nodes; the third has the tags `web:latest`, `feed:latest` and `localhost/own:1`."""
    store = Store(str(tmp_path / "root"))
    with store.write() as connection:
        for chain in CHAINS:
            records.add_node(connection, NodeRow(chain, None, chain, 0, 0, "2024", "", ""))
        records.add_manifest(connection, ManifestRow(DIGEST, "t", b"", "c", b"{}", CHAINS[2]), [])
        for name in ("web:latest", "feed:latest", "localhost/own:1"):
            records.set_tag(connection, name, DIGEST, "2024")
    return store


@pytest.mark.parametrize(
    "text",
    [
        "web",
        "web:latest",
        "docker.io/library/web",
        f"web@{DIGEST}",
        "own:1",
        "localhost/own:1",
        "1234",
        CHAINS[2],
    ],
)
def test_what_names_an_image(store: Store, text: str) -> None:
    assert resolve_image(store.connection, text) == (CHAINS[2], DIGEST)


def test_a_tag_goes_before_a_prefix(store: Store) -> None:
    assert resolve_image(store.connection, "feed") == (CHAINS[2], DIGEST)
    assert resolve_image(store.connection, "sha256:feed") == (CHAINS[3], None)
    assert resolve_image(store.connection, "feedb") == (CHAINS[3], None)


def test_a_prefix_of_several_is_ambiguous(store: Store) -> None:
    with pytest.raises(AmbiguousError, match="abcd1234abcd, abcd5678abcd"):
        resolve_image(store.connection, "abcd")
    assert resolve_image(store.connection, "abcd1")[0] == CHAINS[0]


@pytest.mark.parametrize(
    "text", ["other", "web:1", "123", "9999", "sha256:9999", "web@sha256:" + "0" * 64, "own"]
)
def test_what_names_nothing(store: Store, text: str) -> None:
    with pytest.raises(NotFoundError):
        resolve_image(store.connection, text)


@pytest.mark.parametrize("text", ["", "UPPER", "a b"])
def test_what_could_name_nothing(store: Store, text: str) -> None:
    with pytest.raises(UsageError):
        resolve_image(store.connection, text)
