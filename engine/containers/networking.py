"""What a container's network option means: checked when it is made, and looked up anew at each start."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from engine.errors import UsageError
from engine.model import JSON, LaunchOptions, PublishedPort
from engine.network.wish import Wish
from engine.record import Record
from engine.store import records
from engine.store.layout import ContainerPaths
from engine.store.store import Store

BRIDGE = "bridge"
HOST_GATEWAY = "host-gateway"
"""What `--add-host` calls the bridge's own address."""
_OTHER = "container:"
_NAMES = {"none", "host", BRIDGE}
_BRIDGE_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}"
_EXPOSED = r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/(tcp|udp|sctp))?"
_LARGEST_PORT = 65535
_LOOPBACK6 = "::1"
_HOST = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}"
_NEEDS_BRIDGE = (
    *("publish", "publish_all", "dns", "dns_search", "dns_options", "mac_address", "ip"),
    "network_aliases",
)


class NetworkSettings(Record):
    """What holds for all containers of one engine."""

    default: str = BRIDGE
    """The network of a container that names none."""
    bridge: str = ""
    """What its bridge is called; empty for cowl0 or the next that is free."""
    forwarding: bool = True
    """Whether the machine is to forward for its containers, if it does not."""


def settled(store: Store, options: LaunchOptions, image: JSON, settings: NetworkSettings) -> LaunchOptions:
    """*options* with its network decided. *image* is the image's configuration.

    Raises UsageError for what has no meaning, NotFoundError for another container that is not there.
    """
    network = options.network or settings.default
    if settings.bridge and not re.fullmatch(_BRIDGE_NAME, settings.bridge):
        raise UsageError(
            f"{settings.bridge!r} cannot name a bridge", hint="up to 15 letters, digits, _ . and -"
        )
    if network == "default":
        network = BRIDGE
    if network.startswith(_OTHER):
        network = _OTHER + records.container_row(store.connection, network.removeprefix(_OTHER)).id
        if options.hostname is not None or options.extra_hosts:
            raise UsageError("cannot have a name of its own in another's network", "both have one host name")
    elif network not in _NAMES:
        raise UsageError(f"there is no network {network}", hint="none, host, bridge or container:NAME")
    if network != BRIDGE:
        given = [name for name in _NEEDS_BRIDGE if getattr(options, name)]
        if given and not (network == "host" and set(given) <= {"publish", "publish_all"}):
            flag = given[0].replace("_", "-")
            raise UsageError(f"--{flag} needs a network of the container's own", hint="use --network bridge")
    _check_addresses(options)
    return options._replace(network=network, publish=_published(options, image), publish_all=False)


def _check_addresses(options: LaunchOptions) -> None:
    """Raise UsageError for what is no address."""
    hosts = [entry.partition(":")[0] for entry in options.extra_hosts]
    for name in (*options.network_aliases, *hosts, *(text for text in options.dns_search if text != ".")):
        if not re.fullmatch(_HOST, name):
            raise UsageError(f"{name!r} is no name of a host", hint="letters, digits, - and .")
    for option in options.dns_options:
        if not re.fullmatch(r"[!-~]+", option):
            raise UsageError(f"{option!r} is no option of resolv.conf", hint="write it like ndots:2")
    named = [entry.partition(":")[2] for entry in options.extra_hosts]
    given = [*options.dns, *(text for text in named if text != HOST_GATEWAY), *filter(None, [options.ip])]
    if not given and options.mac_address is None:
        return
    from engine.network import addressing

    for text in given:
        addressing.parse(text)
    if options.mac_address is not None:
        addressing.parse_mac(options.mac_address)


def _published(options: LaunchOptions, image: JSON) -> tuple[PublishedPort, ...]:
    """The ports asked for, and with --publish-all those that the image exposes."""
    for port in options.publish:
        if port.host_ip == _LOOPBACK6:
            why = "the kernel lets nothing leave that begins there"
            raise UsageError("cannot publish a port at [::1]", why, "publish it at 127.0.0.1")
    found = dict.fromkeys(options.publish)
    exposed = {key: None for text in options.expose for key in _exposed(text, "--expose")}
    if options.publish_all:
        for text in (image.get("config") or {}).get("ExposedPorts") or {}:
            exposed.update(dict.fromkeys(_exposed(text, "the image")))
        named = {(port.container_port, port.protocol) for port in options.publish}
        found.update(dict.fromkeys(PublishedPort("", 0, *key) for key in exposed if key not in named))
    return tuple(found)


def _exposed(text: str, whose: str) -> list[tuple[int, str]]:
    """The ports that are exposed as *text*: ``80/tcp``, ``8000-8010``."""
    found = re.fullmatch(_EXPOSED, text)
    if found is None or not 0 < int(found[1]) <= int(found[2] or found[1]) <= _LARGEST_PORT:
        raise UsageError(f"{text!r} is no port that {whose} could name", hint="name ports by -p")
    return [(port, found[3] or "tcp") for port in range(int(found[1]), int(found[2] or found[1]) + 1)]


def other(options: LaunchOptions) -> str | None:
    """The ID of the container whose network it shares."""
    return options.network.removeprefix(_OTHER) if options.network.startswith(_OTHER) else None


def shared_files(store: Store, options: LaunchOptions, own: ContainerPaths) -> Mapping[str, str]:
    """What is shown as /etc/hosts and its like: the files of whoever's network it is."""
    whose = other(options)
    home = store.layout.container(whose).home if whose else own.home
    return {f"/etc/{name}": f"{home}/{name}" for name in ("hosts", "hostname", "resolv.conf")}


def wish(row: records.ContainerRow, settings: NetworkSettings) -> Wish | None:
    """What the monitor is to connect it with; None when there is no bridge in it."""
    options = row.options
    if options.network != BRIDGE:
        return None
    return Wish(
        bridge=settings.bridge,
        name=row.name,
        hostname=options.hostname or row.id[:12],
        aliases=options.network_aliases,
        ip=options.ip or "",
        mac=options.mac_address or "",
        ports=options.publish,
        extra_hosts=options.extra_hosts,
        dns=options.dns,
        dns_search=options.dns_search,
        dns_options=options.dns_options,
        forwarding=settings.forwarding,
    )


def ports(store: Store) -> Mapping[str, tuple[PublishedPort, ...]]:
    """By container, those that lead to it while it runs."""
    run = store.layout.run
    if not os.path.exists(f"{run}/network.json"):
        return {}
    from engine.network.members import Members

    return {identity: member.ports for identity, member in Members(run).by_id.items()}


def describe(store: Store, row: records.ContainerRow) -> JSON:
    """What `inspect` tells of a container's network."""
    found: JSON = {"mode": row.options.network}
    whose = other(row.options)
    if whose is not None:
        found["container"] = whose
    if row.options.network == BRIDGE:
        from engine.network import connection

        found.update(connection.describe(store.layout.run, row.id))
    return found


def rename(store: Store, row: records.ContainerRow, name: str) -> None:
    """Have the container *row* found by another name on its bridge."""
    if row.options.network == BRIDGE and os.path.exists(f"{store.layout.run}/network.json"):
        from engine.network import connection

        connection.rename(store.layout.run, row.id, name)
