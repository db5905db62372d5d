"""`cp`: docker's rules for where things land, and that no link on either side leads out of it."""

from __future__ import annotations

import fcntl
import io
import os
import stat
import tarfile
import threading
from pathlib import Path

import pytest

from engine.containers import landing
from engine.containers.landing import Landing, Source
from engine.engine import Engine
from engine.errors import ArchiveError, ConflictError, CowlError, NotFoundError
from engine.model import LaunchOptions, Volume
from tests.support.captures import start, wait_for

FILE = Source("f", directory=False, contents=False)
DIRECTORY = Source("d", directory=True, contents=False)
CONTENTS = Source("d", directory=True, contents=True)


@pytest.mark.parametrize(
    ("path", "source", "expected"),
    [
        ("new", FILE, ("", "new")),
        ("file", FILE, ("", "file")),
        ("dir", FILE, ("dir", "f")),
        ("dir/", FILE, ("dir/", "f")),
        ("link", FILE, ("link", "f")),
        ("tofile", FILE, ("", "file")),
        ("new", DIRECTORY, ("", "new")),
        ("new/", DIRECTORY, ("", "new")),
        ("dir", DIRECTORY, ("dir", "d")),
        ("new", CONTENTS, ("", "new")),
        ("dir", CONTENTS, ("dir", "")),
        ("new/", FILE, NotFoundError),
        ("no/new", FILE, NotFoundError),
        ("no/new", DIRECTORY, NotFoundError),
        ("file", DIRECTORY, ConflictError),
        ("file/", FILE, NotFoundError),
    ],
)
def test_where_things_land(
    tmp_path: Path, path: str, source: Source, expected: tuple[str, str] | type[CowlError]
) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("dir")
    (tmp_path / "tofile").symlink_to("file")
    if isinstance(expected, type):
        with pytest.raises(expected):
            landing.landing_of(f"{tmp_path}/{path}", source)
        return
    directory, name = expected
    found = landing.landing_of(f"{tmp_path}/{path}", source)
    assert found == Landing(f"{tmp_path}/{directory}" if directory else str(tmp_path), name)


@pytest.mark.parametrize(
    ("path", "follow", "name", "directory", "contents"),
    [
        ("dir", False, "dir", True, False),
        ("dir/", False, "dir", True, False),
        ("dir/.", False, "dir", True, True),
        ("link", False, "link", False, False),
        ("link", True, "link", True, False),
        ("link/", False, "link", True, False),
    ],
)
def test_what_is_copied(
    tmp_path: Path, path: str, follow: bool, name: str, directory: bool, contents: bool
) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "link").symlink_to("dir")
    _, found = landing.source_of(f"{tmp_path}/{path}", follow=follow)
    assert found == Source(name, directory, contents)


@pytest.fixture(params=["running", "resting"])
def name(request: pytest.FixtureRequest, engine: Engine) -> str:
    script = "mkdir -p /data/sub; echo hi > /data/f; ln -s /etc/passwd /data/l; ln /data/f /data/sub/hard"
    if request.param == "running":
        found = start(engine, "sh", "-c", f"{script}; sleep 1000")
        while engine.containers.exec(found, ["test", "-e", "/data/sub/hard"]):
            pass
        return found
    found = start(engine, "sh", "-c", script)
    engine.containers.wait(found)
    return found


@pytest.mark.kernel
def test_out(engine: Engine, name: str, tmp_path: Path) -> None:
    engine.containers.copy_out(name, "/data", str(tmp_path))
    engine.containers.copy_out(name, "data/f", f"{tmp_path}/g")
    engine.containers.copy_out(name, "/data/.", str(tmp_path))
    assert (tmp_path / "data/f").read_text() == "hi\n"
    assert (tmp_path / "g").read_text() == "hi\n"
    assert (tmp_path / "sub/hard").samefile(tmp_path / "f")
    assert os.readlink(tmp_path / "data/l") == "/etc/passwd"
    with pytest.raises(NotFoundError, match="cannot copy /nowhere"):
        engine.containers.copy_out(name, "/nowhere", str(tmp_path))


