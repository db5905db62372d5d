"""Documents that are wrong anywhere: one sentence, nothing made, nothing left."""

from __future__ import annotations

import copy
import os
import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.bundles import Bundle
from tests.support.traces import Root, cgroups

pytestmark = pytest.mark.kernel

JUNK: tuple[Any, ...] = (
    *(None, True, 0, -1, 1 << 70, 1.5, "", "x", "\0", "\n", "/", "..", "/../..", "\ud800", "a" * 5000),
    *([], {}, [None], [1], ["x"], {"": ""}, {"type": "x"}, [[]], [{}]),
)


def full(bundle: Bundle) -> dict[str, Any]:
    """A document that has nearly everything."""
    config = copy.deepcopy(bundle.config)
    config["process"] |= {
        "args": ["/bin/true"],
        "env": ["A=b"],
        "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}],
        "oomScoreAdj": 10,
        "user": {"uid": 0, "gid": 0, "umask": 18, "additionalGids": [5]},
        "scheduler": {"policy": "SCHED_OTHER", "nice": 1, "flags": []},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
    }
    config["mounts"].append(
        {"destination": "/m", "type": "bind", "source": "/etc", "options": ["rbind", "ro", "rprivate"]}
    )
    hook = {"path": "/bin/true", "args": ["true"], "env": ["A=b"], "timeout": 5}
    config["hooks"] = {"createRuntime": [hook], "startContainer": [hook]}
    config["annotations"] = {"a": "b"}
    config["linux"] |= {
        "devices": [{"path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "fileMode": 438, "uid": 0}],
        "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys"],
        "sysctl": {"kernel.msgmax": "9000"},
        "rootfsPropagation": "private",
        "personality": {"domain": "LINUX"},
        "resources": {
            "devices": [
                {"allow": False, "access": "rwm"},
                {"allow": True, "type": "c", "major": 1, "minor": 3},
            ],
            "pids": {"limit": 50},
            "cpu": {"shares": 512, "quota": 50000, "period": 100000},
            "memory": {"limit": 1 << 27},
            "blockIO": {"throttleReadBpsDevice": []},
            "hugepageLimits": [],
            "network": {},
            "rdma": {},
        },
        "seccomp": {
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "args": []}],
        },
    }
    return config


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value of a document."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield (*path, key)
        yield from places(child, (*path, key))


def change(config: dict[str, Any], path: tuple[Any, ...], value: Any) -> None:
    node: Any = config
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value


def test_the_document_that_is_changed_is_right(bundle: Bundle) -> None:
    bundle.config = full(bundle)
    bundle.linux["seccomp"].pop("architectures")
    bundle.run().check()


def test_what_is_wrong_anywhere_leaves_nothing(bundle: Bundle, root: Root) -> None:
    """COWL_EXAMPLES chooses how many; each ends in a container or in one sentence."""
    original = full(bundle)
    chance = random.Random(int(os.environ.get("COWL_SEED", "4")))
    ways = list(places(original))
    for _ in range(int(os.environ.get("COWL_EXAMPLES", "60"))):
        path, junk = chance.choice(ways), chance.choice(JUNK)
        if (
            path == ("linux", "cgroupsPath")
            and isinstance(junk, str)
            and junk not in ("", "\0", "\n", "/", "..")
        ):
            continue  # that would be a place, and not the test's own
        bundle.config = copy.deepcopy(original)
        change(bundle.config, path, junk)
        done = bundle.create()
        assert done.code in (0, 1), (path, junk, done)
        assert "Traceback" not in done.err, (path, junk, done.err)
        if done.code:
            assert [line for line in done.err.splitlines() if ": warning: " not in line][1:] == [], (
                path,
                junk,
            )
            bundle.nothing_left()
        else:
            started = bundle.call("start", "c")
            assert started.code in (0, 1), (path, junk, started)
            assert "Traceback" not in started.err, (path, junk, started.err)
            assert bundle.call("delete", "--force", "c").code == 0, (path, junk)
        assert not list(cgroups(root)), (path, junk)
