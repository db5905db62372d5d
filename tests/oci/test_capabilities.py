"""Which capabilities `--cap-add`, `--cap-drop` and `--privileged` come to, in every combination with ALL."""

from __future__ import annotations

import pytest

from engine.errors import UsageError
from engine.kernel import capabilities
from engine.model import LaunchOptions
from engine.oci import runtime

EVERY = frozenset(capabilities.NUMBERS)
USUAL = frozenset(runtime.CAPABILITIES)


def given(available: frozenset[str] = EVERY, **options: object) -> set[str]:
    wanted = LaunchOptions(image="x", command=("true",), **options)  # type: ignore[arg-type]
    spec = runtime.build_spec(
        wanted, {}, hostname="x", cgroup_path="x", files={}, available=capabilities.mask(available)
    )
    sets = spec["process"]["capabilities"]
    assert sets["bounding"] == sets["effective"] == sets["permitted"]
    assert "inheritable" not in sets
    return set(sets["bounding"])


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        ((), (), USUAL),
        (("NET_ADMIN",), (), USUAL | {"CAP_NET_ADMIN"}),
        (("cap_net_admin",), ("chown",), (USUAL | {"CAP_NET_ADMIN"}) - {"CAP_CHOWN"}),
        ((), ("ALL",), frozenset()),
        (("CHOWN",), ("ALL",), frozenset({"CAP_CHOWN"})),
        (("ALL",), (), EVERY),
        (("all",), ("SYS_ADMIN",), EVERY - {"CAP_SYS_ADMIN"}),
        (("ALL",), ("ALL",), EVERY),
    ],
)
def test_combinations(add: tuple[str, ...], drop: tuple[str, ...], expected: frozenset[str]) -> None:
    assert given(cap_add=add, cap_drop=drop) == expected


def test_privileged_is_all_that_there_is() -> None:
    assert given(privileged=True) == EVERY
    assert given(privileged=True, cap_drop=("SYS_BOOT",)) == EVERY - {"CAP_SYS_BOOT"}
    here = EVERY - {"CAP_BPF", "CAP_CHOWN"}
    assert given(available=here, privileged=True) == here
    assert given(available=here) == USUAL - {"CAP_CHOWN"}


def test_what_is_no_capability() -> None:
    with pytest.raises(UsageError, match="FLY"):
        given(cap_add=("FLY",))
