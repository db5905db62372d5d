"""Files that look like secrets: the name says which are looked into, what they hold decides.

Only small files with telling names are read, so an image of a hundred thousand files costs a handful of
reads. What a secret is, is never returned.
"""

from __future__ import annotations

import os
import re

MAX_SIZE = 1 << 16
"""Bytes: keys and credentials are smaller, and nothing larger is read."""

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_PRIVATE_KEY = re.compile(
    rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----|^PuTTY-User-Key-File", re.MULTILINE
)
_TOKEN = re.compile(
    rb"(?<![A-Za-z0-9_-])(?:"
    rb"(?:AKIA|ASIA)[A-Z0-9]{16}"  # AWS access key
    rb"|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,}"
    rb"|glpat-[A-Za-z0-9_-]{20,}"
    rb"|xox[abprs]-[A-Za-z0-9-]{10,}"  # Slack
    rb"|[rs]k_live_[A-Za-z0-9]{16,}"  # Stripe
    rb"|AIza[A-Za-z0-9_-]{35}"  # Google
    rb"|npm_[A-Za-z0-9]{36}|dckr_pat_[A-Za-z0-9_-]{20,}|pypi-[A-Za-z0-9_-]{50,}"
    rb")(?![A-Za-z0-9])"
)
_ASSIGNED = re.compile(
    rb"^\s*(?:export\s+)?[A-Z0-9_.]*(?:PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|API_?KEY|PRIVATE_?KEY"
    rb"|ACCESS_?KEY|CREDENTIALS?|DATABASE_URL)[A-Z0-9_.]*\s*=\s*[\"']?(?P<value>[^\s\"'#]{4,})",
    re.MULTILINE | re.IGNORECASE,
)
_PLACEHOLDER = re.compile(
    rb"^(?:<.*>|\$\{?\w+\}?|x+|\*+|change.?me|your.?.*|example.*|todo|none|null|true|false)$", re.IGNORECASE
)
_HASHED = re.compile(rb"^[^:\n]+:!?(?:\$[0-9a-zA-Z]+\$[^:\n]+|_?[./0-9A-Za-z]{13,20}):", re.MULTILINE)
_HTPASSWD = re.compile(rb"^[^:\s]+:(?:\$(?:apr1|2[abxy]|5|6)\$|\{SHA\})[^\s]+", re.MULTILINE)

