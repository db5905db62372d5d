"""What a file is that is no archive of images, told by its first bytes, so that the refusal can say it."""

from __future__ import annotations

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"PK\x03\x04", "a zip file"),
    (0, b"PK\x05\x06", "an empty zip file"),
    (0, b"\xed\xab\xee\xdb", "an RPM package"),
    (0, b"!<arch>\ndebian-binary", "a Debian package"),
    (0, b"!<arch>\n", "an ar archive"),
    (0, b"070701", "a cpio archive"),
    (0, b"070702", "a cpio archive"),
    (0, b"070707", "a cpio archive"),
    (0, b"\xc7\x71", "a cpio archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (0, b"hsqs", "a squashfs image"),
    (0, b"\x7fELF", "a program"),
    (0, b"#!", "a script"),
    (0, b"QFI\xfb", "a disk image (qcow2)"),
    (0, b"KDMV", "a disk image (VMDK)"),
    (0, b"LUKS\xba\xbe", "an encrypted disk (LUKS)"),
    (0, b"Salted__", "encrypted (by openssl)"),
    (0, b"age-encryption.org/", "encrypted (by age)"),
    (0, b"-----BEGIN AGE ENCRYPTED FILE-----", "encrypted (by age)"),
    (0, b"-----BEGIN PGP MESSAGE-----", "encrypted (by OpenPGP)"),
    (0, b"\x04\x22\x4d\x18", "compressed with lz4, which images are not"),
    (0, b"\x1f\x9d", "compressed with compress, which images are not"),
    (0, b"LZIP", "compressed with lzip, which images are not"),
    (0, b"%PDF-", "a PDF document"),
    (0, b"SQLite format 3\0", "a SQLite database"),
    (0, b"<!DOCTYPE", "a web page"),
    (0, b"<html", "a web page"),
    (0, b"<?xml", "an XML document"),
    (0, b"{", "a text that may be JSON"),
    (0, b"[", "a text that may be JSON"),
    (32, b"SIF_MAGIC", "a Singularity image"),
    (1080, b"\x53\xef", "a file system (ext)"),
    (32769, b"CD001", "a CD image (ISO 9660)"),
)
_PGP_TAGS = (1, 3)
"""Session keys (RFC 9580, section 5): what an OpenPGP message that is encrypted begins with."""

HEAD = 32769 + 5
"""Bytes of a file that `describe` looks at."""


def describe(head: bytes) -> str:
    """What a file that begins with *head* is, to be put after "it is"; empty if that is not known."""
    if not head:
        return "empty"
    for offset, magic, what in _MAGIC:
        if head.startswith(magic, offset):
            return what
    if not head.strip(b"\0"):
        return "nothing but zeros"
    return "encrypted (by OpenPGP)" if _is_openpgp(head) else ""


def _is_openpgp(head: bytes) -> bool:
    """Whether *head* is a session key packet of a version that there is."""
    if len(head) < 8 or not head[0] & 0x80:
        return False
    if head[0] & 0x40:
        tag, version = head[0] & 0x3F, head[2]
    else:
        tag, version = head[0] >> 2 & 0xF, head[1 + (1 << (head[0] & 3)) if head[0] & 3 < 3 else 1]
    return tag in _PGP_TAGS and version in (3, 4, 5, 6)
