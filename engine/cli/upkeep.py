"""Commands on the store itself: what it holds, what of that can go, whether it is whole."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Sequence

import click

from engine.cli import output, report
from engine.cli.flags import Filters, filter_option, form_of, format_option, json_option, print_options
from engine.cli.moments import moment
from engine.cli.output import Column, Piece
from engine.cli.progress import ProgressLine
from engine.cli.session import Session
from engine.cli.templates import Known
from engine.engine import Engine
from engine.errors import ConflictError, CowlError
from engine.images.damage import CheckReport, Damage, Mended
from engine.images.usage import Usage
from engine.model import JSON, Container, Removal, RemovalItem

CONTAINER_FILTERS = ("label", "until")
AT_REST = ("created", "exited", "dead")
"""States of a container that `prune --containers` removes."""


@click.command("prune")
@click.option("-a", "--all", "everything", is_flag=True, help="Images with a name, too, if no container is.")
@click.option("--containers", "with_containers", is_flag=True, help="Containers that do not run, first.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@print_options
@click.pass_obj
def prune_command(
    session: Session,
    everything: bool,
    with_containers: bool,
    dry_run: bool,
    force: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Remove what nothing needs; shows what that is first.

    With --json: dry_run, size, and items, each with kind, name, size and note. It goes only with -f, too.
    That is images without a name and without a container, and downloads that did not come to their end.
    """
    code = 0
    with session.open() as engine:
        going = [each for each in engine.containers.list() if with_containers and each.state in AT_REST]
        removal = _preview(engine, going, everything)
        if not (as_json or quiet):
            output.write_lines(_removal_lines(removal, dry_run))
        if removal.items and not dry_run and _is_agreed(force):
            code = _remove_containers(engine, going)
            done = engine.images.prune(everything)
            if not (as_json or quiet):
                freed = done.size + sum(item.size for item in removal.items if item.kind == "container")
                print(f"{output.size_text(freed)} came free")
    if as_json:
        output.emit({"dry_run": dry_run, "size": removal.size, "items": removal.items})
    elif quiet:
        for item in removal.items:
            print(output.path_text(item.name))
    return code


def _preview(engine: Engine, going: Sequence[Container], everything: bool) -> Removal:
    """What goes: the containers, and the images that nothing needs when they have gone."""
    images = engine.images.prunable(everything, [each.id for each in going])
    effects = [engine.containers.removal_effect(each.id) for each in going]
    items = [item for effect in effects for item in effect.items]
    size = sum(item.size for item in items)
    return images._replace(items=(*items, *images.items), size=images.size + size)


def _removal_lines(removal: Removal, dry_run: bool) -> Iterator[list[Piece]]:
    if not removal.items:
        yield [Piece("nothing to remove")]
        return
    sized = sorted(removal.items, key=lambda item: -item.size)
    yield [Piece("   SIZE  WHAT", "bold")]
    for item in sized:
        yield [
            Piece(f"{output.size_text(item.size):>7}  " if item.size else "      -  "),
            Piece(f"{item.kind:<10}"),
            Piece(_item_name(item), "cyan"),
            Piece(f"  {item.note}" if item.note else "", "dim"),
        ]
    verb = "would come free" if dry_run else "in all"
    yield [Piece(f"{output.size_text(removal.size):>7}  {verb}", "bold")]


def _item_name(item: RemovalItem) -> str:
    return output.short(item.name) if item.name.startswith("sha256:") else item.name


@click.command("prune")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@filter_option(CONTAINER_FILTERS)
@click.pass_obj
def container_prune_command(session: Session, force: bool, dry_run: bool, filters: tuple[str, ...]) -> int:
    """Remove containers that do not run, with their changes; shows them first."""
    wanted = Filters(filters, CONTAINER_FILTERS)
    before = [moment(text) or "" for text in wanted.values("until")]
    with session.open() as engine:
        going = [
            each
            for each in engine.containers.list()
            if each.state in AT_REST
            and wanted.has_labels(each.labels)
            and all(each.created < limit for limit in before)
        ]
        effects = [engine.containers.removal_effect(each.id) for each in going]
        items = tuple(item for effect in effects for item in effect.items)
        removal = Removal((), (), (), sum(item.size for item in items), (), items)
        output.write_lines(_removal_lines(removal, dry_run))
        if not going or dry_run or not _is_agreed(force):
            return 0
        return _remove_containers(engine, going)


def _is_agreed(force: bool) -> bool:
    """Whether the one at the terminal wants it. Raises ConflictError where nobody can be asked."""
    if force:
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ConflictError("nothing was removed", "nobody can be asked here", "add -f, or --dry-run to look")
    return click.confirm("Remove all of this?", err=True)


def _remove_containers(engine: Engine, going: Sequence[Container]) -> int:
    """Remove them, but those that were started meanwhile: these are told."""
    code = 0
    for each in going:
        try:
            engine.containers.remove(each.id)
        except CowlError as error:
            code = report.fail(error)
    return code


