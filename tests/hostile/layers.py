"""Layers that want out: paths, links, marks, nodes and attributes."""

from __future__ import annotations

from tests.hostile.kinds import UP, entries, header, padded, pax, raw, record
from tests.layers.tars import Entry, directory, file, link, node, symlink, tar

DEAD = b"dead"

# Paths


@entries(r"'\.\.'")
def dots_to_the_outside(outside: str) -> list[Entry]:
    return [file(f"{UP}{outside}/secret", DEAD)]


@entries(r"'\.\.'")
def dots_within_a_path(outside: str) -> list[Entry]:
    return [directory("a"), file(f"a/b/../../../{outside}/secret", DEAD)]


@entries(r"'\.\.'")
def dots_that_would_stay_inside(outside: str) -> list[Entry]:
    return [directory("a"), file("a/../b", DEAD)]


@entries(None)
def an_absolute_path(outside: str) -> list[Entry]:
    return [file(f"{outside}/secret", DEAD), directory(outside, mode=0o777)]


@entries(None)
def slashes_and_dots_without_end(outside: str) -> list[Entry]:
    return [file("/" * 300 + "./" * 300 + "a" + "/." * 100, DEAD)]


@raw("NUL")
def a_name_with_nul(outside: str) -> bytes:
    return pax(record(b"path", b"a\0/../../b"))


@raw("NUL")
def a_target_with_nul(outside: str) -> bytes:
    return pax(record(b"linkpath", b"a\0b"), entry=b"2")


@entries(None)
def names_with_newlines_and_escapes(outside: str) -> list[Entry]:
    return [file("a\nb\r\x1b[2J\x07", DEAD), symlink("\u202eexe.txt", "a\nb")]


@entries("File name too long")
def a_name_longer_than_the_kernel_takes(outside: str) -> list[Entry]:
    return [file("n" * 256, DEAD)]


@entries("longer than any system call")
def a_path_longer_than_the_kernel_takes(outside: str) -> list[Entry]:
    return [file("n" * 200 + "/" + "m/" * 3000 + "x", DEAD)]


@entries("longer than any system call")
def ten_thousand_directories_deep(outside: str) -> list[Entry]:
    return [directory("d/" * 10_000)]


@entries("longer than any system call")
def deeper_and_deeper_through_links(outside: str) -> list[Entry]:
    made = [directory("d" * 200)]
    for number in range(40):
        made += [symlink(f"l{number}", (f"l{number - 1}" if number else "") + "/" + "d" * 200)]
        made += [directory(f"l{number}/{'d' * 200}")]
    return made


@raw("NUL|empty|refused")
def an_empty_name_that_is_a_file(outside: str) -> bytes:
    return header(b"", size=b"%011o\0" % 4) + padded(DEAD) + bytes(1024)


# Links


@entries("leads out of what the layer contains")
def through_an_absolute_link(outside: str) -> list[Entry]:
    return [symlink("l", outside), file("l/secret", DEAD)]


@entries("leads out of what the layer contains")
def through_a_relative_link(outside: str) -> list[Entry]:
    return [symlink("l", UP + outside), file("l/made", DEAD)]


@entries("leads out of what the layer contains")
def through_a_link_to_a_link(outside: str) -> list[Entry]:
    return [symlink("a", outside), symlink("b", "./a"), directory("b/made")]


@entries("leads out of what the layer contains")
def a_directory_swapped_for_a_link(outside: str) -> list[Entry]:
    return [directory("d"), file("d/a"), symlink("d", outside), file("d/secret", DEAD)]


@entries("leads out of what the layer contains")
def an_owner_given_through_a_link(outside: str) -> list[Entry]:
    return [symlink("l", outside), directory("l/dir", uid=7, mode=0o777)]


@entries(None)
def a_mode_given_to_a_link_out(outside: str) -> list[Entry]:
    return [
        symlink(
            "l", f"{outside}/secret", uid=7, mode=0o4777, mtime=1, pax_headers={"SCHILY.xattr.user.a": "b"}
        )
    ]


@entries(None)
def a_directory_in_place_of_a_link(outside: str) -> list[Entry]:
    return [symlink("l", outside), directory("l", mode=0o777, uid=7), file("l/secret", DEAD)]


@entries("too many links")
def links_in_a_ring(outside: str) -> list[Entry]:
    return [symlink("a", "b"), symlink("b", "c"), symlink("c", "a"), file("a/x")]


