"""Commands that a server carries out: as if the process that is started did it, whatever happens to it."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.cli import calling
from engine.containers import standing
from engine.engine import Engine
from tests.support.captures import wait_for
from tests.support.roots import Run, command_line, environment
from tests.support.served import server_of
from tests.support.traces import Root

pytestmark = pytest.mark.kernel

COWL = [sys.executable, "-m", "engine.cli"]
TRIES = 20
"""A busy machine may keep a server from answering soon, and whoever asks goes around it."""


def path_of(root: Root) -> str:
    return f"{root.layout.run}/{calling.socket_name(standing.kind())}"


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alone(pid: int) -> bool:
    """Whether a process of COWL does its work itself, or has ended: nobody answered it soon."""
    try:
        words, maps = (Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "maps"))
    except OSError:
        return True
    return not maps or (b"engine.cli" in words and b"_sqlite3" in maps)  # which a fork of this one has too


def comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


class Served:
    """The command line of a root with a server."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.env = environment(root, {"COWL_LAUNCHER": "yes"})

    def server(self) -> int:
        """The process that serves; 0 if there is none."""
        return server_of(self.root)

    def ready(self) -> Served:
        """Once a server is there."""
        self("run", "--rm", "starter", "true")
        wait_for(lambda: self.server() != 0)
        return self

    def workers(self) -> list[int]:
        server = self.server()
        return [pid for pid in children_of(server) if comm(pid) == "cowl"] if server else []

    def worker_for(self, pid: int) -> int:
        """Who does what the process *pid* was started for; 0 if it does that itself, as nobody answered."""
        wait_for(lambda: self.workers() or is_alone(pid))
        return next(iter(self.workers()), 0)

    def __call__(self, *words: str, **options: object) -> subprocess.CompletedProcess[str]:
        return command_line(self.root)(*words, **{"env": {"COWL_LAUNCHER": "yes"}, **options})  # type: ignore[arg-type]

    @contextlib.contextmanager
    def waiting(self, *words: str, **options: object) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
        """A command that goes on, and its worker."""
        settings: dict[str, object] = {"env": self.env, "stdin": subprocess.DEVNULL, **options}
        for _ in range(TRIES):
            wait_for(lambda: not self.workers())
            with subprocess.Popen([*COWL, *words], **settings) as process:  # type: ignore[call-overload]
                try:
                    if worker := self.worker_for(process.pid):
                        yield process, worker
                        return
                finally:
                    process.kill()
        raise AssertionError("no server answers soon")


@pytest.fixture
def served(starter_images: Root) -> Iterator[Served]:
    try:
        yield Served(starter_images).ready()
    finally:
        standing.dismiss(starter_images.layout)


@pytest.fixture
def sleeper(served: Served) -> str:
    return served("run", "-d", "--name", "sleeper", "starter", "sleep", "100", check=True).stdout.strip()


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_it_is_what_the_process_itself_would_have_done(
    served: Served, cowl: Run, sleeper: str, tmp_path: Path
) -> None:
    (tmp_path / "list").write_text("B=2\n")
    lines = [
        ("ps",),
        ("ps", "--json"),
        ("ps", "--no-such-option"),
        ("inspect", "nobody"),
        ("exec", "sleeper", "sh", "-c", "echo out; echo err >&2; exit 7"),
        ("exec", "-e", "A", "--env-file", "list", "sleeper", "sh", "-c", "echo $A$B"),
        ("exec", "sleeper", "nowhere"),
        ("exec", "sleeper", "sh", "-c", "kill -9 $$"),
        ("exec", "-i", "sleeper", "cat"),
        ("logs", "sleeper"),
        ("version",),
        ("--version",),
        ("run", "--rm", "starter", "sh", "-c", "echo $0; umask; pwd", "\udcff"),
    ]
    for line in lines:
        with served.waiting("wait", "sleeper"):  # it is there, and is asked
            done = [
                run(*line, cwd=tmp_path, input="typed\n", env={"COWL_LAUNCHER": launcher, "A": "1"})
                for run, launcher in ((served, "yes"), (cowl, "no"))
            ]
        first, second = ((each.returncode, in_a_while(each.stdout), each.stderr) for each in done)
        assert first == second


