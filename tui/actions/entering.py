"""Lend the terminal to a container: a shell in it, or its own input and output."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

from textual.app import SuspendNotSupported

from engine.errors import CommandNotFoundError, CowlError, NotExecutableError
from engine.model import Container
from tui.base import Base
from tui.format import command_line

SHELLS = ("bash", "sh", "ash")
"""In the order in which they are tried."""


class EnteringActions(Base):
    """The keys that leave the screen and come back to it."""

    def action_shell(self) -> None:
        """Leave the screen to a shell inside of the container; come back when it ends."""
        container = self._need_running()
        if container is not None:
            work = partial(self._find_shell, container)
            self.ask(work, partial(self._enter_shell, container))

    def action_attach(self) -> None:
        """Leave the screen to the container's own input and output; ctrl-p ctrl-q comes back."""
        container = self._need_running()
        if container is not None:
            sentence = f"{container.name}: ctrl-p ctrl-q comes back to cowl"
            self._lend(("attach", container.name), sentence)

    def _need_running(self) -> Container | None:
        container = self.need_container()
        if container is not None and container.state != "running":
            wanted = "p lets it go on" if container.state == "paused" else "s starts it"
            self.say(f"{container.name} does not run: {wanted}")
            return None
        return container

    def _find_shell(self, container: Container) -> str:
        """The first of the shells that the container has; raises CowlError where it has none."""
        for shell in SHELLS:
            try:
                self.engine.containers.exec(container.id, (shell, "-c", ":"), detach=True)
            except (CommandNotFoundError, NotExecutableError):
                continue
            return shell
        raise CowlError(
            f"there is no shell in {container.name}",
            f"its image has none of {', '.join(SHELLS)}",
            f"look around in pane 3, or run a program that it has: cowl exec -it {container.name} …",
        )

    def _enter_shell(self, container: Container, shell: str) -> None:
        self._lend(
            ("exec", "-it", container.name, shell), f"a shell in {container.name}: exit comes back to cowl"
        )

    def _lend(self, words: tuple[str, ...], sentence: str) -> None:
        """Run `cowl` with these words on the terminal, the screen put aside."""
        command = [sys.executable, "-m", "engine.cli", "--root", self.engine.root, *words]
        self._hold(True)
        try:
            with self.suspend():
                sys.stdout.write(f"\x1b[2J\x1b[H{sentence}\n")
                sys.stdout.flush()
                subprocess.run(command, check=False)
        except SuspendNotSupported:
            self.notify("this terminal cannot be lent to a container", severity="warning")
        finally:
            self._hold(False)
        self.screen.refresh(layout=True)
        self.desk.command_line.show(command_line(("cowl", *words)))
        self.store_watch.again()
        self.subject_watch.again()

    def _hold(self, held: bool) -> None:
        for watch in self.watches:
            watch.hold(held)
