"""Registries on loopback: Debian's docker-registry, and a proxy before it that misbehaves to order."""

from __future__ import annotations

import base64
import collections
import contextlib
import hashlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple

from tests.images import peers
from tests.support.authority import Issued
from tests.support.servers import serving
from tests.support.tokens import TokenServer

USER, PASSWORD = "anna", "geheim"
HTPASSWD = f"{USER}:$2y$05$abcdefghijklmnopqrstuuVWu8RjbNovPZWAMRdd7iqaaG0mI53Uu\n"
TOKEN = "a-token-of-theirs"
PLAIN = ("--src-tls-verify=false", "--dest-tls-verify=false")
"""What skopeo needs to hear."""
_START_S = 60


@contextlib.contextmanager
def docker_registry(
    home: str,
    *,
    basic: bool = False,
    tokens: TokenServer | None = None,
    tls: Issued | None = None,
    clients: str | None = None,
) -> Iterator[str]:
    """A docker-registry with its files in the new directory *home*; ``127.0.0.1:port``.

    With *tls* it speaks that alone; *clients* is the authority whose certificates it wants to see then.
    """
    os.makedirs(home)
    config: dict[str, Any] = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": f"{home}/data"}, "delete": {"enabled": True}},
        "http": {"addr": "127.0.0.1:0"},
        "validation": {"manifests": {"urls": {"allow": ["^http://127\\.0\\.0\\.1:"]}}},
        "log": {"level": "info", "accesslog": {"disabled": True}},
    }
    if basic:
        with open(f"{home}/htpasswd", "w", encoding="ascii") as file:
            file.write(HTPASSWD)
        config["auth"] = {"htpasswd": {"realm": "test", "path": f"{home}/htpasswd"}}
    if tokens:
        config["auth"] = tokens.config()
    if tls:
        config["http"]["tls"] = {"certificate": tls.certificate, "key": tls.key}
        if clients:
            config["http"]["tls"]["clientcas"] = [clients]
    with open(f"{home}/config.yml", "w", encoding="ascii") as file:
        json.dump(config, file)  # JSON is YAML
    with open(f"{home}/log", "wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", f"{home}/config.yml"], stdout=log, stderr=log)
    try:
        yield _address_of(process, f"{home}/log")
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(home)


def _address_of(process: subprocess.Popen[bytes], log: str) -> str:
    """Where *process* listens, as its *log* says once it does."""
    until = time.monotonic() + _START_S
    while True:
        has_ended = process.poll() is not None
        with open(log, encoding="utf-8", errors="replace") as file:
            said = file.read()
        if found := re.search(r"listening on (127\.0\.0\.1:\d+)", said):
            return found[1]
        if has_ended or time.monotonic() > until:
            raise AssertionError(f"docker-registry does not start: {said}")
        time.sleep(0.02)


class Asked(NamedTuple):
    """A request that reached the proxy."""

    method: str
    path: str
    headers: dict[str, str]


class Answer(NamedTuple):
    """What the registry behind the proxy said."""

    status: int
    headers: dict[str, str]
    body: bytes


class Cut(NamedTuple):
    """Send only so many bytes of the body, then hang up."""

    after: int


class Raw(NamedTuple):
    """Whatever *write* sends in place of an answer, then hang up."""

    write: Callable[[socket.socket], None]


Misbehaviour = Callable[[Asked, Answer], Answer | Cut | Raw | None]
"""Another answer, or None for the real one."""


