"""Who one is at a registry, as docker and podman keep it: ``auth.json``, ``config.json``, credential helpers.

See docker-credential-helpers and containers-auth.json(5). Passwords are never printed and never logged.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import subprocess
from typing import Any, NamedTuple

from engine.errors import RegistryError, StoreError
from engine.oci.registry.naming import DOCKER_IO

_DOCKER_IO_KEY = "https://index.docker.io/v1/"
_HELPER_TIMEOUT_S = 60
_TOKEN_USER = "<token>"


class Credentials(NamedTuple):
    """A name and its password, or an identity token of OAuth 2."""

    username: str
    password: str
    identity_token: str = ""


def find(registry: str, repository: str = "") -> Credentials | None:
    """What is kept for *registry*, the most exact entry first; None: nobody in particular.

    Raises RegistryError for a file or helper that cannot be used.
    """
    for path in _files():
        document = _read(path)
        if found := _in_document(document, registry, repository, path):
            return found
    return None


def store(registry: str, credentials: Credentials) -> str:
    """Keep *credentials*; returns where: a file, or a helper that a file names."""
    path = written_file()
    document = _read(path)
    if helper := _helper_of(document, registry):
        message = {
            "ServerURL": _key(registry),
            "Username": _TOKEN_USER if credentials.identity_token else credentials.username,
            "Secret": credentials.identity_token or credentials.password,
        }
        _ask(helper, "store", json.dumps(message))
        return f"docker-credential-{helper}"
    plain = f"{credentials.username}:{credentials.password}".encode()
    entry = {"auth": base64.b64encode(plain).decode("ascii")}
    if credentials.identity_token:
        entry["identitytoken"] = credentials.identity_token
    document.setdefault("auths", {})[_key(registry)] = entry
    _write(path, document)
    return path


def erase(registry: str) -> list[str]:
    """Forget what is kept for *registry*; returns where it was."""
    erased = []
    for path in _files():
        document = _read(path)
        if helper := _helper_of(document, registry):
            with contextlib.suppress(RegistryError):  # helpers call it an error that there is nothing
                _ask(helper, "erase", _key(registry))
                erased.append(f"docker-credential-{helper}")
        auths = document.get("auths")
        known = [key for key in _keys(registry, "") if isinstance(auths, dict) and key in auths]
        for key in known:
            del document["auths"][key]
        if known:
            _write(path, document)
            erased.append(path)
    return erased


def written_file() -> str:
    """The file that `store` writes."""
    return os.environ.get("REGISTRY_AUTH_FILE") or _docker_file()


def _files() -> list[str]:
    """The files to look into; one that is named by the environment is the only one."""
    if named := os.environ.get("REGISTRY_AUTH_FILE"):
        return [named]
    runtime = os.environ.get("XDG_RUNTIME_DIR") or "/run"
    user = f"{runtime}/containers/auth.json"
    numbered = f"/run/containers/{os.geteuid()}/auth.json"
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return [numbered, user, f"{config}/containers/auth.json", _docker_file()]


def _docker_file() -> str:
    return f"{os.environ.get('DOCKER_CONFIG') or os.path.expanduser('~/.docker')}/config.json"


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            document = json.loads(file.read() or b"{}")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise RegistryError(f"cannot read {path}", str(error), "correct it, or log in again") from error
    if not isinstance(document, dict):
        raise RegistryError(f"cannot read {path}", "it is not a JSON object", "correct it")
    return document


def _write(path: str, document: dict[str, Any]) -> None:
    """Replace the file at *path*, for its owner's eyes alone."""
    path = os.path.realpath(path)
    temporary = f"{path}.{os.urandom(4).hex()}"
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                json.dump(document, file, indent="\t")
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
    except OSError as error:
        raise StoreError(
            f"cannot write {path}", error.strerror or str(error), "look at its permissions"
        ) from error


def _in_document(document: dict[str, Any], registry: str, repository: str, path: str) -> Credentials | None:
    if (helper := _helper_of(document, registry)) and (found := _from_helper(helper, registry)):
        return found
    auths = document.get("auths")
    if not isinstance(auths, dict):
        return None
    for key in _keys(registry, repository):
        entry = auths.get(key)
        if isinstance(entry, dict) and (found := _decoded(entry, key, path)):
            return found
    return None


def _keys(registry: str, repository: str) -> list[str]:
    """How an entry for *registry* may be called: below it podman knows entries for parts of it."""
    parts = repository.split("/") if repository else []
    exact = ["/".join((registry, *parts[:count])) for count in range(len(parts), -1, -1)]
    if registry == DOCKER_IO:
        return [*exact, _DOCKER_IO_KEY, "index.docker.io", "https://index.docker.io"]
    hosts = [f"https://{registry}", f"http://{registry}"]
    return [*exact, *hosts, *(f"{host}/{end}" for host in hosts for end in ("", "v1/", "v2/"))]


def _key(registry: str) -> str:
    return _DOCKER_IO_KEY if registry == DOCKER_IO else registry


def _decoded(entry: dict[str, Any], key: str, path: str) -> Credentials | None:
    token = entry.get("identitytoken")
    token = token if isinstance(token, str) else ""
    text = entry.get("auth")
    if isinstance(text, str) and text:
        try:
            name, colon, password = base64.b64decode(text, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise RegistryError(f"{path} is damaged", f"its entry for {key} is not base64") from error
        if colon:
            return Credentials(name, password.rstrip("\0"), token)
    username, secret = entry.get("username"), entry.get("password")
    if isinstance(username, str) and isinstance(secret, str):
        return Credentials(username, secret, token)
    return Credentials("", "", token) if token else None


# Helpers


def _helper_of(document: dict[str, Any], registry: str) -> str | None:
    helpers = document.get("credHelpers")
    found = helpers.get(registry) or helpers.get(_key(registry)) if isinstance(helpers, dict) else None
    found = found or document.get("credsStore")
    return found if isinstance(found, str) and found and "/" not in found else None


def _from_helper(helper: str, registry: str) -> Credentials | None:
    try:
        said = json.loads(_ask(helper, "get", _key(registry)))
        name, secret = said["Username"], said["Secret"]
    except _NothingKeptError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise _helper_failed(helper, "its answer cannot be read") from error
    return Credentials("", "", secret) if name == _TOKEN_USER else Credentials(name, secret)


class _NothingKeptError(RegistryError):
    """The helper knows nobody there."""


def _ask(helper: str, verb: str, message: str) -> str:
    try:
        done = subprocess.run(
            [f"docker-credential-{helper}", verb],
            input=message,
            capture_output=True,
            text=True,
            timeout=_HELPER_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise _helper_failed(helper, "it is not on PATH") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _helper_failed(helper, str(error)) from error
    if done.returncode:
        said = (done.stdout.strip() or done.stderr.strip()).splitlines()
        why = said[0] if said else f"exit code {done.returncode}"
        if "credentials not found" in why:
            raise _NothingKeptError(f"docker-credential-{helper} has nothing", why)
        raise _helper_failed(helper, why)
    return done.stdout


def _helper_failed(helper: str, why: str) -> RegistryError:
    return RegistryError(f"docker-credential-{helper} failed", why, "install it, or name another helper")
