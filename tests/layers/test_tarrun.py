"""Runs of plain files are read to what the reader of all fields makes of each header by itself."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.errors import ArchiveError
from engine.layers.tarmember import Member
from engine.layers.tarread import TarReader
from engine.layers.tarrun import FileRuns
from tests.layers.tars import BLOCK, Entry, directory, file, tar

DIRECTORIES = ["", "a/", "d" * 60 + "/", "p" * 90 + "/" + "q" * 50 + "/", "r" * 120 + "/"]

entries = st.lists(
    st.builds(
        lambda where, name, size, mode, owner, mtime: file(
            where + name, bytes(size), mode=mode, uid=owner, gid=owner, uname=f"u{owner}", mtime=mtime
        ),
        st.sampled_from(DIRECTORIES),
        st.sampled_from(["x", "y" * 30, ".wh.z", "é" * 20]),
        st.sampled_from([0, 1, 512, 513]),
        st.sampled_from([0o644, 0o755, 0o4755]),
        st.sampled_from([0, 1000, 2**31]),
        st.sampled_from([0, 1, 1_700_000_000, 2**34, -1, 0.5]),
    )
    | st.sampled_from(DIRECTORIES[1:]).map(directory),
    max_size=12,
)


def members(data: bytes) -> list[tuple[Member, bytes]]:
    reader = TarReader(io.BytesIO(data))
    return [(member, reader.read_data()) for member in reader]


def alone(data: bytes) -> list[tuple[Member, bytes]]:
    """`members`, where no header is read as one more of a run."""
    reader = TarReader(io.BytesIO(data))
    found = []
    for member in reader:
        reader._runs.end()
        found.append((member, reader.read_data()))
    return found


@settings(deadline=None)
@given(entries, st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
@example([file("a/x"), file("a/y", uid=1), file("b/z", uid=1, mode=0o600)], tarfile.GNU_FORMAT)
def test_a_run_says_what_its_headers_say(wanted: list[Entry], form: int) -> None:
    try:
        data = tar(*wanted, form=form)
    except ValueError:
        return  # ustar has no words for all of these
    assert members(data) == alone(data)


def test_all_but_the_first_are_read_as_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Member] = []
    following = FileRuns.next

    def counted(runs: FileRuns, header: bytes) -> Member | None:
        member = following(runs, header)
        if member is not None:
            taken.append(member)
        return member

    monkeypatch.setattr(FileRuns, "next", counted)
    made = [file(f"etc/{number}", b"x" * number, mtime=number) for number in range(100)]
    assert [member.size for member, _ in members(tar(*made))] == list(range(100))
    assert [member.size for member in taken] == list(range(1, 100))


def test_a_global_header_ends_all_runs() -> None:
    before = tar(file("one", uid=1), file("two", uid=1)).rstrip(b"\0")
    plain = before + bytes(-len(before) % BLOCK)
    archive = io.BytesIO()
    with tarfile.open(
        fileobj=archive, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"uid": "7"}
    ) as after:
        after.addfile(tarfile.TarInfo("three"))
    found = [(member.name, member.uid) for member, _ in members(plain + archive.getvalue())]
    assert found == [(b"one", 1), (b"two", 1), (b"three", 7)]


@pytest.mark.parametrize("at", [0, 101, 125, 138, 148, 200, 300, 511])
def test_damage_within_a_run_is_noticed(at: int) -> None:
    data = bytearray(tar(file("one"), file("two"), file("three")))
    data[BLOCK + at] ^= 0x01
    with pytest.raises(ArchiveError):
        members(bytes(data))
