"""Commands on root file systems as one plain tar: no layers, no history, no configuration."""

from __future__ import annotations

import sys

import click

from engine.cli import output
from engine.cli.completion import complete_containers
from engine.cli.flags import print_options, quiet_option
from engine.cli.progress import ProgressLine
from engine.cli.session import Session
from engine.errors import UsageError


@click.command("import")
@click.option("-m", "--message", default="", metavar="TEXT", help="Why; the node's comment.")
@click.option(
    "-c",
    "--change",
    "changes",
    multiple=True,
    metavar="INSTRUCTION",
    help="Say how to run it: 'CMD …', 'ENV A=B'.",
)
@print_options
@click.argument("source", metavar="FILE|-")
@click.argument("name")
@click.pass_obj
def import_command(
    session: Session,
    message: str,
    changes: tuple[str, ...],
    quiet: bool,
    as_json: bool,
    source: str,
    name: str,
) -> None:
    """Make an image NAME of the tar of a root file system; prints its chain ID.

    The tar may be compressed. The same tree gives the same chain ID, however its tar was written.
    """
    if source == "-" and sys.stdin.isatty():
        raise UsageError("nothing to import", "standard input is a terminal", "name a tar")
    with session.open() as engine, ProgressLine("import", quiet=quiet) as progress:
        node = engine.images.import_tree(
            sys.stdin.buffer if source == "-" else source,
            name,
            message=message,
            changes=changes,
            progress=progress,
        )
    if as_json:
        output.emit(node)
    else:
        print(node.chain_id)


@click.command("export")
@click.option("-o", "--output", "destination", metavar="FILE", help="Write there; otherwise standard output.")
@quiet_option
@click.argument("container", metavar="CONTAINER|NODE", shell_complete=complete_containers)
@click.pass_obj
def export_command(session: Session, destination: str | None, quiet: bool, container: str) -> None:
    """Write the whole tree of a container as a tar.

    Of an image, too. The same tree gives the same bytes.
    """
    if destination in (None, "-") and sys.stdout.isatty():
        raise UsageError("a tar would go to the terminal", "no file is named", "name one with -o")
    with session.open() as engine, ProgressLine("export", quiet=quiet) as progress:
        target = sys.stdout.buffer if destination in (None, "-") else destination
        assert target is not None
        engine.changes.export(container, target, progress)
