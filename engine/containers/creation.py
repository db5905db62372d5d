"""Making a container: its directories, ready to be started, and then their place and its record at once."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from _sqlite3 import Connection
from collections.abc import Sequence

from engine.containers import confining, names, networking, restarting, sharing
from engine.containers.ending import signal_number
from engine.containers.networking import NetworkSettings
from engine.errors import ConflictError, CowlError, NotFoundError, UsageError
from engine.kernel.channel import gethostname
from engine.model import JSON, LaunchOptions, Limits
from engine.oci import reference, runtime
from engine.record import Record
from engine.store import clock, events, records
from engine.store.deletion import delete_tree
from engine.store.faults import point
from engine.store.layout import ContainerPaths
from engine.store.staging import making, no_space_on_full
from engine.store.store import Store

_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}"
_HOSTNAME = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,62}[A-Za-z0-9])?"
_ATTEMPTS = 20


class Made(Record):
    """A container that has just been made."""

    row: records.ContainerRow
    lowers: tuple[str, ...]


def create(
    store: Store, options: LaunchOptions, *, cgroup_parent: str, available: int, network: NetworkSettings
) -> Made:
    """Make a container of *options*. *available* is the mask of capabilities that can be given.

    Raises NotFoundError for the image, ConflictError for a name in use, UsageError for what has no meaning.
    """
    _check(options)
    if any(not volume.source for volume in options.volumes):
        from engine.containers.volumes import settled as settled_volumes

        options = options._replace(volumes=settled_volumes(store.layout, options.volumes))
    connection = store.connection
    chain_id, manifest = reference.resolve_image(connection, options.image)
    image = _configuration(connection, chain_id, manifest)
    chain = records.lineage(connection, chain_id)
    if not chain:
        raise records.image_gone(options.image)
    lowers = tuple(store.layout.tree(node) for node in chain)
    container_id = os.urandom(32).hex()
    paths = store.layout.container(container_id)
    options = sharing.settled(store, networking.settled(store, options, image, network))
    hostname = _hostname(store, options, container_id)
    if any(volume.propagation for volume in options.volumes):
        from engine.containers import propagating

        propagating.check(options.volumes)
    devices = confining.devices_of(options)
    spec = runtime.build_spec(
        options,
        image,
        hostname=hostname,
        cgroup_path=f"{options.cgroup_parent or cgroup_parent}/{container_id}",
        files=networking.shared_files(store, options, paths),
        available=available,
        devices=devices.nodes,
        device_rules=devices.rules,
    )
    if blocks := confining.block_limits(options):
        spec["linux"]["resources"].setdefault("blockIO", {}).update(blocks)
    filtered = confining.confine(spec, options)
    if options.init:
        from engine.containers import inits

        inits.put_first(spec, inits.find())
    settled = options._replace(
        stop_signal=runtime.stop_signal_of(options, image),
        health=runtime.health_of(options, image),
        labels=runtime.labels_of(options, image),
    )
    row = records.ContainerRow(
        id=container_id,
        name=options.name or "",
        image=options.image,
        chain_id=chain_id,
        manifest=manifest,
        created=clock.now(),
        command=runtime.command_of(options, image),
        options=settled,
    )
    with no_space_on_full(store.layout), contextlib.ExitStack() as unless_made:
        with making(store.layout):
            unless_made.callback(_undo, store, row)
            unless_made.callback(delete_tree, paths.unfinished)
            _make_directories(paths, options, _encoded(spec, filtered), hostname, lowers)
            point("create.before-record")
            row = _record(store, row, paths)
        point("create.after-record")
        if any(volume.name for volume in options.volumes):
            from engine.containers.volumes import provide

            provide(store.layout, options.volumes, lowers)
        unless_made.pop_all()
    events.record(store.layout, "container", "create", row.id, row.name, image=row.image)
    return Made(row, lowers)


def _configuration(connection: Connection, chain_id: str, manifest: str | None) -> JSON:
    """What the image says; for a node that no image names, what one says that has it among its layers."""
    if manifest is not None:
        return records.manifest_config(connection, manifest)
    from engine.oci.configuration import configuration

    return configuration(connection, chain_id, None)


def _check(options: LaunchOptions) -> None:
    if options.name is not None:
        check_name(options.name)
    if options.hostname is not None and not re.fullmatch(_HOSTNAME, options.hostname):
        raise UsageError(f"{options.hostname!r} is no host name", hint="letters, digits, -, _ and . up to 64")
    if restarting.policy(options.restart) != restarting.NEVER and options.auto_remove:
        raise UsageError("a container cannot both go and come again", "--rm and --restart exclude each other")
    if options.uts == "host" and (options.hostname, options.domainname) != (None, None):
        name = "domainname" if options.hostname is None else "hostname"
        raise UsageError(f"--{name} would rename the host", "--uts host shares its name", "leave one out")
    check_swap(options.limits)
    if options.stop_signal is not None:
        signal_number(options.stop_signal)
    for volume in options.volumes:
        if volume.source and not volume.source.startswith("/"):
            raise UsageError(f"the volume {volume.source} is not absolute", hint="name a path of the host")
        if volume.source and not volume.make and not os.path.lexists(volume.source):
            raise UsageError(
                f"there is no {volume.source}", "--mount makes none", "make it, or add bind-create-src"
            )


def check_swap(limits: Limits) -> None:
    """Raise UsageError for memory and swap together where memory alone may be any."""
    if limits.memory is None and limits.memory_swap is not None and limits.memory_swap > 0:
        raise UsageError(
            "memory and swap together are limited, memory alone is not",
            "the kernel takes one only with the other",
            "add --memory",
        )


def check_name(name: str) -> None:
    """Raise UsageError for what cannot name a container."""
    if not re.fullmatch(_NAME, name):
        raise UsageError(
            f"{name!r} cannot name a container",
            hint="use letters, digits, _ . and -, a letter or digit first",
        )


def _hostname(store: Store, options: LaunchOptions, container_id: str) -> str:
    if options.hostname:
        return options.hostname
    whose = networking.other(options)
    if whose is not None:
        return records.container_row(store.connection, whose).options.hostname or whose[:12]
    return gethostname() if "host" in (options.network, options.uts) else container_id[:12]


def _record(store: Store, row: records.ContainerRow, paths: ContainerPaths) -> records.ContainerRow:
    """One transaction, in which its files get their place; a name that is ours to choose is chosen again when
    it is taken.
    """
    chosen = bool(row.name)
    for attempt in range(_ATTEMPTS):
        if not chosen:
            row = row._replace(name=names.suggest(attempt))
        try:
            with store.write() as connection:
                records.add_container(connection, row)
                os.rename(paths.unfinished, paths.home)
                point("create.after-rename")
        except ConflictError:
            if chosen or attempt == _ATTEMPTS - 1:
                raise
        else:
            return row
    raise ConflictError("no name is free")


def _make_directories(
    paths: ContainerPaths, options: LaunchOptions, config: str, hostname: str, lowers: Sequence[str]
) -> None:
    for volume in options.volumes:
        if not volume.name and not os.path.lexists(volume.source):
            os.makedirs(volume.source)
    paths = paths._replace(home=paths.unfinished)
    os.mkdir(paths.home, 0o700)
    try:
        top = os.lstat(lowers[0])
    except FileNotFoundError:
        raise NotFoundError(f"the layer of {options.image} is not in the store", hint="cowl check") from None
    for path in (paths.upper, paths.work, paths.init, paths.rootfs):
        os.mkdir(path, 0o755)
    # The merged root shows the read-write layer's own metadata: it is to be the image's.
    if stat.S_IMODE(top.st_mode) != 0o755:
        os.chmod(paths.upper, stat.S_IMODE(top.st_mode))
    if top.st_uid or top.st_gid:
        os.chown(paths.upper, top.st_uid, top.st_gid)
    _write(f"{paths.home}/hostname", f"{hostname}\n")
    _write(f"{paths.home}/hosts", _hosts(options, hostname))
    _write(f"{paths.home}/resolv.conf", _resolv_conf(options))
    _write(paths.config, config)


def _encoded(spec: JSON, filtered: str) -> str:
    """*spec* with the `linux.seccomp` object *filtered*, which is JSON already."""
    if not filtered:
        return json.dumps(spec)
    rest = json.dumps({name: value for name, value in spec.items() if name != "linux"})
    linux = json.dumps(spec["linux"])
    return f'{rest[:-1]}, "linux": {linux[:-1]}, "seccomp": {filtered}}}}}'


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        os.write(descriptor, text.encode("utf-8", "surrogateescape"))
    finally:
        os.close(descriptor)


def _hosts(options: LaunchOptions, hostname: str) -> str:
    if options.network == "host":
        return _host_file("/etc/hosts")
    own = f"127.0.0.1\t{hostname}\n" if hostname != "localhost" else ""
    return (
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n"
        f"ff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n{own}"
    )


def _resolv_conf(options: LaunchOptions) -> str:
    return _host_file("/etc/resolv.conf") if options.network == "host" else ""


def _host_file(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read(1 << 20)
    except OSError:
        return ""


def _undo(store: Store, row: records.ContainerRow) -> None:
    from engine.containers.removal import erase

    with contextlib.suppress(CowlError, OSError):
        erase(store.layout, store.freeing(), row.id)
