"""Every hostile archive, loaded by the command line in a mount namespace, beside a canary."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.cage import MEMORY_KB, Cage, cage
from tests.hostile.catalogue import KINDS
from tests.hostile.million import ENTRIES, load_and_remove

pytestmark = pytest.mark.kernel
SECONDS = 20
SLOW = ("a gzip bomb", "a zstd bomb")
"""They unpack a gigabyte before it shows: COWL_TEST_SLOW=1 runs them; `tests/layers` has smaller ones."""


@pytest.fixture(scope="module")
def caged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cage]:
    with cage(str(tmp_path_factory.mktemp("cage"))) as made:
        yield made


@pytest.fixture(scope="module")
def empty(caged: Cage) -> list[str]:
    """What is in a store that has nothing."""
    return caged.run("images").inside


@pytest.mark.parametrize("name", KINDS)
def test_nothing_outside_the_layer_is_touched(
    caged: Cage, empty: list[str], tmp_path: Path, name: str
) -> None:
    if name in SLOW and "COWL_TEST_SLOW" not in os.environ:
        pytest.skip("takes long: COWL_TEST_SLOW=1")
    kind = KINDS[name]
    path = tmp_path / "hostile.tar"
    path.write_bytes(kind.make(caged.outside))
    outcome = caged.run("load", "-q", "-i", str(path))
    assert outcome.outside == []
    assert outcome.seconds < SECONDS
    assert outcome.memory_kb < MEMORY_KB
    assert "Traceback" not in outcome.said
    if kind.refusal is None:
        assert outcome.code == 0, outcome.said
        removed = caged.run("rmi", *outcome.said.split())
        assert (removed.code, removed.outside) == (0, []), removed.said
        assert removed.inside == empty
    else:
        assert outcome.code == 1, outcome.said
        assert re.fullmatch(r"cowl: error: [^\n]+\n", outcome.said)
        assert re.search(kind.refusal, outcome.said)
        assert outcome.inside == empty


@pytest.mark.parametrize("kind", ENTRIES)
def test_very_many_entries_take_little_memory(tmp_path: Path, kind: str) -> None:
    """`python -m tests.hostile.million` does it with a million."""
    for outcome in load_and_remove(str(tmp_path), kind, 5_000):
        assert (outcome.code, outcome.outside) == (0, []), outcome.said
        assert outcome.memory_kb < MEMORY_KB // 2
