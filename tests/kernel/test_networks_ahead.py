"""A network namespace that is made before somebody comes who is to be in it."""

from __future__ import annotations

import os

import pytest

from engine.kernel import namespaces

pytestmark = pytest.mark.kernel


def _own() -> int:
    return os.stat("/proc/self/ns/net").st_ino


@pytest.mark.skipif(
    not os.path.exists("/proc/self/net/if_inet6"), reason="this kernel has no IPv6 to look at"
)
def test_whoever_makes_it_stays_and_whoever_is_forked_inside_is_in_it() -> None:
    home = _own()
    network = namespaces.network_ahead()
    assert _own() == home
    reader, writer = os.pipe()
    with network.entered():
        pid = os.fork()
        if pid == 0:
            try:
                with open("/proc/self/net/if_inet6", "rb") as file:
                    os.write(writer, f"{_own()} {len(file.read().splitlines())}".encode())
            finally:
                os._exit(0)  # whatever happens: no second process goes on with the tests
    os.waitpid(pid, 0)
    os.close(writer)
    inside, addresses = map(int, os.read(reader, 64).split())
    os.close(reader)
    assert _own() == home != inside
    assert addresses == 1, "its loopback interface alone, with the address that it has once it is up"


def test_whoever_enters_it_comes_back_although_something_failed() -> None:
    home = _own()
    network = namespaces.network_ahead()
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(KeyError), network.entered():
        assert _own() != home
        raise KeyError
    assert _own() == home
    assert len(os.listdir("/proc/self/fd")) == before - 2
