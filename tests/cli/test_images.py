"""Commands on images and changes, as whole processes."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from engine.model import JSON
from tests.support.roots import Run, command_line, new_root
from tests.support.traces import Root, clean

KERNEL = pytest.mark.kernel


@pytest.fixture
def ready(starter_images: Root, cowl: Run) -> Run:
    """`cowl` with the starter images."""
    return cowl


def nodes(cowl: Run) -> list[JSON]:
    found: list[JSON] = json.loads(cowl("forest", "--json", check=True).stdout)["nodes"]
    return found


def test_starter_is_made_once(ready: Run) -> None:
    before = nodes(ready)
    done = ready("starter", "-q", check=True)
    assert (done.stdout, done.stderr) == ("starter:base\nstarter:latest\n", "")
    assert nodes(ready) == before


def test_lists(ready: Run) -> None:
    images: list[JSON] = json.loads(ready("images", "--json", check=True).stdout)
    base, latest = sorted(images, key=lambda image: str(image["name"]))
    assert (base["name"], latest["name"]) == ("starter:base", "starter:latest")
    assert base["size"] < latest["size"]
    assert ready("images", "-q", "--no-trunc", "starter:base", check=True).stdout == f"{base['chain_id']}\n"
    assert ready("tree", check=True).stdout == ready("forest", check=True).stdout
    assert ready("forest", "-q", check=True).stdout.split() == [node["chain_id"] for node in nodes(ready)]
    history: list[JSON] = json.loads(ready("history", "--json", "starter", check=True).stdout)
    assert [entry["chain_id"] for entry in history] == [latest["chain_id"], base["chain_id"]]
    table = ready("images", check=True).stdout.splitlines()
    assert table[0].split() == ["REPOSITORY", "TAG", "CHAIN", "ID", "CREATED", "SIZE"]
    assert len(table) == 3


def test_tags_come_and_go(ready: Run) -> None:
    before = nodes(ready)
    ready("tag", "starter", "other/name:1", check=True)
    assert sorted(tag for node in nodes(ready) for tag in node["tags"]) == [
        "other/name:1",
        "starter:base",
        "starter:latest",
    ]
    assert "Would remove" in ready("rmi", "--dry-run", "other/name:1", check=True).stdout
    assert "other/name:1" in ready("rmi", "other/name:1", check=True).stdout
    assert nodes(ready) == before
    removal = json.loads(ready("rmi", "--json", "starter", check=True).stdout)
    assert removal["nodes"] == [before[1]["chain_id"]]
    assert [node["tags"] for node in nodes(ready)] == [["starter:base"]]


@pytest.mark.parametrize("kind", ["oci-archive", "oci-dir", "docker-archive"])
def test_saved_and_loaded_elsewhere(
    ready: Run, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, kind: str
) -> None:
    target = tmp_path / "saved"
    done = ready("save", "--format", kind, "-o", str(target), "starter", check=True)
    assert done.stdout == ""
    assert done.stderr.startswith("save:")
    assert len(done.stderr.splitlines()) == 1
    other = new_root(str(tmp_path_factory.getbasetemp()))
    try:
        there = command_line(other)
        assert there("load", "-q", "-i", str(target), check=True).stdout == "starter:latest\n"
        assert [node["chain_id"] for node in nodes(there)] == [node["chain_id"] for node in nodes(ready)]
    finally:
        clean(other)


def test_an_archive_that_is_cut_off_leaves_nothing(ready: Run, root: Root, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    ready("save", "-o", str(whole), "starter", check=True)
    before = nodes(ready)
    ready("rmi", "starter:latest", "starter:base", check=True)
    (tmp_path / "cut").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    done = ready("load", "-i", str(tmp_path / "cut"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("cowl: error: ")
    assert nodes(ready) == []
    for directory in (root.layout.layers, root.layout.blobs, root.layout.staging, root.layout.trash):
        assert list(Path(directory).iterdir()) == []
    ready("load", "-i", str(whole), check=True)
    assert [node["chain_id"] for node in nodes(ready)] == [node["chain_id"] for node in before]


@pytest.mark.parametrize("data", [b"", b"no archive", b"\x1f\x8b\x08\x00", b"\0" * 10240])
def test_what_is_no_archive(cowl: Run, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    done = cowl("load", "-i", str(tmp_path / "file"))
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("cowl: error: ")
    assert "defect" not in line


def test_a_tar_that_is_no_image(cowl: Run, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "file", "w") as archive:
        member = tarfile.TarInfo("hello")
        member.size = 2
        archive.addfile(member, io.BytesIO(b"hi"))
    done = cowl("load", "-i", str(tmp_path / "file"))
    assert done.returncode == 1
    assert "defect" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


@KERNEL
def test_differences(ready: Run) -> None:
    script = "echo one > /a; echo two > /b; echo more >> /etc/passwd; rm -r /usr/share; mkfifo /p"
    ready("run", "--name", "a", "starter", "sh", "-c", script)
    kinds = {change["path"]: change["kind"] for change in json.loads(ready("diff", "--json", "a").stdout)}
    assert kinds["/a"] == kinds["/b"] == kinds["/p"] == "added"
    assert kinds["/etc/passwd"] == "modified"
    assert kinds["/usr/share"] == "deleted"
    assert not [path for path in kinds if path.startswith("/usr/share/")]
    assert ready("diff", "a", "/a", "/etc").stdout.splitlines() == ["A /a", "M /etc/passwd"]
    assert ready("diff", "-q", "a", "/a").stdout == "/a\n"
    stat = ready("diff", "--stat", "a").stdout.splitlines()
    assert any(line.split()[:3] == ["A", "+4B", "/a"] for line in stat)
    assert "added" in stat[-1]
    patch = ready("diff", "-p", "a", "/etc/passwd").stdout
    assert patch.startswith("M /etc/passwd (content)\n")
    assert "\n+more\n" in patch
    between = {change["path"] for change in json.loads(ready("diff", "--json", "starter", "a").stdout)}
    assert between == set(kinds)
    assert json.loads(ready("diff", "--json", "starter", "starter:latest").stdout) == []


@KERNEL
def test_names_that_are_not_text(ready: Run) -> None:
    ready(
        "run",
        "--name",
        "a",
        "starter",
        "sh",
        "-c",
        r"touch $(printf '/bad\377name') /$(printf '\033[31mred')",
    )
    paths = [change["path"] for change in json.loads(ready("diff", "--json", "a", check=True).stdout)]
    assert sorted(paths) == ["/\x1b[31mred", "/bad\udcffname"]
    assert sorted(ready("diff", "-q", "a", check=True).stdout.splitlines()) == sorted(paths)


@KERNEL
def test_commit_changes_the_configuration(ready: Run) -> None:
    ready("run", "--name", "a", "starter", "sh", "-c", "echo 1 > /one", check=True)
    words = ("-a", "Me <me@here>", "-m", "why", "-c", 'CMD ["cat", "/one"]', "-c", "ENV A=B", "-p")
    node = json.loads(ready("commit", "--json", *words, "a", "mine", check=True).stdout)
    assert node["tags"] == ["mine:latest"]
    assert ready("run", "--rm", "mine", check=True).stdout == "1\n"
    assert ready("run", "--rm", "mine", "sh", "-c", "echo $A", check=True).stdout == "B\n"
    [image] = json.loads(ready("inspect", "mine", check=True).stdout)
    assert image["config"]["author"] == "Me <me@here>"
    same = ready("commit", "a", "again", check=True)
    assert same.stdout == f"{node['chain_id']}\n"


@KERNEL
def test_a_part_is_committed(ready: Run) -> None:
    script = (
        "mkdir /srv/app; echo 1 > /srv/app/one; echo 2 > /srv/app/junk; echo 3 > /root/left; rm /etc/passwd"
    )
    ready("run", "--name", "a", "starter", "sh", "-c", script, check=True)
    ready("commit", "--only", "/srv/app", "--except", "/srv/app/junk", "a", "app:1", check=True)
    assert ready("diff", "app:1", check=True).stdout.split() == ["A", "/srv/app", "A", "/srv/app/one"]
    ready("commit", "--except", "/srv", "--except=/root", "a", "app:2", check=True)
    assert ready("diff", "app:2", check=True).stdout.split() == ["D", "/etc/passwd"]
    assert len(ready("diff", "a", check=True).stdout.splitlines()) == 5
    refused = ready("commit", "--only", "/srv", "--only", "/opt", "a", "app:3")
    assert refused.returncode == 1
    assert "nothing to commit at /opt" in refused.stderr
    assert "app:3" not in ready("images", check=True).stdout
    assert ready("commit", "--only", "srv", "a").returncode == 2


@KERNEL
def test_names_are_completed(ready: Run) -> None:
    ready("create", "--name", "web", "starter", "true", check=True)

    def offered(words: str, index: int) -> list[str]:
        asked = {"_COWL_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(index)}
        return [line.partition(",")[2] for line in ready(env=asked).stdout.splitlines()]

    assert offered("cowl run starter:b", 2) == ["starter:base"]
    assert offered("cowl stop w", 2) == ["web"]
    assert "start" in offered("cowl st", 1)
