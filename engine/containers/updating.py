"""Changing the limits and the restart policy of a container that exists, at once where it runs."""

from __future__ import annotations

from collections.abc import Collection

from engine.containers import creation, removal, restarting, state
from engine.errors import UnsupportedError, UsageError
from engine.kernel import cgroup
from engine.model import JSON, Limits
from engine.oci.resources import CPU_PERIOD, resources
from engine.store import records
from engine.store.layout import ContainerPaths
from engine.store.store import Store

_LIFTED: dict[str, JSON] = {
    "cpus": {"cpu": {"quota": -1, "period": CPU_PERIOD}},
    "cpu_shares": {"cpu": {"shares": 1024}},
    "memory": {"memory": {"limit": -1, "swap": -1}},
    "memory_swap": {"memory": {"swap": -1}},
    "pids": {"pids": {"limit": -1}},
}
"""linux.resources without a limit, as runtime-spec has it (config-linux.md)."""


def update(
    store: Store, row: records.ContainerRow, limits: Limits, lift: Collection[str], restart: str | None
) -> None:
    """Give the container *row* those of *limits* that are not None, and take away those named in *lift*.

    Raises what `engine.kernel.cgroup.apply` raises; then nothing is recorded.
    """
    paths = store.layout.container(row.id)
    if restart is not None and restarting.policy(restart) != restarting.NEVER and row.options.auto_remove:
        raise UsageError("a container cannot both go and come again", "it was started with --rm")
    wanted = _merged(row.options.limits, limits, lift)
    creation.check_swap(wanted)
    with removal.locked(paths, row.name):
        facts = state.derive(paths)
        if facts.active and facts.cgroup is not None:
            given = _merged(Limits(), limits, ())
            if limits.memory is not None and wanted.memory_swap is not None:
                given = given._replace(memory_swap=wanted.memory_swap)
            if limits.cpus is not None:
                given = given._replace(cpu_period=wanted.cpu_period)
            _apply(cgroup.Cgroup.from_json(facts.cgroup), given, lift)
        spec = state.read_document(paths.config)
        if spec is not None:
            _record(paths, spec, wanted, privileged=row.options.privileged)
        options = row.options._replace(limits=wanted, restart=restart or row.options.restart)
        with store.write() as connection:
            records.set_options(connection, row.id, options)
        if restart is not None:
            restarting.change(paths, restart)


def _merged(before: Limits, limits: Limits, lift: Collection[str]) -> Limits:
    given = {name: value for name, value in limits._asdict().items() if value is not None}
    lifted: JSON = dict.fromkeys(lift)
    if "memory" in lifted and "memory_swap" not in given:
        lifted["memory_swap"] = None
    return before._replace(**lifted)._replace(**given)


def _apply(group: cgroup.Cgroup, limits: Limits, lift: Collection[str]) -> None:
    changed = resources(limits)
    changed.pop("devices")
    for name in lift:
        if name not in _LIFTED:
            raise UnsupportedError(
                f"{name} cannot be lifted while the container runs", hint="stop it first, or name others"
            )
        for part, values in _LIFTED[name].items():
            changed[part] = values | changed.get(part, {})
    cgroup.apply(group, changed)


def _record(paths: ContainerPaths, spec: JSON, limits: Limits, *, privileged: bool) -> None:
    """Keep what its document says of devices; the rest of linux.resources comes from *limits*."""
    before = spec["linux"].get("resources", {})
    after = resources(limits, privileged=privileged)
    devices = {key: value for key, value in before.get("blockIO", {}).items() if key != "weight"}
    kept = {"devices": before.get("devices", after["devices"]), "blockIO": devices | after.get("blockIO", {})}
    found = before | {"cpu": {}, "memory": {}, "pids": {}} | after | kept
    spec["linux"]["resources"] = {part: value for part, value in found.items() if value}
    state.write_document(paths.config, spec)
