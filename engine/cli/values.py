"""What is typed after an option, given its meaning: sizes, numbers, variables, mounts, limits.

Spellings are docker's. Every function raises UsageError, which says how to write it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from engine.cli.options import Values
from engine.errors import UnsupportedError, UsageError
from engine.model import Health, LaunchOptions, Limits, PublishedPort, Volume

_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
CPU_PERIOD = 100_000
"""Microseconds: what a quota is of, if that is not said."""
MIN_LOG_SIZE = 4096
"""Bytes: a smaller file would be renamed at every line."""
_MODES = {"": False, "rw": False, "ro": True}
_IGNORED_MODES = {"z", "Z", "rprivate", "private", "nocopy"}
"""Modes of `-v` that ask for what is done anyway, or that speak to a security module that is not here."""


def launch_options(values: Values, arguments: Sequence[str]) -> LaunchOptions:
    """What `create` and `run` were given, their first argument being the image."""
    image, *command = arguments
    log_driver(values["log_driver"])
    if values["userns"] not in (None, "", "host"):
        raise UnsupportedError(f"cannot use --userns {values['userns']}", "containers have no user namespace")
    mounts, tmpfs = mounted(values["mount"])
    log_max_size, log_max_files = log_options(values["log_opt"])
    return LaunchOptions(
        image=image,
        command=tuple(command),
        entrypoint=entrypoint(values["entrypoint"]),
        name=values["name"] or None,
        env=environment(values["env"], values["env_file"]),
        workdir=values["workdir"] or None,
        user=values["user"] or None,
        hostname=values["hostname"] or None,
        interactive=values["interactive"],
        tty=values["tty"],
        auto_remove=values["rm"],
        network=values["network"] or "",
        publish=published(values["publish"]),
        publish_all=values["publish_all"],
        expose=values["expose"],
        ip=values["ip"] or None,
        mac_address=values["mac_address"] or None,
        network_aliases=values["network_alias"],
        extra_hosts=tuple(host_line(text) for text in values["add_host"]),
        dns=values["dns"],
        dns_search=values["dns_search"],
        dns_options=values["dns_option"],
        read_only=values["read_only"],
        privileged=values["privileged"],
        cap_add=_split(values["cap_add"]),
        cap_drop=_split(values["cap_drop"]),
        volumes=(*(volume(text) for text in values["volume"]), *mounts),
        volumes_from=values["volumes_from"],
        tmpfs=(*values["tmpfs"], *tmpfs),
        security_opts=security_options(values["security_opt"]),
        devices=values["device"],
        device_cgroup_rules=values["device_cgroup_rule"],
        group_add=values["group_add"],
        ipc=namespace(values["ipc"], "--ipc", ("shareable", "none")),
        pid=values["pid"] if _is_others(values["pid"]) else namespace(values["pid"], "--pid"),
        uts=namespace(values["uts"], "--uts"),
        cgroupns=namespace(values["cgroupns"], "--cgroupns"),
        shm_size=size(values["shm_size"], "--shm-size") or None,
        oom_score_adj=integer(values["oom_score_adj"], "--oom-score-adj"),
        ulimits=values["ulimit"],
        sysctls=values["sysctl"],
        labels=(*labels_of(values["label_file"]), *values["label"]),
        stop_signal=values["stop_signal"] or None,
        stop_timeout=10.0 if values["stop_timeout"] is None else seconds(values["stop_timeout"]),
        init=values["init"],
        health=health(values),
        no_health=values["no_healthcheck"],
        restart=values["restart"] or "no",
        log_max_size=log_max_size,
        log_max_files=log_max_files,
        limits=limits(values),
    )


def health(values: Values) -> Health | None:
    """What is to be checked, if that is said."""
    command = values["health_cmd"]
    given = {
        name: values[f"health_{name}"] for name in ("interval", "timeout", "start_period", "start_interval")
    }
    if not command or command == "none":
        if any(given.values()) or values["health_retries"]:
            raise UsageError(
                "nothing to check", "how often is said, but not what", "name a command with --health-cmd"
            )
        return None
    times: dict[str, Any] = {f"{name}_s": duration(text) for name, text in given.items() if text}
    retries = integer(values["health_retries"], "--health-retries")
    checks = Health(("/bin/sh", "-c", command))._replace(**times)
    return checks if retries is None or retries < 1 else checks._replace(retries=retries)


def duration(text: str) -> float:
    """Seconds: ``1m30s``, ``500ms``, ``2``, as docker has them."""
    import re

    parts = re.findall(r"([0-9]*\.?[0-9]+)(h|ms|us|µs|ns|m|s)", text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return float(sum(float(number) * _SECONDS[unit] for number, unit in parts))
    try:
        return float(positive(text, "a time") or 0.0)
    except UsageError:
        raise UsageError(
            f"bad time {text!r}", "it is no duration", "write it like 30s, 1m30s or 500ms"
        ) from None


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


def limits(values: Values) -> Limits:
    """The limits among *values*; what docker calls unlimited (-1 or 0) is none of its own."""
    return Limits(
        cpus=cpus(values),
        cpu_shares=integer(values["cpu_shares"], "--cpu-shares") or None,
        cpuset_cpus=values["cpuset_cpus"] or None,
        memory=size(values["memory"], "--memory") or None,
        memory_swap=-1
        if values["memory_swap"] == "-1"
        else size(values["memory_swap"], "--memory-swap") or None,
        pids=_unlimited(integer(values["pids_limit"], "--pids-limit")),
        memory_reservation=size(values["memory_reservation"], "--memory-reservation") or None,
    )


def cpus(values: Values) -> float | None:
    """CPUs, from --cpus or from a quota of a period."""
    number = positive(values["cpus"], "--cpus")
    quota = integer(values.get("cpu_quota"), "--cpu-quota")
    period = integer(values.get("cpu_period"), "--cpu-period")
    if not quota and not period:
        return number or None
    if number:
        raise UsageError("--cpus is a quota already", "--cpu-quota and --cpu-period say another", "name one")
    return quota / (period or CPU_PERIOD) if quota and quota > 0 else None


def updates(values: Values) -> tuple[Limits, tuple[str, ...]]:
    """The limits that `update` is to set, and the names of those that are to be lifted."""
    flags = {"cpus": "cpus", "cpu_shares": "cpu_shares", "memory": "memory", "pids_limit": "pids"}
    lifted = tuple(
        name
        for flag, name in flags.items()
        if values[flag] in ("-1", "0") or (flag == "cpus" and values[flag] == "0.0")
    )
    kept = {flag: None if flags.get(flag) in lifted else value for flag, value in values.items()}
    return limits(kept), lifted


def size(text: str | None, option: str) -> int | None:
    """Bytes: ``64m``, ``1.5g``, ``4096``, ``10MiB``; units are powers of 1024."""
    if text is None:
        return None
    number = text.strip().lower()
    number = number.removesuffix("ib") if number.endswith("ib") else number.removesuffix("b")
    unit = number[-1:] if number[-1:] in _UNITS else ""
    number = number.removesuffix(unit).removesuffix(" ")
    whole, _, fraction = number.partition(".")
    if not (number.isascii() and whole.isdecimal() and (fraction.isdecimal() or number == whole)):
        raise UsageError(
            f"bad size {text!r} for {option}", "it is no number with a unit", "write it like 64m or 1g"
        )
    return int(float(number) * (1 << _UNITS[unit]))


def positive(text: str | None, option: str) -> float | None:
    """A number that is not negative."""
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise UsageError(
            f"bad number {text!r} for {option}", "it is no positive number", "write it like 0.5 or 2"
        )
    return number


def seconds(text: str) -> float:
    """Seconds to wait; negative, which becomes -1, is for ever, as docker has it."""
    return -1.0 if text.startswith("-") and text[1:].isdecimal() else positive(text, "a time") or 0.0


def integer(text: str | None, option: str) -> int | None:
    """A whole number."""
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise UsageError(
            f"bad number {text!r} for {option}", "it is no whole number", "write it like 100"
        ) from None


def _unlimited(number: int | None) -> int | None:
    return None if number is None or number <= 0 else number


def environment(entries: Sequence[str], files: Sequence[str]) -> tuple[str, ...]:
    """``NAME=VALUE`` of files, then of options, in order; a bare NAME takes the caller's value, if any."""
    found = [entry for path in files for entry in _read_env_file(path)]
    found += [_checked(entry, "-e") for entry in entries]
    return tuple(entry for entry in map(_filled, found) if entry is not None)


