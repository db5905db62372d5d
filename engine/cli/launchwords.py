"""The options of `create` and `run`, given their meaning: what is to be launched, and how.

Spellings are docker's. Every function raises UsageError, which says how to write it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from engine.cli import limits, mounts
from engine.cli.options import Values
from engine.cli.values import duration, environment, integer, label, labels_of, seconds, size
from engine.errors import UnsupportedError, UsageError
from engine.model import Health, LaunchOptions, PublishedPort
from engine.record import Record

_ANOTHERS = "container:"
MIN_LOG_SIZE = 4096
"""Bytes: a smaller file would be renamed at every line."""


def launch_options(values: Values, arguments: Sequence[str]) -> LaunchOptions:
    """What `create` and `run` were given, their first argument being the image."""
    image, *command = arguments
    _check_words(values)
    mounts.driver(values["volume_driver"])
    mounted, tmpfs = mounts.mounted(values["mount"])
    network = network_of(values)
    log_max_size, log_max_files = log_options(values["log_opt"])
    if values["log_driver"] == "none":
        log_max_size = 0
    return LaunchOptions(
        image=image,
        command=tuple(command),
        entrypoint=entrypoint(values["entrypoint"]),
        name=values["name"] or None,
        env=environment(values["env"], values["env_file"]),
        workdir=values["workdir"] or None,
        user=values["user"] or None,
        hostname=values["hostname"] or None,
        domainname=values["domainname"] or None,
        interactive=values["interactive"],
        tty=values["tty"],
        auto_remove=values["rm"],
        network=network.name,
        publish=published(values["publish"]),
        publish_all=values["publish_all"],
        expose=values["expose"],
        ip=network.ip,
        mac_address=network.mac_address,
        network_aliases=network.aliases,
        extra_hosts=tuple(host_line(text) for text in values["add_host"]),
        dns=values["dns"],
        dns_search=values["dns_search"],
        dns_options=values["dns_option"],
        read_only=values["read_only"],
        privileged=values["privileged"],
        cap_add=_split(values["cap_add"]),
        cap_drop=_split(values["cap_drop"]),
        volumes=(*(mounts.volume(text) for text in values["volume"]), *mounted),
        volumes_from=values["volumes_from"],
        tmpfs=(*values["tmpfs"], *tmpfs),
        security_opts=security_options(values["security_opt"]),
        devices=values["device"],
        device_cgroup_rules=values["device_cgroup_rule"],
        block_limits=limits.of_devices(values),
        group_add=values["group_add"],
        ipc=namespace(values["ipc"], "--ipc", ("none", "shareable", _ANOTHERS)),
        pid=namespace(values["pid"], "--pid", (_ANOTHERS,)),
        uts="host" if namespace(values["uts"], "--uts") == "host" else "private",
        cgroupns="host" if namespace(values["cgroupns"], "--cgroupns") == "host" else "private",
        shm_size=size(values["shm_size"], "--shm-size") or None,
        oom_score_adj=integer(values["oom_score_adj"], "--oom-score-adj"),
        ulimits=values["ulimit"],
        sysctls=values["sysctl"],
        labels=(*labels_of(values["label_file"]), *map(label, values["label"])),
        annotations=tuple(annotation(text) for text in values["annotation"]),
        cgroup_parent=values["cgroup_parent"] or None,
        stop_signal=values["stop_signal"] or None,
        stop_timeout=10.0 if values["stop_timeout"] is None else seconds(values["stop_timeout"]),
        init=values["init"],
        health=health(values),
        no_health=values["no_healthcheck"],
        restart=values["restart"] or "no",
        log_max_size=log_max_size,
        log_max_files=log_max_files,
        limits=limits.limits(values),
    )


def health(values: Values) -> Health | None:
    """What is said of checks; where that is nothing, what the image says holds: 0, and no command."""
    command = values["health_cmd"]
    given = {
        name: values[f"health_{name}"] for name in ("interval", "timeout", "start_period", "start_interval")
    }
    said = any(given.values()) or bool(values["health_retries"])
    if values["no_healthcheck"] and (said or command):
        raise UsageError(
            "nothing is checked", "--no-healthcheck says so, and --health-… how", "leave one out"
        )
    if command == "none" or not (command or said):
        return None
    interval, timeout, start_period, start_interval = (duration(text or "0") for text in given.values())
    retries = integer(values["health_retries"], "--health-retries") or 0
    argv = ("/bin/sh", "-c", command) if command else ()
    return Health(argv, interval, timeout, max(retries, 0), start_period, start_interval)


def log_options(entries: Sequence[str]) -> tuple[int | None, int]:
    """Bytes of one file of a log (None: no end), and how many files; docker's max-size and max-file."""
    default = LaunchOptions("")
    largest, most = default.log_max_size, default.log_max_files
    for entry in entries:
        name, _, value = entry.partition("=")
        if name == "max-size":
            largest = None if value == "-1" else max(size(value, "--log-opt max-size") or 0, MIN_LOG_SIZE)
        elif name == "max-file" and value.isdecimal() and int(value) > 0:
            most = int(value)
        else:
            raise UsageError(
                f"bad log option {entry!r}",
                "only max-size and max-file, both positive, are known",
                "write it like max-size=10m or max-file=3",
            )
    return largest, most


