"""`cp`: files between containers and this machine."""

from __future__ import annotations

import sys
from typing import NamedTuple

import click
from click.shell_completion import CompletionItem

from engine.cli.completion import complete_containers
from engine.cli.session import Session
from engine.errors import UsageError


class Place(NamedTuple):
    """One side of a copy."""

    container: str
    """Empty for this machine."""
    path: str
    """``-`` is a tar on standard input or output."""


def place(text: str) -> Place:
    """``CONTAINER:PATH``, or a path of this machine: one that begins with a slash or dot, or has no colon."""
    container, colon, path = text.partition(":")
    if not colon or not container or text.startswith(("/", ".")) or "/" in container:
        return Place("", text)
    return Place(container, path or "/")


def complete_places(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Containers, each with the colon that follows; files are left to the shell."""
    if begun.startswith(("/", ".")) or ":" in begun:
        return [CompletionItem(begun, type="file")]
    found = complete_containers(context, parameter, begun)
    return [CompletionItem(f"{item.value}:", help=item.help) for item in found] or [
        CompletionItem(begun, type="file")
    ]


@click.command("cp")
@click.option("-a", "--archive", is_flag=True, help="Keep users and groups.")
@click.option("-L", "--follow-link", is_flag=True, help="Copy what a link leads to.")
@click.option("-q", "--quiet", is_flag=True, hidden=True)
@click.argument("source", shell_complete=complete_places)
@click.argument("destination", shell_complete=complete_places)
@click.pass_obj
def cp_command(
    session: Session, archive: bool, follow_link: bool, quiet: bool, source: str, destination: str
) -> None:
    """Copy files between a container and this machine.

    A container's side is written CONTAINER:PATH; it need not run. - is a tar on standard input or output.
    DIR/. is what is in DIR.
    """
    here, there = place(source), place(destination)
    if bool(here.container) == bool(there.container):
        raise UsageError(
            "cannot copy", "one side has to be a container, and one not", "write that one CONTAINER:PATH"
        )
    with session.open() as engine:
        if there.container:
            given = sys.stdin.buffer if here.path == "-" else here.path
            engine.containers.copy_in(given, there.container, there.path, follow=follow_link, archive=archive)
            return
        if there.path == "-" and sys.stdout.isatty():
            raise UsageError("cannot write a tar to a terminal", hint="send it to a file or a program")
        taken = sys.stdout.buffer if there.path == "-" else there.path
        engine.containers.copy_out(here.container, here.path, taken, follow=follow_link, archive=archive)
