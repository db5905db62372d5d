"""cowl's engine: images, containers and their changes, without a daemon.

The façade is `Engine`; what it takes and gives are the records of `engine.model`, what it raises the errors
of `engine.errors`. Names are imported at their first use: the launch path pays for nothing that it does not
touch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.containers.foreground import Streams
    from engine.containers.stats import History
    from engine.engine import Engine
    from engine.errors import (
        AmbiguousError,
        ArchiveError,
        CommandNotFoundError,
        ConflictError,
        CowlError,
        DeniedError,
        ImageNotFoundError,
        InUseError,
        LaunchError,
        NoSpaceError,
        NotExecutableError,
        NotFoundError,
        RegistryError,
        StoreError,
        UnsupportedError,
        UsageError,
    )
    from engine.images.damage import CheckReport, Damage, Mended
    from engine.model import (
        JSON,
        Aspect,
        Change,
        ChangeKind,
        Container,
        FileDiff,
        FileType,
        HostFigures,
        Image,
        LaunchOptions,
        Limits,
        LogLine,
        Node,
        Pressure,
        Progress,
        ProgressCallback,
        Removal,
        RemovalItem,
        Sample,
        State,
        Volume,
    )

__all__ = [
    "JSON",
    "AmbiguousError",
    "ArchiveError",
    "Aspect",
    "Change",
    "ChangeKind",
    "CheckReport",
    "CommandNotFoundError",
    "ConflictError",
    "Container",
    "CowlError",
    "Damage",
    "DeniedError",
    "Engine",
    "FileDiff",
    "FileType",
    "History",
    "HostFigures",
    "Image",
    "ImageNotFoundError",
    "InUseError",
    "LaunchError",
    "LaunchOptions",
    "Limits",
    "LogLine",
    "Mended",
    "NoSpaceError",
    "Node",
    "NotExecutableError",
    "NotFoundError",
    "Pressure",
    "Progress",
    "ProgressCallback",
    "RegistryError",
    "Removal",
    "RemovalItem",
    "Sample",
    "State",
    "StoreError",
    "Streams",
    "UnsupportedError",
    "UsageError",
    "Volume",
]


_ELSEWHERE = {
    "CheckReport": "engine.images.damage",
    "Damage": "engine.images.damage",
    "Engine": "engine.engine",
    "History": "engine.containers.stats",
    "Mended": "engine.images.damage",
    "Streams": "engine.containers.foreground",
}


def _home(name: str) -> str:
    """The module that defines the public *name*."""
    if name in _ELSEWHERE:
        return _ELSEWHERE[name]
    return "engine.errors" if name.endswith("Error") else "engine.model"


def __getattr__(name: str) -> object:
    """Import *name* from its own module, once (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value: object = getattr(importlib.import_module(_home(name)), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """What can be imported from here, imported yet or not."""
    return sorted({*globals(), *__all__})
