"""Requests to one registry: authenticated, tried again, redirected.

An answer of 429 or 5xx and a broken connection are tried again after a pause that doubles each time, or after
what Retry-After says. Redirects are followed by hand: no secret goes to another host, and nothing goes from
TLS to plain HTTP.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import httpx

from engine.errors import RegistryError
from engine.oci.registry import auth, clients, failures
from engine.oci.registry.clients import Clients, Patience, is_at
from engine.oci.registry.credentials import Credentials
from engine.oci.registry.failures import BrokenError
from engine.oci.registry.naming import api_host, is_loopback
from engine.oci.registry.trust import Trust

_AGAIN = (408, 429, 500, 502, 503, 504)
_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 5
_MAX_MESSAGE = 1 << 16
_ATTEMPTS_UNREACHED = 2
"""How often a host is tried that never answered: its name may be wrong."""


class Connection:
    """One host that speaks the distribution protocol. May be used from several threads.

    Without TLS it talks to loopback, to *registry* if *plain_http* or an insecure *trust* says so, and to the
    *plain_hosts* that it may be led to. *stop* ends pauses and transfers early: then RegistryError is raised.
    """

    def __init__(
        self,
        registry: str,
        *,
        credentials: Credentials | None = None,
        plain_http: bool = False,
        plain_hosts: Collection[str] = (),
        trust: Trust | None = None,
        prefix: str = "",
        patience: Patience | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self.registry = registry
        self.prefix = prefix
        self.stop = stop or threading.Event()
        self.patience = patience or clients.PATIENCE
        self._credentials = credentials
        self._plain_http = plain_http
        self._plain_hosts = plain_hosts
        self._insecure = trust is not None and trust.insecure
        self._clients = Clients(registry, api_host(registry), trust or Trust(), self.patience)
        self._was_reached = False
        self._base: str | None = None
        self._lock = threading.Lock()
        self._authorizations: dict[tuple[str, ...], str] = {}

    def close(self) -> None:
        """Let go of all connections; who waits for one hears of it."""
        self._clients.close()

    def abort(self) -> None:
        """Break all connections, as after `stop` was set nobody needs them."""
        self._clients.abort()

    # Requests

    def request(
        self,
        method: str,
        url: str,
        scopes: Iterable[str] = (),
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | Iterable[bytes] | None = None,
        limit: int = _MAX_MESSAGE,
    ) -> httpx.Response:
        """The answer, read whole (at most *limit* bytes of it), after as many attempts as it takes.

        *content* has to be bytes where it may be sent more than once. Raises RegistryError.
        """
        repeatable = content is None or isinstance(content, bytes)
        attempt = 0
        while True:
            try:
                with self.answer(method, url, scopes, headers=headers, content=content) as response:
                    self._clients.read(response, limit)
                    return response
            except BrokenError as error:
                if not repeatable:
                    raise
                self.wait(error, attempt)
                attempt += 1

    @contextlib.contextmanager
    def answer(
        self,
        method: str,
        url: str,
        scopes: Iterable[str] = (),
        *,
        headers: Mapping[str, str] | None = None,
        content: Any = None,
    ) -> Iterator[httpx.Response]:
        """One attempt: the answer, its body still to be read. Raises BrokenError for what may pass."""
        with failures.in_words(self.registry, lambda: self._was_reached):
            wanted = tuple(scopes)
            repeatable = content is None or isinstance(content, bytes)
            response = self._send(method, url, wanted, headers or {}, content)
            try:
                if response.status_code == 401 and self._learn(response, wanted):
                    if not repeatable:
                        raise BrokenError(f"{self.registry} wants to see a new login", "", "try again")
                    response.close()
                    response = self._send(method, url, wanted, headers or {}, content)
                if response.status_code in _AGAIN:
                    raise failures.out_of_order(self.registry, response)
                yield response
            finally:
                response.close()

    def chunks(self, response: httpx.Response) -> Iterator[bytes]:
        """The body of an `answer` as it comes. Raises BrokenError for one that comes too slowly."""
        return self._clients.chunks(response, self.stop)

    def wait(self, error: BrokenError, attempt: int) -> None:
        """Pause after *error*, the *attempt*th from 0. Raises it again if that was the last one."""
        last = self.patience.attempts if self._was_reached else _ATTEMPTS_UNREACHED
        if attempt + 1 >= last:
            raise error
        pause = error.retry_after if error.retry_after is not None else self.patience.pause(attempt)
        if pause > self.patience.longest_pause or self.stop.wait(pause):
            raise error

    def url(self, path: str) -> str:
        """The address of *path* below ``/v2/``."""
        if self._base is None:
            self._base = self._find_base()  # two threads that are here at once find the same
        return f"{self._base}/v2/{path}"

    def location(self, response: httpx.Response) -> str:
        """Where the Location header of *response* leads to. Raises RegistryError if there is none."""
        return self.following(response, response.headers.get("Location", ""))

    def following(self, response: httpx.Response, reference: str) -> str:
        """The address that *reference* means in *response*. Raises RegistryError if it means none."""
        try:
            if reference:
                return str(response.request.url.join(reference))
        except httpx.InvalidURL as error:
            raise self.wrong("it does not say where to go on") from error
        raise self.wrong("it does not say where to go on")

    def is_own(self, url: str) -> bool:
        """Whether *url* is one of the registry itself."""
        return _origin(httpx.URL(url)) == _origin(httpx.URL(self.url("")))

    def wrong(self, why: str) -> RegistryError:
        """The error for an answer that cannot be."""
        return failures.wrong(self.registry, why)

    def check(self, response: httpx.Response, *expected: int) -> None:
        """Raise DeniedError or RegistryError unless the status of *response* is one of *expected*."""
        if response.status_code in expected:
            return
        if response.status_code in (401, 403):
            raise failures.denied(self.registry, self._credentials, response)
        raise failures.refused(self.registry, response)

    # One attempt

    def _send(
        self, method: str, url: str, scopes: tuple[str, ...], headers: Mapping[str, str], content: Any
    ) -> httpx.Response:
        known = self._authorizations.get(scopes)
        sent = {**headers, **({"Authorization": known} if known else {})}
        target = httpx.URL(url)
        self._check_safe(target)
        if not self.is_own(url):
            sent.pop("Authorization", None)
        for _ in range(_MAX_REDIRECTS):
            response = self._clients.send(method, target, sent, content)
            self._was_reached = True
            if method not in ("GET", "HEAD") or response.status_code not in _REDIRECTS:
                return response
            response.close()
            following = httpx.URL(self.location(response))
            self._check_led(target, following)
            if _origin(following) != _origin(target):
                sent.pop("Authorization", None)
            target = following
        raise self.wrong("its redirects do not end")

    def check_led(self, url: str) -> None:
        """Raise RegistryError unless the registry may send one to *url*."""
        try:
            self._check_led(httpx.URL(self.url("")), httpx.URL(url))
        except httpx.InvalidURL as error:
            raise self.wrong(f"{url[:80]!r} is no address") from error

    def _check_led(self, target: httpx.URL, following: httpx.URL) -> None:
        if target.scheme == "https" and following.scheme != "https":
            raise RegistryError(
                f"{self.registry} leads away from TLS", f"to {following.host}", "tell its administrator"
            )
        self._check_safe(following)

    def _check_safe(self, target: httpx.URL) -> None:
        if target.scheme != "https" and not (target.scheme == "http" and self._may_be_plain(target)):
            where = f"{target.scheme}://{target.netloc.decode('ascii')}"
            raise RegistryError(
                f"{self.registry} leads to {where}",
                "plain HTTP is for loopback, and for registries that are named",
                "name it with plain-http in registries.toml, if nobody on the way may listen or lie",
            )

    def _may_be_plain(self, target: httpx.URL) -> bool:
        named = (self._plain_http or self._insecure) and is_at(target, api_host(self.registry))
        also = any(is_at(target, host) for host in self._plain_hosts)
        return named or also or is_loopback(target.netloc.decode("ascii"))

    def _learn(self, response: httpx.Response, scopes: tuple[str, ...]) -> bool:
        """Answer the challenge of *response*, if that can be done and was not done already."""
        challenge = auth.challenge_of(response.headers.get_list("WWW-Authenticate"))
        if challenge is None or not self.is_own(str(response.request.url)):
            return False
        used = response.request.headers.get("Authorization")
        if challenge.scheme == "basic" and used:
            return False
        with self._lock:
            known = self._authorizations.get(scopes)
            if known and known != used:
                return True  # another thread was quicker
            plain = self._base is not None and self._base.startswith("http:")
            given = auth.authorization(challenge, self._credentials, scopes, plain, self._token_answer)
            if given is not None:
                self._authorizations[scopes] = given
            return given is not None

    def _token_answer(self, request: auth.TokenRequest) -> httpx.Response:
        attempt = 0
        while True:
            try:
                with (
                    failures.in_words(request.url.host, lambda: True),
                    contextlib.closing(
                        self._clients.send(request.method, request.url, request.headers, request.content)
                    ) as response,
                ):
                    if response.status_code in _AGAIN:
                        raise failures.out_of_order(request.url.host, response)
                    self._clients.read(response, _MAX_MESSAGE)
                    return response
            except BrokenError as error:
                self.wait(error, attempt)
                attempt += 1

    def _find_base(self) -> str:
        host = api_host(self.registry)
        if self._plain_http:
            return f"http://{host}"
        if is_loopback(host):
            return self._probe(host, "http", "https")
        return self._probe(host, "https", "http") if self._insecure else f"https://{host}"

    def _probe(self, host: str, first: str, second: str) -> str:
        """Where both are fine: *first* if the host speaks it, else *second*.

        Servers of Go answer 400 to plain HTTP where they want TLS; others hang up.
        """
        try:
            with contextlib.closing(
                self._clients.send("GET", httpx.URL(f"{first}://{host}/v2/"), {}, None)
            ) as response:
                is_first = not (first == "http" and response.status_code == 400)
        except (httpx.ConnectTimeout, httpx.ReadTimeout):
            is_first = True
        except httpx.ConnectError:
            is_first = first == "http"
        except httpx.TransportError:
            is_first = False
        return f"{first if is_first else second}://{host}"


def _origin(url: httpx.URL) -> tuple[str, bytes]:
    return url.scheme, url.netloc
