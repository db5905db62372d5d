"""What two samples mean together, and which of it deserves a sentence."""

from __future__ import annotations

from engine.model import Pressure
from tests.tui.samples import sample
from tui.figures import Figures, figures, sentences

SECOND = 1_000_000_000


def test_counters_become_rates() -> None:
    before = sample(monotonic_ns=0, io_read_bytes=1000, io_write_bytes=0, net_rx_bytes=5, net_tx_bytes=0)
    now = sample(
        monotonic_ns=2 * SECOND, io_read_bytes=5000, io_write_bytes=10, net_rx_bytes=5, net_tx_bytes=200
    )
    found = figures(before, now)
    assert (found.io_read, found.io_write, found.net_rx, found.net_tx) == (2000, 5, 0, 100)


def test_a_first_sample_has_no_rates() -> None:
    assert figures(None, sample(io_read_bytes=1 << 30)) == Figures()
    assert figures(None, sample(cpu_limit=1.0)).throttled == 0.0


def test_a_restarted_container_does_not_run_backwards() -> None:
    before = sample(monotonic_ns=0, cpu_usage_ns=9 * SECOND, io_read_bytes=1 << 30)
    found = figures(before, sample(monotonic_ns=SECOND, cpu_usage_ns=1, io_read_bytes=1))
    assert found == Figures()


def test_what_it_wants_is_what_it_used_and_what_it_waited_for() -> None:
    before = sample(monotonic_ns=0, cpu_limit=1.5)
    now = sample(
        monotonic_ns=SECOND,
        cpu_limit=1.5,
        cpu_usage_ns=int(1.5 * SECOND),
        periods=10,
        throttled_periods=3,
        throttled_ns=int(0.6 * SECOND),
    )
    found = figures(before, now)
    assert found.throttled == 0.3
    assert found.wants is not None
    assert abs(found.wants - 2.1) < 1e-9
    assert sentences(now, found) == ["throttled 30% of periods: quota 1.5 CPUs, it wants about 2.1"]


def test_a_container_that_is_throttled_below_its_quota_works_in_bursts() -> None:
    idle = sample(cpu_limit=1.5)
    assert sentences(idle, Figures(throttled=0.3, wants=0.8)) == [
        "throttled 30% of periods: quota 1.5 CPUs, in bursts"
    ]


def test_without_a_quota_there_is_no_throttling() -> None:
    found = figures(sample(monotonic_ns=0), sample(monotonic_ns=SECOND, periods=10, throttled_periods=3))
    assert found.throttled is None
    assert found.wants is None


def test_a_well_container_is_not_talked_about() -> None:
    well = sample(memory_bytes=50, memory_limit_bytes=100, pids=3, pids_limit=50, pressure=Pressure(1, 1, 1))
    assert sentences(well, Figures(throttled=0.01)) == []


def test_full_memory_kills_pids_and_pressure_are_said() -> None:
    ill = sample(
        memory_bytes=96,
        memory_limit_bytes=100,
        oom_kills=2,
        swap_bytes=2048,
        pids=49,
        pids_limit=50,
        pressure=Pressure(90, 35, 1),
    )
    assert sentences(ill, Figures()) == [
        "OOM killed 2 times: its limit is 100B",
        "memory at 96% of its limit",
        "49 of 50 processes: it can hardly fork",
        "2.0K of it swapped out",
        "waits for memory 35% of the time",
    ]
    assert sentences(sample(oom_kills=1), Figures()) == ["OOM killed once"]
