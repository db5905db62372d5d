"""`ps`: which containers there are, as a table, as JSON, or as a template has them."""

from __future__ import annotations

from engine.cli import output
from engine.cli.forest import STATES, state_text
from engine.cli.output import Column, Piece
from engine.cli.ports import ports_text
from engine.errors import UsageError
from engine.model import JSON, Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Final, TypeAlias

    from engine.cli.options import Values
    from engine.cli.session import Session
    from engine.engine import Engine

    Action: TypeAlias = Callable[[Session, Values, Sequence[str]], int]

MAX_COMMAND = 30
_TABLE = "table"
_TITLES = {"ID": "CONTAINER ID", "RunningFor": "CREATED", "CreatedAt": "CREATED AT"}
_STATES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")
_SHOWN = ("running", "paused", "restarting")
"""States that are listed without being asked for."""


def ps(session: Session, given: Values, arguments: Sequence[str]) -> int:
    """List containers, newest first."""
    wanted, last = _filters(given["filters"]), _last(given["last"])
    template, no_trunc = given["template"], given["no_trunc"]
    with session.open() as engine:
        every = sorted(engine.containers.list(), key=lambda each: each.created, reverse=True)
        containers = every
        if "ancestor" in wanted:
            below = _below(engine, every, wanted.pop("ancestor"))
            containers = [each for each in every if each.id in below]
        containers = [each for each in containers if _is_wanted(each, wanted, every)]
        if given["latest"] or last is not None:
            containers = containers[: 1 if given["latest"] else last]
        elif not given["everything"] and not wanted.keys() & {"status", "exited"}:
            containers = [each for each in containers if each.state in _SHOWN]
        if given["quiet"]:
            for container in containers:
                print(container.id if no_trunc else output.short(container.id))
            return 0
        size = _sizes(engine, containers) if given["sizes"] or (template and ".Size" in template) else {}
    if given["as_json"]:
        output.emit([document(each, size.get(each.id)) for each in containers])
    elif template and template != _TABLE:
        _write_formatted(containers, template, size, no_trunc)
    else:
        _write_containers(containers, size, no_trunc)
    return 0


ACTIONS: Final[Mapping[str, Action]] = {"ps": ps}


def _last(text: str | None) -> int | None:
    """How many to list; None, as docker's -1, is all that are shown anyway."""
    if text is None or text == "-1":
        return None
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"bad number of containers {text!r}", "it is no whole number", "write -n 5")
    return int(text)


def document(container: Container, size: int | None = None) -> JSON:
    """A container for programs; how it was launched is `inspect`'s."""
    found: JSON = container._asdict()
    del found["options"]
    return found if size is None else {**found, "size": size}


def _sizes(engine: Engine, containers: Sequence[Container]) -> dict[str, int]:
    return {each.id: engine.containers.size(each.id) for each in containers}


