"""The whole app on a real root: the story of a newcomer by keys alone, and what the panes show meanwhile."""

from __future__ import annotations

import pytest
from textual.command import CommandList

from engine.model import LaunchOptions
from tests.support.roots import Run
from tests.support.traces import Root
from tests.tui.workstation import listed, notices, running, said, until
from tui import watch
from tui.commands import Palette
from tui.dialogs.commit import CommitScreen
from tui.dialogs.confirm import ConfirmScreen
from tui.dialogs.help import HelpScreen
from tui.dialogs.launch import LaunchScreen
from tui.dialogs.signals import SignalScreen
from tui.dialogs.welcome import WelcomeScreen
from tui.forest_rows import container_key, node_key
from tui.widgets.changes import Changes
from tui.widgets.containers import Containers
from tui.widgets.forest import Forest
from tui.widgets.logs import Logs
from tui.widgets.preview import Preview
from tui.widgets.resources import Resources

pytestmark = pytest.mark.kernel
SIZES = [(80, 24), (120, 40), (200, 60)]


@pytest.mark.parametrize("size", SIZES)
async def test_the_story_by_keys_alone(root: Root, cowl: Run, size: tuple[int, int]) -> None:
    async with running(root, size) as (app, pilot):
        assert isinstance(app.screen, WelcomeScreen)
        await pilot.press("enter")
        await until(pilot, lambda: not isinstance(app.screen, WelcomeScreen), 60)
        await until(pilot, lambda: len(app.desk.nodes) >= 2)
        assert "starter:latest" in "".join(listed(app, Forest))

        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, LaunchScreen))
        await pilot.press("enter")
        await until(pilot, lambda: app.desk.container is not None and app.desk.container.state == "running")
        name = app.desk.container.name if app.desk.container else ""
        assert said(app).startswith("$ cowl run -d -i -t starter:latest")

        script = "echo hi > /new; rm /etc/os-release; chmod 600 /etc/passwd"
        cowl("exec", name, "sh", "-c", script, check=True)
        await until(pilot, lambda: len(app.desk.query_one(Changes).outline) == 4)
        assert [line.split() for line in listed(app, Changes)] == [
            ["▾", "etc", *listed(app, Changes)[0].split()[2:]],
            ["D", "├─", "os-release", *listed(app, Changes)[1].split()[3:]],
            ["M", "└─", "passwd", "mode"],
            ["A", "new", "3B"],
        ]
        await pilot.press("3", "G")
        await until(pilot, lambda: "hi" in app.desk.query_one(Preview).text)

        await pilot.press("c")
        await until(pilot, lambda: app.desk.command_line.asking)
        await pilot.press("enter")
        await until(pilot, lambda: len(app.desk.nodes) == 3)
        await until(pilot, lambda: app.desk.item in app.desk.nodes)
        grown = app.desk.item
        assert grown is not None
        assert grown in app.desk.nodes
        assert "cowl commit" in said(app)
        forest = app.desk.query_one(Forest)
        assert forest.current is not None
        assert forest.current.item == grown
        assert app.desk.pane == "forest"
        assert notices(app) == []


async def test_keys_start_stop_pause_and_remove(starter_images: Root) -> None:
    async with running(starter_images) as (app, pilot):
        made = app.engine.containers.run(LaunchOptions("starter", ("sleep", "1000"), name="box"))
        app.desk.select(container_key(made.id))

        def state() -> str:
            return app.desk.container.state if app.desk.container else ""

        await until(pilot, lambda: state() == "running")
        await pilot.press("p")
        await until(pilot, lambda: state() == "paused")
        await until(pilot, lambda: said(app) == "$ cowl pause box")
        await pilot.press("p")
        await until(pilot, lambda: state() == "running")
        await pilot.press("S")
        await until(pilot, lambda: isinstance(app.screen, SignalScreen))
        await pilot.press("escape")
        app.engine.containers.kill("box", "SIGKILL")
        await until(pilot, lambda: state() == "exited")
        assert "exit 137" in "".join(listed(app, Containers))
        await pilot.press("s")
        await until(pilot, lambda: state() == "running")
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
        await pilot.press("escape")
        await pilot.pause()
        assert state() == "running"
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
        await pilot.press("enter")
        await until(pilot, lambda: not app.desk.containers)
        await until(pilot, lambda: said(app) == "$ cowl rm -f box")
        assert app.engine.containers.list() == []