def test_its_place_and_its_streams(served: Served, tmp_path: Path) -> None:
    server = served.server()
    gone = tmp_path / "gone"
    script = (
        f"cd {gone} && rmdir {gone} && umask 027 && {sys.executable} -m engine.cli images --json | wc -l;"
        f"cd {tmp_path}; {sys.executable} -m engine.cli images -q >kept 2>&1; stat -c %a kept;"
        f"{sys.executable} -m engine.cli images >/dev/full; echo $?;"
        f"{sys.executable} -m engine.cli run --rm starter yes | head -n 1; echo ${{PIPESTATUS[0]}}"
    )
    results = []
    for launcher in ("yes", "no"):
        gone.mkdir()
        done = subprocess.run(
            ["bash", "-c", script],
            env={**served.env, "COWL_LAUNCHER": launcher},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        results.append((done.stdout, done.stderr))
    assert results[0] == results[1]
    assert served.server() == server


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130), (signal.SIGHUP, -1), (signal.SIGUSR1, -10)],
)
def test_a_signal_ends_both(served: Served, sleeper: str, number: int, code: int) -> None:
    with served.waiting("wait", "sleeper", preexec_fn=lambda: signal.signal(number, signal.SIG_DFL)) as (
        process,
        worker,
    ):
        process.send_signal(number)
        assert process.wait(60) == code
        wait_for(lambda: not comm(worker))


def test_signals_that_are_ignored_are(served: Served, sleeper: str) -> None:
    with served.waiting(
        "wait", "sleeper", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    ) as (
        process,
        worker,
    ):
        process.send_signal(signal.SIGHUP)
        os.kill(worker, signal.SIGHUP)
        time.sleep(0.1)
        assert (process.poll(), comm(worker)) == (None, "cowl")


def test_a_signal_reaches_the_container(served: Served) -> None:
    script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    with served.waiting("run", "--rm", "starter", "sh", "-c", script, stdout=subprocess.PIPE) as (process, _):
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.terminate()
        assert process.wait(60) == 9


def test_one_that_is_killed_takes_its_worker_along(served: Served, sleeper: str) -> None:
    with served.waiting("wait", "sleeper") as (process, worker):
        process.kill()
        process.wait()
        wait_for(lambda: not comm(worker))


