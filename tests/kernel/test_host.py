"""Figures of the machine: the kernel's texts, and this process at work."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.kernel import host, psi
from tests.support.captures import wait_for

PERCENT = st.decimals(0, 100, places=2)


@pytest.fixture
def sampler() -> Iterator[host.HostSampler]:
    made = host.HostSampler()
    yield made
    made.close()


@given(PERCENT, PERCENT, PERCENT, st.integers(0, 1 << 63))
def test_pressure_files(ten: float, sixty: float, three_hundred: float, total: int) -> None:
    some = f"some avg10={ten} avg60={sixty} avg300={three_hundred} total={total}\n"
    text = f"{some}full avg10=1.00 avg60=0.00 avg300=0.00 total=0\n"
    assert psi.some_avg10(text.encode()) == float(ten)


def test_no_pressure() -> None:
    assert psi.some_avg10(b"") == 0.0
    gauge = psi.Gauge(("/nowhere/cpu", "/nowhere/memory", "/nowhere/io"))
    assert gauge.read() is None
    gauge.close()


def test_processors() -> None:
    assert host.processors(b"cpu  10 1 5 100 20 2 3 50 7 0\ncpu0 1 2 3\n") == (21, 141)


def test_memory() -> None:
    assert host.memory(b"MemTotal:  100 kB\nMemFree:  10 kB\nMemAvailable:  60 kB\n") == (102400, 61440)
    assert host.memory(b"MemTotal:  100 kB\nMemFree:  10 kB\n") == (102400, 10240)


def test_own_work_is_seen() -> None:
    """Whatever others leave of the processors to this process."""
    before = time.monotonic()
    sampler = host.HostSampler()
    begun, worked = time.monotonic(), time.process_time()
    while time.process_time() < worked + 0.3:
        pass
    done = time.monotonic()
    figures = sampler.sample()
    most = 100 * (time.process_time() - worked) / (done - begun)
    assert 100 * 0.3 / (time.monotonic() - before) <= figures.own_cpu_percent <= most + 1
    assert figures.cpu_percent > figures.own_cpu_percent / (os.cpu_count() or 1) / 2
    time.sleep(0.3)
    assert sampler.sample().own_cpu_percent < 15
    assert 0 < figures.memory_used < figures.memory_total
    assert figures.memory_total == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE")
    sampler.close()


def test_two_looks_at_once_agree(sampler: host.HostSampler) -> None:
    time.sleep(0.1)
    assert sampler.sample()[:1] == sampler.sample()[:1]


def cpu_seconds(pid: int) -> float:
    """What a process has worked, in whole clock ticks (proc_pid_stat(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_children_count(sampler: host.HostSampler) -> None:
    alone = sampler.sample().own_memory
    child = subprocess.Popen(
        [sys.executable, "-ISc", "x = b'x' * (40 << 20); print(1, flush=True)\nwhile True: pass"],
        stdout=subprocess.PIPE,
    )
    try:
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(0.06)
        begun = time.monotonic()
        sampler.sample()
        spent = cpu_seconds(child.pid)
        wait_for(lambda: cpu_seconds(child.pid) >= spent + 0.2)
        figures = sampler.sample()
        least = 100 * 0.2 / (time.monotonic() - begun)
    finally:
        child.kill()
        child.communicate()
    assert figures.own_memory - alone > 40 << 20
    assert figures.own_cpu_percent >= least
