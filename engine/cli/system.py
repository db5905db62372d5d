"""Commands on everything at once: `inspect`, and cowl's own `version` and `completion`."""

from __future__ import annotations

import os
import sys

import click
from click.shell_completion import get_completion_class

from engine.cli import output, report
from engine.cli.flags import json_option
from engine.cli.group import complete_containers, complete_images
from engine.cli.session import Session
from engine.engine import Engine
from engine.errors import CowlError, NotFoundError, UsageError
from engine.model import JSON
from engine.version import VERSION, version_line

NOT_FOUND = "no container and no image"


@click.command("inspect")
@click.option("--type", "kind", type=click.Choice(["container", "image"]), help="Look at these only.")
@click.option(
    "-f", "--format", "template", metavar="TEMPLATE", help="Like '{{.State.Pid}} {{json .Mounts}}'."
)
@click.option("-s", "--size", "sizes", is_flag=True, help="Also what a container's changes take.")
@click.option("--json", "as_json", is_flag=True, hidden=True, help="It prints JSON anyway.")
@click.argument(
    "names",
    nargs=-1,
    required=True,
    metavar="NAME...",
    shell_complete=lambda *each: [*complete_containers(*each), *complete_images(*each)],
)
@click.pass_obj
def inspect_command(
    session: Session,
    kind: str | None,
    template: str | None,
    sizes: bool,
    as_json: bool,
    names: tuple[str, ...],
) -> int:
    """Print all that is known of containers and images."""
    found, code = [], 0
    with session.open() as engine:
        for name in names:
            try:
                found.append(_inspect(engine, name, kind, sizes))
            except CowlError as error:  # docker prints the others
                code = report.fail(error)
    if template and template != "json":
        from engine.cli import dockerwords, templates

        filled = templates.Template(template)
        for document in found:
            print(filled.fill(dockerwords.inspected(output.plain(document))))
    else:
        output.emit_indented(found)
    return code


def _inspect(engine: Engine, name: str, kind: str | None, sizes: bool) -> JSON:
    """A container's document, else an image's: containers come first, as docker has it."""
    if kind == "image":
        return engine.images.inspect(name)
    try:
        found = engine.containers.inspect(name)
        return {**found, "size": engine.containers.size(name)} if sizes else found
    except NotFoundError:
        if kind == "container":
            raise
    try:
        return engine.images.inspect(name)
    except (NotFoundError, UsageError) as error:
        raise NotFoundError(
            f"{NOT_FOUND} {name}", "no name, ID or tag matches", "look at cowl ps -a and cowl images"
        ) from error


@click.command("version")
@json_option
@click.pass_obj
def version_command(session: Session, as_json: bool) -> None:
    """Show the versions of cowl, Python and the kernel."""
    if not as_json:
        print(version_line())
        return
    output.emit({"version": VERSION, "python": sys.version.split()[0], "kernel": os.uname().release})


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion_command(context: click.Context, shell: str) -> None:
    """Print a script for SHELL to source, for completion."""
    root = context.find_root()
    found = get_completion_class(shell)
    assert found is not None
    print(found(root.command, {}, "cowl", "_COWL_COMPLETE").source())
