"""Commands on the store itself, as whole processes: prune, df, check, waste, import and export."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.roots import Run, environment
from tests.support.terminal import terminal
from tests.support.traces import Root

pytestmark = pytest.mark.kernel
COWL = [sys.executable, "-m", "engine.cli"]


@pytest.fixture
def ready(starter_images: Root, cowl: Run) -> Run:
    """`cowl` with the starter images."""
    return cowl


def shown(cowl: Run, *words: str, code: int = 0) -> Any:
    """What a command prints as JSON."""
    done = cowl(*words, "--json")
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def tags(cowl: Run) -> set[str]:
    return {image["name"] for image in shown(cowl, "images")}


def archive(path: Path, **files: bytes) -> str:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return str(path)


@pytest.fixture
def small(cowl: Run, tmp_path: Path) -> Run:
    """`cowl` with `a:1` and a nameless image of 5 bytes."""
    cowl("import", "-q", archive(tmp_path / "a.tgz", one=b"first"), "a:1", check=True)
    cowl("import", "-q", archive(tmp_path / "b.tgz", one=b"again!"), "a:1", check=True)
    return cowl


# check


def test_a_clean_store(ready: Run) -> None:
    done = ready("check")
    assert done.returncode == 0
    assert done.stdout.endswith(": clean\n")
    document = shown(ready, "check")
    assert document["clean"] is True
    assert (document["nodes"], document["damage"], document["mended"]) == (2, [], [])
    assert ready("check", "-q").stdout == ""


def test_damage_is_told_in_full_and_mended(small: Run, root: Root) -> None:
    [newest] = [node for node in shown(small, "forest")["nodes"] if node["tags"]]
    tree = root.layout.tree(newest["chain_id"])
    Path(tree, "one").write_bytes(b"AGAIN!")
    done = small("check")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0] == f"damaged   the layer {newest['chain_id'][7:19]} is damaged"
    assert f"          {tree}" in lines
    assert "          images: a:1" in lines
    assert any(line.startswith("          -> cowl check --repair") for line in lines)
    assert lines[-1].endswith(": 1 damaged")
    assert small("check", "-q").stdout == f"{newest['chain_id']}\n"
    [damage] = shown(small, "check", code=1)["damage"]
    assert damage.keys() == {
        *("kind", "subject", "what", "why", "path", "hint", "mend", "images", "containers"),
    }
    done = small("check", "--repair")
    assert done.returncode == 0
    assert done.stdout.startswith("mended    the layer")
    assert "          removed tag a:1" in done.stdout.splitlines()
    assert tags(small) == set()


def test_what_a_crash_left_is_told(small: Run, root: Root) -> None:
    os.makedirs(f"{root.layout.layers}/aa/diff")
    done = small("check")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, f"swept     {root.layout.layers}/aa")
    assert shown(small, "check")["swept"] == []


def test_a_damaged_layer_of_a_running_container_is_left_until_it_stops(
    cowl: Run, starter_images: Root, tmp_path: Path
) -> None:
    cowl("export", "-q", "-o", f"{tmp_path}/tree.tar", "starter", check=True)
    cowl("import", "-q", "-c", 'CMD ["sh"]', f"{tmp_path}/tree.tar", "flat", check=True)
    cowl("save", "-q", "-o", f"{tmp_path}/flat.tar", "flat", check=True)
    cowl("rmi", "flat", check=True)
    cowl("load", "-q", "-i", f"{tmp_path}/flat.tar", check=True)  # now there is a blob to restore it from
    cowl("run", "-d", "--name", "web", "flat", "sleep", "600", check=True)
    [node] = [node for node in shown(cowl, "forest")["nodes"] if node["containers"]]
    path = Path(starter_images.layout.tree(node["chain_id"]), "etc/os-release")
    before = path.read_bytes()
    path.write_bytes(b"?")
    done = cowl("check", "--repair")
    assert done.returncode == 1
    assert "containers: web" in done.stdout
    assert path.read_bytes() == b"?"
    cowl("kill", "web", check=True)
    cowl("wait", "web", check=True)
    assert cowl("check", "--repair").returncode == 0
    assert path.read_bytes() == before
    cowl("start", "web", check=True)
    assert cowl("exec", "web", "cat", "/etc/os-release").stdout.encode() == before
    cowl("rm", "-f", "web", check=True)


# prune and df


def test_prune_says_what_goes_and_asks_nobody_but_a_person(small: Run) -> None:
    looked = small("prune", "--dry-run")
    assert looked.returncode == 0
    assert looked.stdout.splitlines()[1].split()[:2] == ["5B", "image"]
    assert looked.stdout.splitlines()[-1].split() == ["5B", "would", "come", "free"]
    refused = small("prune")
    assert refused.returncode == 1
    assert "add -f" in refused.stderr
    assert len(shown(small, "forest")["nodes"]) == 2
    document = shown(small, "prune", "--dry-run")
    assert document["size"] == sum(item["size"] for item in document["items"]) == 5
    done = small("prune", "-f", check=True)
    assert done.stdout.splitlines()[-1] == "5B came free"
    assert len(shown(small, "forest")["nodes"]) == 1
    assert small("prune", check=True).stdout == "nothing to remove\n"
    assert tags(small) == {"a:1"}
    small("prune", "-f", "-a", check=True)
    assert shown(small, "forest")["nodes"] == []


def test_untagged_images_stay_until_a_prune(small: Run) -> None:
    before = len(shown(small, "forest")["nodes"])
    assert small("untag", "a:1", check=True).stdout == "Untagged a:1\n"
    assert (tags(small), len(shown(small, "forest")["nodes"])) == (set(), before)
    again = small("untag", "a:1")
    assert (again.returncode, len(again.stderr.splitlines())) == (1, 1)
    small("prune", "-f", check=True)
    assert shown(small, "forest")["nodes"] == []


def test_prune_of_containers_takes_those_at_rest(ready: Run) -> None:
    ready("run", "--name", "ended", "starter", "sh", "-c", "echo hello > /x", check=True)
    ready("run", "-d", "--name", "runs", "starter:base", "sleep", "600", check=True)
    items = shown(ready, "prune", "--dry-run", "--all", "--containers")["items"]
    assert [item["name"] for item in items if item["kind"] == "container"] == ["ended"]
    assert {item["name"] for item in items if item["kind"] == "tag"} == {"starter:latest"}
    ready("prune", "--all", "--containers", "-f", check=True)
    assert [each["name"] for each in shown(ready, "ps", "-a")] == ["runs"]
    assert tags(ready) == {"starter:base"}
    ready("rm", "-f", "runs", check=True)


@pytest.mark.session
@pytest.mark.parametrize(("answer", "left"), [("n", 2), ("y", 1)])
def test_prune_asks_at_a_terminal(small: Run, root: Root, tmp_path: Path, answer: str, left: int) -> None:
    with terminal([*COWL, "prune"], f"{tmp_path}/tmux", environment(root), columns=80, lines=24) as screen:
        screen.expect(r"Remove all of this\? \[y/N\]")
        screen.press(answer, "Enter")
        assert screen.wait_for_exit() == 0
    assert len(shown(small, "forest")["nodes"]) == left


def test_df_counts_what_is_there(ready: Run) -> None:
    ready("run", "--name", "web", "starter", "sh", "-c", "echo hello > /x", check=True)
    document = shown(ready, "df")
    assert document["nodes"]["count"] == 2
    assert document["containers"]["count"] == 1
    assert document["containers"]["size"] == document["containers"]["reclaimable"] >= 6
    assert document["reclaimable"] == 0
    assert sum(image["exclusive"] for image in document["images"]) < document["nodes"]["size"]
    lines = ready("df").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["TYPE", "Images", "layers", "blobs", "Containers"]
    verbose = ready("df", "-v").stdout
    assert "starter:latest" in verbose
    assert verbose.splitlines()[-1].split()[0] == "web"
    assert all(len(line) <= 80 for line in verbose.splitlines())
    ready("rm", "web", check=True)


# import and export


def test_a_tree_goes_out_and_comes_in(ready: Run, root: Root, tmp_path: Path) -> None:
    ready("run", "--name", "web", "starter", "sh", "-c", "echo hello > /x", check=True)
    ready("export", "-o", f"{tmp_path}/tree.tar", "web", check=True)
    with open(tmp_path / "again.tar", "wb") as file:
        subprocess.run(
            [*COWL, "export", "web"],
            env=environment(root),
            stdout=file,
            stderr=subprocess.DEVNULL,
            check=True,
        )
    assert (tmp_path / "again.tar").read_bytes() == (tmp_path / "tree.tar").read_bytes()
    first = ready(
        "import", "-m", "why", "-c", 'CMD ["cat", "/x"]', f"{tmp_path}/tree.tar", "flat", check=True
    )
    with open(tmp_path / "tree.tar", "rb") as file:
        second = ready("import", "-", "flat:2", stdin=file, check=True)
    assert first.stdout == second.stdout
    assert ready("run", "--rm", "flat", check=True).stdout == "hello\n"
    [entry] = shown(ready, "history", "flat")
    assert entry["comment"] == "why"
    ready("rm", "web", check=True)


def test_bad_imports(cowl: Run, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no tar\n" * 200)
    for words, code in (
        (("import", f"{tmp_path}/text", "x"), 1),
        (("import", f"{tmp_path}/nothing", "x"), 1),
        (("import", f"{tmp_path}/text", "X Y"), 2),
        (("import", "-c", "FROM x", f"{tmp_path}/text", "x"), 2),
    ):
        done = cowl(*words)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        [line] = done.stderr.splitlines()
        assert line.startswith("cowl: error: ")
        assert "defect" not in line
    assert cowl("check").returncode == 0
    assert shown(cowl, "forest")["nodes"] == []


def test_a_tar_does_not_go_to_a_terminal(ready: Run, root: Root) -> None:
    master, slave = pty.openpty()
    try:
        done = subprocess.run(
            [*COWL, "export", "starter"],
            env=environment(root),
            stdout=slave,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(slave)
        os.close(master)
    assert done.returncode == 2
    assert "terminal" in done.stderr


# waste


@pytest.fixture
def dirty(cowl: Run, tmp_path: Path) -> Iterator[Run]:
    """`cowl` with `dirty:1`: a shell's image with a key that its last layer deletes."""
    key = "-----BEGIN OPENSSH PRIVATE KEY-----"
    cowl("starter", check=True)
    cowl(
        "run",
        "--name",
        "a",
        "starter:base",
        "sh",
        "-c",
        f"echo '{key}' > /id.key; echo x > /kept",
        check=True,
    )
    cowl("commit", "-c", "ENV DB_PASSWORD=hunter22", "a", "dirty:0", check=True)
    cowl("run", "--name", "b", "dirty:0", "rm", "/id.key", check=True)
    cowl("commit", "b", "dirty:1", check=True)
    yield cowl
    cowl("rm", "a", "b", check=True)


