"""Archives of images whose documents lie: names, digests, sizes, types, and JSON that readers disagree on."""

from __future__ import annotations

import json
from typing import Any

from tests.hostile.headers import whole_archive_bomb
from tests.hostile.kinds import UP, archive, digest, header, image
from tests.layers import tars
from tests.layers.tars import Entry, file, link, symlink, tar

BASE = "application/vnd.oci.image."
MANIFEST, INDEX = f"{BASE}manifest.v1+json", f"{BASE}index.v1+json"
CONFIG, LAYER = f"{BASE}config.v1+json", f"{BASE}layer.v1.tar"
HONEST = tar(file("etc/hosts", b"x"))


class Layout:
    """An OCI layout put together blob by blob."""

    def __init__(self) -> None:
        self.entries: list[Entry] = [file("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')]

    def blob(self, data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
        self.entries.append(file(f"blobs/{digest(data).replace(':', '/')}", data))
        return {"mediaType": media_type, "digest": digest(data), "size": len(data), **more}

    def document(self, document: object, media_type: str, **more: Any) -> dict[str, Any]:
        return self.blob(
            document if isinstance(document, bytes) else json.dumps(document).encode(), media_type, **more
        )

    def image(
        self, config: object = None, layers: list[dict[str, Any]] | None = None, **more: Any
    ) -> dict[str, Any]:
        """A manifest; what is not given is honest."""
        config = config or {"rootfs": {"type": "layers", "diff_ids": [digest(HONEST)]}}
        document = {
            "schemaVersion": 2,
            "config": self.document(config, CONFIG),
            "layers": [self.blob(HONEST, LAYER)] if layers is None else layers,
            **more,
        }
        return self.document(document, MANIFEST)

    def archive(self, *entries: dict[str, Any], index: bytes | None = None) -> bytes:
        body = index or json.dumps({"schemaVersion": 2, "manifests": list(entries)}).encode()
        return tar(*self.entries, file("index.json", body))


def docker(
    config: str = "config.json",
    layers: tuple[str, ...] = ("layer.tar",),
    tags: object = ("x:1",),
    *more: Entry,
) -> bytes:
    """A docker-archive with these names in its manifest.json."""
    body = json.dumps({"rootfs": {"type": "layers", "diff_ids": [digest(HONEST)] * len(layers)}}).encode()
    listed = [{"Config": config, "RepoTags": tags, "Layers": layers}]
    honest = [file("config.json", body), file("layer.tar", HONEST)]
    return tar(file("manifest.json", json.dumps(listed).encode()), *honest, *more)


# Names


@archive("outside")
def a_configuration_outside_the_archive(outside: str) -> bytes:
    return docker(config=f"{UP}{outside}/secret")


@archive("has no")
def a_layer_by_an_absolute_path(outside: str) -> bytes:
    return docker(layers=(f"{outside}/secret",))


@archive("outside")
def a_layer_that_is_a_link_out(outside: str) -> bytes:
    return docker("config.json", ("l",), ["x:1"], symlink("l", f"{UP}{outside}/secret"))


@archive("has no")
def a_layer_that_is_an_absolute_link(outside: str) -> bytes:
    return docker("config.json", ("l",), ["x:1"], symlink("l", f"{outside}/secret"))


@archive("has no")
def layers_that_are_links_in_a_ring(outside: str) -> bytes:
    return docker("config.json", ("a",), ["x:1"], symlink("a", "b"), link("b", "a"))


@archive("outside")
def a_member_outside_the_archive(outside: str) -> bytes:
    return docker("config.json", ("layer.tar",), ["x:1"], file(f"{UP}etc/cron.d/x", b"* * * * * root true\n"))


@archive(None)
def tags_that_are_no_names(outside: str) -> bytes:
    return docker(tags=["../../x:1", "x:../../y", "\x1b[2J:1", "a" * 5000, "", ":", "@", "x@sha256:../.."])


@archive("NUL|has no")
def a_configuration_with_nul(outside: str) -> bytes:
    return docker(config="config.json\0/../../secret")


@archive("not valid")
def a_digest_with_a_path(outside: str) -> bytes:
    layout = Layout()
    entry = {**layout.image(), "digest": f"sha256:{UP}{outside}/secret"}
    return layout.archive(entry)


@archive("not valid")
def a_layers_digest_with_a_path(outside: str) -> bytes:
    layout = Layout()
    layer = {**layout.blob(HONEST, LAYER), "digest": "sha256:../../x"}
    return layout.archive(layout.image(layers=[layer]))


@archive("not valid")
def a_diff_id_with_a_path(outside: str) -> bytes:
    return image(HONEST, diff_ids=["sha256:" + "0" * 64, f"sha256:{UP}etc"])


# Digests and sizes


@archive("damaged|checksum")
def a_blob_that_is_not_its_digest(outside: str) -> bytes:
    layout = Layout()
    entry = layout.image()
    return layout.archive(entry).replace(b"etc/hosts", b"etc/shado")


@archive("damaged")
def a_layer_that_is_not_its_diff_id(outside: str) -> bytes:
    return image(HONEST, diff_ids=[digest(b"x"), digest(b"y")])


@archive("wrong size")
def a_blob_of_another_size(outside: str) -> bytes:
    layout = Layout()
    return layout.archive({**layout.image(), "size": 1})


@archive("not valid|wrong size")
def a_blob_of_a_huge_size(outside: str) -> bytes:
    layout = Layout()
    return layout.archive({**layout.image(), "size": 1 << 62})


@archive("speaks of 2 layers")
def more_diff_ids_than_layers(outside: str) -> bytes:
    layout = Layout()
    return layout.archive(
        layout.image({"rootfs": {"type": "layers", "diff_ids": [digest(HONEST), digest(b"")]}})
    )


@archive("speaks of 0 layers")
def layers_without_diff_ids(outside: str) -> bytes:
    layout = Layout()
    return layout.archive(layout.image({"rootfs": {"type": "layers", "diff_ids": []}, "x": 1}))


@archive("no layer")
def an_image_of_nothing(outside: str) -> bytes:
    layout = Layout()
    return layout.archive(layout.image({"rootfs": {"type": "layers", "diff_ids": []}}, layers=[]))


@archive("not valid|too many")
def more_layers_than_can_be_stacked(outside: str) -> bytes:
    layout = Layout()
    config = {"rootfs": {"type": "layers", "diff_ids": [digest(HONEST)] * 129}}
    return layout.archive(layout.image(config, layers=[layout.blob(HONEST, LAYER)] * 129))


@archive("nested more than")
def indexes_in_indexes(outside: str) -> bytes:
    layout = Layout()
    entry = layout.image()
    for _ in range(50):
        entry = layout.document({"schemaVersion": 2, "manifests": [entry]}, INDEX)
    return layout.archive(entry)


@archive("lists no image")
def thirty_thousand_entries_of_an_index(outside: str) -> bytes:
    entry = {
        "mediaType": MANIFEST,
        "digest": "sha256:" + "0" * 64,
        "size": 1,
        "platform": {"architecture": "unknown", "os": "unknown"},
    }
    return Layout().archive(*[entry] * 30_000)


@archive("too large")
def a_document_of_megabytes(outside: str) -> bytes:
    layout = Layout()
    return layout.archive(
        layout.image({"rootfs": {"type": "layers", "diff_ids": [digest(HONEST)]}, "x": "x" * (9 << 20)})
    )


# Types


@archive("not valid")
def a_manifest_that_is_an_index_too(outside: str) -> bytes:
    layout = Layout()
    return layout.archive(layout.image(manifests=[]))


@archive("not valid")
def a_manifest_that_says_it_is_an_index(outside: str) -> bytes:
    layout = Layout()
    return layout.archive(layout.image(mediaType=INDEX))


@archive("not valid")
def a_manifest_announced_as_an_index(outside: str) -> bytes:
    layout = Layout()
    return layout.archive({**layout.image(), "mediaType": INDEX})


@archive("something of the type|not a container image")
def an_index_of_something_else(outside: str) -> bytes:
    layout = Layout()
    return layout.archive(
        {**layout.image(), "mediaType": "application/vnd.docker.distribution.manifest.v1+json"}
    )


@archive("not a container image")
def an_artifact_that_is_no_image(outside: str) -> bytes:
    layout = Layout()
    config = layout.blob(b"{}", "application/vnd.oci.empty.v1+json")
    return layout.archive(
        layout.document({"schemaVersion": 2, "config": config, "layers": [config]}, MANIFEST)
    )


@archive("malformed|not a tar|truncated|octal")
def a_configuration_that_is_a_layer_too(outside: str) -> bytes:
    body = json.dumps({"rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]}}).encode().ljust(600)
    layout = Layout()
    same = layout.blob(body, LAYER)
    document = {"schemaVersion": 2, "config": {**same, "mediaType": CONFIG}, "layers": [same]}
    return layout.archive(layout.document(document, MANIFEST))


# JSON


def _config(text: str) -> bytes:
    layout = Layout()
    body = json.dumps({"rootfs": {"type": "layers", "diff_ids": [digest(HONEST)]}, "x": 0}).replace(
        ": 0}", f": {text}}}"
    )
    return layout.archive(layout.image(body.encode("utf-8", "surrogateescape")))


@archive("nested too deep|not valid")
def json_nested_without_end(outside: str) -> bytes:
    return _config("[" * 100_000)


@archive("nested too deep")
def json_nested_too_deep(outside: str) -> bytes:
    return _config("[" * 400 + "]" * 400)


@archive("digits")
def json_with_a_number_of_a_million_digits(outside: str) -> bytes:
    return _config("1" * 1_000_000)


@archive("too large|NaN|not valid")
def json_with_numbers_that_are_none(outside: str) -> bytes:
    return _config("NaN")


@archive("twice")
def json_with_a_name_twice(outside: str) -> bytes:
    return _config('0, "rootfs": {"type": "layers", "diff_ids": []}')


@archive("not valid")
def json_that_is_not_utf8(outside: str) -> bytes:
    return _config('"\udcff"')


@archive("not valid")
def json_of_another_shape(outside: str) -> bytes:
    return Layout().archive(index=b'[{"schemaVersion": 2}]')


@archive("not valid")
def a_history_that_is_no_list(outside: str) -> bytes:
    layout = Layout()
    return layout.archive(
        layout.image({"rootfs": {"type": "layers", "diff_ids": [digest(HONEST)]}, "history": {"a": 1}})
    )


@archive(None)
def a_history_that_speaks_to_the_terminal(outside: str) -> bytes:
    history = [
        {
            "created": "\x1b[2J",
            "created_by": "\x1b]0;owned\x07\x1b[31m",
            "comment": "a\nb\rc",
            "author": "\u202e",
        }
    ]
    return _with_history(history)


def _with_history(history: list[dict[str, str]]) -> bytes:
    layout = Layout()
    config = {
        "rootfs": {"type": "layers", "diff_ids": [digest(HONEST)]},
        "history": history,
        "config": {"Env": ["\x1b[2J"]},
    }
    return layout.archive(layout.image(config))


# The archive itself


@archive("200 times its size")
def an_archive_that_is_a_bomb(outside: str) -> bytes:
    return whole_archive_bomb()


@archive("20000 files")
def an_archive_of_too_many_files(outside: str) -> bytes:
    return b"".join(header(b"%d" % number) for number in range(20_002)) + bytes(1024)


@archive("truncated")
def an_archive_with_a_size_beyond_its_end(outside: str) -> bytes:
    return header(b"manifest.json", size=b"77777777777\0") + b"x" * 4096


@archive("longer than any file")
def an_archive_with_an_endless_name(outside: str) -> bytes:
    return docker("config.json", ("layer.tar",), ["x:1"], file("n/" * 100_000 + "x"))


@archive("describes nothing|malformed")
def an_archive_of_long_names_alone(outside: str) -> bytes:
    one = header(b"././@LongLink", b"L", size=b"%011o\0" % 4) + b"abc\0".ljust(512, b"\0")
    return one * 5000 + bytes(1024)


@archive("with holes")
def a_manifest_with_holes(outside: str) -> bytes:
    entry = tars.tarfile.TarInfo("manifest.json")
    entry.pax_headers = {"GNU.sparse.size": "1000", "GNU.sparse.map": ""}
    return entry.tobuf(tars.tarfile.PAX_FORMAT) + docker()
