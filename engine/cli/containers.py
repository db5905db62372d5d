"""Commands on containers that exist: starting, ending and removing them, and talking to what runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from engine.cli import attaching, launch, limits, report
from engine.cli.completion import complete_containers, completing
from engine.cli.output import emit
from engine.cli.session import Session
from engine.cli.values import seconds
from engine.errors import CowlError, NotFoundError, UsageError
from engine.model import Limits

if TYPE_CHECKING:
    from engine.containers.lifecycle import Containers
    from engine.containers.standing import Standing

one = click.argument("container", shell_complete=complete_containers)
patience = click.option(
    "-t", "--time", "--timeout", "timeout", metavar="SECONDS", help="From the signal to SIGKILL."
)
signals = completing("stop_signal")
asking = click.option(
    "-s",
    "--signal",
    metavar="SIGNAL",
    shell_complete=signals,
    help="What asks it to end, instead of its own.",
)
keys = click.option("--detach-keys", metavar="KEYS", help="What leaves it running; ctrl-p,ctrl-q.")
several = click.argument(
    "containers", nargs=-1, required=True, metavar="CONTAINER...", shell_complete=complete_containers
)


def _each(
    session: Session,
    containers: Sequence[str],
    act: Callable[[Containers, str], object],
    launcher: Standing | None = None,
    *,
    minds_missing: bool = True,
) -> int:
    """Do *act* to each container and print its name as it was given; a failure does not spare the others.

    Unless *minds_missing*, one that is not there is no failure.
    """
    code = 0
    with session.open(launcher) as engine:
        engine.containers.heed(report.warn)
        for name in containers:
            try:
                act(engine.containers, name)
            except CowlError as error:
                if isinstance(error, NotFoundError) and not minds_missing:
                    report.warn(str(error))
                else:
                    code = report.fail(error)
            else:
                print(name, flush=True)
    return code


@click.command("start")
@click.option("-a", "--attach", is_flag=True, help="Show its output and end with its exit code.")
@click.option("-i", "--interactive", is_flag=True, help="Give it this standard input; implies -a.")
@keys
@several
@click.pass_obj
def start_command(
    session: Session, attach: bool, interactive: bool, detach_keys: str | None, containers: tuple[str, ...]
) -> int:
    """Start containers that were created or have ended."""
    if not (attach or interactive):
        with launch.launcher(session) as found:
            return _each(session, containers, lambda room, name: room.start(name), found)
    if len(containers) > 1:
        raise UsageError("cannot attach to several containers", "there is one terminal", "name one")
    with report.launching(), launch.launcher(session) as found, session.open(found) as engine:
        streams = attaching.streams({"detach_keys": detach_keys})
        return launch.start_attached(engine, containers[0], interactive=interactive, streams=streams)


@click.command("stop")
@patience
@asking
@several
@click.pass_obj
def stop_command(
    session: Session, timeout: str | None, signal: str | None, containers: tuple[str, ...]
) -> int:
    """Ask containers to end, and kill those that do not in time."""
    limit = None if timeout is None else seconds(timeout)
    return _each(session, containers, lambda room, name: room.stop(name, limit, signal))


@click.command("restart")
@patience
@asking
@several
@click.pass_obj
def restart_command(
    session: Session, timeout: str | None, signal: str | None, containers: tuple[str, ...]
) -> int:
    """Stop containers, where they run, and start them."""
    limit = None if timeout is None else seconds(timeout)

    def again(room: Containers, name: str) -> None:
        room.stop(name, limit, signal)
        room.start(name)

    with launch.launcher(session) as found:
        return _each(session, containers, again, found)


@click.command("kill")
@click.option(
    "-s",
    "--signal",
    "signal",
    default="KILL",
    metavar="SIGNAL",
    shell_complete=signals,
    help="Name or number.",
)
@several
@click.pass_obj
def kill_command(session: Session, signal: str, containers: tuple[str, ...]) -> int:
    """Send a signal to first processes: SIGKILL if none is named."""
    return _each(session, containers, lambda room, name: room.kill(name, signal))


@click.command("pause")
@several
@click.pass_obj
def pause_command(session: Session, containers: tuple[str, ...]) -> int:
    """Freeze all processes of containers."""
    return _each(session, containers, lambda room, name: room.pause(name))


@click.command("unpause")
@several
@click.pass_obj
def unpause_command(session: Session, containers: tuple[str, ...]) -> int:
    """Let the processes of paused containers go on."""
    return _each(session, containers, lambda room, name: room.unpause(name))


@click.command("wait")
@several
@click.pass_obj
def wait_command(session: Session, containers: tuple[str, ...]) -> int:
    """Wait until containers end, and print their exit codes."""
    code = 0
    with session.open() as engine:
        for name in containers:
            try:
                print(engine.containers.wait(name), flush=True)
            except CowlError as error:
                code = report.fail(error)
    return code


@click.command("rm")
@click.option("-f", "--force", is_flag=True, help="Kill those that run.")
@click.option("-v", "--volumes", is_flag=True, help="Also volumes that were made for them alone.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@several
@click.pass_obj
def rm_command(
    session: Session, force: bool, volumes: bool, dry_run: bool, containers: tuple[str, ...]
) -> int:
    """Remove containers with their changes."""

    if not dry_run:
        return _each(
            session,
            containers,
            lambda room, name: room.remove(name, force=force, volumes=volumes),
            minds_missing=not force,
        )
    with session.open() as engine:
        for name in containers:
            emit(engine.containers.removal_effect(name))
    return 0


@click.command("rename")
@one
@click.argument("name")
@click.pass_obj
def rename_command(session: Session, container: str, name: str) -> None:
    """Give a container another name."""
    with session.open() as engine:
        engine.containers.rename(container, name)


@click.command("attach")
@click.option("--no-stdin", is_flag=True, help="Only watch.")
@click.option(
    "--sig-proxy/--no-sig-proxy", default=True, help="Pass signals on (the default; also =false), or not."
)
@keys
@one
@click.pass_obj
def attach_command(
    session: Session, no_stdin: bool, sig_proxy: bool, detach_keys: str | None, container: str
) -> int:
    """Join a container's input and output; ctrl-p ctrl-q leaves."""
    streams = attaching.streams({"detach_keys": detach_keys, "sig_proxy": sig_proxy})
    with report.launching(), session.open() as engine:
        return launch.attach(engine, container, interactive=not no_stdin, streams=streams)


