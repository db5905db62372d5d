"""What a registry wants to see before it answers: basic authentication, or a bearer token.

RFC 7235 for challenges; distribution's "Token Authentication Specification" for where tokens come from.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import urlencode

import httpx

from engine.errors import DeniedError, RegistryError
from engine.oci.registry.credentials import Credentials
from engine.oci.registry.naming import is_loopback

_SCHEME = re.compile(r"(?:^|,)\s*(basic|bearer)\s+(?=[a-z_]+=)", re.IGNORECASE)
_PARAMETER = re.compile(r'([a-zA-Z_]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_TOKEN = re.compile(r"[!-~]{1,65536}")
_CLIENT = "cowl"


class TokenRequest(NamedTuple):
    """What is sent for a token."""

    method: str
    url: httpx.URL
    headers: dict[str, str]
    content: bytes | None


Send: TypeAlias = Callable[[TokenRequest], httpx.Response]


class Challenge(NamedTuple):
    """How a registry wants to be asked."""

    scheme: str
    """``basic`` or ``bearer``."""
    realm: str
    service: str
    scope: str


def challenge_of(headers: Iterable[str]) -> Challenge | None:
    """The challenge in the WWW-Authenticate *headers* that cowl can answer, a bearer token before all."""
    found = []
    for header in headers:
        pieces = _SCHEME.split(header)[1:]  # scheme, what follows it, scheme, …
        for scheme, rest in zip(pieces[::2], pieces[1::2], strict=True):
            said = {name.lower(): quoted or bare for name, quoted, bare in _PARAMETER.findall(rest)}
            given = (said.get(name, "") for name in ("realm", "service", "scope"))
            found.append(Challenge(scheme.lower(), *given))
    return max(found, key=lambda challenge: challenge.scheme == "bearer", default=None)


def basic(credentials: Credentials) -> str:
    """The value of an Authorization header."""
    pair = f"{credentials.username}:{credentials.password}".encode()
    return f"Basic {base64.b64encode(pair).decode('ascii')}"


def authorization(
    challenge: Challenge, credentials: Credentials | None, scopes: Iterable[str], plain: bool, send: Send
) -> str | None:
    """The Authorization header that answers *challenge*; None when there is nothing to answer with.

    *plain* says that the registry itself is asked without TLS: then its tokens may come so as well. Raises
    DeniedError, RegistryError.
    """
    if challenge.scheme == "basic":
        return basic(credentials) if credentials and credentials.username else None
    realm = _address(challenge.realm)
    server = realm.netloc.decode("ascii")
    safe = realm.scheme == "https" or (realm.scheme == "http" and (plain or is_loopback(server)))
    if not safe or not server:
        raise RegistryError(
            f"the registry sends to {challenge.realm or 'nowhere'} for a token",
            "no secret goes there",
            "its administrator has to name an https address",
        )
    wanted = dict.fromkeys((*challenge.scope.split(), *scopes))
    response = send(_token_request(challenge, credentials, list(wanted)))
    if response.status_code in (400, 401, 403):
        hint = "the user name or the password is wrong" if credentials else "it wants to know who asks"
        raise DeniedError(
            f"no token from {server}", f"it answers {response.status_code}", f"{hint}: cowl login"
        )
    return f"Bearer {_token(response, server)}"


def _address(realm: str) -> httpx.URL:
    try:
        return httpx.URL(realm)
    except httpx.InvalidURL:
        return httpx.URL("")  # which is no place for a secret either


def _token_request(challenge: Challenge, credentials: Credentials | None, scopes: list[str]) -> TokenRequest:
    wanted = [("service", challenge.service)] if challenge.service else []
    scopes = [scope for scope in scopes if scope]
    url = httpx.URL(challenge.realm)
    if credentials and credentials.identity_token:
        form = {
            "grant_type": "refresh_token",
            "refresh_token": credentials.identity_token,
            "client_id": _CLIENT,
            "service": challenge.service,
            "scope": " ".join(scopes),
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return TokenRequest("POST", url, headers, urlencode(form).encode("ascii"))
    wanted += [("scope", scope) for scope in scopes]
    headers = {}
    if credentials and credentials.username:
        wanted.append(("account", credentials.username))
        headers["Authorization"] = basic(credentials)
    return TokenRequest("GET", url.copy_with(params=[*url.params.multi_items(), *wanted]), headers, None)


def _token(response: httpx.Response, server: str) -> str:
    try:
        document: Any = response.json()
        token = document.get("token") or document.get("access_token")
    except (ValueError, AttributeError):
        token = None
    if response.status_code != 200 or not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise RegistryError(f"no token from {server}", f"it answers {response.status_code}", "try again")
    return token
