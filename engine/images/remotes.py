"""Opening registries for `pull`, `push` and `login`: what is configured, and who one is there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from engine.oci.registry import credentials, settings
from engine.oci.registry.connection import Connection
from engine.oci.registry.credentials import Credentials
from engine.oci.registry.naming import Remote
from engine.store.store import Store


@contextmanager
def sources(
    store: Store, remote: Remote, plain_http: bool, stop: threading.Event
) -> Iterator[list[Connection]]:
    """Where the images of *remote* can be pulled from: its mirrors, then its registry itself."""
    with ExitStack() as stack:
        found = []
        for mirror in settings.read(store.layout.root, remote.registry).mirrors:
            who = credentials.find(mirror.host, f"{mirror.prefix}{remote.repository}")
            opened = connect(store, mirror.host, who, mirror.plain_http, mirror.prefix, stop)
            found.append(stack.enter_context(closing(opened)))
        found.append(stack.enter_context(registry(store, remote, plain_http, stop)))
        yield found


@contextmanager
def registry(store: Store, remote: Remote, plain_http: bool, stop: threading.Event) -> Iterator[Connection]:
    """The registry of *remote* itself."""
    who = credentials.find(remote.registry, remote.repository)
    with closing(connect(store, remote.registry, who, plain_http, stop=stop)) as opened:
        yield opened


def connect(
    store: Store,
    host: str,
    who: Credentials | None,
    plain_http: bool,
    prefix: str = "",
    stop: threading.Event | None = None,
) -> Connection:
    """A connection to the registry *host* as it is configured; the caller closes it. Raises UsageError."""
    root = store.layout.root
    said = settings.read(root, host)
    return Connection(
        host,
        credentials=who,
        plain_http=plain_http or said.plain_http,
        plain_hosts=settings.plain_hosts(root),
        trust=settings.trust_in(root, host, said),
        prefix=prefix,
        stop=stop,
    )