def test_a_worker_that_is_killed_takes_its_process_along(served: Served, sleeper: str) -> None:
    with served.waiting("wait", "sleeper") as (process, worker):
        os.kill(worker, signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL


def test_both_stop_and_go_on(served: Served, sleeper: str) -> None:
    with served.waiting("wait", "sleeper", process_group=0) as (process, worker):
        for _ in range(2):
            process.send_signal(signal.SIGTSTP)
            wait_for(lambda: (state_of(process.pid), state_of(worker)) == ("T", "T"))
            process.send_signal(signal.SIGCONT)
            wait_for(lambda: (state_of(process.pid), state_of(worker)) == ("S", "S"))
        served("rm", "-f", "sleeper", check=True)
        assert process.wait(60) == 0


def test_a_server_that_hangs_is_gone_around_and_does_nothing_later(served: Served, engine: Engine) -> None:
    server = served.server()
    os.kill(server, signal.SIGSTOP)
    try:
        served("run", "-d", "--name", "once", "starter", "sleep", "100", check=True)
    finally:
        os.kill(server, signal.SIGCONT)
    wait_for(lambda: not children_of(server))
    assert [each.name for each in engine.containers.list()] == ["once"]


def test_one_that_is_gone_comes_back(served: Served) -> None:
    os.kill(served.server(), signal.SIGKILL)
    assert served("version", check=True).stdout
    wait_for(lambda: not served.server())
    served.ready()


def test_it_goes_with_the_launcher(served: Served) -> None:
    server = served.server()
    standing.dismiss(served.root.layout)
    wait_for(lambda: not comm(server))
    assert not os.path.exists(path_of(served.root))


@pytest.mark.parametrize("how", ["COWL_LAUNCHER=no", "PYTHONSAFEPATH=1", "COWL_FAULT=none"])
def test_by_itself_where_that_is_meant(served: Served, sleeper: str, how: str) -> None:
    name, _, value = how.partition("=")
    with subprocess.Popen([*COWL, "wait", "sleeper"], env={**served.env, name: value}) as process:
        try:
            wait_for(lambda: Path(f"/proc/{process.pid}/maps").read_text().count("_sqlite3"))
            assert served.workers() == []
        finally:
            process.kill()


@pytest.mark.parametrize("how", ["ulimit -n 512", "cd /; umask 0; exec 1>&-", "exec 0<&-"])
def test_of_another_kind_or_without_a_stream(served: Served, how: str) -> None:
    line = f"{how}; {sys.executable} -m engine.cli rename nobody else"
    env = {**served.env}
    done = subprocess.run(["sh", "-c", line], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "cowl: error: no container nobody (no name or ID matches); look at cowl ps -a\n"


def test_it_is_for_this_user_alone(starter_images: Root) -> None:
    """Whatever the umask of the one that began it."""
    served = Served(starter_images)
    try:
        before = os.umask(0)
        try:
            served.ready()
        finally:
            os.umask(before)
        paths = [path for path in Path(served.root.layout.run).iterdir() if path.is_socket()]
        assert {path.name.partition("-")[0]: path.stat().st_mode & 0o777 for path in paths} == {
            "commands": 0o600,
            "launcher": 0o600,
        }
    finally:
        standing.dismiss(starter_images.layout)


def in_a_while(text: str) -> str:
    """*text* with the same word, and as much room, for any number of seconds."""
    return re.sub(" +", " ", re.sub(r"\d+ seconds?", "a while", text))


def at_a_terminal(served: Served, *words: str, launcher: str) -> tuple[str, int]:
    """What a command says on a terminal of its own, and its exit code."""
    pid, master = pty.fork()
    if pid == 0:
        os.execve(COWL[0], [*COWL, *words], {**served.env, "COWL_LAUNCHER": launcher, "TERM": "xterm"})
    said = b""
    with contextlib.suppress(OSError):  # EIO: nobody has it open any more
        while data := os.read(master, 4096):
            said += data
    os.close(master)
    return in_a_while(said.decode()), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize(
    "words",
    [
        ("images",),
        ("run", "--rm", "-it", "starter", "sh", "-c", "tty; exit 4"),
        ("exec", "-t", "sleeper", "tty"),
        ("exec", "sleeper", "echo", "hi"),
    ],
)
def test_on_a_terminal(served: Served, sleeper: str, words: tuple[str, ...]) -> None:
    found = [at_a_terminal(served, *words, launcher=launcher) for launcher in ("yes", "no")]
    assert found[0] == found[1]


def test_what_is_typed_interrupts(served: Served, sleeper: str) -> None:
    for _ in range(TRIES):
        pid, master = pty.fork()
        if pid == 0:
            os.execve(COWL[0], [*COWL, "wait", "sleeper"], served.env)
        if served.worker_for(pid):
            break
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(master)
    os.write(master, b"\x03")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    os.close(master)
    wait_for(lambda: not served.workers())


def test_bursts(served: Served) -> None:
    """More at once than wait in line; each is done once."""
    running = [
        subprocess.Popen([*COWL, "create", "--name", f"c{number}", "starter", "true"], env=served.env)
        for number in range(24)
    ]
    assert [process.wait(60) for process in running] == [0] * 24
    assert len(served("ps", "-aq").stdout.split()) == 24
