"""Every failure that cowl reports on purpose.

One shallow tree. An error says *what* went wrong, *why*, and what to *do*; only the command line and the app
turn it into text. Anything else that escapes the engine is a defect of ours.
"""

from __future__ import annotations


class CowlError(Exception):
    """A failure with a sentence for people; `exit_code` is what the command line ends with."""

    exit_code = 1

    def __init__(self, what: str, why: str = "", hint: str = "") -> None:
        super().__init__(what, why, hint)
        self.what = what
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        why = f" ({self.why})" if self.why else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{self.what}{why}{hint}"


class UsageError(CowlError):
    """The call itself is malformed: an option, a reference or a combination that has no meaning."""

    exit_code = 2


class NotFoundError(CowlError):
    """No image, container, file or layer answers to that name."""


class ImageNotFoundError(NotFoundError):
    """No image here answers to that name: it may be one that can be pulled."""


class AmbiguousError(CowlError):
    """A prefix answers to more than one image or container."""


class ConflictError(CowlError):
    """A name is taken, or the object is in a state that forbids the operation."""


class InUseError(ConflictError):
    """Something else needs what was to be removed."""


class ArchiveError(CowlError):
    """An archive or layer tar is truncated, malformed, hostile or does not match its digests."""


class StoreError(CowlError):
    """The store cannot be opened, locked or trusted."""


class NoSpaceError(StoreError):
    """The file system of the store is full (ENOSPC or EDQUOT)."""


class RegistryError(CowlError):
    """A registry cannot be reached, refuses, or answers what cannot be."""


class DeniedError(RegistryError):
    """A registry wants to know who asks, or does not let them (401, 403)."""


class UnsupportedError(CowlError):
    """This kernel, machine or user cannot do what was asked."""


class LaunchError(CowlError):
    """A container or exec could not be started; `exit_code` follows docker: 125, 126 or 127."""

    exit_code = 125


class NotExecutableError(LaunchError):
    """The command exists but cannot be executed (EACCES, ENOEXEC, a directory)."""

    exit_code = 126


class CommandNotFoundError(LaunchError):
    """The command does not exist in the container's rootfs."""

    exit_code = 127
