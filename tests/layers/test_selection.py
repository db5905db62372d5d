"""Which changes a commit of a part takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import NotFoundError, UsageError
from engine.layers.selection import Selection
from engine.model import Change

PATHS = st.lists(st.sampled_from(["a", "b", "a-b"]), max_size=4).map(lambda parts: "/" + "/".join(parts))


def change(path: str) -> Change:
    return Change(path, "added", "file", 1, 0, ())


def kept(selection: Selection, *paths: str) -> list[str]:
    return [path for path in paths if selection.keeps(change(path))]


def test_the_nearest_path_decides() -> None:
    paths = ("/etc", "/etc/a", "/etc/a/b", "/etc/a/b/c", "/etcetera", "/usr")
    assert kept(Selection(["/etc"], ["/etc/a"]), *paths) == ["/etc"]
    assert kept(Selection(["/etc", "/etc/a/b"], ["/etc/a"]), *paths) == ["/etc", "/etc/a/b", "/etc/a/b/c"]
    assert kept(Selection([], ["/etc/a"]), *paths) == ["/etc", "/etcetera", "/usr"]
    assert kept(Selection(["/"], ["/usr"]), "/", *paths) == ["/", *paths[:-1]]
    assert kept(Selection(), *paths) == list(paths)


def test_paths_are_written_in_several_ways() -> None:
    assert kept(Selection(["//etc/x/../a/"]), "/etc/a", "/etc/a/b", "/etc/b") == ["/etc/a", "/etc/a/b"]


@given(only=st.lists(PATHS, max_size=3), without=st.lists(PATHS, max_size=3), asked=st.lists(PATHS))
def test_every_path_is_judged_alone(only: list[str], without: list[str], asked: list[str]) -> None:
    if set(only) & set(without):
        with pytest.raises(UsageError, match="both ways"):
            Selection(only, without)
        return

    def nearest(path: str) -> bool:
        named = [rule for rule in (*only, *without) if f"{path}/".startswith(rule.rstrip("/") + "/")]
        return max(named, key=len) in only if named else not only

    assert kept(Selection(only, without), *asked) == [path for path in asked if nearest(path)]


def test_a_wanted_path_without_a_change_is_told() -> None:
    selection = Selection(["/etc", "/usr"])
    assert kept(selection, "/etc/a") == ["/etc/a"]
    with pytest.raises(NotFoundError, match=r"nothing to commit at /usr .*cowl diff web"):
        selection.check("web")
    assert kept(selection, "/usr/b") == ["/usr/b"]
    selection.check("web")


def test_paths_begin_with_a_slash() -> None:
    for path in ("etc", ""):
        with pytest.raises(UsageError, match="slash"):
            Selection([path])
        with pytest.raises(UsageError, match="slash"):
            Selection([], [path])