@entries("too many links")
def links_that_double(outside: str) -> list[Entry]:
    made = [symlink("l0", "d"), directory("d")]
    made += [symlink(f"l{number}", f"l{number - 1}/../l{number - 1}") for number in range(1, 60)]
    return [*made, file("l59/x", DEAD)]


@entries("does not contain as a file|'\\.\\.'")
def a_hard_link_to_the_outside(outside: str) -> list[Entry]:
    return [link("h", f"{UP}{outside}/secret"), file("h", DEAD)]


@entries("does not contain as a file")
def a_hard_link_to_an_absolute_path(outside: str) -> list[Entry]:
    return [directory(outside), link("h", f"{outside}/secret"), file("h", DEAD)]


@entries("leads out of what the layer contains")
def a_hard_link_through_a_link(outside: str) -> list[Entry]:
    return [symlink("l", outside), link("h", "l/secret")]


@entries("leads out of what the layer contains")
def a_hard_link_into_a_link(outside: str) -> list[Entry]:
    return [file("f", DEAD), symlink("l", outside), link("l/h", "f")]


@entries(None)
def a_hard_link_to_a_link(outside: str) -> list[Entry]:
    return [symlink("l", f"{outside}/secret"), link("h", "l", mode=0o777, uid=7), file("h", DEAD, mode=0o777)]


@entries("does not contain as a file")
def a_hard_link_to_a_directory(outside: str) -> list[Entry]:
    return [directory("d"), link("d/e", "d")]


@entries("hard link to itself")
def a_hard_link_to_itself(outside: str) -> list[Entry]:
    return [file("h"), link("./h", "h")]


@entries("does not contain|leads out of what")
def a_hard_link_to_a_lower_layer(outside: str) -> list[Entry]:
    return [link("h", "etc/passwd")]


@entries("link to nowhere")
def a_link_without_target(outside: str) -> list[Entry]:
    return [symlink("l", "")]


@entries("File name too long")
def a_target_longer_than_the_kernel_takes(outside: str) -> list[Entry]:
    return [symlink("l", "t/" * 3000)]


# The root


@entries("replace the root")
def the_root_as_a_link(outside: str) -> list[Entry]:
    return [symlink("./", outside), file("secret", DEAD)]


@entries("replace the root")
def the_root_as_a_file(outside: str) -> list[Entry]:
    return [file("/", DEAD)]


@entries("hard link to what")
def a_hard_link_to_the_root(outside: str) -> list[Entry]:
    return [link("h", "/")]


@entries(None)
def the_root_as_a_directory_of_nobody(outside: str) -> list[Entry]:
    return [directory("/", mode=0, uid=12345), directory(".", mode=0o7777)]


# Marks


@entries("delete the root")
def a_whiteout_of_nothing(outside: str) -> list[Entry]:
    return [file(".wh.")]


@entries("delete the root")
def a_whiteout_of_the_root(outside: str) -> list[Entry]:
    return [file(".wh..")]


@entries("delete the root")
def a_whiteout_of_the_parent(outside: str) -> list[Entry]:
    return [file("etc/.wh...")]


@entries(None)
def a_whiteout_of_the_target_of_a_link(outside: str) -> list[Entry]:
    return [symlink("l", outside), file("l/.wh.secret"), file("l/dir/.wh.inner")]


@entries(None)
def a_whiteout_of_a_link(outside: str) -> list[Entry]:
    return [symlink("l", outside), file(".wh.l")]


@entries(None)
def an_opaque_mark_in_a_link(outside: str) -> list[Entry]:
    return [symlink("l", outside), file("l/.wh..wh..opq")]


@entries(None)
def marks_of_aufs(outside: str) -> list[Entry]:
    return [
        file(".wh..wh.foo", DEAD),
        directory(".wh..wh.plnk"),
        file(".wh..wh.orph"),
        file("etc/.wh..wh.passwd"),
    ]


@entries("whiteout has no children")
def children_of_a_whiteout(outside: str) -> list[Entry]:
    return [file(".wh.a/b", DEAD)]


@entries(None)
def a_whiteout_that_is_a_link_or_directory(outside: str) -> list[Entry]:
    return [symlink(".wh.a", outside), directory(".wh.b"), node(".wh.c", "fifo"), link(".wh.d", "etc")]


@entries(None)
def whiteouts_of_what_is_not_there(outside: str) -> list[Entry]:
    return [file(f"no/such/{number}/.wh.x") for number in range(300)]


@entries("a file stands")
def a_child_of_a_file(outside: str) -> list[Entry]:
    return [file("f", DEAD), file("f/g", DEAD)]


# Nodes


