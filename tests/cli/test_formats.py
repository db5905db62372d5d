"""`--format` and `--filter` of everything but containers: images, volumes, events, versions, this machine."""

from __future__ import annotations

import json
import os
import re

import pytest

from engine.cli.flags import Filters
from engine.cli.imagelist import is_called, is_made
from engine.cli.imagewords import Listed
from engine.engine import Engine
from engine.errors import UsageError
from engine.version import VERSION
from tests.support.roots import Run
from tests.support.traces import Root


def image(name: str) -> Listed:
    return Listed(name, "sha256:" + "a" * 64, "", "", 0, 0, {})


@pytest.mark.parametrize(
    ("name", "pattern", "called"),
    [
        ("starter:base", "starter", True),
        ("starter:base", "starter:base", True),
        ("starter:base", "start*", True),
        ("starter:base", "*:b[a-c]se", True),
        ("starter:base", "start", False),
        ("host:5000/a/web:1.2", "host:5000/a/web", True),
        ("host:5000/a/web:1.2", "*/a/web:1.?", True),
        ("host:5000/a/web:1.2", "*web*", False),  # a star is no slash, as in docker
        ("", "*", False),
    ],
)
def test_names_by_pattern(name: str, pattern: str, called: bool) -> None:
    assert is_called(image(name), pattern) == called


@pytest.mark.parametrize(
    ("created", "earlier", "later"),
    [
        ("2026-05-01T12:00:00Z", False, False),
        ("2026-05-01T14:00:00+02:00", False, False),
        ("2026-05-01T12:00:00.000000001Z", False, True),
        ("2026-05-01T11:59:59.9Z", True, False),
        ("2026-05-01T13:30:00+02:00", True, False),
        ("long ago", True, False),
    ],
)
def test_when_an_image_was_made(created: str, earlier: bool, later: bool) -> None:
    made = image("a:b")._replace(created=created)
    for moment in ("2026-05-01T12:00:00Z", "2026-05-01T12:00:00.000000Z"):
        found = [is_made(made, moment, later=way) for way in (False, True)]
        assert found == [earlier, later]


def test_filters_by_name() -> None:
    names = ("label", "dangling")
    found = Filters(["label=a=1", "label=b", "dangling=1"], names)
    assert (found.values("label"), found.truth("dangling")) == (["a=1", "b"], True)
    assert found.has_labels({"a": "1", "b": ""}) and not found.has_labels({"a": "2", "b": ""})
    assert not found.has_labels({"a": "1"})
    assert Filters([], names).truth("dangling") is None
    for text in ("x=1", "label", ""):
        with pytest.raises(UsageError, match="it is none of label, dangling"):
            Filters([text], names)
    with pytest.raises(UsageError, match="write true or false"):
        Filters(["dangling=perhaps"], names).truth("dangling")


@pytest.fixture
def images(starter_images: Root, engine: Engine, cowl: Run) -> Engine:
    """mine:1, labelled, on starter:base; under it, on the same, one whose name went to mine:1."""
    for number in ("1", "2"):
        cowl("run", "--name", f"x{number}", "starter:base", "sh", "-c", f"echo {number} > /new", check=True)
        more = ("--change", "LABEL tier=front") if number == "2" else ()
        cowl("commit", "-m", f"step {number}", *more, f"x{number}", "mine:1", check=True)
        cowl("rm", f"x{number}", check=True)
    return engine


IMAGES = [
    ("", "mine:1 starter:base starter:latest"),
    ("starter", "starter:base starter:latest"),
    ("star*:b*", "starter:base"),
    ("-f reference=mine -f reference=*:latest", "mine:1 starter:latest"),
    ("-f label=tier", "mine:1"),
    ("-f label=tier=front", "mine:1"),
    ("-f label=tier=back", ""),
    ("-f since=starter:latest", "mine:1"),
    ("-f before=starter:latest", "starter:base"),
    ("-f until=0s -f reference=mine", "mine:1"),
    ("--filter until=1h", ""),
    ("-f dangling=true", "<none>:<none>"),
    ("-f=dangling=true", "<none>:<none>"),
    ("-f dangling=false", "mine:1 starter:base starter:latest"),
    ("-a", "mine:1 starter:base starter:latest <none>:<none>"),
]
"""What is asked for, and which are listed."""


