"""Launch, start, stop, pause, signal, rename, remove and look into containers."""

from __future__ import annotations

import json
from functools import partial

from engine.model import Container, LaunchOptions, Node, Removal
from tui import facts, twin
from tui.base import Base
from tui.dialogs.confirm import ConfirmScreen
from tui.dialogs.launch import LaunchScreen
from tui.dialogs.limits import LimitsScreen, Update
from tui.dialogs.signals import SignalScreen
from tui.forest_rows import container_key, node_key
from tui.format import command_line
from tui.widgets.logs import Logs

HELD = ("running", "paused", "restarting")
"""States of a container that has to be stopped before it can go."""
FALLBACK = "sh"
"""What a container runs whose image names no command."""


class ContainerActions(Base):
    """The keys that act on the selected container."""

    def action_launch(self) -> None:
        """Ask how to launch a container from the selected node."""
        node = self.node_of_item()
        if node is None:
            self.say("select an image first: 1 shows the forest")
            return
        taken = [each.name for each in self.desk.containers]
        screen = LaunchScreen(facts.reference(node), taken=taken)
        self.push_screen(screen, self._launch)
        self.job("", partial(self._own_command, node), done=partial(self._propose, screen))

    def action_start_stop(self) -> None:
        """Stop what runs, start what does not."""
        container = self.need_container()
        if container is None:
            return
        name, containers = container.name, self.engine.containers
        if container.state in HELD:
            self.job(f"stopping {name}", partial(containers.stop, container.id), twin=f"cowl stop {name}")
        else:
            self.job(f"starting {name}", partial(containers.start, container.id), twin=f"cowl start {name}")

    def action_restart(self) -> None:
        """Stop and start."""
        container = self.need_container()
        if container is not None:
            name = container.name
            self.job(f"restarting {name}", partial(self._restart, container), twin=f"cowl restart {name}")

    def action_pause(self) -> None:
        """Freeze all processes, or let them go on."""
        container = self.need_container()
        if container is None:
            return
        name, containers = container.name, self.engine.containers
        if container.state == "paused":
            self.job(
                f"unpausing {name}", partial(containers.unpause, container.id), twin=f"cowl unpause {name}"
            )
        else:
            self.job(f"pausing {name}", partial(containers.pause, container.id), twin=f"cowl pause {name}")

    def action_signal(self) -> None:
        """Choose a signal for the first process."""
        container = self.need_container()
        if container is not None:
            self.push_screen(SignalScreen(container.name), partial(self._send_signal, container))

    def action_update(self) -> None:
        """Ask for new limits of the selected container."""
        container = self.need_container()
        if container is not None:
            self.push_screen(LimitsScreen(container), partial(self._update, container))

    def action_remove(self) -> None:
        """Show what removing would take away, and do it if that is wanted."""
        item = self.desk.item
        if item is None:
            return
        if self.desk.pane in ("changes", "preview"):
            self.say("discarding changes comes later; d in pane 1 or 2 removes a container or image")
            return
        if isinstance(item, Node):
            self._ask_image_removal(item)
            return
        self.ask(partial(self._foresee, item.id), self._ask_removal)

    def action_logs(self) -> None:
        """Show what the container has said."""
        container = self.need_container()
        if container is not None:
            logs = self.desk.query_one(Logs)
            if logs.showing_text:
                logs.show_log()
            self.desk.show_pane("logs")

    def action_inspect(self) -> None:
        """Show everything that is recorded about the selected thing."""
        item = self.desk.item
        if item is None:
            return
        if isinstance(item, Container):
            work = partial(self.engine.containers.inspect, item.id)
        else:
            work = partial(self.engine.images.inspect, facts.reference(item))
        self.job("", work, twin=f"cowl inspect {self.name_of_item()}", done=self._show_document)

    def action_rename(self) -> None:
        """Give the selected container another name."""
        container = self.need_container()
        if container is not None:
            label = f"rename {container.name} to"
            self.desk.command_line.ask(label, container.name, partial(self._rename, container))

    # What follows the questions.

    def _own_command(self, node: Node) -> str:
        """What the image runs of its own, as a command line; "" for nothing."""
        if not node.tags:
            return ""
        config = self.engine.images.get(node.tags[0]).config.get("config") or {}
        return command_line([*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())])

    def _propose(self, screen: LaunchScreen, command: str) -> None:
        screen.call_later(screen.propose, command, FALLBACK)  # It may still be made, or gone already.

    def _launch(self, options: LaunchOptions | None) -> None:
        if options is None:
            return
        self.job(
            f"launching from {options.image}",
            partial(self.engine.containers.run, options),
            twin=twin.run(options),
            done=self._launched,
        )

    def _launched(self, result: Container | int) -> None:
        if isinstance(result, Container):
            self.desk.select(container_key(result.id))

    def _restart(self, container: Container) -> None:
        if container.state in HELD:
            self.engine.containers.stop(container.id)
        self.engine.containers.start(container.id)

    def _rename(self, container: Container, name: str | None) -> None:
        name = (name or "").strip()
        if name and name != container.name:
            self.job(
                f"renaming {container.name}",
                partial(self.engine.containers.rename, container.id, name),
                twin=command_line(("cowl", "rename", container.name, name)),
            )

    def _update(self, container: Container, update: Update | None) -> None:
        said = twin.update(container.name, *update) if update is not None else ""
        if update is None or not said:
            return
        work = partial(
            self.engine.containers.update,
            container.id,
            update.limits,
            lift=update.lift,
            restart=update.restart,
        )
        self.job(f"changing limits of {container.name}", work, twin=said)

    def _send_signal(self, container: Container, signal: str | None) -> None:
        if signal is not None:
            self.job(
                f"sending {signal} to {container.name}",
                partial(self.engine.containers.kill, container.id, signal),
                twin=f"cowl kill -s {signal} {container.name}",
            )

    def _foresee(self, container_id: str) -> tuple[Container, Removal]:
        """The container as it is now, not as it was when it was shown, and what goes with it."""
        effect = self.engine.containers.removal_effect(container_id)
        return self.engine.containers.get(container_id), effect

    def _ask_removal(self, known: tuple[Container, Removal]) -> None:
        container, effect = known
        screen = ConfirmScreen(f"Remove {container.name}", effect)
        self.push_screen(screen, partial(self._remove, container))

    def _remove(self, container: Container, agreed: bool | None) -> None:
        if not agreed:
            return
        force, key = container.state in HELD, container_key(container.id)
        self.desk.leaving.add(key)
        self.job(
            f"removing {container.name}",
            partial(self.engine.containers.remove, container.id, force=force),
            twin=f"cowl rm {'-f ' if force else ''}{container.name}",
            failed=partial(self.desk.leaving.discard, key),
        )

    def _ask_image_removal(self, node: Node) -> None:
        names = node.tags or (facts.reference(node),)
        effect = partial(self.engine.images.removal, names)
        self.ask(effect, partial(self._ask_untag, names, node_key(node.chain_id)))

    def _ask_untag(self, names: tuple[str, ...], key: str, effect: Removal) -> None:
        screen = ConfirmScreen(f"Remove {', '.join(names)}", effect)
        self.push_screen(screen, partial(self._untag, names, key))

    def _untag(self, names: tuple[str, ...], key: str, agreed: bool | None) -> None:
        if not agreed:
            return
        text = " ".join(names)
        self.desk.leaving.add(key)
        self.job(
            f"removing {text}",
            partial(self.engine.images.remove, names),
            twin=f"cowl rmi {text}",
            failed=partial(self.desk.leaving.discard, key),
        )

    def _show_document(self, document: object) -> None:
        text = json.dumps(document, indent=2, ensure_ascii=False, default=str)
        self.desk.query_one(Logs).show_text(self.name_of_item(), text)
        self.desk.show_pane("logs")