async def test_what_runs_is_sampled_and_what_others_do_is_seen(starter_images: Root, cowl: Run) -> None:
    async with running(starter_images) as (app, pilot):
        script = "while :; do :; done"
        cowl(
            "run",
            "-d",
            "--name",
            "spin",
            "-m",
            "64m",
            "--cpus",
            "0.3",
            "starter",
            "sh",
            "-c",
            script,
            check=True,
        )
        await until(pilot, lambda: any(each.name == "spin" for each in app.desk.containers))
        resources = app.desk.query_one(Resources)
        await until(pilot, lambda: bool(resources.rows) and resources.rows[0].sample.cpu_percent > 5)
        assert resources.rows[0].sample.memory_limit_bytes == 64 << 20
        cowl("tag", "starter", "mine:1", check=True)
        await until(pilot, lambda: "mine:1" in "".join(listed(app, Forest)))
        cowl("rm", "-f", "spin", check=True)
        await until(pilot, lambda: not app.desk.containers)


async def test_a_part_is_staged_and_committed(starter_images: Root, cowl: Run) -> None:
    script = "mkdir -p /srv/app; cd /srv/app; echo 1 > one; echo 2 > two; echo 3 > /zed; exec cat"
    cowl("run", "-d", "-i", "--name", "web", "starter", "sh", "-c", script, check=True)
    async with running(starter_images) as (app, pilot):
        changes = app.desk.query_one(Changes)
        await until(pilot, lambda: len(changes.outline) == 4)
        await pilot.press("3", "g", "space")
        assert [line.split()[0] for line in listed(app, Changes)] == ["✓", "✓", "✓", "A"]
        assert str(changes.border_subtitle) == "3 of 4 staged · +4B"
        await pilot.press("space")
        assert [line.split()[:2] for line in listed(app, Changes)] == [
            ["◐", "A"],
            ["A", "├─"],
            ["✓", "A"],
            ["A", "zed"],
        ]
        cowl("exec", "web", "sh", "-c", "echo 4 > /later", check=True)
        await until(pilot, lambda: len(changes.outline) == 5)
        assert str(changes.border_subtitle) == "2 of 5 staged · +2B"

        await pilot.press("c")
        await until(pilot, lambda: app.desk.command_line.asking)
        assert "(2 of 5 staged · +2B) as" in str(app.desk.command_line._label.visual)
        await pilot.press("enter")
        await until(pilot, lambda: len(app.desk.nodes) == 3)
        line = "cowl commit --only /srv/app --except /srv/app/one web web:1"
        await until(pilot, lambda: line in said(app))
        made = cowl("diff", "web:1", check=True).stdout.split()
        assert made == ["A", "/srv/app", "A", "/srv/app/two"]

        await until(pilot, lambda: changes.subject.startswith("n:"))
        await pilot.press("3", "space")
        await until(pilot, lambda: "a layer is finished" in said(app))
        app.desk.select(container_key(next(each.id for each in app.desk.containers)))
        await until(
            pilot, lambda: "4 A" in str(changes.border_subtitle) or "5 A" in str(changes.border_subtitle)
        )

        await pilot.press("3", "G", "space", "C")
        await until(pilot, lambda: isinstance(app.screen, CommitScreen))
        await pilot.press("enter")
        await until(pilot, lambda: len(app.desk.nodes) == 4)
        await until(pilot, lambda: "cowl commit --only /zed web web:2" in said(app))
        assert cowl("diff", "web:2", check=True).stdout.split() == ["A", "/zed"]


