"""Images made by others for the tests of this room, and what others make of ours."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.layers.trees import Seen, snapshot

STEPS = (
    # a first layer with hard links, links, a set-uid program and a directory to be emptied later
    """
    mkdir -p bin etc usr/lib/old var/log tmp opt/a/b home && chmod 1777 tmp && chmod 700 home
    cp /bin/true bin/one && chmod 4755 bin/one && cp /bin/false bin/two && ln bin/two bin/three
    echo 1 > etc/one && ln etc/one etc/uno && echo gone > opt/a/b/gone && echo old > usr/lib/old/file
    ln -s usr/lib lib && ln -s nowhere dangling && touch -d '2001-02-03 04:05:06.123456789' etc/one
    """,
    # whiteouts, capabilities, owners, a new hard link across directories
    """
    rm etc/uno && setcap cap_net_raw+ep bin/two && chown -h 1000:1001 lib && chown 12345:54321 etc/one
    echo two > etc/two && ln etc/two var/log/two && mkfifo var/fifo && mknod var/null c 1 3
    """,
    # a directory deleted and made again: opaque
    """
    rm -rf opt/a && mkdir -p opt/a && echo new > opt/a/new && setfattr -n user.note -v kept etc/two
    """,
    # a symlink replaced by a directory, a directory replaced by a file
    """
    rm lib && mkdir lib && echo x > lib/x && rm -rf usr/lib/old && echo file > usr/lib/old
    """,
    # many small files, a mode changed, a deleted file that comes back
    """
    mkdir deep && for i in $(seq 200); do echo $i > deep/$i; done; chmod 600 etc/one; echo back > etc/uno
    """,
)
"""Shell scripts that run in the root of the image, one for each layer."""


def run(*command: str, cwd: str | None = None) -> str:
    """What *command* prints; an error with what it complained of if it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.stderr or done.stdout}")
    return done.stdout


def umoci_image(directory: Path, steps: tuple[str, ...] = STEPS) -> str:
    """An OCI layout with the image ``five``, made by umoci, one layer for each of *steps*."""
    layout, bundle = f"{directory}/layout", f"{directory}/bundle"
    run("umoci", "init", "--layout", layout)
    run("umoci", "new", "--image", f"{layout}:five")
    run("umoci", "unpack", "--image", f"{layout}:five", bundle)
    for step in steps:
        run("sh", "-ec", step, cwd=f"{bundle}/rootfs")
        run("umoci", "repack", "--refresh-bundle", "--image", f"{layout}:five", bundle)
    shutil.rmtree(bundle)
    return layout


def umoci_tree(image: str, directory: Path) -> dict[bytes, Seen]:
    """The tree that umoci unpacks of *image* (``layout:tag``)."""
    bundle = f"{directory}/unpacked-{os.urandom(4).hex()}"
    run("umoci", "unpack", "--image", image, bundle)
    found = snapshot(f"{bundle}/rootfs")
    shutil.rmtree(bundle)
    return found


def comparable(tree: dict[bytes, Seen]) -> dict[bytes, Seen]:
    """*tree* without the times of directories, which engines do not agree on."""
    import stat

    return {
        path: seen._replace(mtime_ns=0) if seen.kind == stat.S_IFDIR else seen for path, seen in tree.items()
    }
