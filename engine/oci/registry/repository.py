"""One repository of a registry: its manifests, tags and blobs (distribution-spec 1.1)."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from io import FileIO
from typing import NamedTuple

import httpx
import msgspec

from engine.errors import ArchiveError, NotFoundError
from engine.oci import documents
from engine.oci.registry.connection import Connection
from engine.oci.registry.failures import BrokenError

MAX_MANIFEST = 4 << 20
"""Bytes: what registries have to take (distribution-spec, "Pushing Manifests"); nobody relies on more."""
ACCEPTED = (*documents.MANIFESTS, *documents.INDEXES)
_MAX_TAGS = 100_000
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")
_READ = 1 << 20
_PROGRESS_THAT_COUNTS = 1 << 20
"""Bytes after which a download that broke again is no repeated failure."""


class Document(NamedTuple):
    """A manifest or an index as it came, verified."""

    body: bytes
    media_type: str
    digest: str


class _TagList(msgspec.Struct, frozen=True):
    tags: list[str] | None = None


class Repository:
    """A repository on one host. May be used from several threads."""

    def __init__(self, connection: Connection, name: str) -> None:
        self.connection = connection
        self.name = f"{connection.prefix}{name}"
        self._pull = (f"repository:{self.name}:pull",)

    # Documents

    def manifest(self, target: str, media_type: str | None = None) -> Document:
        """The manifest or index that *target* (a tag or a digest) names.

        *media_type* is what the index that names it says. Raises NotFoundError, DeniedError, RegistryError,
        and ArchiveError for what is not what it was said to be.
        """
        connection = self.connection
        response = connection.request(
            "GET",
            connection.url(f"{self.name}/manifests/{target}"),
            self._pull,
            headers={"Accept": ", ".join(ACCEPTED)},
            limit=MAX_MANIFEST,
        )
        if response.status_code == 404:
            raise self._not_found(target)
        connection.check(response, 200)
        body = response.content
        digest = documents.digest_of(body)
        claimed = target if target.startswith("sha256:") else response.headers.get("Docker-Content-Digest")
        if claimed and claimed.startswith("sha256:") and claimed != digest:
            raise _damaged("manifest", claimed, digest)
        said = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        return Document(body, _settled_type(body, said, media_type), digest)

    def tags(self) -> list[str]:
        """All tags. Raises NotFoundError, DeniedError, RegistryError."""
        connection = self.connection
        url = connection.url(f"{self.name}/tags/list")
        found: dict[str, None] = {}
        while True:
            response = connection.request("GET", url, self._pull, limit=MAX_MANIFEST)
            if response.status_code == 404:
                raise self._not_found(None)
            connection.check(response, 200)
            page = documents.decode(response.content, _TagList, "the list of tags").tags or []
            for tag in page:
                if not _TAG.fullmatch(tag):
                    raise connection.wrong(f"{tag[:40]!r} is no tag")
            before = len(found)
            found.update(dict.fromkeys(page))
            following = response.links.get("next", {}).get("url")
            if not following:
                return list(found)
            url = connection.following(response, following)
            if not connection.is_own(url):
                raise connection.wrong(f"its list of tags goes on at {url}")
            if len(found) == before or len(found) > _MAX_TAGS:
                raise connection.wrong("its list of tags does not end")

    def document(self, blob: documents.Descriptor, what: str) -> bytes:
        """A small blob, verified. Raises ArchiveError, RegistryError."""
        if blob.size > documents.MAX_DOCUMENT:
            raise ArchiveError(f"the {what} is too large", f"{blob.size} bytes")
        response = self.connection.request("GET", self._blob(blob.digest), self._pull, limit=blob.size)
        self.connection.check(response, 200)
        if (digest := documents.digest_of(response.content)) != blob.digest:
            raise _damaged(what, blob.digest, digest)
        return response.content

    def has_blob(self, digest: str, scopes: tuple[str, ...] | None = None) -> bool:
        """Whether the registry has the blob here."""
        response = self.connection.request("HEAD", self._blob(digest), scopes or self._pull)
        if response.status_code == 404:
            return False
        self.connection.check(response, 200)
        return True

    # Layers

    def download(
        self,
        digest: str,
        size: int,
        file: FileIO,
        advance: Callable[[int], None],
        elsewhere: str | None = None,
    ) -> None:
        """Complete *file*, which has the first bytes of the blob *digest* or none, to all its *size* bytes.

        A download that breaks goes on where it was. *advance* gets the bytes that are here since its last
        call, negative where they came for nothing. What is damaged is thrown away. *elsewhere* is the address
        of a layer that registries do not keep. Raises NotFoundError, RegistryError, ArchiveError, OSError.
        """
        url = elsewhere or self._blob(digest)
        if elsewhere:
            self.connection.check_led(elsewhere)
        part = _Part(file, size, advance)
        with contextlib.ExitStack() as unless_whole:
            unless_whole.callback(lambda: advance(-part.done))
            self._fill(part, url)
            if part.digest() != digest and part.pieces > 1:  # perhaps the pieces are not of one blob
                part.restart()
                self._fill(part, url)
            if (actual := part.digest()) != digest:
                part.restart()
                raise _damaged("blob", digest, actual)
            unless_whole.pop_all()

    def _fill(self, part: _Part, url: str) -> None:
        attempt = 0
        while part.done < part.size:
            before = part.done
            try:
                self._piece(part, url)
            except BrokenError as error:
                attempt = 0 if part.done - before >= _PROGRESS_THAT_COUNTS else attempt + 1
                if attempt >= self.connection.patience.attempts:
                    raise
                self.connection.wait(error, attempt)

    def _piece(self, part: _Part, url: str) -> None:
        """What the registry gives at once of what is missing."""
        headers = {"Range": f"bytes={part.done}-"} if part.done else {}
        connection = self.connection
        with connection.answer("GET", url, self._pull, headers=headers) as response:
            if response.status_code == 404:
                raise NotFoundError(
                    f"{connection.registry} has no {url.rpartition('/')[2][:19]}", "it was removed"
                )
            if response.status_code == 416:
                part.restart()
                raise BrokenError(f"{connection.registry} cannot go on", "it does not know the range")
            connection.check(response, 200, 206)
            if response.status_code == 200:
                part.restart()
            end = self._announced_end(response, part)
            part.pieces += 1
            for chunk in connection.chunks(response):
                part.add(chunk)
        if part.done < end:
            raise BrokenError(f"the connection to {connection.registry} broke", "it ended too early")

    def _announced_end(self, response: httpx.Response, part: _Part) -> int:
        """Where in the blob the body of *response* ends; it begins where *part* does."""
        length = response.headers.get("Content-Length", "")
        end = part.done + int(length) if re.fullmatch(r"[0-9]{1,18}", length) else part.size
        total = end
        if response.status_code == 206:
            said = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if said is None or int(said[1]) != part.done or int(said[2]) < part.done:
                part.restart()
                why = "it sends another range than it was asked for"
                raise BrokenError(f"{self.connection.registry} cannot go on", why)
            end = int(said[2]) + 1
            total = int(said[3]) if said[3] != "*" else part.size
        if total != part.size or end > total:
            raise ArchiveError(
                "a blob has the wrong size",
                f"{self.connection.registry} announces {max(total, end)} bytes, not {part.size}",
                "tell its administrator",
            )
        return end

    def _blob(self, digest: str) -> str:
        return self.connection.url(f"{self.name}/blobs/{digest}")

    def _not_found(self, target: str | None) -> NotFoundError:
        separator = "@" if target and target.startswith("sha256:") else ":"
        name = f"{self.name}{separator}{target}" if target else self.name
        return NotFoundError(f"{self.connection.registry} has no {name}", "", "look at the name and the tag")


class _Part:
    """A blob as far as it is here, in a file that may have its beginning already."""

    def __init__(self, file: FileIO, size: int, advance: Callable[[int], None]) -> None:
        self._file = file
        self._advance = advance
        self._hash = sha256()
        self.size = size
        self.done = 0
        self.pieces = 0
        if file.seek(0, os.SEEK_END) > size:
            file.truncate(0)
        file.seek(0)
        while data := file.read(_READ):
            self._hash.update(data)
            self.done += len(data)
        self.pieces = 1 if self.done else 0
        advance(self.done)

    def add(self, data: bytes) -> None:
        """The next bytes. Raises ArchiveError for more than there should be."""
        if self.done + len(data) > self.size:
            raise ArchiveError("a blob has the wrong size", f"it has more than {self.size} bytes")
        self._hash.update(data)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self.done += len(data)
        self._advance(len(data))

    def restart(self) -> None:
        """Forget all that came."""
        self._file.truncate(0)
        self._file.seek(0)
        self._advance(-self.done)
        self._hash, self.done, self.pieces = sha256(), 0, 0

    def digest(self) -> str:
        """Of what came so far."""
        return f"sha256:{self._hash.hexdigest()}"


def _settled_type(body: bytes, said: str, announced: str | None) -> str:
    """What a document is, if all who speak of it agree (CVE-2021-41190). Raises ArchiveError."""
    inner = documents.decode(body, _Typed, "the manifest")
    claims = {claim for claim in (inner.media_type, announced, said if said in ACCEPTED else "") if claim}
    if len(claims) > 1:
        raise ArchiveError("the manifest is not valid", f"it is said to be {' and '.join(sorted(claims))}")
    kind = claims.pop() if claims else said
    if kind not in ACCEPTED:
        old = "it is of docker's schema 1, which is given up" if "v1" in kind and "docker" in kind else ""
        raise ArchiveError("this is not a container image", old or f"its type is {kind or 'not said'}")
    return kind


class _Typed(msgspec.Struct, frozen=True, rename="camel"):
    media_type: str = ""


def _damaged(what: str, expected: str, actual: str) -> ArchiveError:
    return ArchiveError(
        f"the {what} {expected[:19]} is damaged", f"its bytes have the digest {actual[:19]}", "try again"
    )


def chunks_of(path: str, offset: int, size: int, advance: Callable[[int], None]) -> Iterator[bytes]:
    """The file *path* from *offset* to *size*, in pieces that are good to send."""
    with open(path, "rb") as file:
        file.seek(offset)
        while offset < size and (data := file.read(min(1 << 18, size - offset))):
            offset += len(data)
            advance(len(data))
            yield data
