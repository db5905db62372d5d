"""``python -m tests.screenshots [SCENE…]``: draw screenshots/SCENE-SIZE.svg, each from the real app."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

from engine.engine import Engine
from tests.screenshots import picture, scenes, worlds
from tests.screenshots.scenes import Scene
from tests.support import roots, traces
from tests.support.roots import Run
from tui.app import Workstation

SIZES = ((120, 40), (80, 24), (200, 60))
DESTINATION = Path(__file__).resolve().parents[2] / "screenshots"
HISTORY_SECONDS = 60
"""How long the app looks on before it is photographed, so that its graphs have something to show."""


async def photograph(engine: Engine, chosen: list[Scene], seconds: float) -> None:
    """Play each scene at each size in one run of the app."""
    app = Workstation(engine)
    async with app.run_test(size=SIZES[0]) as pilot:
        await pilot.pause(seconds)
        for columns, lines in SIZES:
            await pilot.resize_terminal(columns, lines)
            for scene in chosen:
                await scene.play(pilot)
                await pilot.pause(1.2)
                path = DESTINATION / f"{scene.name}-{columns}x{lines}.svg"
                picture.write(app.export_screenshot(title="cowl"), path)
                print(path.relative_to(Path.cwd()), flush=True)
                await pilot.press("escape", "escape", "underscore")


def world(build: Callable[[Run], None], chosen: list[Scene], seconds: float) -> None:
    """Build a store, photograph it, take it away."""
    root = roots.new_root("/var/tmp", "cowl-pictures")
    os.environ.update(roots.environment(root))
    cowl = roots.command_line(root)
    try:
        build(cowl)
        with Engine(root.path, cgroup_parent=root.cgroup_parent, launcher=True) as engine:
            asyncio.run(photograph(engine, chosen, seconds))
        cowl("rm", "-f", *cowl("ps", "-aq").stdout.split())
    finally:
        traces.clean(root)


def main() -> int:
    """Draw the scenes that were named, or all."""
    wanted = set(sys.argv[1:]) or {scene.name for scene in (*scenes.WORKDAY, *scenes.FIGURE)}
    DESTINATION.mkdir(exist_ok=True)
    os.environ.pop("NO_COLOR", None)
    os.environ["COLORTERM"] = "truecolor"
    if chosen := [scene for scene in scenes.WORKDAY if scene.name in wanted]:
        world(worlds.workday, chosen, HISTORY_SECONDS)
    if chosen := [scene for scene in scenes.FIGURE if scene.name in wanted]:
        world(worlds.figure, chosen, 3)
    return 0


if __name__ == "__main__":
    sys.exit(main())