def test_waste_is_told(dirty: Run) -> None:
    found = shown(dirty, "waste", "dirty:1")
    assert [path["path"] for path in found["paths"]] == ["/id.key"]
    assert found["hidden"] == found["paths"][0]["size"] == 36
    assert found["size"] == found["hidden"] + found["visible"]
    assert [(each["path"], each["deleted"]) for each in found["secrets"]] == [("/id.key", True)]
    assert {(each["where"], each["name"]) for each in found["settings"]} >= {("environment", "DB_PASSWORD")}
    assert dirty("waste", "-q", "dirty:1").stdout == "/id.key\n"
    text = dirty("waste", "dirty:1", check=True).stdout
    assert "DB_PASSWORD" in text
    assert "hunter22" not in text
    assert "deleted     private key" in text


def test_waste_as_a_gate(dirty: Run) -> None:
    gates = [
        ((), 0, ""),
        (("--fail-under", "0.9", "--max-waste", "36"), 0, ""),
        (("--fail-under", "100%"), 1, "efficiency"),
        (("--max-waste", "35"), 1, "36B are hidden"),
        (("--max-waste", "0%"), 1, "36B are hidden"),
        (("--no-secrets",), 1, "look like secrets"),
        (("--fail-under", "120%"), 2, "more than all"),
        (("--max-waste", "much"), 2, "no number"),
    ]
    for words, code, why in gates:
        done = dirty("waste", "-q", *words, "dirty:1")
        assert done.returncode == code, done.stderr
        assert why in done.stderr
        assert len(done.stderr.splitlines()) == bool(code)


def test_an_image_without_anything_to_find(small: Run) -> None:
    found = shown(small, "waste", "a:1")
    assert (found["efficiency"], found["secrets"], found["settings"], found["exposures"]) == (1.0, [], [], [])
    small("waste", "--fail-under", "1", "--max-waste", "0", "--no-secrets", "a:1", check=True)
    assert small("waste", "nothing:1").returncode == 1
