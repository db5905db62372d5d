"""A server that gives tokens for a registry (distribution's "Token Authentication Specification").

Tokens are JSON Web Tokens (RFC 7519) signed with RS256; docker-registry verifies them by the certificate.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import ssl
import subprocess
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from tests.support.servers import serving

SERVICE, ISSUER = "a registry of ours", "a token server of ours"


class Asked(NamedTuple):
    """One request for a token."""

    method: str
    user: str
    scopes: tuple[str, ...]


class TokenServer:
    """Knows one user; everybody else may only pull from what is below ``public/``."""

    def __init__(self, home: str, user: str, password: str) -> None:
        os.makedirs(home)
        self.certificate, self._key = f"{home}/tokens.crt", f"{home}/tokens.key"
        self._subprocess("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=tokens")
        self._header = self._make_header()
        self._pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        self.user = user
        self.identity_token = "an-identity-token"
        self.lives_s = 300
        self.asked: list[Asked] = []
        self.realm = ""

    def _subprocess(self, *words: str) -> None:
        files = ("-keyout", self._key, "-out", self.certificate)
        subprocess.run(["openssl", *words, *files], check=True, capture_output=True)

    def _make_header(self) -> str:
        with open(self.certificate, encoding="ascii") as file:
            der = base64.b64encode(ssl.PEM_cert_to_DER_cert(file.read())).decode()
        return _encoded({"typ": "JWT", "alg": "RS256", "x5c": [der]})

    def token(self, user: str, scopes: tuple[str, ...]) -> str:
        """A signed token of *user* for what they may do of *scopes*."""
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": user,
            "aud": SERVICE,
            "exp": now + self.lives_s,
            "nbf": now - 5,
            "iat": now,
            "jti": os.urandom(8).hex(),
            "access": [access for scope in scopes if (access := _access(user, scope))],
        }
        signed = f"{self._header}.{_encoded(claims)}"
        done = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", self._key],
            input=signed.encode(),
            capture_output=True,
            check=True,
        )
        return f"{signed}.{_base64(done.stdout)}"

    def user_of(self, authorization: str) -> str | None:
        """Who shows *authorization*: empty for nobody in particular, None for somebody who lies."""
        if not authorization:
            return ""
        return self.user if authorization == f"Basic {self._pair}" else None

    def config(self) -> dict[str, Any]:
        """What docker-registry is told of it."""
        return {
            "token": {
                "realm": self.realm,
                "service": SERVICE,
                "issuer": ISSUER,
                "rootcertbundle": self.certificate,
            }
        }


def _access(user: str, scope: str) -> dict[str, Any] | None:
    kind, name, actions = scope.split(":")
    wanted = actions.split(",")
    allowed = wanted if user else [each for each in wanted if each == "pull" and name.startswith("public/")]
    return {"type": kind, "name": name, "actions": allowed} if allowed else None


def _encoded(document: object) -> str:
    return _base64(json.dumps(document).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@contextlib.contextmanager
def token_server(home: str, user: str, password: str) -> Iterator[TokenServer]:
    """A running one, on loopback."""
    made = TokenServer(home, user, password)

    class Handler(_Handler):
        served = made

    with serving(Handler) as address:
        made.realm = f"http://{address}/token"
        yield made


class _Handler(BaseHTTPRequestHandler):
    served: TokenServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        return

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        self._answer(
            self.served.user_of(self.headers.get("Authorization", "")), tuple(query.get("scope", ()))
        )

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        knows = form.get("refresh_token") == [self.served.identity_token]
        scopes = tuple(form.get("scope", [""])[0].split())
        self._answer(self.served.user if knows and form["grant_type"] == ["refresh_token"] else None, scopes)

    def _answer(self, user: str | None, scopes: tuple[str, ...]) -> None:
        self.served.asked.append(Asked(self.command, user or "", scopes))
        status, document = 401, {"details": "incorrect username or password"}
        if user is not None:
            status, document = 200, {"token": self.served.token(user, scopes)}
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
