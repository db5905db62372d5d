"""A container whose making or removal was killed is gone at the next opening; no other is harmed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.containers import creation
from engine.engine import Engine
from engine.errors import NotFoundError
from engine.model import LaunchOptions
from engine.oci import reference
from engine.store.store import Store
from tests.support.roots import environment
from tests.support.traces import Root

pytestmark = pytest.mark.kernel

MAKE = """
import sys
from engine.engine import Engine
from engine.model import LaunchOptions
with Engine() as engine:
    made = engine.containers.create(LaunchOptions("starter", ("true",), name="half"))
    engine.containers.remove(made.id)
"""
LOOP = """
import os, sys
from engine.engine import Engine
from engine.model import LaunchOptions
begun, end = sys.argv[1:]
count = 0
with Engine() as engine:
    while not os.path.exists(end):
        made = engine.containers.create(LaunchOptions("starter", ("true",)))
        assert engine.containers.inspect(made.id)["id"] == made.id
        engine.containers.remove(made.id)
        open(begun, "w").close()
        count += 1
    kept = engine.containers.create(LaunchOptions("starter", ("true",)))
print(count, kept.id)
"""


def children(root: Root, script: str, *arguments: str, fault: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        env=environment(root, {"COWL_FAULT": fault}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    "fault",
    [
        "create.before-record",
        "create.after-rename",
        "remove.before-record",
        "remove.after-rename",
        "remove.after-record",
    ],
)
def test_killed_half_way(starter_images: Root, fault: str) -> None:
    child = children(starter_images, MAKE, fault=fault)
    child.communicate(timeout=60)
    assert child.returncode == -9
    with Engine(starter_images.path) as engine:
        whole = fault == "remove.before-record"
        assert [each.name for each in engine.containers.list()] == (["half"] if whole else [])
        assert engine.check().is_clean
        if whole:
            engine.containers.remove("half")
        made = engine.containers.create(LaunchOptions("starter", ("true",), name="half"))
        assert os.listdir(starter_images.layout.containers) == [made.id]
        assert os.listdir(starter_images.layout.trash) == []


def test_openings_harm_nobody_who_makes_or_removes(starter_images: Root, tmp_path: Path) -> None:
    begun, end = [tmp_path / f"{number}" for number in range(3)], tmp_path / "end"
    makers = [children(starter_images, LOOP, str(each), str(end)) for each in begun]
    openings = 0
    while openings < 200 or not all(each.exists() for each in begun):
        Store(starter_images.path).close()
        openings += all(each.exists() for each in begun)
        if any(maker.poll() is not None for maker in makers):
            break
        time.sleep(0.001)
    end.touch()
    said = [maker.communicate() for maker in makers]
    assert [complaint for _, complaint in said] == ["", "", ""]
    with Engine(starter_images.path) as engine:
        kept = {out.split()[1] for out, _ in said}
        assert {each.id for each in engine.containers.list()} == kept
        assert set(os.listdir(starter_images.layout.containers)) == kept
        assert engine.check().is_clean


def test_an_image_that_goes_when_its_name_was_just_looked_up(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "resolve_image", lambda *_: ("sha256:" + "0" * 64, None))
    monkeypatch.setattr(creation, "_configuration", lambda *_: {})
    with pytest.raises(NotFoundError, match="a moment ago"):
        engine.containers.create(LaunchOptions("starter", ("true",)))
    with pytest.raises(NotFoundError, match="a moment ago"):
        engine.changes.of("starter")
    assert os.listdir(engine.store.layout.containers) == []
