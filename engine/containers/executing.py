"""`exec` from the caller's side: the streams, and waiting for its end."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal

from engine.containers.execspec import NO_SIZE, ExecOptions, joining_of
from engine.containers.foreground import Keys, Signals, Streams, flush_standard, write_all
from engine.containers.launching import Launchpad
from engine.containers.state import Facts
from engine.errors import LaunchError
from engine.kernel import syscalls
from engine.kernel.channel import Channel
from engine.launch import request
from engine.store.layout import ContainerPaths

_READ = 64 << 10
"""Bytes: all that a pipe holds."""
DETACHED = 0


def execute(
    paths: ContainerPaths,
    container_id: str,
    facts: Facts,
    options: ExecOptions,
    streams: Streams,
    pad: Launchpad,
) -> int:
    """Run the command; its exit code. Raises LaunchError with docker's codes when it does not start."""
    join = joining_of(paths, container_id, facts, options, _size(streams) if options.tty else NO_SIZE)
    flush_standard()
    with contextlib.ExitStack() as stack:
        relay = Relay() if options.tty else _relay(options, streams, stack)
        control = stack.enter_context(pad.hand_over(join, relay.given, orphan=options.detach))
        relay.close_given()
        session = _Session(control, streams, relay, options)
        session.wait_started()
        return DETACHED if options.detach else session.run()


def _size(streams: Streams) -> tuple[int, int]:
    from engine.kernel import terminal

    for descriptor in (streams.stdout, streams.stdin):
        if descriptor is not None and (size := terminal.size_of(descriptor)):
            return size
    return terminal.DEFAULT_SIZE


class Relay:
    """Descriptors for the new process, and our ends of those that go through pipes of ours."""

    def __init__(self) -> None:
        self.given: list[int] = []
        """To be passed on, in the order of 0 (only when interactive), 1, 2."""
        self._made: list[int] = []
        self.feed: int | None = None
        """Where what is typed goes."""
        self.outputs: dict[int, int] = {}
        """Our pipe ends and where what comes out of each goes."""

    def output(self, target: int | None) -> None:
        """One of the outputs: never as it is, or what the program leaves behind would keep a pipe open."""
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        self.given.append(theirs)
        self._made.append(theirs)
        self.outputs[ours] = -1 if target is None else target

    def input(self, source: int) -> None:
        """The input, given as it is where that is `_harmless`."""
        if _harmless(source):
            self.given.append(source)
            return
        theirs, ours = os.pipe2(os.O_CLOEXEC)
        self.given.append(theirs)
        self._made.append(theirs)
        self.feed = ours

    def close_given(self) -> None:
        """Close the ends that were made for the other side."""
        for descriptor in self._made:
            os.close(descriptor)
        self._made.clear()

    def close(self) -> None:
        """Close what is left of ours."""
        self.close_given()
        for descriptor in (*self.outputs, *(() if self.feed is None else (self.feed,))):
            os.close(descriptor)
        self.outputs.clear()
        self.feed = None


def _relay(options: ExecOptions, streams: Streams, stack: contextlib.ExitStack) -> Relay:
    relay = Relay()
    stack.callback(relay.close)
    if options.detach:  # all of it is the container's own null device
        return relay
    if options.interactive and streams.stdin is not None:
        relay.input(streams.stdin)
    relay.output(streams.stdout)
    relay.output(streams.stderr)
    return relay


def _harmless(descriptor: int) -> bool:
    """Whether a container may hold *descriptor*: only what is no file of the host's.

    Root in there could open that anew for writing through /proc/self/fd, or change its mode and owner, be it
    a device like /dev/null; and a terminal takes what is typed on it by anybody.
    """
    return os.readlink(f"/proc/self/fd/{descriptor}").startswith(("pipe:[", "socket:["))


