"""Where the launcher's monitors come from: a fork of it that does nothing but fork.

Whatever the launcher touches between two forks, each monitor from before has for itself from then on. This
process touches next to nothing, so what its forks share with it and each other stays shared.
"""

from __future__ import annotations

import contextlib
import os
from typing import NoReturn

from engine.containers import keeper
from engine.kernel import lean, lifeline
from engine.kernel.channel import Channel, pair
from engine.launch import request

_CONTROL = 3
_HIGHEST = 256
_BEGIN = b"b"


class Nursery:
    """It ends with the process that makes this, or when that is done with it."""

    def __init__(self, sample: bytes) -> None:
        self._sample = sample
        self._channel, theirs = pair()
        launcher = os.getpid()
        if os.fork() == 0:
            lifeline.end_with_parent(launcher)
            _serve(theirs, sample)
        theirs.close()

    def begin(self) -> Channel:
        """A monitor that stands by for the next launch, see `monitor.stand_by`; it ends with its channel."""
        ours, theirs = pair()
        try:
            request.send_descriptors(self._channel, _BEGIN, [theirs.fileno()])
        except OSError:  # somebody has killed it
            if os.fork() == 0:
                keeper.stand_by(theirs, self._sample)
        theirs.close()
        return ours


def _serve(channel: Channel, sample: bytes) -> NoReturn:
    try:
        descriptor = channel.detach()
        if descriptor != _CONTROL:
            os.dup2(descriptor, _CONTROL, inheritable=False)
        os.closerange(_CONTROL + 1, _HIGHEST)
        lean.name("cowl-nursery")
        control = Channel(fileno=_CONTROL)
        while True:
            data, descriptors = request.receive_descriptors(control)
            if not data:
                break
            with contextlib.suppress(OSError):  # no process to be had: the channel closes
                if os.fork() == 0:
                    keeper.stand_by(Channel(fileno=descriptors[0]), sample)
            os.close(descriptors[0])
    finally:
        os._exit(0)