def _read_env_file(path: str) -> Iterable[str]:
    return [_checked(line, path) for line in _lines(path)]


def _lines(path: str) -> list[str]:
    """What a file says, without comments."""
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
            lines = [line.rstrip("\r\n").lstrip() for line in file]
    except OSError as error:
        raise UsageError(
            f"cannot read {path}", error.strerror or str(error), "name a file of NAME=VALUE lines"
        ) from error
    return [line for line in lines if line and not line.startswith("#")]


def labels_of(files: Sequence[str]) -> list[str]:
    """Labels of files, one a line."""
    return [line for path in files for line in _lines(path)]


def log_driver(name: str | None) -> None:
    """Raise UnsupportedError for one by which nothing would be kept here."""
    if name not in (None, "", "json-file", "local", "k8s-file"):
        raise UnsupportedError(
            f"there is no log driver {name}", "a container's log is a file of the store", "see cowl logs"
        )


def _checked(entry: str, where: str) -> str:
    name = entry.partition("=")[0]
    if not name or "\0" in entry or any(letter.isspace() for letter in name):
        raise UsageError(f"bad variable {entry!r} in {where}", "it has no proper name", "write NAME=VALUE")
    return entry


def _filled(entry: str) -> str | None:
    if "=" in entry:
        return entry
    value = os.environ.get(entry)
    return None if value is None else f"{entry}={value}"


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