@pytest.mark.kernel
def test_which_images(images: Engine, cowl: Run) -> None:
    for words, names in IMAGES:
        listed = cowl("images", *words.split(), "--format", "{{.Repository}}:{{.Tag}}", check=True).stdout
        assert listed.split() == names.split(), words
    [nameless] = json.loads(cowl("images", "-f", "dangling=true", "--json", check=True).stdout)
    assert nameless["name"] is None
    assert cowl("run", "--rm", nameless["chain_id"], "cat", "/new", check=True).stdout == "1\n"
    for words, code in (
        ("-f x=y", 2),
        ("-f since=nobody", 1),
        ("-f dangling=x", 2),
        ("--format {{.Gone}}", 2),
    ):
        refused = cowl("images", *words.split())
        assert (refused.returncode, refused.stdout) == (code, ""), words
        assert "; " in refused.stderr and "Traceback" not in refused.stderr


@pytest.mark.kernel
def test_how_images_are_written(images: Engine, cowl: Run) -> None:
    [found] = [each for each in images.images.list() if each.name == "mine:1"]
    text = cowl("images", "--no-trunc", "mine", "--format", "{{.ID}} {{.Digest}} {{.Containers}}", check=True)
    assert text.stdout.split() == [found.chain_id, found.manifest_digest, "0"]
    table = cowl("images", "--format", r"table {{.Repository}}\t{{.ID}}", "mine", check=True).stdout
    assert [line.split() for line in table.splitlines()] == [
        ["REPOSITORY", "CHAIN", "ID"],
        ["mine", found.chain_id[7:19]],
    ]
    assert json.loads(cowl("images", "--format", "json", "mine", check=True).stdout)["Tag"] == "1"
    assert cowl("images", "--digests", check=True).stdout.splitlines()[0].split()[2] == "DIGEST"
    usual = cowl("images", "--format", "table", check=True).stdout.splitlines()
    assert usual[0] == cowl("images", check=True).stdout.splitlines()[0] and len(usual) == 4
    words = '{{.RepoTags}} {{index .Config.Labels "tier"}} {{.Os}} {{len .RootFS.Layers}} {{.Comment}}'
    assert cowl("inspect", "-f", words, "mine:1", check=True).stdout == "[mine:1] front linux 2 step 2\n"
    digest = cowl("inspect", "-f", "{{index .RepoDigests 0}}", "mine:1", check=True).stdout.strip()
    assert digest == f"mine@{found.manifest_digest}"


@pytest.mark.kernel
def test_how_a_history_is_written(images: Engine, cowl: Run) -> None:
    steps = cowl(
        "history", "--format", "{{.Comment}}|{{.CreatedSince}}|{{.Size}}", "mine:1", check=True
    ).stdout
    assert re.fullmatch(r"step 2\|\d+ seconds? ago\|2B", steps.splitlines()[0])
    sizes = cowl("history", "-H=false", "--format", "{{.Size}} {{.CreatedAt}}", "mine:1", check=True).stdout
    assert re.match(r"2 \d{4}-\d\d-\d\dT", sizes)
    exact = cowl("history", "--no-human", "mine:1", check=True).stdout.splitlines()[1]
    assert re.search(r" \d{4}-\d\d-\d\dT.* 2 +step 2$", exact)
    whole = cowl("history", "--no-trunc", "--format", "json", "mine:1", check=True).stdout.splitlines()
    assert [len(json.loads(line)["ID"]) for line in whole] == [71, 71]


