"""The click side of `cowl`: commands by name, each module imported when one of its commands is asked for."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import Any

import click
from click.shell_completion import shell_complete

from engine.cli import elsewhere, report
from engine.cli.completion import complete_containers, complete_images, completing
from engine.cli.options import COMMANDS, CREATE, GLOBALS, RUN, Command, Option
from engine.cli.session import Session
from engine.cli.spelling import DockersGroup

COMPLETION = "_COWL_COMPLETE"
"""What the shell's completion function asks for, in click's protocol."""
MODULES = {
    "images": ("starter", "load", "save", "forest", "tag", "untag", "rmi"),
    "imagelist": ("images", "history"),
    "registry": ("pull", "push", "login", "logout"),
    "containers": (
        "start",
        "stop",
        "restart",
        "kill",
        "pause",
        "unpause",
        "wait",
        "rm",
        "rename",
        "attach",
        "update",
    ),
    "copying": ("cp",),
    "volumes": ("volume",),
    "watching": ("port", "logs", "top", "events"),
    "changes": ("diff", "commit"),
    "upkeep": ("prune", "df", "check"),
    "transfer": ("import", "export"),
    "waste": ("waste",),
    "machine": ("version", "info"),
    "management": ("container", "image", "system"),
    "system": ("inspect", "completion"),
}
SECTIONS = {
    "Images": (
        *MODULES["imagelist"],
        *MODULES["images"],
        *MODULES["registry"],
        *MODULES["transfer"],
        *MODULES["waste"],
    ),
    "Containers": (
        *COMMANDS,
        *MODULES["containers"],
        *MODULES["copying"],
        *MODULES["volumes"],
        *MODULES["watching"],
    ),
    "Changes": MODULES["changes"],
    "Everything": (*MODULES["upkeep"], *MODULES["system"], *MODULES["machine"], *MODULES["management"]),
}
ALIASES = {"tree": "forest"}


class CowlGroup(DockersGroup):
    """`cowl` itself: the commands that are tables, and those that are functions in modules."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, aliases left out."""
        return [name for names in SECTIONS.values() for name in names]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands by what they are about."""
        for heading, names in SECTIONS.items():
            found = [(name, self.get_command(ctx, name)) for name in names]
            with formatter.section(heading):
                formatter.write_dl(
                    [(name, command.get_short_help_str(limit=75)) for name, command in found if command]
                )

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command *cmd_name*, imported now; None if there is none."""
        name = ALIASES.get(cmd_name, cmd_name)
        if name in COMMANDS:
            return from_table(COMMANDS[name])
        for module, names in MODULES.items():
            if name in names:
                found = getattr(importlib.import_module(f"engine.cli.{module}"), f"{name}_command")
                assert isinstance(found, click.Command)
                return found
        return None


def dispatch(words: Sequence[str]) -> int:
    """Run a command line through click and return its exit code; engine errors are left to the caller.

    Not by click's own `main`, which has an answer of its own to interrupts and broken pipes.
    """
    cli = command_line()
    if instruction := os.environ.get(COMPLETION):
        return shell_complete(cli, {}, "cowl", COMPLETION, instruction)
    try:
        with cli.make_context("cowl", list(words)) as context:
            code = cli.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        report.say(_message(error))
        return error.exit_code
    return code if isinstance(code, int) else 0


def command_line() -> click.Group:
    """The whole command line, as help, completion and tests see it."""
    return CowlGroup(
        "cowl",
        callback=_open,
        params=[_option(option) for option in GLOBALS],
        help="A workstation for containers: a forest of images, containers on top of it, and what each has "
        "changed. Alone on a terminal it opens the app.",
        invoke_without_command=True,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )


@click.pass_context
def _open(context: click.Context, root: str | None, cgroup_parent: str | None, version: bool) -> None:
    context.obj = Session(root, cgroup_parent)
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
        context.exit(2)


def from_table(table: Command) -> click.Command:
    """A command of `engine.cli.options` as click has it."""

    def act(arguments: tuple[str, ...], **given: Any) -> int:
        if len(arguments) < table.at_least:
            raise click.UsageError(f"Missing arguments (it takes {table.arguments})")
        if table.at_most is not None and len(arguments) > table.at_most:
            raise click.UsageError(f"too many arguments: {' '.join(arguments[table.at_most :])}")
        module = importlib.import_module(f"engine.cli.{table.module}")
        code: int = module.ACTIONS[table.name](
            click.get_current_context().ensure_object(Session), given, arguments
        )
        return code

    return click.Command(
        table.name,
        callback=act,
        params=[
            *(_option(option) for option in table.options),
            click.Argument(
                ["arguments"],
                nargs=-1,
                type=click.UNPROCESSED,
                metavar=table.arguments,
                shell_complete=complete_images if table in (CREATE, RUN) else complete_containers,
            ),
        ],
        help=table.help,
        context_settings={"allow_interspersed_args": table.interspersed, "help_option_names": ["--help"]},
    )


def _option(option: Option) -> click.Option:
    name = [option.dest, *option.flags]
    if not option.metavar:
        return click.Option(
            name,
            is_flag=True,
            flag_value=True,
            default=option.default,
            help=option.help,
            hidden=option.hidden,
        )
    return click.Option(
        name,
        help=option.help,
        metavar=option.metavar,
        multiple=option.multiple,
        hidden=option.hidden,
        type=click.UNPROCESSED,
        shell_complete=completing(option.dest),
    )


def _message(error: click.ClickException) -> str:
    """click's sentence as ours: what, then what to do."""
    text = error.format_message().rstrip(".")
    if text.startswith("Got unexpected extra argument"):
        text = f"too many arguments: {text.partition('(')[2].removesuffix(')') or 'an empty one'}"
    if isinstance(error, click.NoSuchOption) and (why := elsewhere.ELSEWHERE.get(error.option_name)):
        return f"there is no such option {error.option_name} ({why}); leave it out"
    if text.startswith("No such command") and (why := elsewhere.COMMANDS.get(text.split("'")[1])):
        return f"there is no such command {text.split(chr(39))[1]} ({why}); see cowl --help"
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context else "cowl"
    return f"{text}; see {path} --help"
