"""runtime.md: what operations do, in which order, and what they leave."""

from __future__ import annotations

import json
import os
import signal

import pytest

from tests.conformance.bundles import Bundle, eventually
from tests.support.traces import cgroups

pytestmark = pytest.mark.kernel
requirement = pytest.mark.requirement


@requirement("R1", "R3", "R4", "R5", "R12", "R14", "R20", "R23", "R29", "R33", "R36")
def test_a_life(bundle: Bundle, root: object) -> None:
    bundle.script("echo started > /result; exec sleep 100")
    bundle.config["annotations"] = {"org.example.key": "value"}
    bundle.create().check()
    state = bundle.state()
    assert state["ociVersion"] == "1.2.0"
    assert (state["id"], state["status"], state["bundle"]) == ("c", "created", bundle.path)
    assert state["annotations"] == {"org.example.key": "value"}
    assert os.path.exists(f"/proc/{state['pid']}")
    bundle.call("start", "c").check()
    eventually(lambda: os.path.exists(f"{bundle.rootfs}/result"))
    assert bundle.state()["status"] == "running"
    bundle.call("pause", "c").check()
    assert bundle.state()["status"] == "paused"
    bundle.call("resume", "c").check()
    assert bundle.state()["status"] == "running"
    bundle.call("kill", "c", "KILL").check()
    bundle.wait("stopped")
    assert not bundle.state()["pid"]
    bundle.call("delete", "c").check()
    bundle.nothing_left()
    assert not list(cgroups(root))  # type: ignore[arg-type]


@requirement("R6", "R7", "R25")
def test_create_runs_nothing_and_later_changes_have_no_effect(bundle: Bundle) -> None:
    bundle.script("echo first > /result")
    bundle.create().check()
    bundle.script("echo second > /result")
    bundle.write()
    assert not os.path.exists(f"{bundle.rootfs}/result")
    bundle.call("start", "c").check()
    bundle.wait("stopped")
    assert bundle.file("result") == "first\n"


@requirement("R2", "R22")
def test_an_id_is_used_once(bundle: Bundle) -> None:
    bundle.create().check()
    pid = bundle.state()["pid"]
    assert "already exists" in bundle.create().err
    assert bundle.state()["pid"] == pid


@requirement("R22")
@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a b", pytest.param("x" * 2000, id="long")])
def test_an_invalid_id_makes_nothing(bundle: Bundle, name: str) -> None:
    assert bundle.create(name).code != 0
    assert not [entry for entry in os.listdir(bundle.run_root) if entry != ".filters"]


@pytest.mark.parametrize(
    "operation",
    [
        pytest.param(name, marks=requirement(number))
        for name, number in (
            ("state", "R18"),
            ("create", "R21"),
            ("start", "R27"),
            ("kill", "R31"),
            ("delete", "R34"),
        )
    ],
)
def test_an_operation_without_id_fails(bundle: Bundle, operation: str) -> None:
    bundle.write()
    assert bundle.call(operation).code != 0


@requirement("R21")
def test_create_without_a_bundle_fails(bundle: Bundle) -> None:
    assert bundle.call("create", "--bundle", f"{bundle.path}/nothing", "c").code != 0
    bundle.nothing_left()


@requirement("R19")
@pytest.mark.parametrize("operation", ["state", "start", "kill", "delete"])
def test_an_unknown_container(bundle: Bundle, operation: str) -> None:
    assert "does not exist" in bundle.call(operation, "nobody").err


@requirement("R28")
def test_start_has_an_effect_once(bundle: Bundle) -> None:
    bundle.script("echo run >> /result; exec sleep 100")
    bundle.create().check()
    bundle.call("start", "c").check()
    assert "it is running" in bundle.call("start", "c").err
    bundle.call("kill", "c", "9").check()
    bundle.wait("stopped")
    assert "it is stopped" in bundle.call("start", "c").err
    assert bundle.file("result") == "run\n"


@requirement("R30")
def test_start_without_a_process(bundle: Bundle) -> None:
    del bundle.config["process"]
    bundle.create().check()
    assert "no process" in bundle.call("start", "c").err
    assert bundle.state()["status"] == "created"


