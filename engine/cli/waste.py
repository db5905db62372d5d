"""`cowl waste`: what layering costs an image and what it should not hold; for people, and as a gate in CI."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from engine.cli import output, values
from engine.cli.completion import complete_images
from engine.cli.flags import print_options
from engine.cli.output import Column, Piece
from engine.cli.session import Session
from engine.errors import ConflictError, UsageError
from engine.images.waste import Waste

SHOWN = 15
"""Lines of a list, unless all are asked for."""


@click.command("waste")
@click.option("--fail-under", metavar="SCORE", help="End with 1 if the efficiency is less: 0.95 or 95%.")
@click.option("--max-waste", metavar="BYTES|PERCENT", help="End with 1 if more is hidden: 20m or 5%.")
@click.option("--no-secrets", is_flag=True, help="End with 1 if anything looks like a secret.")
@click.option("--all", "whole", is_flag=True, help="Whole lists.")
@print_options
@click.argument("name", shell_complete=complete_images)
@click.pass_obj
def waste_command(
    session: Session,
    fail_under: str | None,
    max_waste: str | None,
    no_secrets: bool,
    whole: bool,
    quiet: bool,
    as_json: bool,
    name: str,
) -> None:
    """Show what layering costs an image, and what it should not hold.

    Bytes that a higher layer hides ship all the same; so do secrets that one deletes. With a threshold it is
    a gate for CI: it ends with 1, and one line says why.
    """
    least = None if fail_under is None else _share(fail_under, "--fail-under")
    limit = None if max_waste is None else _limit(max_waste)
    with session.open() as engine:
        found = engine.images.waste(name)
        commands = {entry["chain_id"]: entry["created_by"] or "" for entry in engine.images.history(name)}
    if as_json:
        output.emit(found)
    elif quiet:
        for path in found.paths:
            print(output.path_text(path.path))
    else:
        _write(found, name, commands, None if whole else SHOWN)
    if reasons := [*_too_wasteful(found, least, limit), *(_secret(found) if no_secrets else ())]:
        raise ConflictError(f"{name} does not pass", "; ".join(reasons), f"cowl waste {name} shows more")


def _share(text: str, option: str) -> float:
    """A part of a whole: ``0.95``, ``95%`` or ``95``."""
    number = values.positive(text.removesuffix("%"), option)
    assert number is not None
    share = number / 100 if text.endswith("%") or number > 1 else number
    if share > 1:
        raise UsageError(
            f"bad share {text!r} for {option}", "it is more than all", "write it like 0.95 or 95%"
        )
    return share


def _limit(text: str) -> tuple[int | None, float | None]:
    """Bytes, or a part of all bytes."""
    if text.endswith("%"):
        return None, _share(text, "--max-waste")
    return values.size(text, "--max-waste"), None


def _too_wasteful(
    found: Waste, least: float | None, limit: tuple[int | None, float | None] | None
) -> Iterator[str]:
    if least is not None and found.efficiency < least:
        yield f"its efficiency is {found.efficiency:.1%}, less than {least:.1%}"
    size, share = limit or (None, None)
    hidden = output.size_text(found.hidden)
    if size is not None and found.hidden > size:
        yield f"{hidden} are hidden, more than {output.size_text(size)}"
    if share is not None and found.hidden > share * found.size:
        yield f"{hidden} are hidden, more than {share:.1%} of {output.size_text(found.size)}"


def _secret(found: Waste) -> Iterator[str]:
    count = len(found.secrets) + len(found.settings)
    if count:
        yield "something looks like a secret" if count == 1 else f"{count} things look like secrets"


# For people


def _write(found: Waste, name: str, commands: dict[str, str], most: int | None) -> None:
    good = found.efficiency >= 0.95
    output.write_lines(
        [
            [
                Piece(name, "bold"),
                Piece(f": {len(found.layers)} layers, {output.size_text(found.size)} of files, "),
                Piece(f"{output.size_text(found.hidden)} hidden", "" if good else "yellow"),
                Piece(", efficiency "),
                Piece(f"{found.efficiency:.1%}", "green" if good else "yellow"),
            ],
            [],
        ]
    )
    rows: list[list[Piece | str]] = [
        [
            Piece(output.short(layer.chain_id), "cyan"),
            output.size_text(layer.size),
            output.size_text(layer.hidden) if layer.hidden else "-",
            output.size_text(layer.hides) if layer.hides else "-",
            commands.get(layer.chain_id, ""),
        ]
        for layer in reversed(found.layers)
    ]
    columns = [Column("LAYER"), *(Column(title, True) for title in ("SIZE", "HIDDEN", "HIDES"))]
    output.write_table([*columns, Column("CREATED BY")], rows)
    _write_paths(found, most)
    _write_secrets(found, most)
    _write_exposures(found, most)


def _section(title: str, count: int, most: int | None) -> None:
    shown = f", {most} of {count}" if most is not None and count > most else ""
    output.write_lines([[], [Piece(f"{title}{shown}", "bold")]])


def _write_paths(found: Waste, most: int | None) -> None:
    if not found.paths:
        return
    _section("Hidden by higher layers", len(found.paths), most)
    output.write_lines(
        [
            Piece(f"{output.size_text(path.size):>7}  "),
            Piece("deleted   " if path.deleted else "replaced  ", "red" if path.deleted else "yellow"),
            Piece(path.path),
            Piece(f"  {_files(path.files)}in {_layers(path.layers)}", "dim"),
        ]
        for path in found.paths[:most]
    )


def _files(count: int) -> str:
    return "" if count == 1 else f"{count} files "


def _layers(chain: Sequence[str]) -> str:
    return " ".join(output.short(each)[:6] for each in chain)


def _write_secrets(found: Waste, most: int | None) -> None:
    count = len(found.secrets) + len(found.settings)
    if not count:
        return
    _section("They look like secrets, and whoever has the image has them", count, most)
    lines = [
        [
            Piece(f"{_fate(each.deleted, each.hidden_by):<12}", "red" if each.hidden_by else "yellow"),
            Piece(f"{each.kind:<22}"),
            Piece(each.path),
            Piece(f"  in {_layers([each.layer])}", "dim"),
        ]
        for each in found.secrets
    ]
    lines += [
        [Piece(f"{each.where:<12}", "yellow"), Piece(f"{each.kind:<22}"), Piece(each.name)]
        for each in found.settings
    ]
    output.write_lines(lines[:most])


def _fate(deleted: bool, hidden_by: str | None) -> str:
    if hidden_by is None:
        return "visible"
    return "deleted" if deleted else "replaced"


def _write_exposures(found: Waste, most: int | None) -> None:
    if not found.exposures:
        return
    _section("Set-user-ID, set-group-ID or writable by all", len(found.exposures), most)
    output.write_lines(
        [
            Piece(f"{each.kind:<15}"),
            Piece(f"{each.mode:04o} {_owner(each.uid, each.gid):<12}"),
            Piece(each.path),
            Piece(f"  in {_layers([each.layer])}{', hidden' if each.hidden_by else ''}", "dim"),
        ]
        for each in found.exposures[:most]
    )


def _owner(uid: int, gid: int) -> str:
    """In numbers: names are the image's own affair."""
    return f"{uid}:{gid}"
