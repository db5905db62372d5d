"""`stats`: its table, its JSON, its templates in docker's words, and whom it shows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from engine.cli import output, samplewords
from engine.containers.stats import IO, MEMORY, NETWORK
from engine.engine import Engine
from engine.model import LaunchOptions, Limits, Sample
from tests.support.captures import start, wait_for
from tests.support.roots import Run, environment
from tests.support.traces import Root

FIELDS = ("BlockIO", "CPUPerc", "Container", "ID", "MemPerc", "MemUsage", "Name", "NetIO", "PIDs")
"""Those that docker's `stats --format` has."""
IO_KEYS = ("io_read_bytes", "io_write_bytes", "net_rx_bytes", "net_tx_bytes")


@pytest.fixture
def pair(engine: Engine) -> Engine:
    """One that runs within limits, one that was never started; in this order."""
    limits = Limits(cpus=1.5, memory=64 << 20, pids=20)
    start(engine, "sh", "-c", "head -c 3000000 /dev/zero > /file; exec sleep 600", name="web", limits=limits)
    engine.containers.create(LaunchOptions("starter:base", ("true",), name="idle"))
    process = Path(f"/proc/{engine.containers.get('web').pid}/comm")
    wait_for(lambda: process.read_text() == "sleep\n")
    return engine


@pytest.mark.kernel
def test_table_json_and_template_say_the_same(pair: Engine, cowl: Run) -> None:
    sample = json.loads(cowl("stats", "--no-stream", "--json", check=True).stdout)
    titles, line = cowl("stats", "--no-stream", check=True).stdout.splitlines()
    assert (
        " ".join(titles.split()) == "NAME CPU % LIMIT MEMORY LIMIT PEAK READ WRITTEN RECEIVED SENT PIDS LIMIT"
    )
    name, _, cpus, memory, limit, peak, *io, pids, most = line.split()
    assert (name, cpus, limit, pids, most) == ("web", "150", "64.0M", "1", "20")
    assert io == [output.size_text(sample[each]) for each in IO_KEYS]
    assert (sample["memory_limit_bytes"], sample["pids"], sample["pids_limit"]) == (64 << 20, 1, 20)
    assert peak == output.size_text(sample["memory_peak_bytes"])
    assert memory[-1] in "KM" and 0 < sample["memory_bytes"] < sample["memory_peak_bytes"]
    line = cowl("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}} {{.PIDs}}", check=True).stdout
    assert line.startswith("web ") and line.endswith("iB / 64MiB 1\n")


@pytest.mark.kernel
def test_templates_have_docker_s_fields(pair: Engine, cowl: Run) -> None:
    identity = pair.containers.get("web").id
    found = json.loads(cowl("stats", "--no-stream", "--format", "json", check=True).stdout)
    assert tuple(found) == FIELDS
    assert (found["ID"], found["Container"], found["Name"]) == (identity[:12], identity[:12], "web")
    assert found["CPUPerc"].endswith("%") and float(found["CPUPerc"][:-1]) >= 0
    assert 0 < float(found["MemPerc"][:-1]) < 30
    every = "".join("{{." + name + "}}|" for name in FIELDS)
    words = ("stats", "--no-stream", "--no-trunc", "--format", every, identity[:6])
    told = dict(zip(FIELDS, cowl(*words, check=True).stdout.rstrip("|\n").split("|"), strict=True))
    assert (told["ID"], told["Container"]) == (identity, identity[:6])
    assert told["NetIO"] == found["NetIO"] == "0B / 0B"
    titles, line = cowl(
        *("stats", "--no-stream", "--format", "table {{.Name}}\\t{{.CPUPerc}}\\t{{.MemUsage}}\\t{{.PIDs}}"),
        check=True,
    ).stdout.splitlines()
    assert " ".join(titles.split()) == "NAME CPU % MEM USAGE / LIMIT PIDS"
    assert line.startswith("web") and line.endswith("1")
    done = cowl("stats", "--no-stream", "--format", "{{.Gone}}")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no field Gone" in done.stderr


