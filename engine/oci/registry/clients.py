"""HTTP as the distribution protocol needs it: a client for each kind of trust, and no endless waiting.

httpx limits how long a connection may be silent. That is not enough against one that says a letter now and
then: here an answer has to begin within a time, a document to end within one, and a blob to keep a pace.
"""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import httpx

from engine.errors import RegistryError
from engine.oci.registry import trust
from engine.oci.registry.failures import BrokenError
from engine.oci.registry.naming import is_loopback
from engine.oci.registry.trust import Trust

_LIMITS = httpx.Limits(max_connections=16, max_keepalive_connections=16)


class Patience(NamedTuple):
    """How often something is tried, how long the pauses are, how slow a registry may be. In seconds."""

    attempts: int = 6
    first_pause: float = 0.25
    longest_pause: float = 60
    connect: float = 10
    silence: float = 30
    """Between two pieces of an answer."""
    answer: float = 60
    """Until the headers of an answer are here."""
    document: float = 120
    """Until a manifest, a list or a token is here."""
    stored: float = 300
    """Until a registry that has got all of a blob says so: it may have to move it first."""
    window: float = 30
    """Over which the pace of a blob is measured."""
    least: int = 30 << 10
    """Bytes of a blob that have to come in each window."""

    def pause(self, attempt: int) -> float:
        """The pause after the failed *attempt* (counted from 0), a little different each time."""
        return min(self.first_pause * 2.0**attempt, self.longest_pause) * random.uniform(0.75, 1.25)


PATIENCE = Patience()
"""What connections have that are given none."""


class Clients:
    """The connections to one registry and to where it sends one. May be used from several threads."""

    def __init__(self, registry: str, host: str, trusted: Trust, patience: Patience) -> None:
        self._registry = registry
        self._host = host
        self._trust = trusted
        self._patience = patience
        self._lock = threading.Lock()
        self._made: dict[tuple[bool, bool, bool], httpx.Client] = {}
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def close(self) -> None:
        """Let go of all connections."""
        self.abort()
        with self._lock:
            for client in self._made.values():
                client.close()

    def abort(self) -> None:
        """Break all connections: whoever waits for one of them hears of it at once."""
        for each in list(self._sockets):
            with contextlib.suppress(OSError):
                # The base class's: a TLS socket's own would also forget its TLS, while others still read.
                socket.socket.shutdown(each, socket.SHUT_RDWR)

    def send(
        self, method: str, target: httpx.URL, headers: Mapping[str, str], content: Any
    ) -> httpx.Response:
        """One request; the body of the answer is still to be read. Raises what httpx raises."""
        client = self._client(target)
        repeatable = content is None or isinstance(content, bytes)
        patience = self._patience
        silence = patience.silence if repeatable else patience.stored
        request = client.build_request(
            method,
            target,
            headers=headers,
            content=content,
            timeout=httpx.Timeout(patience.silence, connect=patience.connect, read=silence, pool=None),
            extensions={"trace": self._note},
        )
        if not repeatable:  # it takes as long as it takes to send that
            return client.send(request, stream=True)
        with self._within(patience.answer):
            return client.send(request, stream=True)

    @contextlib.contextmanager
    def _within(self, seconds: float) -> Iterator[None]:
        timer = threading.Timer(seconds, self.abort)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _note(self, event: str, info: dict[str, Any]) -> None:
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            made = info["return_value"].get_extra_info("socket")
            if isinstance(made, socket.socket):
                self._sockets.add(made)

    def _client(self, target: httpx.URL) -> httpx.Client:
        host = target.netloc.decode("ascii")
        plain, own = target.scheme == "http", is_at(target, self._host)
        key = (plain, own, is_loopback(host))
        with self._lock:
            if key not in self._made:
                self._made[key] = httpx.Client(
                    verify=_NO_TLS if plain else trust.context(self._trust, elsewhere=not own),
                    limits=_LIMITS,
                    trust_env=not is_loopback(host),  # the environment's proxies have no part in loopback
                    headers={"User-Agent": "cowl", "Accept-Encoding": "identity"},
                )
            return self._made[key]

    # Bodies

    def read(self, response: httpx.Response, limit: int) -> None:
        """Read the body of *response* into it.

        Raises RegistryError for one of more than *limit* bytes; of one that says what went wrong, so many are
        enough.
        """
        body = bytearray()
        until = time.monotonic() + self._patience.document
        if response.request.method != "HEAD":
            for chunk in response.iter_raw():
                body += chunk
                if len(body) > limit and response.is_success:
                    raise RegistryError(
                        f"{self._registry} says too much", f"a document of more than {limit} bytes"
                    )
                if len(body) > limit:
                    break
                if time.monotonic() > until:
                    raise self._too_slow()
        response._content = bytes(body[:limit])  # httpx itself keeps no bounded body

    def chunks(self, response: httpx.Response, stop: threading.Event) -> Iterator[bytes]:
        """The body of *response* as it comes. Raises RegistryError once *stop* is set."""
        began, count = time.monotonic(), 0
        for chunk in response.iter_raw():
            if stop.is_set():
                raise RegistryError("the transfer was stopped")
            count += len(chunk)
            now = time.monotonic()
            if now - began >= self._patience.window:
                if count < self._patience.least:
                    raise self._too_slow()
                began, count = now, 0
            yield chunk

    def _too_slow(self) -> BrokenError:
        return BrokenError(f"the connection to {self._registry} broke", "it is too slow", "try again")


def is_at(target: httpx.URL, host: str) -> bool:
    """Whether *target* is at *host*, however people write that: in capitals, with the usual port."""
    return target.netloc == httpx.URL(f"{target.scheme}://{host}").netloc


_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts nobody, and costs nothing to make."""