class Proxy:
    """A real server before a registry; *misbehave* may be exchanged at any time."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.asked: list[Asked] = []
        self.misbehave: Misbehaviour = lambda asked, answer: None
        self.cut_uploads_after: list[int] = []
        """Hang up after so many bytes of the next uploads."""
        self.wants_token = False
        self.token = TOKEN
        self.tokens_for: list[str] = []
        self.sent: collections.Counter[str] = collections.Counter()
        """Bytes of bodies that were sent, by path."""
        self.lock = threading.Lock()
        self.address = ""

    def count(self, method: str, part: str) -> int:
        return sum(asked.method == method and part in asked.path for asked in self.asked)


@contextlib.contextmanager
def proxy(upstream: str) -> Iterator[Proxy]:
    """A proxy before the registry *upstream*."""
    made = Proxy(upstream)

    class Handler(_Handler):
        served = made

    with serving(Handler) as made.address:
        yield made


class _Handler(BaseHTTPRequestHandler):
    """Passes requests on, whole, and answers as it is told to."""

    served: Proxy
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        return

    def _do(self) -> None:
        served = self.served
        asked = Asked(
            self.command,
            self.path,
            {name.lower(): ", ".join(self.headers.get_all(name, [])) for name in self.headers},
        )
        with served.lock:
            served.asked.append(asked)
        if self.path.startswith("/token"):
            self._give_token(asked)
            return
        if served.wants_token and asked.headers.get("authorization") != f"Bearer {served.token}":
            self.rfile.read(int(asked.headers.get("content-length", 0)))
            where = f'Bearer realm="http://{served.address}/token",service="test",scope="repository:x:pull"'
            self._send(Answer(401, {"WWW-Authenticate": where}, b"{}"))
            return
        answer = self._pass_on(asked)
        if answer is not None:
            with served.lock:
                other = served.misbehave(asked, answer)
            self._send(other or answer, answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _do  # noqa: N815 - as http.server wants it

    def _give_token(self, asked: Asked) -> None:
        pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        self.served.tokens_for.append(asked.path)
        if asked.headers.get("authorization") == f"Basic {pair}":
            self._send(Answer(200, {}, json.dumps({"token": self.served.token}).encode()))
        else:
            self._send(Answer(401, {}, b"{}"))

    def _pass_on(self, asked: Asked) -> Answer | None:
        length = int(asked.headers.get("content-length", 0))
        upstream = http.client.HTTPConnection(self.served.upstream, timeout=30)
        kept = {name: text for name, text in asked.headers.items() if name != "connection"}
        if self.served.wants_token:
            kept.pop("authorization", None)
        try:
            if self.served.cut_uploads_after and length > self.served.cut_uploads_after[0]:
                part = self.rfile.read(self.served.cut_uploads_after.pop(0))
                upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, text in kept.items():
                    upstream.putheader(name, text)
                upstream.endheaders()
                upstream.send(part)
                time.sleep(0.2)
                self.close_connection = True
                return None
            body = self.rfile.read(length) if length else None
            upstream.request(self.command, self.path, body, kept)
            response = upstream.getresponse()
            headers = {name: text for name, text in response.getheaders() if name.lower() != "connection"}
            return Answer(response.status, headers, response.read())
        finally:
            upstream.close()

    def _send(self, answer: Answer | Cut | Raw, real: Answer | None = None) -> None:
        if isinstance(answer, Raw):
            self.close_connection = True
            with contextlib.suppress(OSError):  # it may be had enough of
                answer.write(self.connection)
            return
        cut = answer.after if isinstance(answer, Cut) else None
        if isinstance(answer, Cut):
            assert real is not None
            answer = real
        self.send_response_only(answer.status)
        names = {name.lower() for name in answer.headers}
        for name, text in answer.headers.items():
            self.send_header(name, text)
        if "content-length" not in names:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            body = answer.body[:cut]
            self.wfile.write(body)
            with self.served.lock:
                self.served.sent[self.path] += len(body)
        if cut is not None:
            self.close_connection = True


def put(address: str, path: str, body: bytes, media_type: str) -> None:
    """PUT a manifest as it is, whatever it says."""
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.request("PUT", f"/v2/{path}", body, {"Content-Type": media_type})
        response = connection.getresponse()
        said = response.read()
        assert response.status == 201, said
    finally:
        connection.close()


def put_blob(address: str, repository: str, body: bytes) -> None:
    """Upload a blob in one request."""
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.request("POST", f"/v2/{repository}/blobs/uploads/")
        begun = connection.getresponse()
        begun.read()
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        connection.request("PUT", f"{begun.headers['Location']}&digest={digest}", body)
        response = connection.getresponse()
        said = response.read()
        assert response.status == 201, said
    finally:
        connection.close()


def raw(name: str) -> bytes:
    """The manifest *name* as skopeo sees it."""
    return peers.run("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}").encode()
