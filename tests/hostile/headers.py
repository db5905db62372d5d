"""Layers whose headers lie: about sizes, checksums, names and holes; and streams that are bombs."""

from __future__ import annotations

import gzip

import zstandard

from tests.hostile.kinds import entries, header, image, padded, pax, raw, record
from tests.layers.tars import Entry, file, tar

END = bytes(1024)
_BOMB = 3 << 29
"""Bytes: more than any stream may become without a look at its ratio."""


@raw("impossible owner or size")
def a_negative_size(outside: str) -> bytes:
    return header(b"f", size=b"\xff" * 12) + END


@raw("impossible owner or size")
def a_size_beyond_all_files(outside: str) -> bytes:
    return header(b"f", size=b"\x80" + b"\xff" * 11) + END


@raw("truncated")
def a_size_beyond_the_end(outside: str) -> bytes:
    return header(b"f", size=b"77777777777\0") + b"x" * 2048


@raw("not octal")
def a_size_that_is_no_number(outside: str) -> bytes:
    return header(b"f", size=b"0x10 garbage") + END


@raw("not octal")
def a_size_with_a_sign(outside: str) -> bytes:
    return header(b"f", size=b"-0000000010\0") + END


@raw("impossible owner or size")
def an_owner_beyond_all_users(outside: str) -> bytes:
    return header(b"f", uid=b"\x80\0\0\1\0\0\0\0") + END


@raw("impossible time")
def a_time_beyond_all_clocks(outside: str) -> bytes:
    return header(b"f", mtime=b"\x80" + b"\xff" * 11) + END


@raw("checksum")
def a_wrong_checksum(outside: str) -> bytes:
    return header(b"f", fix=False, checksum=b"000123\0 ") + END


@raw("unknown type")
def an_entry_of_no_type(outside: str) -> bytes:
    return header(b"f", b"Z") + END


@raw("single zero block")
def an_entry_after_a_zero_block(outside: str) -> bytes:
    return header(b"f") + bytes(512) + header(b"g") + END


@raw(None)
def entries_after_the_end(outside: str) -> bytes:
    return header(b"f") + END + header(b"../../g") + b"garbage" * 100


@entries("a file stands")
def a_directory_that_ends_in_a_file(outside: str) -> list[Entry]:
    return [file("f/", b""), file("f", b"x"), file("f/g")]


@raw("does not end where its length says")
def a_record_longer_than_its_header(outside: str) -> bytes:
    return pax(b"9999 path=a\n")


@raw("does not end where its length says")
def a_record_shorter_than_itself(outside: str) -> bytes:
    return pax(b"3 path=a\n")


@raw("not a number")
def a_record_of_negative_length(outside: str) -> bytes:
    return pax(b"-12 path=a\n")


@raw(r"'\.\.'")
def a_path_that_a_record_overrides(outside: str) -> bytes:
    return pax(record(b"path", b"../../.." + outside.encode() + b"/secret"), name=b"honest")


@raw(r"'\.\.'|truncated|does not contain")
def a_link_that_a_record_overrides(outside: str) -> bytes:
    return pax(record(b"linkpath", b"../../.." + outside.encode() + b"/secret"), name=b"h", entry=b"1")


@raw("impossible owner or size")
def a_size_that_a_record_overrides(outside: str) -> bytes:
    return pax(record(b"size", b"9" * 18))


@raw("impossible owner or size|not a number")
def a_size_of_twenty_digits(outside: str) -> bytes:
    return pax(record(b"size", b"9" * 20))


@raw("impossible size")
def a_record_header_of_a_gigabyte(outside: str) -> bytes:
    return header(b"pax", b"x", size=b"%011o\0" % (1 << 30)) + END


@raw("describes nothing")
def records_for_nothing(outside: str) -> bytes:
    return pax(record(b"path", b"a"))[:1024]


@raw("global headers go on without end")
def global_records_without_end(outside: str) -> bytes:
    headers = []
    for number in range(200):
        body = record(b"SCHILY.xattr.user.%d" % number, b"v" * 400)
        headers.append(header(b"g", b"g", size=b"%011o\0" % len(body)) + padded(body))
    return b"".join(headers) + header(b"f") + END


@raw(r"'\.\.'")
def a_global_path_with_dots(outside: str) -> bytes:
    return pax(record(b"path", b"../../x"), kind=b"g")


