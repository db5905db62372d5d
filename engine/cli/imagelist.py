"""`images` and `history`: which images there are, and how one came to be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

import click

from engine.cli import imagewords, moments, output
from engine.cli.completion import complete_images
from engine.cli.flags import Filters, filter_option, form_of, format_option, print_options
from engine.cli.imagewords import NONE, Listed
from engine.cli.output import Column, Piece
from engine.cli.session import Session
from engine.engine import Engine
from engine.model import JSON, Image, Node
from engine.store.clock import normalise

MAX_CREATED_BY = 60
FILTERS = ("dangling", "label", "reference", "before", "since", "until")


@click.command("images")
@print_options
@click.option("-a", "--all", "everything", is_flag=True, help="Also nodes without a name.")
@click.option("--digests", is_flag=True, help="Also digests of manifests.")
@filter_option(FILTERS, "-f")
@format_option("table {{.Repository}}\\t{{.ID}}")
@click.option("--no-trunc", is_flag=True, help="Whole chain IDs.")
@click.argument("name", required=False, shell_complete=complete_images)
@click.pass_obj
def images_command(
    session: Session,
    quiet: bool,
    as_json: bool,
    everything: bool,
    digests: bool,
    filters: tuple[str, ...],
    template: str | None,
    no_trunc: bool,
    name: str | None,
) -> None:
    """List tagged images, or those called NAME.

    NAME can be a pattern: 'alpine*', '*/web:1.?'. With --filter dangling=true: those whose name went to
    another, and that nothing stands on.
    """
    wanted = Filters(filters, FILTERS)
    form = form_of(template, imagewords.TITLES)
    with session.open() as engine:
        images = _listed(engine, everything, wanted.truth("dangling"))
        chosen = [image for image in images if name is None or is_called(image, name)]
        chosen = _filtered(engine, chosen, wanted)
    if quiet:
        for chain_id in dict.fromkeys(image.chain_id for image in chosen):
            print(chain_id if no_trunc else output.short(chain_id))
    elif as_json:
        output.emit([_document(image) for image in chosen])
    elif form is not None:
        form.write([imagewords.row(image, whole=no_trunc) for image in chosen])
    else:
        _write(chosen, digests=digests, whole=no_trunc)


def _listed(engine: Engine, everything: bool, dangling: bool | None) -> list[Listed]:
    """Tags, by name, and then nodes without one that are asked for."""
    nodes = engine.images.forest()
    sizes = _total_sizes(nodes)
    by_id = {node.chain_id: node for node in nodes}
    nameless: Iterable[Node] = (node for node in reversed(nodes) if not node.tags)
    if dangling or not everything:
        parents = {node.parent for node in nodes}
        nameless = (node for node in nameless if dangling and node.chain_id not in parents)
    named: Sequence[Image] = () if dangling else engine.images.list()
    if dangling is False:
        nameless = ()
    images = [*named, *(engine.images.get(node.chain_id)._replace(name="") for node in nameless)]
    return [
        Listed(
            image.name,
            image.chain_id,
            image.manifest_digest,
            image.config.get("created") or by_id[image.chain_id].created,
            sizes[image.chain_id],
            len(by_id[image.chain_id].containers),
            image.config,
        )
        for image in images
        if image.chain_id in by_id
    ]


def is_called(image: Listed, pattern: str) -> bool:
    """Whether *pattern* is its name, with its tag or without, where a star is anything but a slash."""
    return bool(image.name) and any(_fits(name, pattern) for name in (image.name, image.repository))


def _fits(name: str, pattern: str) -> bool:
    parts, wanted = name.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def _filtered(engine: Engine, images: list[Listed], wanted: Filters) -> list[Listed]:
    """Those for which all of *wanted* is true: every label, any of the patterns, between the moments."""
    for name, later in (("since", True), ("before", False)):
        for text in wanted.values(name):
            moment = _created(engine, text)
            images = [image for image in images if is_made(image, moment, later=later)]
    for text in wanted.values("until"):
        moment = moments.moment(text) or ""
        images = [image for image in images if is_made(image, moment, later=False)]
    patterns = wanted.values("reference")
    if patterns:
        images = [image for image in images if any(is_called(image, each) for each in patterns)]
    return [image for image in images if wanted.has_labels(image.labels)]


def is_made(image: Listed, moment: str, *, later: bool) -> bool:
    """Whether it was made *later* than an RFC 3339 time, or earlier; images write theirs in many ways."""
    made, other = normalise(image.created), normalise(moment)
    return made != other and (made > other) == later


def _created(engine: Engine, name: str) -> str:
    """When the image *name* was made. Raises NotFoundError."""
    found = engine.images.get(name)
    return found.config.get("created") or engine.images.resolve(name).created


def _document(image: Listed) -> JSON:
    return {
        "name": image.name or None,
        "chain_id": image.chain_id,
        "manifest_digest": image.manifest or None,
        "size": image.size,
        "created": image.created,
        "config": image.config,
    }


def _total_sizes(nodes: Sequence[Node]) -> dict[str, int]:
    """Bytes of each node and everything under it; *nodes* has parents first."""
    sizes: dict[str, int] = {}
    for node in nodes:
        sizes[node.chain_id] = node.size + (sizes[node.parent] if node.parent else 0)
    return sizes


def _write(images: Sequence[Listed], *, digests: bool, whole: bool) -> None:
    rows: list[list[Piece | str]] = []
    for image in images:
        created = output.age_text(image.created)
        rows.append(
            [
                image.repository or NONE,
                Piece(image.name.rpartition(":")[2] or NONE, "red"),
                *([image.manifest or NONE] if digests else []),
                Piece(image.chain_id if whole else output.short(image.chain_id), "cyan"),
                f"{created} ago" if created else "",
                output.size_text(image.size),
            ]
        )
    titles = ["REPOSITORY", "TAG", *(["DIGEST"] if digests else []), "CHAIN ID", "CREATED"]
    output.write_table([*(Column(title) for title in titles), Column("SIZE", True)], rows)


@click.command("history")
@print_options
@format_option("table {{.ID}}\\t{{.CreatedBy}}")
@click.option("-H/ ", "--human/--no-human", default=True, help="Sizes and times for people (the default).")
@click.option("--no-trunc", is_flag=True, help="Whole chain IDs and commands.")
@click.argument("name", shell_complete=complete_images)
@click.pass_obj
def history_command(
    session: Session,
    quiet: bool,
    as_json: bool,
    template: str | None,
    human: bool,
    no_trunc: bool,
    name: str,
) -> None:
    """Show how an image came to be, newest layer first."""
    form = form_of(template, imagewords.TITLES)
    with session.open() as engine:
        entries = engine.images.history(name)
    if as_json:
        output.emit(entries)
    elif quiet:
        for entry in entries:
            print(entry["chain_id"] or imagewords.MISSING)
    elif form is not None:
        form.write([imagewords.step(entry, whole=no_trunc, human=human) for entry in entries])
    else:
        _write_history(entries, human=human, whole=no_trunc)


def _write_history(entries: Sequence[JSON], *, human: bool, whole: bool) -> None:
    rows: list[list[Piece | str]] = []
    for entry in entries:
        words = entry["created_by"] or ""
        created = output.age_text(entry["created"])
        since = f"{created} ago" if created else ""
        rows.append(
            [
                Piece(_id(entry["chain_id"], whole), "cyan"),
                since if human else entry["created"] or "",
                words if whole or len(words) <= MAX_CREATED_BY else words[: MAX_CREATED_BY - 1] + "…",
                output.size_text(entry["size"] or 0) if human else str(entry["size"] or 0),
                entry["comment"] or "",
            ]
        )
    titles = ("CHAIN ID", "CREATED", "CREATED BY", "SIZE", "COMMENT")
    output.write_table([Column(title, title == "SIZE") for title in titles], rows)


def _id(chain_id: str | None, whole: bool) -> str:
    if chain_id is None:
        return "-"
    return chain_id if whole else output.short(chain_id)
