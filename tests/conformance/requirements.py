"""What the runtime-spec 1.2 requires of a runtime on Linux (each MUST), numbered, in our own words."""

from __future__ import annotations

from typing import NamedTuple


class Requirement(NamedTuple):
    """One thing that must be so."""

    id: str
    document: str
    text: str


_OPTIONS = """
async atime bind defaults dev diratime dirsync exec iversion lazytime loud noatime nodev nodiratime noexec
noiversion nolazytime norelatime nostrictatime nosuid private rbind relatime remount ro rprivate rshared
rslave runbindable rw shared silent slave strictatime suid sync unbindable
"""
MOUNT_OPTIONS = _OPTIONS.split()
"""Those that config.md's table says must be understood."""

_RUNTIME = """
R1  who makes a container can use all operations on it
R2  an ID is one container's alone
R3  the state has ociVersion, id, status, bundle, and pid while there is a process
R4  a status of the runtime's own is for what the others do not say
R5  create makes what config.json says, or fails
R6  create does not run the program
R7  what is changed in config.json after create has no effect
R8  prestart hooks run; one that fails ends the container and its creation
R9  createRuntime hooks run; one that fails ends the container and its creation
R10 createContainer hooks run; one that fails ends the container and its creation
R11 startContainer hooks run; one that fails ends the container
R12 start runs the program
R13 poststart hooks run; one that fails is warned of, and the rest goes on
R14 delete undoes what create has made
R15 poststop hooks run; one that fails is warned of, and the rest goes on
R16 an operation that fails leaves everything as it was
R17 a warning changes nothing else
R18 state without an ID fails
R19 state of an unknown container fails
R20 state returns the state
R21 create without ID or bundle fails
R22 create with an ID in use, or no valid one, fails and makes nothing
R23 create makes a container
R24 create applies everything but process
R25 process.args are not applied before start
R26 create fails when something cannot be applied, and makes nothing
R27 start without an ID fails
R28 start of what is not created fails and has no effect
R29 start runs what process says
R30 start without a process in config.json fails
R31 kill without an ID fails
R32 kill of what is neither created nor running fails and has no effect
R33 kill sends the signal to the container's process
R34 delete without an ID fails
R35 delete of what is not stopped fails and has no effect
R36 delete removes what create has made
R37 delete removes nothing else
"""
_RUNTIME_LINUX = """
L1  /dev/fd, /dev/stdin, /dev/stdout and /dev/stderr are links into /proc/self/fd
"""
_CONFIG = """
C1  ociVersion is a version by SemVer 2.0.0
C2  the directory of root.path exists
C3  root.readonly makes the root read-only
C4  mounts are made in their order
C5  a relative destination begins at /
C6  idmap and ridmap map a mount's IDs by its own mappings, and fail without any
C7  a mount has uidMappings and gidMappings or neither
C8  consoleSize is ignored without a terminal
C9  cwd is absolute
C10 args has an entry
C11 a limit that the kernel does not know fails
C12 the soft and hard limit are those of config.json
C13 a limit that is named twice fails
C14 a capability that cannot be given is warned of
C15 oomScoreAdj is set
C16 without oomScoreAdj the score stays
C17 of a scheduler without nice and priority both are 0
C18 a hook's path is absolute
C19 a hook's timeout is above 0
C20 prestart hooks: path and process are in the runtime's namespaces
C21 prestart hooks run after the environment is made, before the root is entered, before createRuntime
C22 createRuntime hooks: path and process are in the runtime's namespaces
C23 createRuntime hooks run after the environment is made, before the root is entered
C24 createContainer hooks: the path is the runtime's, the process in the container's namespaces
C25 createContainer hooks run after createRuntime, before the root is entered
C26 startContainer hooks: path and process are in the container's namespaces
C27 startContainer hooks run in start, before the program
C28 poststart hooks: path and process are in the runtime's namespaces
C29 poststart hooks run when the program does, before start returns
C30 poststop hooks: path and process are in the runtime's namespaces
C31 poststop hooks run when the container is deleted, before delete returns
C32 hooks run in their order
C33 hooks get the state on standard input
C34 annotations are a map of strings, no key of it empty
C35 unknown annotations are ignored
C36 unknown properties are ignored
C37 an invalid or unsupported value fails
"""
_CONFIG_LINUX = """
X1  a namespace's path is absolute
X2  the process is in the namespace of that path
X3  a path of another type of namespace fails
X4  a namespace without path is made
X5  a namespace not named is the runtime's
X6  a namespace named twice fails
X7  linux.devices are there
X8  something else in a device's place fails
X9  /dev/null, zero, full, random, urandom and tty are there
X10 /dev/console is the terminal, if there is one
X11 /dev/ptmx leads to the container's own
X12 a cgroup that is not fit, such as one with processes, fails
X13 an absolute cgroupsPath begins at the cgroup mount point
X14 the same cgroupsPath is always the same place
X15 an invalid cgroupsPath fails
X16 where cgroups are handed over, no file that is missing fails
X17 device rules apply in their order
X18 with checkBeforeUpdate a limit below what is used is refused
X19 a burst above the quota is not taken
X20 an entry of weightDevice has weight or leafWeight
X21 an entry of rdma has hcaHandles or hcaObjects
X22 unified: the controllers that it takes are enabled
X23 unified: files that are not known are written too
X24 unified: a controller that is not there fails
X25 what has no equal in the cgroups of the machine fails
X26 intelRdt fails without resctrl
X27 without intelRdt no resctrl is touched
X28 seccomp: errnoRet for an action without fails
X29 seccomp: an entry has names
X30 maskedPaths are absolute
X31 readonlyPaths are absolute
"""


def _numbered(document: str, text: str) -> list[Requirement]:
    lines = (line.split(None, 1) for line in text.strip().splitlines())
    return [Requirement(number, document, words.strip()) for number, words in lines]


REQUIREMENTS = [
    *_numbered("runtime.md", _RUNTIME),
    *_numbered("runtime-linux.md", _RUNTIME_LINUX),
    *_numbered("config.md", _CONFIG),
    *(
        Requirement(f"C4-{name}", "config.md", f"the mount option {name} is understood")
        for name in MOUNT_OPTIONS
    ),
    *_numbered("config-linux.md", _CONFIG_LINUX),
]
