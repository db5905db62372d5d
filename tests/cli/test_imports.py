"""What the launch path may import: every module more is a millisecond on each `cowl run`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.roots import Run, environment
from tests.support.traces import Root

ALLOWED = {
    *("os", "sys", "errno", "stat", "signal", "time", "select", "fcntl", "struct", "json", "typing", "gc"),
    *("collections", "contextlib", "ctypes", "functools", "itertools", "enum", "re", "math"),
    # What those import themselves, and what runs Python.
    *("abc", "codecs", "copyreg", "encodings", "genericpath", "io", "keyword", "operator", "posixpath"),
    *("reprlib", "site", "types", "warnings", "zipimport", "marshal", "builtins", "posix", "runpy"),
}
"""Modules of the standard library, by their first part; C modules that begin with an underscore besides."""

PROBE = """
import json, os, sys
from engine.cli.main import command
code = command(sys.argv[1:])
sys.stdout.flush()
with open(os.environ["MODULES"], "w") as file:
    json.dump(sorted(sys.modules), file)
sys.exit(code)
"""


LAUNCHER = {"engine.containers.launcher", "engine.containers.nursery"}
"""What only those load who have no launcher that stands by, as in tests."""
SERVED = """
import json, os, sys
from engine.cli import main, serving
serving.load()
before = set(sys.modules)
code = main.command(sys.argv[1:])
sys.stdout.flush()
with open(os.environ["MODULES"], "w") as file:
    json.dump(sorted(set(sys.modules) - before), file)
sys.exit(code)
"""


def imported(root: Root, path: str, *words: str, probe: str = PROBE) -> set[str]:
    """The modules in `cowl WORDS…` at its end, those that any Python starts with left out."""
    done = subprocess.run(
        [sys.executable, "-c", probe, *words],
        env=environment(root, {"MODULES": path}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with open(path, encoding="utf-8") as file:
        found = set(json.load(file))
    return found - bare_modules()


def bare_modules() -> set[str]:
    """Those that any Python starts with."""
    bare = subprocess.run(
        [sys.executable, "-c", "import json, sys; print(json.dumps(sorted(sys.modules)))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(bare.stdout))


def strangers(modules: set[str]) -> set[str]:
    """Those of *modules* that are neither ours nor allowed."""
    return {
        name
        for name in modules
        if name.partition(".")[0] not in {"engine", *ALLOWED} and not name.startswith("_")
    }


@pytest.mark.kernel
def test_run(starter_images: Root, tmp_path: object) -> None:
    words = ("run", "--rm", "-m", "64m", "starter", "true")
    assert strangers(imported(starter_images, f"{tmp_path}/modules", *words)) == set()


@pytest.mark.kernel
def test_run_detached_and_exec(starter_images: Root, cowl: Run, tmp_path: object) -> None:
    words = ("run", "-d", "--name", "a", "starter", "sleep", "600")
    assert strangers(imported(starter_images, f"{tmp_path}/modules", *words)) == set()
    assert strangers(imported(starter_images, f"{tmp_path}/modules", "exec", "a", "true")) == set()
    cowl("rm", "-f", "a", check=True)


@pytest.mark.kernel
@pytest.mark.parametrize("words", [("ps",), ("ps", "-aq"), ("stats", "--no-stream")])
def test_looking(starter_images: Root, cowl: Run, tmp_path: object, words: tuple[str, ...]) -> None:
    cowl("run", "-d", "--name", "a", "starter", "sleep", "600", check=True)
    found = imported(starter_images, f"{tmp_path}/modules", *words)
    assert strangers(found) <= {"datetime", "resource", "sqlite3.dbapi2", "sqlite3"}
    assert not {name for name in found if name.startswith(("engine.images", "engine.cli.group"))}
    cowl("rm", "-f", "a", check=True)


@pytest.mark.kernel
def test_a_server_has_loaded_all_of_usual_commands(starter_images: Root, tmp_path: object) -> None:
    for line in (
        "run --rm starter true",
        "run -d --name a -m 64m -e A=b -v /etc:/x --mount type=tmpfs,dst=/y --restart no starter sleep 60",
        "exec a true",
        "ps",
        "ps -aq",
        "stats --no-stream",
        "logs a",
        "inspect a",
        "top a",
        "stop -t 0 a",
        "rm a",
        "images",
        "history starter",
    ):
        found = imported(starter_images, f"{tmp_path}/modules", *line.split(), probe=SERVED)
        assert found <= LAUNCHER, line


def test_what_asks_for_a_server() -> None:
    """Whoever is served waits for this and nothing else."""
    script = "import json, sys, engine.cli.calling; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    script = "import json, sys; print(json.dumps(sorted(sys.modules)))"
    bare = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    found = set(json.loads(done.stdout)) - set(json.loads(bare.stdout))
    assert found - {"_collections", "_sha256", "_sha2"} == {
        *("__future__", "_socket", "engine", "engine.cli", "engine.cli.calling", "engine.kernel"),
        *("engine.kernel.channel", "engine.kernel.heritage", "engine.record", "engine.store"),
        "engine.store.layout",
    }


def test_what_stands_by_for_a_launch() -> None:
    names = ("engine.containers.monitor", "engine.launch.joining")
    for name in names:
        script = f"import json, sys, {name}; print(json.dumps(sorted(sys.modules)))"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        found = set(json.loads(done.stdout))
        assert not {"_sqlite3", "sqlite3", "engine.store.records"} & found
        assert strangers(found - bare_modules()) <= {"termios", "tty"}


@pytest.mark.kernel
def test_the_room_of_images_is_not_entered_by_a_launch(starter_images: Root, tmp_path: object) -> None:
    found = imported(starter_images, f"{tmp_path}/modules", "run", "--rm", "starter", "true")
    assert not {
        name for name in found if name.startswith(("engine.images", "engine.changes", "engine.layers"))
    }


def test_click_comes_with_other_commands_and_rich_does_not(root: Root, tmp_path: object) -> None:
    found = imported(root, f"{tmp_path}/modules", "version")
    assert "click" in found
    assert not {name.partition(".")[0] for name in found} & {
        "rich",
        "textual",
        "msgspec",
        "psutil",
        "asyncio",
    }
