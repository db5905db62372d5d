"""Registries that lie, and those that mean harm: what they say is refused, soon, and with a sentence."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time

import pytest

from engine.errors import ArchiveError, CowlError, DeniedError, RegistryError
from engine.images.images import Images
from engine.oci import documents
from engine.oci.registry import clients
from engine.oci.registry.connection import Connection
from engine.store import partials
from engine.store.store import Store
from tests.images import registries, stores
from tests.images.registries import Answer, Asked, Cut, Proxy, Raw, raw
from tests.images.stores import Archives

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.peers("docker-registry", "skopeo", "umoci"),
    pytest.mark.usefixtures("nobody"),
]


def always(other: Answer | Raw | Cut, when: str) -> registries.Misbehaviour:
    """*other* to every GET of *when*."""
    return lambda asked, answer: other if asked.method == "GET" and when in asked.path else None


def drip(head: bytes, every_s: float = 0.05) -> Raw:
    """*head* at once, then a byte at a time for as long as somebody listens."""

    def write(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            time.sleep(every_s)
            connection.sendall(b"x")

    return Raw(write)


def flood(head: bytes) -> Raw:
    """*head*, then more and more."""

    def write(connection: socket.socket) -> None:
        connection.sendall(head)
        for _ in range(2000):
            connection.sendall(b"x" * 65536)

    return Raw(write)


LENGTHY = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\n"
MISBEHAVIOUR: dict[str, tuple[str, Answer | Raw, str]] = {
    "endless manifest": ("/manifests/", flood(LENGTHY + b"\r\n"), "says too much"),
    "huge manifest": ("/manifests/", Answer(200, {}, b" " * (5 << 20)), "says too much"),
    "endless blob": ("/blobs/", flood(LENGTHY + b"\r\n"), "too much|more than"),
    "slow headers": ("/manifests/", drip(b"HTTP/1.1 200 OK\r\nX-Slow: "), "broke"),
    "slow manifest": ("/manifests/", drip(LENGTHY + b"Content-Length: 5000\r\n\r\n"), "too slow"),
    "slow blob": ("/blobs/", drip(LENGTHY + b"\r\n"), "too slow"),
    "silence": ("/manifests/", Raw(lambda connection: connection.recv(1)), "broke"),
    "no HTTP": (
        "/manifests/",
        Raw(lambda connection: connection.sendall(b"SSH-2.0-x\r\n")),
        "broke|cannot be",
    ),
    "endless redirects": (
        "/manifests/",
        Answer(302, {"Location": "/v2/five/manifests/gzip"}, b""),
        "do not end",
    ),
    "a redirect to nowhere": ("/manifests/", Answer(302, {}, b""), "where to go on"),
    "a redirect to no address": (
        "/manifests/",
        Answer(302, {"Location": "http://[::"}, b""),
        "Invalid URL",
    ),
    "a redirect to a file": ("/manifests/", Answer(302, {"Location": "file:///etc/shadow"}, b""), "file://"),
    "a redirect to plain HTTP": (
        "/blobs/",
        Answer(307, {"Location": "http://reg.example/x"}, b""),
        "plain HTTP",
    ),
    "a page": ("/manifests/", Answer(200, {"Content-Type": "text/html"}, b"<p>Log in here"), "not valid"),
    "no image": ("/manifests/", Answer(200, {"Content-Type": "application/json"}, b"{}"), "not a container"),
    "a week": ("/manifests/", Answer(429, {"Retry-After": "604800"}, b"{}"), "604800 s"),
}


HASTE: dict[str, dict[str, float]] = {
    "slow headers": {"answer": 0.6},
    "slow manifest": {"document": 0.5},
    "slow blob": {"document": 0.5, "window": 0.4},
    "silence": {"silence": 0.5},
}
"""Where less is waited for than usual, in seconds: honest answers take long on a busy machine."""


@pytest.mark.parametrize("what", MISBEHAVIOUR)
def test_it_ends_with_a_sentence(
    store: Store, proxy: Proxy, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = clients.Patience(2, 0.01, 2, least=1000)
    monkeypatch.setattr(clients, "PATIENCE", usual._replace(**HASTE.get(what, {})))
    # Its first question would be an honest one, whether there is TLS.
    monkeypatch.setattr(Connection, "_find_base", lambda _: f"http://{proxy.address}")
    when, answer, sentence = MISBEHAVIOUR[what]
    proxy.misbehave = always(answer, when)
    with pytest.raises((RegistryError, ArchiveError), match=sentence):
        Images(store).pull(f"{proxy.address}/five:gzip")
    assert not Images(store).has_any()
    assert stores.problems(store) == []


def test_old_manifests_are_refused_by_name(store: Store, proxy: Proxy) -> None:
    kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    body = json.dumps({"schemaVersion": 1, "fsLayers": [], "history": []}).encode()
    proxy.misbehave = always(Answer(200, {"Content-Type": kind}, body), "/manifests/")
    with pytest.raises(ArchiveError, match="schema 1"):
        Images(store).pull(f"{proxy.address}/five:gzip")


def test_401_again_and_again_is_a_denial(store: Store, proxy: Proxy) -> None:
    challenge = {"WWW-Authenticate": 'Basic realm="x"'}
    Images(store).login(proxy.address, registries.USER, registries.PASSWORD)
    proxy.misbehave = lambda asked, answer: Answer(401, challenge, b"{}")
    proxy.asked.clear()
    with pytest.raises(DeniedError, match=r"denies access to five .*anna may not"):
        Images(store).pull(f"{proxy.address}/five:gzip")
    assert proxy.count("GET", "/manifests/") == 2
    with pytest.raises(DeniedError, match="does not know anna"):
        Images(store).login(proxy.address, registries.USER, registries.PASSWORD)


def test_a_token_that_runs_out_meanwhile_is_renewed(store: Store, proxy: Proxy, five: Archives) -> None:
    proxy.wants_token = True
    images = Images(store)
    images.login(proxy.address, registries.USER, registries.PASSWORD)

    ends = ["GET", "PUT"]

    def other_token(asked: Asked, answer: Answer) -> None:
        if ends and asked.method == ends[0] and "/blobs/" in asked.path:
            proxy.token = f"another-{ends.pop(0)}"

    proxy.misbehave = other_token
    images.pull(f"{proxy.address}/five:gzip")
    images.load(five.docker)
    images.push("five:docker", f"{proxy.address}/renewed-{os.urandom(4).hex()}:1")
    assert not ends
    assert len(proxy.tokens_for) >= 4


@pytest.mark.parametrize(
    ("link", "sentence"),
    [
        ('<http://127.0.0.1:1/v2/five/tags/list>; rel="next"', "goes on at"),
        ('<//reg.example/x>; rel="next"', "goes on at"),
        ('<file:///etc/passwd>; rel="next"', "goes on at"),
        ('</v2/five/tags/list>; rel="next"', "does not end"),
        ('<http://[::/>; rel="next"', "where to go on"),
    ],
)
def test_lists_of_tags_that_lead_astray(store: Store, proxy: Proxy, link: str, sentence: str) -> None:
    proxy.misbehave = always(Answer(200, {"Link": link}, b'{"name": "five", "tags": ["gzip"]}'), "/tags/")
    with pytest.raises(RegistryError, match=sentence):
        Images(store).pull(f"{proxy.address}/five", all_tags=True)
    assert not Images(store).has_any()


@pytest.mark.parametrize("tag", ["../../other/manifests/x", "a/b", "", ".hidden", "a" * 129, "a b", "a\n"])
def test_tags_that_are_none(store: Store, proxy: Proxy, tag: str) -> None:
    body = json.dumps({"name": "five", "tags": [tag]}).encode()
    proxy.misbehave = always(Answer(200, {}, body), "/tags/")
    with pytest.raises(RegistryError, match="is no tag"):
        Images(store).pull(f"{proxy.address}/five", all_tags=True)


@pytest.mark.parametrize(
    "layer",
    [
        {"digest": "sha256:../../../etc/shadow"},
        {"digest": "sha512:" + "0" * 128},
        {"digest": "sha256:" + "A" * 64},
        {"size": -1},
        {"size": 1 << 60},
        {"size": "7"},
        {"mediaType": 7},
    ],
)
def test_descriptors_that_are_none(store: Store, proxy: Proxy, layer: dict[str, object]) -> None:
    document = json.loads(raw(f"{proxy.address}/five:gzip"))
    document["layers"][0].update(layer)
    kind = {"Content-Type": documents.OCI_MANIFEST}
    proxy.misbehave = always(Answer(200, kind, documents.encode(document)), "/manifests/")
    with pytest.raises(ArchiveError, match="manifest is not valid"):
        Images(store).pull(f"{proxy.address}/five:gzip")
    assert os.listdir(store.layout.blobs) == []


def test_secrets_do_not_follow_an_upload_elsewhere(store: Store, proxy: Proxy, registry: str) -> None:
    proxy.wants_token = True
    images = Images(store)
    images.login(proxy.address, registries.USER, registries.PASSWORD)
    images.pull(f"{proxy.address}/five:gzip")
    with registries.proxy(registry) as storage:

        def misbehave(asked: Asked, answer: Answer) -> Answer | None:
            if asked.method != "POST":
                return None
            location = answer.headers["Location"].replace(proxy.address, storage.address)
            return answer._replace(headers={**answer.headers, "Location": location})

        proxy.misbehave = misbehave
        images.push(f"{proxy.address}/five:gzip", f"{proxy.address}/elsewhere-{os.urandom(4).hex()}:1")
        sent = [asked for asked in storage.asked if asked.method == "PUT"]
        assert sent or proxy.count("POST", "mount=")
        assert not [asked for asked in storage.asked if "authorization" in asked.headers]


def test_a_registry_that_hangs_up_on_every_upload(store: Store, proxy: Proxy, five: Archives) -> None:
    Images(store).load(five.docker)
    proxy.misbehave = lambda asked, answer: Raw(lambda connection: None) if asked.method == "POST" else None
    with pytest.raises(RegistryError, match="broke"):
        Images(store).push("five:docker", f"{proxy.address}/never:1")


@pytest.mark.parametrize("status", [202, 400, 403, 404, 405])
def test_a_mount_that_is_refused_costs_an_upload(
    store: Store, proxy: Proxy, five: Archives, status: int
) -> None:
    images = Images(store)
    images.load(five.docker)
    images.tag("five:docker", f"{proxy.address}/other:1")  # nobody pushed it there

    def misbehave(asked: Asked, answer: Answer) -> Answer | None:
        return Answer(status, {}, b"{}") if status != 202 and "mount=" in asked.path else None

    proxy.misbehave = misbehave
    _, digest = images.push("five:docker", name := f"{proxy.address}/refused-{os.urandom(4).hex()}:1")
    assert proxy.count("POST", "mount=") == 6
    assert proxy.count("DELETE", "") == 0
    assert documents.digest_of(raw(name)) == digest
    if status == 202:
        assert proxy.count("POST", "/blobs/uploads/") == 6


STRANGE = {
    "Content-Range": ["bytes 0-" + "9" * 5000 + "/*", "bytes 5-1/3", "bytes */*", "", "bytes -1-5/9"],
    "Retry-After": [
        "9" * 400,
        "-1",
        "soon",
        "Thu, 99 Foo 9999 99:99:99 GMT",
        "Mon, 01 Jan 0001 00:00:00 -2359",
    ],
    "Docker-Content-Digest": ["", "sha256:", "sha512:00", "md5:" + "0" * 32, "x" * 5000],
    "WWW-Authenticate": [
        "Bearer",
        'Bearer realm="',
        'Bearer realm="http://[::/"',
        "Basic",
        "Digest x=y",
        ",",
    ],
    "Content-Type": ["", ";", "application/vnd.oci.image.index.v1+json;;", "\x80", "a" * 5000],
    "Link": ["<", '<>; rel="next"', ";;;", '<http://x:99999999/>; rel="next"'],
}
WHERE = {
    "Content-Range": ("/blobs/", 206),
    "Retry-After": ("/manifests/", 503),
    "Docker-Content-Digest": ("/manifests/", 200),
    "WWW-Authenticate": ("/manifests/", 401),
    "Content-Type": ("/manifests/", 200),
    "Link": ("/tags/", 200),
}


@pytest.mark.parametrize("header", STRANGE)
def test_strange_headers_are_no_defects(store: Store, proxy: Proxy, header: str) -> None:
    when, status = WHERE[header]
    for value in STRANGE[header]:

        def misbehave(asked: Asked, answer: Answer, value: str = value) -> Answer | None:
            changed = {**answer.headers, header: value}
            return answer._replace(status=status, headers=changed) if when in asked.path else None

        proxy.misbehave = misbehave
        with contextlib.suppress(CowlError):
            Images(store).pull(f"{proxy.address}/five", all_tags=True)
        assert stores.problems(store) == []
        partials.sweep(store.layout, everything=True)
