"""Opening registries for `pull`, `push` and `login`: what is configured, and who one is there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from engine.oci.registry import credentials, settings
from engine.oci.registry.connection import Connection
from engine.oci.registry.naming import Remote
from engine.store.store import Store


@contextmanager
def sources(
    store: Store, remote: Remote, plain_http: bool, stop: threading.Event
) -> Iterator[list[Connection]]:
    """Where the images of *remote* can be pulled from: its mirrors, then its registry itself."""
    said = settings.read(store.layout.root, remote.registry)
    with ExitStack() as stack:
        found = []
        for mirror in said.mirrors:
            own = settings.read(store.layout.root, mirror.host)
            who = credentials.find(mirror.host, f"{mirror.prefix}{remote.repository}")
            plain = mirror.plain_http or own.plain_http
            found.append(
                Connection(
                    mirror.host,
                    credentials=who,
                    plain_http=plain,
                    ca_file=own.ca_file,
                    prefix=mirror.prefix,
                    stop=stop,
                )
            )
            stack.callback(found[-1].close)
        found.append(stack.enter_context(registry(store, remote, plain_http, stop)))
        yield found


@contextmanager
def registry(store: Store, remote: Remote, plain_http: bool, stop: threading.Event) -> Iterator[Connection]:
    """The registry of *remote* itself."""
    said = settings.read(store.layout.root, remote.registry)
    opened = Connection(
        remote.registry,
        credentials=credentials.find(remote.registry, remote.repository),
        plain_http=plain_http or said.plain_http,
        ca_file=said.ca_file,
        stop=stop,
    )
    try:
        yield opened
    finally:
        opened.close()
