"""Registries that are busy, broken, slow or lie, and killed pulls: nothing wrong gets in, nothing hangs."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from engine.errors import ArchiveError, RegistryError
from engine.images.images import Images
from engine.oci import documents
from engine.store import partials
from engine.store.store import Store
from tests.images import peers, registries, stores
from tests.images.registries import Answer, Asked, Cut, Proxy, Raw, raw
from tests.images.stores import Archives, NewStore
from tests.support import images
from tests.support.captures import wait_for

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.peers("docker-registry", "skopeo", "umoci"),
    pytest.mark.usefixtures("nobody"),
]


def big_blob(asked: Asked, answer: Answer) -> bool:
    return asked.method == "GET" and "/blobs/" in asked.path and len(answer.body) > 1000


def once(*answers: Answer | Cut, when: str = "/blobs/") -> registries.Misbehaviour:
    """These *answers* to the first GETs of *when*, then the real ones."""
    waiting = list(answers)

    def misbehave(asked: Asked, answer: Answer) -> Answer | Cut | None:
        return waiting.pop(0) if waiting and asked.method == "GET" and when in asked.path else None

    return misbehave


def test_busy_and_broken_answers_are_tried_again(store: Store, proxy: Proxy) -> None:
    wait = {"Retry-After": "1"}
    proxy.misbehave = once(Answer(429, wait, b"{}"), Answer(500, {}, b""), Answer(503, {}, b""))
    began = time.monotonic()
    Images(store).pull(f"{proxy.address}/five:gzip")
    assert time.monotonic() - began >= 1
    assert stores.problems(store) == []


def test_a_registry_that_stays_broken_is_given_up(store: Store, proxy: Proxy) -> None:
    proxy.misbehave = lambda asked, answer: Answer(500, {}, b"") if "/blobs/" in asked.path else None
    with pytest.raises(RegistryError, match="out of order"):
        Images(store).pull(f"{proxy.address}/five:gzip")
    assert not Images(store).has_any()
    assert stores.problems(store) == []


def test_a_download_that_breaks_goes_on_where_it_was(store: Store, proxy: Proxy) -> None:
    broken: set[str] = set()

    def misbehave(asked: Asked, answer: Answer) -> Cut | None:
        if not big_blob(asked, answer) or asked.path in broken:
            return None
        broken.add(asked.path)
        return Cut(len(answer.body) // 2)

    proxy.misbehave = misbehave
    Images(store).pull(f"{proxy.address}/five:gzip")
    assert broken
    resumed = {asked.path for asked in proxy.asked if asked.headers.get("range", "").startswith("bytes=")}
    assert resumed == broken
    assert stores.problems(store) == []


def test_a_registry_without_ranges_starts_again(store: Store, proxy: Proxy) -> None:
    broken: set[str] = set()
    whole: dict[str, Answer] = {}

    def misbehave(asked: Asked, answer: Answer) -> Answer | Cut | None:
        if "range" in asked.headers:
            return whole[asked.path]
        if not big_blob(asked, answer) or asked.path in broken:
            return None
        broken.add(asked.path)
        whole[asked.path] = answer
        return Cut(len(answer.body) // 2)

    proxy.misbehave = misbehave
    Images(store).pull(f"{proxy.address}/five:gzip")
    assert broken


@pytest.mark.parametrize("lie", ["digest", "longer", "shorter", "range"])
def test_lies_about_a_blob_are_found(store: Store, proxy: Proxy, lie: str) -> None:
    def misbehave(asked: Asked, answer: Answer) -> Answer | Cut | None:
        if not big_blob(asked, answer):
            return None
        if lie == "digest":
            return answer._replace(body=answer.body[:-1] + bytes([answer.body[-1] ^ 1]))
        if lie == "range":
            wrong = {**answer.headers, "Content-Range": "bytes 7-9/10"}
            return answer._replace(headers=wrong) if answer.status == 206 else Cut(100)
        body = answer.body + b"x" if lie == "longer" else answer.body[:-1]
        kept = {name: text for name, text in answer.headers.items() if name != "Content-Length"}
        return Answer(answer.status, kept, body)

    proxy.misbehave = misbehave
    with pytest.raises((ArchiveError, RegistryError)):
        Images(store).pull(f"{proxy.address}/five:gzip")
    assert not Images(store).has_any()
    assert stores.problems(store) == []


def test_a_document_that_could_be_two_things_is_refused(store: Store, proxy: Proxy) -> None:
    def as_index(asked: Asked, answer: Answer) -> Answer | None:
        kept = {name: text for name, text in answer.headers.items() if not name.startswith("Docker")}
        return (
            Answer(200, {**kept, "Content-Type": documents.OCI_INDEX}, answer.body)
            if "/manifests/" in asked.path
            else None
        )

    proxy.misbehave = as_index
    with pytest.raises(ArchiveError, match="not valid"):
        Images(store).pull(f"{proxy.address}/five:docker")

    def both(asked: Asked, answer: Answer) -> Answer | None:
        if "/manifests/" not in asked.path:
            return None
        body = documents.encode({**json.loads(answer.body), "manifests": []})
        return Answer(200, {"Content-Type": answer.headers["Content-Type"]}, body)

    proxy.misbehave = both
    with pytest.raises(ArchiveError, match="not valid"):
        Images(store).pull(f"{proxy.address}/five:docker")


def test_a_manifest_with_another_digest_is_refused(store: Store, proxy: Proxy) -> None:
    digest = documents.digest_of(raw(f"{proxy.address}/five:gzip"))
    proxy.misbehave = lambda asked, answer: (
        answer._replace(
            body=answer.body.replace(b"2", b"2 ", 1), headers={"Content-Type": answer.headers["Content-Type"]}
        )
        if "/manifests/" in asked.path
        else None
    )
    with pytest.raises(ArchiveError, match="digest"):
        Images(store).pull(f"{proxy.address}/five@{digest}")


def test_secrets_do_not_follow_redirects(store: Store, proxy: Proxy, registry: str) -> None:
    proxy.wants_token = True
    Images(store).login(proxy.address, registries.USER, registries.PASSWORD)
    with registries.proxy(registry) as storage:
        proxy.misbehave = lambda asked, answer: (
            Answer(307, {"Location": f"http://{storage.address}{asked.path}"}, b"")
            if "/blobs/" in asked.path
            else None
        )
        Images(store).pull(f"{proxy.address}/five:gzip")
        assert storage.count("GET", "/blobs/") == 6
        assert not [asked for asked in storage.asked if "authorization" in asked.headers]


def test_an_upload_that_breaks_goes_on_where_it_was(store: Store, proxy: Proxy, five: Archives) -> None:
    Images(store).load(five.docker)
    proxy.cut_uploads_after = [20_000]
    name = f"{proxy.address}/broken-{os.urandom(4).hex()}:1"
    _, digest = Images(store).push("five:docker", name)
    assert proxy.cut_uploads_after == []
    assert documents.digest_of(raw(name)) == digest


# Ends in the middle


@pytest.mark.parametrize(
    "fault",
    [
        "pull.after-manifests",
        "pull.after-download",
        "load.worker",
        "pull.after-unpack",
        "pull.after-rename",
        "pull.before-commit",
    ],
)
def test_a_killed_pull_leaves_nothing_and_can_be_repeated(
    new_store: NewStore, registry: str, fault: str
) -> None:
    store = new_store()
    code = "images.pull(args[0])"
    killed = stores.in_process(store, code, f"{registry}/five:gzip", fault=fault)
    assert killed.returncode == (1 if fault == "load.worker" else -signal.SIGKILL)
    store.sweep()
    assert stores.problems(store) == []
    assert not Images(store).has_any()
    Images(store).pull(f"{registry}/five:gzip")
    assert stores.problems(store) == []


def test_ctrl_c_ends_a_pull_that_hangs(new_store: NewStore, proxy: Proxy) -> None:
    store = new_store()
    stalled, over = threading.Event(), threading.Event()

    def stall(asked: Asked, answer: Answer) -> None:
        if big_blob(asked, answer):
            stalled.set()
            over.wait()

    proxy.misbehave = stall
    child = stores.in_process(store, "images.pull(args[0])", f"{proxy.address}/five:gzip", wait=False)
    try:
        assert stalled.wait(60)
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=60)
    finally:
        over.set()
    assert child.returncode != 0
    assert stores.problems(store) == []


def held(store: Store) -> int:
    """Bytes of unfinished downloads in the store."""
    with contextlib.suppress(FileNotFoundError):
        return sum(entry.stat().st_size for entry in os.scandir(store.layout.partials))
    return 0


def test_what_a_killed_pull_had_is_not_fetched_again(new_store: NewStore, proxy: Proxy) -> None:
    store = new_store()
    sizes = {
        layer["digest"]: layer["size"] for layer in json.loads(raw(f"{proxy.address}/five:gzip"))["layers"]
    }

    def half(answer: Answer) -> Raw:
        def write(connection: socket.socket) -> None:
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(answer.body)}\r\n\r\n".encode()
            connection.sendall(head + answer.body[: len(answer.body) // 2])
            connection.recv(1)  # until the other end is gone

        return Raw(write)

    proxy.misbehave = lambda asked, answer: half(answer) if big_blob(asked, answer) else None
    child = stores.in_process(store, "images.pull(args[0])", f"{proxy.address}/five:gzip", wait=False)
    wanted = sum(sorted(size // 2 for size in sizes.values() if size > 1000)[-4:])  # four at a time
    try:
        wait_for(lambda: held(store) >= wanted)
    finally:
        child.kill()
        child.communicate()
    had = {f"sha256:{entry.name}": entry.stat().st_size for entry in os.scandir(store.layout.partials)}
    assert sum(had.values()) >= wanted
    proxy.misbehave = lambda asked, answer: None
    proxy.sent.clear()
    store.sweep()
    Images(store).pull(f"{proxy.address}/five:gzip")
    for digest, size in sizes.items():
        assert proxy.sent[f"/v2/five/blobs/{digest}"] == size - had.get(digest, 0)
    assert held(store) == 0
    store.sweep()  # what the killed one left
    assert stores.problems(store) == []


def test_layers_that_came_whole_before_a_kill_are_not_fetched_again(
    new_store: NewStore, proxy: Proxy
) -> None:
    store = new_store()
    killed = stores.in_process(
        store, "images.pull(args[0])", f"{proxy.address}/five:gzip", fault="pull.after-unpack"
    )
    assert killed.returncode == -signal.SIGKILL
    proxy.asked.clear()
    Images(store).pull(f"{proxy.address}/five:gzip")
    assert proxy.count("GET", "/blobs/") == 1  # the configuration
    store.sweep()
    assert stores.problems(store) == []


def test_a_part_that_is_damaged_is_fetched_again(store: Store, proxy: Proxy) -> None:
    digest = json.loads(raw(f"{proxy.address}/five:gzip"))["layers"][0]["digest"]
    part = partials.take(store.layout, digest)
    assert part is not None
    part.write(b"not what it was")
    part.close()
    Images(store).pull(f"{proxy.address}/five:gzip")
    ranges = [asked.headers.get("range") for asked in proxy.asked if asked.path.endswith(digest)]
    assert ranges == ["bytes=15-", None]
    assert stores.problems(store) == []


def test_a_lie_about_a_range_costs_a_beginning_but_no_image(store: Store, proxy: Proxy) -> None:
    first: set[str] = set()

    def misbehave(asked: Asked, answer: Answer) -> Answer | Cut | None:
        if answer.status == 206:
            return answer._replace(headers={**answer.headers, "Content-Range": "bytes 7-9/10"})
        if big_blob(asked, answer) and asked.path not in first:
            first.add(asked.path)
            return Cut(100)
        return None

    proxy.misbehave = misbehave
    Images(store).pull(f"{proxy.address}/five:gzip")
    assert first
    assert stores.problems(store) == []


def test_an_answer_with_less_than_the_range_is_followed_by_another_question(
    store: Store, proxy: Proxy
) -> None:
    def misbehave(asked: Asked, answer: Answer) -> Answer | Cut | None:
        if answer.status == 206 and len(answer.body) > 2000:
            start = int(asked.headers["range"].removeprefix("bytes=").removesuffix("-"))
            total = answer.headers["Content-Range"].rpartition("/")[2]
            said = {"Content-Range": f"bytes {start}-{start + 1999}/{total}"}
            return Answer(206, said, answer.body[:2000])
        return Cut(100) if big_blob(asked, answer) and answer.status == 200 else None

    proxy.misbehave = misbehave
    Images(store).pull(f"{proxy.address}/five:gzip")
    assert stores.problems(store) == []


def test_a_prune_takes_what_is_here_in_part(store: Store, proxy: Proxy) -> None:
    proxy.misbehave = lambda asked, answer: Cut(500) if big_blob(asked, answer) else None
    with pytest.raises(RegistryError, match="broke"):
        Images(store).pull(f"{proxy.address}/five:gzip")
    size = held(store)
    assert size
    effect = Images(store).prunable()
    assert effect.size == size
    assert any("unfinished download" in what for what in effect.what)
    Images(store).prune()
    assert held(store) == 0


KILLS = int(os.environ.get("COWL_PULL_KILLS", "3"))
"""How often the pull of the next test is killed; hundreds make a harness of it."""


def test_a_pull_that_is_killed_again_and_again_goes_on(
    new_store: NewStore, registry: str, tmp_path: Path
) -> None:
    numbers = random.Random(KILLS)
    layers = [_noise(numbers.randbytes(300_000 * number)) for number in range(1, 6)]
    images.archive(f"{tmp_path}/noise.tar", {"noise:1": layers})
    copy = ("skopeo", "copy", "-q", "--dest-tls-verify=false")
    peers.run(*copy, f"oci-archive:{tmp_path}/noise.tar:noise:1", f"docker://{registry}/noise:1")
    sizes = {
        f"/v2/noise/blobs/{each['digest']}": each["size"] for each in manifest(registry, "noise:1")["layers"]
    }
    store = new_store()
    with registries.proxy(registry) as slow:
        slow.misbehave = lambda asked, answer: trickle(answer) if asked.path in sizes else None
        for _ in range(KILLS):
            had = here(store)
            slow.asked.clear()
            child = stores.in_process(store, "images.pull(args[0])", f"{slow.address}/noise:1", wait=False)
            time.sleep(numbers.uniform(0.2, 1.2))
            child.kill()
            child.communicate()
            for asked in slow.asked:
                if asked.path in sizes:
                    start = had.get(asked.path.rpartition(":")[2], 0)
                    assert start < sizes[asked.path]
                    assert asked.headers.get("range", "bytes=0-") == f"bytes={start}-"
            if Images(store).has_any():  # it was quicker
                Images(store).remove([f"{slow.address}/noise:1"])
            else:
                assert all(here(store).get(digest, 0) >= size for digest, size in had.items())
        slow.misbehave = lambda asked, answer: None
        Images(store).pull(f"{slow.address}/noise:1")
    store.sweep()
    assert stores.problems(store) == []
    assert held(store) == 0


def _noise(data: bytes) -> images.Layer:
    return images.layer(lambda tar: images.add_file(tar, f"data{len(data)}", data))


def manifest(registry: str, name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(raw(f"{registry}/{name}"))
    return document


def here(store: Store) -> dict[str, int]:
    """Bytes of each unfinished download in the store."""
    with contextlib.suppress(FileNotFoundError):
        return {entry.name: entry.stat().st_size for entry in os.scandir(store.layout.partials)}
    return {}


def trickle(answer: Answer) -> Raw:
    """*answer* at some megabytes a second."""

    def write(connection: socket.socket) -> None:
        kept = {"Content-Length": str(len(answer.body))}
        if answer.status == 206:
            kept["Content-Range"] = answer.headers["Content-Range"]
        head = "".join(f"{name}: {text}\r\n" for name, text in kept.items())
        connection.sendall(f"HTTP/1.1 {answer.status} OK\r\n{head}\r\n".encode())
        for at in range(0, len(answer.body), 20_000):
            connection.sendall(answer.body[at : at + 20_000])
            time.sleep(0.01)

    return Raw(write)


FULL = """
import os, subprocess, sys
from engine.errors import NoSpaceError
from engine.images.images import Images
from engine.store.store import Store
place, name = sys.argv[1:]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", place], check=True)
store = Store(f"{place}/root")
try:
    Images(store).pull(name)
