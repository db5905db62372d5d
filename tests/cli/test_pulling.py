"""Launches that pull what is missing, and what registries look like on the command line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from tests.images import registries
from tests.support import roots
from tests.support.roots import Run
from tests.support.traces import Root

pytestmark = [pytest.mark.kernel, pytest.mark.peers("docker-registry")]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = f"{roots.place(str(tmp_path_factory.getbasetemp()))}/cowl-test-pulling-{os.getpid()}"
    with registries.docker_registry(home) as address:
        yield address


def test_a_launch_pulls_what_is_missing(starter_images: Root, cowl: Run, registry: str) -> None:
    name = f"{registry}/app:1"
    cowl("push", "starter:base", name, check=True)
    done = cowl("run", "--rm", "--pull=never", name, "echo", "hi")
    assert (done.returncode, done.stdout) == (125, "")
    done = cowl("run", "--rm", name, "echo", "hi", env={"COWL_PULL": "missing"}, check=True)
    assert done.stdout == "hi\n"
    assert "pull:" in done.stderr
    again = cowl("run", "--rm", "--pull", "missing", name, "echo", "hi", check=True)
    assert (again.stdout, again.stderr) == ("hi\n", "")


def test_always_gets_what_is_newer(starter_images: Root, cowl: Run, registry: str) -> None:
    name = f"{registry}/moving:latest"
    cowl("push", "starter:base", name, check=True)
    identity = cowl("create", "--pull", "missing", "--name", "made", name, check=True).stdout.strip()
    assert len(identity) == 64
    cowl("run", "--name", "changed", "starter:base", "sh", "-c", "echo newer > /new", check=True)
    cowl("commit", "changed", "newer:1", check=True)
    cowl("push", "newer:1", name, check=True)
    assert cowl("run", "--rm", "--pull", "missing", name, "cat", "/new").returncode != 0
    assert cowl("run", "--rm", "--pull", "always", name, "cat", "/new", check=True).stdout == "newer\n"
    detached = cowl("run", "-d", "--name", "alone", "--pull=always", name, "true", check=True)
    assert len(detached.stdout.strip()) == 64


def test_what_is_here_already_is_up_to_date(starter_images: Root, cowl: Run, registry: str) -> None:
    name = f"{registry}/same:1"
    digest = json.loads(cowl("push", "starter:base", name, "--json", check=True).stdout)["manifest_digest"]
    assert cowl("pull", name, check=True).stdout == f"Pulled image: {name} ({digest})\n", "it has a new name"
    assert cowl("pull", name, check=True).stdout == f"Up to date: {name} ({digest})\n"
    assert cowl("pull", "-q", name, check=True).stdout == f"{name}\n"
    cowl("tag", "starter:base", f"{registry}/same:2", check=True)
    cowl("push", f"{registry}/same:2", check=True)
    cowl("rmi", name, check=True)
    found = json.loads(cowl("pull", "-a", f"{registry}/same", "--json", check=True).stdout)
    assert sorted(found, key=lambda each: str(each["name"])) == [
        {"name": f"{registry}/same:{tag}", "manifest_digest": digest, "up_to_date": tag == 2}
        for tag in (1, 2)
    ]
    assert cowl("pull", f"{registry}/same@{digest}", check=True).stdout.startswith("Up to date: ")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (
            ["run", "--pull", "missing", "REGISTRY/nothing:here"],
            125,
            "here, and REGISTRY has no nothing:here",
        ),
        (["run", "-d", "--pull=missing", "127.0.0.1:1/x"], 125, "connection refused"),
        (["create", "--pull=missing", "127.0.0.1:1/x"], 1, "no image 127.0.0.1:1/x here, and cannot reach"),
        (["run", "--pull", "always", "127.0.0.1:1/x"], 125, "cannot reach 127.0.0.1:1 (connection refused)"),
        (["run", "--pull", "missing", "0123456789ab"], 125, "no image 0123456789ab ("),
        (["run", "--pull", "missing", "starter"], 125, "cowl starter"),
        (["run", "--pull", "sometimes", "x"], 2, "missing, always, never"),
    ],
)
def test_what_cannot_be_pulled(cowl: Run, registry: str, words: list[str], code: int, said: str) -> None:
    done = cowl(*(word.replace("REGISTRY", registry) for word in words))
    assert done.returncode == code
    assert said.replace("REGISTRY", registry) in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_login_from_standard_input(cowl: Run, registry: str, tmp_path: object) -> None:
    kept = f"{tmp_path}/auth.json"
    env = {"REGISTRY_AUTH_FILE": kept}
    done = cowl("login", "-u", "anna", "--password-stdin", registry, input="geheim\n", env=env)
    assert (done.returncode, done.stdout) == (0, f"Logged in to {registry}; kept in {kept}\n")
    assert "Logged out" in cowl("logout", registry, env=env).stdout
    assert "Not logged in" in cowl("logout", registry, env=env).stdout
    for words, said in (
        (["login", registry], "--password-stdin"),
        (["login", "--password-stdin", registry], "--username"),
        (["login", "-u", "a", "-p", "b", "--password-stdin", registry], "two passwords"),
        (["login", "-u", "a", "-p", "b", "no/registry!"], "not a registry"),
    ):
        done = cowl(*words, env=env)
        assert done.returncode == 2
        assert said in done.stderr
