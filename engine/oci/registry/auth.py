"""What a registry wants to see before it answers: basic authentication, or a bearer token.

RFC 7235 for challenges; distribution's "Token Authentication Specification" for where tokens come from.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx

from engine.errors import DeniedError, RegistryError
from engine.oci.registry.credentials import Credentials
from engine.oci.registry.naming import is_loopback

_PARAMETER = re.compile(r'([a-zA-Z_]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_CLIENT = "cowl"

Send = Callable[[httpx.Request], httpx.Response]


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
        scheme, _, rest = header.strip().partition(" ")
        if scheme.lower() in ("basic", "bearer"):
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
    realm = urlsplit(challenge.realm)
    safe = realm.scheme == "https" or (realm.scheme == "http" and (plain or is_loopback(realm.netloc)))
    if not safe or not realm.netloc:
        raise RegistryError(
            f"the registry sends to {challenge.realm or 'nowhere'} for a token",
            "no secret goes there",
            "its administrator has to name an https address",
        )
    request = _token_request(challenge, credentials, list(dict.fromkeys((challenge.scope, *scopes))))
    response = send(request)
    if response.status_code in (400, 401, 403):
        raise DeniedError(
            f"no token from {realm.netloc}", f"it answers {response.status_code}", "log in: cowl login"
        )
    return f"Bearer {_token(response)}"


def _token_request(challenge: Challenge, credentials: Credentials | None, scopes: list[str]) -> httpx.Request:
    wanted = [("service", challenge.service)] if challenge.service else []
    wanted += [("scope", scope) for scope in scopes if scope]
    if credentials and credentials.identity_token:
        form = {
            "grant_type": "refresh_token",
            "refresh_token": credentials.identity_token,
            "client_id": _CLIENT,
            "service": challenge.service,
            "scope": " ".join(scope for scope in scopes if scope),
        }
        return httpx.Request("POST", challenge.realm, data=form)
    url = httpx.URL(challenge.realm)
    headers = {}
    if credentials and credentials.username:
        wanted.append(("account", credentials.username))
        headers["Authorization"] = basic(credentials)
    return httpx.Request("GET", url.copy_with(params=[*url.params.multi_items(), *wanted]), headers=headers)


def _token(response: httpx.Response) -> str:
    try:
        document: Any = response.json()
        token = document.get("token") or document.get("access_token")
    except (ValueError, AttributeError):
        token = None
    if response.status_code != 200 or not isinstance(token, str) or not token.isascii():
        raise RegistryError(
            f"no token from {response.request.url.host}", f"it answers {response.status_code}", "try again"
        )
    return token
