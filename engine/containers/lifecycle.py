"""Containers from creation to removal: what `Engine.containers` is."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO, Literal, overload

from engine.containers import attach, confining, creation, ending, logs, networking, removal, rounds, state
from engine.containers.foreground import Foreground, Streams
from engine.containers.launching import Launchpad, Ready, erase_failed
from engine.containers.networking import NetworkSettings
from engine.errors import ConflictError, CowlError
from engine.kernel import capabilities, cgroup, process
from engine.launch.request import ProcessExit
from engine.model import JSON, Container, LaunchOptions, Limits, LogLine, PublishedPort, Removal
from engine.store import events, failures, records
from engine.store.layout import ContainerPaths
from engine.store.store import Store

if TYPE_CHECKING:
    from engine.containers.copying import Subject
    from engine.containers.launcher import Launcher
    from engine.containers.logs import LogFollower
    from engine.containers.standby import Standby
    from engine.containers.standing import Standing

STDIO = Streams()


class Containers:
    """The containers of one store. Every method may be called from any thread."""

    def __init__(
        self,
        store: Store,
        *,
        cgroup_parent: str = "cowl",
        launcher: bool | Standby | Standing = False,
        network: NetworkSettings = NetworkSettings(),  # noqa: B008 - immutable
    ) -> None:
        self._network = network
        self._store = store
        self._cgroup_parent = cgroup_parent
        self._pad = Launchpad(store, _new_launcher() if launcher is True else launcher or None, network)
        self._available: int | None = None
        rounds.look_round(store)

    def close(self) -> None:
        """End the launcher; containers run on."""
        self._pad.close()

    # Looking

    def list(self) -> list[Container]:
        """Every container, oldest first, with its state now. What nobody else is left to remove goes."""
        rows = records.containers(self._store.connection)
        ports = networking.ports(self._store)
        return rounds.attended(self._store, [self._container(row, ports) for row in rows])

    def get(self, reference: str) -> Container:
        """The container that *reference* means: its name, ID or a unique prefix of that."""
        return self._container(self._row(reference), networking.ports(self._store))

    def inspect(self, reference: str) -> JSON:
        """Everything that is known of a container, as one document."""
        row = self._row(reference)
        paths = self._paths(row)
        facts = state.derive(paths)
        found = _container(row, facts)._asdict()
        found["health"] = None
        if row.options.health is not None:
            found["health"] = state.read_document(paths.health)
        found["failures"] = [failure._asdict() for failure in failures.read(paths)]
        found["network"] = networking.describe(self._store, row)
        found["ports"] = found["network"].get("ports", [])
        found["options"] = json.loads(records.encode_options(row.options))
        found["limits"] = row.options.limits._asdict()
        found["manifest"] = row.manifest
        found["lowers"] = list(self._lowers(row))
        found["upper"] = paths.upper
        found["log"] = paths.log
        found["config_path"] = paths.config
        found["cgroup"] = facts.cgroup
        found["config"] = state.read_document(paths.config)
        found["seccomp"] = confining.filtering(found["config"] or {}, row.options)
        return found

    def logs(
        self,
        reference: str,
        *,
        tail: int | None = None,
        since: str | None = None,
        until: str | None = None,
        follow: bool = False,
    ) -> Iterator[LogLine]:
        """The lines of its output; *since* and *until* are RFC 3339 in UTC. With *follow*, until it ends."""
        paths = self._paths(self._row(reference))

        def active() -> bool:
            return state.derive(paths).held

        return logs.read(paths.log, tail=tail, since=since, until=until, follow=follow, active=active)

    def follow_log(self, reference: str, *, tail: int) -> LogFollower:
        """Its log for who looks at it now and then: the last *tail* lines at first. To be closed."""
        return logs.LogFollower(self._paths(self._row(reference)).log, tail)

    # Launching

    def heed(self, listener: Callable[[str], None]) -> None:
        """Have *listener* told what is well to know of containers when they have been started: sentences."""
        self._pad.heed = listener

    def create(self, options: LaunchOptions, *, told: Callable[[str], None] | None = None) -> Container:
        """Make a container without starting it; *told* is given its ID."""
        made = self._create(options, told)
        return _container(made.row, state.Facts("created"))

    @overload
    def run(self, options: LaunchOptions, *, told: Callable[[str], None] | None = None) -> Container: ...
    @overload
    def run(
        self,
        options: LaunchOptions,
        *,
        attach: Literal[True],
        streams: Streams = STDIO,
        told: Callable[[str], None] | None = None,
    ) -> int: ...

    def run(
        self,
        options: LaunchOptions,
        *,
        attach: bool = False,
        streams: Streams = STDIO,
        told: Callable[[str], None] | None = None,
    ) -> Container | int:
        """Make and start a container; *told* is given its ID in between.

        Returns it once its program runs; with *attach*, carries *streams* until it has ended (or is
        detached from) and returns its exit code. Raises LaunchError (125, 126, 127) when it does not start;
        then an auto_remove container is gone again.
        """
        ready = self._create(options, told)
        try:
            if attach:
                return self._pad.run(ready, streams, interactive=options.interactive)
            return _container(ready.row, self._pad.start(ready))
        except CowlError:
            erase_failed(self._store, ready.row, self._cgroup_path(ready.row))
            raise

    @overload
    def start(self, reference: str) -> Container: ...
    @overload
    def start(
        self,
        reference: str,
        *,
        attach: Literal[True],
        interactive: bool = False,
        streams: Streams = STDIO,
    ) -> int: ...

    def start(
        self, reference: str, *, attach: bool = False, interactive: bool = False, streams: Streams = STDIO
    ) -> Container | int:
        """Start a container that does not run; with *attach* as `run`."""
        row = self._row(reference)
        ready = Ready(row, self._lowers(row))
        if attach:
            return self._pad.run(ready, streams, interactive=interactive)
        return _container(row, self._pad.start(ready))

    def exec(
        self,
        reference: str,
        argv: Sequence[str],
        *,
        tty: bool = False,
        interactive: bool = False,
        detach: bool = False,
        env: Sequence[str] = (),
        user: str | None = None,
        workdir: str | None = None,
        privileged: bool = False,
        streams: Streams = STDIO,
    ) -> int:
        """Run *argv* in a running container and return its exit code (0 at once with *detach*).

        Raises ConflictError when the container does not run, LaunchError when the command does not start.
        """
        from engine.containers import execspec, executing

        row = self._row(reference)
        facts = state.derive(self._paths(row))
        if facts.state == "paused":
            raise ConflictError(f"the container {row.name} is paused", hint=f"cowl unpause {row.name}")
        if facts.who is None or facts.cgroup is None:
            raise ConflictError(f"the container {row.name} is not running", hint=f"cowl start {row.name}")
        options = execspec.ExecOptions(
            tuple(argv), tty, interactive, detach, tuple(env), user, workdir, privileged
        )
        events.record(
            self._store.layout, "container", "exec_start", row.id, row.name, command=" ".join(argv)[:256]
        )
        return executing.execute(self._paths(row), row.id, facts, options, streams, self._pad)

    def attach(self, reference: str, *, streams: Streams = STDIO, interactive: bool = True) -> int | None:
        """Watch and feed a running container; its exit code, or None when the caller detached from it."""
        row = self._row(reference)
        if not state.derive(self._paths(row)).active:
            raise ConflictError(f"the container {row.name} is not running", hint=f"cowl start {row.name}")
        control = attach.connect(self._paths(row), row.name)
        with control:
            watching = Foreground(
                control,
                streams,
                tty=row.options.tty,
                interactive=interactive and row.options.interactive,
                forward=not row.options.tty,
            )
            ended = watching.run()
        return ended.exit_code if isinstance(ended, ProcessExit) else None

    # Ending

    def stop(
        self, reference: str, timeout: float | None = None, signal_name: str | int | None = None
    ) -> None:
        """Ask it to end by *signal_name*, and kill it after *timeout* seconds; None is what it has itself."""
        row = self._row(reference)
        paths = self._paths(row)
        number = ending.signal_number(signal_name or row.options.stop_signal or "SIGTERM")
        facts = self._called_off(row, paths)
        if not facts.active:
            return
        patience = row.options.stop_timeout if timeout is None else timeout
        if facts.who is not None:
            process.send_signal(facts.who, number)
            self._tell(row, "kill", signal=str(number))
            if facts.cgroup is not None:
                cgroup.thaw(cgroup.Cgroup.from_json(facts.cgroup))
            if not ending.wait_end(facts.who, None if patience < 0 else patience):
                removal.kill(paths, facts)
        removal.settle(paths)
        self._clean_unmonitored(row, facts)
        self._tell(row, "stop")

    def kill(self, reference: str, signal_name: str | int = "SIGKILL") -> None:
        """Send a signal to its first process. Raises ConflictError when it does not run.

        Between two runs, one that ends it keeps it from the next, as with docker.
        """
        row = self._row(reference)
        paths = self._paths(row)
        number = ending.signal_number(signal_name)
        ends = number in (signal.SIGKILL, ending.signal_number(row.options.stop_signal or "SIGTERM"))
        facts = before = state.derive(paths)
        if ends and before.held and row.options.restart != "no":
            facts = removal.call_off(paths)
        sent = facts.who is not None and process.send_signal(facts.who, number)
        if not (sent or facts is not before):
            raise ConflictError(f"the container {row.name} is not running")
        self._tell(row, "kill", signal=str(number))
        if number == signal.SIGKILL:
            if facts.cgroup is not None:
                cgroup.thaw(cgroup.Cgroup.from_json(facts.cgroup))
            removal.settle(paths)
            self._clean_unmonitored(row, facts)

    def pause(self, reference: str) -> None:
        """Freeze all its processes."""
        row = self._row(reference)
        facts = state.derive(self._paths(row))
        if facts.state != "running" or facts.cgroup is None:
            raise ConflictError(
                f"the container {row.name} is {facts.state}", hint="only what runs can be paused"
            )
        cgroup.freeze(cgroup.Cgroup.from_json(facts.cgroup))
        self._tell(row, "pause")

    def unpause(self, reference: str) -> None:
        """Let it run on."""
        row = self._row(reference)
        facts = state.derive(self._paths(row))
        if facts.state != "paused" or facts.cgroup is None:
            raise ConflictError(f"the container {row.name} is not paused", f"it is {facts.state}")
        cgroup.thaw(cgroup.Cgroup.from_json(facts.cgroup))
        self._tell(row, "unpause")

    def wait(self, reference: str) -> int:
        """Its code once it has ended (state.UNKNOWN_EXIT_CODE: nobody saw); NotFoundError if it is gone."""
        row = self._row(reference)
        paths = self._paths(row)
        while True:
            code = attach.wait(paths)
            if code is not None:
                return code
            facts = state.derive(paths)
            if facts.who is not None:
                ending.wait_end(facts.who, 1.0)
            elif facts.held:
                time.sleep(0.02)
            elif facts.state == "created":
                self._row(row.id)  # it may have gone by itself
                raise ConflictError(
                    f"the container {row.name} was never started", hint=f"cowl start {row.name}"
                )
            else:
                return state.UNKNOWN_EXIT_CODE if facts.exit_code is None else facts.exit_code

    def remove(self, reference: str, force: bool = False, *, volumes: bool = False) -> None:
        """Remove it with its read-write layer and log; with *force*, even if it runs.

        With *volumes*, those that were made for it alone go too.
        """
        row = self._row(reference)
        removal.remove(self._store, row, self._cgroup_path(row), force=force, volumes=volumes)
        self._touch()

    def size(self, reference: str) -> int:
        """Bytes of the files that it has changed or made."""
        return removal.size(self._paths(self._row(reference)))

    def removal_effect(self, reference: str) -> Removal:
        """What `remove` with force would take away."""
        return removal.effect(self._store.layout, self._row(reference))

    def rename(self, reference: str, name: str) -> None:
        """Give it another name."""
        row = self._row(reference)
        creation.check_name(name)
        if name == row.name:
            raise ConflictError(f"the container {name} is called that already")
        with self._store.write() as connection:
            records.rename_container(connection, row.id, name)
        networking.rename(self._store, row, name)
        self._tell(row._replace(name=name), "rename", old_name=row.name)

    def copy_out(
        self,
        reference: str,
        path: str,
        destination: str | BinaryIO,
        *,
        follow: bool = False,
        archive: bool = False,
    ) -> None:
        """Copy *path* of a container to a path of the host, or as a tar to a stream.

        With *follow* a link is what it leads to, with *archive* owners stay what they are. Raises
        NotFoundError, ConflictError, ArchiveError, NoSpaceError, StoreError.
        """
        from engine.containers import copying

        copying.copy_out(self._subject(reference), path, destination, follow=follow, archive=archive)

    def copy_in(
        self,
        source: str | BinaryIO,
        reference: str,
        path: str,
        *,
        follow: bool = False,
        archive: bool = False,
    ) -> None:
        """Copy a path of the host, or the tar of a stream, to *path* of a container; as `copy_out`."""
        from engine.containers import copying

        copying.copy_in(self._subject(reference), source, path, follow=follow, archive=archive)
        self._touch()

    def update(
        self,
        reference: str,
        limits: Limits,
        *,
        lift: Collection[str] = (),
        restart: str | None = None,
    ) -> None:
        """Change its limits and restart policy, at once where it runs: what is None stays.

        *lift* names limits that are to be no more. Raises ConflictError where more is in use than a new
        limit allows, UnsupportedError, UsageError.
        """
        from engine.containers import updating

        row = self._row(reference)
        updating.update(self._store, row, limits, lift, restart)
        self._tell(row, "update")

    # Within

    def _container(
        self, row: records.ContainerRow, ports: Mapping[str, tuple[PublishedPort, ...]]
    ) -> Container:
        paths = self._paths(row)
        found = _container(row, state.derive(paths), ports.get(row.id, ()))
        if row.options.health is not None and found.state in ("running", "paused"):
            findings = state.read_document(paths.health) or {}
            return found._replace(health=findings.get("status"))
        return found

    def _row(self, reference: str) -> records.ContainerRow:
        return records.container_row(self._store.connection, reference)

    def _paths(self, row: records.ContainerRow) -> ContainerPaths:
        return self._store.layout.container(row.id)

    def _lowers(self, row: records.ContainerRow) -> tuple[str, ...]:
        chain = records.lineage(self._store.connection, row.chain_id)
        return tuple(self._store.layout.tree(node) for node in chain)

    def _cgroup_path(self, row: records.ContainerRow) -> str:
        return removal.cgroup_path(self._paths(row)) or f"{self._cgroup_parent}/{row.id}"

    def _subject(self, reference: str) -> Subject:
        from engine.containers.copying import Subject

        row = self._row(reference)
        return Subject(row.name, self._paths(row), self._lowers(row))

    def _called_off(self, row: records.ContainerRow, paths: ContainerPaths) -> state.Facts:
        """Its state, once no policy starts it again."""
        facts = state.derive(paths)
        return removal.call_off(paths) if facts.held and row.options.restart != "no" else facts

    def _tell(self, row: records.ContainerRow, action: str, **attributes: str) -> None:
        """Let whoever watches containers know."""
        self._touch()
        events.record(self._store.layout, "container", action, row.id, row.name, **attributes)

    def _touch(self) -> None:
        state.touch(self._store.layout.revision)

    def _create(self, options: LaunchOptions, told: Callable[[str], None] | None = None) -> Ready:
        if self._available is None:
            own = capabilities.own()
            self._available = own.permitted & own.bounding
        made = creation.create(
            self._store,
            options,
            cgroup_parent=self._cgroup_parent,
            available=self._available,
            network=self._network,
        )
        if told is not None:
            told(made.row.id)
        return Ready(made.row, made.lowers)

    def _clean_unmonitored(self, row: records.ContainerRow, facts: state.Facts) -> None:
        """What a container that had no monitor leaves; all of it, if it was to go by itself."""
        if not facts.monitored:
            removal.clean_cgroup(self._cgroup_path(row), kill_members=True)
            removal.clean_network(self._store.layout, row.id, half_made=True)
            rounds.attended(self._store, [self._container(row, {})])


def _new_launcher() -> Launcher:
    from engine.containers.launcher import Launcher

    return Launcher()


def _container(
    row: records.ContainerRow, facts: state.Facts, ports: Sequence[PublishedPort] = ()
) -> Container:
    options = row.options
    labels = dict(label.partition("=")[::2] for label in options.labels)
    return Container(
        id=row.id,
        name=row.name,
        image=row.image,
        chain_id=row.chain_id,
        command=row.command,
        state=facts.state,
        created=row.created,
        started=facts.started,
        finished=facts.finished,
        exit_code=facts.exit_code,
        oom_killed=facts.oom_killed,
        error=facts.error,
        restarts=facts.restarts,
        pid=facts.who.pid if facts.who else None,
        monitored=facts.monitored,
        limits=options.limits,
        tty=options.tty,
        interactive=options.interactive,
        auto_remove=options.auto_remove,
        labels=labels,
        options=options,
        ports=tuple(ports) if facts.active else (),
    )
