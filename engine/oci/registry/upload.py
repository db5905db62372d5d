"""Blobs and manifests on their way into a repository (distribution-spec 1.1, "Push").

A blob goes in one request. If that breaks, the registry is asked how much it has, and the rest follows; if it
has forgotten the upload, another is begun.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx

from engine.errors import DeniedError, RegistryError
from engine.oci.registry.connection import Connection
from engine.oci.registry.failures import BrokenError
from engine.oci.registry.repository import Document, Repository, chunks_of

_OCTETS = "application/octet-stream"


class Uploads:
    """What `push` does in one repository. May be used from several threads."""

    def __init__(self, connection: Connection, name: str) -> None:
        self.connection = connection
        self.name = f"{connection.prefix}{name}"
        self._repository = Repository(connection, name)
        self._scopes = (f"repository:{self.name}:pull,push",)
        self._begun: dict[str, str] = {}

    def has(self, digest: str) -> bool:
        """Whether the blob is there already."""
        return self._repository.has_blob(digest, self._scopes)

    def mount(self, digest: str, source: str) -> bool:
        """Have the registry take the blob from its repository *source*; False if it does not.

        Raises BrokenError.
        """
        url = self.connection.url(f"{self.name}/blobs/uploads/?mount={digest}&from={source}")
        scopes = (*self._scopes, f"repository:{source}:pull")
        try:
            response = self.connection.request("POST", url, scopes, content=b"")
        except DeniedError:  # that repository is none of ours
            return False
        if response.status_code == 202:  # an upload was begun instead
            self._begun[digest] = self.connection.location(response)
        return response.status_code == 201

    def blob(self, digest: str, size: int, path: str, advance: Callable[[int], None]) -> None:
        """Send the file *path* as the blob *digest*. Raises RegistryError, DeniedError."""
        sent = _Sent(advance)
        location = self._begun.pop(digest, None)
        offset = 0
        for attempt in range(self.connection.patience.attempts):
            try:
                if location is None:
                    location, offset = self._begin(), 0
                sent.rewind(offset)
                if offset:
                    location = self._patch(location, offset, size, path, sent.add)
                    self._finish(location, digest, b"", 0)
                else:
                    self._finish(location, digest, chunks_of(path, 0, size, sent.add), size)
                return
            except BrokenError as error:
                if attempt + 1 == self.connection.patience.attempts:
                    raise
                self.connection.wait(error, attempt)
                if self.has(digest):  # it was the answer that got lost
                    return
                location, offset = self._where(location, size)

    def manifest(self, document: Document, target: str) -> None:
        """Put *document* there as *target*, a tag or its digest. Raises RegistryError."""
        response = self.connection.request(
            "PUT",
            self.connection.url(f"{self.name}/manifests/{target}"),
            self._scopes,
            headers={"Content-Type": document.media_type},
            content=document.body,
        )
        self.connection.check(response, 201)
        claimed = response.headers.get("Docker-Content-Digest", document.digest)
        if claimed != document.digest:
            raise RegistryError(
                f"{self.connection.registry} has changed the manifest", f"its digest is {claimed[:19]} there"
            )

    def _begin(self) -> str:
        url = self.connection.url(f"{self.name}/blobs/uploads/")
        response = self.connection.request("POST", url, self._scopes, content=b"")
        self.connection.check(response, 202)
        return self.connection.location(response)

    def _patch(self, location: str, offset: int, size: int, path: str, advance: Callable[[int], None]) -> str:
        headers = {
            "Content-Type": _OCTETS,
            "Content-Length": str(size - offset),
            "Content-Range": f"{offset}-{size - 1}",
        }
        response = self.connection.request(
            "PATCH", location, self._scopes, headers=headers, content=chunks_of(path, offset, size, advance)
        )
        self.connection.check(response, 202)
        return self.connection.location(response)

    def _finish(self, location: str, digest: str, content: object, size: int) -> None:
        url = httpx.URL(location)
        url = url.copy_with(params=url.params.set("digest", digest))
        headers = {"Content-Type": _OCTETS, "Content-Length": str(size)}
        response = self.connection.request(
            "PUT",
            str(url),
            self._scopes,
            headers=headers,
            content=content,  # type: ignore[arg-type]
        )
        if response.status_code in (404, 416):
            raise BrokenError(f"{self.connection.registry} has lost an upload", "", "try again")
        self.connection.check(response, 201, 204)

    def _where(self, location: str | None, size: int) -> tuple[str | None, int]:
        """Where an upload that broke goes on; nowhere: it has to be begun again."""
        if location is None:
            return None, 0
        try:
            response = self.connection.request("GET", location, self._scopes)
        except BrokenError:
            return None, 0
        received = re.fullmatch(r"(?:bytes=)?0-([0-9]{1,18})", response.headers.get("Range", ""))
        if response.status_code != 204 or received is None or "Location" not in response.headers:
            return None, 0
        offset = int(received[1]) + 1
        return (self.connection.location(response), offset) if 1 < offset < size else (None, 0)


class _Sent:
    """Reports what is sent; what is sent again is taken back first."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self._advance = advance
        self._done = 0

    def add(self, count: int) -> None:
        self._done += count
        self._advance(count)

    def rewind(self, offset: int) -> None:
        if offset != self._done:
            self._advance(offset - self._done)
            self._done = offset
