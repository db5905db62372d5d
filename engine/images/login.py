"""Who one is at a registry: tried out there first, then kept where docker and podman look for it, too."""

from __future__ import annotations

from contextlib import closing

from engine.errors import DeniedError
from engine.images import remotes
from engine.oci.registry import credentials, naming
from engine.oci.registry.credentials import Credentials
from engine.store.store import Store


def login(store: Store, registry: str, username: str, password: str, *, plain_http: bool = False) -> str:
    """Keep *username* and *password* for *registry* if it takes them; returns the file or helper.

    Raises UsageError, DeniedError, RegistryError, StoreError.
    """
    host = naming.registry_of(registry)
    given = Credentials(username, password)
    with closing(remotes.connect(store, host, given, plain_http)) as connection:
        response = connection.request("GET", connection.url(""))
        if response.status_code == 401:
            raise DeniedError(f"{host} does not know {username}", "or the password is wrong", "try again")
        connection.check(response, 200, 404)
    return credentials.store(host, given)


def logout(registry: str) -> list[str]:
    """Forget what is kept for *registry*; returns where it was. Raises UsageError, RegistryError."""
    return credentials.erase(naming.registry_of(registry))
