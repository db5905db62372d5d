"""Every dialog by keys alone at 80x24: what is asked, what is refused, what is answered."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.binding import Binding
from textual.events import Key
from textual.pilot import Pilot
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from engine.model import LaunchOptions, Limits, Progress, Removal, Volume
from tests.tui.records import container
from tests.tui.samples import ThemedApp
from tui import twin
from tui.commands import Palette
from tui.dialogs import help as help_page
from tui.dialogs import parse
from tui.dialogs.commit import CommitRequest, CommitScreen
from tui.dialogs.confirm import ConfirmScreen
from tui.dialogs.help import HelpScreen, deal
from tui.dialogs.launch import LaunchScreen
from tui.dialogs.limits import LimitsScreen, Update
from tui.dialogs.prompt import PromptScreen
from tui.dialogs.signals import SignalScreen
from tui.dialogs.welcome import WelcomeScreen

NOTHING = object()
HARMLESS = Removal(("tag a:1", "node 8a1f03c2"), ("sha256:a",), (), 5 << 20, ())
BLOCKED = Removal(("tag a:1",), (), (), 0, ("container api uses a:1",))


class DialogApp(ThemedApp):
    def __init__(self) -> None:
        super().__init__()
        self.answer: Any = NOTHING
        self.made = 0
        self.loaded: list[str] = []

    async def ask(self, pilot: Pilot[None], screen: ModalScreen[Any]) -> None:
        def note(answer: Any) -> None:
            self.answer = answer

        await self.push_screen(screen, note)
        await pilot.pause()

    def on_welcome_screen_make_starter(self) -> None:
        self.made += 1

    def on_welcome_screen_load_archive(self, message: WelcomeScreen.LoadArchive) -> None:
        self.loaded.append(message.path)

    def text(self, selector: str) -> str:
        return str(self.screen.query_one(selector, Static).render())


async def typed(pilot: Pilot[None], text: str) -> None:
    names = {
        " ": "space",
        "=": "equals_sign",
        ":": "colon",
        "/": "slash",
        ".": "full_stop",
        "'": "apostrophe",
    }
    await pilot.press(*(names.get(sign, sign) for sign in text))


async def test_enter_launches_what_is_proposed() -> None:
    app = DialogApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.ask(pilot, LaunchScreen("starter:latest", "sh"))
        await pilot.press("enter")
        assert app.answer == LaunchOptions("starter:latest", ("sh",), interactive=True, tty=True)


@pytest.mark.parametrize(
    "ask",
    [
        partial(LaunchScreen, "starter:latest", "sh"),
        partial(CommitScreen, "api", "api:1"),
        partial(LimitsScreen, container("api", "base")),
        partial(SignalScreen, "api"),
        partial(PromptScreen, "Tag", "name", "a:1"),
    ],
)
async def test_what_is_pressed_twice_in_a_hurry_answers_once(ask: Callable[[], ModalScreen[Any]]) -> None:
    app = DialogApp()
    async with app.run_test(size=(80, 24)) as pilot:
        answers: list[Any] = []
        await app.push_screen(ask(), answers.append)
        await pilot.pause()
        for _ in range(3):
            app.simulate_key("enter")
        await pilot.pause()
        assert len(answers) == 1
        assert len(app.screen_stack) == 1


async def test_an_answered_dialog_does_not_take_the_one_below_away() -> None:
    app = DialogApp()
    async with app.run_test(size=(80, 24)) as pilot:
        below, above = ConfirmScreen("Remove a:1", HARMLESS), SignalScreen("api")
        await app.ask(pilot, below)
        await app.push_screen(above)
        above.dismiss("TERM")
        above.dismiss("TERM")
        await pilot.pause()
        assert app.screen is below
        assert app.answer is NOTHING


@pytest.mark.parametrize(
    "ask",
    [
        partial(LaunchScreen, "starter:latest"),
        partial(CommitScreen, "api", "api:1"),
        partial(LimitsScreen, container("api", "base")),
        Palette,
    ],
)
async def test_an_app_that_closes_may_be_about_to_ask(ask: Callable[[], ModalScreen[Any]]) -> None:
    app = DialogApp()
    async with app.run_test(size=(80, 24)):
        app.push_screen(ask())
        app.exit()


async def test_every_field_of_the_launch_form_is_reached_by_tab_and_read() -> None:
    app = DialogApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.ask(pilot, LaunchScreen("starter:latest"))
        for text in ("sh -c 'exec x'", "api", "0.5", "64m", "50", "A=1", "/a:/b:ro", "/srv", "www"):
            await typed(pilot, text)
            await pilot.press("tab")
        await pilot.press("right", "tab", "space", "tab", "space", "tab", "space")
        assert app.text("#twin").startswith("$ cowl run -d --rm --name api -w /srv -u www --network host")
        await pilot.press("enter")
        assert app.answer == LaunchOptions(
            image="starter:latest",
            command=("sh", "-c", "exec x"),
            name="api",
            env=("A=1",),
            workdir="/srv",
            user="www",
            auto_remove=True,
            network="host",
            volumes=(Volume("/a", "/b", True),),
            limits=Limits(cpus=0.5, memory=64 << 20, pids=50),
        )


async def test_keys_that_come_faster_than_they_are_handled_go_where_they_belong() -> None:
    app = DialogApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.ask(pilot, LaunchScreen("starter:latest"))
        for key in (
            "s",
            "h",
            "tab",
            "a",
            "p",
            "i",
            "tab",
            "2",
            "tab",
            "6",
            "4",
            "m",
            "tab",
            "5",
            "0",
            "enter",
        ):
            app.post_message(Key(key, key if len(key) == 1 else None))
        await pilot.pause()
        await pilot.pause()
        assert app.answer.command == ("sh",)
        assert app.answer.name == "api"
        assert app.answer.limits == Limits(cpus=2.0, memory=64 << 20, pids=50)


async def test_the_images_own_command_may_come_late() -> None:
    app = DialogApp()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = LaunchScreen("starter:latest")
        await app.ask(pilot, screen)
        screen.propose("bash -l", "sh")
        assert screen.query_one("#command", Input).placeholder == "bash -l"
        await pilot.press("enter")
        assert app.answer.command == ()


async def test_a_shell_is_proposed_where_the_image_has_no_command() -> None:
    app = DialogApp()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = LaunchScreen("starter:latest")
        await app.ask(pilot, screen)
        screen.propose("", "sh")
        await pilot.press("enter")
        assert app.answer.command == ("sh",)


async def test_what_cannot_be_launched_is_said_and_not_launched() -> None:
    app = DialogApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.ask(pilot, LaunchScreen("starter:latest", "sh", "api", taken=("api",)))
        assert app.text("#twin") == "✗ the name api is in use"
        await pilot.press("enter")
        assert app.answer is NOTHING
        assert app.focused is app.screen.query_one("#name")
        await pilot.press("2", "tab", "tab")
        await typed(pilot, "lots")
        assert app.text("#twin") == "✗ memory is a size such as 64m or 1.5g"
        assert app.screen.query_one("#field-memory").has_class("-wrong")
        await pilot.press("escape")
        assert app.answer is None


async def test_the_launch_form_fits_80x24_without_scrolling() -> None:
    app = DialogApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.ask(pilot, LaunchScreen("starter:latest", "sh -c '" + "x" * 60 + "'", "a" * 40))
        assert app.screen.query_one(".frame").max_scroll_y == 0


@pytest.mark.parametrize(
    ("text", "number"), [("64m", 64 << 20), ("1.5g", 3 << 29), ("512MiB", 512 << 20), ("", None)]
)
def test_memory_is_read_as_docker_reads_it(text: str, number: int | None) -> None:
    assert parse.memory(text) == number


@pytest.mark.parametrize(
    ("reader", "text"),
    [
        (parse.memory, "64x"),
        (parse.memory, "1m"),
        (parse.cpus, "much"),
        (parse.cpus, "0"),
        (parse.cpus, "nan"),
        (parse.pids, "-1"),
        (parse.pids, "0"),
        (parse.container_name, "-a"),
        (parse.container_name, "a b"),
        (parse.environment, "A"),
        (parse.environment, "=1"),
        (parse.volumes, "/a"),
        (parse.volumes, "/a:b"),
        (parse.volumes, ":/b"),
        (parse.volumes, "./a:/b"),
        (parse.volumes, "/a:/b:no"),
    ],
)
def test_what_is_refused_says_why(reader: Any, text: str) -> None:
    with pytest.raises(ValueError, match=r".{10}"):
        reader(text)


@given(st.integers(6 << 20, 1 << 40))
def test_the_twin_names_memory_exactly(number: int) -> None:
    assert parse.memory(twin.exact_bytes(number)) == number


async def test_commit_proposes_and_takes_what_it_is_told() -> None:
    app = DialogApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.ask(pilot, CommitScreen("api", "api:2", "1,211 paths"))
        await typed(pilot, "faster")
        await pilot.press("tab", "tab")
        await typed(pilot, "sh -c x")
        assert app.text("#twin") == '$ cowl commit -m faster -c \'CMD ["sh", "-c", "x"]\' api api:2'
        await pilot.press("enter")
        assert app.answer == CommitRequest("api:2", "faster", "", ('CMD ["sh", "-c", "x"]',), False)


async def test_commit_without_a_name_is_a_commit_without_a_tag() -> None:
    app = DialogApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.ask(pilot, CommitScreen("api", "x"))
        await pilot.press("shift+tab", "backspace")
        assert app.text("#twin") == "$ cowl commit api"
        await pilot.press("enter")
        assert app.answer == CommitRequest("")


async def test_commit_says_what_it_cannot_read() -> None:
    app = DialogApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.ask(pilot, CommitScreen("api", "api:2"))
        app.screen.query_one("#ENV", Input).value = "A"
        await pilot.pause()
        assert app.text("#twin") == "✗ env: A is not NAME=VALUE"
        await pilot.press("enter")
        assert app.answer is NOTHING
        assert app.focused is app.screen.query_one("#ENV")
        app.screen.query_one("#ENV", Input).value = "A='b c' D=e"
        app.screen.query_one("#WORKDIR", Input).value = "/srv"
        await pilot.press("enter")
        assert app.answer.changes == ("ENV A='b c' D=e", "WORKDIR /srv")


async def test_commit_fits_80x24() -> None:
    app = DialogApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.ask(pilot, CommitScreen("api", "api:2", "1,211 paths"))
        assert app.screen.query_one(".frame").max_scroll_y == 0


@pytest.mark.parametrize(("key", "answer"), [("enter", True), ("y", True), ("n", False), ("escape", False)])
async def test_confirm_is_answered_by_one_key(key: str, answer: bool) -> None:
    app = DialogApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.ask(pilot, ConfirmScreen("Remove a:1", HARMLESS))
        said = "\n".join(str(each.render()) for each in app.screen.query(Static))
        assert "tag a:1" in said
        assert "1 node · 5.0M come free" in said
        await pilot.press(key)
        assert app.answer is answer


@pytest.mark.parametrize("key", ["enter", "y"])
async def test_what_is_blocked_cannot_be_confirmed(key: str) -> None:
    app = DialogApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.ask(pilot, ConfirmScreen("Remove a:1", BLOCKED))
        await pilot.press(key)
        assert app.answer is NOTHING
        assert "container api uses a:1" in "\n".join(str(each.render()) for each in app.screen.query(Static))
        await pilot.press("escape")
        assert app.answer is False


async def test_a_long_removal_scrolls() -> None:
    app = DialogApp()
    async with app.run_test(size=(80, 24)) as pilot:
        many = HARMLESS._replace(what=tuple(f"node {n}" for n in range(60)))
        await app.ask(pilot, ConfirmScreen("Remove", many))
        await pilot.press("j", "j")
        assert app.screen.query_one(".effect").scroll_offset.y == 2
        assert app.screen.query_one(".frame").max_scroll_y == 0


async def test_a_signal_is_picked() -> None:
    app = DialogApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.ask(pilot, SignalScreen("api"))
        await pilot.press("j", "j", "k", "enter")
        assert app.answer == "INT"


async def test_a_prompt_gives_only_what_passes_its_check() -> None:
    def check(text: str) -> str:
        return "" if ":" in text else "a tag needs a version"

    app = DialogApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.ask(pilot, PromptScreen("Tag", "name", "api", note="a second name", check=check))
        assert app.text("#say") == "a tag needs a version"
        await pilot.press("enter")
        assert app.answer is NOTHING
        await typed(pilot, ":1")
        assert app.text("#say") == "a second name"
        await pilot.press("enter")
        assert app.answer == "api:1"


async def test_the_welcome_makes_starter_images_once_and_can_try_again() -> None:
    app = DialogApp()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = WelcomeScreen("/var/lib/cowl")
        await app.ask(pilot, screen)
        await pilot.press("enter", "enter")
        assert app.made == 1
        screen.progress(Progress("starter:base", 35 << 20, 70 << 20))
        assert "50%" in app.text("#state")
        screen.failed("no space left")
        assert "no space left" in app.text("#state")
        await pilot.press("enter")
        assert app.made == 2


async def test_the_welcome_loads_an_archive_by_its_path() -> None:
    app = DialogApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.ask(pilot, WelcomeScreen("/var/lib/cowl"))
        await pilot.press("o", "enter")
        assert (app.made, app.loaded) == (0, [])
        await typed(pilot, "/x.tar")
        await pilot.press("enter")
        assert app.loaded == ["/x.tar"]
        assert app.answer is NOTHING


async def test_escape_leaves_the_path_first_and_then_the_welcome() -> None:
    app = DialogApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.ask(pilot, WelcomeScreen("/var/lib/cowl"))
        await pilot.press("o", "x", "escape")
        assert app.answer is NOTHING
        await pilot.press("escape")
        assert app.answer is None
        assert app.made == 0


async def test_help_closes_by_the_key_that_opened_it_and_scrolls() -> None:
    groups = [(f"Group {n}", [(str(key), "does something") for key in range(9)]) for n in range(6)]
    app = DialogApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.ask(pilot, HelpScreen(groups))
        assert "Group 0" in "\n".join(str(each.render()) for each in app.screen.query(Static))
        await pilot.press("j")
        assert app.screen.query_one(".frame").scroll_offset.y == 1
        await pilot.press("question_mark")
        assert app.answer is None


@given(st.lists(st.integers(0, 12), max_size=12), st.integers(1, 3))
def test_groups_are_dealt_out_in_their_order(lengths: list[int], columns: int) -> None:
    groups = [(str(n), [("k", "w")] * length) for n, length in enumerate(lengths)]
    dealt = deal(groups, columns)
    assert [group for column in dealt for group in column] == groups
    assert len(dealt) <= columns


def test_help_is_made_of_bindings_and_follows_the_keymap() -> None:
    declared = [
        Binding("j,down", "move(1)", "Down", id="list.down"),
        Binding("question_mark", "help", "Help"),
        Binding("x", "secret", ""),
        ("q", "quit", "Quit"),
    ]
    assert help_page.bindings(declared) == [("j ↓", "Down"), ("?", "Help"), ("q", "Quit")]
    assert help_page.bindings(declared, {"list.down": "n"})[0] == ("n", "Down")


async def test_limits_are_raised_and_lifted() -> None:
    app = DialogApp()
    before = container("web", "base", limits=Limits(cpus=0.5, memory=64 << 20))
    async with app.run_test(size=(80, 24)) as pilot:
        await app.ask(pilot, LimitsScreen(before))
        assert app.text("#twin") == "$ nothing changes"
        await pilot.press("ctrl+u")
        await pilot.press("tab", "ctrl+u")
        await typed(pilot, "128m")
        await pilot.press("tab")
        await typed(pilot, "50")
        await pilot.press("tab", "space")
        said = "$ cowl update -m 128m --pids-limit 50 --cpus 0 --restart on-failure web"
        assert app.text("#twin") == said
        await pilot.press("enter")
    assert app.answer == Update(Limits(memory=128 << 20, pids=50), ("cpus",), "on-failure")


async def test_a_limit_that_is_none_is_not_taken() -> None:
    app = DialogApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.ask(pilot, LimitsScreen(container("web", "base", limits=Limits(cpus=0.5))))
        await pilot.press("tab")
        await typed(pilot, "1k")
        await pilot.press("enter")
        assert "6m is the least" in app.text("#twin")
        assert app.answer is NOTHING
        await pilot.press("escape")
    assert app.answer is None
