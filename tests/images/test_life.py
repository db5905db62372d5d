"""What nothing needs goes, as was said; waste counts once; root file systems go out and come in."""

from __future__ import annotations

import io
import os
import shutil
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.changes import Changes
from engine.errors import ArchiveError, StoreError, UsageError
from engine.images import configsecrets, secrets
from engine.images.images import Images
from engine.images.load import load
from engine.images.waste import waste
from engine.model import JSON
from engine.store.store import Store
from tests.images import peers, stores
from tests.images.archives import docker_archive, simple_layer
from tests.layers import tars
from tests.layers.overlay import Overlay

pytestmark = pytest.mark.kernel
HOME = "/root"
AWS_FILE = f"{HOME}/.aws/credentials".encode()
KEY = b"-----BEGIN OPENSSH PRIVATE KEY-----\nx\n"


@pytest.fixture
def images(store: Store, tmp_path: Path) -> Images:
    """`a:1` of the layers one and two, `b:1` of one and three."""
    one, two, three = map(simple_layer, ("one", "two", "three"))
    load(store, docker_archive(tmp_path / "a.tar", [one, two], names=("a:1",)))
    load(store, docker_archive(tmp_path / "b.tar", [one, three], names=("b:1",)))
    return Images(store)


def on_disk(store: Store) -> int:
    trees = [
        os.lstat(f"{here}/{name}").st_size
        for place in (store.layout.layers, store.layout.blobs)
        for here, _, names in os.walk(place)
        for name in names
    ]
    return sum(trees)


def test_prune_takes_what_has_no_name_and_what_it_said(store: Store, images: Images) -> None:
    assert images.prunable().what == ()
    stores.new_container(store, "web", "a:1")
    node = Changes(store).commit("web")
    effect = images.prunable()
    assert effect.nodes == (node.chain_id,)
    before = on_disk(store)
    assert images.prune() == effect
    assert before - on_disk(store) == effect.size
    assert [image.name for image in images.list()] == ["a:1", "b:1"]
    assert images.prunable(True).what[0] == "tag b:1"
    before = on_disk(store)
    effect = images.prune(True)
    assert before - on_disk(store) == effect.size > 0
    assert [image.name for image in images.list()] == ["a:1"], "its container needs it"
    stores.remove_container(store, "web")
    images.prune(True)
    assert not images.has_any()
    assert stores.problems(store) == []


def test_a_container_on_a_bare_layer_keeps_one_image_of_it(store: Store, images: Images) -> None:
    stores.new_container(store, "web", images.forest()[0].chain_id)
    images.prune(True)
    assert len(images.list()) == 1
    stores.remove_container(store, "web")
    assert stores.problems(store) == []


@pytest.mark.parametrize("fault", ["prune.before-commit", "prune.after-commit", "prune.after-rename"])
def test_a_prune_that_is_killed_is_done_or_not(store: Store, images: Images, fault: str) -> None:
    assert stores.in_process(store, "images.prune(True)", fault=fault).returncode == -9
    again = Store(store.layout.root)
    assert stores.problems(again) == []
    assert Images(again).has_any() == (fault == "prune.before-commit")
    Images(again).prune(True)
    assert not Images(again).has_any()
    again.close()


def test_usage_tells_shared_from_exclusive(store: Store, images: Images) -> None:
    usage = images.usage()
    assert sum(image.exclusive for image in usage.images) + usage.images[0].shared == on_disk(store)
    assert usage.nodes_size + usage.blobs_size == usage.reclaimable_all == on_disk(store)
    assert usage.reclaimable == 0
    for image in usage.images:
        assert image.exclusive == images.removal(image.names).size


def layered(tmp_path: Path, *scripts: str) -> list[tuple[str, str]]:
    """Layers written by hand: each script runs in its layer's root."""
    layers = []
    for number, script in enumerate(scripts):
        tree = tmp_path / str(number)
        tree.mkdir()
        peers.run("sh", "-ec", script, cwd=str(tree))
        layers.append((f"sha256:{number}", str(tree)))
    return layers


def test_hidden_bytes_count_once(tmp_path: Path) -> None:
    found = waste(
        layered(
            tmp_path,
            "mkdir d o; printf 12345 > a; printf 123 > d/x; printf 1 > d/y; printf 1234567 > o/z; ln a b",
            "printf 123456 > a; mknod d c 0 0; mkdir o; setfattr -n trusted.overlay.opaque -v y o",
            "printf 1 > a; mknod b c 0 0",
        )
    )
    assert (found.size, found.hidden, found.visible) == (5 + 4 + 7 + 6 + 1, 5 + 4 + 7 + 6, 1)
    assert found.efficiency == pytest.approx(1 / 23)
    assert [(each.hidden, each.hides) for each in found.layers] == [(16, 0), (6, 11), (0, 11)]
    assert {each.path: (each.size, each.deleted) for each in found.paths} == {
        "/d": (4, True),
        "/o": (7, False),
        "/b": (5, True),
        "/a": (6, False),
    }


