"""cowl's engine: images, containers and their changes, without a daemon.

The façade is `Engine`; what it takes and gives are the records of `engine.model`, what it raises the errors
of `engine.errors`. Names are imported at their first use: the launch path pays for nothing that it does not
touch.
"""

from __future__ import annotations

TYPE_CHECKING = False  # the one of `typing`, which takes 9 ms to import
if TYPE_CHECKING:
    from engine.containers.foreground import Streams
    from engine.containers.logs import LogFollower
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
    from engine.images.configsecrets import ConfigSecret
    from engine.images.damage import CheckReport, Damage, Mended
    from engine.images.usage import ImageUsage, Usage
    from engine.images.waste import Exposure, HiddenPath, LayerWaste, Secret, Waste
    from engine.layers.selection import Selection
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
    "ConfigSecret",
    "ConflictError",
    "Container",
    "CowlError",
    "Damage",
    "DeniedError",
    "Engine",
    "Exposure",
    "FileDiff",
    "FileType",
    "HiddenPath",
    "History",
    "HostFigures",
    "Image",
    "ImageNotFoundError",
    "ImageUsage",
    "InUseError",
    "LaunchError",
    "LaunchOptions",
    "LayerWaste",
    "Limits",
    "LogFollower",
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
    "Secret",
    "Selection",
    "State",
    "StoreError",
    "Streams",
    "UnsupportedError",
    "Usage",
    "UsageError",
    "Volume",
    "Waste",
]


_ELSEWHERE = {
    "CheckReport": "engine.images.damage",
    "ConfigSecret": "engine.images.configsecrets",
    "Damage": "engine.images.damage",
    "Exposure": "engine.images.waste",
    "HiddenPath": "engine.images.waste",
    "Engine": "engine.engine",
    "History": "engine.containers.stats",
    "ImageUsage": "engine.images.usage",
    "LayerWaste": "engine.images.waste",
    "LogFollower": "engine.containers.logs",
    "Mended": "engine.images.damage",
    "Secret": "engine.images.waste",
    "Selection": "engine.layers.selection",
    "Usage": "engine.images.usage",
    "Waste": "engine.images.waste",
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
