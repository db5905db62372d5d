"""What came of a blob stays for the next attempt, but not for ever, and not in anybody's way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.store import partials
from engine.store.store import Store
from tests.support import roots

DIGEST = "sha256:" + "1" * 64


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(roots.new_root(str(tmp_path)).path)
    yield opened
    opened.close()
    shutil.rmtree(opened.layout.root)


def leave(store: Store, data: bytes = b"half") -> str:
    part = partials.take(store.layout, DIGEST)
    assert part is not None
    part.write(data)
    part.close()
    return store.layout.partial(DIGEST)


def test_a_part_is_found_again_after_an_opening(store: Store) -> None:
    leave(store)
    Store(store.layout.root).close()
    part = partials.take(store.layout, DIGEST)
    assert part is not None
    assert part.read() == b"half"
    assert partials.unfinished(store.layout) == []
    part.close()
    assert partials.unfinished(store.layout) == [(DIGEST, 4)]


def test_it_is_one_process_that_writes_it_until_it_dies(store: Store) -> None:
    code = (
        "import sys, time\n"
        "from engine.store import partials\n"
        "from engine.store.layout import Layout\n"
        f"part = partials.take(Layout.of(sys.argv[1]), '{DIGEST}')\n"
        "print(part.write(b'xy'), flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, store.layout.root], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"2\n"
        assert partials.take(store.layout, DIGEST) is None
        partials.sweep(store.layout, everything=True)
        assert os.path.exists(store.layout.partial(DIGEST))
        other.kill()
    part = partials.take(store.layout, DIGEST)
    assert part is not None
    assert part.read() == b"xy"
    part.close()


def test_old_ones_go_at_an_opening_and_all_on_demand(store: Store) -> None:
    path = leave(store)
    store.sweep()
    assert os.path.exists(path)
    old = time.time() - partials.KEPT_S - 1
    os.utime(path, (old, old))
    store.sweep()
    assert not os.path.exists(path)
    leave(store)
    partials.sweep(store.layout, everything=True)
    assert not os.path.exists(path)


def test_what_has_become_a_blob_is_never_written_to(store: Store) -> None:
    path = leave(store, b"whole")
    blob = store.layout.blob(DIGEST)
    os.link(path, blob)
    part = partials.take(store.layout, DIGEST)
    assert part is not None
    assert part.read() == b""
    part.write(b"other")
    part.close()
    with open(blob, "rb") as file:
        assert file.read() == b"whole"
    os.unlink(path)
    os.link(blob, path)
    store.sweep()
    assert not os.path.exists(path)


def test_a_whole_one_outlives_the_pull_that_worked_with_it(store: Store) -> None:
    path = leave(store, b"whole")
    os.link(path, f"{store.layout.root}/in-a-dead-area")
    store.sweep()
    part = partials.take(store.layout, DIGEST)
    assert part is not None
    assert part.read() == b"whole"
    part.close()
