"""Filters on real containers: docker's, one's own, none, with and without new privileges, for every user."""

from __future__ import annotations

import json
import os
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from engine.engine import Engine
from engine.errors import LaunchError, UsageError
from engine.kernel import seccomp
from engine.model import Volume
from engine.oci.profile import default_profile
from tests.support.captures import execute, fields, run, start

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not seccomp.available(), reason="this kernel has no seccomp"),
]

STATUS = ("Seccomp", "Seccomp_filters", "NoNewPrivs", "CapEff", "CapPrm", "CapBnd")
UNSHARE = (
    "import ctypes; l = ctypes.CDLL(None, use_errno=True); l.unshare(0x10000000); print(ctypes.get_errno())"
)
MKDIR = "import os\ntry: os.mkdir('/made')\nexcept OSError as error: print(error.errno)"


def status(text: str) -> dict[str, str]:
    return fields(text, STATUS)


def profile(path: str, *rules: dict[str, Any], default: str = "SCMP_ACT_ALLOW", **more: Any) -> str:
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"defaultAction": default, "syscalls": list(rules), **more}, file)
    return f"seccomp={path}"


def forbidding(path: str, action: str = "SCMP_ACT_ERRNO", **more: Any) -> str:
    return profile(path, {"names": ["mkdir", "mkdirat"], "action": action, **more})


def test_dockers_filter_is_on_by_default(engine: Engine) -> None:
    found = status(run(engine, "cat", "/proc/self/status").out)
    assert (found["Seccomp"], found["Seccomp_filters"]) == ("2", "1")
    assert run(engine, "python3", "-c", UNSHARE).out == "1\n"


def test_the_document_has_the_filter_among_the_rest(engine: Engine, tmp_path: Path) -> None:
    plain = start(engine, cap_add=("SYS_ADMIN",), env=('ODD=}}"\\',))
    config = engine.containers.inspect(plain)["config"]
    assert config["linux"]["seccomp"] == default_profile(config["process"]["capabilities"]["bounding"])
    assert config["linux"]["seccomp"] != default_profile(())
    assert config["process"]["env"][-1] == 'ODD=}}"\\'
    own = start(engine, security_opts=(forbidding(f"{tmp_path}/p", errnoRet=77),))
    ours = engine.containers.inspect(own)["config"]
    assert ours["linux"]["seccomp"]["syscalls"][0]["errnoRet"] == 77
    assert ours.keys() == config.keys()
    assert ours["linux"].keys() == config["linux"].keys()


def test_exec_has_the_filter_of_the_container(engine: Engine, tmp_path: object) -> None:
    for options, expected in (((), "2"), (("seccomp=unconfined",), "0")):
        name = start(engine, security_opts=options)
        assert status(execute(engine, name, "cat", "/proc/self/status").out)["Seccomp"] == expected
    name = start(engine, security_opts=(forbidding(f"{tmp_path}/p", errnoRet=77),))
    os.unlink(f"{tmp_path}/p")  # it was read when the container was made
    assert execute(engine, name, "python3", "-c", MKDIR).out == "77\n"
    assert execute(engine, name, "python3", "-c", MKDIR, privileged=True).out == "77\n"


def test_it_can_be_left_out(engine: Engine) -> None:
    assert run(engine, "python3", "-c", UNSHARE, security_opts=("seccomp=unconfined",)).out == "0\n"
    assert status(run(engine, "cat", "/proc/self/status", privileged=True).out)["Seccomp"] == "0"
    later = ("seccomp=unconfined", "seccomp=builtin")
    assert status(run(engine, "cat", "/proc/self/status", security_opts=later).out)["Seccomp"] == "2"


def test_capabilities_open_what_docker_opens_for_them(engine: Engine) -> None:
    code = "import ctypes; print(ctypes.CDLL(None).sethostname(b'x', 1))"
    assert run(engine, "python3", "-c", code).out == "-1\n"
    assert run(engine, "python3", "-c", code, cap_add=("SYS_ADMIN",)).out == "0\n"


@pytest.mark.parametrize("user", [None, "12:34"])
@pytest.mark.parametrize("new_privileges", [True, False])
def test_it_holds_every_user_with_new_privileges_or_without(
    engine: Engine, user: str | None, new_privileges: bool
) -> None:
    """Without no_new_privs it takes CAP_SYS_ADMIN to install one, of which nothing may be left."""
    options = ("no-new-privileges=false",) if new_privileges else ()
    name = start(engine, user=user, security_opts=options)
    for text in (
        run(engine, "cat", "/proc/self/status", user=user, security_opts=options).out,
        execute(engine, name, "cat", "/proc/self/status").out,
    ):
        found = status(text)
        assert found["Seccomp"] == "2"
        assert found["NoNewPrivs"] == str(int(not new_privileges))
        assert all(not int(found[kind], 16) >> 21 & 1 for kind in ("CapEff", "CapPrm", "CapBnd"))


