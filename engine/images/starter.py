"""The first images, made from this host's own programs: `starter:base` and, on it, `starter:latest`.

They hold what the host has of two lists, with the libraries that it needs. Made again on the same host they
are the same, so making them again does nothing.
"""

from __future__ import annotations

import contextlib
import glob
import os
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

from engine.errors import InUseError, NotFoundError, UnsupportedError
from engine.images import removal
from engine.images.hostfiles import HostTree
from engine.images.manifests import new_manifest
from engine.images.publication import NewManifest, NewNode, publish_images
from engine.layers.tarwrite import write_layer
from engine.model import JSON, Progress, ProgressCallback
from engine.oci import documents
from engine.store import records
from engine.store.clock import now
from engine.store.faults import point
from engine.store.records import LayerRow, NodeRow
from engine.store.staging import staging
from engine.store.store import Store

BASE = "starter:base"
LATEST = "starter:latest"
_LABEL = "cowl.starter"

_BASE_PROGRAMS = """
sh hostname [ arch b2sum base32 base64 basename cat chgrp chmod chown cksum comm cp csplit cut date dd df dir
dircolors dirname du echo env expand expr factor false fmt fold groups head hostid id install join link ln
logname ls md5sum mkdir mkfifo mknod mktemp mv nice nl nohup nproc numfmt od paste pathchk pr printenv printf
ptx pwd readlink realpath rm rmdir seq sha1sum sha224sum sha256sum sha384sum sha512sum shred shuf sleep sort
split stat stdbuf stty sum sync tac tail tee test timeout touch tr true truncate tsort tty uname unexpand uniq
unlink users wc who whoami yes
"""
_MORE_PROGRAMS = """
bash find xargs grep egrep fgrep sed awk mawk gawk less more vi vim nano ps top free uptime pgrep pkill pidof
kill watch vmstat tar gzip gunzip zcat bzip2 xz zstd diff cmp patch which clear tput reset column hexdump
"""

_DIRECTORIES = {
    "/dev": 0o755,
    "/etc": 0o755,
    "/home": 0o755,
    "/mnt": 0o755,
    "/opt": 0o755,
    "/proc": 0o555,
    "/root": 0o700,
    "/run": 0o755,
    "/srv": 0o755,
    "/sys": 0o555,
    "/tmp": 0o1777,
    "/usr/local/bin": 0o755,
    "/var/lib": 0o755,
    "/var/log": 0o755,
    "/var/tmp": 0o1777,
}
_MAYBE_LINKS = ("/bin", "/sbin", "/lib", "/lib64")
"""On most systems links into /usr; programs rely on both names."""

_HOME = "/root"
_PASSWD = f"""\
root:x:0:0:root:{_HOME}:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
_GROUP = """\
root:x:0:
daemon:x:1:
tty:x:5:
users:x:100:
nogroup:x:65534:
"""
_NSSWITCH = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n"
_VIMRC = "let skip_defaults_vim = 1\nset nocompatible backspace=2 ruler\n"
_BASHRC = "PS1='\\h:\\w\\$ '\n"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_TERMINALS = (
    "ansi dumb linux rxvt screen screen-256color tmux tmux-256color vt100 vt102 vt220 xterm xterm-256color"
)
_TERMINFO = ("/etc/terminfo", "/lib/terminfo", "/usr/share/terminfo", "/usr/lib/terminfo")
_LOCALES = ("/usr/lib/locale/C.utf8", "/usr/lib/locale/C.UTF-8")
_NOT_OF_PYTHON = (
    "test tests idlelib tkinter turtledemo lib2to3 ensurepip pydoc_data site-packages dist-packages"
)
_WHERE_IS_PYTHON = "import sysconfig as s; print(s.get_path('stdlib')); print(s.get_path('platstdlib'))"


class _Layer(NamedTuple):
    """One of the two images, planned."""

    name: str
    tree: HostTree
    command: str
    comment: str


def make(store: Store, progress: ProgressCallback | None = None) -> list[str]:
    """Make both images unless they are there and up to date; returns their names.

    Raises UnsupportedError on a host without a shell to take, NoSpaceError, StoreError.
    """
    _report(progress, 0)
    base = _base()
    layers = [
        _Layer(BASE, base, "sh", "a shell and coreutils of this host"),
        _Layer(LATEST, more := _more(base), "bash" if _has(more, "bash") else "sh", "tools of this host"),
    ]
    if not all(_is_current(store, layer) for layer in layers):
        earlier = [records.find_tag(store.connection, layer.name) for layer in reversed(layers)]
        _build(store, layers, progress)
        _remove_unneeded(store, earlier)
    return [layer.name for layer in layers]


def _has(tree: HostTree, name: str) -> bool:
    return f"/usr/bin/{name}" in tree or f"/bin/{name}" in tree


def _base() -> HostTree:
    tree = HostTree()
    for path, mode in _DIRECTORIES.items():
        tree.directory(path, mode)
    for path in _MAYBE_LINKS:
        tree.add(path)
    missing = [name for name in _BASE_PROGRAMS.split() if not tree.program(name)]
    if "sh" in missing:
        raise UnsupportedError(
            "cannot make the starter images", "this host has no shell that could be taken", "use cowl load"
        )
    for path in _LOCALES:
        tree.tree(path)
    tree.file("/etc/passwd", _PASSWD)
    tree.file("/etc/group", _GROUP)
    tree.file("/etc/nsswitch.conf", _NSSWITCH)
    tree.add("/etc/os-release")
    if "/etc/os-release" not in tree:
        tree.file("/etc/os-release", 'NAME="cowl starter"\nID=cowl\n')
    return tree


def _more(base: HostTree) -> HostTree:
    tree = HostTree(base)
    for name in _MORE_PROGRAMS.split():
        tree.program(name)
    _add_python(tree)
    for directory in _TERMINFO:
        for name in _TERMINALS.split():
            for inner in (name[0], f"{ord(name[0]):x}"):
                tree.add(f"{directory}/{inner}/{name}")
    for path in ("/etc/vim/vimrc", "/etc/vim/vimrc.tiny", "/usr/share/vim/vimrc", "/etc/vimrc"):
        tree.file(path, _VIMRC)
    tree.file(f"{_HOME}/.bashrc", _BASHRC)
    return tree


def _add_python(tree: HostTree) -> None:
    """The host's own python3 with its standard library; nothing if it has none that can be moved."""
    python = "/usr/bin/python3"
    try:
        told = subprocess.run(
            [python, "-I", "-S", "-c", _WHERE_IS_PYTHON],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        ).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return
    if not tree.add_executable(python):
        return
    for directory in dict.fromkeys(told):
        extensions = f"{directory}/lib-dynload"
        configuration = [os.path.basename(path) for path in glob.glob(f"{directory}/config-*")]
        tree.tree(directory, [*_NOT_OF_PYTHON.split(), "lib-dynload", *configuration])
        for path in sorted(glob.glob(f"{extensions}/*.so")):
            tree.add_executable(path)