async def test_every_container_shows_what_it_adds_and_not_the_selected_one_alone(
    starter_images: Root, cowl: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "RUNNING_SIZE", 0.5)
    cowl("run", "--name", "left", "starter", "sh", "-c", "head -c 5000 /dev/zero > /five", check=True)
    cowl("run", "--name", "clean", "starter", "true", check=True)
    cowl("run", "-d", "--name", "grows", "starter", "sh", "-c", "head -c 100 /dev/zero > /f; cat", check=True)
    cowl("run", "-d", "-i", "--name", "waits", "starter", "cat", check=True)
    async with running(starter_images) as (app, pilot):
        forest = app.desk.query_one(Forest)

        def line(name: str) -> str:
            return next(text for text in listed(app, Forest) if name in text).rstrip()

        await pilot.press("1", "g")
        assert forest.current is not None
        assert forest.current.item in app.desk.nodes
        await until(pilot, lambda: line("left").endswith("+4.9K") and line("grows").endswith("+100B"))
        assert not line("clean").endswith("B")
        cowl("exec", "waits", "sh", "-c", "head -c 300 /dev/zero > /more", check=True)
        await until(pilot, lambda: line("waits").endswith("+300B"))
        cowl("start", "left", check=True)
        await until(pilot, lambda: line("left").endswith("+4.9K"))


async def test_logs_are_followed_and_a_growing_line_is_shown_once(starter_images: Root) -> None:
    async with running(starter_images) as (app, pilot):
        script = "echo first; printf half; sleep 1.5; echo done; sleep 1000"
        made = app.engine.containers.run(LaunchOptions("starter", ("sh", "-c", script), name="talker"))
        app.desk.select(container_key(made.id))
        logs = app.desk.query_one(Logs)
        await until(pilot, lambda: "halfdone" in logs.text)
        assert logs.text.count("first") == 1
        assert logs.text.count("half") == 1
        await pilot.press("l")
        await until(pilot, lambda: app.desk.pane == "logs")
        await pilot.press("1", "i")
        await until(pilot, lambda: logs.showing_text)
        assert made.id in logs.text
        await pilot.press("1", "l")
        await until(pilot, lambda: not logs.showing_text)


async def test_a_filter_is_typed_and_taken_back(starter_images: Root) -> None:
    async with running(starter_images) as (app, pilot):
        await pilot.press("1", "slash", *"base")
        await until(pilot, lambda: len(app.desk.query_one(Forest).outline) == 1)
        await pilot.press("enter")
        await pilot.pause()
        assert app.desk.pane == "forest"
        assert app.focused is app.desk.query_one(Forest)
        await pilot.press("escape")
        await until(pilot, lambda: len(app.desk.query_one(Forest).outline) == 2)


async def test_help_and_palette_open(starter_images: Root) -> None:
    async with running(starter_images) as (app, pilot):
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(app.screen, HelpScreen))
        await pilot.press("escape", "colon")
        await until(pilot, lambda: isinstance(app.screen, Palette))
        await pilot.press(*"starter:base")
        found = app.screen.query_one(CommandList)
        await until(pilot, lambda: found.option_count == 1 and found.highlighted == 0)
        await pilot.press("enter")
        base = next(node for node in app.desk.nodes if "starter:base" in node.tags)
        await until(pilot, lambda: app.desk.subject == node_key(base.chain_id))


async def test_selecting_a_layer_shows_what_it_brought(starter_images: Root) -> None:
    async with running(starter_images) as (app, pilot):
        base = next(node for node in app.desk.nodes if "starter:base" in node.tags)
        app.desk.select(node_key(base.chain_id))
        await until(pilot, lambda: app.desk.query_one(Changes).counts.added == base.file_count)
        counts = app.desk.query_one(Changes).counts
        assert f"{base.file_count:,} A" in str(app.desk.query_one(Changes).border_subtitle)
        assert (counts.modified, counts.deleted) == (0, 0)
