"""`ps` and `inspect` in docker's words: filters, templates, sizes."""

from __future__ import annotations

import json

import pytest

from engine.engine import Engine
from engine.model import LaunchOptions, Limits, PublishedPort, Volume
from tests.support.captures import start, wait_for
from tests.support.roots import Run

pytestmark = pytest.mark.kernel


@pytest.fixture
def three(engine: Engine) -> Engine:
    """One that runs, one that has ended with 3, one that was never started; in this order."""
    start(engine, name="web-1", labels=("tier=front", "x"))
    start(
        engine,
        "sh",
        "-c",
        "echo 12345 > /new; exit 3",
        name="job",
        volumes=(Volume("", "/d", False, "data"),),
    )
    wait_for(lambda: engine.containers.get("job").state == "exited")
    options = LaunchOptions("starter:base", ("true",), name="web-2", limits=Limits(memory=64 << 20))
    options = options._replace(network="bridge", publish=(PublishedPort("", 0, 80),), expose=("443",))
    engine.containers.create(options)
    return engine


LISTED = [
    ("", "web-1"),
    ("-a", "web-2 job web-1"),
    ("-l", "web-2"),
    ("-n 2", "web-2 job"),
    ("-n 0", ""),
    ("-f status=exited", "job"),
    ("-f status=exited -f status=created", "web-2 job"),
    ("-a -f name=web", "web-2 web-1"),
    ("-a -f name=^/?web-[0-9]$ -f status=created", "web-2"),
    ("-f label=x", "web-1"),
    ("-f label=tier=front -f label=x", "web-1"),
    ("-f label=tier=back", ""),
    ("-f exited=3", "job"),
    ("-f exited=4", ""),
    ("-a -f ancestor=starter:base", "web-2 job web-1"),
    ("-a -f ancestor=starter", "job web-1"),
    ("-a -f ancestor=nobody", ""),
    ("-a -f publish=80", "web-2"),
    ("-a -f publish=443", ""),
    ("-a -f expose=440-450/tcp", "web-2"),
    ("-a -f expose=443/udp", ""),
    ("-f status=removing", ""),
    ("-a -f before=job", "web-1"),
    ("-a -f since=web-1", "web-2 job"),
    ("-a -f volume=data", "job"),
    ("-a -f network=bridge", "web-2"),
    ("-f network=bridge", ""),
    ("-a -f health=none -n 1", "web-2"),
]
"""What is asked for, and who is listed."""


def test_which_are_listed(three: Engine, cowl: Run) -> None:
    for words, names in LISTED:
        listed = cowl("ps", *words.split(), "--format", "{{.Names}}", check=True).stdout
        assert listed.split() == names.split(), words
    assert len(cowl("ps", "-q", "-n", "2", check=True).stdout.split()) == 2


def test_what_is_refused(three: Engine, cowl: Run) -> None:
    for words in (
        "-f x=y",
        "-f name",
        "-f status=gone",
        "-f name=[",
        "-f since=nobody",
        "-f publish=http",
        "--format {{.Gone}} -a",
    ):
        done = cowl("ps", *words.split())
        assert (done.returncode, done.stdout) == (2, ""), words
        assert "; " in done.stderr and "Traceback" not in done.stderr


def test_how_they_are_written(three: Engine, cowl: Run) -> None:
    text = cowl(
        "ps", "--format", '{{.Label "tier"}} {{.State}} {{.Size}} {{json .Labels}}', check=True
    ).stdout
    of_image = three.images.get("starter").config["config"]["Labels"]["cowl.starter"]
    assert text == f'front running 0B "cowl.starter={of_image},tier=front,x="\n'
    table = cowl("ps", "-a", "--format", r"table {{.Names}}\t{{.Status}}", check=True).stdout.splitlines()
    assert table[0].split() == ["NAMES", "STATUS"]
    assert table[1].startswith("web-2   Created") and table[2].startswith("job     Exited (3)")
    whole = json.loads(cowl("ps", "--format", "json", "--no-trunc", check=True).stdout)
    assert (len(whole["ID"]), whole["Image"]) == (64, "starter")
    sizes = {
        each["name"]: each["size"] for each in json.loads(cowl("ps", "-as", "--json", check=True).stdout)
    }
    assert sizes == {"web-1": 0, "job": 6, "web-2": 0}
    assert cowl("ps", "-as", check=True).stdout.splitlines()[0].endswith("SIZE")


def test_one_in_dockers_fields(three: Engine, cowl: Run) -> None:
    state = "{{.State.Status}} {{.State.Running}} {{.State.ExitCode}} {{.Name}} {{.RestartCount}}"
    assert cowl("inspect", "-f", state, "job", "web-2", check=True).stdout.splitlines() == [
        "exited false 3 /job 0",
        "created false 0 /web-2 0",
    ]
    more = "{{.HostConfig.Memory}} {{range .Mounts}}{{.Type}}{{end}} {{.Config.Image}} {{.exit_code}}"
    assert (
        cowl("inspect", "--format", more, "web-2", check=True).stdout == "67108864  starter:base <no value>\n"
    )
    assert cowl("inspect", "-f", "{{.State.Pid}}", "web-1", check=True).stdout.strip() != "0"
    assert cowl("inspect", "-s", "-f", "{{.SizeRw}}", "job", check=True).stdout == "6\n"
    labels = cowl("inspect", "-f", '{{index .Config.Labels "tier"}}', "web-1", check=True)
    assert labels.stdout == "front\n"


def test_one_that_is_not_there_hides_no_other(three: Engine, cowl: Run) -> None:
    done = cowl("inspect", "-f", "{{.Name}}", "nobody", "job")
    assert (done.returncode, done.stdout, "nobody" in done.stderr) == (1, "/job\n", True)
