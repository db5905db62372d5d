"""A process forked before it is known what for: what it needs is loaded beside what its parent needs."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from typing import Literal, NoReturn

from engine.kernel.channel import Channel, pair
from engine.launch import request
from engine.launch.request import Join, Launch


class Standby:
    """Does one launch of the kind that it was forked for; use it where a Launcher is used, from one thread.

    The process is a child of this one: for programs that do one thing and end.
    """

    def __init__(self, kind: Literal["start", "exec"]) -> None:
        self._channel, theirs = pair()
        self._pid = os.fork()
        if self._pid == 0:
            _stand_by(kind, theirs)
        theirs.close()

    def launch(self, work: Launch | Join, descriptors: Sequence[int] = ()) -> Channel:
        """Have *work* done; our end of its control socket. Raises LaunchError when the process has gone."""
        return request.ask(self._channel, work, descriptors)

    def close(self) -> None:
        """Let a process that has got nothing to do end; one that has runs on."""
        self._channel.close()


def _stand_by(kind: Literal["start", "exec"], channel: Channel) -> NoReturn:
    try:
        # Until it is in a session of its own, what is typed reaches it too.
        for number in (signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        if kind == "start":
            from engine.containers import monitor

            monitor.stand_by(channel)
        from engine.launch import joining

        joining.stand_by(channel)
    finally:
        os._exit(1)
