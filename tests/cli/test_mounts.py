"""`-v` and `--mount` in docker's words: what they mean, what is refused, and what containers then see."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.cli.mounts import mounted, volume
from engine.errors import CowlError, UnsupportedError, UsageError
from engine.model import Volume
from tests.support.roots import Run, environment
from tests.support.traces import Root

BIND = Volume("/a", "/b", make=False)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("/a:/b:ro,z", Volume("/a", "/b", True)),
        ("/a:/b:cached", Volume("/a", "/b")),
        ("/a:/b:rslave", Volume("/a", "/b", propagation="rslave")),
        ("/a:/b:rprivate,ro", Volume("/a", "/b", True)),
        ("name:/b:nocopy,rw", Volume("", "/b", False, "name", copy=False)),
    ],
)
def test_modes(text: str, meant: Volume) -> None:
    assert volume(text) == meant


@pytest.mark.parametrize(
    "text", ["/a:/b:rx", "/a:/b:ro,rw", "/a:/b:shared,slave", "/a:/b:nocopy", "name:/b:rslave", "/a:/b:ro:z"]
)
def test_modes_that_mean_nothing(text: str) -> None:
    with pytest.raises(UsageError, match="end it with :ro or :rw"):
        volume(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("type=bind,source=/a,target=/b", BIND),
        ("type=bind,src=/a,dst=/b,ro", BIND._replace(read_only=True)),
        ("type=bind,src=/a,dst=/b,readonly=false", BIND),
        ("type=bind,src=/a,dst=/b,ro=True", BIND._replace(read_only=True)),
        ("TYPE=bind,src=/a,destination=/b,consistency=cached", BIND),
        ('type=bind,"src=/a,1",dst=/b', BIND._replace(source="/a,1")),
        ("type=bind,src=/a,dst=/b,bind-propagation=rshared", BIND._replace(propagation="rshared")),
        ("type=bind,src=/a,dst=/b,bind-propagation=private", BIND),
        ("type=bind,src=/a,dst=/b,bind-nonrecursive", BIND._replace(recursion="disabled")),
        (
            "type=bind,src=/a,dst=/b,ro,bind-recursive=writable",
            BIND._replace(read_only=True, recursion="writable"),
        ),
        ("type=bind,src=/a,dst=/b,ro,bind-recursive=readonly", BIND._replace(read_only=True)),
        ("type=bind,src=/a,dst=/b,bind-create-src", BIND._replace(make=True)),
        ("src=v,dst=/b,volume-driver=local", Volume("", "/b", False, "v")),
        ("type=volume,dst=/b,volume-nocopy", Volume("", "/b", anonymous=True, copy=False)),
        ("type=tmpfs,dst=/t", "/t"),
        ("type=tmpfs,dst=/t,tmpfs-size=1gb,tmpfs-mode=1700,ro", "/t:size=1073741824,mode=1700,ro"),
    ],
)
def test_words_of_a_mount(text: str, meant: Volume | str) -> None:
    volumes, tmpfs = mounted([text])
    assert [*volumes, *tmpfs] == [meant]


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("", UsageError, "what is shown where"),
        ("type=bind,dst=/b", UsageError, "what is shown where"),
        ("type=tmpfs,src=/a,dst=/b", UsageError, "what is shown where"),
        ("type=image,src=x,dst=/b", UsageError, "choose bind, volume or tmpfs"),
        ("type=bind,src=/a,dst=/b,colour=red", UsageError, "'colour' means nothing"),
        ("type=volume,src=v,dst=/b,bind-propagation=shared", UsageError, "is for another type"),
        ("type=bind,src=/a,dst=/b,bind-propagation=none", UsageError, "choose private, rprivate"),
        ("type=bind,src=/a,dst=/b,bind-recursive=readonly", UsageError, "add ro"),
        ("type=bind,src=/a,dst=/b,ro=yes", UsageError, "neither true nor false"),
        ("type=tmpfs,dst=/t,tmpfs-mode=rwx", UsageError, "not octal"),
        ("type=tmpfs,dst=/t,tmpfs-size=much", UsageError, "bad size"),
        ("src=v,dst=/b,volume-driver=nfs", UnsupportedError, "mount on this machine"),
        ("src=v,dst=/b,volume-opt=type=nfs", UsageError, "mount it on this machine yourself"),
        ("src=v,dst=/b,volume-label=a=b", UsageError, "cowl volume create -l"),
    ],
)
def test_words_of_a_mount_that_mean_nothing(text: str, error: type[CowlError], said: str) -> None:
    with pytest.raises(error, match=said):
        mounted([text])


@pytest.mark.kernel
def test_a_mount_makes_no_directory_of_this_machine(starter_images: Root, cowl: Run, tmp_path: Path) -> None:
    words = f"type=bind,src={tmp_path}/new,dst=/x"
    done = cowl("run", "--rm", "--mount", words, "starter", "true")
    assert (done.returncode, "add bind-create-src" in done.stderr) == (2, True)
    assert not (tmp_path / "new").exists()
    cowl("run", "--rm", "--mount", f"{words},bind-create-src", "starter", "touch", "/x/y", check=True)
    assert (tmp_path / "new/y").exists()


@pytest.mark.kernel
def test_memory_as_a_mount(starter_images: Root, cowl: Run) -> None:
    script = "df -k /t | tail -1 | tr -s ' ' | cut -d' ' -f2; stat -c %a /t; touch /t/x && echo written"
    words = ("--mount", "type=tmpfs,dst=/t,tmpfs-size=1mb,tmpfs-mode=1700", "starter", "sh", "-c", script)
    assert cowl("run", "--rm", *words, check=True).stdout.split() == ["1024", "1700", "written"]


IN_ITS_OWN_NAMESPACE = """
import os, subprocess, sys
from engine.kernel import mount

