"""Grow the forest: commit, tag, make the starter images, load archives."""

from __future__ import annotations

from functools import partial

from engine.model import Container, Node
from tui import facts, twin
from tui.base import Base
from tui.dialogs.commit import CommitRequest, CommitScreen
from tui.dialogs.welcome import WelcomeScreen
from tui.forest_rows import container_key, node_key
from tui.format import command_line
from tui.messages import Advanced
from tui.staging import Staged
from tui.widgets.changes import Changes


class ImageActions(Base):
    """The keys that make images, and the welcome to an empty store."""

    def action_stage(self) -> None:
        """Choose what the next commit takes: nothing chosen, it takes everything."""
        changes = self.desk.query_one(Changes)
        if self.desk.pane not in ("changes", "preview"):
            self.say("3 shows the changes: Space there chooses what a commit takes")
        elif self.desk.container is None:
            self.say("a layer is finished: changes are staged in a container")
        else:
            changes.stage()

    def action_commit(self) -> None:
        """Propose a name and commit: Enter is all it takes."""
        container = self.need_container()
        if container is not None:
            propose = partial(self.engine.changes.propose_name, container.id)
            self.ask(propose, partial(self._ask_name, container))

    def action_commit_with(self) -> None:
        """Ask for message, author and configuration too."""
        container = self.need_container()
        if container is not None:
            propose = partial(self.engine.changes.propose_name, container.id)
            self.ask(propose, partial(self._ask_all, container))

    def action_tag(self) -> None:
        """Give the selected node another name."""
        node = self.node_of_item()
        if node is None:
            self.say("select an image first: 1 shows the forest")
            return
        reference = facts.reference(node)
        self.desk.command_line.ask(f"tag {reference} as", "", partial(self._tag, reference))

    def action_load(self) -> None:
        """Load images from an archive or an OCI layout."""
        self.desk.command_line.ask("load from the path", "", self._load_named)

    def welcome(self) -> None:
        """Offer to fill an empty store."""
        self.push_screen(WelcomeScreen(self.engine.root))

    def on_welcome_screen_make_starter(self, message: WelcomeScreen.MakeStarter) -> None:
        """The starter images are wanted."""
        message.stop()
        work = partial(self.engine.images.starter, progress=self.advance)
        self.job(
            "making the starter images", work, twin="cowl starter", done=self._welcomed, failed=self._refused
        )

    def on_welcome_screen_load_archive(self, message: WelcomeScreen.LoadArchive) -> None:
        """An archive is wanted."""
        message.stop()
        self._load(message.path)

    def on_advanced(self, message: Advanced) -> None:
        """Long work got further."""
        screen = self.screen
        if isinstance(screen, WelcomeScreen):
            screen.call_later(screen.progress, message.progress)  # It may still be made.
        else:
            self.desk.command_line.progress(message.progress)

    # What follows the questions.

    def _ask_name(self, container: Container, proposed: str) -> None:
        about = self._about(container) if self._staged(container).only else ""
        label = f"commit {container.name} ({about}) as" if about else f"commit {container.name} as"
        self.desk.command_line.ask(label, proposed, partial(self._commit_as, container))

    def _commit_as(self, container: Container, name: str | None) -> None:
        if name is not None:
            self._commit(container, CommitRequest(name.strip(), staged=self._staged(container)))

    def _ask_all(self, container: Container, proposed: str) -> None:
        screen = CommitScreen(container.name, proposed, self._about(container), self._staged(container))
        self.push_screen(screen, partial(self._commit, container))

    def _about(self, container: Container) -> str:
        """What a commit would take, in a few words, while it is on the screen."""
        changes = self.desk.query_one(Changes)
        return changes.about if changes.subject == container_key(container.id) else ""

    def _staged(self, container: Container) -> Staged:
        return self.desk.query_one(Changes).staged_of(container_key(container.id))

    def _commit(self, container: Container, request: CommitRequest | None) -> None:
        if request is None:
            return
        work = partial(
            self.engine.changes.commit,
            container.id,
            request.name or None,
            message=request.message,
            author=request.author,
            changes=request.changes,
            only=tuple(request.staged.only),
            without=tuple(request.staged.without),
            pause=request.pause,
            progress=self.advance,
        )
        line = twin.commit(container.name, request)
        self.job(f"committing {container.name}", work, twin=line, done=partial(self._committed, container))

    def _committed(self, container: Container, node: Node) -> None:
        """What was staged is in an image now."""
        self.desk.query_one(Changes).unstage_all(container_key(container.id))
        self._grown(node)

    def _grown(self, node: Node) -> None:
        """A new node: select it as soon as the forest shows it."""
        self.desk.select(node_key(node.chain_id))
        if not self.desk.command_line.asking:  # What is being typed there would become commands.
            self.desk.show_pane("forest")

    def _load_named(self, path: str | None) -> None:
        if path and path.strip():
            self._load(path.strip())

    def _load(self, path: str) -> None:
        work = partial(self.engine.images.load, path, progress=self.advance)
        line = command_line(("cowl", "load", "-i", path))
        self.job(f"loading {path}", work, twin=line, done=self._welcomed, failed=self._refused)

    def _tag(self, reference: str, name: str | None) -> None:
        if name and name.strip():
            name = name.strip()
            work = partial(self.engine.images.tag, reference, name)
            self.job(f"tagging {reference}", work, twin=f"cowl tag {reference} {name}")

    def _welcomed(self, names: list[str]) -> None:
        if isinstance(self.screen, WelcomeScreen):
            self.screen.dismiss(None)
        self.say(f"here now: {', '.join(names)}: n launches a container" if names else "nothing was made")

    def _refused(self) -> None:
        screen = self.screen
        if isinstance(screen, WelcomeScreen):
            screen.call_later(screen.failed, "that did not work; the notice says why")