@click.command("df")
@click.option("-v", "--verbose", is_flag=True, help="Each image and container.")
@format_option("table {{.Type}}\\t{{.Size}}")
@json_option
@click.pass_obj
def df_command(session: Session, verbose: bool, template: str | None, as_json: bool) -> None:
    """Show who takes how many bytes, and how many could come free."""
    form = form_of(template, {"TotalCount": "TOTAL"})
    with session.open() as engine:
        usage = engine.images.usage()
        containers = [
            (each, engine.containers.removal_effect(each.id).size) for each in engine.containers.list()
        ]
    if as_json:
        output.emit(_usage_document(usage, containers))
        return
    totals = _totals(usage, containers)
    if form is not None:
        form.write([_words(total) for total in totals if not total[0].startswith(" ")])
        return
    _write_totals(totals)
    if verbose:
        _write_images(usage)
        _write_containers(containers)


def _usage_document(usage: Usage, containers: Sequence[tuple[Container, int]]) -> JSON:
    resting = sum(size for each, size in containers if each.state in AT_REST)
    return {
        "nodes": {"count": usage.nodes, "size": usage.nodes_size},
        "blobs": {"count": usage.blobs, "size": usage.blobs_size},
        "downloads": {"count": usage.downloads, "size": usage.downloads_size},
        "containers": {
            "count": len(containers),
            "size": sum(size for _, size in containers),
            "reclaimable": resting,
        },
        "reclaimable": usage.reclaimable,
        "reclaimable_all": usage.reclaimable_all,
        "images": usage.images,
        "each_container": [
            {"id": each.id, "name": each.name, "image": each.image, "state": each.state, "size": size}
            for each, size in containers
        ],
    }


def _totals(usage: Usage, containers: Sequence[tuple[Container, int]]) -> list[list[str]]:
    """What, how many, how many of them in use, bytes, and bytes that could come free: as people read them."""
    in_use = sum(bool(image.containers) for image in usage.images)
    running = [size for each, size in containers if each.state not in AT_REST]
    size = sum(size for _, size in containers)
    images = usage.nodes_size + usage.blobs_size
    idle = usage.reclaimable_all - usage.downloads_size
    rows = [_total("Images", len(usage.images), str(in_use), images, _share(idle, images))]
    rows.append(_total("  layers", usage.nodes, "", usage.nodes_size, ""))
    rows.append(_total("  blobs", usage.blobs, "", usage.blobs_size, ""))
    if usage.downloads:
        parts = usage.downloads_size
        rows.append(_total("Downloads", usage.downloads, "0", parts, _share(parts, parts)))
    idle = size - sum(running)
    rows.append(_total("Containers", len(containers), str(len(running)), size, _share(idle, size)))
    return rows


def _write_totals(totals: Sequence[list[str]]) -> None:
    titles = ("TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE")
    output.write_table([Column(title, title != "TYPE") for title in titles], totals)


def _words(total: list[str]) -> Known:
    """A total as ``df --format`` knows it."""
    what, count, active, size, reclaimable = total
    return Known(Type=what, TotalCount=count, Active=active, Size=size, Reclaimable=reclaimable.strip())


def _total(what: str, count: int, active: str, size: int, reclaimable: str) -> list[str]:
    return [what, str(count), active, output.size_text(size), reclaimable]


def _share(part: int, whole: int) -> str:
    return f"{output.size_text(part)} {f'({100 * part // whole}%)' if whole else '':>6}"


def _write_images(usage: Usage) -> None:
    rows: list[list[Piece | str]] = [
        [
            Piece(", ".join(image.names) or "<none>", "red" if image.names else "dim"),
            Piece(output.short(image.chain_id), "cyan"),
            output.size_text(image.size),
            output.size_text(image.shared),
            output.size_text(image.exclusive),
            str(image.containers),
        ]
        for image in usage.images
    ]
    if rows:
        print()
        output.write_table(
            [
                Column("IMAGE"),
                Column("CHAIN ID"),
                *(Column(title, True) for title in ("SIZE", "SHARED", "EXCLUSIVE", "CONTAINERS")),
            ],
            rows,
        )


def _write_containers(containers: Sequence[tuple[Container, int]]) -> None:
    rows: list[list[Piece | str]] = [
        [
            each.name,
            Piece(output.short(each.id), "cyan"),
            each.image,
            each.state,
            output.size_text(size),
        ]
        for each, size in sorted(containers, key=lambda pair: -pair[1])
    ]
    if rows:
        print()
        columns = [Column("CONTAINER"), Column("ID"), Column("IMAGE"), Column("STATE"), Column("SIZE", True)]
        output.write_table(columns, rows)


@click.command("check")
@click.option("--repair", is_flag=True, help="Mend what can be mended, remove what nothing can restore.")
@print_options
@click.pass_obj
def check_command(session: Session, repair: bool, quiet: bool, as_json: bool) -> int:
    """Compare every record, blob and layer with what it has to be.

    A layer of another's making is compared with what its blob unpacks to; after that its digest is known.
    Ends with 1 if something is wrong; after --repair, if something still is. What a container needs is never
    removed, nor an image that has lost no more than a blob. Others may work on the store meanwhile.
    """
    with session.open() as engine, ProgressLine("check", quiet=quiet or as_json) as progress:
        found = engine.check(repair, progress)
    if as_json:
        output.emit({"clean": found.is_clean, **found._asdict()})
    elif quiet:
        for damage in found.damage:
            print(output.path_text(damage.subject))
    else:
        output.write_lines(_lines(found), whole=True)
    return 0 if found.is_clean else 1


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
    yield [Piece("mended    ", "green"), Piece(damage.what, "bold")]
    yield from _text(f"{damage.why}: {mended.how}")
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
