"""What cowl and podman do with the same words: equal, or other on purpose, with the reason beside it.

podman runs the same starter image, with runc, as crun does not take every machine's cgroups.
"""

from __future__ import annotations

import errno
import glob
import os
import sys
from collections.abc import Iterator

import pytest

from engine.images.images import Images
from engine.store.store import Store
from tests.support import roots, traces
from tests.support.captures import wait_for
from tests.support.sides import Did, Side
from tests.support.traces import Root

pytestmark = [pytest.mark.kernel, pytest.mark.peers("podman", "runc")]

REFUSED = 125
PATH = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
IMAGE = "starter:base"


@pytest.fixture(scope="module")
def cowl_root(starter_root: Root, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Root]:
    made = roots.new_root(str(tmp_path_factory.getbasetemp()))
    archive = tmp_path_factory.mktemp("starter") / "starter.tar"
    Images(Store(starter_root.path)).save([IMAGE], str(archive), "docker-archive")
    Images(Store(made.path)).load(str(archive))
    yield made
    left = traces.settle(made)
    traces.clean(made)
    assert not left


@pytest.fixture(scope="module")
def cowl_side(cowl_root: Root) -> Side:
    return Side([sys.executable, "-m", "engine.cli"], [], roots.environment(cowl_root))


@pytest.fixture(scope="module")
def podman(cowl_root: Root, starter_root: Root, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Side]:
    place = f"{cowl_root.path}/podman"
    os.makedirs(place)
    words = [
        *("podman", "--root", f"{place}/root", "--runroot", f"{place}/run", "--tmpdir", f"{place}/tmp"),
        *("--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "none"),
        *("--runtime", "runc"),
    ]
    options = [
        *("--network", "none", "--cgroup-parent", f"/{cowl_root.cgroup_parent}", "--no-hosts"),
        *("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"),
    ]
    side = Side(words, options, {"PATH": PATH, "HOME": place})
    archive = tmp_path_factory.mktemp("starter") / "starter.tar"
    Images(Store(starter_root.path)).save([IMAGE], str(archive), "docker-archive")
    loaded = side("load", "-q", "-i", str(archive))
    if loaded.code or side.run("--rm", IMAGE, "true").code:
        pytest.skip("podman runs no container on this machine")
    yield side
    side("rm", "-fa", "-t", "0")
    for name in ("conmon", ""):  # podman leaves them, and the last conmon may be on its way out
        for cgroup in glob.glob(f"/sys/fs/cgroup/*/{cowl_root.cgroup_parent}/{name}"):
            wait_for(lambda cgroup=cgroup: _is_removed(cgroup))


def _is_removed(cgroup: str) -> bool:
    try:
        os.rmdir(cgroup)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


FOREGROUND: dict[str, tuple[str, ...]] = {
    "the code of the program": (IMAGE, "sh", "-c", "exit 7"),
    "a signal it dies of": (IMAGE, "sh", "-c", "kill -9 $$; sleep 1; exit 3"),
    "a child that dies of one": (IMAGE, "sh", "-c", "sh -c 'kill -TERM $$'; exit $?"),
    "a command that is not there": (IMAGE, "nothing-of-that-name"),
    "a path that is not there": (IMAGE, "/nowhere/at/all"),
    "a file that is no program": (IMAGE, "/etc/passwd"),
    "a directory": (IMAGE, "/etc"),
    "output of both kinds": (IMAGE, "sh", "-c", "echo out; echo err >&2"),
    "no input": (IMAGE, "cat"),
    "a variable": ("-e", "A=1 2", "-e", "B=", IMAGE, "sh", "-c", 'echo "$A|$B|"'),
    "a variable of nobody": ("-e", "NOBODY_SET_THIS", IMAGE, "sh", "-c", 'echo "${NOBODY_SET_THIS-unset}"'),
    "its home": (IMAGE, "sh", "-c", "echo $HOME"),
    "its path": (IMAGE, "sh", "-c", "echo $PATH"),
    "the name of its host": ("-h", "box", IMAGE, "sh", "-c", "cat /etc/hostname; uname -n"),
    "where it begins": (IMAGE, "pwd"),
    "a directory to begin in": ("-w", "/usr/lib", IMAGE, "pwd"),
    "a directory that is made": ("-w", "/made/deep", IMAGE, "pwd"),
    "a file to begin in": ("-w", "/etc/passwd", IMAGE, "pwd"),
    "a user by number": ("-u", "1234:56", IMAGE, "id"),
    "a user that is not there": ("-u", "nobody-of-that-name", IMAGE, "id"),
    "root by name": ("-u", "root", IMAGE, "id", "-u"),
    "an entrypoint": ("--entrypoint", "echo", IMAGE, "a", "b"),
    "no entrypoint": ("--entrypoint", "", IMAGE, "echo", "a"),
    "a root that is not written": ("--read-only", IMAGE, "sh", "-c", "touch /x 2>/dev/null; echo $?"),
    "memory at a place": ("--tmpfs", "/t:size=1m", IMAGE, "sh", "-c", "touch /t/x; echo $?"),
    "the limit of files": ("--ulimit", "nofile=77:77", IMAGE, "sh", "-c", "ulimit -n"),
    "the first process": (IMAGE, "sh", "-c", "echo $$"),
    "an umask": (IMAGE, "sh", "-c", "umask"),
    "no core": (IMAGE, "sh", "-c", "exit 256"),
    "the name of an image that is none": ("no/such-image-here:1", "true"),
    "the size of shared memory": (IMAGE, "sh", "-c", "df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2"),
    "a name of no container": ("--name", "a/b", IMAGE, "true"),
    "memory that is too little": ("-m", "1", IMAGE, "true"),
    "capabilities": (
        "--cap-drop",
        "ALL",
        IMAGE,
        "sh",
        "-c",
        "while read a b; do [ $a != CapEff: ] || echo $b; done < /proc/self/status",
    ),
    "one stream of two": ("-a", "stdout", IMAGE, "sh", "-c", "echo out; echo err >&2"),
    "the other stream": ("-a", "stderr", IMAGE, "sh", "-c", "echo out; echo err >&2"),
    "further groups": ("--group-add", "77", "--group-add", "88", IMAGE, "id", "-G"),
    "two limits of files": ("--ulimit", "nofile=70:80", IMAGE, "sh", "-c", "ulimit -n; ulimit -Hn"),
    "a sysctl": ("--sysctl", "net.ipv4.ip_forward=1", IMAGE, "cat", "/proc/sys/net/ipv4/ip_forward"),
    "shared memory of a size": ("--shm-size", "1m", IMAGE, "sh", "-c", "df -k /dev/shm | grep -c 1024"),
    "processors": ("--cpuset-cpus", "0", IMAGE, "nproc"),
    "the host's name": ("--uts", "host", IMAGE, "uname", "-n"),
    "how soon it goes": ("--oom-score-adj", "500", IMAGE, "cat", "/proc/self/oom_score_adj"),
    "swap but no memory": ("--memory-swap", "64m", IMAGE, "true"),
    "less swap than memory": ("-m", "64m", "--memory-swap", "32m", IMAGE, "true"),
    "a signal that is none": ("--stop-signal", "NOTHING", IMAGE, "true"),
    "a volume of another": ("--volumes-from", "nobody-of-that-name", IMAGE, "true"),
    "processes of another": ("--pid", "container:nobody-of-that-name", IMAGE, "true"),
    "an option that is none": ("--no-such-option", IMAGE, "true"),
    "a stream that is none": ("-a", "stdouts", IMAGE, "true"),
    "a great line": (IMAGE, "sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' a"),
    "no streams": (IMAGE, "sh", "-c", "exec 0<&- 1>&- 2>&-; sleep 0.1; exit 4"),
    "what goes on behind it": (IMAGE, "sh", "-c", "sleep 50 & echo main"),
    "many words": (IMAGE, "sh", "-c", "echo $#", "x", *("word" * 25 for _ in range(5000))),
    "a great variable": ("-e", "BIG=" + "x" * 65536, IMAGE, "sh", "-c", "echo ${#BIG}"),
    "words in other spellings": (
        *("-eA=1", "-e=B=2", "--env=C=3", "-i=false", "--tty=f", "--rm=1", "-w=/usr"),
        *(IMAGE, "sh", "-c", "echo $A$B$C; pwd"),
    ),
    "options again and again": (
        *("-m=64m", "--memory", "32m", "-w", "/", "-w", "/usr", "-e", "A=1", "-e", "A=2"),
        *(IMAGE, "sh", "-c", "pwd; echo $A; cat /sys/fs/cgroup/memory*/memory.limit_in_bytes"),
    ),
    "empty values": (
        *("-w", "", "-u", "", "--name", "", "--cpuset-cpus", "", "--restart", "", "--pid=", "--uts="),
        *("--ipc=", "--stop-signal=", "--cpus", "0", IMAGE, "pwd"),
    ),
    "a variable with a space in its name": ("-e", "A B=1", IMAGE, "printenv", "A B"),
    "a part of time of a period": (
        *("--cpu-period", "50000", "--cpu-quota", "25000", IMAGE, "sh", "-c"),
        "cd /sys/fs/cgroup/cpu*; cat cpu.cfs_quota_us cpu.cfs_period_us",
    ),
    "a period alone": (
        *("--cpu-period", "50000", IMAGE, "sh", "-c", "cd /sys/fs/cgroup/cpu*; cat cpu.cfs_period_us"),
    ),
    "time by two words": ("--cpus", "1", "--cpu-quota", "5000", IMAGE, "true"),
    "memory nodes": ("--cpuset-mems", "0", IMAGE, "cat", "/sys/fs/cgroup/cpuset/cpuset.mems"),
    "how readily it is swapped out": (
        *("--memory-swappiness", "10", IMAGE, "cat", "/sys/fs/cgroup/memory/memory.swappiness"),
    ),
    "a swappiness that is none": ("--memory-swappiness", "101", IMAGE, "true"),
    "waiting for memory": (
        *("--oom-kill-disable", "-m", "64m", IMAGE, "grep", "oom_kill_disable"),
        "/sys/fs/cgroup/memory/memory.oom_control",
    ),
    "a rate of no block device": ("--device-read-bps", "/dev/null:1mb", IMAGE, "true"),
    "a rate of no device": ("--device-write-iops", "/dev/nothing-of-that-name:5", IMAGE, "true"),
    "a rate that is none": ("--device-read-bps", "/dev/null", IMAGE, "true"),
    "a rule for devices": (
        *("--device-cgroup-rule", "c 42:* rwm", IMAGE, "grep", "42", "/sys/fs/cgroup/devices/devices.list"),
    ),
    "a rule that is none": ("--device-cgroup-rule", "c 42:*", IMAGE, "true"),
    "few processes": ("--pids-limit", "7", IMAGE, "cat", "/sys/fs/cgroup/pids/pids.max"),
    "memory of nobody": ("--ipc", "container:nobody-of-that-name", IMAGE, "true"),
    "a way to share memory that is none": ("--ipc", "somehow", IMAGE, "true"),
    "no memory to share": ("--ipc", "none", IMAGE, "grep", "-c", " /dev/shm ", "/proc/mounts"),
    "memory to share": ("--ipc", "shareable", IMAGE, "grep", "-c", " /dev/shm ", "/proc/mounts"),
    "memory of the host": (
        *("--ipc", "host", "--pid", "host", IMAGE, "sh", "-c"),
        "[ $(readlink /proc/self/ns/ipc) = $(readlink /proc/1/ns/ipc) ]",
    ),
    "cgroups of the host": (
        *("--cgroupns", "host", IMAGE, "sh", "-c", "grep -q cowl-test /proc/self/cgroup; echo $?"),
    ),
    "its own cgroups": (
        *("--cgroupns", "private", IMAGE, "sh", "-c", "grep -q cowl-test /proc/self/cgroup; echo $?"),
    ),
    "no user namespace": ("--userns", "host", IMAGE, "cat", "/proc/self/uid_map"),
    "its protection off": (
        *("--security-opt", "seccomp=unconfined", IMAGE, "grep", "Seccomp:", "/proc/self/status"),
    ),
    "no new privileges": (
        *("--security-opt", "no-new-privileges", IMAGE, "grep", "NoNewPrivs:", "/proc/self/status"),
    ),
    "no labels": ("--security-opt", "label=disable", IMAGE, "echo", "a"),
    "a profile of nobody": ("--security-opt", "seccomp=/nowhere/at/all", IMAGE, "true"),
    "memory as a mount": (
        *("--mount", "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1700", IMAGE, "sh", "-c"),
        "df -k /t | grep -c ' 1024 '; stat -c %a /t",
    ),
    "a mount of what is not there": ("--mount", "type=bind,src=/nowhere/at/all,dst=/x", IMAGE, "true"),
    "a mount that is none": ("--mount", "type=bind,src=/usr", IMAGE, "true"),
    "a mount of a kind that is none": ("--mount", "type=cluster,src=/usr,dst=/x", IMAGE, "true"),
    "a mount that is not written": (
        *("--mount", "type=bind,src=/usr,dst=/x,ro", IMAGE, "sh", "-c", "touch /x/y 2>/dev/null; echo $?"),
    ),
    "a mode that is none": ("-v", "/usr:/x:sometimes", IMAGE, "true"),
    "a variable of a file that is not there": ("--env-file", "/nowhere/at/all", IMAGE, "true"),
    "labels of a file that is not there": ("--label-file", "/nowhere/at/all", IMAGE, "true"),
    "a limit that is none": ("--ulimit", "nothing=1", IMAGE, "true"),
    "a soft limit above the hard one": ("--ulimit", "core=5:4", IMAGE, "true"),
    "a group of nobody": ("--group-add", "nobody-of-that-name", IMAGE, "true"),
    "a policy that is none": ("--restart", "sometimes", IMAGE, "true"),
    "when to pull, which is never": ("--pull", "sometimes", IMAGE, "true"),
    "an annotation": ("--annotation", "a.b=c", IMAGE, "true"),
    "quietly": ("-q", IMAGE, "echo", "a"),
    "processes seen": (IMAGE, "sh", "-c", "echo /proc/[0-9]*"),
}
"""What is run with --rm, without a terminal, with empty input."""

OTHERWISE: dict[str, tuple[int, int, str]] = {
    "the name of its host": (0, 0, "podman's /etc/hostname has no end of line; docker's and ours have"),
    "a directory that is made": (126, 0, "podman makes none; docker does"),
    "a user by number": (0, 0, "podman writes users into the container's /etc/passwd; docker does not"),
    "a user that is not there": (126, 125, "nothing was found that could not be executed: docker says 125"),
    "the size of shared memory": (0, 0, "podman's 64 MB are 65,536,000 bytes; docker's and ours 64 MiB"),
    "a name of no container": (125, 2, "a call that has no meaning ends with 2, also for run"),
    **dict.fromkeys(
        (
            *(
                "swap but no memory",
                "a signal that is none",
                "an option that is none",
                "a stream that is none",
            ),
            *("time by two words", "a swappiness that is none", "a rate of no device", "a rate that is none"),
            *("a rule that is none", "a profile of nobody", "a mount of what is not there"),
            *("a mount that is none", "a mount of a kind that is none", "a mode that is none"),
            *("a variable of a file that is not there", "labels of a file that is not there"),
            *("a limit that is none", "a soft limit above the hard one", "a policy that is none"),
            "when to pull, which is never",
        ),
        (125, 2, "a call that has no meaning ends with 2, also for run"),
    ),
    "a rate of no block device": (126, 2, "a call that has no meaning ends with 2, also for run"),
    "a group of nobody": (126, 125, "nothing was found that could not be executed: docker says 125"),
    "memory that is too little": (126, 2, "a call that has no meaning ends with 2, also for run"),
}
"""The codes of podman and cowl where they do something else, and why ours is the better one."""


OF_VERSION_1 = {
    *("options again and again", "a part of time of a period", "a period alone", "memory nodes"),
    *("how readily it is swapped out", "waiting for memory", "a rule for devices"),
    "few processes",
}
"""Cases that read files, or set limits, of cgroups of version 1."""
HAS_VERSION_1 = not os.path.exists("/sys/fs/cgroup/cgroup.controllers")


@pytest.mark.parametrize("case", [case for case in FOREGROUND if HAS_VERSION_1 or case not in OF_VERSION_1])
def test_in_the_foreground(cowl_side: Side, podman: Side, case: str) -> None:
    ours, theirs = cowl_side.run("--rm", *FOREGROUND[case]), podman.run("--rm", *FOREGROUND[case])
    if case not in OTHERWISE:
        assert ours == theirs
        return
    assert (theirs.code, ours.code) == OTHERWISE[case][:2]
    assert ours != theirs


UNTIL = ("sh", "-c", "until test -e $0; do sleep 0.05; done")
"""A command that ends when the file that follows is there."""
HEARS = (
    "trap 'n=$((n+1)); echo hup; touch /hup$n' HUP; trap 'exit 3' USR2; touch /ready;"
    " while :; do sleep 0.05; done"
)
LIVES: dict[str, tuple[tuple[str, ...], list[tuple[str, ...]]]] = {
    "stopped by its signal": (
        ("sh", "-c", "trap 'exit 9' TERM; touch /ready; while :; do sleep 0.05; done"),
        [("exec", "x", *UNTIL, "/ready"), ("stop", "-t", "10", "x"), ("wait", "x"), ("stop", "x")],
    ),
    "stopped by force": (("sleep", "100"), [("stop", "-t", "0", "x"), ("wait", "x")]),
    "killed": (("sleep", "100"), [("kill", "x"), ("wait", "x"), ("kill", "x")]),
    "killed by another signal": (
        ("sh", "-c", "trap 'exit 4' USR1; touch /ready; while :; do sleep 0.05; done"),
        [("exec", "x", *UNTIL, "/ready"), ("kill", "-s", "USR1", "x"), ("wait", "x")],
    ),
    "paused": (("sleep", "100"), [("pause", "x"), ("unpause", "x"), ("unpause", "x")]),
    "executed in": (
        ("sleep", "100"),
        [
            ("exec", "x", "sh", "-c", "exit 5"),
            ("exec", "x", "nothing-of-that-name"),
            ("exec", "x", "/etc/passwd"),
            ("exec", "-e", "A=1", "-w", "/usr", "x", "sh", "-c", "echo $A; pwd"),
            ("exec", "-u", "12", "x", "id", "-u"),
            ("exec", "-w", "/nowhere/at/all", "x", "pwd"),
            ("exec", "no-such-container", "true"),
        ],
    ),
    "removed while it runs": (("sleep", "100"), [("rm", "x"), ("rm", "-f", "-t", "0", "x")]),
    "executed in after its end": (("true",), [("wait", "x"), ("exec", "x", "true")]),
    "its log": (
        ("sh", "-c", "echo a; sleep 0.2; echo b >&2; sleep 0.2; echo c"),
        [("wait", "x"), ("logs", "x"), ("logs", "--tail", "1", "x")],
    ),
    "its log without a newline": (
        ("sh", "-c", "echo a; printf half"),
        [("wait", "x"), ("logs", "x"), ("logs", "-f", "x"), ("start", "-a", "x"), ("logs", "x")],
    ),
    "its log in pieces": (
        ("sh", "-c", "printf a; sleep 0.1; printf B >&2; sleep 0.1; echo c; printf D >&2; printf e"),
        [("wait", "x"), ("logs", "x"), ("logs", "-f", "x")],
    ),
    "a name twice": (("sleep", "100"), [("create", "--name", "x", IMAGE, "true")]),
    "started again": (
        ("sh", "-c", "echo run; exit 3"),
        [("wait", "x"), ("start", "-a", "x"), ("start", "x"), ("wait", "x"), ("logs", "x")],
    ),
    "executed in, and left": (
        ("sleep", "100"),
        [
            ("exec", "x", "sh", "-c", "sleep 50 & echo hi"),
            ("exec", "-u", "5:6", "x", "sh", "-c", "id -u; id -g"),
            ("exec", "-e", "A=", "x", "sh", "-c", "echo ${A-unset}"),
            ("exec", "x", "sh", "-c", "kill -9 $$"),
        ],
    ),
    "paused and bothered": (
        ("sleep", "100"),
        [("pause", "x"), ("exec", "x", "true"), ("pause", "x"), ("unpause", "x"), ("exec", "x", "true")],
    ),
    "signals by name and number": (
        ("sh", "-c", HEARS),
        [
            ("exec", "x", *UNTIL, "/ready"),
            ("kill", "-s", "HUP", "x"),
            ("exec", "x", *UNTIL, "/hup1"),
            ("kill", "--signal", "SIGHUP", "x"),
            ("exec", "x", *UNTIL, "/hup2"),
            ("kill", "-s", "12", "x"),
            ("wait", "x"),
            ("logs", "x"),
            ("kill", "-s", "NOTHING", "x"),
        ],
    ),
    "seen by templates": (
        ("sh", "-c", "exit 3"),
        [
            ("wait", "x"),
            ("ps", "-a", "--filter", "name=x", "--format", "{{.Names}}"),
            ("ps", "-a", "--filter", "status=exited", "--format", "{{.Names}}"),
            ("ps", "--filter", "name=x", "--format", "{{.Names}}"),
            ("ps", "-a", "--filter", "exited=4", "--format", "{{.Names}}"),
            ("inspect", "-f", "{{.State.ExitCode}} {{.State.Running}} {{.State.Status}}", "x"),
            ("inspect", "-f", "{{json .Config.Cmd}} {{len .Args}}", "x"),
            ("inspect", "-f", "{{.NoSuchField}}", "x"),
        ],
    ),
    "called again and again": (
        ("sleep", "100"),
        [("restart", "-t", "0", "x"), ("stop", "-t", "0", "x"), ("restart", "-t", "0", "x"), ("port", "x")],
    ),
    "memory that another joins": (
        ("--ipc", "shareable", "sleep", "100"),
        [
            ("exec", "x", "sh", "-c", "echo hers > /dev/shm/a"),
            ("run", "--rm", "--ipc", "container:x", IMAGE, "cat", "/dev/shm/a"),
            ("inspect", "-f", "{{.HostConfig.IpcMode}}", "x"),
        ],
    ),
    "memory that nobody joins": (
        ("--ipc", "private", "sleep", "100"),
        [("run", "--rm", "--ipc", "container:x", IMAGE, "true")],
    ),
    "seen by longer templates": (
        ("--label", "a=1", "--label", "b=2", "--annotation", "c=3", "sh", "-c", "exit 3"),
        [
            ("wait", "x"),
            ("inspect", "-f", "{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}", "x"),
            ("inspect", "-f", "{{$s := .State}}{{$s.ExitCode}} {{if $s.Running}}up{{else}}down{{end}}", "x"),
            ("inspect", "-f", '{{printf "%5d|%-6s|" .State.ExitCode .State.Status}}', "x"),
            ("inspect", "-f", "{{(index .Config.Cmd 1)}} {{slice .Name 0 1 | len}}", "x"),
            ("inspect", "-f", "{{$nobody}}", "x"),
            ("container", "inspect", "-f", "{{.State.ExitCode}}", "x"),
            ("container", "ls", "-a", "--filter", "name=^x$", "--format", "{{.Names}}"),
            ("ps", "-a", "--filter", "label=a=1", "--filter", "label=b", "--format", "{{.Names}}"),
            ("ps", "-a", "--filter", "label=a=2", "--format", "{{.Names}}"),
            ("ps", "-a", "--filter", "volume=nothing", "--format", "{{.Names}}"),
        ],
    ),
    "volumes": (
        ("sleep", "100"),
        [
            ("volume", "create", "--label", "a=1", "v1"),
            ("volume", "create", "v2"),
            ("volume", "ls", "--format", "{{.Name}} {{.Driver}}"),
            ("volume", "ls", "-q", "--filter", "name=1"),
            ("volume", "ls", "-q", "--filter", "label=a=1"),
            ("volume", "ls", "-q", "--filter", "dangling=true"),
            ("volume", "inspect", "-f", "{{.Name}} {{.Driver}} {{.Scope}} {{json .Labels}}", "v1"),
            ("volume", "inspect", "nobody"),
            ("volume", "create", "a/b"),
            ("volume", "rm", "v1", "v2"),
            ("volume", "rm", "v1"),
        ],
    ),
    "images": (
        ("sleep", "100"),
        [
            ("images", "--format", "{{.Tag}}"),
            ("image", "ls", "--filter", "reference=*:base", "--format", "{{.Tag}}"),
            ("images", "--filter", "dangling=true", "--format", "{{.Tag}}"),
            ("images", "--filter", "label=nothing", "--format", "{{.Tag}}"),
            ("images", "--filter", "colour=red"),
            ("image", "inspect", "-f", "{{.Os}} {{.Config.Cmd}} {{len .RootFS.Layers}}", IMAGE),
            ("history", "--format", "{{.CreatedBy}}", IMAGE),
            ("rmi", "no-such-image-here"),
        ],
    ),
    "renamed": (("sleep", "100"), [("rename", "x", "y"), ("exec", "y", "true"), ("rename", "y", "x")]),
    "restarted on failure": (
        ("--restart", "on-failure:1", "sh", "-c", "echo run; exit 3"),
        [("wait", "x"), ("logs", "x")],
    ),
}
"""What a container in the background runs, and what is done to it one after the other."""


@pytest.mark.parametrize("case", LIVES)
def test_a_life(cowl_side: Side, podman: Side, case: str) -> None:
    command, steps = LIVES[case]
    begins = next(number for number, word in enumerate(command) if word in ("sh", "sleep", "true"))
    options = command[:begins]
    program = command[len(options) :]
    try:
        for side in (cowl_side, podman):
            assert side.run("-d", "--name", "x", *options, IMAGE, *program).code == 0
        for words in steps:
            ours, theirs = _step(cowl_side, _ours(words)), _step(podman, words)
            assert _settled(ours) == _settled(theirs), words
    finally:
        cowl_side("rm", "-f", "x", "y")
        podman("rm", "-f", "-t", "0", "--ignore", "x", "y")


def _step(side: Side, words: tuple[str, ...]) -> Did:
    return side.run(*words[1:]) if words[0] == "run" else side(*words)


def _ours(words: tuple[str, ...]) -> tuple[str, ...]:
    """`rm -f` of cowl kills at once and has no -t."""
    return tuple(word for word in words if words[0] != "rm" or word not in ("-t", "0"))


def _settled(did: Did) -> Did:
    """IDs, which are new each time, as one word; one code for whatever was refused.

    podman refuses with 2, 125 or 255 where docker and cowl have 1, or 125 for what was to run something.
    """
    line = did.out.strip()
    out = "ID" if len(line) == 64 and not line.strip("0123456789abcdef") else did.out
    return Did(REFUSED if did.complained and did.code in (1, 2, 255) else did.code, out, did.complained)