@pytest.mark.kernel
def test_in(engine: Engine, name: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "x").write_text("x")
    os.setxattr(tree / "x", "trusted.note", b"kept")
    os.chown(tree / "x", 12, 34)
    (tree / "x").chmod(0o4755)
    os.utime(tree / "x", ns=(1, 1_234_567_891_234_567_890))
    engine.containers.copy_in(str(tree), name, "/data")
    engine.containers.copy_in(str(tree / "x"), name, "/data/l")  # a link to a file: written through
    engine.containers.copy_in(str(tree / "x"), name, "/data/kept", archive=True)
    back = tmp_path / "back"
    back.mkdir()
    engine.containers.copy_out(name, "/data/.", str(back), archive=True)
    found = (back / "tree/x").stat()
    assert stat.S_IMODE(found.st_mode) == 0o4755
    assert (found.st_uid, found.st_gid, found.st_mtime_ns) == (0, 0, 1_234_567_891_234_567_890)
    assert os.getxattr(back / "tree/x", "trusted.note") == b"kept"
    assert ((back / "kept").stat().st_uid, (back / "kept").stat().st_gid) == (12, 34)
    assert os.readlink(back / "l") == "/etc/passwd"
    engine.containers.copy_out(name, "/etc/passwd", f"{back}/passwd")
    assert (back / "passwd").read_text() == "x"


@pytest.mark.kernel
def test_what_is_copied_in_is_a_change_and_no_more(engine: Engine, name: str, tmp_path: Path) -> None:
    before = {change.path for change in engine.changes.of(name)}
    (tmp_path / "new").write_text("new")
    engine.containers.copy_in(str(tmp_path / "new"), name, "/usr/")
    assert {change.path for change in engine.changes.of(name)} - before == {"/usr/new"}


@pytest.mark.kernel
def test_tars(engine: Engine, name: str, tmp_path: Path) -> None:
    out = io.BytesIO()
    engine.containers.copy_out(name, "/data", out)
    out.seek(0)
    with tarfile.open(fileobj=out) as tar:
        assert sorted(tar.getnames()) == ["data", "data/f", "data/l", "data/sub", "data/sub/hard"]
    out.seek(0)
    engine.containers.copy_in(out, name, "/usr")
    engine.containers.copy_out(name, "/usr/data", str(tmp_path))
    assert (tmp_path / "data/sub/hard").read_text() == "hi\n"


@pytest.mark.kernel
def test_the_whole_root_is_its_files_alone(engine: Engine, name: str) -> None:
    out = io.BytesIO()
    engine.containers.copy_out(name, "/", out)
    out.seek(0)
    with tarfile.open(fileobj=out) as tar:
        names = set(tar.getnames())
    assert {"data/f", "etc/passwd"} <= names
    assert not {each for each in names if each.startswith(("proc/", "sys/", "dev/"))}


