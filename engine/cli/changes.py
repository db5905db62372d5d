"""Commands on changes: showing what read-write layers hold, and making nodes of them."""

from __future__ import annotations

from collections.abc import Sequence

import click

from engine.cli import output
from engine.cli.completion import complete_containers
from engine.cli.flags import print_options
from engine.cli.output import Piece
from engine.cli.progress import ProgressLine
from engine.cli.session import Session
from engine.errors import UsageError
from engine.model import JSON, Change, FileDiff

LETTERS = {"added": "A", "modified": "M", "deleted": "D"}
STYLES = {"added": "green", "modified": "yellow", "deleted": "red"}


@click.command("diff")
@click.option("--stat", "with_sizes", is_flag=True, help="Show sizes, and a total.")
@click.option("-p", "--patch", is_flag=True, help="Show how text files differ.")
@click.option("--docker", is_flag=True, help="Print C for M, as docker does.")
@print_options
@click.argument("what", metavar="CONTAINER|NODE", shell_complete=complete_containers)
@click.argument("paths", nargs=-1, metavar="[PATH...|CONTAINER|NODE]")
@click.pass_obj
def diff_command(
    session: Session,
    with_sizes: bool,
    patch: bool,
    docker: bool,
    quiet: bool,
    as_json: bool,
    what: str,
    paths: tuple[str, ...],
) -> None:
    """Show what a container changed, or how two trees differ.

    Letters: A added, M modified, D deleted. Paths begin with a slash and limit what is shown.
    """
    others = [path for path in paths if not path.startswith("/")]
    if len(others) > 1 or (others and len(paths) > 1):
        raise UsageError(
            f"cannot compare {what} with {' and '.join(others)}", "two at a time", "begin paths with /"
        )
    if others and patch:
        raise UsageError(
            "no text for two trees", "-p shows a container against its image", "leave -p or a name out"
        )
    with session.open() as engine:
        changes = engine.changes.between(what, others[0]) if others else engine.changes.of(what, paths)
        if as_json:
            output.emit([_document(change) for change in changes])
        elif patch:
            for change in changes:
                if change.type != "directory":
                    _write_diff(engine.changes.diff(what, change.path), change)
        elif quiet:
            for change in changes:
                print(output.path_text(change.path))
        elif with_sizes:
            _write_sizes(changes)
        else:
            _write_letters(changes, "C" if docker else "M")


def _document(change: Change) -> JSON:
    document = change._asdict()
    document["what"] = list(change.what)
    return document


def _write_letters(changes: Sequence[Change], modified: str) -> None:
    letters = {**LETTERS, "modified": modified}
    if output.on_terminal():
        output.write_lines(
            [Piece(f"{letters[change.kind]} ", STYLES[change.kind]), Piece(change.path)] for change in changes
        )
        return
    print("".join(f"{letters[change.kind]} {change.path}\n" for change in changes), end="")


def _write_sizes(changes: Sequence[Change]) -> None:
    def lines() -> list[list[Piece]]:
        shown = []
        for change in changes:
            grown = change.size - change.old_size
            amount = f"{'+' if grown >= 0 else '-'}{output.size_text(abs(grown))}"
            why = f"  ({', '.join(change.what)})" if change.what else ""
            shown.append(
                [
                    Piece(f"{LETTERS[change.kind]} ", STYLES[change.kind]),
                    Piece(f"{amount:>7}  "),
                    Piece(change.path),
                    Piece(why, "dim"),
                ]
            )
        return shown

    output.write_lines(lines())
    grown = sum(change.size - change.old_size for change in changes)
    counts = ", ".join(
        f"{sum(change.kind == kind for change in changes)} {kind}"
        for kind in ("added", "modified", "deleted")
    )
    print(f"{counts}; {'+' if grown >= 0 else '-'}{output.size_text(abs(grown))}")


def _write_diff(diff: FileDiff, change: Change) -> None:
    head = f"{LETTERS[change.kind]} {change.path}" + (f" ({', '.join(change.what)})" if change.what else "")
    output.write_lines([[Piece(head, "bold")]])
    if output.on_terminal():
        lines = diff.text.removesuffix("\n").split("\n")  # as tools count them
        output.write_lines([[Piece(line.expandtabs(), _line_style(line))] for line in lines])
    elif diff.text:
        print(diff.text, end="" if diff.text.endswith("\n") else "\n")


def _line_style(line: str) -> str:
    if line.startswith(("+++", "---")):
        return "bold"
    return {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")


@click.command("commit")
@click.option("-m", "--message", default="", metavar="TEXT", help="Why; the node's comment.")
@click.option("-a", "--author", default="", metavar="TEXT", help="Who: Name <address>.")
@click.option(
    "-c",
    "--change",
    "changes",
    multiple=True,
    metavar="INSTRUCTION",
    help="Change the configuration: 'CMD …', 'ENV A=B'.",
)
@click.option(
    "--only", multiple=True, metavar="PATH", help="Commit what changed at PATH or below; repeatable."
)
@click.option(
    "--except",
    "without",
    multiple=True,
    metavar="PATH",
    help="Leave out what is at PATH or below; repeatable.",
)
@click.option("-p", "--pause", is_flag=True, help="Pause the container meanwhile.")
@print_options
@click.argument("container", shell_complete=complete_containers)
@click.argument("name", required=False)
@click.pass_obj
def commit_command(
    session: Session,
    message: str,
    author: str,
    changes: tuple[str, ...],
    only: tuple[str, ...],
    without: tuple[str, ...],
    pause: bool,
    quiet: bool,
    as_json: bool,
    container: str,
    name: str | None,
) -> None:
    """Make a node of a container's changes, or of a part of them; prints its chain ID.

    Of several paths of --only and --except that a change is below, the nearest decides.
    """
    with session.open() as engine, ProgressLine("commit", quiet=quiet) as progress:
        node = engine.changes.commit(
            container,
            name,
            message=message,
            author=author,
            changes=changes,
            only=only,
            without=without,
            pause=pause,
            progress=progress,
        )
    if as_json:
        output.emit(node)
    else:
        print(node.chain_id)
