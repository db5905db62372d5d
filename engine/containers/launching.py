"""Handing a container over to a monitor, from the caller's side: in the background, or watching it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from engine.containers import networking, removal, restarting, sharing, state
from engine.containers.foreground import Detached, Foreground, Streams, flush_standard, wait_clean
from engine.errors import ConflictError
from engine.kernel.channel import Channel
from engine.launch.request import REMOVED, Join, Launch
from engine.record import Record
from engine.store import records
from engine.store.layout import ContainerPaths
from engine.store.store import Store

if TYPE_CHECKING:
    from engine.containers.launcher import Launcher
    from engine.containers.standby import Standby
    from engine.containers.standing import Standing

NOBODY = Streams(None, None, None)
NO_SIZE = (24, 80)
"""Rows and columns where there is no terminal to ask."""
INTERRUPTED = 130
"""What a foreground that lost patience with its container ends with."""


class Ready(Record):
    """A container that can be started."""

    row: records.ContainerRow
    lowers: tuple[str, ...]


class Launchpad:
    """Starts containers of one store: through the launcher if there is one, else by forking this process."""

    def __init__(
        self,
        store: Store,
        launcher: Launcher | Standby | Standing | None,
        network: networking.NetworkSettings,
    ) -> None:
        self._network = network
        self._store = store
        self._launcher = launcher
        self._children: list[int] = []
        self.heed: Callable[[str], None] | None = None
        """Who is told what is well to know of a container that has been started."""

    def close(self) -> None:
        """End the launcher; containers run on."""
        if self._launcher is not None:
            self._launcher.close()
        self._reap()

    def hand_over(self, work: Launch | Join, descriptors: list[int], *, orphan: bool) -> Channel:
        """Have *work* done; our end of its control socket. An *orphan* is nobody's child."""
        if self._launcher is not None:
            return self._launcher.launch(work, descriptors)
        from engine.containers.launcher import fork_monitor

        self._reap()
        control, child = fork_monitor(work, descriptors, orphan=orphan)
        if child is not None:
            self._children.append(child)
        return control

    def _reap(self) -> None:
        """Monitors that were our children and have ended leave no zombies."""
        for pid in list(self._children):
            try:
                ended = os.waitpid(pid, os.WNOHANG)[0] == pid
            except ChildProcessError:
                ended = True
            if ended:
                with contextlib.suppress(ValueError):
                    self._children.remove(pid)

    def start(self, ready: Ready) -> state.Facts:
        """Start it in the background; its state once its program has run."""
        row = ready.row
        with self._alone(row) as paths:
            launch = self._launch(ready, paths, attached=False, size=NO_SIZE)
            with self.hand_over(launch, [], orphan=True) as control:
                started = Foreground(control, NOBODY, tty=False, interactive=False).wait_started()
        self._caution(started)
        facts = state.derive(paths)
        # It may have ended and gone already.
        return facts if facts.state != "created" else state.Facts("exited", started=str(started["started"]))

    def _caution(self, started: dict[str, object]) -> None:
        cautions = started.get("cautions")
        if self.heed is not None and isinstance(cautions, list):
            for sentence in cautions:
                self.heed(str(sentence))

    def run(self, ready: Ready, streams: Streams, *, interactive: bool) -> int:
        """Start it and carry *streams* until it has ended or is detached from; its exit code."""
        row = ready.row
        flush_standard()
        size: tuple[int, int] = NO_SIZE
        if row.options.tty:
            from engine.kernel import terminal

            sizes = (terminal.size_of(fd) for fd in (streams.stdout, streams.stdin) if fd is not None)
            size = next(filter(None, sizes), size)
        with contextlib.ExitStack() as stack:
            with self._alone(row) as paths:
                launch = self._launch(ready, paths, attached=True, size=size)
                control = stack.enter_context(self.hand_over(launch, [], orphan=False))
                watching = Foreground(control, streams, tty=row.options.tty, interactive=interactive)
                self._caution(watching.wait_started())
            unheard: OSError | None = None
            try:
                ended = watching.run()
            except OSError as error:
                # `| head -1`: what is not to stay ends with its reader; else its log has what it says.
                if row.options.auto_remove:
                    watching.kill()
                if row.options.auto_remove or not isinstance(error, BrokenPipeError):
                    unheard = error
                ended = watching.run()
            if isinstance(ended, Detached):
                return INTERRUPTED if ended.impatient else 0
            if row.options.auto_remove:
                removal.erase(self._store.layout, self._store.freeing(), row.id)
            wait_clean(control)
            with contextlib.suppress(OSError):
                control.send(REMOVED)
        if unheard is not None:
            raise unheard
        return ended.exit_code

    @contextlib.contextmanager
    def _alone(self, row: records.ContainerRow) -> Iterator[ContainerPaths]:
        """Nobody else starts or removes it during the block. Raises ConflictError when it runs."""
        paths = self._store.layout.container(row.id)
        with removal.locked(paths, row.name):
            facts = removal.begun(paths)
            if facts.held:
                raise ConflictError(f"the container {row.name} is {facts.state} already")
            sharing.check_others(self._store, row.options)
            if facts.state != "created":
                restarting.allow(paths)
            yield paths

    def _launch(
        self, ready: Ready, paths: ContainerPaths, *, attached: bool, size: tuple[int, int]
    ) -> Launch:
        layout = self._store.layout
        options = ready.row.options
        return Launch(
            id=ready.row.id,
            name=ready.row.name,
            root=layout.root,
            home=paths.home,
            run=paths.run,
            revision=layout.revision,
            lowers=ready.lowers,
            interactive=options.interactive,
            attached=attached,
            auto_remove=options.auto_remove,
            health=options.health,
            restart=options.restart,
            log_max_size=options.log_max_size,
            log_max_files=options.log_max_files,
            fresh=self._launcher is not None,
            rows=size[0],
            columns=size[1],
            network=networking.wish(ready.row, self._network),
            shares=sharing.shares(options),
        )


def erase_failed(store: Store, row: records.ContainerRow, cgroup_path: str) -> None:
    """An auto_remove container that did not start is gone again; one that lost only its monitor stays.

    A monitor that was killed leaves a cgroup, with a first process half made in it.
    """
    if row.options.auto_remove and not state.derive(store.layout.container(row.id)).active:
        removal.clean_cgroup(cgroup_path, kill_members=True)
        removal.clean_network(store.layout, row.id, half_made=row.options.network == networking.BRIDGE)
        removal.erase(store.layout, store.freeing(), row.id)