except NoSpaceError as error:
    print(error.what, os.listdir(store.layout.partials), os.listdir(store.layout.staging))
store.close()
"""


def test_a_full_store_keeps_nothing_of_a_pull(registry: str, tmp_path: Path) -> None:
    data = random.Random(1).randbytes(1_500_000)
    images.archive(f"{tmp_path}/large.tar", {"large:1": [_noise(data), _noise(data[1:]), _noise(data[2:])]})
    copy = ("skopeo", "copy", "-q", "--dest-tls-verify=false")
    peers.run(*copy, f"oci-archive:{tmp_path}/large.tar:large:1", f"docker://{registry}/large:1")
    place = tmp_path / "place"
    place.mkdir()
    alone = ("unshare", "--mount", "--propagation", "private", sys.executable, "-c", FULL)
    said = peers.run(*alone, str(place), f"{registry}/large:1")
    assert said.endswith(" [] []\n")


def test_a_push_to_a_busy_registry_is_tried_again(store: Store, proxy: Proxy, five: Archives) -> None:
    busy = {
        ("POST", "/blobs/uploads/"): Answer(503, {}, b""),
        ("PUT", "/blobs/uploads/"): Answer(500, {}, b""),
        ("HEAD", "/blobs/"): Answer(502, {}, b""),
        ("PUT", "/manifests/"): Answer(429, {"Retry-After": "0"}, b"{}"),
    }

    def misbehave(asked: Asked, answer: Answer) -> Answer | None:
        due = [key for key in busy if asked.method == key[0] and key[1] in asked.path]
        return busy.pop(due[0]) if due else None

    Images(store).load(five.docker)
    proxy.misbehave = misbehave
    name = f"{proxy.address}/busy-{os.urandom(4).hex()}:1"
    _, digest = Images(store).push("five:docker", name)
    assert busy == {}
    assert documents.digest_of(raw(name)) == digest


def test_a_registry_that_finds_the_bytes_wrong_is_quoted(store: Store, proxy: Proxy, five: Archives) -> None:
    said = b'{"errors": [{"code": "DIGEST_INVALID", "message": "provided digest did not match"}]}'
    kind = {"Content-Type": "application/json"}
    Images(store).load(five.docker)
    proxy.misbehave = lambda asked, answer: (
        Answer(400, kind, said) if asked.method == "PUT" and "/blobs/" in asked.path else None
    )
    with pytest.raises(RegistryError, match="provided digest did not match"):
        Images(store).push("five:docker", f"{proxy.address}/wrong:1")
