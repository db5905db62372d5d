"""`volume`: named volumes, which outlive the containers that show them."""

from __future__ import annotations

import sys

import click
from click.shell_completion import CompletionItem

from engine.cli import output, report
from engine.cli.flags import print_options
from engine.cli.group import session_of
from engine.cli.output import Column
from engine.cli.session import Session
from engine.cli.spelling import DockersGroup
from engine.engine import Engine
from engine.errors import CowlError, UsageError


def complete_volumes(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Volumes whose names begin with what is typed."""
    with session_of(context).open() as engine:
        return [CompletionItem(each.name) for each in engine.volumes.list() if each.name.startswith(begun)]


several = click.argument(
    "names", nargs=-1, required=True, metavar="VOLUME...", shell_complete=complete_volumes
)


@click.group("volume", cls=DockersGroup)
def volume_command() -> None:
    """List, make and remove named volumes."""


@volume_command.command("ls")
@print_options
@click.pass_obj
def list_command(session: Session, quiet: bool, as_json: bool) -> None:
    """List volumes and who uses them."""
    with session.open() as engine:
        volumes = engine.volumes.list()
    if quiet:
        for volume in volumes:
            print(volume.name)
    elif as_json:
        output.emit([volume._asdict() for volume in volumes])
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
@click.argument("name", required=False)
@click.pass_obj
def create_command(session: Session, labels: tuple[str, ...], name: str | None) -> None:
    """Make a volume and print its name."""
    with session.open() as engine:
        print(engine.volumes.create(name, labels))


@volume_command.command("inspect")
@several
@click.pass_obj
def inspect_command(session: Session, names: tuple[str, ...]) -> None:
    """Print all that is known of volumes."""
    with session.open() as engine:
        output.emit_indented([engine.volumes.get(name)._asdict() for name in names])


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
@click.pass_obj
def prune_command(session: Session, everything: bool, force: bool, dry_run: bool) -> int:
    """Remove volumes that no container shows."""
    with session.open() as engine:
        names = [volume.name for volume in engine.volumes.unused(everything)]
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
