"""Images as the façade offers them. What is heavy is imported where it is used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO, Literal, TypeAlias

from engine.errors import CowlError
from engine.model import JSON, Image, Node, ProgressCallback, Removal
from engine.oci import reference
from engine.store.store import Store

if TYPE_CHECKING:
    from engine.images.pull import Pulled
    from engine.images.usage import Usage
    from engine.images.waste import Waste

Names: TypeAlias = list[str]
Documents: TypeAlias = list[JSON]
Pulls: TypeAlias = "list[Pulled]"


class Images:
    """The forest of one store: nodes, tags, archives. Every method may be called from any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def has_any(self) -> bool:
        """Whether there is any node."""
        return self._store.connection.execute("SELECT 1 FROM nodes LIMIT 1").fetchone() is not None

    def forest(self) -> list[Node]:
        """Every node: parents first, each tree in one piece, siblings by time and chain ID."""
        from engine.images import forest

        with self._store.read() as connection:
            return forest.forest(connection)

    def list(self) -> list[Image]:
        """Every tag with what it names, by name."""
        from engine.images import forest

        with self._store.read() as connection:
            return forest.images(connection)

    def resolve(self, name: str) -> Node:
        """The node that *name* means: a tag, ``name@sha256:…``, or a unique prefix of a chain ID.

        Raises NotFoundError, AmbiguousError, UsageError.
        """
        from engine.images import forest

        with self._store.read() as connection:
            chain_id, _ = reference.resolve_image(connection, name)
            found = forest.node(connection, chain_id)
        assert found is not None
        return found

    def get(self, name: str) -> Image:
        """What *name* means, with its configuration: a derived one for a mere part of images."""
        from engine.oci.configuration import configuration

        with self._store.read() as connection:
            chain_id, manifest = reference.resolve_image(connection, name)
            config = configuration(connection, chain_id, manifest)
        return Image(name, manifest or "", chain_id, config)

    def history(self, name: str) -> Documents:
        """How the image came about, newest first. Raises NotFoundError, AmbiguousError, UsageError."""
        from engine.images import forest

        with self._store.read() as connection:
            return forest.history_of(connection, *reference.resolve_image(connection, name))

    def inspect(self, name: str) -> JSON:
        """All that is known of it, as one document. Raises NotFoundError, AmbiguousError, UsageError."""
        from engine.images import forest

        with self._store.read() as connection:
            return forest.inspection(connection, *reference.resolve_image(connection, name))

    def tag(self, source: str, name: str) -> None:
        """Let *name* mean what *source* means. Raises NotFoundError, AmbiguousError, UsageError."""
        from engine.images import tagging

        tagging.tag(self._store, source, name)
        self._tell("tag", reference.normalise(name))

    def untag(self, names: Sequence[str]) -> Names:
        """Take tags off what they mean, which stays, and return them. Raises NotFoundError, UsageError."""
        from engine.images import tagging
        from engine.store import events

        done = []
        for name in names:
            done.append(tagging.untag(self._store, name))
            events.record(self._store.layout, "image", "untag", "", done[-1])
        return done

    def removal(self, names: Sequence[str]) -> Removal:
        """What `remove` would take away, and why not. Raises NotFoundError, AmbiguousError, UsageError."""
        from engine.images import removal

        return removal.preview(self._store, names)

    def remove(self, names: Sequence[str]) -> Removal:
        """Remove names, and nodes that nothing else needs. Raises InUseError, NotFoundError, …"""
        from engine.images import removal

        removed = removal.remove(self._store, names)
        self._tell_removed(removed, names)
        return removed

    def load(
        self,
        source: str | BinaryIO,
        progress: ProgressCallback | None = None,
        *,
        all_platforms: bool = False,
    ) -> Names:
        """Load every image of an archive, a layout directory or a stream; returns their names.

        An index comes with what the archive has of it; with *all_platforms* all has to be there. Raises
        ArchiveError for what is damaged, hostile or no image; NotFoundError; NoSpaceError; StoreError.
        """
        from engine.images import load

        names = load.load(self._store, source, progress, all_platforms=all_platforms)
        self._tell("load", *names)
        return names

    def save(
        self,
        names: Sequence[str],
        destination: str | BinaryIO,
        format: Literal["oci-archive", "oci-dir", "docker-archive"] = "oci-archive",  # noqa: A002 - the word of the command line
        progress: ProgressCallback | None = None,
        *,
        platform: str | None = None,
    ) -> None:
        """Write images as an archive or layout that others read: a path, or a stream for archives.

        One that is here for all platforms of its index goes for all of them, or for *platform* alone. Raises
        NotFoundError, AmbiguousError, UsageError, ConflictError, NoSpaceError, StoreError.
        """
        from engine.images import save

        save.save(self._store, names, destination, format, progress, platform=platform)
        self._tell("save", *names)

    def pull(
        self,
        name: str,
        *,
        platform: str | None = None,
        all_tags: bool = False,
        all_platforms: bool = False,
        plain_http: bool = False,
        progress: ProgressCallback | None = None,
    ) -> Pulls:
        """Pull an image, or all of its repository, from a registry; says of each whether it was here.

        *platform* is ``os/arch[/variant]``; with *all_platforms* the images for all machines come. Progress
        comes layer by layer, its step is ``downloading`` or ``unpacking`` and twelve digits; it may come from
        several threads. Raises UsageError, NotFoundError, DeniedError, RegistryError, ArchiveError,
        NoSpaceError, StoreError.
        """
        from engine.images import pull

        pulled = pull.pull(
            self._store,
            name,
            platform=platform,
            all_tags=all_tags,
            all_platforms=all_platforms,
            plain_http=plain_http,
            progress=progress,
        )
        self._tell("pull", *(each.name for each in pulled))
        return pulled

    def push(
        self,
        name: str,
        destination: str | None = None,
        *,
        platform: str | None = None,
        plain_http: bool = False,
        compress: Literal["gzip", "zstd", "none"] | None = None,
        progress: ProgressCallback | None = None,
    ) -> tuple[str, str]:
        """Push an image to a registry, as *destination* if given; returns its name and digest there.

        One that is here for all platforms of its index goes for all of them, or for *platform* alone. Raises
        NotFoundError, AmbiguousError, UsageError, DeniedError, RegistryError, NoSpaceError, StoreError.
        """
        from engine.images import push

        pushed = push.push(
            self._store,
            name,
            destination,
            platform=platform,
            plain_http=plain_http,
            compress=compress,
            progress=progress,
        )
        self._tell("push", name)
        return pushed

    def login(self, registry: str, username: str, password: str, *, plain_http: bool = False) -> str:
        """Make sure that a registry knows them, and keep them; returns where.

        Raises UsageError, DeniedError, RegistryError, StoreError.
        """
        from engine.images import login

        return login.login(self._store, registry, username, password, plain_http=plain_http)

    def logout(self, registry: str) -> Names:
        """Forget who one is at a registry; returns where that was kept.

        Raises UsageError, RegistryError, StoreError.
        """
        from engine.images import login

        return login.logout(registry)

    def starter(self, progress: ProgressCallback | None = None) -> Names:
        """Make ``starter:base`` and ``starter:latest`` from this host's own programs; returns their names.

        Nothing changes if they are there and up to date. Raises UnsupportedError where this host has no
        shell.
        """
        from engine.images import starter

        return starter.make(self._store, progress)

    def prunable(self, everything: bool = False, without: Sequence[str] = ()) -> Removal:
        """What `prune` would take away; *without* are IDs of containers to be thought away."""
        from engine.images import prune

        return prune.preview(self._store, everything, without)

    def prune(self, everything: bool = False) -> Removal:
        """Remove images without a name and a container; with *everything*, also those with a name.

        Raises StoreError.
        """
        from engine.images import prune

        removed = prune.prune(self._store, everything)
        self._tell_removed(removed, ())
        return removed

    def usage(self) -> Usage:
        """Who takes how much of the store: shared and exclusive bytes of each image."""
        from engine.images import usage

        return usage.usage(self._store)

    def waste(self, name: str) -> Waste:
        """What layering costs the image, and what it should not hold.

        Raises NotFoundError, AmbiguousError, UsageError, StoreError.
        """
        from engine.images import waste
        from engine.oci.configuration import configuration
        from engine.store import records

        with self._store.read() as connection:
            chain_id, manifest = reference.resolve_image(connection, name)
            config = configuration(connection, chain_id, manifest)
            chain = records.lineage(connection, chain_id)[::-1]
        return waste.waste([(each, self._store.layout.tree(each)) for each in chain], config)

    def import_tree(
        self,
        source: str | BinaryIO,
        name: str,
        *,
        message: str = "",
        changes: Sequence[str] = (),
        progress: ProgressCallback | None = None,
    ) -> Node:
        """Make an image *name* of one layer from the tar of a root file system.

        Raises ArchiveError, UsageError, NotFoundError, NoSpaceError, StoreError.
        """
        from engine.images import transfer

        chain_id = transfer.import_tree(
            self._store, source, name, message=message, instructions=changes, progress=progress
        )
        self._tell("import", reference.normalise(name))
        return self.resolve(chain_id)

    def _tell(self, action: str, *names: str) -> None:
        """Note what was done to images."""
        from engine.store import events

        for name in names:
            try:
                chain_id, _ = reference.resolve_image(self._store.connection, name)
            except CowlError:  # it was removed by now
                chain_id = ""
            events.record(self._store.layout, "image", action, chain_id, name)

    def _tell_removed(self, removed: Removal, names: Sequence[str]) -> None:
        """Note which names and nodes went."""
        from engine.store import events

        for name in names:
            events.record(self._store.layout, "image", "untag", "", name)
        for chain_id in removed.nodes:
            events.record(self._store.layout, "image", "delete", chain_id, "")