@pytest.mark.kernel
def test_volumes(starter_images: Root, engine: Engine, cowl: Run) -> None:
    cowl("volume", "create", "-l", "tier=front", "-d", "local", "one", check=True)
    cowl("volume", "create", "two", check=True)
    cowl("create", "--name", "x", "-v", "two:/d", "starter", "true", check=True)
    for words, names in (
        ("", "one two"),
        ("-f dangling=true", "one"),
        ("-f dangling=false", "two"),
        ("-f label=tier", "one"),
        ("--filter label=tier=back", ""),
        ("-f name=o$", "two"),
        ("-f name=^o -f name=^t", "one two"),
        ("-f driver=local", "one two"),
        ("-f driver=nfs", ""),
    ):
        listed = cowl("volume", "ls", *words.split(), "--format", "{{.Name}}", check=True).stdout
        assert listed.split() == names.split(), words
        assert cowl("volume", "list", "-q", *words.split(), check=True).stdout == listed
    words = '{{.Driver}} {{.Scope}} {{.Label "tier"}} {{.Mountpoint}} {{.Labels}}'
    path = f"{engine.root}/volumes/one/data"
    one = cowl("volume", "ls", "-f", "name=one", "--format", words, check=True).stdout
    assert one == f"local local front {path} tier=front\n"
    asked = "{{.Name}} {{json .Labels}} {{.Mountpoint}}"
    for inspect in (("volume", "inspect"), ("inspect", "--type", "volume"), ("inspect",)):
        assert cowl(*inspect, "-f", asked, "one", check=True).stdout == f'one {{"tier":"front"}} {path}\n'
    [document] = json.loads(cowl("volume", "inspect", "--format=json", "one", check=True).stdout)
    assert (document["Name"], document["Labels"]) == ("one", {"tier": "front"})
    both = cowl("volume", "inspect", "--format={{.Name}}", "nobody", "two")
    assert (both.returncode, both.stdout, "no volume nobody" in both.stderr) == (1, "two\n", True)
    table = cowl("volume", "ls", "--format", r"table {{.Name}}\t{{.Driver}}", check=True).stdout
    assert table.splitlines()[0].split() == ["VOLUME", "NAME", "DRIVER"]
    for words in ("-f x=y", "-f name=[", "--format {{.Gone}}"):
        refused = cowl("volume", "ls", *words.split())
        assert (refused.returncode, refused.stdout, "; " in refused.stderr) == (2, "", True), words
    for words, said in (("-d nfs", "show that by -v"), ("-o type=nfs", "show that by -v")):
        refused = cowl("volume", "create", *words.split(), "three")
        assert refused.returncode and said in refused.stderr, words
    cowl("volume", "create", "three", check=True)
    gone = cowl("volume", "prune", "-f", "-a", "--filter", "label=tier", check=True).stdout
    assert gone == "one\n"
    assert cowl("volume", "prune", "-f", "--filter", "all=1", check=True).stdout == "three\n"
    cowl("rm", "x", check=True)
    assert cowl("volume", "remove", "two", check=True).stdout == "two\n"


@pytest.mark.kernel
def test_events(starter_images: Root, cowl: Run) -> None:
    cowl("volume", "create", "data", check=True)
    cowl("run", "--name", "x", "starter", "sh", "-c", "exit 3")
    words = ("events", "--since", "1m", "--until", "0s")
    form = '{{.Type}} {{.Action}} {{.Actor.Attributes.name}} {{index .Actor.Attributes "exitCode"}}'
    told = cowl(*words, "-f", "container=x", "-f", "event=die", "--format", form, check=True).stdout
    assert told == "container die x 3\n"
    assert "volume create data" in cowl(*words, "-f", "volume=data", "--format", form, check=True).stdout
    [made] = cowl(
        *words, "-f=event=create", "-f", "type=container", "--format=json", check=True
    ).stdout.split("\n")[:-1]
    event = json.loads(made)
    assert (event["Type"], event["status"], event["from"]) == ("container", "create", "starter")
    assert event["timeNano"] // 10**9 == event["time"]
    assert event["Actor"]["Attributes"]["name"] == "x" and len(event["Actor"]["ID"]) == 64
    refused = cowl(*words, "-f", "colour=red")
    assert (refused.returncode, "it is none of type, event" in refused.stderr) == (2, True)


