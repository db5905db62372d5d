"""A process that is to be run in a container, with all that it is allowed and held to."""

from __future__ import annotations

from engine.kernel import seccomp
from engine.record import Record


class Program(Record):
    """What an exec and a container's first process have in common."""

    args: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    user: str
    """``user[:group]``, to be looked up inside."""
    groups: tuple[int, ...]
    """Further groups, besides those that the container's /etc/group gives."""
    terminal: bool
    bounding: int
    effective: int
    permitted: int
    inheritable: int
    ambient: int
    no_new_privileges: bool
    limits: tuple[tuple[str, int, int], ...]
    umask: int
    oom_score_adj: int | None
    filter: seccomp.Filter = seccomp.NONE
    """What its system calls are held to; installed last of all, by `init.execute`."""
    size: tuple[int, int] | None = None
    """Rows and columns of its terminal."""
    own_group: bool = False
    """Whether its group is among its further ones as well, so that it cannot be let go of by a set-group-ID
    program, to get at what its group is denied (CVE-2022-36109)."""
    preserved: int = 0
    """How many descriptors after the first three are its too."""
    scheduler: bytes = b""
    """``struct sched_attr``; empty to leave it."""
    io_priority: tuple[int, int] | None = None
    """Class and level."""
    apparmor: str = ""
    selinux: str = ""
    personality: int | None = None

    @property
    def confined(self) -> bool:
        """Whether there is anything for `confinement.apply` to do."""
        return any((self.scheduler, self.io_priority, self.apparmor, self.selinux, self.personality))
