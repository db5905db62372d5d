"""The two stores that are photographed: a working day's, and the source document's forest."""

from __future__ import annotations

import os
import tempfile
import time

from tests.support import images
from tests.support.roots import Run

SETTINGS = """\
import os
from pathlib import Path


def load(env=os.environ):
    root = Path(env["ROOT"])
    return Settings(root=root, name=env.get("NAME", "api"))


DEBUG = True
TIMEOUT = 30
WORKERS = int(os.environ.get("WORKERS", "2"))
ALLOWED = ("localhost", "api.internal")
"""
SERVE = """\
i=0
while :; do
    i=$((i + 1)); j=0
    while [ $j -lt 500000 ]; do j=$((j + 1)); done
    echo "GET /v1/items?page=$i 200 $((i * 7 % 40 + 3)) ms"
    [ $((i % 5)) = 0 ] && echo "WARN slow query: $((800 + i)) ms" >&2
    echo "$i" >> /srv/app/cache/requests
done
"""
REMEMBER = """\
kept=
while :; do
    kept=$kept$(head -c 3000000 /dev/zero | tr '\\0' x)
    [ ${#kept} -gt 24000000 ] && kept=
    head -c 4000000 /dev/zero > /tmp/scratch
    echo "$(date +%H:%M:%S) ${#kept} bytes kept"
    sleep 0.7
done
"""
TREES = (
    # Image, parent, tag: the left tree of five, the right one of six.
    ("imageID_0", "", ""),
    ("imageID_1", "imageID_0", ""),
    ("imageID_2", "imageID_1", "ubuntu:12.04"),
    ("imageID_3", "imageID_2", "ubuntu:14.04"),
    ("imageID_4", "imageID_1", "wordpress:3.9"),
    ("imageID_5", "", ""),
    ("imageID_6", "imageID_5", "debian:7"),
    ("imageID_7", "imageID_6", ""),
    ("imageID_8", "imageID_7", "mysql:5.6"),
    ("imageID_9", "imageID_6", ""),
    ("imageID_10", "imageID_9", "redis:2.8"),
)


def workday(cowl: Run) -> None:
    """Images that grew by commits; containers that compute, keep memory, write files, rest and have ended."""
    _do(cowl, "starter")
    _do(cowl, "run", "--name", "build", "starter", "sh", "-c", _write_app())
    _do(cowl, "commit", "-m", "the service and its settings", "build", "api:1")
    _do(cowl, "rm", "build")
    _do(cowl, "run", "--name", "build", "api:1", "sh", "-c", "mkdir /srv/docs; echo hello > /srv/docs/index")
    _do(cowl, "commit", "-m", "documentation", "build", "api:2")
    _do(cowl, "rm", "build")
    limits = ("--cpus", "0.5", "-m", "64m", "--pids-limit", "50")
    _do(cowl, "run", "-d", "--name", "api", *limits, "api:1", "sh", "-c", SERVE)
    _do(cowl, "run", "-d", "--name", "notebook", "-m", "192m", "starter", "sh", "-c", REMEMBER)
    _do(cowl, "run", "-d", "--name", "worker", "--cpus", "0.2", "api:2", "sh", "-c", "sleep 3; " + SERVE)
    _do(cowl, "run", "--name", "migrate", "api:2", "sh", "-c", "echo done")
    _do(cowl, "exec", "api", "sh", "-c", _change_app())
    time.sleep(4)
    _do(cowl, "pause", "worker")


def figure(cowl: Run) -> None:
    """Eleven images in two trees: `ubuntu:12.04` is the parent of `ubuntu:14.04`; containers on top."""
    names = {image: tag or f"{image.lower()}:built" for image, _, tag in TREES}
    for image, parent, _ in TREES:
        if parent:
            _grow(cowl, image, names[parent], names[image])
        else:
            _plant(cowl, image, names[image])
    for name, tag in (("shop", "ubuntu:14.04"), ("legacy", "ubuntu:12.04"), ("db", "mysql:5.6")):
        _do(cowl, "run", "-d", "--name", name, tag, "sleep", "100000")
    _do(cowl, "rmi", *(names[image] for image, _, tag in TREES if not tag))


def _plant(cowl: Run, image: str, name: str) -> None:
    """A base layer: a shell and a few commands, loaded from an archive."""
    with tempfile.TemporaryDirectory() as directory:
        tree, archive = f"{directory}/tree", f"{directory}/archive"
        images.tiny_tree(tree)
        with open(f"{tree}/etc/image", "w", encoding="ascii") as file:
            file.write(f"{image}\n")
        images.archive(archive, {name: [images.layer(lambda tar: tar.add(tree, "."))]})
        _do(cowl, "load", "-i", archive)


def _grow(cowl: Run, image: str, parent: str, name: str) -> None:
    size = 40_000 * (1 + int(image.rpartition("_")[2]))
    make = f"echo {image} > /etc/image; mkdir -p /opt; cat /dev/zero | head -c {size} > /opt/{image}"
    _do(cowl, "run", "--name", "build", parent, "sh", "-c", make)
    _do(cowl, "commit", "-m", image, "build", name)
    _do(cowl, "rm", "build")


def _write_app() -> str:
    lines = [
        "mkdir -p /srv/app/cache /var/log/api",
        f"cat > /srv/app/settings.py <<'END'\n{SETTINGS}END",
        "printf '#!/bin/sh\\nexec serve\\n' > /srv/app/run.sh",
        "seq 1 20000 > /var/log/api/old.log",
        "chmod 644 /srv/app/run.sh",
    ]
    return "\n".join(lines)


def _change_app() -> str:
    lines = [
        "cd /srv/app",
        "sed -i -e 's/DEBUG = True/DEBUG = False/' -e 's/\"2\"/\"4\"/' settings.py",
        "chmod 755 run.sh",
        "rm /var/log/api/old.log",
        "chown 1000 /etc/passwd",
        "for i in 1 2 3 4 5 6 7 8 9; do seq 1 $((i * 900)) > cache/page-$i; done",
        "mkdir -p /etc/api; echo 'listen = 8080' > /etc/api/api.conf",
        "seq 1 3000 > /var/log/api/api.log",
    ]
    return "\n".join(lines)


def _do(cowl: Run, *arguments: str) -> None:
    cowl(*arguments, check=True, cwd=os.getcwd())
