"""A monitor's loop: output to the log and to whoever watches, input to it, until it ends."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import struct
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from engine.containers.clients import STALL_SECONDS, Client
from engine.containers.logfile import LogFile
from engine.kernel.channel import Channel
from engine.launch import request

READ_SIZE = 32 << 10
MAX_INPUT = 64 << 10
"""Bytes of input that wait for the container before its clients are not read any further."""
DRAIN_SECONDS = 0.5
"""How long after the end output is waited for from descriptors that have left the container."""
_MOST_HELD = 1 << 20
"""Bytes that can wait to be read in a pipe, unless root has made it larger, or a terminal (pipe(7))."""
FULL_SECONDS = 0.5
"""How long nobody is let in after there was no descriptor left for one."""
_LITTLE = 256
"""Bytes that can be had where there is no memory for READ_SIZE."""
_FULL = (errno.EMFILE, errno.ENFILE)
_END = (errno.EIO, errno.EBADF)
_READABLE = select.POLLIN | select.POLLHUP | select.POLLERR


class Pump:
    """The streams of one running container."""

    def __init__(self, pidfd: int, log: LogFile, listener: Channel | None) -> None:
        self.pidfd = pidfd
        """Of the container's first process."""
        self._log = log
        self.listener = listener
        """Where clients connect; it outlives the run of which this is."""
        self._outputs: dict[int, tuple[bytes, bytes]] = {}
        self._input: int | None = None
        self._terminal: int | None = None
        self._peer: int | None = None
        self._pending: deque[bytes] = deque()
        self._input_ends = False
        self.clients: list[Client] = []
        self._full_until = 0.0
        """When clients are let in again, on the monotonic clock; 0 for now."""
        self._lost = False
        """Whether what the container says is read and not carried, see `outlast`."""

    def add_output(self, descriptor: int, stream: bytes, letter: bytes) -> None:
        """Read *descriptor* for the log's *stream*; clients get packets of *letter*."""
        os.set_blocking(descriptor, False)
        self._outputs[descriptor] = (stream, letter)

    def set_input(self, descriptor: int) -> None:
        """What clients type goes to *descriptor*."""
        os.set_blocking(descriptor, False)
        self._input = descriptor

    def set_terminal(self, master: int) -> None:
        """The container has a terminal: output, input and size are those of *master*.

        Its other side is held open too, so that a program that closes its own for a moment does not hang it
        up.
        """
        from engine.kernel import terminal

        self._terminal = master
        self._peer = terminal.open_peer(master)
        self.add_output(master, b"stdout", request.STDOUT)
        self._input = master

    def run(self, seconds: float | None = None) -> bool:
        """Until the container's first process has ended.

        False if it runs still after *seconds*, as soon as nothing waits here for anybody.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            poller, timeout = self._poller()
            poller.register(self.pidfd, select.POLLIN)
            if deadline is not None and (left := 1000 * (deadline - time.monotonic())) > 0:
                timeout = left if timeout is None else min(timeout, left)
            elif deadline is not None and self._at_rest:
                return False
            ready = dict(poller.poll(timeout))
            self._serve(ready)
            if self.pidfd in ready:
                return True

    def outlast(self) -> None:
        """Until the container's first process has ended, for when `run` has failed: nothing is carried.

        What the container says is read all the same: it must neither wait for that nor be ended by it. Nor is
        carried what is left of it then.
        """
        self._lost = True
        self._pending.clear()
        while True:
            poller = select.poll()
            for descriptor in (self.pidfd, *self._outputs):
                poller.register(descriptor, select.POLLIN)
            if self.listener is not None:
                poller.register(self.listener, select.POLLIN)
            ready = dict(poller.poll())
            for descriptor in [each for each in self._outputs if each in ready]:
                try:
                    self._read(descriptor)
                except OSError:  # this may be what has failed
                    del self._outputs[descriptor]
            if self.listener is not None and self.listener.fileno() in ready:
                with contextlib.suppress(OSError):
                    self.listener.accept().close()
            if self.pidfd in ready:
                return

    @property
    def _at_rest(self) -> bool:
        return not self._pending and not any(client.size for client in self.clients)

    def parts(self) -> tuple[tuple[Any, ...], list[int]]:
        """For `resumed` in another process: words, and the open files that they mean by their place."""
        descriptors: list[int] = []

        def place(descriptor: int | None) -> int | None:
            if descriptor is None:
                return None
            if descriptor not in descriptors:
                descriptors.append(descriptor)
            return descriptors.index(descriptor)

        document = (
            place(self.pidfd),
            place(self._log.descriptor),
            self._log.parts(),
            None if self.listener is None else place(self.listener.fileno()),
            [(place(descriptor), *names) for descriptor, names in self._outputs.items()],
            [place(descriptor) for descriptor in (self._input, self._terminal, self._peer)],
            self._input_ends,
            [(place(client.fileno()), client.foreground, client.quiet) for client in self.clients],
        )
        return document, descriptors

    @staticmethod
    def resumed(document: tuple[Any, ...], descriptors: Sequence[int]) -> Pump:
        """The pump whose `parts` these are."""
        pidfd, log, words, listener, outputs, inputs, input_ends, clients = document
        pump = Pump(
            descriptors[pidfd],
            LogFile.resumed(words, descriptors[log]),
            None if listener is None else Channel(fileno=descriptors[listener]),
        )
        for place, stream, letter in outputs:
            pump._outputs[descriptors[place]] = (stream, letter)
        pump._input, pump._terminal, pump._peer = (
            None if place is None else descriptors[place] for place in inputs
        )
        pump._input_ends = input_ends
        for place, foreground, quiet in clients:
            client = Client(Channel(fileno=descriptors[place]), foreground)
            client.quiet = quiet
            pump.clients.append(client)
        return pump

    def let_go(self) -> None:
        """Close all that it has: another process goes on with it."""
        for client in self.clients:
            client.close()
        if self.listener is not None:
            self.listener.close()
        self.close()
        for descriptor in (self.pidfd, self._log.descriptor, self._peer):
            if descriptor is not None:
                os.close(descriptor)

    def drain(self) -> None:
        """Read what the ended container has left in its streams: to the end, or for DRAIN_SECONDS.

        What is there by then is read however late that is.
        """
        if self._peer is not None:
            os.close(self._peer)
            self._peer = None
        deadline = time.monotonic() + DRAIN_SECONDS
        late = 0
        while self._outputs and late < len(self._outputs) * _MOST_HELD:
            poller = select.poll()
            for descriptor in self._outputs:
                poller.register(descriptor, select.POLLIN)
            left = max(0.0, deadline - time.monotonic())
            if not (ready := poller.poll(left * 1000)) and not left:
                return
            for descriptor, _ in ready:
                size = self._read(descriptor)
                late += 0 if left else size

    def admit(self) -> None:
        """Let everybody in who waits for that."""
        while self.listener is not None and self._accept(self.listener):
            pass

    def close_log(self) -> None:
        """Everything has been read."""
        self._log.close()

    def close(self) -> None:
        """Let go of the container's streams; the listener stays."""
        for descriptor in {*self._outputs, self._input, self._terminal}:
            if descriptor is not None:
                os.close(descriptor)
        self._outputs.clear()
        self._input = self._terminal = None

    def tell(self, packet: bytes) -> None:
        """Send *packet* to every client."""
        for client in self.clients:
            client.send(packet)

    def finish(self) -> bool:
        """Let every client take what waits for it, and hear whether one has removed the container."""
        removed = False
        while True:
            self.clients = [client for client in self.clients if not client.gone]
            now = time.monotonic()
            for client in self.clients:
                if client.stalled(now) or (not client.foreground and not client.size):
                    client.close()
            waiting = [client for client in self.clients if not client.gone]
            if not waiting:
                return removed
            poller = select.poll()
            for client in waiting:
                poller.register(client, select.POLLIN | (select.POLLOUT if client.size else 0))
            poller.poll(STALL_SECONDS * 1000)
            for client in waiting:
                client.flush()
                while (packet := client.receive()) is not None:
                    removed |= packet[:1] == request.REMOVED

    def _poller(self) -> tuple[select.poll, float | None]:
        """What to wait for now, and for how long in milliseconds."""
        poller = select.poll()
        self.clients = [client for client in self.clients if not client.gone]
        if not any(client.behind for client in self.clients):
            for descriptor in self._outputs:
                poller.register(descriptor, select.POLLIN)
        wants_input = sum(map(len, self._pending)) < MAX_INPUT
        for client in self.clients:
            events = (select.POLLIN if wants_input else 0) | (select.POLLOUT if client.size else 0)
            poller.register(client, events)
        if self._pending and self._input is not None:
            # A terminal is read and written through one descriptor: registering replaces.
            reading = select.POLLIN if self._input in self._outputs else 0
            poller.register(self._input, reading | select.POLLOUT)
        watched = any(client.size and not client.foreground for client in self.clients)
        timeout = STALL_SECONDS * 1000 if watched else None
        if self._full_until and (left := 1000 * (self._full_until - time.monotonic())) > 0:
            # Who waits to be let in would have it wake again and again.
            return poller, left if timeout is None else min(timeout, left)
        if self.listener is not None:
            poller.register(self.listener, select.POLLIN)
        return poller, timeout

    def _serve(self, ready: dict[int, int]) -> None:
        for descriptor in [
            descriptor for descriptor in self._outputs if ready.get(descriptor, 0) & _READABLE
        ]:
            self._read(descriptor)
        now = time.monotonic()
        for client in self.clients:
            events = 0 if client.gone else ready.get(client.fileno(), 0)
            if events & select.POLLOUT:
                client.flush()
            if events & _READABLE and not client.gone and (packet := client.receive()) is not None:
                client.quiet |= packet[:1] == request.QUIET
                self._obey(packet)
            if client.stalled(now):
                client.close()
        if self._pending:
            self._write_input()
        if self.listener is not None and self.listener.fileno() in ready:
            self._accept(self.listener)

    def _take(self, descriptor: int, size: int = READ_SIZE) -> bytes:
        """What can be read there now; at its end it is closed."""
        try:
            data = os.read(descriptor, size)
        except BlockingIOError:
            return b""
        except OSError as error:
            if error.errno not in _END:
                raise
            data = b""
        if not data:
            del self._outputs[descriptor]
            if descriptor != self._terminal:
                os.close(descriptor)
        return data

    def _read(self, descriptor: int) -> int:
        """Carry what can be read there now; its bytes."""
        stream, letter = self._outputs[descriptor]
        data = self._take(descriptor, _LITTLE if self._lost else READ_SIZE)
        if not data or self._lost:
            return len(data)
        self._log.write(stream, data)
        packet = letter + data
        for client in self.clients:
            if not client.quiet:
                client.send(packet)
        return len(data)

    def _accept(self, listener: Channel) -> bool:
        """Let one client in; False if there is none, or no descriptor for one."""
        self._full_until = 0.0
        try:
            client = Client(listener.accept(), foreground=False)
        except OSError as error:
            if error.errno in _FULL:
                self._full_until = time.monotonic() + FULL_SECONDS
            return False
        client.send(request.STARTED + (b"terminal" if self._terminal is not None else b"streams"))
        self.clients.append(client)
        return True

    def _obey(self, packet: bytes) -> None:
        kind, body = packet[:1], packet[1:]
        if kind == request.STDIN and self._input is not None:
            self._pending.append(body)
        elif kind == request.STDIN_END:
            self._input_ends = True
            self._end_input()
        elif kind == request.RESIZE and self._terminal is not None and len(body) == 4:
            from engine.kernel import terminal

            with contextlib.suppress(OSError):
                terminal.set_size(self._terminal, terminal.Size(*struct.unpack("=HH", body)))
        elif kind == request.SIGNAL and len(body) == 1:
            with contextlib.suppress(ProcessLookupError, ValueError):
                signal.pidfd_send_signal(self.pidfd, body[0])

    def _write_input(self) -> None:
        if self._input is None:
            self._pending.clear()
            return
        try:
            while self._pending:
                data = self._pending[0]
                written = os.write(self._input, data)
                if written == len(data):
                    self._pending.popleft()
                else:
                    self._pending[0] = data[written:]
        except BlockingIOError:
            return
        except OSError:
            # Nobody reads in there any more.
            self._pending.clear()
            self._input_ends = True
        self._end_input()

    def _end_input(self) -> None:
        """Close the container's input once all that was typed has gone in. A terminal has no such end."""
        if self._input_ends and not self._pending and self._input is not None and self._terminal is None:
            os.close(self._input)
            self._input = None
