"""`Record` behaves as `typing.NamedTuple` does, which is what type checkers take it for."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any, NamedTuple

import pytest

from engine.record import Record


class Ours(Record):
    """Has a default, a method and a property."""

    name: str
    size: int = 3
    parts: tuple[str, ...] = ()

    @property
    def double(self) -> int:
        """Twice the size."""
        return self.size * 2


class Theirs(NamedTuple):
    """The same."""

    name: str
    size: int = 3
    parts: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (("a",), {}),
        (("a", 1), {"parts": ("b",)}),
        ((), {"size": 7, "name": "z"}),
        (("a", 1, ("c",)), {}),
        ((), {}),
        (("a", 1, (), 2), {}),
        (("a",), {"name": "b"}),
        (("a",), {"colour": "red"}),
    ],
)
def test_it_is_made_as_a_named_tuple_is(values: tuple[Any, ...], named: dict[str, Any]) -> None:
    def made(kind: type) -> object:
        try:
            return tuple(kind(*values, **named))
        except TypeError:
            return TypeError

    assert made(Ours) == made(Theirs)


def test_it_reads_as_a_named_tuple_does() -> None:
    ours, theirs = Ours("a", parts=("b",)), Theirs("a", parts=("b",))
    assert ours == theirs == ("a", 3, ("b",))
    assert (ours.name, ours.size, ours.parts, ours.double) == ("a", 3, ("b",), 6)
    assert ours._asdict() == theirs._asdict()
    assert ours._replace(size=9) == ("a", 9, ("b",))
    assert type(ours._replace(size=9)) is Ours
    assert Ours._make(["x", 1, ()]) == ("x", 1, ())
    assert Ours._fields == Theirs._fields
    assert Ours._field_defaults == Theirs._field_defaults
    assert repr(ours) == repr(theirs).replace("Theirs", "Ours")
    assert json.dumps(ours) == json.dumps(theirs)
    match ours:
        case Ours("a", size):
            assert size == 3
        case _:
            pytest.fail("it does not match by position")


def test_it_is_frozen_and_has_no_room_for_more() -> None:
    ours: Any = Ours("a")
    with pytest.raises(AttributeError):
        ours.name = "b"
    with pytest.raises(AttributeError):
        ours.colour = "red"
    with pytest.raises(ValueError, match="colour"):
        ours._replace(colour="red")


def test_it_travels() -> None:
    ours = Ours("a", 5)
    for back in (pickle.loads(pickle.dumps(ours)), copy.copy(ours), copy.deepcopy(ours)):
        assert back == ours
        assert type(back) is Ours
