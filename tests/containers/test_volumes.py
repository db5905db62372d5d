"""Named volumes: what they begin with, who keeps them, and that nobody's is taken."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from engine.cli.mounts import mounted, volume
from engine.engine import Engine
from engine.errors import ConflictError, CowlError, InUseError, NotFoundError, UsageError
from engine.model import LaunchOptions, Volume
from tests.support.captures import start


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/a:/b", Volume("/a", "/b")),
        ("/a:/b:ro,z", Volume("/a", "/b", True)),
        ("./a:/b", Volume(os.path.abspath("a"), "/b")),
        ("a:/b", Volume("", "/b", name="a")),
        ("a:/b:ro,nocopy", Volume("", "/b", True, "a", copy=False)),
        ("/b", Volume("", "/b", anonymous=True)),
    ],
)
def test_spellings(text: str, expected: Volume) -> None:
    assert volume(text) == expected


@pytest.mark.parametrize("text", ["", ":/b", "/a:", "/a:/b:rx", "a:/b:ro,rw"])
def test_what_is_no_volume(text: str) -> None:
    with pytest.raises(UsageError):
        volume(text)


def test_mounts() -> None:
    assert mounted(["type=bind,src=/a,dst=/b,ro", "source=v,target=/c", "dst=/d,readonly=true"]) == (
        (
            Volume("/a", "/b", True, make=False),
            Volume("", "/c", name="v"),
            Volume("", "/d", True, anonymous=True),
        ),
        (),
    )
    assert mounted(["type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=700"]) == ((), ("/t:size=1048576,mode=700",))
    for bad in ("type=bind,dst=/b", "type=nfs,dst=/b", "src=a", "src=a,dst=/b,colour=red"):
        with pytest.raises(UsageError, match="bad mount"):
            mounted([bad])


def run(engine: Engine, script: str, *volumes: Volume, **options: bool) -> int:
    launch = LaunchOptions("starter", ("sh", "-c", script), volumes=volumes, auto_remove=True, **options)
    return engine.containers.run(launch, attach=True)


@pytest.mark.kernel
def test_it_outlives_its_containers(engine: Engine) -> None:
    shared = Volume("", "/data", name="shared")
    assert run(engine, "echo hi > /data/f", shared) == 0
    assert run(engine, "grep -q hi /data/f", shared._replace(read_only=True)) == 0
    found = engine.volumes.get("shared")
    assert (found.containers, found.anonymous) == ((), False)
    assert Path(found.path, "f").read_text() == "hi\n"
    engine.volumes.remove("shared")
    assert engine.volumes.list() == []
    with pytest.raises(NotFoundError):
        engine.volumes.remove("shared")


@pytest.mark.kernel
def test_an_empty_one_begins_with_what_the_image_has(engine: Engine) -> None:
    base = start(
        engine,
        "sh",
        "-c",
        "mkdir -m 2750 /app; echo one > /app/f; chmod 640 /app/f; ln -s f /app/l; ln /app/f /app/h",
    )
    engine.containers.wait(base)
    engine.changes.commit(base, "app:1")
    launch = LaunchOptions(
        "app:1", ("true",), volumes=(Volume("", "/app", name="a"), Volume("", "/app/l", name="b"))
    )
    engine.containers.create(launch)
    found = Path(engine.volumes.get("a").path)
    assert stat.S_IMODE(found.stat().st_mode) == 0o2750
    assert (found / "f").read_text() == "one\n"
    assert (found / "f").samefile(found / "h")
    assert os.readlink(found / "l") == "f"
    assert os.listdir(engine.volumes.get("b").path) == []
    (found / "f").write_text("two\n")
    (found / "l").unlink()
    engine.containers.create(launch)
    assert (found / "f").read_text() == "two\n"
    assert not (found / "l").exists()
    engine.containers.create(launch._replace(volumes=(Volume("", "/app", name="c", copy=False),)))
    assert os.listdir(engine.volumes.get("c").path) == []


@pytest.mark.kernel
def test_one_in_use_stays(engine: Engine) -> None:
    made = engine.containers.create(
        LaunchOptions("starter", ("true",), name="user", volumes=(Volume("", "/data", name="kept"),))
    )
    assert engine.volumes.get("kept").containers == ("user",)
    with pytest.raises(InUseError, match="by user"):
        engine.volumes.remove("kept")
    engine.containers.remove(made.id, volumes=True)
    assert [each.name for each in engine.volumes.list()] == ["kept"]


@pytest.mark.kernel
def test_one_without_a_name_goes_with_its_container(engine: Engine) -> None:
    nameless = Volume("", "/data", anonymous=True)
    assert run(engine, "echo hi > /data/f", nameless) == 0
    assert engine.volumes.list() == []
    made = engine.containers.create(LaunchOptions("starter", ("true",), volumes=(nameless,)))
    (found,) = engine.volumes.list()
    assert found.anonymous
    engine.containers.remove(made.id)
    assert [each.name for each in engine.volumes.unused()] == [found.name]
    made = engine.containers.create(LaunchOptions("starter", ("true",), volumes=(nameless,)))
    engine.containers.remove(made.id, volumes=True)
    assert [each.name for each in engine.volumes.list()] == [found.name]


@pytest.mark.kernel
@pytest.mark.parametrize("name", ["..", ".hidden", "a/b", "x" * 256, "-a"])
def test_what_cannot_name_one(engine: Engine, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a volume"):
        engine.volumes.create(name)
    with pytest.raises(CowlError):
        engine.containers.create(LaunchOptions("starter", ("true",), volumes=(Volume("", "/v", name=name),)))
    assert engine.containers.list() == []


@pytest.mark.kernel
def test_making_and_removing_at_once(engine: Engine) -> None:
    """Whoever is first: no container is left without its volume, no volume goes that one has."""
    failures: list[Exception] = []
    done = threading.Event()

    def remove() -> None:
        while not done.is_set():
            try:
                engine.volumes.remove("v")
            except (NotFoundError, InUseError):
                continue
            except (CowlError, OSError) as error:
                failures.append(error)
                return

    remover = threading.Thread(target=remove)
    remover.start()
    try:
        for _ in range(30):
            options = LaunchOptions("starter", ("true",), volumes=(Volume("", "/v", name="v"),))
            try:
                made = engine.containers.create(options)
            except ConflictError as error:
                failures.append(error)
                break
            assert os.path.isdir(engine.volumes.get("v").path)
            engine.containers.remove(made.id)
    finally:
        done.set()
        remover.join(20)
    assert failures == []


@pytest.mark.kernel
def test_one_mount_in_another(engine: Engine, tmp_path: Path) -> None:
    """Whatever order they are named in, and where cowl's own files lie below them."""
    for name in ("etc", "outer", "inner"):
        (tmp_path / name).mkdir()
    (tmp_path / "inner/f").touch()
    inner, outer = Volume(f"{tmp_path}/inner", "/a/b"), Volume(f"{tmp_path}/outer", "/a")
    assert run(engine, "test -e /a/b/f", inner, outer) == 0
    assert run(engine, "grep -q localhost /etc/hosts", Volume(f"{tmp_path}/etc", "/etc")) == 0
    (tmp_path / "hosts").write_text("mine")
    assert run(engine, "grep -q mine /etc/hosts", Volume(f"{tmp_path}/hosts", "/etc/hosts")) == 0
    with pytest.raises(UsageError, match="one place"):
        run(engine, "true", inner, outer._replace(destination="/a/b/"))
