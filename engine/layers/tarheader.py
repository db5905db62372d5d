"""Tar headers as cowl writes them: ustar, with a PAX header before it only where ustar cannot say it.

POSIX.1-2017, pax. The same metadata always gives the same bytes: no user or group names, no access or change
times, no writer's name, a fixed name and time for the PAX headers themselves.
"""

from __future__ import annotations

from functools import lru_cache
from zlib import adler32

from engine.layers.paxrecords import XATTR_PREFIX
from engine.layers.tarmember import BLOCK_SIZE

TRAILER = bytes(2 * BLOCK_SIZE)
_MAX_OCTAL_ID = 0o7777777
_MAX_OCTAL_SIZE = 0o77777777777
_MAGIC = b"ustar\x0000" + bytes(64)
_EMPTY_DEVICE = b"0000000\x000000000\x00"
_PADDING = [bytes(length) for length in range(BLOCK_SIZE)]


def padding(size: int) -> bytes:
    """The zeros that fill the last block of *size* bytes of data."""
    return _PADDING[-size % BLOCK_SIZE]


def header(
    name: bytes,
    kind: bytes,
    mode: int,
    owner: tuple[int, int],
    size: int,
    mtime_ns: int,
    *,
    link: bytes = b"",
    device: tuple[int, int] | None = None,
    xattrs: dict[str, bytes] | None = None,
) -> bytes:
    """The header of one entry, with its PAX header before it where it needs one."""
    seconds, nanoseconds = divmod(mtime_ns, 1_000_000_000)
    records = []
    uid, gid = owner
    short, prefix = name, b""
    if len(name) > 100:
        short, prefix = _split(name)
        if not short:
            short = name[:100]
            records.append(_record(b"path", name))
    if len(link) > 100:
        records.append(_record(b"linkpath", link))
        link = link[:100]
    if nanoseconds or not 0 <= seconds <= _MAX_OCTAL_SIZE:
        records.append(_mtime_record(seconds, nanoseconds))
        seconds = min(max(seconds, 0), _MAX_OCTAL_SIZE)
    if uid > _MAX_OCTAL_ID:
        records.append(_record(b"uid", b"%d" % uid))
        uid = 0
    if gid > _MAX_OCTAL_ID:
        records.append(_record(b"gid", b"%d" % gid))
        gid = 0
    if size > _MAX_OCTAL_SIZE:
        records.append(_record(b"size", b"%d" % size))
        size = 0
    if xattrs:
        for key in sorted(xattrs):
            keyword = key.encode("utf-8", "surrogateescape").replace(b"%", b"%25").replace(b"=", b"%3D")
            records.append(_record(XATTR_PREFIX + keyword, xattrs[key]))
    numbers = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, uid, gid, size, seconds)
    devices = b"%07o\0%07o\0" % device if device else _EMPTY_DEVICE
    block = _block(short, numbers, kind, link, devices, prefix)
    return _pax(b"".join(records)) + block if records else block


def _block(name: bytes, numbers: bytes, kind: bytes, link: bytes, devices: bytes, prefix: bytes) -> bytes:
    front = name.ljust(100, b"\0") + numbers
    back = kind + link.ljust(100, b"\0") + _MAGIC + devices + prefix.ljust(167, b"\0")
    text = front + back
    # Adler-32's low half is 1 + the sum modulo 65521, which 500 ASCII bytes cannot reach;
    # `sum` takes ten times as long.
    total = (adler32(text) & 0xFFFF) - 1 if text.isascii() else sum(text)
    return b"%s%06o\0 %s" % (front, total + 256, back)


def _pax(body: bytes) -> bytes:
    return _pax_header(len(body)) + body + padding(len(body))


@lru_cache(maxsize=256)
def _pax_header(size: int) -> bytes:
    numbers = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (0o644, 0, 0, size, 0)
    return _block(b"PaxHeaders/entry", numbers, b"x", b"", _EMPTY_DEVICE, b"")


def _record(key: bytes, value: bytes) -> bytes:
    """``length key=value`` and a newline, where the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _mtime_record(seconds: int, nanoseconds: int) -> bytes:
    """A PAX time; before 1970 the sign stands for the fraction, too."""
    if nanoseconds and 1_000_000_000 <= seconds < 10_000_000_000:
        return b"30 mtime=%d.%09d\n" % (seconds, nanoseconds)
    if seconds < 0 and nanoseconds:
        return _record(b"mtime", b"-%d.%09d" % (-seconds - 1, 1_000_000_000 - nanoseconds))
    return _record(b"mtime", b"%d.%09d" % (seconds, nanoseconds) if nanoseconds else b"%d" % seconds)


def _split(name: bytes) -> tuple[bytes, bytes]:
    """*name* as ustar's name and prefix; an empty name if no slash lies where it would have to."""
    slash = name.rfind(b"/", 0, 156)
    if slash <= 0 or not 0 < len(name) - slash - 1 <= 100:
        return b"", b""
    return name[slash + 1 :], name[:slash]
