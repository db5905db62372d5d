"""Further programs in containers, where the usual way in is closed or somebody looks elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.containers.foreground import Streams
from engine.engine import Engine
from engine.errors import NotExecutableError
from engine.kernel import cgroup
from engine.model import Volume
from tests.support.captures import execute, run, start, wait_for
from tests.support.roots import Run

pytestmark = pytest.mark.kernel

OWN_CGROUPS = (
    "mkdir /sys/fs/cgroup/inner && echo $$ > /sys/fs/cgroup/inner/cgroup.procs"
    " && echo +pids > /sys/fs/cgroup/cgroup.subtree_control && touch /ready; sleep 100"
)
"""What systemd does first: processes in leaves only, controllers for those."""


def test_one_that_has_made_cgroups_of_its_own_is_joined_where_its_first_process_is(engine: Engine) -> None:
    if cgroup.detect().version != 2:
        pytest.skip("version 1 has no rule against processes beside cgroups")
    made = start(engine, "sh", "-c", OWN_CGROUPS, privileged=True)
    wait_for(lambda: os.path.exists(f"{engine.containers.inspect(made)['upper']}/ready"))
    assert execute(engine, made, "cat", "/proc/self/cgroup").out == "0::/inner\n"
    engine.containers.stop(made, 0)
    assert engine.containers.get(made).state == "exited"


def test_what_is_left_behind_keeps_no_pipe_of_the_callers_open(cowl: Run, engine: Engine) -> None:
    start(engine, name="x")
    done = cowl("exec", "x", "sh", "-c", "sleep 1000 & echo hi; echo err >&2", check=True)
    assert (done.stdout, done.stderr) == ("hi\n", "err\n")


def test_a_program_hears_that_nobody_reads(engine: Engine) -> None:
    made = start(engine, name="x")
    reader, writer = os.pipe()
    os.close(reader)
    try:
        code = engine.containers.exec(
            made, ["sh", "-c", "yes; echo $? > /code"], streams=Streams(None, writer, None)
        )
    finally:
        os.close(writer)
    assert code == 0
    assert execute(engine, made, "cat", "/code").out == "141\n"


def test_a_program_of_another_machine_is_called_that(engine: Engine, tmp_path: Path) -> None:
    """As long as nothing is registered for it: there is no machine 0xfffe."""
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\0\xfe\xff\x01\0\0\0" + bytes(200))
    program.chmod(0o755)
    with pytest.raises(NotExecutableError) as caught:
        run(engine, "/program", volumes=(Volume(str(program), "/program"),))
    assert os.uname().machine in caught.value.hint and "binfmt_misc" in caught.value.hint
