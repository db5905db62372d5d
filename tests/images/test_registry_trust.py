"""Whom cowl trusts and whom it tells its secrets: TLS with real certificates, tokens of a real server."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from engine.errors import DeniedError, RegistryError, UsageError
from engine.images.images import Images
from engine.oci.registry import credentials
from engine.oci.registry.connection import Connection
from engine.oci.registry.credentials import Credentials
from engine.store.store import Store
from tests.images import registries, stores
from tests.images.stores import Archives, NewStore
from tests.support import roots
from tests.support.authority import Authority
from tests.support.tokens import TokenServer, token_server

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.peers("docker-registry", "openssl", "skopeo", "umoci"),
    pytest.mark.usefixtures("nobody"),
]

HOST = "IP:127.0.0.1"


class Trusted(NamedTuple):
    """Registries with TLS, by what is wrong with their certificates, and who issued these."""

    authority: Authority
    right: str
    expired: str
    elsewhere: str
    wants_one: str


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trusted]:
    home = f"{roots.place(str(tmp_path_factory.getbasetemp()))}/cowl-test-tls-{os.getpid()}"
    try:
        authority = Authority(f"{home}/ca")
        right = authority.issue("right", HOST)
        with ExitStack() as stack:

            def serve(name: str, **how: object) -> str:
                return stack.enter_context(registries.docker_registry(f"{home}/{name}", **how))  # type: ignore[arg-type]

            yield Trusted(
                authority,
                serve("right", tls=right),
                serve("expired", tls=authority.issue("expired", HOST, days=-1)),
                serve("elsewhere", tls=authority.issue("elsewhere", "DNS:reg.example")),
                serve("clients", tls=right, clients=authority.certificate),
            )
    finally:
        shutil.rmtree(home, ignore_errors=True)


def believe(store: Store, registry: str, authority: Authority) -> None:
    """What a user says of a registry whose authority the system does not know."""
    with open(f"{store.layout.root}/registries.toml", "a", encoding="utf-8") as file:
        file.write(f'[registries."{registry}"]\nca-file = "{authority.certificate}"\n')


def test_an_authority_that_is_named_is_trusted(new_store: NewStore, trusted: Trusted, five: Archives) -> None:
    mine, theirs = new_store(), new_store()
    believe(mine, trusted.right, trusted.authority)
    directory = f"{theirs.layout.root}/certs.d/{trusted.right}"
    os.makedirs(directory)
    shutil.copy(trusted.authority.certificate, f"{directory}/any.crt")
    Images(mine).load(five.oci)
    _, digest = Images(mine).push("five:oci", f"{trusted.right}/five:1")
    Images(theirs).pull(f"{trusted.right}/five:1")
    assert Images(theirs).get(f"{trusted.right}/five:1").manifest_digest == digest


def test_certificates_that_are_not_to_be_trusted(store: Store, trusted: Trusted, tmp_path: Path) -> None:
    pull = Images(store).pull
    with pytest.raises(RegistryError, match=r"not trusted .*issuer.*certs\.d"):
        pull(f"{trusted.right}/five:1")
    believe(store, trusted.expired, trusted.authority)
    with pytest.raises(RegistryError, match=r"not trusted .*expired.*renew"):
        pull(f"{trusted.expired}/five:1")
    believe(store, trusted.elsewhere, trusted.authority)
    with pytest.raises(RegistryError, match=r"not trusted .*not valid for '127\.0\.0\.1'"):
        pull(f"{trusted.elsewhere}/five:1")
    believe(store, trusted.right, Authority(f"{tmp_path}/other", "another authority"))
    with pytest.raises(RegistryError, match="not trusted"):
        pull(f"{trusted.right}/five:1")


def test_no_doubt_about_what_is_named_insecure(store: Store, trusted: Trusted, five: Archives) -> None:
    with open(f"{store.layout.root}/registries.toml", "w", encoding="utf-8") as file:
        file.writelines(
            f'[registries."{each}"]\ninsecure = true\n' for each in (trusted.expired, trusted.elsewhere)
        )
    images = Images(store)
    images.load(five.oci)
    for each in (trusted.expired, trusted.elsewhere):
        images.push("five:oci", f"{each}/five:1")
        images.pull(f"{each}/five:1")
    with pytest.raises(RegistryError, match="not trusted"):
        images.pull(f"{trusted.right}/five:1")


def test_a_certificate_of_ones_own(store: Store, trusted: Trusted, five: Archives) -> None:
    believe(store, trusted.wants_one, trusted.authority)
    images = Images(store)
    images.load(five.oci)
    with pytest.raises(RegistryError, match=r"client certificate.*certs\.d"):
        images.push("five:oci", f"{trusted.wants_one}/five:1")
    directory = f"{store.layout.root}/certs.d/{trusted.wants_one}"
    os.makedirs(directory)
    mine = trusted.authority.issue("me")
    shutil.copy(mine.certificate, f"{directory}/me.cert")
    with pytest.raises(UsageError, match=r"no me\.key"):
        images.push("five:oci", f"{trusted.wants_one}/five:1")
    shutil.copy(mine.key, f"{directory}/me.key")
    images.push("five:oci", f"{trusted.wants_one}/five:1")


@pytest.mark.parametrize("text", ["", "no certificate"])
def test_files_that_are_no_certificates_are_named(store: Store, trusted: Trusted, text: str) -> None:
    wrong = f"{store.layout.root}/wrong.pem"
    if text:
        Path(wrong).write_text(text)
    with open(f"{store.layout.root}/registries.toml", "w", encoding="utf-8") as file:
        file.write(f'[registries."{trusted.right}"]\nca-file = "{wrong}"\n')
    with pytest.raises(UsageError, match=r"wrong\.pem"):
        Images(store).pull(f"{trusted.right}/five:1")


def test_plain_http_is_only_what_is_named(store: Store, trusted: Trusted) -> None:
    with pytest.raises(RegistryError, match="wants TLS; leave out --plain-http"):
        Images(store).pull(f"{trusted.right}/five:1", plain_http=True)


def serve_once(answer: Callable[[socket.socket], None]) -> tuple[str, threading.Thread]:
    """A server for one connection after another, each of which *answer* has for itself."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(60)

    def serve() -> None:
        with listening:
            for _ in range(2):
                connection, _ = listening.accept()
                with connection:
                    connection.settimeout(60)
                    answer(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return f"127.0.0.1:{listening.getsockname()[1]}", thread


def test_tls_that_leads_to_plain_http_is_not_followed(store: Store, trusted: Trusted) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued = trusted.authority.issue("redirects", HOST)
    context.load_cert_chain(issued.certificate, issued.key)

    def answer(connection: socket.socket) -> None:
        if (
            connection.recv(1, socket.MSG_PEEK) != b"\x16"
        ):  # no TLS handshake: the question whether there is TLS
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            return
        with context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(4096)
            lead = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/x\r\nContent-Length: 0\r\n\r\n"
            secured.sendall(lead)

    with pytest.raises(RegistryError, match="away from TLS"):  # what a manifest says of layers elsewhere
        Connection("reg.example").check_led("http://127.0.0.1:1/x")
    address, thread = serve_once(answer)
    believe(store, address, trusted.authority)
    with pytest.raises(RegistryError, match="away from TLS"):
        Images(store).pull(f"{address}/five:1")
    thread.join(60)


# Tokens


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TokenServer, str]]:
    """A token server, and the registry that wants its tokens."""
    home = f"{roots.place(str(tmp_path_factory.getbasetemp()))}/cowl-test-tokens-{os.getpid()}"
    try:
        with (
            token_server(f"{home}/tokens", registries.USER, registries.PASSWORD) as server,
            registries.docker_registry(f"{home}/registry", tokens=server) as address,
        ):
            yield server, address
    finally:
        shutil.rmtree(home, ignore_errors=True)