def namespace(name: str | None, option: str, alike: Sequence[str] = ()) -> Literal["private", "host"]:
    """``private`` or ``host``; *alike* are docker's other words for one of its own."""
    if name in (None, "", "private", *alike):
        return "private"
    if name == "host":
        return "host"
    if _is_others(name):
        raise UnsupportedError(f"cannot use {option} {name}", "--pid and --network alone can be another's")
    raise UnsupportedError(f"cannot use {option} {name}", "only private and host are known")


def _is_others(name: str | None) -> bool:
    return name is not None and name.startswith("container:") and len(name) > len("container:")


def volume(text: str) -> Volume:
    """``[SOURCE:]DESTINATION[:MODE]``: a path of this machine, one relative to here (``./x``), or a name.

    Without a source it is a volume that goes with its container.
    """
    source, colon, rest = text.partition(":")
    destination, _, mode = rest.partition(":")
    if not colon:
        source, destination = "", text
    if not destination or (colon and not source):
        raise UsageError(
            f"bad volume {text!r}",
            "it does not name both sides",
            "write it like /here:/there, name:/there or /here:/there:ro",
        )
    words = mode.split(",")
    chosen = [word for word in words if word not in _IGNORED_MODES]
    if len(chosen) > 1 or (chosen and chosen[0] not in _MODES):
        raise UsageError(
            f"bad mode {mode!r} of volume {text!r}", "it is neither ro nor rw", "end it with :ro or :rw"
        )
    read_only = _MODES[chosen[0]] if chosen else False
    if source.startswith(("/", ".")):
        return Volume(os.path.abspath(source), destination, read_only)
    return Volume("", destination, read_only, source, not source, "nocopy" not in words)


def mounted(texts: Sequence[str]) -> tuple[tuple[Volume, ...], tuple[str, ...]]:
    """The volumes, and the directories in memory, of ``type=…,src=…,dst=…``."""
    volumes: list[Volume] = []
    tmpfs: list[str] = []
    for text in texts:
        given = dict(word.partition("=")[::2] for word in text.split(","))
        kind = given.pop("type", "volume")
        source = _first(given, "source", "src")
        destination = _first(given, "destination", "dst", "target")
        read_only = _is_set(given, "readonly", "ro")
        plain = not _is_set(given, "volume-nocopy")
        given.pop("bind-propagation", None)
        size, mode = given.pop("tmpfs-size", ""), given.pop("tmpfs-mode", "")
        if (
            given
            or kind not in ("bind", "volume", "tmpfs")
            or not destination
            or (kind == "bind") > bool(source)
        ):
            raise UsageError(
                f"bad mount {text!r}",
                f"it has {', '.join(given)}" if given else "it does not say what is shown where",
                "write it like type=bind,src=/here,dst=/there,ro",
            )
        if kind == "tmpfs":
            options = ",".join(
                filter(None, (size and f"size={size}", mode and f"mode={mode}", "ro" if read_only else ""))
            )
            tmpfs.append(f"{destination}:{options}" if options else destination)
        elif kind == "bind":
            volumes.append(Volume(os.path.abspath(source), destination, read_only))
        else:
            volumes.append(Volume("", destination, read_only, source, not source, plain))
    return tuple(volumes), tuple(tmpfs)


def _first(given: dict[str, str], *names: str) -> str:
    """The value of one of *names*, which are taken out."""
    return next(filter(None, [given.pop(name, "") for name in names]), "")


def _is_set(given: dict[str, str], *names: str) -> bool:
    """Whether one of *names* is there and not false; they are taken out."""
    return any([given.pop(name, "false") in ("", "true", "1") for name in names])  # noqa: C419 - each is taken


def _split(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for text in names for name in text.split(",") if name)