def test_secrets_that_a_deletion_did_not_remove_come_first(tmp_path: Path) -> None:
    found = waste(
        layered(
            tmp_path,
            f"mkdir -p root/.ssh etc tmp; printf '%s' '{KEY.decode()}' | tee root/.ssh/id_rsa > etc/z.key;"
            "echo 'root:$6$salt$hash:1::' > etc/shadow; cp /bin/true su; chmod 4755 su; chmod 1777 tmp;"
            "mkdir open; chmod 777 open",
            "mkdir root etc; mknod root/.ssh c 0 0; echo 'root:*:1::' > etc/shadow",
        )
    )
    assert [(each.path, each.kind, each.deleted) for each in found.secrets] == [
        (f"{HOME}/.ssh/id_rsa", "private key", True),
        ("/etc/shadow", "password hashes", False),
        ("/etc/z.key", "private key", False),
    ]
    assert [each.hidden_by for each in found.secrets] == ["sha256:1", "sha256:1", None]
    assert [(each.path, each.kind) for each in found.exposures] == [
        ("/su", "set-uid"),
        ("/open", "world-writable"),
    ]


@given(
    st.lists(
        st.dictionaries(st.sampled_from("abcd"), st.one_of(st.none(), st.integers(1, 50)), max_size=4),
        min_size=1,
        max_size=5,
    )
)
def test_every_byte_is_visible_or_hidden_once(
    tmp_path_factory: pytest.TempPathFactory, plan: list[dict[str, int | None]]
) -> None:
    home = tmp_path_factory.mktemp("layers")
    layers, final = [], dict[str, int]()
    for number, files in enumerate(plan):
        tree = home / str(number)
        (tree / "d").mkdir(parents=True)
        for name, size in files.items():
            if size is None:
                os.mknod(tree / "d" / name, stat.S_IFCHR, 0)
                final.pop(name, None)
            else:
                (tree / "d" / name).write_bytes(bytes(size))
                final[name] = size
        layers.append((str(number), str(tree)))
    found = waste(layers)
    assert found.visible == sum(final.values())
    assert found.size == sum(size or 0 for files in plan for size in files.values())
    assert found.hidden == sum(each.size for each in found.paths) == sum(each.hidden for each in found.layers)
    assert found.hidden == found.size - found.visible == sum(each.hides for each in found.layers)


@pytest.mark.parametrize(
    ("path", "data", "kind"),
    [
        (b"/app/.env", b"DB_PASSWORD=hunter22\n", "environment file"),
        (b"/app/.env", b"DB_PASSWORD=changeme\nMODE=production\n", ""),
        (b"/app/.env.example", b"DB_PASSWORD=hunter22\n", ""),
        (
            f"{HOME}/.aws/credentials".encode(),
            b"[default]\naws_secret_access_key = abc\n",
            "cloud credentials",
        ),
        (b"/etc/app.conf", b"key = AKIAABCDEFGHIJKLMNOP\n", "token"),
        (b"/usr/share/doc/x.txt", b"AKIAABCDEFGHIJKLMNOP", ""),
        (b"/etc/shadow", b"root:*:1:0:::::\nx:!:1::\n", ""),
        (b"/etc/ssl/cert.pem", b"-----BEGIN CERTIFICATE-----\n", ""),
        (b"/etc/ssl/private.pem", KEY, "private key"),
        (b"/notes", KEY, ""),
    ],
)
def test_what_looks_like_a_secret(tmp_path: Path, path: bytes, data: bytes, kind: str) -> None:
    (tmp_path / "file").write_bytes(data)
    assert secrets.looks_like(path, os.fsencode(tmp_path / "file"), len(data)) == kind


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"Env": ["DB_PASSWORD=hunter22"]}, [("environment", "DB_PASSWORD")]),
        ({"Env": ["X=ghp_abcdefghijklmnopqrstuvwxyz0123456789"]}, [("environment", "X")]),
        ({"Env": ["URL=postgres://me:hunter22@db/x"]}, [("environment", "URL")]),
        ({"Env": ["PATH=/bin", "GPG_KEY=E3FF2839C048B25C084DEBE9B26995E310250568"]}, []),
        ({"Env": ["DB_PASSWORD_FILE=/run/secrets/db", "TOKEN=", "API_KEY=changeme", "TOKEN_TTL=3600"]}, []),
        ({"Env": ["PASSWORD=${FROM_OUTSIDE}", "TOKEN_URL=https://auth/token", "URL=http://me:$P@db"]}, []),
        ({"Labels": {"deploy.token": "abcdef123456", "version": "1"}}, [("label", "deploy.token")]),
        ({"Cmd": ["serve", "--password=hunter22"]}, [("command", "Cmd")]),
        ({"Entrypoint": ["serve", "--db-password", "hunter22"]}, [("command", "Entrypoint")]),
        ({"Cmd": ["serve", "--password-file", "/x", "--token", "-"]}, []),
        ({"Healthcheck": {"Test": ["CMD-SHELL", "curl http://me:hunter22@x"]}}, [("command", "Healthcheck")]),
        ({"Env": None, "Labels": None, "Cmd": None, "Healthcheck": None}, []),
    ],
)
def test_secrets_in_a_configuration(config: JSON, found: list[tuple[str, str]]) -> None:
    assert [each[:2] for each in configsecrets.find({"config": config})] == found


