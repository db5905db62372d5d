"""`linux.seccomp` of a runtime-spec document, compiled (config-linux.md, Seccomp).

A decision is made in three steps: the architecture; the number of the call, by bisection over runs of numbers
that are treated alike; the arguments, where a rule has conditions on them. Where the specification is silent,
this follows what runc makes of a document through libseccomp:

* a rule without conditions outweighs those with conditions on the same call, wherever it stands;
* several conditions on one argument are alternatives, on different arguments they must all hold;
* names that an architecture does not have are passed over;
* a call newer than all that a forbidding document names answers ENOSYS, so that programs fall back.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from engine.errors import LaunchError
from engine.kernel import cbpf, seccomp
from engine.kernel.cbpf import IF_EQUAL, IF_GREATER, IF_NOT_LESS, Code
from engine.model import JSON
from engine.oci import syscalls
from engine.oci.syscalls import X32_BIT, Architecture
from engine.record import Record

ACTIONS = {
    "KILL": seccomp.KILL_THREAD,
    "KILL_THREAD": seccomp.KILL_THREAD,
    "KILL_PROCESS": seccomp.KILL_PROCESS,
    "TRAP": seccomp.TRAP,
    "ERRNO": seccomp.ERRNO,
    "TRACE": seccomp.TRACE,
    "LOG": seccomp.LOG,
    "ALLOW": seccomp.ALLOW,
}
_WITH_DATA = {"ERRNO", "TRACE"}
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": seccomp.FLAG_TSYNC,
    "SECCOMP_FILTER_FLAG_LOG": seccomp.FLAG_LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": seccomp.FLAG_SPEC_ALLOW,
}
OPERATORS = frozenset(("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"))
_WORD = 0xFFFFFFFF
_NO_CALL = _WORD
"""The number -1: a tracer has already answered."""


class Condition(Record):
    """A comparison of one argument."""

    argument: int
    operator: str
    value: int
    """For MASKED_EQ the mask."""
    second: int


class Rule(Record):
    """What becomes of a call when all of *conditions* hold."""

    conditions: tuple[Condition, ...]
    action: int


class Answer(Record):
    """What becomes of one number: the first of *rules* whose conditions hold, else *action*."""

    rules: tuple[Rule, ...]
    action: int


class Table(Record):
    """The calls of one architecture that the document names."""

    architecture: Architecture
    answers: dict[int, Answer]


def compile_filter(document: JSON) -> seccomp.Filter:
    """The filter of *document*. Raises LaunchError for what is malformed, unknown or not supported."""
    try:
        return _compile(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LaunchError("the seccomp profile is malformed", f"{type(error).__name__}: {error}") from error


def _compile(document: JSON) -> seccomp.Filter:
    if document.get("listenerPath"):
        raise _unsupported(f"listenerPath {document['listenerPath']}", "nothing here answers for a listener")
    if document.get("listenerMetadata"):
        raise ValueError("listenerMetadata without listenerPath")
    default = _action(document["defaultAction"], document.get("defaultErrnoRet"))
    family = _architectures(document.get("architectures") or ())
    numbers = syscalls.tables(family)
    entries = document.get("syscalls") or ()
    tables = [Table(each, _decide(entries, each, numbers[each.name], default)) for each in family]
    program = cbpf.assemble(_program(tables, default))
    return seccomp.Filter(program, _flags(document.get("flags") or ()))


def _unsupported(what: str, why: str) -> LaunchError:
    return LaunchError(f"the seccomp profile asks for {what}", why, "take it out of the profile")


def _action(text: str, data: int | None) -> int:
    name = text.removeprefix("SCMP_ACT_")
    if name == "NOTIFY":
        raise _unsupported(text, "nothing here answers for a listener")
    if name not in ACTIONS or name == text:
        raise ValueError(f"unknown action {text}")
    if data is not None and name not in _WITH_DATA:
        raise ValueError(f"{text} takes no errnoRet")
    if data is not None and not 0 <= data <= 0xFFFF:
        raise ValueError(f"errnoRet {data} has more than 16 bits")
    action = ACTIONS[name]
    if name in ("LOG", "KILL_PROCESS") and seccomp.available() and not seccomp.knows_action(action):
        raise _unsupported(text, "this kernel does not know it")
    return action | (data if data is not None else errno.EPERM if name in _WITH_DATA else 0)


def _flags(names: Sequence[str]) -> int:
    flags = 0
    for name in names:
        if name == "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV":
            raise _unsupported(name, "it is for listeners, and nothing here answers for one")
        if name not in FLAGS:
            raise ValueError(f"unknown flag {name}")
        flags |= FLAGS[name]
    return flags


def _architectures(names: Sequence[str]) -> tuple[Architecture, ...]:
    """This machine's own, and of *names* those whose programs it can run."""
    family = syscalls.FAMILIES.get(os.uname().machine)
    if family is None:
        raise LaunchError(
            "cannot compile a seccomp profile",
            f"the system calls of {os.uname().machine} are not known to cowl",
            "run with --security-opt seccomp=unconfined",
        )
    wanted = set()
    for text in names:
        name = text.removeprefix("SCMP_ARCH_")
        known = {each.name for members in syscalls.FAMILIES.values() for each in members}
        if name == text or name not in known | syscalls.OTHERS | {"NATIVE"}:
            raise ValueError(f"unknown architecture {text}")
        wanted.add(name)
    return tuple(each for each in family if each is family[0] or each.name in wanted)