@pytest.mark.kernel
def test_who_is_shown(pair: Engine, cowl: Run) -> None:
    def names(*words: str) -> list[str]:
        return cowl("stats", "--no-stream", "--format", "{{.Name}}", *words, check=True).stdout.split()

    assert names() == ["web"]
    assert names("-a") == names("--all") == ["web", "idle"]
    assert names("idle", "web") == ["web"]
    assert names("-a", "idle") == ["idle"]
    words = ("stats", "--no-stream", "-a", "--format", "{{.CPUPerc}},{{.BlockIO}},{{.PIDs}}", "idle")
    assert cowl(*words, check=True).stdout == "0.00%,0B / 0B,0\n"
    done = cowl("stats", "--no-stream", "idle")
    assert done.returncode == 1 and "idle does not run" in done.stderr


@pytest.mark.kernel
def test_whole_ids(pair: Engine, cowl: Run) -> None:
    identity = pair.containers.get("web").id
    titles, line = cowl("stats", "--no-stream", "--no-trunc", check=True).stdout.splitlines()
    assert titles.startswith("CONTAINER ID") and line.split()[:2] == [identity, "web"]
    assert identity[:12] not in cowl("stats", "--no-stream", check=True).stdout


@pytest.mark.kernel
def test_it_ends_with_the_container_that_is_named(pair: Engine, root: Root) -> None:
    """And goes on while that is started anew."""
    start(pair, "sh", "-c", "sleep 0.2; exit 1", name="again", restart="on-failure:2")
    words = [sys.executable, "-m", "engine.cli", "stats", "--format", "{{.Name}}"]
    environ = environment(root)
    with subprocess.Popen([*words, "web"], env=environ, stdout=subprocess.PIPE, text=True) as looking:
        assert looking.stdout is not None
        assert looking.stdout.readline() == "web\n"
        pair.containers.stop("web", 0)
        assert set(looking.stdout.read().split()) <= {"web"}
    assert looking.returncode == 0
    subprocess.run([*words, "again"], env=environ, capture_output=True, check=False)  # it may be over already
    assert pair.containers.get("again").restarts == 2


def test_what_there_is_is_said(cowl: Run) -> None:
    text = cowl("stats", "--help", check=True).stdout
    for option in ("-a, --all", "--format TEMPLATE", "--no-stream", "--no-trunc", "--json"):
        assert option in text
    request = {"_COWL_COMPLETE": "bash_complete", "COMP_WORDS": "cowl stats --", "COMP_CWORD": "2"}
    offered = cowl(env=request, check=True).stdout.split()
    assert {"plain,--all", "plain,--format", "plain,--no-stream", "plain,--no-trunc"} <= set(offered)


@pytest.mark.parametrize(
    ("template", "parts"),
    [
        ("{{.Name}} {{.CPUPerc}} {{.PIDs}}", set()),
        ("table {{.ID}}\\t{{.MemUsage}}", {MEMORY}),
        ("{{ .memperc }}", {MEMORY}),
        ("{{.NetIO}}{{.BlockIO}}", {NETWORK, IO}),
        ('{{index . "NetIO"}}', {MEMORY, NETWORK, IO}),
        ("{{with .Name}}{{$.MemPerc}}{{end}}", {MEMORY}),
        ("{{range .}}{{.}}{{end}}", {MEMORY, NETWORK, IO}),
        ("{{json .}}", {MEMORY, NETWORK, IO}),
        ("json", {MEMORY, NETWORK, IO}),
    ],
)
def test_what_a_template_takes(template: str, parts: set[str]) -> None:
    assert samplewords.parts(template) == parts


@pytest.mark.parametrize(
    ("count", "memory", "traffic"),
    [
        (0, "0B", "0B"),
        (999, "999B", "999B"),
        (1000, "1000B", "1kB"),
        (1023, "1023B", "1.02kB"),
        (1024, "1KiB", "1.02kB"),
        (4096, "4KiB", "4.1kB"),
        (999_900, "976.5KiB", "1MB"),
        (1_048_524, "1MiB", "1.05MB"),
        (1_265_632, "1.207MiB", "1.27MB"),
        (25_276_456_960, "23.54GiB", "25.3GB"),
        (1 << 80, "1.049e+06EiB", "1.21e+06EB"),
    ],
)
def test_sizes_in_docker_s_units(count: int, memory: str, traffic: str) -> None:
    sample = Sample(
        "i", "n", "", 0, 0.0, 0, 0, 0, 0, count, 0, 0, 0, 0, count, count, 0, 0, 1, None, None, None
    )
    row = samplewords.row(sample, "", 0, whole=True)
    assert row["MemUsage"] == f"{memory} / 0B"
    assert row["BlockIO"] == f"{traffic} / {traffic}"
