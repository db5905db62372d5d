"""Colours by role: what a piece of text *means* is said by the one who makes it, how it looks is said here.

Rows are tuples of `Span`s; `styles` maps every role to a rich style. Colour never stands alone: what a role
says is also in the text (A, M, D, ●, ▲), so that the same screens work in the ansi theme and with NO_COLOR,
where selection and tags are told by reverse video.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias, get_args

from rich.style import Style
from textual.color import Color
from textual.theme import BUILTIN_THEMES, Theme

Role = Literal[
    "text",
    "bold",
    "muted",
    "faint",
    "accent",
    "title",
    "id",
    "tag",
    "badge",
    "number",
    "keyword",
    "key",
    "guide",
    "hunk",
    "running",
    "paused",
    "exited",
    "failed",
    "added",
    "modified",
    "deleted",
    "warning",
    "good",
    "bad",
    "hot",
    "cursor",
    "cursor_dim",
    "match",
    "graph",
    "limit",
    "added_line",
    "deleted_line",
    "added_word",
    "deleted_word",
]
ROLES: tuple[Role, ...] = get_args(Role)


class Span(NamedTuple):
    """A piece of one line, with what it means."""

    text: str
    role: Role = "text"


Line: TypeAlias = tuple[Span, ...]


class Palette(NamedTuple):
    """The colours that everything is drawn with, as rich understands them; "" is none of its own."""

    background: str
    surface: str
    """Of the bars at the top and bottom, and of dialogs."""
    foreground: str
    muted: str
    faint: str
    """Of borders and guides."""
    accent: str
    cursor: str
    cursor_dim: str
    cyan: str
    green: str
    amber: str
    red: str
    violet: str
    on_tag: str
    added_line: str
    deleted_line: str
    added_word: str
    deleted_word: str


DARK = Palette(
    background="#16161e",
    surface="#1f2335",
    foreground="#c0caf5",
    muted="#6a739c",
    faint="#3b4261",
    accent="#7aa2f7",
    cursor="#2a3860",
    cursor_dim="#22273d",
    cyan="#7dcfff",
    green="#9ece6a",
    amber="#e0af68",
    red="#f7768e",
    violet="#bb9af7",
    on_tag="#16161e",
    added_line="#1c2b25",
    deleted_line="#33202c",
    added_word="#2f5138",
    deleted_word="#6b2f42",
)
LIGHT = Palette(
    background="#eceef6",
    surface="#dde1ef",
    foreground="#2a3158",
    muted="#69719a",
    faint="#b4bad3",
    accent="#2e5cc5",
    cursor="#c6d2f3",
    cursor_dim="#d9dff1",
    cyan="#0b6f92",
    green="#48731f",
    amber="#8a5a10",
    red="#c22f4c",
    violet="#7345b8",
    on_tag="#ffffff",
    added_line="#d9ead3",
    deleted_line="#f4d8dd",
    added_word="#b5d9a6",
    deleted_word="#ecb3be",
)
ANSI = Palette(
    background="",
    surface="",
    foreground="",
    muted="bright_black",
    faint="bright_black",
    accent="blue",
    cursor="",
    cursor_dim="",
    cyan="cyan",
    green="green",
    amber="yellow",
    red="red",
    violet="magenta",
    on_tag="",
    added_line="",
    deleted_line="",
    added_word="",
    deleted_word="",
)
PALETTES: Mapping[str, Palette] = MappingProxyType({"cowl": DARK, "cowl-light": LIGHT, "cowl-ansi": ANSI})


def _theme(name: str, palette: Palette, *, dark: bool) -> Theme:
    """The Textual theme of a palette: only Textual's own variables, so that any other can take its place."""
    return Theme(
        name=name,
        primary=palette.accent,
        secondary=palette.cyan,
        accent=palette.violet,
        warning=palette.amber,
        error=palette.red,
        success=palette.green,
        foreground=palette.foreground,
        background=palette.background,
        surface=palette.surface,
        panel=palette.surface,
        dark=dark,
        variables={
            "border": palette.accent,
            "border-blurred": palette.faint,
            "block-cursor-background": palette.cursor,
            "block-cursor-foreground": palette.foreground,
            "block-cursor-text-style": "none",
            "block-cursor-blurred-background": palette.cursor_dim,
            "block-hover-background": palette.cursor_dim,
            "input-cursor-background": palette.foreground,
            "input-cursor-foreground": palette.background,
            "input-selection-background": palette.cursor,
            "foreground-muted": palette.muted,
            "text-muted": palette.muted,
            "footer-key-foreground": palette.accent,
            "scrollbar": palette.faint,
            "scrollbar-hover": palette.muted,
            "scrollbar-active": palette.accent,
            "scrollbar-background": palette.background,
            "scrollbar-background-hover": palette.background,
            "scrollbar-background-active": palette.background,
            "scrollbar-corner-color": palette.background,
        },
    )


