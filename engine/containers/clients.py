"""Those who watch a container through its monitor: packets queued for each, nobody waited for too long."""

from __future__ import annotations

import contextlib
import time
from collections import deque

from engine.kernel.channel import MSG_DONTWAIT, MSG_NOSIGNAL, Channel
from engine.launch.request import MAX_PACKET

HIGH_WATER = 256 << 10
"""Bytes waiting for one client from which on the container's output is not read any further."""
STALL_SECONDS = 1.0
"""How long a client that attached may take nothing before it is let go; the foreground one may for ever."""


class Client:
    """One connected socket."""

    def __init__(self, channel: Channel, foreground: bool) -> None:
        self.channel = channel
        self.foreground = foreground
        self.gone = False
        self.quiet = False
        """Whether it wants no output."""
        self._waiting: deque[bytes] = deque()
        self.size = 0
        """Bytes that wait to be taken."""
        self._progress = time.monotonic()

    def fileno(self) -> int:
        """For poll(2)."""
        return self.channel.fileno()

    def send(self, packet: bytes) -> None:
        """Queue *packet* and send what the socket takes now."""
        if self.gone:
            return
        if not self._waiting:
            self._progress = time.monotonic()
        self._waiting.append(packet)
        self.size += len(packet)
        self.flush()

    def flush(self) -> None:
        """Send what the socket takes now."""
        try:
            while self._waiting:
                self.channel.send(self._waiting[0], MSG_DONTWAIT | MSG_NOSIGNAL)
                self.size -= len(self._waiting.popleft())
                self._progress = time.monotonic()
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self.close()

    def receive(self) -> bytes | None:
        """One packet; None when there is none now. A client that has gone is marked so."""
        try:
            packet = self.channel.receive(MAX_PACKET + 1, MSG_DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            packet = b""
        if not packet:
            self.close()
            return None
        return packet

    @property
    def behind(self) -> bool:
        """Whether the container has to wait for this client."""
        return self.size > HIGH_WATER

    def stalled(self, now: float) -> bool:
        """Whether it has taken nothing for so long that it is let go."""
        return bool(self._waiting) and not self.foreground and now - self._progress > STALL_SECONDS

    def close(self) -> None:
        """Let the client go."""
        self.gone = True
        self._waiting.clear()
        self.size = 0
        with contextlib.suppress(OSError):
            self.channel.close()
