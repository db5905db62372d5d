"""From what Textual exports to a file that looks alike everywhere."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path

FONTS = '"Fira Code", "DejaVu Sans Mono", "Noto Sans Mono", monospace'


def tidy(svg: str) -> str:
    """*svg* with this machine's fonts only, nothing fetched, and the same names for the same picture."""
    svg = re.sub(r"@font-face\s*\{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = svg.replace("font-family: Fira Code, monospace", f"font-family: {FONTS}")
    # Without this, renderers trim the blanks at both ends of each run of text.
    svg = svg.replace("<svg ", '<svg xml:space="preserve" ', 1)
    if found := re.search(r"\bterminal-\d+\b", svg):
        svg = svg.replace(found[0], "cowl")
    return svg


def text(svg: str) -> str:
    """What can be read in *svg*, without the order of lines."""
    drawn = re.sub(r"<style>.*?</style>", "", svg, flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]+>", "\n", drawn)).replace("\xa0", " ")


def write(svg: str, path: Path) -> None:
    """Write *svg* to *path*, and a PNG beside it where rsvg-convert is at hand."""
    path.write_text(tidy(svg), encoding="utf-8")
    if shutil.which("rsvg-convert"):
        command = ["rsvg-convert", "--zoom", "1.2", "-o", str(path.with_suffix(".png")), str(path)]
        subprocess.run(command, check=True)
