"""Commands that look at what goes on: `port`, `logs`, `top`, `events`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Container, Iterator, Sequence
from datetime import datetime

import click

from engine.cli import output
from engine.cli.containers import one
from engine.cli.flags import Filters, filter_option, form_of, format_option, json_option
from engine.cli.moments import moment
from engine.cli.output import Column
from engine.cli.ports import place
from engine.cli.session import Session
from engine.cli.templates import Known
from engine.containers.processes import processes
from engine.errors import ConflictError, CowlError, NotFoundError, UsageError
from engine.model import Event, LogLine

_ATTRIBUTES = {"exit_code": "exitCode"}
"""docker's words for some of ours."""
FILTERS = ("type", "event", "container", "image", "volume")


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
            container, tail=_tail(tail), since=moment(since), until=moment(until), follow=follow
        )
        if as_json:
            for line in lines:
                output.emit_line(line)
        else:
            _write_log(lines, timestamps=timestamps, at_once=follow)


def _write_log(lines: Iterator[LogLine], *, timestamps: bool, at_once: bool) -> None:
    """Write them as they were said, each stream to its own: what had no newline gets none."""
    begun: dict[str, str] = {}
    last = sys.stdout
    for line in lines:
        stream = sys.stderr if line.stream == "stderr" else sys.stdout
        if stream is not last:  # both may be one file
            last.flush()
            last = stream
        text = output.visible(line.text) if stream.isatty() else line.text
        stamp = f"{line.time} " if timestamps and begun.pop(line.stream, "") != line.time else ""
        stream.write(f"{stamp}{text}\n" if line.ended else f"{stamp}{text}")
        if not line.ended:
            begun[line.stream] = line.time
        if at_once:
            stream.flush()
    last.flush()


def _tail(text: str | None) -> int | None:
    if text is None or text == "all" or (text.startswith("-") and text[1:].isdecimal()):
        return None
    if not text.isdecimal():
        raise UsageError(f"bad number of lines {text!r}", "it is no whole number", "write -n 100 or -n all")
    return int(text)


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
@filter_option(FILTERS, "-f")
@format_option("{{.Time}} {{.Type}} {{.Action}} {{.Actor.ID}}")
@json_option
@click.pass_obj
def events_command(
    session: Session,
    since: str | None,
    until: str | None,
    filters: tuple[str, ...],
    template: str | None,
    as_json: bool,
) -> None:
    """Print what is done to containers, images and volumes, as it happens."""
    wanted = Filters(filters, FILTERS)
    form = form_of(template, {})
    end = moment(until)
    with session.open() as engine:
        begin = moment("0s") if since is None and until is None else moment(since)
        for event in engine.events(since=begin, until=end, follow=True):
            if not _is_wanted(event, wanted):
                continue
            if as_json:
                output.emit_line(event)
            elif form is not None:
                form.write([event_words(event)])
            else:
                print(_event_text(event))
            sys.stdout.flush()


def _is_wanted(event: Event, wanted: Filters) -> bool:
    """Whether any value of each name will do."""
    return all(not wanted.values(name) or _matches(event, name, wanted.values(name)) for name in FILTERS)


def _matches(event: Event, name: str, values: Sequence[str]) -> bool:
    if name == "type":
        return event.type in values
    if name == "event":
        return event.action in values
    if event.type != name:
        return name == "image" and event.attributes.get("image") in values
    return any(value == event.name or (value and event.id.startswith(value)) for value in values)


def event_words(event: Event) -> Known:
    """An event as ``events --format`` knows it, in docker's words."""
    moment_ns = _nanoseconds(event.time)
    attributes = {**event.attributes, **({"name": event.name} if event.name else {})}
    attributes = {_ATTRIBUTES.get(key, key): value for key, value in attributes.items()}
    return Known(
        {
            "status": event.action,
            "id": event.id,
            "from": event.attributes.get("image", ""),
            "Type": event.type,
            "Action": event.action,
            "Actor": Known(ID=event.id or event.name, Attributes=attributes),
            "scope": "local",
            "time": moment_ns // 1_000_000_000,
            "timeNano": moment_ns,
        }
    )


def _nanoseconds(time: str) -> int:
    """Since 1970, of an RFC 3339 time in UTC."""
    whole, _, fraction = time.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(f"{whole}+00:00").timestamp())
    return seconds * 1_000_000_000 + int(fraction.ljust(9, "0")[:9] or 0)


def _event_text(event: Event) -> str:
    """One line, in docker's order."""
    attributes = [f"{key}={value}" for key, value in event.attributes.items()]
    if event.name:
        attributes.append(f"name={event.name}")
    more = f" ({', '.join(attributes)})" if attributes else ""
    identity = f" {output.short(event.id)}" if event.id else ""
    return output.visible(f"{event.time} {event.type} {event.action}{identity}{more}")
