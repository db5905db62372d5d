"""The flags that each command of ``cowl-runtime`` takes, and how it is called."""

from __future__ import annotations

from engine.runtime.words import FLAG, VALUE, VALUES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.runtime.words import Kinds

GLOBAL: Kinds = {
    "root": VALUE,
    "log": VALUE,
    "log-format": VALUE,
    "debug": FLAG,
    "systemd-cgroup": FLAG,
    "rootless": VALUE,
    "cgroup-manager": VALUE,
    "criu": VALUE,
    "help|h": FLAG,
    "version|v": FLAG,
}
CREATE: Kinds = {
    "bundle|b": VALUE,
    "pid-file": VALUE,
    "console-socket": VALUE,
    "preserve-fds": VALUE,
    "no-pivot": FLAG,
    "no-new-keyring": FLAG,
}
PROCESS: Kinds = {
    "process|p": VALUE,
    "tty|t": FLAG,
    "detach|d": FLAG,
    "pid-file": VALUE,
    "console-socket": VALUE,
    "preserve-fds": VALUE,
    "cwd": VALUE,
    "env|e": VALUES,
    "user|u": VALUE,
    "additional-gids|g": VALUES,
    "cap|c": VALUES,
    "no-new-privs": FLAG,
    "apparmor": VALUE,
    "process-label": VALUE,
    "ignore-paused": FLAG,
    "cgroup": VALUE,
}
USAGE = """\
usage: cowl-runtime [--root DIR] [--log FILE] [--log-format text|json] [--debug] COMMAND …

  create --bundle DIR [--pid-file FILE] [--console-socket SOCKET] [--preserve-fds N] CONTAINER
  start CONTAINER
  run [--detach] [--keep] (what create takes) CONTAINER
  exec [--tty] [--detach] [--user UID[:GID]] [--cwd DIR] [--env NAME=VALUE]… CONTAINER COMMAND …
  exec [--detach] --process FILE CONTAINER
  state CONTAINER
  list [--format table|json] [--quiet]
  ps [--format table|json] CONTAINER [options of ps]
  kill [--all] CONTAINER [SIGNAL]
  delete [--force] CONTAINER
  pause, resume CONTAINER
  update [--resources FILE] [--memory BYTES] [--pids-limit N] … CONTAINER
  events --stats CONTAINER
  features
  spec [--bundle DIR]
"""
UPDATE: Kinds = dict.fromkeys(
    (
        *("resources|r", "cpu-period", "cpu-quota", "cpu-burst", "cpu-share", "cpu-rt-period"),
        *("cpu-rt-runtime", "cpu-idle", "cpuset-cpus", "cpuset-mems", "memory", "memory-reservation"),
        *("memory-swap", "blkio-weight", "pids-limit"),
    ),
    VALUE,
)
