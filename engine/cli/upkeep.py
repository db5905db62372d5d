"""Commands on the store itself: looking whether it is whole, and mending it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import click

from engine.cli import output
from engine.cli.output import Piece, json_option, quiet_option
from engine.cli.progress import ProgressLine
from engine.cli.session import Session
from engine.images.damage import CheckReport, Damage, Mended
from engine.model import JSON


@click.command("check")
@click.option("--repair", is_flag=True, help="Mend what can be mended, remove what nothing can restore.")
@quiet_option
@json_option
@click.pass_obj
def check_command(session: Session, repair: bool, quiet: bool, as_json: bool) -> int:
    """Compare every record, blob and layer with what it has to be.

    Ends with 1 if something is wrong; after --repair, if something still is. What a container needs is never
    removed. Others may work on the store meanwhile.
    """
    with session.open() as engine, ProgressLine("check", quiet=quiet or as_json) as progress:
        report = engine.check(repair, progress)
    if as_json:
        output.emit(_document(report))
    elif quiet:
        for damage in report.damage:
            print(damage.subject)
    else:
        output.write_lines(_lines(report), whole=True)
    return 0 if report.is_clean else 1


def _document(report: CheckReport) -> JSON:
    return {"clean": report.is_clean, **report._asdict()}


def _lines(report: CheckReport) -> Iterator[list[Piece]]:
    for path in report.swept:
        yield [Piece("swept     ", "dim"), Piece(path)]
        yield [Piece("          left by a crash; nobody needed it", "dim")]
    for mended in report.mended:
        yield from _mended(mended)
    for damage in report.damage:
        yield from _damaged(damage)
    yield [
        Piece(
            f"{report.nodes} layers ({output.size_text(report.nodes_size)}),"
            f" {report.blobs} blobs ({output.size_text(report.blobs_size)}), {report.manifests} images,"
            f" {report.containers} containers in {report.seconds:.1f} s: "
        ),
        Piece(f"{len(report.damage)} damaged", "red") if report.damage else Piece("clean", "green"),
    ]


def _mended(mended: Mended) -> Iterator[list[Piece]]:
    damage = mended.damage
    yield [Piece("mended    ", "green"), Piece(damage.what, "bold"), Piece(f" ({damage.why})")]
    yield from _text(mended.how)
    for what in mended.removed:
        yield [Piece("          removed ", "yellow"), Piece(what)]


def _damaged(damage: Damage) -> Iterator[list[Piece]]:
    yield [Piece("damaged   ", "red"), Piece(damage.what, "bold")]
    yield from _text(damage.why)
    if damage.path:
        yield [Piece(f"          {damage.path}", "dim")]
    if damage.images:
        yield from _text(f"images: {', '.join(damage.images)}")
    if damage.containers:
        yield from _text(f"containers: {', '.join(damage.containers)}")
    yield from _text(f"-> {damage.hint}")


def _text(text: str) -> Iterator[list[Piece]]:
    """*text* under what it belongs to, in lines that fit a terminal of 80 columns."""
    for line in textwrap.wrap(output.visible(text), 69, break_long_words=False):
        yield [Piece(f"          {line}")]
