"""Documents that are wrong anywhere: one sentence, nothing made, nothing left."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

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


TEXTS = st.text(max_size=8) | st.sampled_from(["", "..", "../..", "a\0b", "\ud800", "ro", "bind", "é" * 300])
NUMBERS = st.integers(-(1 << 66), 1 << 66) | st.floats() | st.sampled_from([10**4000, -1, 1 << 31, 1 << 32])
ANYTHING = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
KEPT = {("root",), ("root", "path"), ("linux",), ("linux", "cgroupsPath")}
"""What stays as it is, with the namespaces: several changes at once must not meet outside the container."""
EXAMPLES = int(os.environ.get("COWL_EXAMPLES", "20"))
usual = settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def is_judged(bundle: Bundle, root: Root, what: object) -> None:
    """Create what config.json says, whatever that is: it works, or one sentence says why not."""
    done = bundle.call("create", "--bundle", bundle.path, "c")
    assert done.code in (0, 1), (what, done)
    assert "Traceback" not in done.err, (what, done.err)
    if done.code:
        said = [line for line in done.err.splitlines() if ": warning: " not in line]
        assert len(said) == 1, (what, done.err)
        bundle.nothing_left()
    else:
        assert bundle.call("delete", "--force", "c").code == 0, what
    assert not list(cgroups(root)), what


@usual
@given(data=st.data())
def test_several_things_are_wrong_at_once(bundle: Bundle, root: Root, data: st.DataObject) -> None:
    config = full(bundle)
    ways = [way for way in places(config) if way not in KEPT and "namespaces" not in way]
    for way in data.draw(st.lists(st.sampled_from(ways), min_size=1, max_size=4)):
        with contextlib.suppress(LookupError, TypeError):  # an earlier change has taken the place away
            change(config, way, data.draw(ANYTHING))
    with open(f"{bundle.path}/config.json", "w", encoding="utf-8") as file:
        json.dump(config, file)
    is_judged(bundle, root, config)


@usual
@given(at=st.floats(0, 1), size=st.integers(0, 40), other=st.binary(max_size=20))
@example(at=1, size=0, other=b"{}")
@example(at=0, size=0, other=b"\xff\xfe")
@example(at=0, size=1, other=b"[" * 100_000)
@example(at=0, size=1, other=b'{"a":' * 100_000)
@example(at=0, size=1, other=b'{"ociVersion": "1.2.0", "ociVersion": {"a": 1},')
@example(at=0, size=1, other=b'{"process": 1' + b"0" * 5000 + b", ")
@example(at=0, size=1 << 30, other=b"")
def test_bytes_that_are_no_document(bundle: Bundle, root: Root, at: float, size: int, other: bytes) -> None:
    bundle.config["linux"]["cgroupsPath"] = f"{root.cgroup_parent}/c"
    bundle.write()
    path = f"{bundle.path}/config.json"
    with open(path, "rb") as file:
        text = file.read()
    place = int(at * len(text))
    mangled = text[:place] + other + text[place + size :]
    if text.index(b"cgroupsPath") - 40 < place < text.index(b"cgroupsPath") + 80:
        return  # that would be another's cgroup
    with open(path, "wb") as file:
        file.write(mangled)
    is_judged(bundle, root, mangled)


@pytest.mark.parametrize("kind", ["loop", "nothing", "file", "fifo", "above", "nul"])
def test_a_rootfs_that_is_none(bundle: Bundle, kind: str) -> None:
    place = f"{bundle.path}/other"
    if kind == "loop":
        os.symlink("other", place)
    elif kind == "nothing":
        os.symlink("../nowhere", place)
    elif kind == "file":
        with open(place, "wb"):
            pass
    elif kind == "fifo":
        os.mkfifo(place)
    bundle.config["root"]["path"] = {"above": "../../../../nowhere", "nul": "other\0x"}.get(kind, "other")
    said = bundle.refused()
    assert said.startswith("cowl-runtime: ")
    assert len(said.splitlines()) == 1


def test_a_bundle_whose_config_is_no_file(bundle: Bundle) -> None:
    path = f"{bundle.path}/config.json"
    os.mkdir(path)
    done = bundle.call("create", "--bundle", bundle.path, "c")
    assert (done.code, len(done.err.splitlines())) == (1, 1)
    os.rmdir(path)
    bundle.nothing_left()
