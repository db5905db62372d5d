"""What is typed after options: docker's spellings, and one sentence for everything else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.cli import launchwords, values
from engine.cli.options import RUN
from engine.cli.parser import parse
from engine.errors import CowlError, UsageError
from engine.model import Health, LaunchOptions, Limits, PublishedPort, Volume


def launch(*words: str) -> LaunchOptions:
    parsed = parse(words, RUN.options)
    assert parsed is not None
    return launchwords.launch_options(parsed.values, parsed.rest)


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [
        *[("0", 0), ("4096", 4096), ("64m", 64 << 20), ("64M", 64 << 20), ("1g", 1 << 30), ("1.5k", 1536)],
        *[("10MiB", 10 << 20), ("10mb", 10 << 20), ("2 t", 2 << 40), ("7b", 7)],
    ],
)
def test_sizes(text: str, bytes_: int) -> None:
    assert values.size(text, "-m") == bytes_


@pytest.mark.parametrize(
    "text", ["", "m", "64q", "-1", "1e3", "64mm", "0x10", "ib", "64i", "1.", ".5", "1.5.5", "٣m"]
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="bad size"):
        values.size(text, "-m")


@given(st.text())
def test_a_size_is_a_number_or_one_sentence(text: str) -> None:
    try:
        found = values.size(text, "-m")
    except UsageError as error:
        assert error.why
        assert error.hint
    else:
        assert found is not None
        assert found >= 0


def test_nothing_given_is_every_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COWL_NETWORK", raising=False)
    assert launch("starter") == LaunchOptions("starter")


def test_everything_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_HERE", "yes")
    monkeypatch.delenv("NOT_SET", raising=False)
    options = launch(
        *(
            "-it",
            "--rm",
            "--name",
            "a",
            "-e",
            "A=1=2",
            "-e",
            "FROM_HERE",
            "-e",
            "NOT_SET",
            "-w",
            "/w",
            "-u",
            "1:2",
        ),
        *("-h", "box", "--entrypoint", "/e", "--read-only", "--privileged", "--tmpfs", "/t:size=1m"),
        *("-v", "/s:/d:ro", "-v", "./here:/e", "--cap-add", "SYS_ADMIN,NET_ADMIN", "--cap-drop", "ALL"),
        *("--ulimit", "nofile=1:2", "--sysctl", "net.x=1", "--label", "k=v", "-l", "w", "--network", "host"),
        *("-p", "8080:80", "-p", "[::1]:53:53/udp", "-p", "7000-7001:8000-8001", "-p", "9", "-P"),
        *("--ip", "10.0.0.9", "--mac-address", "02:00:00:00:00:09", "--network-alias", "db"),
        *(
            "--add-host",
            "up=192.0.2.7",
            "--dns",
            "192.0.2.53",
            "--dns-search",
            "x.y",
            "--dns-option",
            "rotate",
        ),
        *("--stop-signal", "INT", "--stop-timeout", "3", "--cpus", "0.5", "--cpu-shares", "512"),
        *("--cpuset-cpus", "0-1", "-m", "64m", "--memory-swap", "-1", "--pids-limit", "50"),
        *("starter", "sh", "-c", "-e"),
    )
    assert options == LaunchOptions(
        image="starter",
        command=("sh", "-c", "-e"),
        entrypoint=("/e",),
        name="a",
        env=("A=1=2", "FROM_HERE=yes"),
        workdir="/w",
        user="1:2",
        hostname="box",
        interactive=True,
        tty=True,
        auto_remove=True,
        network="host",
        publish=(
            PublishedPort("", 8080, 80),
            PublishedPort("::1", 53, 53, "udp"),
            PublishedPort("", 7000, 8000),
            PublishedPort("", 7001, 8001),
            PublishedPort("", 0, 9),
        ),
        publish_all=True,
        dns=("192.0.2.53",),
        dns_search=("x.y",),
        dns_options=("rotate",),
        extra_hosts=("up:192.0.2.7",),
        mac_address="02:00:00:00:00:09",
        ip="10.0.0.9",
        network_aliases=("db",),
        read_only=True,
        privileged=True,
        cap_add=("SYS_ADMIN", "NET_ADMIN"),
        cap_drop=("ALL",),
        volumes=(Volume("/s", "/d", True), Volume(os.path.abspath("here"), "/e")),
        tmpfs=("/t:size=1m",),
        ulimits=("nofile=1:2",),
        sysctls=("net.x=1",),
        labels=("k=v", "w"),
        stop_signal="INT",
        stop_timeout=3.0,
        limits=Limits(0.5, 512, "0-1", 64 << 20, -1, 50),
    )


REFUSES = {"publish", "add_host", "log_opt", "isolation", "volume_driver"}
"""Options for which a word is not enough to mean anything."""


def test_an_option_of_the_table_is_never_forgotten() -> None:
    """Every option changes what is launched, or refuses: none is accepted and dropped."""
    default = launch("x")
    samples = {
        "NUMBER": "3",
        "TIME": "3s",
        "NAME=VALUE": "A=1",
        "SIZE": "8m",
        "SECONDS": "3",
        "SRC:DST[:ro]": "/a:/b",
        "10..1000": "300",
        "-1000..1000": "500",
        "0..100": "60",
        "DEVICE:WEIGHT": "/dev/sda:300",
        "DEVICE:SIZE": "/dev/sda:1m",
        "DEVICE:NUMBER": "/dev/sda:100",
        "WORDS": "type=tmpfs,dst=/t",
        "FILE": os.devnull,
    }
    # What is the launching process's own business (test_launching.py), or says nothing alone.
    elsewhere = {"detach", "env_file", "pull", "attach", "sig_proxy", "cidfile", "platform", "quiet"}
    elsewhere |= {"detach_keys", "label_file", "cpu_period", "log_driver", "userns", "plain", "kernel_memory"}
    for option in RUN.options:
        if option.dest in elsewhere:
            continue
        words = [option.flags[0], *([samples.get(option.metavar, "host")] if option.metavar else [])]
        try:
            assert launch(*words, "x") != default, option
        except CowlError:
            assert option.dest in REFUSES, option


@pytest.mark.parametrize(
    "words", [["--pids-limit", "-1"], ["--pids-limit", "0"], ["-m", "0"], ["--cpus", "0"]]
)
def test_unlimited_is_no_limit(words: list[str]) -> None:
    assert launch(*words, "x").limits == Limits()


def test_an_empty_entrypoint_is_none_at_all() -> None:
    assert launch("--entrypoint", "", "x", "sh").entrypoint == ()
    assert launch("--entrypoint", '["a", "b c"]', "x").entrypoint == ("a", "b c")


def test_what_is_said_of_checks() -> None:
    assert launch("x").health is None
    assert launch("--health-interval", "3s", "x").health == Health((), 3.0, 0.0, 0, 0.0, 0.0)
    words = ("--health-cmd", "a b", "--health-timeout=1m", "--health-retries=5", "--health-start-period=1s")
    found = launch(*words, "--health-start-interval=500ms", "x").health
    assert found == Health(("/bin/sh", "-c", "a b"), 0.0, 60.0, 5, 1.0, 0.5)
    assert launch("--no-healthcheck", "x").no_health


def test_a_network_in_longer_words() -> None:
    found = launch("--network", "name=bridge,alias=a,ip=192.0.2.7,alias=b", "--network-alias", "c", "x")
    assert (found.network, found.network_aliases, found.ip) == ("bridge", ("c", "a", "b"), "192.0.2.7")
    assert launch("--network", "name=host,mac-address=02:00:00:00:00:01", "x").mac_address
    assert launch("--network", "none", "--network=none", "--net=", "x").network == "none"
    assert launch("--network", "container:a=b", "x").network == "container:a=b"


def test_no_log() -> None:
    assert launch("--log-driver", "none", "x").log_max_size == 0
    assert launch("--log-driver", "local", "x").log_max_size == LaunchOptions("x").log_max_size


def test_waiting_for_ever() -> None:
    assert launch("--stop-timeout", "-1", "x").stop_timeout == -1


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        (["-m", "64q"], UsageError, "write it like 64m"),
        (["--cpus", "-1"], UsageError, "bad number '-1' for --cpus"),
        (["--cpus", "nan"], UsageError, "bad number"),
        (["--pids-limit", "many"], UsageError, "no whole number"),
        (["--stop-timeout", "soon"], UsageError, "bad number"),
        (["-e", "=x"], UsageError, "write NAME=VALUE"),
        (["-e", ""], UsageError, "write NAME=VALUE"),
        (["--env-file", "/nowhere/at/all"], UsageError, "cannot read /nowhere/at/all"),
        (["-v", "/here:"], UsageError, "write it like"),
        (["-v", ":/there"], UsageError, "write it like"),
        (["-v", "/a:/b:rx"], UsageError, "'rx' means nothing here.*end it with :ro or :rw"),
        (["--mount", "type=bind,dst=/b"], UsageError, "write it like"),
        (["--log-opt", "max-size=x"], UsageError, "bad size"),
        (["--log-opt", "colour=red"], UsageError, "bad log option"),
        (["--health-retries", "x"], UsageError, "no whole number"),
        (["--health-interval", "3s", "--no-healthcheck"], UsageError, "leave one out"),
        (["--health-cmd", "x", "--no-healthcheck"], UsageError, "leave one out"),
        (["-l", ""], UsageError, "bad label ''"),
        (["--network", "none", "--net=host"], UsageError, "cannot be in none and host at once"),
        (["--network", "name=bridge,colour=red"], UsageError, "'colour' means nothing here"),
        (["-l", "=x"], UsageError, "write NAME=VALUE"),
        (["--label-file", "LABELS"], UsageError, "cannot read LABELS"),
        (["--health-cmd", "x", "--health-interval", "3 weeks"], UsageError, "write it like 30s"),
        (["-p", "80:x"], UsageError, "'x' is no port"),
        (["-p", "80:0"], UsageError, "from 1 to 65535"),
        (["-p", "80-82:80-81"], UsageError, "not of one length"),
        (["-p", "80:80/icmp"], UsageError, "no protocol with ports"),
        (["-p", "1.2.3:80:80"], UsageError, "is no address"),
        (["-p", "::1:80:80"], UsageError, "in brackets"),
        (["--add-host", "db"], UsageError, "write it like db:192.0.2.7"),
        (["--entrypoint", "[1]"], UsageError, "array of strings"),
        (["--entrypoint", "[oops"], UsageError, "JSON array"),
    ],
)
def test_what_has_no_meaning(words: list[str], error: type[CowlError], said: str) -> None:
    with pytest.raises(error, match=said):
        launch(*words, "x")


def test_an_environment_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_HERE", "yes")
    file = tmp_path / "env"
    file.write_bytes(
        b"\xef\xbb\xbf# a comment\n\nA=1\r\n  B= two words \nFROM_HERE\nNOT_SET_ANYWHERE\nC=\xff\n"
    )
    found: Any = launch("-e", "A=2", "--env-file", str(file), "x").env
    assert found == ("A=1", "B= two words ", "FROM_HERE=yes", "C=\udcff", "A=2")
    file.write_text("A B=1\n")
    with pytest.raises(UsageError, match="write NAME=VALUE"):
        launch("--env-file", str(file), "x")
    assert launch("-e", "A B=1", "x").env == ("A B=1",)  # docker minds spaces in files only
