"""What can stand behind an option, and the names that commands take: for the shell's completion."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

import click
from click.shell_completion import CompletionItem

from engine.cli.session import Session

Completion: TypeAlias = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

_MODES = ("private", "host")
_WORDS: dict[str, tuple[str, ...]] = {
    "attach": ("stdin", "stdout", "stderr"),
    "cgroupns": _MODES,
    "filters": (
        *("id=", "name=", "label=", "status=", "exited=", "ancestor=", "health=", "network=", "volume="),
        *("publish=", "expose=", "before=", "since="),
    ),
    "ipc": (*_MODES, "none", "shareable"),
    "log_driver": ("json-file", "local", "none"),
    "log_opt": ("max-size=", "max-file="),
    "mount": ("type=bind,src=", "type=volume,src=", "type=tmpfs,dst="),
    "network": ("bridge", "none", "host"),
    "pid": _MODES,
    "pull": ("missing", "always", "never"),
    "restart": ("no", "always", "unless-stopped", "on-failure"),
    "security_opt": (
        *("no-new-privileges", "no-new-privileges=false", "seccomp=", "seccomp=unconfined", "mask="),
        *("unmask=ALL", "systempaths=unconfined", "label=disable", "apparmor=unconfined"),
    ),
    "stop_signal": ("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGKILL"),
    "template": ("json", "table ", "{{json .}}"),
    "userns": ("host",),
    "uts": _MODES,
}
"""By the option's name in the code: what it can be, or how that begins."""
_FILES = {"env_file", "label_file", "cidfile", "device"}
_OF_OTHERS = {"network": "container:", "ipc": "container:", "pid": "container:", "volumes_from": ""}
"""Options that take another container, and what stands before its name."""


def complete_images(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Tags that begin with what is typed."""
    with _session_of(context).open() as engine:
        names = [image.name for image in engine.images.list()]
    return [CompletionItem(name) for name in names if name.startswith(begun)]


def complete_containers(
    context: click.Context, parameter: click.Parameter, begun: str
) -> list[CompletionItem]:
    """Containers whose names begin with what is typed, with their states."""
    with _session_of(context).open() as engine:
        containers = engine.containers.list()
    return [CompletionItem(each.name, help=each.state) for each in containers if each.name.startswith(begun)]


def complete_volumes(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Volumes whose names begin with what is typed."""
    with _session_of(context).open() as engine:
        return [CompletionItem(each.name) for each in engine.volumes.list() if each.name.startswith(begun)]


def _session_of(context: click.Context) -> Session:
    """What the options before the command say, for completion."""
    given = context.find_root().params
    return Session(given.get("root"), given.get("cgroup_parent"))


def completing(dest: str) -> Completion | None:
    """What completes the value of the option *dest*, if something does."""
    known = dest in _WORDS or dest in _FILES or dest in _OF_OTHERS or dest in _WITH_NAMES
    return (lambda context, parameter, begun: _offered(context, parameter, dest, begun)) if known else None


def _offered(
    context: click.Context, parameter: click.Parameter, dest: str, begun: str
) -> list[CompletionItem]:
    if dest in _FILES or (dest == "volume" and begun.startswith(("/", "."))):
        return [CompletionItem(begun, type="file")]
    words: list[str] = [*_WORDS.get(dest, ()), *_WITH_NAMES.get(dest, tuple)()]
    found = [CompletionItem(word) for word in words if word.lower().startswith(begun.lower())]
    if dest == "volume":
        return [CompletionItem(f"{item.value}:") for item in complete_volumes(context, parameter, begun)]
    before = _OF_OTHERS.get(dest)
    if before is None or not begun.startswith(before):
        # Names are looked up once it is said that one is meant: that takes longer.
        return [*found, *([CompletionItem(before)] if before and before.startswith(begun) else [])]
    names = complete_containers(context, parameter, begun.removeprefix(before))
    return [*found, *(CompletionItem(before + item.value, help=item.help) for item in names)]


def _capabilities() -> Iterable[str]:
    from engine.kernel.capabilities import NUMBERS

    return ("ALL", *(name.removeprefix("CAP_") for name in NUMBERS))


def _limits() -> Iterable[str]:
    from engine.kernel.process import RLIMITS

    return tuple(f"{name.removeprefix('RLIMIT_').lower()}=" for name in RLIMITS)


_WITH_NAMES: dict[str, Callable[[], Iterable[str]]] = {
    "cap_add": _capabilities,
    "cap_drop": _capabilities,
    "ulimit": _limits,
    "volume": tuple,
}