class _Session:
    """Waiting for an exec, carrying what does not go directly."""

    def __init__(self, control: Channel, streams: Streams, relay: Relay, options: ExecOptions) -> None:
        self._control = control
        self._streams = streams
        self._relay = relay
        self._options = options
        self._master: int | None = None

    def wait_started(self) -> None:
        """Until it runs; the master of its terminal comes before."""
        while True:
            packet, descriptors = request.receive_descriptors(self._control)
            if descriptors:
                self._master = descriptors[0]
                self._relay.outputs[self._master] = (
                    -1 if self._streams.stdout is None else self._streams.stdout
                )
                self._relay.feed = os.dup(self._master)
            elif packet[:1] == request.FAILED:
                self._relay.close()
                raise request.raise_failure(packet[1:])
            elif packet[:1] == request.STARTED:
                return
            else:
                self._relay.close()
                raise LaunchError("cannot exec in the container", "the process was killed while being set up")

    def run(self) -> int:
        """Until it has ended; its exit code."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._relay.close)
            signals = stack.enter_context(Signals(("WINCH",) if self._options.tty else ()))
            stdin = (
                self._streams.stdin if self._options.interactive and self._relay.feed is not None else None
            )
            if self._options.tty and stdin is not None and os.isatty(stdin):
                from engine.kernel import terminal

                stack.enter_context(terminal.raw(stdin))
            return self._loop(signals, stdin)

    def _loop(self, signals: Signals, stdin: int | None) -> int:
        keys = Keys(self._streams.keys) if self._options.tty else None
        while True:
            poller = select.poll()
            for descriptor in (self._control.fileno(), signals.reader, *self._relay.outputs):
                if descriptor >= 0:
                    poller.register(descriptor, select.POLLIN)
            if stdin is not None:
                poller.register(stdin, select.POLLIN)
            ready = dict(poller.poll())
            if signals.reader in ready and signal.SIGWINCH in signals.read() and self._master is not None:
                from engine.kernel import terminal

                terminal.set_size(self._master, terminal.Size(*_size(self._streams)))
            for descriptor in [descriptor for descriptor in self._relay.outputs if descriptor in ready]:
                self._carry(descriptor)
            if stdin is not None and stdin in ready:
                data = os.read(stdin, _READ)
                if keys is not None:
                    data, detached = keys.feed(data) if data else (b"", False)
                    if detached:
                        if self._master is not None:
                            _leave(self._master)
                        return DETACHED
                if not self._feed(data, keys):
                    stdin = None
            if self._control.fileno() in ready:
                return self._hear_end()

    def _hear_end(self) -> int:
        packet = self._control.recv(request.MAX_PACKET + 1)
        self._drain()
        if packet[:1] == request.EXITED:
            return int(json.loads(packet[1:])["exit_code"])
        if packet[:1] == request.FAILED:
            raise request.raise_failure(packet[1:])
        raise LaunchError("lost the process", "the one that watched it was killed")

    def _feed(self, data: bytes, keys: Keys | None) -> bool:
        """Pass on what was typed; False when there is no more, or nobody to take it."""
        feed = self._relay.feed
        if feed is None:
            return False
        if data and write_all(feed, data):
            return True
        if data or keys is None:
            os.close(feed)
            self._relay.feed = None
            return False
        return bool(keys) and os.isatty(self._streams.stdin or 0)

    def _carry(self, descriptor: int) -> bool:
        """Pass on what came out; False at its end."""
        try:
            data = os.read(descriptor, _READ)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._relay.outputs.pop(descriptor)
            os.close(descriptor)
            return False
        target = self._relay.outputs[descriptor]
        if target >= 0 and not write_all(target, data):
            if descriptor != self._master:  # nobody reads any more, which is for the program to know
                self._relay.outputs.pop(descriptor)
                os.close(descriptor)
                return False
            self._relay.outputs[descriptor] = -1
        return True

    def _drain(self) -> None:
        """What has come out by the end; a child left behind that holds the output is not waited for."""
        for descriptor in list(self._relay.outputs):
            os.set_blocking(descriptor, False)
            while descriptor in self._relay.outputs and self._carry(descriptor):
                pass


def _leave(master: int) -> None:
    """Have a process of nobody's hold the terminal *master*, or what runs there would be hung up.

    It reads what comes out, which nobody sees, until the last program there has ended.
    """
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        if os.fork() == 0:
            os.setsid()
            os.chdir("/")
            syscalls.close_all_but({master})
            os.set_blocking(master, True)
            with contextlib.suppress(OSError):  # EIO: nobody has its other side any more
                while os.read(master, _READ):
                    pass
    finally:
        os._exit(0)