def _decide(
    entries: Sequence[JSON], architecture: Architecture, numbers: dict[str, int], default: int
) -> dict[int, Answer]:
    """What becomes of each call of *architecture* that the *entries* name."""
    plain: dict[int, int] = {}
    conditional: dict[int, list[Rule]] = {}
    for entry in entries:
        action = _action(entry["action"], entry.get("errnoRet"))
        alternatives = _alternatives(entry.get("args") or ())
        if not entry["names"]:
            raise ValueError("a rule has no names")
        if not isinstance(entry["names"], list):
            raise ValueError("names is not an array")
        for name in entry["names"]:
            number = numbers.get(name)
            if number is not None and alternatives:
                conditional.setdefault(number, []).extend(Rule(each, action) for each in alternatives)
            elif number is not None:
                plain.setdefault(number, action)  # as libseccomp has it: the first one stands
            if architecture is syscalls.X86 and not alternatives and name in syscalls.GATES:
                gate = syscalls.GATES[name]
                through = Condition(0, "MASKED_EQ", gate.mask, gate.value)
                conditional.setdefault(numbers[gate.call], []).append(Rule((through,), action))
    found = {number: Answer(tuple(rules), default) for number, rules in conditional.items()}
    found.update((number, Answer((), action)) for number, action in plain.items())
    return found


def _alternatives(entries: Sequence[JSON]) -> list[tuple[Condition, ...]]:
    """The conditions of one rule, as sets of which one must hold in full; none for an unconditional rule."""
    conditions = [_condition(entry) for entry in entries]
    if len({condition.argument for condition in conditions}) < len(conditions):
        return [(condition,) for condition in conditions]
    return [tuple(conditions)] if conditions else []


def _condition(entry: JSON) -> Condition:
    operator = entry["op"].removeprefix("SCMP_CMP_")
    argument: int = entry["index"]
    value, second = int(entry["value"]), int(entry.get("valueTwo") or 0)
    if operator not in OPERATORS or operator == entry["op"]:
        raise ValueError(f"unknown operator {entry['op']}")
    if argument not in range(6):
        raise ValueError(f"no argument has the index {argument}")
    if not (0 <= value < 1 << 64 and 0 <= second < 1 << 64):
        raise ValueError(f"{value} or {second} has more than 64 bits")
    return Condition(argument, operator, value, second)


def _program(tables: Sequence[Table], default: int) -> Code:
    """All of it; programs of an architecture that is not among *tables* end at their first call."""
    runs: dict[int, list[tuple[int, Code]]] = {}
    for table in tables:
        architecture = table.architecture
        placed = runs.setdefault(architecture.token, [])
        placed += _runs(table, default)
        if architecture is syscalls.X86_64 and syscalls.X32 not in [each.architecture for each in tables]:
            placed.append((X32_BIT, cbpf.leave(seccomp.KILL_THREAD)))
            placed.append((_NO_CALL, cbpf.leave(default)))
    code = cbpf.leave(seccomp.KILL_THREAD)
    for token, placed in reversed(runs.items()):
        code = cbpf.choose(IF_EQUAL, token, [cbpf.load(cbpf.NUMBER), *_bisect(placed)], code)
    return [cbpf.load(cbpf.ARCHITECTURE), *code]


