"""Whom cowl believes to be a registry, and how it shows itself: certificates of TLS.

The system's authorities are always trusted. Further ones, and a certificate of one's own, are in a directory
called after the registry, as docker and podman have them (containers-certs.d(5)):

    certs.d/registry.example:5000/*.crt      authorities
    certs.d/registry.example:5000/*.cert     a certificate of one's own, its key in the .key beside it
"""

from __future__ import annotations

import os
import ssl
from typing import NamedTuple

from engine.errors import UsageError

SYSTEM = ("/etc/cowl/certs.d", "/etc/containers/certs.d", "/etc/docker/certs.d")
"""Where certificates are, after the root of the store; the first directory that knows the registry counts."""


class Trust(NamedTuple):
    """What TLS with one registry is built on."""

    authorities: tuple[str, ...] = ()
    """Files with certificates in PEM, besides the system's."""
    own: tuple[tuple[str, str], ...] = ()
    """Certificates to show when asked for one, each with its key."""
    insecure: bool = False
    """Whether whatever it shows is believed."""


def find(root: str, registry: str, system: tuple[str, ...] = SYSTEM) -> Trust:
    """What the directories of certificates say of *registry*. Raises UsageError for a key that is missing."""
    for base in (f"{root}/certs.d", *system):
        directory = f"{base}/{registry}"
        try:
            names = sorted(os.listdir(directory))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise UsageError(
                f"cannot read {directory}", error.strerror or str(error), "correct it"
            ) from error
        authorities = tuple(f"{directory}/{name}" for name in names if name.endswith(".crt"))
        own = [f"{directory}/{name}" for name in names if name.endswith(".cert")]
        return Trust(authorities, tuple((path, _key(path)) for path in own))
    return Trust()


def _key(certificate: str) -> str:
    key = f"{certificate.removesuffix('.cert')}.key"
    if not os.path.exists(key):
        raise UsageError(
            f"{certificate} cannot be used", f"there is no {os.path.basename(key)}", "add its key"
        )
    return key


def context(trust: Trust, *, elsewhere: bool = False) -> ssl.SSLContext:
    """What TLS connections are made with: to the registry itself, or *elsewhere*, where it sends one to.

    There nothing but authorities counts: no certificate of one's own is shown and no doubt is waived. Raises
    UsageError for files that are no certificates.
    """
    made = ssl.create_default_context()
    for path in trust.authorities:
        try:
            made.load_verify_locations(path)
        except (OSError, ssl.SSLError) as error:
            raise _unusable(path, error) from error
    if elsewhere:
        return made
    for path, key in trust.own:
        try:
            made.load_cert_chain(path, key)
        except (OSError, ssl.SSLError) as error:
            raise _unusable(path, error) from error
    if trust.insecure:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made


def _unusable(path: str, error: OSError) -> UsageError:
    why = error.strerror if not isinstance(error, ssl.SSLError) else "it is no certificate in PEM"
    return UsageError(f"cannot use the certificate {path}", why or str(error), "correct it")
