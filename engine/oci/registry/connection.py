"""Requests to one registry: authenticated, retried, redirected, their failures in words.

An answer of 429 or 5xx and a broken connection are tried again after a pause that doubles each time, or after
what Retry-After says. Redirects are followed by hand: no secret goes to another host, and nothing goes from
TLS to plain HTTP.
"""

from __future__ import annotations

import contextlib
import email.utils
import random
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import httpx

from engine.errors import DeniedError, RegistryError, StoreError
from engine.oci.registry import auth
from engine.oci.registry.credentials import Credentials
from engine.oci.registry.naming import api_host, is_loopback

_AGAIN = (429, 500, 502, 503, 504)
_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 5
_MAX_ERROR_BODY = 1 << 16
_TIMEOUT = httpx.Timeout(30, connect=10, pool=None)
_LIMITS = httpx.Limits(max_connections=16, max_keepalive_connections=16)


class Patience(NamedTuple):
    """How often something is tried, and how long the pauses are, in seconds."""

    attempts: int = 6
    first_pause: float = 0.25
    longest_pause: float = 60

    def pause(self, attempt: int) -> float:
        """The pause after the failed *attempt* (counted from 0), a little different each time."""
        return min(self.first_pause * 2.0**attempt, self.longest_pause) * random.uniform(0.75, 1.25)


class BrokenError(RegistryError):
    """The connection broke, or the registry is out of order for the moment."""

    retry_after: float | None = None


