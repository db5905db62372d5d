"""Who one is at a registry, what is configured, what challenges and platforms mean: no network."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import httpx
import pytest

from engine.errors import NotFoundError, RegistryError, UsageError
from engine.oci import platforms
from engine.oci.documents import Descriptor, Platform
from engine.oci.registry import auth, clients, credentials, naming, settings
from engine.oci.registry.connection import Connection
from engine.oci.registry.credentials import Credentials

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("text", "registry", "repository", "target"),
    [
        ("debian", "docker.io", "library/debian", "latest"),
        ("docker.io/debian:12", "docker.io", "library/debian", "12"),
        ("some/one:x", "docker.io", "some/one", "x"),
        ("localhost/one", "localhost", "one", "latest"),
        ("127.0.0.1:5000/a/b:c", "127.0.0.1:5000", "a/b", "c"),
        (f"[::1]:5000/a@{DIGEST}", "[::1]:5000", "a", DIGEST),
        ("reg.example/a", "reg.example", "a", "latest"),
    ],
)
def test_names(text: str, registry: str, repository: str, target: str) -> None:
    remote = naming.remote_of(text)
    assert (remote.registry, remote.repository, remote.target) == (registry, repository, target)


def test_the_local_name_of_what_was_pulled() -> None:
    assert naming.local_name(naming.remote_of("debian"), "12") == "debian:12"
    assert naming.local_name(naming.remote_of("reg.example/a"), "x") == "reg.example/a:x"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.0.0.1:5000", True),
        ("127.9.9.9", True),
        ("[::1]:5000", True),
        ("10.0.0.1", False),
        ("localhost.example", False),
        ("127.0.0.1.example", False),
        ("[2001:db8::1]:5000", False),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert naming.is_loopback(host) is loopback


def test_plain_http_is_for_loopback_and_for_what_is_named() -> None:
    assert Connection("reg.example:5000").url("x") == "https://reg.example:5000/v2/x"
    assert Connection("reg.example:5000", plain_http=True).url("x") == "http://reg.example:5000/v2/x"
    assert Connection("docker.io").url("x").startswith("https://registry-1.docker.io/")
    with pytest.raises(RegistryError, match="plain HTTP"):
        Connection("reg.example").request("GET", "http://elsewhere.example/")


def test_challenges() -> None:
    text = 'Bearer realm="https://auth.example/token",service="reg",scope="repository:a/b:pull,push"'
    assert auth.challenge_of([f'Basic realm="x, y", {text}']) == auth.challenge_of([text])
    found = auth.challenge_of(["Basic realm=x", text])
    assert found == auth.Challenge("bearer", "https://auth.example/token", "reg", "repository:a/b:pull,push")
    assert auth.challenge_of(["Negotiate abc"]) is None
    assert auth.challenge_of(['basic realm="a \\"b"']) is not None


def test_no_secret_goes_to_a_token_server_without_tls() -> None:
    challenge = auth.Challenge("bearer", "http://auth.example/token", "", "")
    sent: list[auth.TokenRequest] = []

    def send(request: auth.TokenRequest) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, json={"token": "t"})

    with pytest.raises(RegistryError, match="token"):
        auth.authorization(challenge, Credentials("a", "b"), (), False, send)
    assert sent == []


# Credentials


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without any credentials."""
    for name in ("REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", f"{tmp_path}/run")
    return tmp_path


