"""`container`, `image` and `system`: docker's longer way to say what are commands of their own here."""

from __future__ import annotations

from collections.abc import Mapping

import click

from engine.cli.spelling import DockersGroup

PRUNE = ("container prune",)
"""The one that has no other name."""


class Management(DockersGroup):
    """Commands of `cowl` itself by other names, each with words that it is given first."""

    def __init__(self, name: str, help: str, members: Mapping[str, tuple[str, ...]]) -> None:  # noqa: A002
        super().__init__(name, help=help)
        self._members = members

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names here."""
        return list(self._members)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """What *cmd_name* is among the commands of `cowl`."""
        members = self._members.get(cmd_name)
        if members == PRUNE:
            from engine.cli.upkeep import container_prune_command

            return container_prune_command
        root = ctx.find_root().command
        return root.get_command(ctx, members[0]) if members and isinstance(root, click.Group) else None

    def resolve_command(
        self, context: click.Context, words: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command, and its words after those that it is given first."""
        name, command, rest = super().resolve_command(context, words)
        members = self._members.get(name or "", PRUNE)
        return name, command, rest if members == PRUNE else [*members[1:], *rest]


def _alike(*names: str) -> dict[str, tuple[str, ...]]:
    return {name: (name,) for name in names}


container_command = Management(
    "container",
    "Commands on containers: container ls is ps.",
    {
        "ls": ("ps",),
        "list": ("ps",),
        "ps": ("ps",),
        "inspect": ("inspect", "--type", "container"),
        **_alike("attach", "commit", "cp", "create", "diff", "exec", "export", "kill", "logs", "pause"),
        **_alike("port", "rename", "restart", "rm", "run", "start", "stats", "stop", "top", "unpause"),
        **_alike("update", "wait"),
        "remove": ("rm",),
        "prune": PRUNE,
    },
)
image_command = Management(
    "image",
    "Commands on images: image ls is images.",
    {
        "ls": ("images",),
        "list": ("images",),
        "rm": ("rmi",),
        "remove": ("rmi",),
        "inspect": ("inspect", "--type", "image"),
        **_alike("history", "import", "load", "prune", "pull", "push", "save", "tag"),
    },
)
system_command = Management(
    "system",
    "Commands on all of it: system prune removes containers that do not run, too.",
    {**_alike("df", "events", "info"), "prune": ("prune", "--containers")},
)