_ANSI_THEME = Theme(
    name="cowl-ansi",
    ansi=True,
    primary="ansi_blue",
    secondary="ansi_cyan",
    accent="ansi_magenta",
    warning="ansi_yellow",
    error="ansi_red",
    success="ansi_green",
    foreground="ansi_default",
    background="ansi_default",
    surface="ansi_default",
    panel="ansi_default",
    boost="ansi_default",
    variables={
        "ansi-background": "ansi_default",
        "ansi-foreground": "ansi_default",
        "block-cursor-foreground": "ansi_default",
        "block-cursor-background": "ansi_default",
        "block-cursor-text-style": "reverse",
        "input-cursor-text-style": "reverse",
        "border": "ansi_blue",
        "border-blurred": "ansi_bright_black",
        "foreground-muted": "ansi_bright_black",
        "text-muted": "ansi_bright_black",
        "footer-key-foreground": "ansi_blue",
    },
)
THEMES: tuple[Theme, ...] = (
    _theme("cowl", DARK, dark=True),
    _theme("cowl-light", LIGHT, dark=False),
    _ANSI_THEME,
)


@lru_cache(maxsize=16)
def styles(theme: str = "cowl") -> Mapping[Role, Style]:
    """Every role's style in the theme of that name; an unknown name looks like "cowl"."""
    return MappingProxyType(_styles(palette(theme)))


@lru_cache(maxsize=16)
def palette(theme: str = "cowl") -> Palette:
    """The colours of one of our themes, or those that one of Textual's own comes closest to."""
    if theme in PALETTES:
        return PALETTES[theme]
    other = BUILTIN_THEMES.get(theme)
    if other is None:
        return DARK
    if other.ansi:
        return ANSI
    colours = other.to_color_system().generate()
    ground = Color.parse(colours["background"])

    def plain(variable: str) -> str:
        return (ground + Color.parse(colours[variable])).hex6

    return (DARK if other.dark else LIGHT)._replace(
        background=plain("background"),
        surface=plain("surface"),
        foreground=plain("foreground"),
        accent=plain("primary"),
        green=plain("success"),
        amber=plain("warning"),
        red=plain("error"),
        cyan=plain("secondary"),
        violet=plain("accent"),
        cursor=plain("primary-muted"),
        cursor_dim=plain("panel"),
    )


def level(fraction: float) -> Role:
    """How worrying it is that this much of a limit is in use."""
    if fraction >= 0.9:
        return "bad"
    return "warning" if fraction >= 0.6 else "good"


def _styles(p: Palette) -> dict[Role, Style]:
    coloured = bool(p.background)
    words: dict[Role, tuple[str, str, str]] = {
        "text": (p.foreground, "", ""),
        "bold": (p.foreground, "", "bold"),
        "muted": (p.muted, "", ""),
        "faint": (p.faint, "", ""),
        "accent": (p.accent, "", "bold"),
        "title": (p.foreground, "", "bold"),
        "id": (p.cyan, "", ""),
        "tag": (p.on_tag, p.red, "bold") if coloured else (p.red, "", "bold reverse"),
        "badge": (p.on_tag, p.amber, "bold") if coloured else (p.amber, "", "bold reverse"),
        "number": (p.amber, "", ""),
        "keyword": (p.violet, "", ""),
        "key": (p.accent, "", "bold"),
        "guide": (p.faint, "", ""),
        "hunk": (p.cyan, "", ""),
        "running": (p.green, "", ""),
        "paused": (p.amber, "", ""),
        "exited": (p.muted, "", ""),
        "failed": (p.red, "", ""),
        "added": (p.green, "", ""),
        "modified": (p.amber, "", ""),
        "deleted": (p.red, "", ""),
        "warning": (p.amber, "", ""),
        "good": (p.green, "", ""),
        "bad": (p.red, "", ""),
        "hot": (p.red, "", "bold"),
        "cursor": ("", p.cursor, "") if coloured else ("", "", "reverse"),
        "cursor_dim": ("", p.cursor_dim, "") if coloured else ("", "", "underline"),
        "match": (p.background, p.amber, "") if coloured else ("", "", "reverse"),
        "graph": (p.accent, "", ""),
        "limit": (p.deleted_word if coloured else p.red, "", ""),
        "added_line": ("", p.added_line, ""),
        "deleted_line": ("", p.deleted_line, ""),
        "added_word": ("", p.added_word, "bold"),
        "deleted_word": ("", p.deleted_word, "bold"),
    }
    return {role: _style(*words[role]) for role in ROLES}


def _style(colour: str, background: str, attributes: str) -> Style:
    parts = [attributes, colour, f"on {background}" if background else ""]
    return Style.parse(" ".join(part for part in parts if part))