def log_driver(name: str | None) -> None:
    """Raise UnsupportedError for one by which nothing would be kept here, unless that is what it says."""
    if name not in (None, "", "json-file", "local", "k8s-file", "none"):
        raise UnsupportedError(
            f"there is no log driver {name}",
            "a container's log is a file of the store",
            "leave it out and send on what cowl logs -f prints; none keeps nothing",
        )


def entrypoint(text: str | None) -> tuple[str, ...] | None:
    """None as the image says; empty for none at all; a JSON array or one word otherwise."""
    if text is None:
        return None
    if text.startswith("["):
        import json

        with_words: object = None
        try:
            with_words = json.loads(text)
        except ValueError as error:
            raise UsageError(
                f"bad entrypoint {text!r}", str(error), "write one word or a JSON array"
            ) from error
        if not isinstance(with_words, list) or not all(isinstance(word, str) for word in with_words):
            raise UsageError(
                f"bad entrypoint {text!r}", "it holds more than words", "write an array of strings"
            )
        return tuple(with_words)
    return (text,) if text else ()


def published(texts: Sequence[str]) -> tuple[PublishedPort, ...]:
    """The ports of `-p`."""
    if not texts:
        return ()
    from engine.cli import ports

    return ports.published(texts)


def host_line(text: str) -> str:
    """``NAME:ADDRESS`` of `--add-host`, also with an equals sign."""
    name, colon, address = text.replace("=", ":", 1).partition(":")
    if not name or not colon or not address:
        raise UsageError(f"bad host {text!r}", "it is no name with an address", "write it like db:192.0.2.7")
    return f"{name}:{address.strip('[]')}"


def security_options(entries: Sequence[str]) -> tuple[str, ...]:
    """As the engine takes them: the profile of a filter by its absolute path."""
    return tuple(
        f"seccomp={os.path.abspath(path)}"
        if (path := entry.removeprefix("seccomp=")) not in (entry, "", "unconfined", "builtin")
        else entry
        for entry in entries
    )


def namespace(name: str | None, option: str, more: Sequence[str] = ()) -> str:
    """``private`` (the usual), ``host``, or one of *more*, where ``container:`` is any container's."""
    name = name or "private"
    kind, colon, rest = name.partition(":")
    if (rest and f"{kind}:" in more) if colon else name in ("private", "host", *more):
        return name
    known = ["private", "host", *(f"{word}NAME" if word == _ANOTHERS else word for word in more)]
    why = f"{option[2:]} namespaces are not another container's" if name.startswith(_ANOTHERS) else ""
    raise UnsupportedError(f"cannot use {option} {name}", why, f"choose {', '.join(known)}")


class Network(Record):
    """What is asked of a container's network."""

    name: str
    """Empty for what is usual."""
    aliases: tuple[str, ...]
    ip: str | None
    mac_address: str | None


def network_of(values: Values) -> Network:
    """`--network`, also in docker's longer words, ``name=bridge,alias=web,ip=10.0.0.7``, and its company."""
    given = list(dict.fromkeys(filter(None, values["network"])))
    if len(given) > 1:
        raise UsageError(
            f"cannot be in {' and '.join(given)} at once", "a container has one network", "name one"
        )
    text = given[0] if given else ""
    found = Network(text, values["network_alias"], values["ip"] or None, values["mac_address"] or None)
    if "=" not in text or text.startswith(_ANOTHERS):
        return found
    name = ""
    for word in text.split(","):
        key, _, value = word.partition("=")
        if key == "name":
            name = value
        elif key == "alias":
            found = found._replace(aliases=(*found.aliases, value))
        elif key == "ip":
            found = found._replace(ip=value)
        elif key == "mac-address":
            found = found._replace(mac_address=value)
        else:
            raise UsageError(
                f"bad network {text!r}",
                f"{key!r} means nothing here",
                "write it like name=bridge,alias=web,ip=ADDRESS,mac-address=ADDRESS",
            )
    return found._replace(name=name)


def annotation(text: str) -> str:
    """``NAME=VALUE``; the value may be left out."""
    name, _, value = text.partition("=")
    if not name:
        raise UsageError(f"bad annotation {text!r}", "it has no name", "write NAME=VALUE")
    return f"{name}={value}"


def _check_words(values: Values) -> None:
    """Raise UnsupportedError where only one thing can be asked for, and another is."""
    log_driver(values["log_driver"])
    if values["userns"] not in (None, "", "host"):
        raise UnsupportedError(
            f"cannot use --userns {values['userns']}",
            "containers have no user namespace",
            "-u runs it as another user than root",
        )
    if values["isolation"] not in (None, "", "default"):
        raise UnsupportedError(
            f"cannot use --isolation {values['isolation']}", "there is one kind of it here", "leave it out"
        )


def _split(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for text in names for name in text.split(",") if name)
