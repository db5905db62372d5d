"""Commands on images: making, loading, saving, showing, naming and removing them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Literal, TypeAlias

import click

from engine.cli import forest, output, report
from engine.cli.completion import complete_images
from engine.cli.flags import json_option, print_options, quiet_option
from engine.cli.progress import ProgressLine
from engine.cli.session import Session
from engine.engine import Engine
from engine.errors import ConflictError, NotFoundError, UsageError
from engine.oci import reference

Format: TypeAlias = Literal["oci-archive", "oci-dir", "docker-archive"]


@click.command("starter")
@print_options
@click.pass_obj
def starter_command(session: Session, quiet: bool, as_json: bool) -> None:
    """Make starter images from this host's own programs."""
    with session.open() as engine, ProgressLine("starter", quiet=quiet) as progress:
        names = engine.images.starter(progress)
    _print_names(names, "Made", quiet, as_json)


@click.command("load")
@click.option("-i", "--input", "source", metavar="FILE|DIR", help="Read this; otherwise standard input.")
@click.option("--all-platforms", is_flag=True, help="Of indexes, all images have to be there.")
@print_options
@click.pass_obj
def load_command(
    session: Session, source: str | None, all_platforms: bool, quiet: bool, as_json: bool
) -> None:
    """Load images from a docker-archive or an OCI layout.

    An image for several machines comes with all that the archive has.
    """
    if source in (None, "-") and sys.stdin.isatty():
        raise UsageError("nothing to load", "standard input is a terminal", "name an archive with -i")
    with session.open() as engine, ProgressLine("load", quiet=quiet) as progress:
        stream = sys.stdin.buffer if source in (None, "-") else source
        assert stream is not None
        names = engine.images.load(stream, progress, all_platforms=all_platforms)
    _print_names(names, "Loaded image:", quiet, as_json)


def _print_names(names: Sequence[str], verb: str, quiet: bool, as_json: bool) -> None:
    if as_json:
        output.emit({"names": names})
        return
    for name in names:
        print(name if quiet else f"{verb} {name}")


@click.command("save")
@click.option(
    "-o", "--output", "destination", metavar="FILE|DIR", help="Write there; otherwise standard output."
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["oci-archive", "oci-dir", "docker-archive"]),
    default="oci-archive",
    help="What to write.  [default: oci-archive]",
)
@click.option("--platform", metavar="OS/ARCH[/VARIANT]", help="Of an image for several machines, only this.")
@quiet_option
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete_images)
@click.pass_obj
def save_command(
    session: Session,
    destination: str | None,
    kind: Format,
    platform: str | None,
    quiet: bool,
    names: tuple[str, ...],
) -> None:
    """Save images so that other tools read them.

    What is here for all machines is saved for all of them.
    """
    if destination in (None, "-") and sys.stdout.isatty():
        raise UsageError("an archive would go to the terminal", "no file is named", "name one with -o")
    with session.open() as engine, ProgressLine("save", quiet=quiet) as progress:
        target = sys.stdout.buffer if destination in (None, "-") else destination
        assert target is not None
        engine.images.save(names, target, format=kind, progress=progress, platform=platform)


@click.command("forest")
@print_options
@click.pass_obj
def forest_command(session: Session, quiet: bool, as_json: bool) -> None:
    """Show all nodes as trees (also called tree).

    Each stands under its parent, with its tags; containers are leaves.
    """
    with session.open() as engine:
        nodes = engine.images.forest()
        if as_json:
            output.emit({"nodes": nodes})
        elif quiet:
            for node in nodes:
                print(node.chain_id)
        else:
            output.write_lines(forest.draw(nodes, engine.containers.list() if nodes else []))


@click.command("tag")
@click.argument("source", shell_complete=complete_images)
@click.argument("name")
@click.pass_obj
def tag_command(session: Session, source: str, name: str) -> None:
    """Give the node SOURCE a further NAME."""
    with session.open() as engine:
        engine.images.tag(source, name)


@click.command("untag")
@print_options
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete_images)
@click.pass_obj
def untag_command(session: Session, quiet: bool, as_json: bool, names: tuple[str, ...]) -> None:
    """Take tags off nodes, which stay until a prune."""
    with session.open() as engine:
        done = engine.images.untag(names)
    _print_names(done, "Untagged", quiet, as_json)


def _removable(engine: Engine, names: Sequence[str], dry_run: bool, *, quiet: bool) -> tuple[str, ...]:
    """Those of *names* that can be removed; one that a container uses, by its name, has lost that now.

    One that is not there is told and left out; what has no name to lose stays among them, to be refused.
    """
    tags = {image.name for image in engine.images.list()}
    left = []
    for name in names:
        try:
            blocked = engine.images.removal([name]).blocked_by
        except NotFoundError as error:
            report.warn(str(error))
            continue
        if not blocked or _normal(name) not in tags:
            left.append(name)
        else:
            untagged = [name] if dry_run else engine.images.untag([name])
            if not quiet:
                print(f"{'Would untag' if dry_run else 'Untagged'} {untagged[0]}")
    return tuple(left)


def _normal(name: str) -> str:
    """As tags are recorded; empty for what cannot be one."""
    try:
        return reference.normalise(name)
    except UsageError:
        return ""


@click.command("rmi")
@click.option("-f", "--force", is_flag=True, help="Fine if there is none; of one in use, only the name goes.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@json_option
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete_images)
@click.pass_obj
def rmi_command(session: Session, force: bool, dry_run: bool, as_json: bool, names: tuple[str, ...]) -> None:
    """Remove tags, and the nodes that nothing else needs."""
    with session.open() as engine:
        if force:
            names = _removable(engine, names, dry_run, quiet=as_json)
            if not names:
                return
        removal = engine.images.removal(names) if dry_run else engine.images.remove(names)
    if as_json:
        output.emit(removal)
    elif dry_run and removal.blocked_by:
        raise ConflictError("it would be refused", "; ".join(removal.blocked_by), "remove those first")
    else:
        for what in removal.what:
            print(f"{'Would remove' if dry_run else 'Removed'} {output.path_text(what)}")
        if removal.nodes:
            print(f"{output.size_text(removal.size)} {'would come' if dry_run else 'came'} free")