def _filters(texts: Sequence[str]) -> dict[str, list[str]]:
    """Values by name: any value of a name will do, and every name has to. Of labels every one has to."""
    found: dict[str, list[str]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if name not in _TESTS or not equals:
            raise UsageError(
                f"bad filter {text!r}", f"it is none of {', '.join(_TESTS)}", "write it like status=exited"
            )
        if name == "status" and value not in _STATES:
            raise UsageError(f"bad filter {text!r}", "there is no such state", f"choose {', '.join(_STATES)}")
        found.setdefault(name, []).append(value)
    return found


def _is_wanted(container: Container, wanted: Mapping[str, list[str]], every: Sequence[Container]) -> bool:
    for name, values in wanted.items():
        if name in ("before", "since"):
            moments = [each.created for value in values for each in every if _is_called(each, value)]
            if not moments:
                raise UsageError(f"there is no container {values[0]}", hint="look at cowl ps -a")
            other = moments[0]
            if container.created == other or (container.created > other) != (name == "since"):
                return False
        elif not (all if name == "label" else any)(_TESTS[name](container, value) for value in values):
            return False
    return True


def _is_called(container: Container, value: str) -> bool:
    return container.name == value or (bool(value) and container.id.startswith(value))


def _has_label(container: Container, value: str) -> bool:
    name, equals, text = value.partition("=")
    return name in container.labels and (not equals or container.labels[name] == text)


def _matches(container: Container, value: str) -> bool:
    import re

    try:
        return any(re.search(value, name) for name in (container.name, f"/{container.name}"))
    except re.error as error:
        raise UsageError(f"bad filter name={value}", str(error), "it is a regular expression") from error


def _descends(container: Container, value: str) -> bool:
    """Whether it was made from what is called *value* now; see `_below` for what lies under that."""
    from engine.oci import reference

    names = {container.image, reference.normalise(container.image)}
    return bool({value, f"{value}:latest"} & names) or _is_node(container.chain_id, value)


def _is_node(chain_id: str, value: str) -> bool:
    return len(value) >= 4 and chain_id.removeprefix("sha256:").startswith(value.removeprefix("sha256:"))


def _below(engine: Engine, containers: Sequence[Container], values: Sequence[str]) -> set[str]:
    """IDs of those of *containers* whose image is one of *values*, or stands on one (docker's ancestor)."""
    nodes = {node.chain_id: node for node in engine.images.forest()}
    found = {each.id for each in containers if any(_descends(each, value) for value in values)}
    for container in containers:
        here = nodes.get(container.chain_id)
        while here is not None and container.id not in found:
            for value in values:
                if {value, f"{value}:latest"} & set(here.tags) or _is_node(here.chain_id, value):
                    found.add(container.id)
            here = nodes.get(here.parent) if here.parent else None
    return found


def _has_port(container: Container, value: str, *, exposed: bool) -> bool:
    """Whether a port of ``80``, ``80/udp`` or ``80-90/tcp`` is published, or is at least said to be there."""
    numbers, _, protocol = value.partition("/")
    first, dash, last = numbers.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()):
        raise UsageError(f"bad filter for ports {value!r}", "it is no port", "write 80, 80/udp or 80-90/tcp")
    wanted = range(int(first), int(last or first) + 1)
    options = container.options
    found = {(port.container_port, port.protocol) for port in (*options.publish, *container.ports)}
    if exposed:
        for text in options.expose:
            ports, _, kind = text.partition("/")
            begin, _, end = ports.partition("-")
            found |= {(number, kind or "tcp") for number in range(int(begin), int(end or begin) + 1)}
    return any(number in wanted and kind == (protocol or "tcp") for number, kind in found)


_TESTS: dict[str, Callable[[Container, str], bool]] = {
    "id": lambda container, value: container.id.startswith(value),
    "name": _matches,
    "label": _has_label,
    "status": lambda container, value: container.state == value,
    "exited": lambda container, value: container.state == "exited" and str(container.exit_code) == value,
    "ancestor": _descends,
    "health": lambda container, value: (container.health or "none") == value,
    "network": lambda container, value: container.options.network == value,
    "volume": lambda container, value: any(
        value in (each.name, each.source, each.destination) for each in container.options.volumes
    ),
    "publish": lambda container, value: _has_port(container, value, exposed=False),
    "expose": lambda container, value: _has_port(container, value, exposed=True),
    "before": _is_called,
    "since": _is_called,
}


def _write_formatted(
    containers: Sequence[Container], text: str, size: Mapping[str, int], no_trunc: bool
) -> None:
    from engine.cli import dockerwords, formatted

    formatted.Form(text, _TITLES).write(
        [
            dockerwords.row(
                each, output.size_text(size[each.id]) if each.id in size else None, whole=no_trunc
            )
            for each in containers
        ]
    )


def _write_containers(containers: Sequence[Container], size: Mapping[str, int], no_trunc: bool) -> None:
    rows: list[list[Piece | str]] = []
    for each in containers:
        command = " ".join(each.command)
        if not no_trunc and len(command) > MAX_COMMAND:
            command = command[: MAX_COMMAND - 1] + "…"
        identity = each.id if no_trunc else output.short(each.id)
        status = Piece(state_text(each), STATES[each.state][1])
        rows.append(
            [
                Piece(identity, "cyan"),
                each.image,
                command,
                f"{output.age_text(each.created)} ago",
                status,
                ports_text(each.ports),
                each.name,
                *([output.size_text(size[each.id])] if size else []),
            ]
        )
    titles = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAME"]
    if size:
        titles.append("SIZE")
    output.write_table([Column(title) for title in titles], rows)
