"""Options that most commands have which print something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from engine.cli.options import JSON, QUIET

json_option = click.option("--json", JSON.dest, is_flag=True, help=JSON.help)
quiet_option = click.option("-q", "--quiet", is_flag=True, help=QUIET.help)


def print_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Both of them."""
    return quiet_option(json_option(command))