@click.command("update")
@click.option("--cpus", metavar="NUMBER", help="At most so many CPUs; 0: any.")
@click.option("-c", "--cpu-shares", metavar="NUMBER", help="Its weight beside others; 0: the usual.")
@click.option("--cpuset-cpus", metavar="0-2,4", help="Run on these CPUs only.")
@click.option("--cpuset-mems", metavar="0-3,5", help="Use these memory nodes only.")
@click.option("--cpu-period", metavar="NUMBER", help="With --cpu-quota: microseconds of a period.")
@click.option("--cpu-quota", metavar="NUMBER", help="At most so many microseconds of CPU a period.")
@click.option("--cpu-rt-period", metavar="NUMBER", help="Microseconds of a real-time period.")
@click.option("--cpu-rt-runtime", metavar="NUMBER", help="Its real-time tasks' share of that.")
@click.option("--blkio-weight", metavar="10..1000", help="Its weight in IO beside others.")
@click.option("-m", "--memory", metavar="SIZE", help="At most so much memory; -1: any.")
@click.option("--kernel-memory", metavar="SIZE", hidden=True, help="Left out: kernels have it no more.")
@click.option("--memory-reservation", metavar="SIZE", help="What it keeps when memory is scarce.")
@click.option("--memory-swap", metavar="SIZE", help="Memory and swap together; -1: any.")
@click.option("--pids-limit", metavar="NUMBER", help="At most so many processes; -1: any.")
@click.option(
    "--restart",
    metavar="POLICY",
    shell_complete=completing("restart"),
    help="no, always, unless-stopped or on-failure[:times].",
)
@several
@click.pass_obj
def update_command(
    session: Session, /, restart: str | None, containers: tuple[str, ...], **given: str | None
) -> int:
    """Change limits of containers, at once where they run."""
    if given.pop("kernel_memory"):
        report.warn(limits.KERNEL_MEMORY)
    elif limits.updates(given) == (Limits(), ()) and restart is None:
        raise UsageError("nothing to change", "no limit is named", "see cowl update --help")

    def change(room: Containers, name: str) -> None:
        wanted, lifted = limits.updates(given, room.get(name).limits.cpu_period)
        room.update(name, wanted, lift=lifted, restart=restart or None)

    return _each(session, containers, change)
