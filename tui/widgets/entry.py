"""A line of text that takes keys in the order in which they are pressed."""

from __future__ import annotations

from textual import events
from textual.widgets import Input


class Entry(Input):
    """Textual's input, for hasty fingers.

    That one puts letters in at once, but has the app look for what Backspace, Ctrl-U and Enter do, so that
    letters that are pressed right after them come first.
    """

    async def on_event(self, event: events.Event) -> None:
        """Do at once what any key does here (Textual's own, otherwise)."""
        if isinstance(event, events.Key):
            for binding in self._bindings.key_to_bindings.get(event.key, ()):
                if not binding.priority and await self.app.run_action(binding.action, self):
                    event.stop()
                    return
        await super().on_event(event)