def test_a_profile_of_ones_own(engine: Engine, tmp_path: object) -> None:
    path = f"{tmp_path}/profile.json"
    done = run(engine, "python3", "-c", MKDIR, security_opts=(forbidding(path, errnoRet=77),))
    assert done.out == "77\n"
    done = run(engine, "python3", "-c", MKDIR, security_opts=(forbidding(path, "SCMP_ACT_KILL_PROCESS"),))
    assert (done.code, done.out) == (128 + 31, "")
    done = run(
        engine, "python3", "-c", MKDIR, privileged=True, security_opts=(forbidding(path, errnoRet=77),)
    )
    assert done.out == "77\n"


def test_a_profile_that_allows_little_more_than_the_program_needs(engine: Engine, tmp_path: object) -> None:
    """What cowl itself still calls after the filter is on: execve, fcntl and nothing else."""
    needed = "execve fcntl brk mmap munmap mprotect access open openat read pread64 close fstat newfstatat"
    needed += " arch_prctl set_tid_address set_robust_list rseq prlimit64 getrandom exit_group write"
    allowed = {"names": needed.split(), "action": "SCMP_ACT_ALLOW"}
    option = profile(f"{tmp_path}/p", allowed, default="SCMP_ACT_KILL_PROCESS")
    for more in ((), ("no-new-privileges=false",)):
        done = run(engine, "true", security_opts=(option, *more))
        assert done.code == (0 if not more else 128 + 31)  # capset, to let go of CAP_SYS_ADMIN


def test_what_is_no_profile_makes_no_container(engine: Engine, tmp_path: object) -> None:
    path = f"{tmp_path}/p"
    for option, why in (
        (f"seccomp={path}-nosuch", "cannot read"),
        (profile(f"{path}-maybe", default="SCMP_ACT_MAYBE"), "unknown action"),
        (profile(path, listenerPath="/x"), "listener"),
    ):
        with pytest.raises(UsageError, match=why):
            run(engine, "true", security_opts=(option,))
    assert engine.containers.list() == []


def test_a_document_edited_by_hand_is_executed_as_written(engine: Engine) -> None:
    name = start(engine, "sh", "-c", "python3 -c 'import os; os.mkdir(\"/made\")'; sleep 100")
    config = engine.containers.inspect(name)["config_path"]
    engine.containers.stop(name, 0)
    with open(config, encoding="utf-8") as file:
        document = json.load(file)
    document["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_NOTIFY"}
    with open(config, "w", encoding="utf-8") as file:
        json.dump(document, file)
    with pytest.raises(LaunchError, match="listener"):
        engine.containers.start(name)


def test_the_compiled_filter_is_kept_and_found_again(engine: Engine, root: Any) -> None:
    run(engine, "true")
    kept = [entry for entry in os.scandir(root.layout.run) if entry.name.startswith("filter-")]
    assert len(kept) == 1
    before = kept[0].stat().st_mtime_ns
    run(engine, "true")
    assert kept[0].stat().st_size > 1000
    assert os.stat(kept[0].path).st_mtime_ns == before
    assert kept[0].stat().st_mode & 0o077 == 0


def narrow_program() -> bytes:
    """For 32-bit x86: exits with the errno of keyctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING)."""
    code = bytes.fromhex("b820010000 31db b9fdffffff cd80 f7d8 89c3 b801000000 cd80")
    base = 0x8048000
    head = struct.pack(
        "<16sHHIIIIIHHHHHH", b"\x7fELF\x01\x01\x01", 2, 3, 1, base + 84, 52, 0, 0, 52, 32, 1, 0, 0, 0
    )
    size = 84 + len(code)
    return head + struct.pack("<8I", 1, 0, base, base, size, size, 5, 4096) + code


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="a program of 32-bit x86")
def test_programs_of_32_bits_are_held_too(engine: Engine, tmp_path: object) -> None:
    program = f"{tmp_path}/narrow"
    with open(program, "wb") as file:
        file.write(narrow_program())
    os.chmod(program, 0o755)
    try:
        outside = subprocess.run([program], check=False).returncode
    except OSError:
        pytest.skip("this kernel runs no programs of 32 bits")
    volumes = (Volume(program, "/narrow", read_only=True),)
    assert outside != 1
    assert run(engine, "/narrow", volumes=volumes).code == 1
    assert run(engine, "/narrow", volumes=volumes, security_opts=("seccomp=unconfined",)).code != 1
    wide_only = profile(f"{tmp_path}/p", architectures=["SCMP_ARCH_X86_64"])
    assert run(engine, "/narrow", volumes=volumes, security_opts=(wide_only,)).code == 128 + 31
