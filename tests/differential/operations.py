"""What random containers do: sequences of file operations that mostly find something to work on."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from tests.differential.inside import Operation

LONG = "n" * 251 + "\xff.ü-"
NAMES = ("a", "b", "c", "a", "b", "c", "a-b", "\xff\xfe", " \n", LONG)
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
DATA = st.sampled_from(["", "one", "two", "three", "x" * 5000])
MODES = st.sampled_from([0o644, 0o600, 0o755, 0o4755, 0o2755, 0o1777, 0, 0o7777])
OWNERS = st.sampled_from([0, 1, 1000, 65534, 3_000_000])
TIMES = st.sampled_from(
    [0, 1, -(10**9), 10**18, 10**18 + 1, 10**18 + 123_456_789, 1_700_000_000_000_000_000, 2**31 * 10**9 + 7]
)
TARGETS = st.sampled_from(["/a", "b", "../c", "nowhere", "/a/b/c", "\xff" * 120, "/usr"])
XATTRS = st.sampled_from(["user.a", "user.\xc3\xa9", "user.with=sign", "trusted.mine"])
"""The kernel refuses the last one to a default container."""


def _tuples(verb: str, *arguments: st.SearchStrategy[object]) -> st.SearchStrategy[Operation]:
    return st.tuples(st.just(verb), *arguments)


ANYTHING: st.SearchStrategy[Operation] = st.one_of(
    _tuples("write", PATHS, DATA),
    _tuples("append", PATHS, DATA),
    _tuples("patch", PATHS, st.sampled_from(["two", "\0" * 9]), st.sampled_from([0, 1, 70_000, 300_000])),
    _tuples("truncate", PATHS, st.sampled_from([0, 2, 200_000])),
    st.one_of([_tuples(verb, PATHS) for verb in ("rewrite", "touch")]),
    st.one_of([_tuples(verb, PATHS) for verb in ("mkdir", "mkdir", "remove", "remake")]),
    _tuples("directory-to-file", PATHS, DATA),
    _tuples("directory-to-link", PATHS, TARGETS),
    _tuples("file-to-directory", PATHS, st.sampled_from(["a", "b/c"])),
    st.one_of([_tuples(verb, PATHS, PATHS) for verb in ("rename", "move", "move", "link", "link")]),
    _tuples("symlink", PATHS, TARGETS),
    _tuples("chmod", st.one_of(PATHS, PATHS, PATHS, st.just("/")), MODES),
    _tuples("chown", st.one_of(PATHS, PATHS, PATHS, st.just("/")), OWNERS, OWNERS),
    _tuples("xattr", PATHS, XATTRS, DATA),
    _tuples("unxattr", PATHS, st.sampled_from(["user.a", "security.capability", "system.posix_acl_access"])),
    st.one_of([_tuples(verb, PATHS) for verb in ("capability", "acl", "fifo", "socket")]),
    _tuples("utime", PATHS, TIMES),
    _tuples("char", PATHS, st.sampled_from([0, 1]), st.sampled_from([0, 3])),
    _tuples("block", PATHS, st.sampled_from([0, 9])),
)
STEPS: st.SearchStrategy[list[list[Operation]]] = st.lists(
    st.lists(ANYTHING, max_size=16), min_size=2, max_size=5
)
"""One list for each layer."""

BASE: Sequence[Operation] = (
    ("mkdir", "/a/a"),
    ("mkdir", "/b/b"),
    ("mkdir", f"/c/{LONG}"),
    ("mkdir", "/a-b"),
    ("write", "/a/a/a", "one"),
    ("write", "/a/a/b", "two"),
    ("write", "/a/b", "three"),
    ("write", "/b/b/c", "one"),
    ("write", f"/c/{LONG}/a", "one"),
    ("write", "/c/a", "two"),
    ("link", "/c/b", "/c/a"),
    ("link", "/b/c", "/b/b/c"),
    ("symlink", "/b/a", "b"),
    ("symlink", "/a/c", "/nowhere"),
    ("patch", "/a-b/a", "end", 300_000),
    ("write", "/a-b/b", "program"),
    ("capability", "/a-b/b"),
    ("chmod", "/a-b/b", 0o755),
    ("fifo", "/a-b/c"),
    ("chown", "/a/b", 1000, 1000),
    ("chmod", "/b/b", 0o1777),
    ("xattr", "/a/a", "user.a", "one"),
    ("utime", "/a/a/a", 10**18 - 5),
)
"""What the first layer is made of."""

UNTOLD = ("socket",)
"""Verbs that make what no layer can hold."""


def outside(operations: Sequence[Operation]) -> list[Operation]:
    """*operations* without what only the kernel's refusals to a container make harmless."""
    return [
        each
        for each in operations
        if each[:3:2] != ("xattr", "trusted.mine") and not (each[0] == "char" and each[2:] == (0, 0))
    ]
