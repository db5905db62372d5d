"""Commands on registries: pulling and pushing images, logging in and out."""

from __future__ import annotations

import os
import sys
from typing import Literal

import click

from engine.cli import output
from engine.cli.completion import complete_images
from engine.cli.flags import print_options
from engine.cli.layerlines import LayerLines
from engine.cli.session import Session
from engine.errors import UsageError

plain_http_option = click.option(
    "--plain-http", is_flag=True, help="Talk to the registry without TLS, wherever it is."
)


@click.command("pull")
@click.option("-a", "--all-tags", is_flag=True, help="Pull all images of the repository.")
@click.option("--platform", metavar="OS/ARCH[/VARIANT]", help="Not the image for this machine.")
@click.option("--all-platforms", is_flag=True, help="Pull the images for all machines.")
@plain_http_option
@print_options
@click.argument("name")
@click.pass_obj
def pull_command(
    session: Session,
    name: str,
    all_tags: bool,
    platform: str | None,
    all_platforms: bool,
    plain_http: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Get an image from a registry."""
    with session.open() as engine, LayerLines("pull", quiet=quiet) as progress:
        pulled = engine.images.pull(
            name,
            platform=platform,
            all_tags=all_tags,
            all_platforms=all_platforms,
            plain_http=plain_http,
            progress=progress,
        )
    if as_json:
        output.emit(
            [
                {"name": name, "manifest_digest": digest, "up_to_date": was_here}
                for name, digest, was_here in pulled
            ]
        )
        return
    for name, digest, was_here in pulled:
        print(name if quiet else f"{'Up to date' if was_here else 'Pulled image'}: {name} ({digest})")


@click.command("push")
@click.option(
    "--compress",
    type=click.Choice(["gzip", "zstd", "none"]),
    help="Compress plain layers; the image has another digest there. Otherwise those made here are gzipped, "
    "but on loopback.",
)
@click.option("--platform", metavar="OS/ARCH[/VARIANT]", help="Of an image for several machines, only this.")
@plain_http_option
@print_options
@click.argument("name", shell_complete=complete_images)
@click.argument("destination", required=False)
@click.pass_obj
def push_command(
    session: Session,
    name: str,
    destination: str | None,
    compress: Literal["gzip", "zstd", "none"] | None,
    platform: str | None,
    plain_http: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Send an image to a registry, as DESTINATION if given.

    What was pulled for all machines goes for all of them.
    """
    with session.open() as engine, LayerLines("push", quiet=quiet) as progress:
        there, digest = engine.images.push(
            name,
            destination,
            platform=platform,
            plain_http=plain_http,
            compress=compress,
            progress=progress,
        )
    if as_json:
        output.emit({"name": there, "manifest_digest": digest})
    else:
        print(there if quiet else f"Pushed image: {there} ({digest})")


@click.command("login")
@click.option("-u", "--username", metavar="NAME", help="Who one is there; asked for if it is missing.")
@click.option("-p", "--password", metavar="TEXT", help="Others can see it in the list of processes.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@plain_http_option
@click.argument("registry", default="docker.io")
@click.pass_obj
def login_command(
    session: Session,
    registry: str,
    username: str | None,
    password: str | None,
    password_stdin: bool,
    plain_http: bool,
) -> None:
    """Log in to a registry, docker.io if none is named."""
    if password is not None and password_stdin:
        raise UsageError("two passwords", "--password and --password-stdin are both given", "leave one out")
    if password_stdin:
        if not username:
            raise UsageError("no user name", "--password-stdin needs one", "give --username")
        password = sys.stdin.read().removesuffix("\n").removesuffix("\r")
    username = username or _ask("Username: ", hidden=False)
    password = password if password is not None else _ask("Password: ", hidden=True)
    with session.open() as engine:
        where = engine.images.login(registry, username, password, plain_http=plain_http)
    print(f"Logged in to {registry}; kept in {where}")


def _ask(prompt: str, *, hidden: bool) -> str:
    if not os.isatty(0):
        raise UsageError(
            "no password", "standard input is no terminal", "give --username and --password-stdin"
        )
    text: str = click.prompt(prompt.removesuffix(": "), hide_input=hidden, err=True)
    return text


@click.command("logout")
@click.argument("registry", default="docker.io")
@click.pass_obj
def logout_command(session: Session, registry: str) -> None:
    """Log out of a registry, docker.io if none is named."""
    with session.open() as engine:
        places = engine.images.logout(registry)
    print(f"Logged out of {registry}" if places else f"Not logged in to {registry}")
