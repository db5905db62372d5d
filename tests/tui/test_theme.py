"""Every role has a style in every theme; without colours selection and tags are told by video attributes."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult
from textual.theme import BUILTIN_THEMES

from tests.tui.samples import ThemedApp, busy, histories
from tui import theme
from tui.widgets.resources import Resources

NAMES = [each.name for each in theme.THEMES]


@pytest.mark.parametrize("name", [*NAMES, *BUILTIN_THEMES, "unheard of"])
def test_every_role_has_a_style(name: str) -> None:
    styles = theme.styles(name)
    assert set(styles) == set(theme.ROLES)


@pytest.mark.parametrize("name", ["cowl", "cowl-light"])
def test_text_can_be_read_on_what_it_stands_on(name: str) -> None:
    colours = theme.palette(name)

    def luminance(text: str) -> float:
        parts = [int(text[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(one: str, other: str) -> float:
        low, high = sorted((luminance(one), luminance(other)))
        return (high + 0.05) / (low + 0.05)

    for ground in (colours.background, colours.cursor):
        assert contrast(colours.foreground, ground) > 6
    for colour in (colours.green, colours.amber, colours.red, colours.cyan, colours.violet, colours.accent):
        assert contrast(colour, colours.background) > 4
    assert contrast(colours.on_tag, colours.red) > 4
    assert contrast(colours.muted, colours.background) > 3.5


def test_levels() -> None:
    assert [theme.level(share) for share in (0.1, 0.6, 0.9, 3)] == ["good", "warning", "bad", "bad"]


class TableApp(ThemedApp):
    def compose(self) -> ComposeResult:
        yield Resources(classes="pane")


@pytest.mark.parametrize("name", NAMES)
async def test_every_theme_can_be_started_with(name: str) -> None:
    app = TableApp(name)
    async with app.run_test(size=(80, 24)):
        app.query_one(Resources).show(busy(1), histories(), "id-api")
        assert isinstance(app, App)
        assert "api" in "".join(app.query_one(Resources).render_line(y).text for y in range(4))


async def test_no_colour_leaves_no_colour_but_the_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = TableApp("cowl-ansi")
    async with app.run_test(size=(80, 24)) as pilot:
        app.query_one(Resources).show(busy(1), histories(), "id-api")
        await pilot.pause()
        strips = app.screen._compositor.render_strips()
        painted = [
            segment
            for strip in strips
            for segment in strip.apply_filter(app._filters[-1], app.background_colors[0])
            if segment.style and segment.style.color and not segment.style.color.is_default
        ]
        assert painted == []
        assert any(segment.style and segment.style.reverse for strip in strips for segment in strip)
