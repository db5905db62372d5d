"""Commands that look at what goes on: `port`, `logs`, `top`, `events`."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Container, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import click

from engine.cli import output
from engine.cli.containers import one
from engine.cli.flags import json_option
from engine.cli.output import Column
from engine.cli.ports import place
from engine.cli.session import Session
from engine.containers.processes import processes
from engine.errors import ConflictError, CowlError, NotFoundError, UsageError
from engine.model import Event

_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ms|us|µs|ns|[smhd])")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


@click.command("port")
@one
@click.argument("port", required=False, metavar="[PORT[/PROTOCOL]]")
@json_option
@click.pass_obj
def port_command(session: Session, container: str, port: str | None, as_json: bool) -> None:
    """Show at which ports of this machine a container is reached."""
    with session.open() as engine:
        found = engine.containers.get(container)
    number, _, protocol = (port or "").partition("/")
    wanted = [
        each
        for each in found.ports
        if port is None or (str(each.container_port), each.protocol) == (number, protocol or "tcp")
    ]
    if port is not None and not wanted:
        raise NotFoundError(
            f"the port {port} of {found.name} is not published", hint="cowl port " + found.name
        )
    if as_json:
        output.emit([each._asdict() for each in wanted])
        return
    for each in wanted:
        print(place(each) if port else f"{each.container_port}/{each.protocol} -> {place(each)}")


@click.command("logs")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until it ends.")
@click.option("-n", "--tail", metavar="N", help="Only the last N lines; all is every one.")
@click.option("--since", metavar="TIME", help="Not before: RFC 3339, seconds since 1970, or 10m ago.")
@click.option("--until", metavar="TIME", help="Not after.")
@click.option("-t", "--timestamps", is_flag=True, help="Put its time before each line.")
@json_option
@one
@click.pass_obj
def logs_command(
    session: Session,
    follow: bool,
    tail: str | None,
    since: str | None,
    until: str | None,
    timestamps: bool,
    as_json: bool,
    container: str,
) -> None:
    """Print what a container has said, each stream on its own."""
    with session.open() as engine:
        lines = engine.containers.logs(
            container, tail=_tail(tail), since=_moment(since), until=_moment(until), follow=follow
        )
        for line in lines:
            if as_json:
                output.emit_line(line)
                continue
            stream = sys.stderr if line.stream == "stderr" else sys.stdout
            text = output.visible(line.text) if stream.isatty() else line.text
            stream.write(f"{line.time} {text}\n" if timestamps else f"{text}\n")
            if follow:
                stream.flush()


def _tail(text: str | None) -> int | None:
    if text is None or text == "all" or (text.startswith("-") and text[1:].isdecimal()):
        return None
    if not text.isdecimal():
        raise UsageError(f"bad number of lines {text!r}", "it is no whole number", "write -n 100 or -n all")
    return int(text)


def _moment(text: str | None) -> str | None:
    """An RFC 3339 time in UTC for what docker takes: one with an offset, seconds since 1970, a duration."""
    if text is None:
        return None
    moment = _ago(text) or _written(text)
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _ago(text: str) -> datetime | None:
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    try:
        return datetime.now(UTC) - timedelta(seconds=sum(float(n) * _SECONDS[unit] for n, unit in parts))
    except OverflowError:  # before there were years
        return datetime.min.replace(tzinfo=UTC)


def _written(text: str) -> datetime:
    try:
        return datetime.fromtimestamp(float(text), UTC)
    except (ValueError, OverflowError):
        pass
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"bad time {text!r}", "it is no time", "write 2026-05-01T12:00:00Z, seconds since 1970, or 10m"
        ) from None


@click.command("top", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@json_option
@one
@click.argument("options", nargs=-1, metavar="[PS-OPTION...]", type=click.UNPROCESSED)
@click.pass_obj
def top_command(session: Session, as_json: bool, container: str, options: tuple[str, ...]) -> None:
    """List the processes in a running container: by cowl, or as the host's ps has them."""
    with session.open() as engine:
        found = engine.containers.inspect(container)
    if found["cgroup"] is None or found["state"] not in ("running", "paused"):
        raise ConflictError(f"the container {container} is not running", hint=f"cowl start {container}")
    running = processes(found["cgroup"])
    if options:
        for line in _listed_by_ps(options, {each.pid for each in running}):
            print(output.visible(line) if output.on_terminal() else line)
        return
    if as_json:
        output.emit(running)
        return
    columns = [
        Column("PID", True),
        Column("PPID", True),
        Column("UID", True),
        Column("TIME", True),
        Column("COMMAND"),
    ]
    output.write_table(
        columns,
        [
            [str(each.pid), str(each.parent), str(each.uid), f"{each.cpu_seconds:.2f}s", each.command]
            for each in running
        ],
    )


def _listed_by_ps(options: Sequence[str], pids: Container[int]) -> Iterator[str]:
    """The lines of the host's ``ps`` that are about *pids*, its title first."""
    try:
        done = subprocess.run(["ps", *options], capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise CowlError("cannot run ps", error.strerror or str(error), "install procps") from error
    title, *lines = done.stdout.splitlines() or [""]
    if done.returncode or "PID" not in title.split():
        why = done.stderr.strip().partition("\n")[0].removeprefix("error: ") or "its output has no column PID"
        raise UsageError(f"bad options of ps: {' '.join(options)}", why, "write them like aux or -o pid,args")
    place = title.split().index("PID")
    yield title
    for line in lines:
        words = line.split(None, place + 1)
        if len(words) > place and words[place].isdecimal() and int(words[place]) in pids:
            yield line


@click.command("events")
@click.option("--since", metavar="TIME", help="From then on: RFC 3339, seconds since 1970, or 10m ago.")
@click.option("--until", metavar="TIME", help="Until then, and no longer.")
@click.option(
    "-f",
    "--filter",
    "filters",
    metavar="NAME=VALUE",
    multiple=True,
    help="Only these: type, event, container or image.",
)
@json_option
@click.pass_obj
def events_command(
    session: Session, since: str | None, until: str | None, filters: tuple[str, ...], as_json: bool
) -> None:
    """Print what is done to containers and images, as it happens."""
    wanted = _filters(filters)
    end = _moment(until)
    with session.open() as engine:
        begin = _moment("0s") if since is None and until is None else _moment(since)
        for event in engine.events(since=begin, until=end, follow=True):
            if not all(_matches(event, name, values) for name, values in wanted.items()):
                continue
            if as_json:
                output.emit_line(event)
            else:
                print(_event_text(event))
            sys.stdout.flush()


def _filters(texts: Sequence[str]) -> dict[str, set[str]]:
    """Values by name: any value of a name will do, and every name has to."""
    found: dict[str, set[str]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if name not in ("type", "event", "container", "image") or not equals:
            raise UsageError(
                f"bad filter {text!r}",
                "it is none of type, event, container, image",
                "write it like event=die",
            )
        found.setdefault(name, set()).add(value)
    return found


def _matches(event: Event, name: str, values: set[str]) -> bool:
    if name == "type":
        return event.type in values
    if name == "event":
        return event.action in values
    if event.type != name:
        return name == "image" and event.attributes.get("image") in values
    return any(value == event.name or (value and event.id.startswith(value)) for value in values)


def _event_text(event: Event) -> str:
    """One line, in docker's order."""
    attributes = [f"{key}={value}" for key, value in event.attributes.items()]
    if event.name:
        attributes.append(f"name={event.name}")
    more = f" ({', '.join(attributes)})" if attributes else ""
    identity = f" {output.short(event.id)}" if event.id else ""
    return output.visible(f"{event.time} {event.type} {event.action}{identity}{more}")
