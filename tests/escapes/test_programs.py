"""Reaching the host through the processes that make a container: their files, directories, descriptors."""

from __future__ import annotations

import os
import pty
import re
import sys

import pytest

from engine.containers.foreground import Streams
from engine.engine import Engine
from engine.errors import LaunchError
from engine.launch.isolation import stop_imports
from engine.model import Volume
from engine.oci import syscalls
from engine.store.layout import Layout
from tests.support.captures import execute, run, start, wait_for
from tests.support.roots import environment
from tests.support.traces import Root

pytestmark = pytest.mark.kernel

PLANT = """
import os
for path, text in (("/script", "#!/proc/self/exe"), ("/deeper", "#!/script")):
    open(path, "w").write(text + chr(10))
    os.chmod(path, 0o755)
os.symlink("/proc/self/exe", "/link")
"""
WAYS = ("/script", "/deeper", "/link", "/proc/self/exe", "/proc/thread-self/exe")


def host_files() -> dict[str, tuple[int, ...]]:
    """Everything of the interpreter's file that a container could have changed."""
    found: dict[str, tuple[int, ...]] = {}
    for path in {os.path.realpath(sys.executable), os.path.realpath("/bin/sh")}:
        status = os.stat(path)
        found[path] = (status.st_mode, status.st_uid, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return found


@pytest.mark.parametrize("way", WAYS)
def test_the_host_s_interpreter_is_never_executed_inside(jail: Engine, way: str) -> None:
    """Were it, the image's libraries would run in it, the host's file open to them (CVE-2019-5736)."""
    before = host_files()
    name = start(jail)
    execute(jail, name, "python3", "-c", PLANT)
    code = "import os; print('inside', flush=True); os.chmod('/proc/self/exe', 0o4777)"
    done = execute(jail, name, way, "-c", code)
    assert (done.code, done.out) == (125, "")
    image = f"planted:{WAYS.index(way)}"
    jail.changes.commit(name, image)
    jail.containers.remove(name, force=True)
    first = run(jail, way, "-c", code, image=image)
    assert (first.code, first.out) == (125, "")
    assert host_files() == before


def test_a_library_of_the_image_is_not_loaded_before_its_program(jail: Engine) -> None:
    """LD_PRELOAD and the like count for the program alone, never for what comes before it."""
    done = run(jail, "true", env=("LD_PRELOAD=/nosuch.so", "PYTHONPATH=/", "LD_LIBRARY_PATH=/tmp"))
    assert done.err.count("nosuch.so") == 1


LEAKS = """
import os
root = os.stat("/")
for number in range(3, 1024):
    try:
        found = os.stat(f"/proc/self/fd/{number}")
        os.chdir(f"/proc/self/fd/{number}")
    except OSError:
        continue
    print(number, os.readlink(f"/proc/self/fd/{number}"))
print(os.getcwd(), os.stat(".").st_ino == root.st_ino)
"""


@pytest.mark.parametrize("through", ["run", "exec"])
def test_no_working_directory_leads_outside(jail: Engine, through: str) -> None:
    """Descriptors of the host, tried as working directory before the exec closes them (CVE-2024-21626)."""
    name = start(jail)
    code = "import os; here = os.getcwd(); print(here, os.path.samestat(os.stat(here), os.stat('.')))"
    look = ("python3", "-c", code)
    for number in range(3, 20):
        for path in (
            f"/proc/self/fd/{number}",
            f"/proc/self/fd/{number}/..",
            f"/proc/self/fd/{number}/../../..",
        ):
            try:
                if through == "run":
                    done = run(jail, *look, workdir=path)
                else:
                    done = execute(jail, name, *look, workdir=path)
            except LaunchError as error:
                assert re.search("cannot change to the directory|outside the container", str(error))
                continue
            # What is open so late is the container's own: its root, its /dev, its /proc.
            where, same = done.out.split()
            assert same == "True", (path, done.out)
            assert where == "/" or where.startswith(("/dev", "/proc")), (path, done.out)
    jail.containers.remove(name, force=True)


def test_no_descriptor_leads_outside(jail: Engine) -> None:
    name = start(jail)
    for out in (run(jail, "python3", "-c", LEAKS).out, execute(jail, name, "python3", "-c", LEAKS).out):
        assert out == "/ True\n"
    jail.containers.remove(name, force=True)


CHROOT = """
import os
os.mkdir("/jail")
above = os.open("/", os.O_RDONLY)
os.chroot("/jail")
os.fchdir(above)
for _ in range(64):
    os.chdir("..")
os.chroot(".")
print(os.stat("/").st_ino, os.stat("/").st_dev, os.path.exists(CANARY))
"""


def test_the_root_cannot_be_left_by_chroot(jail: Engine, tmp_path: object) -> None:
    canary = f"{tmp_path}/canary"
    with open(canary, "w", encoding="ascii") as file:
        file.write("x")
    code = f"CANARY = {canary!r}\nimport os\nprint(os.stat('/').st_ino, os.stat('/').st_dev)\n{CHROOT}"
    before, after = run(jail, "python3", "-c", code).out.splitlines()
    assert after == f"{before} False"


NEIGHBOURS = """
import os
for place in ("/proc/1/root", "/proc/1/cwd", "/proc/self/root"):
    print(os.stat(place).st_ino == os.stat("/").st_ino)
print(sorted(int(name) for name in os.listdir("/proc") if name.isdigit())[-1] < 100)
for number in (1 << 15, 1 << 20):
    try:
        os.kill(number, 0)
        print("reached")
    except ProcessLookupError:
        print("nobody")
"""


def test_no_process_of_the_host_is_there(jail: Engine) -> None:
    assert run(jail, "python3", "-c", NEIGHBOURS).out.split() == ["True"] * 4 + ["nobody"] * 2


TERMINAL = """
import errno, fcntl, os, termios
for number in range(3):
    print(os.isatty(number))
try:
    descriptor = os.open("/dev/tty", os.O_RDWR)
except OSError as error:
    print(errno.errorcode[error.errno])
else:
    try:
        fcntl.ioctl(descriptor, termios.TIOCSTI, b"x")
        print("typed")
    except OSError as error:
        print(errno.errorcode[error.errno])
"""


@pytest.mark.parametrize("through", ["run", "exec"])
def test_nothing_can_be_typed_on_the_caller_s_terminal(jail: Engine, through: str) -> None:
    """Neither as a descriptor nor as controlling terminal does it get in (CVE-2016-9962 and its like)."""
    master, slave = pty.openpty()
    try:
        streams = Streams(slave, slave, slave)
        if through == "run":
            from engine.model import LaunchOptions

            options = LaunchOptions(
                image="starter", command=("python3", "-c", TERMINAL), auto_remove=True, interactive=True
            )
            jail.containers.run(options, attach=True, streams=streams)
        else:
            name = start(jail)
            jail.containers.exec(name, ("python3", "-c", TERMINAL), interactive=True, streams=streams)
            jail.containers.remove(name, force=True)
        said = b""
        while said.count(b"\n") < 4:  # the kernel passes them on in its own time
            said += os.read(master, 4096)
    finally:
        os.close(master)
        os.close(slave)
    assert said.decode().split() == ["False", "False", "False", "ENXIO"]


FAMILY = syscalls.FAMILIES.get(os.uname().machine, (syscalls.X86_64,))
NUMBERS = syscalls.tables(FAMILY[:1])[FAMILY[0].name]
INHERITED = """
import ctypes, json, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
masks = {name: int(status[name], 16) for name in ("SigBlk", "SigPnd", "CapInh", "CapAmb")}
print(json.dumps({
    **masks,
    "ignored": int(status["SigIgn"], 16) & ~(1 << 12 | 1 << 24),  # Python's own: SIGPIPE, SIGXFSZ
    "groups": status["Groups"].split(),
    "umask": status["Umask"].strip(),
    "slack": libc.prctl(30, 0, 0, 0, 0),
    "securebits": libc.prctl(27, 0, 0, 0, 0),
    "dumpable": libc.prctl(3, 0, 0, 0, 0),
    "keepcaps": libc.prctl(7, 0, 0, 0, 0),
    "cwd": os.getcwd(),
    "key": libc.syscall(int(sys.argv[1]), 10, -3, b"user", b"cowl-secret", 0),  # KEYCTL_SEARCH
    "session": os.getsid(0) == (1 if os.getpid() == 1 else os.getpid()),
    "personality": libc.personality(ctypes.c_ulong(0xffffffff)),
    "environment": sorted(os.environ),
    "nice": os.nice(0),
    "policy": os.sched_getscheduler(0),
    "processors": len(os.sched_getaffinity(0)),
    "io priority": libc.syscall(int(sys.argv[2]), 1, 0),
    "reaper": os.getppid() in (0, 1),
    "score": open("/proc/self/oom_score_adj").read().strip(),
    "terminal": int(open("/proc/self/stat").read().rpartition(")")[2].split()[4]),
}))
"""
CALLER = """
import ctypes, os, signal, sys
sys.path.insert(0, {home!r})
os.setgroups([7, 8, 9])
os.umask(0)
os.chdir("/usr")
libc = ctypes.CDLL(None)
libc.prctl(29, ctypes.c_ulong(7777777), 0, 0, 0)
libc.personality(0x40000)
libc.syscall({keyctl}, 1, b"cowl-test")
libc.syscall({add_key}, b"user", b"cowl-secret", b"x", 1, -3)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGTERM])
signal.signal(signal.SIGUSR2, signal.SIG_IGN)
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
os.nice(7)
os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
libc.syscall({ioprio_set}, 1, 0, 3 << 13)
open("/proc/self/oom_score_adj", "w").write("300")
libc.prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
os.environ["SECRET"] = "x"
os.set_inheritable(os.open("/", os.O_RDONLY), True)
from engine.cli.main import command
sys.exit(command(sys.argv[1:]))
"""


@pytest.mark.parametrize("through", ["run", "exec"])
def test_nothing_of_the_caller_s_process_is_inherited(jail: Engine, through: str) -> None:
    import json
    import subprocess

    home = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    words = ["run", "--rm", "--security-opt", "seccomp=unconfined", "starter"]
    name = ""
    if through == "exec":
        name = start(jail, security_opts=("seccomp=unconfined",))
        words = ["exec", name]
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            CALLER.format(home=home, **{name: NUMBERS[name] for name in ("keyctl", "add_key", "ioprio_set")}),
            *words,
            "python3",
            "-c",
            INHERITED,
            str(NUMBERS["keyctl"]),
            str(NUMBERS["ioprio_get"]),
        ],
        env=environment(Root(jail.root, jail.cgroup_parent, Layout.of(jail.root))),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if name:
        jail.containers.remove(name, force=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (
        {"HOME", "HOSTNAME", "PATH"}
        <= set(found.pop("environment"))
        <= {"HOME", "HOSTNAME", "PATH", "LC_CTYPE", "LANG"}
    )
    assert found == {
        **dict.fromkeys(("SigBlk", "SigPnd", "CapInh", "CapAmb", "ignored", "securebits", "keepcaps"), 0),
        "groups": ["0"],
        "umask": "0022",
        "slack": 50_000,
        "dumpable": 1,
        "cwd": "/",
        "key": -1,
        "session": True,
        "personality": 0,
        "nice": 0,
        "policy": os.SCHED_OTHER,
        "processors": os.cpu_count(),
        "io priority": 0,
        "reaper": True,
        "score": "0",
        "terminal": 0,
    }


@pytest.mark.parametrize("through", ["run", "exec"])
def test_no_signal_is_ignored_or_blocked(jail: Engine, through: str) -> None:
    """As seen by a program that sets none itself: Python ignores two, and so does who comes before it."""
    name = start(jail)
    command = ("grep", "^Sig[BI]", "/proc/self/status")
    done = run(jail, *command) if through == "run" else execute(jail, name, *command)
    jail.containers.remove(name, force=True)
    assert [int(line.split()[1], 16) for line in done.out.splitlines()] == [0, 0]


GROUPS = """
import os
os.makedirs("/denied", exist_ok=True)
open("/denied/file", "w").write("x")
os.chown("/denied/file", 0, 77)
os.chmod("/denied/file", 0o604)
"""


@pytest.mark.parametrize("through", ["run", "exec"])
def test_what_its_group_is_denied_stays_denied(jail: Engine, through: str) -> None:
    """By letting go of the group, which is only one's own and none of the further ones (CVE-2022-36109)."""
    name = start(jail, user="55:77")
    execute(jail, name, "python3", "-c", GROUPS, user="0")
    code = "import os; print(sorted(os.getgroups()))"
    if through == "run":
        done = run(jail, "python3", "-c", code, user="55:77")
    else:
        done = execute(jail, name, "python3", "-c", code, user="55:77")
        assert execute(jail, name, "cat", "/denied/file", user="55:77").code == 1
    jail.containers.remove(name, force=True)
    assert done.out == "[77]\n"


SHARED = """
import ctypes, socket, sys
print(ctypes.CDLL(None).shmget(int(sys.argv[1]), 0, 0))
with socket.socket(socket.AF_UNIX) as client:
    try:
        client.connect(chr(0) + sys.argv[2])
        print("connected")
    except ConnectionRefusedError:
        print("nobody")
"""


@pytest.mark.parametrize("through", ["run", "exec"])
def test_memory_and_sockets_without_a_path_are_not_the_host_s(jail: Engine, through: str) -> None:
    """System V's shared memory, and abstract sockets, as containerd once had (CVE-2020-15257)."""
    import ctypes
    import socket

    libc = ctypes.CDLL(None, use_errno=True)
    key, address = 0x636F0000 | os.getpid() & 0xFFFF, f"cowl-{os.getpid()}"
    segment = libc.shmget(key, 4096, 0o1000 | 0o600)
    assert segment >= 0
    name = start(jail)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("\0" + address)
            listener.listen()
            command = ("python3", "-c", SHARED, str(key), address)
            done = run(jail, *command) if through == "run" else execute(jail, name, *command)
    finally:
        libc.shmctl(segment, 0, None)
        jail.containers.remove(name, force=True)
    assert done.out.split() == ["-1", "nobody"]


def test_what_is_not_the_null_device_is_not_taken_for_it(jail: Engine) -> None:
    name = start(jail)
    execute(jail, name, "sh", "-c", "mv /dev/null /dev/other; echo secret > /dev/null; sleep 0.1")
    with pytest.raises(LaunchError, match="not the null device"):
        jail.containers.exec(name, ("true",), detach=True)
    jail.containers.remove(name, force=True)


def test_what_is_not_a_place_of_terminals_is_not_taken_for_it(jail: Engine, tmp_path: object) -> None:
    """A volume over /dev, with a /dev/pts of its own making."""
    fake = f"{tmp_path}/dev"
    os.makedirs(f"{fake}/pts")
    os.mknod(f"{fake}/pts/ptmx", 0o20666, os.makedev(5, 2))
    name = start(jail, volumes=(Volume(fake, "/dev"),))
    master, slave = pty.openpty()
    try:
        with pytest.raises(LaunchError, match="no devpts"):
            jail.containers.exec(
                name, ("true",), tty=True, interactive=True, streams=Streams(slave, slave, slave)
            )
    finally:
        os.close(master)
        os.close(slave)
        jail.containers.remove(name, force=True)


STREAMS = """
import os, stat
for number in range(3):
    kind = stat.S_IFMT(os.fstat(number).st_mode)
    os.fchmod(number, 0o7777)
    os.fchown(number, 5, 5)
    for flags in (os.O_RDWR, os.O_WRONLY):
        try:
            os.write(os.open(f"/proc/self/fd/{number}", flags), b"written\\n")
        except OSError:
            pass
"""


def test_files_given_as_streams_are_not_given_away(jail: Engine, tmp_path: object) -> None:
    """Root inside could open them anew for writing, or change what they are, were they passed in."""
    paths = [f"{tmp_path}/{name}" for name in ("in", "out", "err", "fifo")]
    os.mkfifo(paths.pop(), 0o600)
    descriptors = [os.open(path, os.O_RDWR | os.O_CREAT, 0o600) for path in paths]
    fifo = os.open(f"{tmp_path}/fifo", os.O_RDWR)
    name = start(jail)
    try:
        for stdin in (descriptors[0], fifo):
            streams = Streams(stdin, descriptors[1], descriptors[2])
            jail.containers.exec(
                name, ("python3", "-c", STREAMS), interactive=True, streams=streams, user="0"
            )
            jail.containers.exec(name, ("python3", "-c", STREAMS), streams=streams, user="12:34")
        for path in (*paths, f"{tmp_path}/fifo"):
            status = os.stat(path)
            assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (
                os.geteuid(),
                os.getegid(),
                0o600,
            )
        assert os.fstat(descriptors[0]).st_size == 0
    finally:
        for descriptor in (*descriptors, fifo):
            os.close(descriptor)
        jail.containers.remove(name, force=True)


def test_what_runs_on_its_own_has_the_container_s_null_device(jail: Engine) -> None:
    name = start(jail)
    code = (
        "import os; n = os.stat('/dev/null'); open('/same', 'w').write(str([os.path.samestat(os.fstat(i), n)"
    )
    code += " for i in range(3)]))"
    jail.containers.exec(name, ("python3", "-c", code), detach=True)
    wait_for(lambda: execute(jail, name, "cat", "/same").out)
    assert execute(jail, name, "cat", "/same").out == str([True] * 3)
    jail.containers.remove(name, force=True)


PACKETS = """
import socket
try:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x0300) as raw:
        print([name for _, name in socket.if_nameindex()])
except PermissionError:
    print("refused")
"""


def test_raw_packets_are_of_its_own_interfaces(jail: Engine) -> None:
    """docker gives CAP_NET_RAW: in a network namespace of its own, where there is nobody to deceive."""
    assert run(jail, "python3", "-c", PACKETS).out == "['lo']\n"
    assert run(jail, "python3", "-c", PACKETS, cap_drop=("NET_RAW",)).out == "refused\n"


def test_no_module_of_the_image_is_loaded_by_what_enters() -> None:
    """Python's own files and ours have paths at which an image can have others."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            stop_imports()
            import json  # noqa: F401  # that one is loaded
            import tabnanny  # noqa: F401
        except ModuleNotFoundError as error:
            code = 0 if error.name == "tabnanny" else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