def test_tokens_are_for_what_is_done(
    new_store: NewStore, tokens: tuple[TokenServer, str], five: Archives
) -> None:
    server, registry = tokens
    images = Images(new_store())
    images.load(five.oci)
    with pytest.raises(DeniedError, match="cowl login"):
        images.push("five:oci", f"{registry}/public/five:1")
    with pytest.raises(DeniedError, match="password"):
        images.login(registry, registries.USER, "wrong")
    images.login(registry, registries.USER, registries.PASSWORD)
    server.asked.clear()
    images.push("five:oci", f"{registry}/public/five:1")
    assert {scope for asked in server.asked for scope in asked.scopes} == {
        "repository:public/five:pull,push",
        "repository:public/five:pull",
    }
    images.pull(f"{registry}/public/five:1")
    server.asked.clear()
    images.push(f"{registry}/public/five:1", f"{registry}/own:1")
    mounting = {"repository:own:pull,push", "repository:public/five:pull"}
    assert any(mounting <= set(asked.scopes) for asked in server.asked)
    images.logout(registry)
    nobody = Images(new_store())
    nobody.pull(f"{registry}/public/five:1")
    with pytest.raises(DeniedError, match=r"own.*log in"):
        nobody.pull(f"{registry}/own:1")
    assert server.asked[-1].user == ""


def test_an_identity_token_takes_the_place_of_a_password(
    store: Store, tokens: tuple[TokenServer, str], five: Archives
) -> None:
    server, registry = tokens
    credentials.store(registry, Credentials("", "", server.identity_token))
    Images(store).load(five.oci)
    server.asked.clear()
    Images(store).push("five:oci", f"{registry}/identity:1")
    assert {(asked.method, asked.user) for asked in server.asked} == {("POST", registries.USER)}


def test_a_token_that_is_never_good_is_no_endless_loop(
    store: Store, tokens: tuple[TokenServer, str], five: Archives, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, registry = tokens
    monkeypatch.setattr(server, "lives_s", -3600)
    credentials.store(registry, Credentials(registries.USER, registries.PASSWORD))
    Images(store).load(five.oci)
    server.asked.clear()
    with pytest.raises(DeniedError, match="anna may not"):
        Images(store).push("five:oci", f"{registry}/late:1")
    assert len(server.asked) <= 8
    assert stores.problems(store) == []
