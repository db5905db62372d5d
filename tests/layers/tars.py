"""Tars for tests, made entry by entry by `tarfile`, which writes whatever it is told to, hostile or not."""

from __future__ import annotations

import io
import tarfile
from typing import Any

BLOCK = 512
KINDS = {
    "file": tarfile.REGTYPE,
    "directory": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "link": tarfile.LNKTYPE,
    "char": tarfile.CHRTYPE,
    "block": tarfile.BLKTYPE,
    "fifo": tarfile.FIFOTYPE,
}

Entry = tuple[str, str, dict[str, Any]]


def file(name: str, data: bytes = b"", **fields: Any) -> Entry:
    return name, "file", {"data": data, "mode": 0o644, **fields}


def directory(name: str, **fields: Any) -> Entry:
    return name, "directory", {"mode": 0o755, **fields}


def symlink(name: str, target: str, **fields: Any) -> Entry:
    return name, "symlink", {"linkname": target, "mode": 0o777, **fields}


def link(name: str, target: str, **fields: Any) -> Entry:
    return name, "link", {"linkname": target, **fields}


def node(name: str, kind: str, **fields: Any) -> Entry:
    return name, kind, {"mode": 0o600, **fields}


def tar(*entries: Entry, form: int = tarfile.PAX_FORMAT) -> bytes:
    """The bytes of a tar with *entries*; fields are those of `tarfile.TarInfo`, and ``data``."""
    out = io.BytesIO()
    with tarfile.open(
        fileobj=out, mode="w", format=form, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        for name, kind, fields in entries:
            info = tarfile.TarInfo(name)
            info.type = KINDS[kind]
            data = fields.get("data", b"")
            for key, value in fields.items():
                if key != "data":
                    setattr(info, key, value)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()