def cowl(*words):
    command = [sys.executable, "-m", "engine.cli", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done

top = sys.argv[1]
for name in ("a", "a/below", "a/later", "a/inner", "go"):
    os.mkdir(f"{top}/{name}")
mount.mount("none", f"{top}/a/below", "tmpfs")
open(f"{top}/a/below/file", "w").close()
code = 'import ctypes; ctypes.CDLL(None).mount(b"none", b"/s/inner", b"tmpfs", 0, None)'
script = "while ! test -e /go/go; do sleep 0.05; done; ls /s/later; "
script += f"python3 -c '{code}'; touch /s/inner/x"
os.mkdir(f"{top}/private")
mount.mount("none", f"{top}/private", "tmpfs")
mount.mount(None, f"{top}/private", None, mount.MS_PRIVATE)
words = [sys.executable, "-m", "engine.cli", "create", "-v", f"{top}/private/x:/x:rslave", "starter", "true"]
refused = subprocess.run(words, capture_output=True, text=True)
assert (refused.returncode, f"mount --make-shared {top}/private" in refused.stderr) == (1, True), refused
container = ["run", "-d", "--name", "x", "-v", f"{top}/a:/s:{sys.argv[2]}", "-v", f"{top}/go:/go"]
cowl(*container, "--privileged", "starter", "sh", "-c", script)
mount.mount("none", f"{top}/a/later", "tmpfs")
open(f"{top}/a/later/came", "w").close()
open(f"{top}/go/go", "w").close()
cowl("wait", "x")
print(cowl("logs", "x").stdout.split(), os.listdir(f"{top}/a/inner"))
cowl("rm", "x")
mounts = open("/proc/self/mountinfo").read()
assert "/rootfs" not in mounts, mounts
plain = ["run", "--rm", "--mount"]
one = f"type=bind,src={top}/a,dst=/s"
print(cowl(*plain, one, "starter", "ls", "/s/below").stdout.split())
print(cowl(*plain, f"{one},bind-nonrecursive", "starter", "ls", "/s/below").stdout.split())
touch = "touch /s/x; touch /s/below/x; true"
for how in ("", ",bind-recursive=writable"):
    done = cowl(*plain, f"{one},ro{how}", "starter", "sh", "-c", touch)
    print(sorted(os.listdir(f"{top}/a/below")), done.stderr.count("Read-only"))
"""


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("mode", "seen"),
    [("rprivate", "[] []"), ("rslave", "['came'] []"), ("rshared", "['came'] ['x']")],
)
def test_mounts_that_come_and_go(starter_images: Root, tmp_path: Path, mode: str, seen: str) -> None:
    command = [sys.executable, "-c", IN_ITS_OWN_NAMESPACE, str(tmp_path), mode]
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "shared", *command],
        env=environment(starter_images),
        cwd=os.getcwd(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == [
        seen,
        "['file']",
        "[]",
        "['file'] 2",
        "['file', 'x'] 1",
    ], done.stderr
