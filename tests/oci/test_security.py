"""What the words of `--security-opt`, `--device` and `--device-cgroup-rule` mean."""

from __future__ import annotations

import pytest

from engine.errors import UsageError
from engine.oci import runtime, security
from engine.oci.security import Security


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], Security()),
        (["seccomp=unconfined"], Security(seccomp="unconfined")),
        (["seccomp:unconfined"], Security(seccomp="unconfined")),
        (["seccomp=/a:b=c"], Security(seccomp="/a:b=c")),
        (["seccomp=a", "seccomp=builtin"], Security(seccomp="builtin")),
        (["no-new-privileges"], Security(no_new_privileges=True)),
        (["no-new-privileges:true"], Security(no_new_privileges=True)),
        (["no-new-privileges=false"], Security(no_new_privileges=False)),
        (["apparmor=unconfined"], Security(apparmor="unconfined")),
        (["label=disable", "label:type:x"], Security()),
        (["systempaths=unconfined"], Security(unmasked=("ALL",))),
        (["mask=/a:/b", "mask=/c"], Security(masked=("/a", "/b", "/c"))),
        (["unmask=all"], Security(unmasked=("ALL",))),
        (["unmask=/proc/*:/sys/firmware"], Security(unmasked=("/proc/*", "/sys/firmware"))),
    ],
)
def test_security_options(words: list[str], expected: Security) -> None:
    assert security.parse(words) == expected


@pytest.mark.parametrize(
    "text",
    ["", "seccomp", "seccomp=", "no-new-privileges=perhaps", "apparmor", "label", "mask=x", "unmask=", "x=y"],
)
def test_security_options_without_meaning(text: str) -> None:
    with pytest.raises(UsageError):
        security.parse([text])


def test_labels() -> None:
    assert security.labels(["label=disable", "seccomp=x", "label:type:y"]) == ["disable", "type:y"]


def test_what_is_hidden() -> None:
    given = security.parse(["mask=/x:/proc/keys", "unmask=/proc/*"])
    assert security.hidden(given, runtime.MASKED, privileged=False) == [
        "/sys/devices/virtual/powercap",
        "/sys/firmware",
        "/x",
        "/proc/keys",
    ]
    assert security.protected(given, runtime.READ_ONLY, privileged=False) == []
    assert security.hidden(given, runtime.MASKED, privileged=True) == ["/x", "/proc/keys"]
    everything = security.parse(["systempaths=unconfined"])
    assert security.hidden(everything, runtime.MASKED, privileged=False) == []
    usual = Security()
    assert security.hidden(usual, runtime.MASKED, privileged=False) == list(runtime.MASKED)
    assert security.protected(usual, runtime.READ_ONLY, privileged=False) == list(runtime.READ_ONLY)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/dev/a", ("/dev/a", "/dev/a", "rwm")),
        ("/dev/a:/dev/b", ("/dev/a", "/dev/b", "rwm")),
        ("/dev/a:r", ("/dev/a", "/dev/a", "r")),
        ("/dev/a:/dev/b:mw", ("/dev/a", "/dev/b", "mw")),
    ],
)
def test_devices(text: str, expected: tuple[str, str, str]) -> None:
    assert security.device(text) == expected


@pytest.mark.parametrize(
    "text", ["", "a", "/a:b", "/a:/b:rx", "/a:/b:rr", "/a:/b:r:w", "/a:", "/a:/b:", "a:/b"]
)
def test_what_is_no_device(text: str) -> None:
    with pytest.raises(UsageError):
        security.device(text)


def test_device_rules() -> None:
    rule = {"allow": True, "type": "c", "major": 42, "access": "rwm"}
    assert security.device_rule("c 42:* rwm") == rule
    assert security.device_rule("b 1:0 r") == {**rule, "type": "b", "major": 1, "minor": 0, "access": "r"}
    assert security.device_rule("a *:* rw") == {"allow": True, "type": "a", "access": "rw"}


@pytest.mark.parametrize(
    "text", ["", "c", "c 1", "c 1:2", "c 1:2 x", "x 1:2 r", "c a:2 r", "c -1:2 r", "c 1:2 rwmr"]
)
def test_what_is_no_device_rule(text: str) -> None:
    with pytest.raises(UsageError):
        security.device_rule(text)
