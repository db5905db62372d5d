"""Records, containers and directories that were changed behind the store's back are found and mended."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import NoSpaceError
from engine.images.damage import Damage
from engine.images.images import Images
from engine.store.store import Store
from tests.images import peers, stores
from tests.images.checks import base_of, flip, layer_of, look
from tests.support.captures import wait_for

pytestmark = pytest.mark.kernel


def records(store: Store, statement: str, *values: object) -> None:
    """Change the records behind everybody's back."""
    connection = sqlite3.connect(store.layout.database, isolation_level=None)
    connection.execute(statement, values)
    connection.close()


RECORDS = {
    "a tag": ("INSERT INTO tags VALUES ('lost:1', 'sha256:nothing', '')", "tag"),
    "a manifest": (
        "UPDATE manifests SET body = CAST(body || ' ' AS BLOB) WHERE chain_id IN (SELECT chain_id FROM tops)",
        "manifest",
    ),
    "a configuration": (
        "UPDATE manifests SET config = CAST('{}' AS BLOB) WHERE chain_id IN (SELECT chain_id FROM tops)",
        "manifest",
    ),
    "a layer's place": ("UPDATE manifest_layers SET position = 7 - position", "manifest"),
    "a node": ("INSERT INTO nodes VALUES ('sha256:aa', NULL, 'sha256:aa', 0, 0, '', '', '')", "node"),
    "a count": ("UPDATE nodes SET size = size + 1", "node"),
    "a parent": ("DELETE FROM nodes WHERE parent IS NULL", "manifest"),
    "a tree": ("INSERT INTO trees VALUES ('sha256:nothing', 'sha256:0')", "link"),
    "an index": ("INSERT INTO indexes VALUES ('sha256:nothing', 'type', x'7b7d')", "index"),
    "an index of nothing": ("INSERT INTO tag_indexes VALUES ('a:1', 'sha256:nothing')", "link"),
}


@pytest.mark.parametrize("what", RECORDS)
def test_records_that_were_changed(store: Store, checked: Images, what: str) -> None:
    statement, kind = RECORDS[what]
    records(store, statement.replace("(SELECT chain_id FROM tops)", "(SELECT max(chain_id) FROM manifests)"))
    report = look(store)
    assert kind in {each.kind for each in report.damage}, report
    assert all(each.what and each.why and each.hint for each in report.damage)
    mended = look(store, repair=True)
    assert mended.is_clean, mended
    assert look(store).is_clean
    assert stores.problems(store) == []


def test_an_index_of_the_records_that_lost_a_row(store: Store, checked: Images) -> None:
    """As a bad page of the database would have it: the table knows a tag that its index does not."""
    hide = "DELETE FROM sqlite_schema WHERE name = 'tags_by_manifest'"
    connection = sqlite3.connect(store.layout.database, isolation_level=None)
    hidden = connection.execute("SELECT * FROM sqlite_schema WHERE name = 'tags_by_manifest'").fetchone()
    manifest = checked.get("a:1").manifest_digest
    for statement, values in (
        (hide, ()),
        ("INSERT INTO tags VALUES ('c:1', ?, '')", (manifest,)),
        ("INSERT INTO sqlite_schema VALUES (?, ?, ?, ?, ?)", hidden),
    ):
        connection.close()
        connection = sqlite3.connect(store.layout.database, isolation_level=None)
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(statement, values)
    connection.close()
    again = Store(store.layout.root)
    report = look(again)
    assert [(each.kind, each.mend) for each in report.damage] == [("records", "restore")], report
    assert "tags_by_manifest" in report.damage[0].why
    assert look(again, repair=True).is_clean
    assert Images(again).removal(["c:1"]).what == ("tag c:1",)
    again.close()


def test_a_container_that_lost_its_image(store: Store, checked: Images) -> None:
    paths = stores.new_container(store, "web", "a:1")
    Path(paths.config).write_text("{}")
    records(store, "UPDATE containers SET manifest = 'sha256:nothing'")
    assert [(each.kind, each.mend) for each in look(store).damage] == [("container", "restore")]
    assert look(store, repair=True).is_clean
    records(store, "UPDATE containers SET options = 'x'")
    report = look(store, repair=True)
    assert [(each.kind, each.mend) for each in report.damage] == [("container", "none")]
    records(store, "DELETE FROM containers")


CONTAINERS: dict[str, tuple[Callable[[str], object], str]] = {
    "its files": (shutil.rmtree, "none"),
    "its work directory": (lambda home: os.rmdir(f"{home}/work"), "restore"),
    "its changes": (lambda home: os.rmdir(f"{home}/upper"), "none"),
    "its configuration": (lambda home: os.truncate(f"{home}/config.json", 1), "none"),
}