class Connection:
    """One host that speaks the distribution protocol. May be used from several threads.

    *stop* ends pauses and transfers early: then RegistryError is raised.
    """

    def __init__(
        self,
        registry: str,
        *,
        credentials: Credentials | None = None,
        plain_http: bool = False,
        ca_file: str | None = None,
        prefix: str = "",
        patience: Patience | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self.registry = registry
        self.prefix = prefix
        self.stop = stop or threading.Event()
        self.patience = patience or Patience()
        self._credentials = credentials
        self._plain_http = plain_http
        self._ca_file = ca_file
        self._base: str | None = None
        self._client: httpx.Client | None = None
        self._lock = threading.Lock()
        self._challenge: auth.Challenge | None = None
        self._authorizations: dict[tuple[str, ...], str] = {}

    def close(self) -> None:
        """Let go of all connections."""
        if self._client is not None:
            self._client.close()

    # Requests

    def request(
        self,
        method: str,
        url: str,
        scopes: Iterable[str] = (),
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | Iterable[bytes] | None = None,
        limit: int = _MAX_ERROR_BODY,
    ) -> httpx.Response:
        """The answer, read whole (at most *limit* bytes of it), after as many attempts as it takes.

        *content* has to be bytes where it may be sent more than once. Raises RegistryError.
        """
        repeatable = content is None or isinstance(content, bytes)
        for attempt in range(self.patience.attempts):
            try:
                with self.answer(method, url, scopes, headers=headers, content=content) as response:
                    _read(response, limit)
                    return response
            except BrokenError as error:
                if not repeatable or attempt + 1 == self.patience.attempts:
                    raise
                self.wait(error, attempt)
        raise AssertionError

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
        with self._errors():
            wanted = tuple(scopes)
            repeatable = content is None or isinstance(content, bytes)
            response = self._send(method, url, wanted, headers or {}, content)
            try:
                if response.status_code == 401 and repeatable and self._learn(response, wanted):
                    response.close()
                    response = self._send(method, url, wanted, headers or {}, content)
                if response.status_code in _AGAIN:
                    raise self._broken(response)
                yield response
            finally:
                response.close()

    def wait(self, error: BrokenError, attempt: int) -> None:
        """Pause after *error*. Raises it again if there is no time to wait for."""
        pause = error.retry_after if error.retry_after is not None else self.patience.pause(attempt)
        if pause > self.patience.longest_pause or self.stop.wait(pause):
            raise error

    def url(self, path: str) -> str:
        """The address of *path* below ``/v2/``."""
        with self._lock:
            if self._base is None:
                self._base = self._find_base()
            return f"{self._base}/v2/{path}"

    def location(self, response: httpx.Response) -> str:
        """Where the Location header of *response* leads to. Raises RegistryError if there is none."""
        try:
            return str(response.request.url.join(response.headers["Location"]))
        except (KeyError, httpx.InvalidURL) as error:
            raise self.wrong("it does not say where to go on") from error

    def ask_for_login(self, scopes: Iterable[str] = ()) -> None:
        """Make sure that an authorization for *scopes* is there before something that is sent once only."""
        if self._challenge is not None and tuple(scopes) not in self._authorizations:
            self._authorize(self._challenge, tuple(scopes))

    def wrong(self, why: str) -> RegistryError:
        """The error for an answer that cannot be."""
        return RegistryError(f"{self.registry} answers what cannot be", why, "tell its administrator")

    def check(self, response: httpx.Response, *expected: int) -> None:
        """Raise DeniedError or RegistryError unless the status of *response* is one of *expected*."""
        status = response.status_code
        if status in expected:
            return
        said = _message(response)
        if status in (401, 403):
            hint = f"log in: cowl login {self.registry}"
            raise DeniedError(f"{self.registry} does not allow it", said or f"it answers {status}", hint)
        what = f"{response.request.method} {response.request.url.path}"
        raise RegistryError(f"{self.registry} refuses", said or f"it answers {status} to {what}")

    # One attempt

    def _send(
        self, method: str, url: str, scopes: tuple[str, ...], headers: Mapping[str, str], content: Any
    ) -> httpx.Response:
        known = self._authorizations.get(scopes)
        sent = {**headers, **({"Authorization": known} if known else {})}
        client = self._opened()
        target = httpx.URL(url)
        self._check_safe(target)
        if _origin(target) != _origin(httpx.URL(self.url(""))):
            sent.pop("Authorization", None)
        for _ in range(_MAX_REDIRECTS):
            request = client.build_request(method, target, headers=sent, content=content)
            response = client.send(request, stream=True)
            if method not in ("GET", "HEAD") or response.status_code not in _REDIRECTS:
                return response
            response.close()
            following = httpx.URL(self.location(response))
            if target.scheme == "https" and following.scheme != "https":
                raise RegistryError(f"{self.registry} leads away from TLS", f"to {following.host}")
            self._check_safe(following)
            if _origin(following) != _origin(target):
                sent.pop("Authorization", None)
            target = following
        raise self.wrong("its redirects do not end")

    def _check_safe(self, target: httpx.URL) -> None:
        plain_is_fine = self._plain_http or is_loopback(target.netloc.decode("ascii"))
        if target.scheme != "https" and not (target.scheme == "http" and plain_is_fine):
            raise RegistryError(f"{self.registry} leads to {target}", "plain HTTP is for loopback only")

    def _learn(self, response: httpx.Response, scopes: tuple[str, ...]) -> bool:
        """Answer the challenge of *response*, if that can be done and was not done already."""
        challenge = auth.challenge_of(response.headers.get_list("WWW-Authenticate"))
        if challenge is None:
            return False
        used = response.request.headers.get("Authorization")
        if challenge.scheme == "basic" and used:
            return False
        self._challenge = challenge
        return self._authorize(challenge, scopes, used)

    def _authorize(
        self, challenge: auth.Challenge, scopes: tuple[str, ...], stale: str | None = None
    ) -> bool:
        with self._lock:
            known = self._authorizations.get(scopes)
            if known and known != stale:
                return True  # another thread was quicker
            plain = self._base is not None and self._base.startswith("http:")
            given = auth.authorization(challenge, self._credentials, scopes, plain, self._token_answer)
            if given is not None:
                self._authorizations[scopes] = given
            return given is not None

    def _token_answer(self, request: httpx.Request) -> httpx.Response:
        for attempt in range(self.patience.attempts):
            response = self._opened().send(request)
            if response.status_code not in _AGAIN:
                return response
            error = self._broken(response)
            if attempt + 1 < self.patience.attempts:
                self.wait(error, attempt)
                continue
            raise error
        raise AssertionError

    def _opened(self) -> httpx.Client:
        if self._client is None:
            # Certificates are the system's; the environment's proxies are not asked for loopback addresses.
            self._client = httpx.Client(
                verify=_tls(self._ca_file) if not self._is_plain() else False,
                timeout=_TIMEOUT,
                limits=_LIMITS,
                trust_env=not is_loopback(self.registry),
                headers={"User-Agent": "cowl", "Accept-Encoding": "identity"},
            )
        return self._client

    def _is_plain(self) -> bool:
        return self._base is not None and self._base.startswith("http:")

    def _find_base(self) -> str:
        host = api_host(self.registry)
        if self._plain_http:
            return f"http://{host}"
        if not is_loopback(host):
            return f"https://{host}"
        # On loopback both are usual. A server that wants TLS tells at once; the reverse may hang.
        try:
            with httpx.Client(timeout=5, trust_env=False, verify=False) as client:
                status = client.get(f"http://{host}/v2/").status_code
        except httpx.RemoteProtocolError:
            return f"https://{host}"
        except httpx.TransportError:
            return f"http://{host}"
        return f"https://{host}" if status == 400 else f"http://{host}"

    # Failures

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except httpx.ConnectError as error:
            text = str(error)
            if "CERTIFICATE" in text:
                raise RegistryError(
                    f"{self.registry} cannot be trusted", text, "name its ca-file in registries.toml"
                ) from error
            raise BrokenError(
                f"cannot reach {self.registry}", text, "look at the name and the network"
            ) from error
        except httpx.TransportError as error:
            why = str(error) or type(error).__name__
            raise BrokenError(f"the connection to {self.registry} broke", why, "try again") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self.wrong(str(error)) from error

    def _broken(self, response: httpx.Response) -> BrokenError:
        status = response.status_code
        why = "too many requests" if status == 429 else f"it answers {status}"
        error = BrokenError(f"{self.registry} is out of order", why, "try again later")
        error.retry_after = _seconds(response.headers.get("Retry-After"))
        return error


def _tls(ca_file: str | None) -> Any:
    import ssl

    try:
        context = ssl.create_default_context()
        if ca_file:
            context.load_verify_locations(ca_file)
    except (OSError, ssl.SSLError) as error:
        raise StoreError(
            f"cannot use the certificates in {ca_file}", str(error), "correct ca-file"
        ) from error
    return context


def _origin(url: httpx.URL) -> tuple[str, bytes]:
    return url.scheme, url.netloc


def _seconds(text: str | None) -> float | None:
    """Retry-After: seconds, or a date (RFC 9110, 10.2.3)."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _read(response: httpx.Response, limit: int) -> None:
    """Read the body of *response* into it. Raises RegistryError for one of more than *limit* bytes."""
    if response.request.method == "HEAD":
        response.read()
        return
    body = bytearray()
    for chunk in response.iter_raw():
        body += chunk
        if len(body) > limit:
            raise RegistryError(
                f"{response.request.url.host} answers too much", f"more than {limit} bytes of a document"
            )
    response._content = bytes(body)  # httpx itself keeps no bounded body


def _message(response: httpx.Response) -> str:
    """What a registry says in its error document (distribution-spec, "Error Codes")."""
    try:
        first = response.json()["errors"][0]
        text = first.get("message") or first.get("code")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, httpx.ResponseNotRead):
        return ""
    return " ".join(str(text).split())[:200]