@entries(None)
def a_disk_that_is_written_through(outside: str) -> list[Entry]:
    return [node("d", "block", devmajor=8, devminor=0, mode=0o666), file("d", DEAD * 300)]


@entries(None)
def a_terminal_that_is_written_through(outside: str) -> list[Entry]:
    return [
        node("c", "char", devmajor=5, devminor=0),
        file("c", DEAD),
        node("m", "char", devmajor=1, devminor=1),
    ]


@entries("a file stands")
def a_fifo_as_a_parent(outside: str) -> list[Entry]:
    return [node("p", "fifo"), file("p/x", DEAD)]


@entries(None)
def a_fifo_that_is_written_to(outside: str) -> list[Entry]:
    return [node("p", "fifo"), file("p", DEAD), node("p", "fifo"), link("q", "p")]


@entries(None)
def a_device_that_is_a_whiteout(outside: str) -> list[Entry]:
    return [node("etc/passwd", "char", devmajor=0, devminor=0)]


@raw("impossible number")
def a_device_beyond_all_numbers(outside: str) -> bytes:
    return header(b"d", b"3", major=b"\x80\xff\xff\xff\xff\xff\xff\xff") + bytes(1024)


# Modes and attributes


@entries(None)
def set_user_id_programs(outside: str) -> list[Entry]:
    capability = "\x01\x00\x00\x02\x00 \x00\x00" + "\x00" * 12
    return [
        file("su", DEAD, mode=0o6755),
        file("ping", DEAD, pax_headers={"SCHILY.xattr.security.capability": capability}),
    ]


@entries("Invalid argument")
def a_capability_that_is_none(outside: str) -> list[Entry]:
    return [file("ping", DEAD, pax_headers={"SCHILY.xattr.security.capability": "none"})]


@entries(None)
def attributes_of_overlayfs(outside: str) -> list[Entry]:
    made = []
    for space in ("trusted", "user"):
        for name, value in (
            ("redirect", outside),
            ("opaque", "y"),
            ("metacopy", ""),
            ("origin", "x"),
            ("overlay.x", "y"),
        ):
            made.append(
                directory(f"{space}-{name}", pax_headers={f"SCHILY.xattr.{space}.overlay.{name}": value})
            )
    return made


@entries(None)
def labels_of_the_hosts_policy(outside: str) -> list[Entry]:
    labels = {
        "selinux": "system_u:object_r:shadow_t:s0",
        "ima": "x",
        "evm": "x",
        "SMACK64": "_",
        "apparmor": "x",
    }
    return [
        file(name, DEAD, pax_headers={f"SCHILY.xattr.security.{name}": value})
        for name, value in labels.items()
    ]


@raw("proper name|keyword")
def an_attribute_without_a_name(outside: str) -> bytes:
    return pax(record(b"SCHILY.xattr.", b"x"))


@raw("more extended attributes")
def a_hundred_thousand_attributes(outside: str) -> bytes:
    return pax(*(record(b"SCHILY.xattr.trusted.%d" % number, b"v" * 9) for number in range(100_000)))


@raw("Argument list too long")
def an_attribute_of_a_megabyte(outside: str) -> bytes:
    return pax(record(b"SCHILY.xattr.trusted.big", b"v" * (1 << 20)))


@entries(None)
def the_last_of_many_kinds(outside: str) -> list[Entry]:
    kinds = [
        file("x", DEAD),
        directory("x"),
        file("x/in", DEAD),
        symlink("x", outside),
        node("x", "fifo"),
        node("x", "char", devmajor=1, devminor=3),
        node("x", "block", devmajor=8),
        directory("x"),
        symlink("x", outside),
    ]
    return kinds * 40


def million(count: int, kind: str = "file") -> bytes:
    """A layer of *count* entries of one kind, spread over directories."""
    import io

    out = io.BytesIO()
    make = {"file": file, "directory": directory, "whiteout": lambda name: file(_marked(name))}[kind]
    piece = 1000
    for start in range(0, count, piece):
        chunk = tar(
            *(make(f"{number // 1000}/{number}") for number in range(start, min(start + piece, count)))
        )
        out.write(_without_end(chunk))
    return out.getvalue() + bytes(1024)


def _marked(name: str) -> str:
    parent, _, last = name.rpartition("/")
    return f"{parent}/.wh.{last}"


def _without_end(chunk: bytes) -> bytes:
    """*chunk* without the zeros at its end, up to the last block that has something in it."""
    length = len(chunk.rstrip(b"\0"))
    return chunk[: length + -length % 512]