_BY_NAME: dict[bytes, tuple[str, re.Pattern[bytes]]] = {
    b"shadow": ("password hashes", _HASHED),
    b"shadow-": ("password hashes", _HASHED),
    b"gshadow": ("password hashes", _HASHED),
    b"gshadow-": ("password hashes", _HASHED),
    b".htpasswd": ("password hashes", _HTPASSWD),
    b".netrc": ("password", re.compile(rb"\bpassword\s+\S")),
    b".pgpass": ("password", re.compile(rb"^[^#\n]*:[^:\n]*:[^:\n]*:[^:\n]*:[^:\n]+", re.MULTILINE)),
    b".my.cnf": ("password", re.compile(rb"^\s*password\s*=\s*\S", re.MULTILINE)),
    b".pypirc": ("password", re.compile(rb"^\s*password\s*[=:]\s*\S", re.MULTILINE)),
    b".npmrc": ("token", re.compile(rb"(?:_authToken|_auth|_password)\s*=\s*[^\s$]")),
    b".git-credentials": ("password", re.compile(rb"://[^/\s:@]*:[^/\s@]+@")),
    b".vault-token": ("token", re.compile(rb"\S{8}")),
    b".dockercfg": ("registry credentials", re.compile(rb'"auth"\s*:\s*"[^"]')),
    b"application_default_credentials.json": (
        "cloud credentials",
        re.compile(rb'"(?:refresh_token|private_key)"'),
    ),
    b"accessTokens.json": ("cloud credentials", re.compile(rb'"(?:accessToken|refreshToken)"')),
    b"msal_token_cache.json": ("cloud credentials", re.compile(rb'"secret"\s*:\s*"[^"]')),
    b"rclone.conf": (
        "cloud credentials",
        re.compile(rb"^\s*(?:pass|token|secret_access_key)\s*=\s*\S", re.MULTILINE),
    ),
}
_BY_TAIL: dict[bytes, tuple[str, re.Pattern[bytes]]] = {
    b"/.aws/credentials": (
        "cloud credentials",
        re.compile(rb"aws_secret_access_key\s*=\s*\S", re.IGNORECASE),
    ),
    b"/.kube/config": ("cluster credentials", re.compile(rb"(?:token|client-key-data|password):\s*\S")),
    b"/.docker/config.json": ("registry credentials", re.compile(rb'"auth"\s*:\s*"[^"]')),
    b"/containers/auth.json": ("registry credentials", re.compile(rb'"auth"\s*:\s*"[^"]')),
    b"/gh/hosts.yml": ("token", re.compile(rb"oauth_token:\s*\S")),
    b"/.cargo/credentials.toml": ("token", re.compile(rb"^\s*token\s*=\s*\S", re.MULTILINE)),
}
_KEY_ENDINGS = (b".pem", b".key", b".ppk", b".asc", b"_rsa", b"_dsa", b"_ecdsa", b"_ed25519", b"_key")
_STORES = (b".p12", b".pfx", b".kdbx")
_TEXT_ENDINGS = (
    *(b".json", b".yaml", b".yml", b".toml", b".ini", b".cfg", b".conf", b".config", b".properties"),
    *(b".tfvars", b".sh", b".txt", b".py", b".js", b".rb", b".php", b"_history", b"rc"),
)
_ENV_EXAMPLES = (b".example", b".sample", b".template", b".dist")
_SYSTEM = (
    b"/usr/bin/",
    b"/usr/lib",
    b"/usr/share/",
    b"/usr/include/",
    b"/lib/",
    b"/var/lib/dpkg/",
    b"/proc/",
)
"""Where packages keep what everybody may read: not searched for tokens."""


def looks_like(path: bytes, source: bytes, size: int) -> str:
    """Which kind of secret the regular file at *path* of an image looks like; empty for none.

    *source* is where it is on this machine. Raises OSError.
    """
    name = path.rpartition(b"/")[2]
    known = _BY_NAME.get(name) or _known_tail(path, name)
    is_env = name == b".env" or (name.startswith(b".env.") and not name.endswith(_ENV_EXAMPLES))
    is_key = name.endswith(_KEY_ENDINGS) or b"/.ssh/" in path
    is_store = name.endswith(_STORES)
    is_text = name.endswith(_TEXT_ENDINGS) and not path.startswith(_SYSTEM)
    if not size or not (known or is_env or is_key or is_store or is_text):
        return ""
    if is_store:
        return "key store"
    if size > MAX_SIZE:
        return ""
    data = _read(source)
    if known and known[1].search(data):
        return known[0]
    return _kind_of(data) or ("environment file" if is_env and _has_assignment(data) else "")


def kind_of_text(text: str) -> str:
    """Which kind of secret is somewhere in *text*, if it is one that shows by its form; empty for none."""
    return _kind_of(text.encode(errors="replace"))


def is_placeholder(value: str) -> bool:
    """Whether a value is there to be filled in."""
    return _PLACEHOLDER.match(value.encode(errors="replace")) is not None


def _kind_of(data: bytes) -> str:
    if _PRIVATE_KEY.search(data):
        return "private key"
    return "token" if _TOKEN.search(data) else ""


def _known_tail(path: bytes, name: bytes) -> tuple[str, re.Pattern[bytes]] | None:
    if name not in _LAST_NAMES:
        return None
    return next((known for tail, known in _BY_TAIL.items() if path.endswith(tail)), None)


_LAST_NAMES = {tail.rpartition(b"/")[2] for tail in _BY_TAIL}


def _has_assignment(data: bytes) -> bool:
    """Whether a variable with a telling name has a value that is not there to be filled in."""
    return any(not _PLACEHOLDER.match(found["value"]) for found in _ASSIGNED.finditer(data))


def _read(path: bytes) -> bytes:
    descriptor = os.open(path, _OPEN)
    try:
        return os.read(descriptor, MAX_SIZE)
    finally:
        os.close(descriptor)