def _is_current(store: Store, layer: _Layer) -> bool:
    digest = records.find_tag(store.connection, layer.name)
    if digest is None:
        return False
    config = records.manifest_config(store.connection, digest)
    labels = (config.get("config") or {}).get("Labels") or {}
    return bool(labels.get(_LABEL) == layer.tree.fingerprint())


def _remove_unneeded(store: Store, manifests: Sequence[str | None]) -> None:
    """Remove what was made of an earlier state of this host, unless a container or another name needs it."""
    for digest in manifests:
        if digest is not None and not records.tags_of_manifest(store.connection, digest):
            with contextlib.suppress(InUseError, NotFoundError):
                removal.remove(store, [f"starter@{digest}"])


def _build(store: Store, layers: list[_Layer], progress: ProgressCallback | None) -> None:
    rows: list[LayerRow] = []
    diff_ids: list[str] = []
    entries: list[JSON] = []
    nodes: list[NewNode] = []
    manifests: list[NewManifest] = []
    with staging(store.layout) as area:
        done = 0
        for layer in layers:
            staged = f"{area}/{layer.name.replace(':', '-')}"
            os.makedirs(f"{staged}/diff")
            size, count = layer.tree.write(f"{staged}/diff")
            written = write_layer(f"{staged}/diff", None, [f"{node.staged}/diff" for node in nodes[::-1]])
            point("starter.after-write")
            done += size
            _report(progress, done)
            diff_ids.append(written.diff_id)
            chain_id = documents.chain_ids(diff_ids)[-1]
            created = now()
            entries.append({"created": created, "created_by": "cowl starter", "comment": layer.comment})
            parent = rows[-1].chain_id if rows else None
            row = NodeRow(chain_id, parent, diff_ids[-1], size, count, created, "cowl starter", layer.comment)
            nodes.append(NewNode(row, staged))
            rows.append(LayerRow(chain_id, diff_ids[-1], written.tar_size, documents.OCI_LAYER, False))
            manifests.append(_manifest(layer, rows, diff_ids, entries))
        publish_images(store, nodes, [], manifests, "starter")


def _manifest(layer: _Layer, rows: list[LayerRow], diff_ids: list[str], entries: list[JSON]) -> NewManifest:
    environment = [_PATH, *(["LANG=C.UTF-8"] if any(os.path.isdir(path) for path in _LOCALES) else [])]
    architecture, variant = documents.platform_of_host()
    document: JSON = {
        "created": entries[-1]["created"],
        "architecture": architecture,
        **({"variant": variant} if variant else {}),
        "os": "linux",
        "config": {
            "Env": environment,
            "Cmd": [layer.command],
            "Labels": {_LABEL: layer.tree.fingerprint()},
        },
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
        "history": list(entries),
    }
    return new_manifest(document, rows, rows[-1].chain_id, (layer.name,))


def _report(progress: ProgressCallback | None, done: int) -> None:
    if progress is not None:
        progress(Progress("taking programs of this host", done, None))
