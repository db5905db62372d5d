"""What every action of the app stands on: the engine, the desk, work in threads, and how trouble is told."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

from textual import events
from textual.actions import ActionParseResult
from textual.app import App
from textual.dom import DOMNode
from textual.message import Message
from textual.widget import Widget
from textual.worker import Worker, WorkerState, get_current_worker

from engine.errors import CowlError
from engine.model import Container, Node, Progress
from tui import facts, keys
from tui.desk import Desk
from tui.messages import Advanced, Done, Told, Trouble
from tui.watch import SizeWatch, StoreWatch, SubjectWatch, Watch

if TYPE_CHECKING:
    from engine import Engine

R = TypeVar("R")
NOTICE_SECONDS = 8
HASTE = 1.0
"""Seconds for which the keys after one that asks are for the question, though it is still being made."""


class Coming:
    """A question that is being made."""

    def __init__(self, since: float) -> None:
        self.since = since
        """When it was wanted, by the desk's clock."""
        self.keys: list[events.Key] = []
        """What was pressed since then."""


class Base(App[None]):
    """The app without its actions."""

    def __init__(self, engine: Engine, *, no_color: bool = False) -> None:
        super().__init__(ansi_color=no_color)
        self.engine = engine
        self.store_watch = StoreWatch(engine, self.post_message)
        self.subject_watch = SubjectWatch(engine, self.post_message)
        self.size_watch = SizeWatch(engine, self.post_message)
        self.unfinished: list[str] = []
        """What jobs are at work, as it is shown."""
        self._aims: WeakKeyDictionary[events.Key, Widget] = WeakKeyDictionary()
        """Where the keys were sent to that are on their way."""
        self._coming: Coming | None = None
        self.watches: tuple[Watch, ...] = (self.store_watch, self.subject_watch, self.size_watch)

    @property
    def desk(self) -> Desk:
        """The panes, whatever dialog is open above them."""
        return self.screen_stack[0].query_one(Desk)

    def job(
        self,
        doing: str,
        work: Callable[[], R],
        *,
        twin: str = "",
        done: Callable[[R], None] | None = None,
        failed: Callable[[], None] | None = None,
        group: str = "",
    ) -> None:
        """Do something with the engine in a thread; then show its twin and let *done* have the result.

        *doing* is shown meanwhile, as "stopping api". A failure becomes a notice. Of a named *group* only
        the newest counts.
        """
        if doing:
            self.desk.command_line.say(f"{doing} …")
            self.unfinished.append(doing)
        body = partial(self._work, doing, work, twin, done, failed)
        self.run_worker(
            body,
            thread=True,
            group=group or "jobs",
            exclusive=bool(group),
            exit_on_error=False,
            description=doing,
        )

    def ask(self, work: Callable[[], R], question: Callable[[R], None]) -> None:
        """Find out in a thread what a question has to say, then let *question* ask it, or begin something.

        What is pressed meanwhile in a hurry goes to it, and nowhere where it does not come. Of several the
        newest is asked; none is where another has been opened by then, as somebody may be typing there.
        """
        self._coming = coming = Coming(self.desk.clock())
        done, failed = partial(self._ask, coming, question), partial(self._give_up, coming)
        self.job("", work, done=done, failed=failed, group="question")

    def advance(self, progress: Progress) -> None:
        """A progress callback for long work: may be called in any thread."""
        self.post_message(Advanced(progress))

    def need_container(self) -> Container | None:
        """The selected container, or None after saying that one must be selected."""
        container = self.desk.container
        if container is None:
            self.say("select a container first: 2 shows them all, n launches one")
        return container

    def node_of_item(self) -> Node | None:
        """The selected node, or the one that the selected container stands on."""
        item = self.desk.item
        if isinstance(item, Container):
            return next((node for node in self.desk.nodes if node.chain_id == item.chain_id), None)
        return item

    async def _on_message(self, message: Message) -> None:
        if isinstance(message, Told) and not self.is_running:
            return  # The screens are being taken down: there is nowhere left to show it.
        await super()._on_message(message)

    async def run_action(
        self,
        action: str | ActionParseResult,
        default_namespace: DOMNode | None = None,
        namespaces: Mapping[str, DOMNode] | None = None,
    ) -> bool:
        """Let every key mean what the cursor is on now, and was moved to (Textual's own, otherwise)."""
        for desk in self.screen_stack[0].query(Desk):  # There is none before it is composed.
            desk.catch_up()
            if isinstance(action, str) and action in keys.CHANGING and (moved := desk.moved_by_itself()):
                self.say(f"{moved}: press {keys.first_of(action)} again")
                return True
        return await super().run_action(action, default_namespace, namespaces)

    async def on_event(self, event: events.Event) -> None:
        """Remember where each key goes (Textual's own, otherwise)."""
        if isinstance(event, events.Key) and not event.is_forwarded:
            self._aims[event] = self.focused or self.screen
        await super().on_event(event)

    async def _on_key(self, event: events.Key) -> None:
        """A key that nobody took on its way up from where it was sent to.

        Where the keys go elsewhere by now, as a question was asked just before, it is for whoever has them
        now: the first letter of an answer is no command. Where a question is being made, it is for that one.
        """
        aim, heir = self._aims.pop(event, None), self.focused or self.screen
        coming = self._coming
        if coming is not None and self.desk.clock() - coming.since < HASTE and not self._is_asking():
            event.prevent_default()
            coming.keys.append(event)
        elif aim is not None and aim is not heir:
            event.prevent_default()
            self._hand_on(event, heir)
        # Otherwise Textual goes on with its own.

    def _hand_on(self, event: events.Key, heir: Widget) -> None:
        again = events.Key(event.key, event.character)
        self._aims[again] = heir
        heir._forward_event(again)

    def _is_asking(self) -> bool:
        """Whether a dialog or a question is open."""
        return len(self.screen_stack) > 1 or self.desk.command_line.asking

    def _ask(self, coming: Coming, question: Callable[[R], None], known: R) -> None:
        if self._coming is not coming:
            return
        self._coming = None
        if self._is_asking():
            return
        before = self.focused or self.screen
        question(known)
        heir = self.focused or self.screen
        if heir is not before:
            for event in coming.keys:
                self._hand_on(event, heir)

    def _give_up(self, coming: Coming) -> None:
        if self._coming is coming:
            self._coming = None

    def say(self, sentence: str) -> None:
        """A sentence in the command line, for what is no failure."""
        self.desk.command_line.say(sentence)

    def on_done(self, message: Done) -> None:
        """Work has ended."""
        message.finish()

    def on_trouble(self, message: Trouble) -> None:
        """A failure becomes a notice: what, why, and what to do."""
        error = message.error
        if isinstance(error, CowlError):
            text = "\n".join(part for part in (error.why, error.hint) if part)
            title = error.what
        else:
            title, text = message.doing, str(error)
        self.notify(
            text or message.doing or title,
            title=title,
            severity="error",
            timeout=NOTICE_SECONDS,
            markup=False,
        )
        if message.doing:
            self.desk.command_line.say(f"{message.doing}: failed", "bad")

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """What escapes a worker is a defect of ours: say so instead of hiding it."""
        error = event.worker.error
        if event.state != WorkerState.ERROR or error is None:
            return
        if os.environ.get("COWL_DEBUG"):
            raise error
        self.notify(
            f"{type(error).__name__}: {error}",
            title=f"cowl made a mistake while {event.worker.description or event.worker.group}",
            severity="error",
            timeout=NOTICE_SECONDS,
            markup=False,
        )

    def name_of_item(self) -> str:
        """What the selected thing is called on the command line."""
        item = self.desk.item
        if item is None:
            return ""
        return item.name if isinstance(item, Container) else facts.reference(item)

    def _work(
        self,
        doing: str,
        work: Callable[[], R],
        twin: str,
        done: Callable[[R], None] | None,
        failed: Callable[[], None] | None,
    ) -> None:
        try:
            result = work()
        except (CowlError, OSError) as error:
            if get_current_worker().is_cancelled:
                return
            self.post_message(Trouble(error, doing))
            if failed is not None:
                self.post_message(Done(failed))
            return
        finally:
            if doing:
                self.unfinished.remove(doing)
                self.store_watch.poke()
        if not get_current_worker().is_cancelled:
            self.post_message(Done(partial(self._finish, result, twin, done)))

    def _finish(self, result: R, twin: str, done: Callable[[R], None] | None) -> None:
        if twin:
            self.desk.command_line.show(twin)
        if done is not None:
            done(result)