@requirement("R32", "R16")
def test_kill_of_what_has_ended(bundle: Bundle) -> None:
    bundle.create().check()
    bundle.call("start", "c").check()
    bundle.wait("stopped")
    before = bundle.state()
    assert "not running" in bundle.call("kill", "c", "TERM").err
    assert bundle.state() == before


@requirement("R33")
def test_kill_sends_that_signal(bundle: Bundle) -> None:
    bundle.script(
        "trap 'echo usr1 > /result; exit 0' USR1; echo ready > /ready; while :; do sleep 0.05; done"
    )
    bundle.create().check()
    bundle.call("start", "c").check()
    eventually(lambda: os.path.exists(f"{bundle.rootfs}/ready"))
    bundle.call("kill", "c", str(int(signal.SIGUSR1))).check()
    bundle.wait("stopped")
    assert bundle.file("result") == "usr1\n"


@requirement("R33")
def test_a_created_container_can_be_killed(bundle: Bundle) -> None:
    bundle.create().check()
    bundle.call("kill", "c", "SIGKILL").check()
    bundle.wait("stopped")


@requirement("R35", "R16")
@pytest.mark.parametrize("started", [False, True])
def test_delete_of_what_is_not_stopped(bundle: Bundle, started: bool) -> None:
    bundle.process["args"] = ["/bin/sleep", "100"]
    bundle.create().check()
    if started:
        bundle.call("start", "c").check()
    before = bundle.state()
    assert "not stopped" in bundle.call("delete", "c").err
    assert bundle.state() == before
    bundle.call("delete", "--force", "c").check()
    bundle.nothing_left()


@requirement("R37")
def test_delete_leaves_what_is_not_its_own(bundle: Bundle) -> None:
    other = f"{bundle.path}/volume"
    os.mkdir(other)
    bundle.config["mounts"].append(
        {"destination": "/volume", "type": "bind", "source": "volume", "options": ["rbind"]}
    )
    bundle.run("echo kept > /volume/file").check()
    with open(f"{other}/file", encoding="ascii") as file:
        assert file.read() == "kept\n"
    assert os.path.isdir(bundle.rootfs)


@requirement("R24")
def test_create_applies_everything_but_the_program(bundle: Bundle) -> None:
    bundle.linux["sysctl"] = {"kernel.shmmni": "123"}
    bundle.linux["resources"] = {"pids": {"limit": 77}}
    bundle.create().check()
    pid = bundle.state()["pid"]
    with open(f"/proc/{pid}/root/proc/sys/kernel/hostname", encoding="ascii"):
        pass  # its root is its own /proc by now
    done = bundle.call("exec", "c", "/bin/sh", "-c", "hostname; cat /proc/sys/kernel/shmmni").check()
    assert done.out == "judged\n123\n"
    assert not os.path.exists(f"{bundle.rootfs}/result")


@requirement("R5", "R26", "R16")
@pytest.mark.parametrize(
    "change",
    [
        {"mounts": [{"destination": "/x", "type": "nosuchfs", "source": "x"}]},
        {"mounts": [{"destination": "/x", "type": "bind", "source": "/nowhere", "options": ["bind"]}]},
        {"root": {"path": "nowhere"}},
        {"process": {"cwd": "/", "args": ["/nosuch"]}},
    ],
)
def test_what_cannot_be_applied_leaves_nothing(
    bundle: Bundle, root: object, change: dict[str, object]
) -> None:
    bundle.config.update(change)
    assert bundle.refused()
    assert not list(cgroups(root))  # type: ignore[arg-type]


@requirement("R17")
def test_a_warning_changes_nothing(bundle: Bundle, tmp_path: object) -> None:
    bundle.process["capabilities"]["bounding"] = ["CAP_CHOWN", "CAP_OF_TOMORROW"]
    bundle.script("exit 7")
    bundle.write()
    log = f"{tmp_path}/log"
    done = bundle.call("--log", log, "--log-format", "json", "run", "--bundle", bundle.path, "c")
    assert done.code == 7
    with open(log, encoding="utf-8") as file:
        entry = json.loads(file.read())
    assert entry["level"] == "warning"
    assert "CAP_OF_TOMORROW" in entry["msg"]
