"""The first images work inside, are the same each time and leave the host alone."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.images.elf import find_library, library_directories, read_needs
from engine.images.hostfiles import HostTree
from engine.images.images import Images
from engine.store import records
from engine.store.store import Store
from tests.images import stores
from tests.images.stores import NewStore
from tests.layers.overlay import Overlay

kernel = pytest.mark.kernel

INSIDE = """
case "$1" in
*:*) mount -t overlay overlay -o lowerdir="$1" "$2" ;;
*) mount --bind "$1" "$2" ;;
esac &&
mount -t proc proc "$2/proc" && mount --rbind /dev "$2/dev" \
&& exec chroot "$2" /usr/bin/env -i \
PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=xterm LANG=C.UTF-8 sh -c "$3"
"""


def inside(store: Store, name: str, script: str) -> str:
    """What *script* prints in the image *name*, in a PID and mount namespace of its own."""
    chain_id = Images(store).resolve(name).chain_id
    lowers = ":".join(store.layout.tree(each) for each in records.lineage(store.connection, chain_id))
    where = f"{store.layout.root}/mounted"
    os.makedirs(where, exist_ok=True)
    command = ["unshare", "--mount", "--pid", "--fork", "sh", "-c", INSIDE, "sh", lowers, where, script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    from tests.support import roots

    root = roots.new_root(str(tmp_path_factory.getbasetemp())).path
    store = Store(root)
    try:
        assert Images(store).starter() == ["starter:base", "starter:latest"]
        yield store
    finally:
        store.close()
        subprocess.run(["rm", "-rf", root], check=True)


@kernel
def test_base_is_the_parent_of_latest(starter: Store) -> None:
    base, latest = Images(starter).forest()
    assert (base.tags, latest.tags) == (("starter:base",), ("starter:latest",))
    assert latest.parent == base.chain_id
    assert stores.problems(starter) == []
    for node in (base, latest):
        tree = starter.layout.tree(node.chain_id)
        entries = [entry for _, directories, files in os.walk(tree) for entry in (*directories, *files)]
        assert node.file_count == len(entries)


@kernel
@pytest.mark.parametrize("name", ["starter:base", "starter:latest"])
def test_a_shell_and_coreutils_run(starter: Store, name: str) -> None:
    said = inside(
        starter, name, "hostname >/dev/null && id -u && ls / && cat /proc/1/comm && stat -c %a /tmp /root"
    )
    lines = said.split()
    assert lines[0] == "0"
    assert {"bin", "etc", "proc", "sys", "dev", "tmp", "root", "usr"} <= set(lines)
    assert lines[-3:] == ["sh", "1777", "700"]
    assert inside(starter, name, "id -un; id -gn; . /etc/os-release; echo $ID").split()[:2] == [
        "root",
        "root",
    ]
    missing = inside(starter, name, "ls /etc/hosts /etc/resolv.conf /etc/hostname 2>/dev/null || true")
    assert missing == ""


@kernel
def test_tools_run(starter: Store) -> None:
    assert inside(starter, "starter", "ls /proc | grep -c '^[0-9]'").strip().isdigit()
    assert inside(starter, "starter", "find /etc -name passwd | sed s/passwd/x/").strip() == "/etc/x"
    assert inside(starter, "starter", "awk 'BEGIN { print 6 * 7 }'").strip() == "42"
    assert "sh" in inside(starter, "starter", "tar -cf - /bin/sh /etc/passwd 2>/dev/null | tar -tf -")


@kernel
@pytest.mark.skipif(not os.path.exists("/usr/bin/vi"), reason="this host has no vi")
def test_vi_has_settings_where_it_looks_for_them(starter: Store) -> None:
    """Without them it begins with an error: its defaults are not there."""
    said = subprocess.run(["/usr/bin/vi", "--version"], capture_output=True, text=True, check=False).stdout
    settings = re.search(r'system vimrc file: "(/[^"]*)"', said)
    if settings is None:
        pytest.skip("this vi is another one, or names no file by its full path")
    assert "skip_defaults_vim" in inside(starter, "starter", f"cat {settings[1]}")


@kernel
@pytest.mark.skipif(not os.path.exists("/usr/bin/python3"), reason="this host has no python3 of its own")
def test_python_runs_with_its_library_and_writes_nothing(starter: Store) -> None:
    code = "import ssl, sqlite3, json, ctypes, asyncio, decimal; print(json.dumps(ssl.OPENSSL_VERSION))"
    assert "OpenSSL" in inside(starter, "starter", f"python3 -W error -c '{code}'")


@kernel
def test_made_again_they_are_the_same(new_store: NewStore, starter: Store) -> None:
    again = new_store()
    Images(again).starter()
    assert [node.chain_id for node in Images(again).forest()] == [
        node.chain_id for node in Images(starter).forest()
    ]
    before = [image.manifest_digest for image in Images(again).list()]
    Images(again).starter()
    assert [image.manifest_digest for image in Images(again).list()] == before


@kernel
def test_a_changed_host_gives_new_images_and_the_old_go_unless_they_are_used(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.images import starter

    images = Images(store)
    images.starter()
    old = images.resolve("starter").chain_id
    monkeypatch.setattr(starter, "_BASHRC", "PS1='one '\n")
    images.starter()
    assert len(images.forest()) == 2
    assert images.resolve("starter").chain_id != old
    stores.new_container(store, "web", "starter:latest")
    monkeypatch.setattr(starter, "_BASHRC", "PS1='two '\n")
    images.starter()
    assert len(images.forest()) == 3, "the container's image stays"
    stores.remove_container(store, "web")
    assert stores.problems(store) == []


@kernel
@pytest.mark.parametrize("fault", ["starter.after-write", "starter.after-rename", "starter.before-commit"])
def test_starter_that_is_killed_leaves_nothing(store: Store, fault: str) -> None:
    assert stores.in_process(store, "images.starter()", fault=fault).returncode == -9
    again = Store(store.layout.root)
    assert stores.problems(again) == []
    assert not Images(again).has_any()
    again.close()


@kernel
@pytest.mark.peers("skopeo", "umoci")
def test_others_unpack_it(starter: Store, mounts: Overlay, tmp_path: Path) -> None:
    from tests.images import peers

    Images(starter).save(["starter:latest"], f"{tmp_path}/saved", "oci-dir")
    theirs = peers.umoci_tree(f"{tmp_path}/saved:starter:latest", tmp_path)
    assert peers.comparable(stores.merged(starter, mounts, "starter")) == peers.comparable(theirs)


def test_libraries_are_those_that_ldd_names() -> None:
    for program in ("/bin/ls", "/bin/bash", "/usr/bin/find"):
        listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        wanted = {os.path.realpath(word) for word in listed.split() if word.startswith("/")}
        tree = HostTree()
        assert tree.add_executable(program)
        taken = {entry.source for entry in tree.entries.values() if entry.source}
        assert {os.path.realpath(path) for path in taken} == {*wanted, os.path.realpath(program)}


def test_what_is_no_elf_file_needs_nothing(tmp_path: Path) -> None:
    with open("/bin/ls", "rb") as file:
        program = file.read()
    path = tmp_path / "file"
    for content in (
        b"",
        b"\x7fELF",
        b"#!/bin/sh\n",
        program[:100],
        program[:64] + bytes(4000),
        b"\x7fELF" + b"\xff" * 96,
    ):
        path.write_bytes(content)
        needs = read_needs(str(path))
        assert needs is None or not needs.libraries


def test_a_program_that_lacks_a_library_is_not_taken(tmp_path: Path) -> None:
    with open("/bin/ls", "rb") as file:
        program = file.read()
    path = tmp_path / "ls"
    path.write_bytes(program.replace(b"libc.so.6\0", b"libq.so.6\0"))
    path.chmod(0o755)
    tree = HostTree()
    assert not tree.add_executable(str(path))
    assert tree.entries == {}
    needs = read_needs(str(path))
    assert needs
    assert find_library("libq.so.6", needs, library_directories()) is None
