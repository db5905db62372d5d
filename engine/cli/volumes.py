"""`volume`: named volumes, which outlive the containers that show them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence

import click

from engine.cli import output, report
from engine.cli.completion import complete_volumes
from engine.cli.flags import Filters, filter_option, form_of, format_option, print_options
from engine.cli.mounts import driver
from engine.cli.output import Column
from engine.cli.session import Session
from engine.cli.spelling import DockersGroup
from engine.cli.templates import Known
from engine.engine import Engine
from engine.errors import CowlError, UsageError
from engine.model import VolumeInfo

FILTERS = ("name", "label", "dangling", "driver")
DRIVER = "local"
TITLES = {"Name": "VOLUME NAME", "CreatedAt": "CREATED AT"}

several = click.argument(
    "names", nargs=-1, required=True, metavar="VOLUME...", shell_complete=complete_volumes
)


@click.group("volume", cls=DockersGroup)
def volume_command() -> None:
    """List, make and remove named volumes."""


def _labels(volume: VolumeInfo) -> dict[str, str]:
    return dict(label.partition("=")[::2] for label in volume.labels)


def row(volume: VolumeInfo) -> Known:
    """A volume as ``volume ls --format`` knows it."""
    labels = _labels(volume)
    return Known(
        Name=volume.name,
        Driver=DRIVER,
        Scope="local",
        Mountpoint=volume.path,
        Labels=",".join(f"{name}={value}" for name, value in labels.items()),
        Label=lambda name: labels.get(name, ""),
        Links=str(len(volume.containers)),
        Size="N/A",
        Containers=", ".join(volume.containers),
        CreatedAt=volume.created,
    )


def inspected(volume: VolumeInfo) -> Known:
    """The document of ``volume inspect``, with docker's fields before cowl's own."""
    return Known(
        {
            **output.plain(volume),
            "Name": volume.name,
            "Driver": DRIVER,
            "Mountpoint": volume.path,
            "CreatedAt": volume.created,
            "Labels": _labels(volume),
            "Options": None,
            "Scope": "local",
        }
    )


def chosen(volumes: Sequence[VolumeInfo], wanted: Filters) -> list[VolumeInfo]:
    """Those of *volumes* for which all of *wanted* is true. Raises UsageError."""
    dangling = wanted.truth("dangling")
    names, drivers = wanted.values("name"), wanted.values("driver")
    return [
        volume
        for volume in volumes
        if (dangling is None or dangling == (not volume.containers))
        and (not names or any(_is_called(volume.name, pattern) for pattern in names))
        and (not drivers or DRIVER in drivers)
        and wanted.has_labels(_labels(volume))
    ]


def _is_called(name: str, pattern: str) -> bool:
    try:
        return re.search(pattern, name) is not None
    except re.error as error:
        raise UsageError(f"bad filter name={pattern}", str(error), "it is a regular expression") from error


@volume_command.command("ls")
@filter_option(FILTERS, "-f")
@format_option("table {{.Name}}\\t{{.Mountpoint}}")
@print_options
@click.pass_obj
def list_command(
    session: Session, filters: tuple[str, ...], template: str | None, quiet: bool, as_json: bool
) -> None:
    """List volumes and who uses them."""
    wanted = Filters(filters, FILTERS)
    form = form_of(template, TITLES)
    with session.open() as engine:
        volumes = chosen(engine.volumes.list(), wanted)
    if quiet:
        for volume in volumes:
            print(volume.name)
    elif as_json:
        output.emit([volume._asdict() for volume in volumes])
    elif form is not None:
        form.write([row(volume) for volume in volumes])
    else:
        rows = [
            [
                output.short(volume.name) if volume.anonymous else volume.name,
                f"{output.age_text(volume.created)} ago",
                ", ".join(volume.containers) or "-",
            ]
            for volume in volumes
        ]
        output.write_table([Column("VOLUME"), Column("CREATED"), Column("USED BY")], rows)


@volume_command.command("create")
@click.option("-l", "--label", "labels", metavar="NAME=VALUE", multiple=True, help="Attach a label.")
@click.option(
    "-d", "--driver", "chosen_driver", metavar="NAME", hidden=True, help="local, which is what there is."
)
@click.option("-o", "--opt", "options", metavar="NAME=VALUE", multiple=True, hidden=True)
@click.argument("name", required=False)
@click.pass_obj
def create_command(
    session: Session,
    labels: tuple[str, ...],
    chosen_driver: str | None,
    options: tuple[str, ...],
    name: str | None,
) -> None:
    """Make a volume and print its name."""
    driver(chosen_driver)
    if options:
        raise UsageError(
            f"cannot make a volume with {options[0]}",
            "volumes are directories of the store",
            "mount on this machine what it is to show, and show that by -v",
        )
    with session.open() as engine:
        print(engine.volumes.create(name, labels))


@volume_command.command("inspect")
@format_option("{{.Mountpoint}}", "-f")
@several
@click.pass_obj
def inspect_command(session: Session, template: str | None, names: tuple[str, ...]) -> int:
    """Print all that is known of volumes."""
    form = None if template == "json" else form_of(template, TITLES)
    found, code = [], 0
    with session.open() as engine:
        for name in names:
            try:
                found.append(engine.volumes.get(name))
            except CowlError as error:  # docker prints the others
                code = report.fail(error)
    if form is not None:
        form.write([inspected(volume) for volume in found])
    elif template:
        print(json.dumps([inspected(volume) for volume in found]))  # one array, as docker has it
    else:
        output.emit_indented([volume._asdict() for volume in found])
    return code


@volume_command.command("rm")
@click.option("-f", "--force", is_flag=True, help="It is fine if there is none.")
@several
@click.pass_obj
def remove_command(session: Session, force: bool, names: tuple[str, ...]) -> int:
    """Remove volumes with all that is in them; refused where a container shows one."""
    with session.open() as engine:
        known = {volume.name for volume in engine.volumes.list()}
        return _remove(engine, [name for name in names if name in known or not force])


def _remove(engine: Engine, names: list[str]) -> int:
    """Remove volumes one by one and print their names; a failure does not spare the others."""
    code = 0
    for name in names:
        try:
            engine.volumes.remove(name)
        except CowlError as error:
            code = report.fail(error)
        else:
            print(name, flush=True)
    return code


@volume_command.command("prune")
@click.option("-a", "--all", "everything", is_flag=True, help="Also those that have a name of their own.")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@filter_option(("label", "all"))
@click.pass_obj
def prune_command(
    session: Session, everything: bool, force: bool, dry_run: bool, filters: tuple[str, ...]
) -> int:
    """Remove volumes that no container shows."""
    wanted = Filters(filters, ("label", "all"))
    everything = everything or bool(wanted.truth("all"))
    with session.open() as engine:
        names = [volume.name for volume in chosen(engine.volumes.unused(everything), wanted)]
        if dry_run or not names:
            for name in names:
                print(name)
            return 0
        if not force:
            _ask(names)
        return _remove(engine, names)


def _ask(names: list[str]) -> None:
    """Have a person say yes, or raise UsageError."""
    if not sys.stdin.isatty():
        raise UsageError("nobody to ask", "standard input is no terminal", "say -f to remove them")
    for name in names:
        click.echo(name, err=True)
    click.confirm(f"Remove {len(names)} volumes with all that is in them?", abort=True, err=True)