def _runs(table: Table, default: int) -> list[tuple[int, Code]]:
    """Every first number of a run that is treated alike, and how; they cover all from the base on."""
    unnamed = Answer((), default)
    found: list[tuple[int, Answer]] = []
    position = table.architecture.base
    for number, answer in sorted(table.answers.items()):
        if number > position:
            found.append((position, unnamed))
        found.append((number, answer))
        position = number + 1
    forbidding = default & ~0xFFFF == seccomp.ERRNO and table.answers
    found.append((position, Answer((), seccomp.ERRNO | errno.ENOSYS) if forbidding else unnamed))
    wide = table.architecture.wide
    return [
        (number, _answer(answer, wide))
        for place, (number, answer) in enumerate(found)
        if not place or answer != found[place - 1][1]
    ]


def _bisect(runs: Sequence[tuple[int, Code]]) -> Code:
    """Find the run of the number taken; as many steps as the number of runs has bits."""
    if len(runs) == 1:
        return runs[0][1]
    middle = len(runs) // 2
    return cbpf.choose(IF_NOT_LESS, runs[middle][0], _bisect(runs[middle:]), _bisect(runs[:middle]))


def _answer(answer: Answer, wide: bool) -> Code:
    code = cbpf.leave(answer.action)
    for rule in reversed(answer.rules):
        body = cbpf.leave(rule.action)
        for condition in reversed(rule.conditions):
            body = _test(condition, wide, body)
        code = [*body, *code]
    return code


def _test(condition: Condition, wide: bool, body: Code) -> Code:
    """Go through *body* if *condition* holds, else past its end. Narrow arguments have a low word only."""
    argument, operator, value, second = condition
    low, high = value & _WORD, value >> 32
    if operator == "MASKED_EQ":
        code = [cbpf.load(cbpf.low(argument)), cbpf.keep_bits(low), *_need(IF_EQUAL, second & _WORD, body)]
        if not wide or not (high or second >> 32):
            return code
        return [cbpf.load(cbpf.high(argument)), cbpf.keep_bits(high), *_need(IF_EQUAL, second >> 32, code)]
    test, positive = _LOW_TESTS[operator]
    code = [cbpf.load(cbpf.low(argument)), *(_need if positive else _refuse)(test, low, body)]
    if not wide:
        return code
    done = len(code) - len(body)  # to be skipped when the high word has decided that it holds
    if operator == "NE":
        code = [cbpf.skip(IF_EQUAL, high, if_false=done), *code]
    elif operator in ("GT", "GE"):
        code = [cbpf.skip(IF_GREATER, high, if_true=done + 1), *_need(IF_EQUAL, high, code)]
    elif operator in ("LT", "LE"):
        code = _refuse(IF_GREATER, high, [cbpf.skip(IF_EQUAL, high, if_false=done), *code])
    else:
        code = _need(IF_EQUAL, high, code)
    return [cbpf.load(cbpf.high(argument)), *code]


_LOW_TESTS = {
    "EQ": (IF_EQUAL, True),
    "NE": (IF_EQUAL, False),
    "GT": (IF_GREATER, True),
    "GE": (IF_NOT_LESS, True),
    "LT": (IF_NOT_LESS, False),
    "LE": (IF_GREATER, False),
}
"""By operator: the test of the low word, and whether it must hold or must not."""


def _need(test: int, value: int, code: Code) -> Code:
    """Go through *code* if *test* holds, else past its end."""
    return [cbpf.skip(test, value, if_false=len(code)), *code]


def _refuse(test: int, value: int, code: Code) -> Code:
    """Go past the end of *code* if *test* holds, else through it."""
    return [cbpf.skip(test, value, if_true=len(code)), *code]
