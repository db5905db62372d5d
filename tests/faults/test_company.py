"""Four processes pull, load, commit, remove, prune and run at once; `COWL_COMPANY_SECONDS=120`: for long."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator

import pytest

from tests.faults import world as worlds
from tests.faults.world import World

pytestmark = [pytest.mark.kernel, pytest.mark.peers("docker-registry", "skopeo")]

SECONDS = float(os.environ.get("COWL_COMPANY_SECONDS", "5"))
PROCESSES = 4
WORDS = (
    ("pull", "--plain-http", "{registry}/far:1"),
    ("load", "-q", "-i", "{files}/more.tar"),
    ("load", "-q", "-i", "{files}/here.tar"),
    ("import", "{files}/tree.tar", "flat"),
    ("commit", "kept", "mine:1"),
    ("rmi", "more:1"),
    ("rmi", "mine:1"),
    ("prune", "-a", "-f"),
    ("run", "--rm", "--network", "none", "two:1", "true"),
    ("run", "--rm", "--network", "none", "more:1", "true"),
    ("images",),
)


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with worlds.world(str(tmp_path_factory.getbasetemp())) as made:
        made.restore()
        yield made


@pytest.mark.timeout(120 + 2 * SECONDS)
def test_company_refuses_clearly_and_leaves_a_sound_store(world: World) -> None:
    wrong: list[str] = []
    succeeded: list[str] = []
    until = time.monotonic() + SECONDS

    def work(seed: int) -> None:
        numbers = random.Random(seed)
        while time.monotonic() < until:
            words = numbers.choice(WORDS)
            code, said = world.cowl(
                *(word.format(files=world.files, registry=world.registry) for word in words)
            )
            if code == 0:
                succeeded.append(words[0])
            elif not said.startswith("cowl: error: ") or "defect" in said or "busy" in said:
                wrong.append(f"{words}: {code} {said}")

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(PROCESSES)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []
    assert succeeded
    assert worlds.problems(world, sorted(world.tags)) == []
    assert worlds.settle(world) == []