@pytest.mark.parametrize("what", CONTAINERS)
def test_a_container_that_lost(store: Store, checked: Images, what: str) -> None:
    paths = stores.new_container(store, "web", "a:1")
    Path(paths.config).write_text(json.dumps({}))
    assert look(store).is_clean
    act, mend = CONTAINERS[what]
    act(paths.home)
    [damage] = look(store).damage
    assert (damage.kind, damage.mend, damage.containers) == ("container", mend, ("web",))
    report = look(store, repair=True)
    assert report.is_clean == (mend != "none")
    assert store.connection.execute("SELECT count(*) FROM containers").fetchone() == (1,)
    stores.remove_container(store, "web")


PLACES = ["", "layers", "blobs/sha256", "containers", "staging", "trash", "cowl.db"]


@pytest.mark.parametrize("place", PLACES)
def test_doors_that_were_left_open(store: Store, checked: Images, place: str) -> None:
    path = os.path.join(store.layout.root, place).rstrip("/")
    os.chmod(path, 0o777)
    [damage] = look(store).damage
    assert (damage.kind, damage.path, damage.mend) == ("permissions", path, "restore")
    assert look(store, repair=True).is_clean
    os.chown(path, 12345, 12345)
    report = look(store, repair=True)
    assert report.is_clean
    assert os.stat(path).st_uid == os.geteuid()


def test_strays_are_found_and_removed(store: Store, checked: Images) -> None:
    layout = store.layout
    strays = {f"{layout.layers}/aa", f"{layout.blobs}/bb", f"{layout.containers}/cc", f"{layout.staging}/dd"}
    for path in strays:
        os.mkdir(path)
    report = look(store)
    assert {(each.kind, each.path) for each in report.damage} == {("stray", path) for path in strays}
    report = look(store, repair=True)
    assert report.is_clean
    assert {each.damage.path for each in report.mended} == strays
    assert stores.problems(store) == []
    os.mkdir(f"{layout.layers}/aa")
    again = Store(layout.root)
    assert look(again).swept == (f"{layout.layers}/aa",)
    assert look(again).is_clean
    again.close()


@pytest.mark.parametrize("fault", ["check.after-retire", "check.after-rename"])
def test_a_repair_that_is_killed_is_taken_up_again(store: Store, checked: Images, fault: str) -> None:
    if fault == "check.after-retire":
        flip(f"{base_of(store)}/etc/passwd")
    else:
        shutil.rmtree(layer_of(store, "a:1"))
        os.unlink(store.layout.blob(checked.inspect("a:1")["layers"][1]["blob_digest"]))
    code = (
        "import contextlib; from engine.images.check import check\n"
        "check(store, repair=True, quiet=lambda _: contextlib.nullcontext(True))\n"
    )
    assert stores.in_process(store, code, fault=fault).returncode == -9
    again = Store(store.layout.root)
    assert look(again, repair=True).is_clean
    assert stores.problems(again) == []
    names = [image.name for image in Images(again).list()]
    assert names == (["a:1", "b:1"] if fault == "check.after-retire" else ["b:1"])
    again.close()


def test_a_full_disk_is_no_damage(tmp_path: Path, check_archives: Path) -> None:
    """To compare a layer of others it is unpacked once more: where that finds no room, nothing is removed."""
    peers.run("mount", "-t", "tmpfs", "-o", "size=1m", "cowl-test", str(tmp_path))
    try:
        peers.run("cp", "-a", str(check_archives / "root"), str(tmp_path / "root"))
        store = Store(str(tmp_path / "root"))
        with store.write() as connection:
            connection.execute("DELETE FROM trees")
        shutil.rmtree(layer_of(store, "a:1"))
        with contextlib.suppress(OSError), open(tmp_path / "filler", "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        with pytest.raises(NoSpaceError):
            look(store, repair=True)
        assert len(Images(store).list()) == 2
        os.unlink(tmp_path / "filler")
        assert look(store, repair=True).is_clean
        assert len(Images(store).list()) == 2
        store.close()
    finally:
        peers.run("umount", "--lazy", str(tmp_path))


def test_others_may_work_meanwhile(
    store: Store, checked: Images, check_archives: Path, tmp_path: Path
) -> None:
    code = (
        "import contextlib, os; from engine.errors import NotFoundError\n"
        "while not os.path.exists(args[1]):\n"
        "    [name] = images.load(args[0])\n"
        "    with contextlib.suppress(NotFoundError):  # the other has pruned it\n"
        "        images.remove([name])\n"
        "    images.prune(True)\n"
    )
    enough = tmp_path / "enough"
    children = [
        stores.in_process(store, code, str(check_archives / f"{name}.tar"), str(enough), wait=False)
        for name in "ab"
    ]
    found: list[Damage] = []
    before = Images(store).list()
    wait_for(lambda: Images(store).list() != before)
    for number in range(20):
        found += look(store, repair=number % 2 == 1).damage
    at_work = [child.poll() is None for child in children]
    enough.touch()
    said = [child.communicate()[1] for child in children]
    assert found == []
    assert said == ["", ""]
    assert at_work == [True, True]
    assert look(store).is_clean