@raw("longer than any system call")
def a_long_name_of_a_megabyte(outside: str) -> bytes:
    return (
        header(b"././@LongLink", b"L", size=b"%011o\0" % (1 << 20)) + b"n/" * (1 << 19) + header(b"f") + END
    )


@raw("impossible size")
def a_long_name_without_end(outside: str) -> bytes:
    return header(b"././@LongLink", b"L", size=b"77777777777\0") + b"n" * 4096


@raw("describes nothing")
def long_names_of_long_names(outside: str) -> bytes:
    return (header(b"././@LongLink", b"L", size=b"%011o\0" % 4) + padded(b"abc\0")) * 20_000 + END


@raw("overlaps itself")
def holes_that_overlap(outside: str) -> bytes:
    records = [record(b"GNU.sparse.size", b"100"), record(b"GNU.sparse.map", b"10,10,5,10")]
    return pax(*records, record(b"size", b"20"))[:-1024] + padded(b"x" * 20) + END


@raw("leaves its file")
def holes_beyond_the_file(outside: str) -> bytes:
    return pax(record(b"GNU.sparse.size", b"5"), record(b"GNU.sparse.map", b"9" * 18 + b",0"))


@raw("not a number|leaves its file|does not match")
def holes_of_negative_length(outside: str) -> bytes:
    return pax(record(b"GNU.sparse.size", b"5"), record(b"GNU.sparse.map", b"0,-5"))


@raw("impossible size")
def a_file_of_nothing_but_a_hole(outside: str) -> bytes:
    return pax(record(b"GNU.sparse.size", b"9223372036854775807"), record(b"GNU.sparse.map", b""))


@raw("sparse map")
def a_map_of_holes_without_end(outside: str) -> bytes:
    body = b"99999999\n" + b"0\n" * 300
    records = [
        record(b"GNU.sparse.major", b"1"),
        record(b"GNU.sparse.minor", b"0"),
        record(b"GNU.sparse.realsize", b"9"),
    ]
    return pax(*records, record(b"size", b"%d" % len(body)))[:-1024] + padded(body) + END


@raw("sparse|truncated|octal")
def an_old_map_of_holes_without_end(outside: str) -> bytes:
    block = b"00000000001\0" * 42
    return (
        header(b"f", b"S", magic=b"ustar  \0", rest=b"00000000001\0" * 8 + b"\1" + b"00000000010\0")
        + (block + b"\1" + bytes(7)) * 500
    )


# Compression


def gzip_of_zeros(size: int) -> bytes:
    """So many zeros as gzip, in members of 16 MiB."""
    return gzip.compress(bytes(1 << 24), mtime=0) * (size >> 24)


@raw("200 times its size")
def a_gzip_bomb(outside: str) -> bytes:
    front = gzip.compress(header(b"f", size=b"%011o\0" % ((1 << 33) - 1)), mtime=0)
    return front + gzip_of_zeros(_BOMB)


@raw("200 times its size")
def a_zstd_bomb(outside: str) -> bytes:
    frame = zstandard.ZstdCompressor(3).compress(bytes(1 << 27))
    return zstandard.ZstdCompressor().compress(header(b"f", size=b"%011o\0" % ((1 << 33) - 1))) + frame * (
        _BOMB >> 27
    )


@raw("damaged")
def a_zstd_window_of_gigabytes(outside: str) -> bytes:
    return b"\x28\xb5\x2f\xfd\x00\xb0" + bytes(200)


@raw("damaged")
def a_gzip_stream_that_is_cut(outside: str) -> bytes:
    return gzip.compress(tar(file("f", bytes(range(256)) * 80)))[:200]


@raw("damaged")
def a_gzip_stream_followed_by_noise(outside: str) -> bytes:
    return gzip.compress(tar(file("f"))) + b"noise" * 10


@raw(None)
def a_layer_in_many_gzip_members(outside: str) -> bytes:
    whole = tar(file("f", b"x" * 3000))
    return b"".join(gzip.compress(whole[start : start + 100], mtime=0) for start in range(0, len(whole), 100))


@raw("malformed|truncated")
def a_layer_compressed_twice(outside: str) -> bytes:
    return gzip.compress(gzip.compress(tar(file("f")), mtime=0), mtime=0)


def whole_archive_bomb() -> bytes:
    """An archive of images that is compressed as a whole and unpacks to gigabytes."""
    return gzip.compress(image(tar(file("f")))[:-1024], mtime=0) + gzip_of_zeros(_BOMB)