def entry(name: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{name}:{password}".encode()).decode()}


def write(path: Path, document: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


def test_podmans_file_goes_before_dockers(home: Path) -> None:
    write(home / ".docker/config.json", {"auths": {"reg.example": entry("docker", "d:d")}})
    assert credentials.find("reg.example") == Credentials("docker", "d:d")
    write(home / "run/containers/auth.json", {"auths": {"reg.example": entry("podman", "p")}})
    assert credentials.find("reg.example") == Credentials("podman", "p")
    assert credentials.find("other.example") is None


def test_the_file_that_the_environment_names_is_the_only_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(home / ".docker/config.json", {"auths": {"reg.example": entry("docker", "d")}})
    monkeypatch.setenv("REGISTRY_AUTH_FILE", f"{home}/own.json")
    assert credentials.find("reg.example") is None


def test_the_most_exact_entry_is_taken(home: Path) -> None:
    auths = {"reg.example": entry("all", "1"), "reg.example/a/b": entry("some", "2")}
    write(home / "run/containers/auth.json", {"auths": auths})
    assert credentials.find("reg.example", "a/b") == Credentials("some", "2")
    assert credentials.find("reg.example", "a/c") == Credentials("all", "1")


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io"])
def test_docker_io_has_old_names(home: Path, key: str) -> None:
    write(home / ".docker/config.json", {"auths": {key: entry("a", "b")}})
    assert credentials.find("docker.io", "library/debian") == Credentials("a", "b")


def test_what_is_kept_is_for_its_owner_and_leaves_the_rest(home: Path) -> None:
    path = home / ".docker/config.json"
    write(path, {"detachKeys": "ctrl-q", "auths": {"other.example": entry("x", "y")}})
    assert credentials.store("reg.example", Credentials("a", "b:c")) == str(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text())["detachKeys"] == "ctrl-q"
    assert credentials.find("reg.example") == Credentials("a", "b:c")
    assert credentials.erase("reg.example") == [str(path)]
    assert credentials.find("reg.example") is None
    assert credentials.find("other.example") == Credentials("x", "y")


HELPER = """#!/bin/sh
case $1 in
    store) cat > "$KEPT" ;;
    get) cat > /dev/null; cat "$KEPT" 2> /dev/null || { echo credentials not found in it; exit 1; } ;;
    erase) cat > /dev/null; rm -f "$KEPT" ;;
esac
"""


def test_credential_helpers(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = home / "bin/docker-credential-mine"
    helper.parent.mkdir()
    helper.write_text(HELPER)
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{helper.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("KEPT", f"{home}/kept")
    config = home / ".docker/config.json"
    write(config, {"credHelpers": {"reg.example": "mine"}})
    assert credentials.find("reg.example") is None
    assert credentials.store("reg.example", Credentials("a", "secret")) == "docker-credential-mine"
    assert "secret" not in config.read_text()
    assert credentials.find("reg.example") == Credentials("a", "secret")
    assert credentials.erase("reg.example") == ["docker-credential-mine"]
    assert not (home / "kept").exists()
    credentials.store("reg.example", Credentials("", "", "a-token"))
    assert credentials.find("reg.example") == Credentials("", "", "a-token")


@pytest.mark.parametrize(
    "document",
    ["[]", "{", '{"credsStore": "not-there"}', '{"auths": {"reg.example": {"auth": "%%%"}}}'],
)
def test_files_and_helpers_that_cannot_be_used_are_named(home: Path, document: str) -> None:
    path = home / ".docker/config.json"
    path.parent.mkdir()
    path.write_text(document)
    with pytest.raises(RegistryError):
        credentials.find("reg.example")


# Settings


def test_settings_of_the_root_go_first(tmp_path: Path) -> None:
    system = tmp_path / "system.toml"
    system.write_text(
        '[registries."a.example"]\nplain-http = true\n[registries."b.example"]\nca-file = "/b"\n'
        '[registries."d.example"]\ninsecure = true\n'
    )
    (tmp_path / "registries.toml").write_text(
        '[registries."a.example"]\nmirrors = ["m.example/x", "http://127.0.0.1:5000"]\n'
    )
    found = settings.read(str(tmp_path), "a.example", str(system))
    assert found.mirrors == (
        settings.Mirror("m.example", "x/", False),
        settings.Mirror("127.0.0.1:5000", "", True),
    )
    assert found.plain_http is False
    assert settings.plain_hosts(str(tmp_path), str(system)) == {"d.example"}
    assert settings.read(str(tmp_path), "b.example", str(system)).ca_file == "/b"
    assert settings.read(str(tmp_path), "c.example", str(system)) == settings.RegistrySettings()


@pytest.mark.parametrize(
    "text",
    [
        "[",
        "registries = 1",
        '[registries]\n"a.example" = 1',
        '[registries."a.example"]\nmirrors = "x"',
        '[registries."a.example"]\nplain-http = "yes"',
        '[registries."a.example"]\ninsecure = 1',
        '[registries."a.example"]\nunsafe = true',
        '[registries."a.example"]\nmirrors = ["m.example/../x"]',
        '[registries."a.example"]\nmirrors = ["ftp://m.example"]',
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "registries.toml").write_text(text)
    with pytest.raises(UsageError, match=r"registries\.toml"):
        settings.read(str(tmp_path), "a.example", f"{tmp_path}/none")


# Platforms


def descriptor(architecture: str, variant: str = "", os_name: str = "linux") -> Descriptor:
    return Descriptor("m", DIGEST, 1, Platform(architecture, os_name, variant))


def test_platforms_are_chosen_by_variant() -> None:
    entries = [descriptor("unknown"), descriptor("arm", "v6"), descriptor("arm", "v7"), descriptor("amd64")]
    assert platforms.choose(entries, platforms.parse("linux/arm")) is entries[2]
    assert platforms.choose(entries, platforms.parse("linux/arm/v6")) is entries[1]
    assert platforms.choose(entries, platforms.parse("x86_64")) is entries[3]
    with pytest.raises(NotFoundError, match="linux/arm/v6"):
        platforms.choose(entries, platforms.parse("windows/amd64"))


@pytest.mark.parametrize("text", ["", "linux/", "a/b/c/d", "/amd64"])
def test_what_is_no_platform(text: str) -> None:
    with pytest.raises(UsageError):
        platforms.parse(text)


@pytest.mark.parametrize(
    ("url", "host", "same"),
    [
        ("https://reg.example/v2/", "reg.example:443", True),
        ("https://reg.example/v2/", "Reg.Example", True),
        ("http://reg.example/v2/", "reg.example:80", True),
        ("https://reg.example:5000/v2/", "reg.example", False),
        ("https://reg.example.evil/v2/", "reg.example", False),
        ("https://[::1]:5000/v2/", "[::1]:5000", True),
    ],
)
def test_a_host_is_itself_however_it_is_written(url: str, host: str, same: bool) -> None:
    assert clients.is_at(httpx.URL(url), host) is same
