"""Commands on everything at once: `inspect`, and cowl's own `completion`."""

from __future__ import annotations

import json

import click
from click.shell_completion import get_completion_class

from engine.cli import output, report
from engine.cli.completion import complete_containers, complete_images, complete_volumes
from engine.cli.flags import form_of, format_option
from engine.cli.session import Session
from engine.cli.templates import Known
from engine.engine import Engine
from engine.errors import CowlError, NotFoundError, UsageError

NOT_FOUND = "no container, no image and no volume"


@click.command("inspect")
@click.option(
    "--type", "kind", type=click.Choice(["container", "image", "volume"]), help="Look at these only."
)
@format_option("{{.State.Pid}} {{json .Mounts}}", "-f")
@click.option("-s", "--size", "sizes", is_flag=True, help="Also what a container's changes take.")
@click.option("--json", "as_json", is_flag=True, hidden=True, help="It prints JSON anyway.")
@click.argument(
    "names",
    nargs=-1,
    required=True,
    metavar="NAME...",
    shell_complete=lambda *each: [
        *complete_containers(*each),
        *complete_images(*each),
        *complete_volumes(*each),
    ],
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
    """Print all that is known of containers, images and volumes."""
    form = None if template == "json" else form_of(template, {})
    in_dockers_words = bool(template)
    found: list[Known] = []
    code = 0
    with session.open() as engine:
        for name in names:
            try:
                found.append(_inspect(engine, name, kind, sizes, words=in_dockers_words))
            except CowlError as error:  # docker prints the others
                code = report.fail(error)
    if form is not None:
        form.write(found)
    elif in_dockers_words:
        print(json.dumps(found))  # one array, as docker has it
    else:
        output.emit_indented(found)
    return code


def _inspect(engine: Engine, name: str, kind: str | None, sizes: bool, *, words: bool) -> Known:
    """The first thing that is called so: containers come first, then images, as docker has it.

    In docker's *words*, or in cowl's alone.
    """
    kinds = (kind,) if kind else ("container", "image", "volume")
    for each in kinds:
        try:
            return _INSPECTIONS[each](engine, name, sizes, words)
        except (NotFoundError, UsageError):
            if kind:
                raise
    raise NotFoundError(
        f"{NOT_FOUND} {name}",
        "no name, ID or tag matches",
        "look at cowl ps -a, cowl images and cowl volume ls",
    )


def _container(engine: Engine, name: str, sizes: bool, words: bool) -> Known:
    from engine.cli import dockerwords

    found = engine.containers.inspect(name)
    if sizes:
        found["size"] = engine.containers.size(name)
    return dockerwords.inspected(output.plain(found)) if words else Known(found)


def _image(engine: Engine, name: str, sizes: bool, words: bool) -> Known:
    from engine.cli import imagewords

    found = output.plain(engine.images.inspect(name))
    return imagewords.inspected(found) if words else Known(found)


def _volume(engine: Engine, name: str, sizes: bool, words: bool) -> Known:
    from engine.cli import volumes

    found = engine.volumes.get(name)
    return volumes.inspected(found) if words else Known(found._asdict())


_INSPECTIONS = {"container": _container, "image": _image, "volume": _volume}


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion_command(context: click.Context, shell: str) -> None:
    """Print a script for SHELL to source, for completion."""
    root = context.find_root()
    found = get_completion_class(shell)
    assert found is not None
    print(found(root.command, {}, "cowl", "_COWL_COMPLETE").source())
