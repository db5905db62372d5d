"""The side of whoever sits before a container: streams, signals, window size, and the keys that detach."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import struct
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

from engine.errors import LaunchError
from engine.kernel.channel import Channel
from engine.launch import request
from engine.launch.request import ProcessExit
from engine.record import Record

DETACH_KEYS = b"\x10\x11"
"""ctrl-p ctrl-q."""
_FORWARDED = ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "ALRM", "CONT"]
_IMPATIENT = 3
"""So many SIGINT or SIGTERM end the waiting, if the container does not care for them (as docker)."""


class Streams(Record):
    """Descriptors of the caller; None for a stream that it does not have."""

    stdin: int | None = 0
    stdout: int | None = 1
    stderr: int | None = 2
    keys: bytes = DETACH_KEYS
    """What is typed at a terminal to let go of the program."""
    forward: bool = True
    """Whether signals of the caller are passed on where there is no terminal."""


class Detached(Record):
    """Whoever watched has let go; the container runs on."""

    impatient: bool = False
    """By signals rather than by the detach keys."""


class Keys:
    """Looks for the detach keys in what is typed."""

    def __init__(self, sequence: bytes = DETACH_KEYS) -> None:
        self._sequence = sequence
        self._matched = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """What is to be passed on, and whether the whole sequence has been typed."""
        passed = bytearray()
        for byte in data:
            if byte == self._sequence[self._matched]:
                self._matched += 1
                if self._matched == len(self._sequence):
                    return bytes(passed), True
                continue
            passed += self._sequence[: self._matched]
            self._matched = 0
            if byte == self._sequence[0]:
                self._matched = 1
            else:
                passed.append(byte)
        return bytes(passed), False


class Signals:
    """Signals of this process as numbers to be read; none outside the main thread, which gets them all."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._numbers = [getattr(signal, f"SIG{name}") for name in names]
        self._before: dict[int, Any] = {}
        self._wakeup = -1
        self.reader = -1
        self._writer = -1

    def __enter__(self) -> Signals:
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            self._wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        except ValueError:  # not the main thread (asking `threading` costs its import)
            os.close(reader)
            os.close(writer)
            return self
        self.reader, self._writer = reader, writer
        for number in self._numbers:
            self._before[number] = signal.signal(number, _noted)
        return self

    def __exit__(self, *_: object) -> None:
        if self.reader >= 0:
            for number, handler in self._before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
            signal.set_wakeup_fd(self._wakeup)
            os.close(self.reader)
            os.close(self._writer)

    def read(self) -> bytes:
        """Numbers of the signals that came since."""
        try:
            return os.read(self.reader, 64)
        except BlockingIOError:
            return b""


def _noted(_number: int, _frame: FrameType | None) -> None:
    """The wakeup descriptor has it already."""


def write_all(descriptor: int, data: bytes) -> bool:
    """Write all of *data*, waiting for descriptors that do not block; False when nobody reads any more."""
    try:
        deliver(descriptor, data)
    except OSError:
        return False
    return True