@pytest.mark.kernel
def test_what_takes_room(starter_images: Root, cowl: Run) -> None:
    cowl("create", "starter", "true", check=True)
    asked = ("df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}}")
    assert cowl(*asked, check=True).stdout == "Images 2 1\nContainers 1 0\n"
    table = cowl("system", "df", "--format", r"table {{.Type}}\t{{.Reclaimable}}", check=True).stdout
    assert table.splitlines()[0].split() == ["TYPE", "RECLAIMABLE"]


@pytest.mark.kernel
def test_this_cowl_and_this_machine(starter_images: Root, cowl: Run) -> None:
    asked = "{{.Server.Version}} {{.Client.Os}} {{.Server.KernelVersion}}"
    for flag in ("-f", "--format"):
        told = cowl("version", flag, asked, check=True).stdout
        assert told.split() == [VERSION, "linux", os.uname().release]
    assert json.loads(cowl("version", "--format", "json", check=True).stdout)["Client"]["Version"] == VERSION
    cowl("create", "starter", "true", check=True)
    asked = (
        "{{.Containers}} {{.ContainersStopped}} {{.Images}} {{.NCPU}} {{.CgroupVersion}} {{.DockerRootDir}}"
    )
    told = cowl("info", "--format", asked, check=True).stdout.split()
    assert told[:4] == ["1", "1", "2", str(os.cpu_count())] and told[5] == starter_images.path
    assert told[4] in ("1", "2")
    assert re.search(r"^Containers +1\n  Running +0$", cowl("info", check=True).stdout, re.MULTILINE)
    document = json.loads(cowl("info", "--json", check=True).stdout)
    assert (document["containers"], document["nodes"], document["kernel"]) == (1, 2, os.uname().release)


@pytest.mark.kernel
def test_a_container_in_dockers_fields(starter_images: Root, cowl: Run) -> None:
    words = (
        *(
            "--memory-swappiness",
            "7",
            "--blkio-weight",
            "300",
            "--cpu-period",
            "50000",
            "--cpu-quota",
            "25000",
        ),
        *("--annotation", "a=b", "--ipc", "shareable", "--ulimit", "nofile=1:2", "--tmpfs", "/t:size=1m"),
        *("--device", "/dev/null:/dev/x:r", "--sysctl", "net.core.somaxconn=99", "--health-cmd", "true"),
        *("--cgroup-parent", "p", "--expose", "9", "--domainname", "d"),
    )
    cowl("create", "--name", "x", *words, "starter", "true", check=True)
    for asked, told in (
        ("{{.HostConfig.MemorySwappiness}} {{.HostConfig.BlkioWeight}}", "7 300"),
        ("{{with .HostConfig}}{{.CpuPeriod}} {{.CpuQuota}} {{.NanoCpus}}{{end}}", "50000 25000 500000000"),
        ("{{.HostConfig.IpcMode}} {{json .HostConfig.Annotations}}", 'shareable {"a":"b"}'),
        ("{{range .HostConfig.Ulimits}}{{.Name}} {{.Soft}} {{.Hard}}{{end}}", "nofile 1 2"),
        ("{{range $k, $v := .HostConfig.Tmpfs}}{{$k}} {{$v}}{{end}}", "/t size=1m"),
        ("{{(index .HostConfig.Devices 0).PathInContainer}}", "/dev/x"),
        ("{{json .HostConfig.Sysctls}} {{.HostConfig.CgroupParent}}", '{"net.core.somaxconn":"99"} p'),
        ("{{.Config.Healthcheck.Test}} {{json .Config.ExposedPorts}}", '[CMD-SHELL true] {"9/tcp":{}}'),
        ("{{.Config.Domainname}} {{.HostConfig.UTSMode}}", "d "),
    ):
        assert cowl("inspect", "-f", asked, "x", check=True).stdout == f"{told}\n", asked
    both = json.loads(cowl("inspect", "--format", "json", "x", "starter", check=True).stdout)
    assert (both[0]["HostConfig"]["BlkioWeight"], both[1]["RepoTags"]) == (300, ["starter:latest"])
    assert "HostConfig" not in json.loads(cowl("inspect", "x", check=True).stdout)[0]