@pytest.mark.parametrize(
    ("text", "is_secret"),
    [
        ("RUN |1 NPM_TOKEN=abcdef123456 /bin/sh -c npm install", True),
        ("RUN /bin/sh -c export SECRET='a b c'; make", True),
        ("RUN /bin/sh -c curl https://me:hunter22@example.org/x", True),
        ("ARG NPM_TOKEN", False),
        ("RUN /bin/sh -c TOKEN=$(cat /run/token) make", False),
        ("RUN /bin/sh -c make --token=$TOKEN", False),
        ("RUN /bin/sh -c apt-get install -y passwd", False),
    ],
)
def test_secrets_in_a_history(text: str, is_secret: bool) -> None:
    found = configsecrets.find({"history": [{"created_by": "FROM x"}, {"created_by": text}]})
    assert [each[:2] for each in found] == ([("history", "step 2")] if is_secret else [])


def test_exported_and_imported_it_is_the_same_tree(
    store: Store, images: Images, mounts: Overlay, tmp_path: Path
) -> None:
    stores.new_container(store, "web", "a:1")
    inside = stores.change(
        store, mounts, "web", [("write", "new", b"new"), ("link", "twin", "new"), ("remove", "etc/one")]
    )
    first, second = io.BytesIO(), io.BytesIO()
    Changes(store).export("web", first)
    Changes(store).export("web", second)
    assert first.getvalue() == second.getvalue()
    Changes(store).export("web", f"{tmp_path}/out.tar")
    assert Path(f"{tmp_path}/out.tar").read_bytes() == first.getvalue()
    node = images.import_tree(f"{tmp_path}/out.tar", "flat", message="why", changes=["CMD sh"])
    assert (node.parent, node.tags, node.comment) == (None, ("flat:latest",), "why")
    assert stores.merged(store, mounts, "flat") == inside
    assert images.get("flat").config["config"] == {"Cmd": ["/bin/sh", "-c", "sh"]}
    first.seek(0)
    assert images.import_tree(first, "again").chain_id == node.chain_id
    images.save(["flat"], f"{tmp_path}/saved.tar")  # the layer gives the bytes that its digest says
    stores.remove_container(store, "web")
    assert stores.problems(store) == []


def test_a_layer_that_is_removed_while_it_is_saved_is_said_to_be(
    store: Store, images: Images, tmp_path: Path
) -> None:
    (tmp_path / "x.tar").write_bytes(simple_layer("x"))
    node = images.import_tree(f"{tmp_path}/x.tar", "flat")
    shutil.rmtree(store.layout.layer(node.chain_id))
    with pytest.raises(StoreError, match="it was removed meanwhile"):
        images.save(["flat"], f"{tmp_path}/saved.tar")
    assert not os.path.exists(tmp_path / "saved.tar")


@pytest.mark.parametrize(
    "fault", ["import.after-unpack", "import.after-sync", "import.after-rename", "import.before-commit"]
)
def test_an_import_that_is_killed_leaves_nothing(store: Store, tmp_path: Path, fault: str) -> None:
    (tmp_path / "x.tar").write_bytes(simple_layer("x"))
    killed = stores.in_process(store, "images.import_tree(args[0], 'x')", f"{tmp_path}/x.tar", fault=fault)
    assert killed.returncode == -9
    again = Store(store.layout.root)
    assert stores.problems(again) == []
    assert not Images(again).has_any()
    Images(again).import_tree(f"{tmp_path}/x.tar", "x")
    again.close()


def test_a_bad_import_leaves_nothing(store: Store, tmp_path: Path) -> None:
    images = Images(store)
    with pytest.raises(ArchiveError):
        images.import_tree(io.BytesIO(simple_layer("x")[:700]), "x")
    with pytest.raises(ArchiveError):
        images.import_tree(io.BytesIO(tars.tar(tars.file("../x", b"x"))), "x")
    with pytest.raises(UsageError):
        images.import_tree(io.BytesIO(simple_layer("x")), "x", changes=["FROM y"])
    assert stores.problems(store) == []
    assert not images.has_any()