@pytest.mark.kernel
def test_volumes_are_part_of_it(engine: Engine, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    made = engine.containers.create(
        LaunchOptions(
            "starter", ("true",), volumes=(Volume(str(volume), "/v"), Volume(str(volume), "/r", True))
        )
    )
    (tmp_path / "x").write_text("x")
    engine.containers.copy_in(str(tmp_path / "x"), made.name, "/v/")
    assert (volume / "x").read_text() == "x"
    with pytest.raises(CowlError, match="Read-only"):
        engine.containers.copy_in(str(tmp_path / "x"), made.name, "/r/y")


@pytest.mark.kernel
def test_links_of_the_container_stay_in_it(engine: Engine, tmp_path: Path) -> None:
    """CVE-2018-15664: the container swaps a directory for a link while it is copied to."""
    canary = tmp_path / "canary"
    canary.mkdir()
    name = start(
        engine,
        "sh",
        "-c",
        f"mkdir -p {canary} /real; while :; do mv -T /real /swap 2>/dev/null; ln -sfn {canary} /real;"
        " rm /real; mv -T /swap /real; done",
    )
    (tmp_path / "x").write_text("x")
    tries = 0
    for _ in range(25):
        try:
            engine.containers.copy_in(str(tmp_path / "x"), name, "/real/x")
            tries += 1
        except CowlError:
            continue
    assert os.listdir(canary) == []
    assert tries


@pytest.mark.kernel
def test_no_module_comes_from_the_container(engine: Engine, tmp_path: Path) -> None:
    """CVE-2019-14271: what the copying process loads late must not be the container's."""
    site = Path(__file__).resolve().parents[2]
    evil = tmp_path / "evil.py"
    evil.write_text(f"open('{tmp_path}/owned', 'w')\nopen('/owned', 'w')\n")
    name = engine.containers.create(LaunchOptions("starter", ("sleep", "1000"))).name
    tree = tmp_path / "tree"
    for module in ("engine/layers/untar.py", "tarfile.py", "codecs.py", "encodings/idna.py", "bisect.py"):
        where = tree / str(site).lstrip("/") / module
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_bytes(evil.read_bytes())
    engine.containers.copy_in(f"{tree}/.", name, "/")
    engine.containers.copy_out(name, "/usr", str(tmp_path / "usr"))
    with pytest.raises(NotFoundError):
        engine.containers.copy_out(name, "/owned", str(tmp_path))
    assert not (tmp_path / "owned").exists()


def hostile(*members: tuple[str, bytes, str]) -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, kind, link in members:
            member = tarfile.TarInfo(path)
            member.type, member.linkname = kind, link
            if kind == tarfile.REGTYPE:
                member.size = 4
                tar.addfile(member, io.BytesIO(b"evil"))
            else:
                tar.addfile(member)
    out.seek(0)
    return out


@pytest.mark.kernel
@pytest.mark.parametrize(
    "members",
    [
        [("../evil", tarfile.REGTYPE, "")],
        [("a/../../evil", tarfile.REGTYPE, "")],
        [("l", tarfile.SYMTYPE, "/etc"), ("l/evil", tarfile.REGTYPE, "")],
        [("l", tarfile.SYMTYPE, ".."), ("l/evil", tarfile.REGTYPE, "")],
        [("h", tarfile.LNKTYPE, "../etc/passwd")],
        [("l", tarfile.SYMTYPE, "/etc/passwd"), ("h", tarfile.LNKTYPE, "l")],
        [("h", tarfile.LNKTYPE, "nothing")],
    ],
)
def test_hostile_tars(engine: Engine, members: list[tuple[str, bytes, str]]) -> None:
    made = engine.containers.create(LaunchOptions("starter", ("true",)))
    with pytest.raises(ArchiveError):
        engine.containers.copy_in(hostile(*members), made.name, "/tmp")
    changed = {change.path for change in engine.changes.of(made.name)}
    assert {path for path in changed if not path.startswith("/tmp")} == set()


def is_locked(path: str) -> bool:
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@pytest.mark.kernel
def test_one_that_rests_is_not_started_meanwhile(engine: Engine, tmp_path: Path) -> None:
    name = engine.containers.create(LaunchOptions("starter", ("sleep", "1000"))).name
    reading, writing = os.pipe()
    lock = engine.store.layout.container(engine.containers.get(name).id).lock

    def copy() -> None:
        with open(reading, "rb") as stream:
            engine.containers.copy_in(stream, name, "/tmp")

    copying = threading.Thread(target=copy)
    copying.start()
    wait_for(lambda: is_locked(lock))
    starting = threading.Thread(target=lambda: engine.containers.start(name))
    with open(writing, "wb") as tar:
        tar.write(hostile(("x", tarfile.REGTYPE, "")).getvalue()[:512])
        tar.flush()
        starting.start()
        starting.join(0.5)
        assert starting.is_alive()
        tar.write(hostile(("x", tarfile.REGTYPE, "")).getvalue()[512:])
    copying.join(60)
    starting.join(60)
    assert engine.containers.exec(name, ["test", "-e", "/tmp/x"]) == 0
