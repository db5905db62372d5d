"""The command that the app shows means what the app did: the command line reads it back as the same."""

from __future__ import annotations

import json
import shlex

from hypothesis import given
from hypothesis import strategies as st

from engine.cli.launchwords import launch_options
from engine.cli.options import RUN
from engine.cli.parser import parse
from engine.images.instructions import apply_instructions
from engine.model import LaunchOptions, Limits, Volume
from tui import twin
from tui.dialogs.commit import argument

WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs", "Cc")), max_size=12)
NAMES = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,10}", fullmatch=True)
PATHS = st.from_regex(r"/[a-zA-Z0-9 _'\"-]{0,10}", fullmatch=True)
PAIRS = st.tuples(st.from_regex(r"[A-Z_]{1,5}", fullmatch=True), WORDS).map("=".join)
VOLUMES = st.tuples(PATHS, PATHS, st.booleans()).map(lambda given: Volume(*given))
LIMITS = st.tuples(
    st.none() | st.integers(1, 6400).map(lambda hundredths: hundredths / 100),
    st.none() | st.integers(6 << 20, 1 << 40),
    st.none() | st.integers(1, 100_000),
).map(lambda given: Limits(cpus=given[0], memory=given[1], pids=given[2]))
OPTIONS = st.fixed_dictionaries(
    {
        "image": st.from_regex(r"[a-z]{1,8}(:[a-z0-9.]{1,5})?", fullmatch=True),
        "command": st.lists(WORDS, max_size=4).map(tuple),
        "name": st.none() | NAMES,
        "env": st.lists(PAIRS, max_size=3).map(tuple),
        "workdir": st.none() | PATHS,
        "user": st.none() | NAMES,
        "interactive": st.booleans(),
        "tty": st.booleans(),
        "auto_remove": st.booleans(),
        "network": st.sampled_from(["none", "host"]),
        "volumes": st.lists(VOLUMES, max_size=2).map(tuple),
        "limits": LIMITS,
    }
).map(lambda given: LaunchOptions(**given))


@given(OPTIONS)
def test_the_command_line_reads_the_launch_back(options: LaunchOptions) -> None:
    words = shlex.split(twin.run(options))
    assert words[:3] == ["cowl", "run", "-d"]
    parsed = parse(words[2:], RUN.options)
    assert parsed is not None
    assert launch_options(parsed.values, parsed.rest) == options


@given(
    st.lists(WORDS, min_size=1, max_size=4),
    st.dictionaries(st.from_regex(r"[A-Z]{1,4}", fullmatch=True), WORDS),
)
def test_the_engine_reads_the_configuration_back(command: list[str], variables: dict[str, str]) -> None:
    changes = [f"CMD {argument('CMD', shlex.join(command))}"]
    if variables:
        typed = shlex.join(f"{name}={value}" for name, value in variables.items())
        changes.append(f"ENV {argument('ENV', typed)}")
    config = apply_instructions({}, changes)
    assert config["Cmd"] == command
    assert sorted(config.get("Env", [])) == sorted(f"{name}={value}" for name, value in variables.items())


def test_a_commit_is_named_as_it_would_be_typed() -> None:
    request = twin.CommitRequest("api:2", "it's faster", "me", ('CMD ["sh"]',), True)
    words = shlex.split(twin.commit("api", request))
    assert words == [
        "cowl",
        "commit",
        "-m",
        "it's faster",
        "-a",
        "me",
        "-c",
        'CMD ["sh"]',
        "-p",
        "api",
        "api:2",
    ]
    assert json.loads(words[7].removeprefix("CMD ")) == ["sh"]
