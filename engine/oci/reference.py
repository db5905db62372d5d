"""What people call images: names, tags, digests, and the nodes that they mean.

The grammar is the distribution project's reference grammar (distribution/reference): a domain is what has a
dot or a port or is ``localhost``, a name is lower case. As docker shows it, ``docker.io/library/`` is left
out.
"""

from __future__ import annotations

import re
from _sqlite3 import Connection

from engine.errors import AmbiguousError, ImageNotFoundError, UsageError
from engine.record import Record
from engine.store import records

DEFAULT_TAG = "latest"

_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
_REFERENCE = (
    rf"(?P<name>(?:{_DOMAIN}/)?{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_CHAIN = r"(?:sha256:)?([0-9a-f]{4,64})"
_MAX_NAME = 255


class Reference(Record):
    """A name as it was given, docker.io's own prefixes taken off."""

    name: str
    tag: str | None
    digest: str | None

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"


def parse(text: str) -> Reference:
    """Take a reference apart. Raises UsageError for what is none."""
    match = re.fullmatch(_REFERENCE, text)
    if not match or len(match["name"]) > _MAX_NAME:
        hint = "names are lower case" if text != text.lower() else "write it like name:tag"
        raise UsageError(
            f"{text!r} is not an image name", "it does not follow the grammar of references", hint
        )
    return Reference(_familiar(match["name"]), match["tag"], match["digest"])


def _familiar(name: str) -> str:
    """*name* without docker's own registry, unless what is left would seem to begin with another one."""
    for host in ("docker.io/", "index.docker.io/"):
        if name.startswith(host):
            path = name.removeprefix(host)
            if path.count("/") == 1:
                path = path.removeprefix("library/")
            first, slash, _ = path.partition("/")
            return f"docker.io/{path}" if slash and is_registry(first) else path
    return name


def is_registry(component: str) -> bool:
    """Whether the first *component* of a name is a registry rather than a part of its path."""
    return "." in component or ":" in component or component == "localhost"


def normalise(text: str) -> str:
    """The form in which a tag is recorded: ``starter`` becomes ``starter:latest``.

    Raises UsageError for what is no name, or names a digest, which no tag can.
    """
    reference = parse(text)
    if reference.digest:
        raise UsageError(f"{text!r} cannot be a tag", "it names a digest", "leave out what follows the @")
    return f"{reference.name}:{reference.tag or DEFAULT_TAG}"


def resolve_image(connection: Connection, reference: str) -> tuple[str, str | None]:
    """The chain ID that *reference* means, and the manifest that it is used with, if it has one.

    A tag (also one below ``localhost/``, as podman and buildah call what they made), ``name@sha256:…`` of a
    manifest or of the index by which it came, or a prefix of a chain ID that is unique. Raises
    ImageNotFoundError, AmbiguousError, or UsageError for what could not name anything.
    """
    if manifest := _recorded(connection, reference):
        return _node_of(connection, manifest), manifest
    digits = re.fullmatch(_CHAIN, reference)
    if not reference.startswith("sha256:"):
        try:
            parsed = parse(reference)
        except UsageError:
            if not digits:
                raise
        else:
            if manifest := _manifest(connection, parsed):
                return _node_of(connection, manifest), manifest
    if digits:
        matches = records.nodes_by_prefix(connection, digits[1])
        if len(matches) == 1:
            manifests = records.manifests_of_node(connection, matches[0])
            return matches[0], manifests[0] if manifests else None
        if matches:
            shown = ", ".join(match[7:19] for match in matches[:8]) + (", …" if len(matches) > 8 else "")
            raise AmbiguousError(
                f"{reference} is ambiguous", f"it matches {shown}", "give more digits or a tag"
            )
    raise ImageNotFoundError(
        f"no image {reference}",
        "no tag, digest or chain ID matches",
        "look at cowl images, make one with cowl starter, or get one with cowl pull",
    )


def index_of(connection: Connection, reference: str) -> str | None:
    """The index by which the image came that *reference* means by its tag, or by the digest of that index."""
    from engine.store import indexes

    parsed = parse(reference) if re.fullmatch(_REFERENCE, reference) else None
    if parsed is None:
        return None
    if parsed.digest:
        return parsed.digest if indexes.document(connection, parsed.digest) else None
    name = f"{parsed.name}:{parsed.tag or DEFAULT_TAG}"
    return indexes.of_tag(connection, name) or indexes.of_tag(connection, f"localhost/{name}")


def _recorded(connection: Connection, reference: str) -> str | None:
    """The manifest of a tag written as it is recorded: most are, and need no grammar (compiling it: 1 ms)."""
    if reference.startswith("sha256:"):
        return None
    tagged = ":" in reference.rpartition("/")[2]
    return records.find_tag(connection, reference if tagged else f"{reference}:{DEFAULT_TAG}")


def _manifest(connection: Connection, reference: Reference) -> str | None:
    if reference.digest:
        if records.manifest_row(connection, reference.digest):
            return reference.digest
        from engine.store import indexes

        return indexes.manifest_of(connection, reference.digest)
    name = f"{reference.name}:{reference.tag or DEFAULT_TAG}"
    return records.find_tag(connection, name) or records.find_tag(connection, f"localhost/{name}")


def _node_of(connection: Connection, manifest: str) -> str:
    row = connection.execute("SELECT chain_id FROM manifests WHERE digest = ?", (manifest,)).fetchone()
    chain_id: str = row[0]
    return chain_id
