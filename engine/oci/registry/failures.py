"""What goes wrong between cowl and a registry, as one sentence: what, why, what to do."""

from __future__ import annotations

import contextlib
import email.utils
import socket
import ssl
import time
from collections.abc import Callable, Iterator

import httpx

from engine.errors import DeniedError, RegistryError
from engine.oci.registry.credentials import Credentials

_MAX_WORDS = 200
_NOT_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
# X509_V_ERR_… of OpenSSL's x509_vfy.h.
_NOT_YET_VALID, _EXPIRED, _WRONG_HOST, _WRONG_ADDRESS = 9, 10, 62, 64


class BrokenError(RegistryError):
    """The connection broke, or the registry is out of order for the moment: it may be tried again."""

    retry_after: float | None = None
    """What the registry asks to be left alone for, in seconds."""


@contextlib.contextmanager
def in_words(registry: str, was_reached: Callable[[], bool]) -> Iterator[None]:
    """Turn what httpx raises within the block into RegistryError; BrokenError where it may pass."""
    try:
        yield
    except httpx.ConnectTimeout as error:
        raise BrokenError(
            f"cannot reach {registry}", "it does not answer", "look at the name and the network"
        ) from error
    except httpx.TimeoutException as error:
        raise BrokenError(f"the connection to {registry} broke", "it went silent", "try again") from error
    except httpx.TransportError as error:
        raise _transport(registry, error, was_reached()) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise wrong(registry, str(error)) from error


def _transport(registry: str, error: httpx.TransportError, was_reached: bool) -> RegistryError:
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _untrusted(registry, cause)
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
            return _no_tls(registry, cause)
        if isinstance(cause, socket.gaierror):
            passing = cause.errno == socket.EAI_AGAIN
            why = "its name cannot be looked up for now" if passing else "no such host"
            return BrokenError(f"cannot reach {registry}", why, "look at the name and the network")
        if isinstance(cause, ConnectionRefusedError):
            hint = "try again" if was_reached else "is it running, and is that its port?"
            return BrokenError(f"cannot reach {registry}", "connection refused", hint)
    why = next((cause.strerror for cause in _causes(error) if isinstance(cause, OSError)), "") or str(error)
    if isinstance(error, httpx.ConnectError):
        return BrokenError(f"cannot reach {registry}", _plain(why), "look at the name and the network")
    return BrokenError(f"the connection to {registry} broke", _plain(why) or "it hung up", "try again")


def _causes(error: BaseException) -> Iterator[BaseException]:
    following: BaseException | None = error
    while following is not None:
        yield following
        following = following.__cause__ or following.__context__


def _untrusted(registry: str, error: ssl.SSLCertVerificationError) -> RegistryError:
    what = f"the certificate of {registry} is not trusted"
    why = error.verify_message.rstrip(".")
    if error.verify_code in (_EXPIRED, _NOT_YET_VALID):
        return RegistryError(what, why, "its administrator has to renew it; or this machine's clock is wrong")
    if error.verify_code in (_WRONG_HOST, _WRONG_ADDRESS):
        return RegistryError(what, why, "use the name that it is for")
    return RegistryError(what, why, f"name its CA in registries.toml, or put it into certs.d/{registry}/")


def _no_tls(registry: str, error: ssl.SSLError) -> RegistryError:
    reason = error.reason or ""
    if reason in _NOT_TLS:
        return RegistryError(
            f"{registry} does not speak TLS", "", "--plain-http, if nobody on the way may listen or lie"
        )
    if "CERTIFICATE" in reason:
        why = reason.lower().replace("_", " ")
        return RegistryError(
            f"{registry} wants a client certificate", why, f"put it into certs.d/{registry}/"
        )
    return BrokenError(f"no TLS with {registry}", reason.lower().replace("_", " ") or str(error), "try again")


# Answers


def wrong(registry: str, why: str) -> RegistryError:
    """The error for an answer that cannot be."""
    return RegistryError(f"{registry} answers what cannot be", _plain(why), "tell its administrator")


def out_of_order(registry: str, response: httpx.Response) -> BrokenError:
    """The error for an answer that may be another one later."""
    status = response.status_code
    after = _seconds(response.headers.get("Retry-After"))
    why = "too many requests" if status == 429 else f"it answers {status}"
    pause = f", it asks for {after:.0f} s without any" if after and status == 429 else ""
    error = BrokenError(f"{registry} is out of order", why + pause, "try again later")
    error.retry_after = after
    return error


def denied(registry: str, credentials: Credentials | None, response: httpx.Response) -> DeniedError:
    """The error for 401 and 403. Registries often answer so where there is nothing of that name."""
    parts = response.request.url.path.removeprefix("/v2/").split("/")
    ends = [at for at, part in enumerate(parts) if part in ("manifests", "blobs", "tags")]
    what = f"{registry} denies access" + (f" to {'/'.join(parts[: ends[-1]])}" if ends else "")
    why = message(response) or f"it answers {response.status_code}"
    if credentials is None:
        return DeniedError(what, why, f"look at the name, or log in: cowl login {registry}")
    who = f"{credentials.username} may not" if credentials.username else "you may not"
    return DeniedError(what, why, f"{who}, or has to log in again: cowl login {registry}")


def refused(registry: str, response: httpx.Response) -> RegistryError:
    """The error for any other answer that is not what was hoped for."""
    what = f"{response.request.method} {response.request.url.path}"
    if response.status_code == 400 and "HTTPS server" in message(response):
        return RegistryError(f"{registry} wants TLS", "", "leave out --plain-http")
    return RegistryError(
        f"{registry} refuses", message(response) or f"it answers {response.status_code} to {what}"
    )


def message(response: httpx.Response) -> str:
    """What a registry says: in its error document (distribution-spec, "Error Codes"), or as plain text."""
    try:
        if response.headers.get("Content-Type", "text/plain").startswith("text/plain"):
            return _plain(response.text)
        first = response.json()["errors"][0]
        text = first.get("message") or first.get("code")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, httpx.ResponseNotRead):
        return ""
    return _plain(str(text))


def _plain(text: str) -> str:
    return " ".join(text.split())[:_MAX_WORDS]


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