def deliver(descriptor: int, data: bytes) -> None:
    """As `write_all`, but raises the OSError of what cannot be written."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            poller = select.poll()
            poller.register(descriptor, select.POLLOUT)
            poller.poll()


class Foreground:
    """One attached client of a monitor, over the socket *control*."""

    def __init__(
        self, control: Channel, streams: Streams, *, tty: bool, interactive: bool, forward: bool = True
    ) -> None:
        self._control = control
        self._streams = streams
        self._tty = tty
        self._interactive = interactive and streams.stdin is not None
        self._forward = forward and (tty or streams.forward)
        self._keys = Keys(streams.keys) if tty else None
        self._impatience = 0

    def wait_started(self) -> dict[str, object]:
        """Until the container runs. Raises the LaunchError that kept it from that."""
        while True:
            packet = self._control.receive(request.MAX_PACKET + 1)
            kind, body = packet[:1], packet[1:]
            if kind == request.STARTED:
                return json.loads(body) if body[:1] == b"{" else {}
            if kind == request.FAILED:
                raise request.raise_failure(body)
            if not packet:
                raise LaunchError("cannot start the container", "its monitor was killed")

    def run(self) -> ProcessExit | Detached:
        """Carry the streams until the container has ended or is let go of.

        Raises the OSError of a standard output that takes no more (a terminal that went is only passed over);
        called again, goes on without it.
        """
        names = (*_FORWARDED, "WINCH") if self._tty else tuple(_FORWARDED)
        with contextlib.ExitStack() as stack:
            signals = stack.enter_context(Signals(names if self._forward else ("WINCH",)))
            stack.enter_context(self._raw())
            if self._tty:
                self._resize()
            return self._loop(signals)

    @contextlib.contextmanager
    def _raw(self) -> Iterator[None]:
        if (
            self._tty
            and self._interactive
            and self._streams.stdin is not None
            and os.isatty(self._streams.stdin)
        ):
            from engine.kernel import terminal

            with terminal.raw(self._streams.stdin):
                yield
        else:
            yield

    def _loop(self, signals: Signals) -> ProcessExit | Detached:
        stdin = self._streams.stdin if self._interactive else None
        while True:
            poller = select.poll()
            poller.register(self._control, select.POLLIN)
            if stdin is not None:
                poller.register(stdin, select.POLLIN)
            if signals.reader >= 0:
                poller.register(signals.reader, select.POLLIN)
            ready = dict(poller.poll())
            if signals.reader in ready and self._pass_signals(signals.read()):
                return Detached(impatient=True)
            if stdin is not None and stdin in ready:
                data = os.read(stdin, 16 << 10)
                if not data:
                    self._send(request.STDIN_END)
                    stdin = None
                elif self._type(data):
                    return Detached()
            if self._control.fileno() in ready and (ended := self._receive()) is not None:
                return ended

    def _type(self, data: bytes) -> bool:
        """Pass on what was typed; True if that was the detach keys."""
        detached = False
        if self._keys is not None:
            data, detached = self._keys.feed(data)
        if data:
            self._send(request.STDIN + data)
        return detached

    def _pass_signals(self, numbers: bytes) -> bool:
        """Forward signals; True when whoever sends them has lost patience."""
        for number in numbers:
            if number == signal.SIGWINCH:
                self._resize()
                continue
            self._send(request.SIGNAL + bytes([number]))
            if number in (signal.SIGINT, signal.SIGTERM):
                self._impatience += 1
        return self._impatience >= _IMPATIENT

    def _resize(self) -> None:
        from engine.kernel import terminal

        for descriptor in (self._streams.stdout, self._streams.stdin):
            if descriptor is not None and (size := terminal.size_of(descriptor)):
                self._send(request.RESIZE + struct.pack("=HH", *size))
                return

    def _send(self, packet: bytes) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._control.send(packet)

    def kill(self) -> None:
        """End the container at once."""
        self._send(request.SIGNAL + bytes([signal.SIGKILL]))

    def _put_out(self, body: bytes) -> None:
        if self._streams.stdout is None:
            return
        try:
            deliver(self._streams.stdout, body)
        except OSError:
            self._streams = self._streams._replace(stdout=None)
            if not self._tty:
                raise

    def _receive(self) -> ProcessExit | None:
        packet = self._control.receive(request.MAX_PACKET + 1)
        kind, body = packet[:1], packet[1:]
        if kind == request.STDOUT:
            self._put_out(body)
        elif kind == request.STDERR:
            if self._streams.stderr is not None and not write_all(self._streams.stderr, body):
                self._streams = self._streams._replace(stderr=None)
        elif kind == request.EXITED:
            return ProcessExit(**json.loads(body))
        elif kind == request.FAILED:
            raise request.raise_failure(body)
        elif not packet:
            raise LaunchError("lost the container", "its monitor was killed", "look at cowl ps")
        return None


def wait_clean(control: Channel) -> None:
    """Until the monitor has taken away what it had made; or has gone."""
    with contextlib.suppress(OSError):
        while (packet := control.receive(request.MAX_PACKET + 1)) and packet[:1] != request.CLEAN:
            pass


def flush_standard() -> None:
    """Before a fork: what Python still holds back would come twice."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
