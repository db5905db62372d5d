"""Ports: how `-p` spells them, and how tables show them."""

from __future__ import annotations

from collections.abc import Sequence

from engine.errors import UsageError
from engine.model import PublishedPort

_PROTOCOLS = ("tcp", "udp", "sctp")
_HINT = "write it like 8080:80, 127.0.0.1:53:53/udp, 7000-7010:7000-7010 or 8000-8010:80"
_LARGEST = 65535


def published(texts: Sequence[str]) -> tuple[PublishedPort, ...]:
    """What ``[[ADDRESS:]PORT:]PORT[/PROTOCOL]`` means, ranges port by port. Raises UsageError."""
    return tuple(dict.fromkeys(port for text in texts for port in _published(text)))


def _published(text: str) -> list[PublishedPort]:
    places, _, protocol = text.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in _PROTOCOLS:
        raise _wrong(text, f"{protocol} is no protocol with ports")
    before, _, inside = places.rpartition(":")
    address, _, outside = before.rpartition(":")
    if address.startswith("[") != address.endswith("]") or (":" in address and not address.startswith("[")):
        raise _wrong(text, "an address of IPv6 stands in brackets")
    within = _range(text, inside)
    without = _range(text, outside) if outside not in ("", "0") else [0] * len(within)
    host = _address(text, address.strip("[]"))
    if len(within) == 1 < len(without):
        return [PublishedPort(host, without[0], within[0], protocol, without[-1])]
    if len(without) != len(within):
        raise _wrong(text, "its two ranges are not of one length")
    return [PublishedPort(host, *pair, protocol) for pair in zip(without, within, strict=True)]


def _range(text: str, numbers: str) -> list[int]:
    first, dash, last = numbers.partition("-")
    if not (numbers.isascii() and first.isdecimal() and (last.isdecimal() or not dash)):
        raise _wrong(text, f"{numbers!r} is no port")
    begin, end = int(first), int(last or first)
    if not 0 < begin <= end <= _LARGEST:
        raise _wrong(text, f"ports go from 1 to {_LARGEST}")
    return list(range(begin, end + 1))


def _address(text: str, address: str) -> str:
    if not address:
        return ""
    from ipaddress import ip_address

    try:
        return str(ip_address(address))
    except ValueError:
        raise _wrong(text, f"{address!r} is no address") from None


def _wrong(text: str, why: str) -> UsageError:
    return UsageError(f"bad port {text!r}", why, _HINT)


def ports_text(ports: Sequence[PublishedPort]) -> str:
    """As `ps` shows them, neighbours as one: ``0.0.0.0:8080-8082->80-82/tcp``."""
    runs: list[list[PublishedPort]] = []
    for port in sorted(ports, key=_by_run):
        last = runs[-1][-1] if runs else None
        if last is not None and port == last._replace(
            host_port=last.host_port + 1, container_port=last.container_port + 1
        ):
            runs[-1].append(port)
        else:
            runs.append([port])
    return ", ".join(_run_text(run[0], run[-1]) for run in runs)


def _by_run(port: PublishedPort) -> tuple[str, str, int, int]:
    return port.protocol, port.host_ip, port.host_port - port.container_port, port.container_port


def _run_text(first: PublishedPort, last: PublishedPort) -> str:
    inside = str(first.container_port)
    more = ""
    if last is not first:
        more, inside = f"-{last.host_port}", f"{inside}-{last.container_port}"
    return f"{place(first)}{more}->{inside}/{first.protocol}"


def place(port: PublishedPort) -> str:
    """Where *port* is reached: ``0.0.0.0:8080``, ``[::1]:8080``."""
    address = port.host_ip or "0.0.0.0"
    return f"[{address}]:{port.host_port}" if ":" in address else f"{address}:{port.host_port}"
