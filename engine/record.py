"""`typing.NamedTuple` for those modules that every launch loads.

To a type checker it is that very thing, and its instances behave alike. But `typing` compiles a constructor
for each class, 0.1 to 0.3 ms: over the forty on the road of `cowl run`, 8 ms.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any
    from typing import NamedTuple as Record
else:
    from _collections import _tuplegetter as field_getter

    class _Maker(type):
        """Turns annotations into fields."""

        def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> type:
            fields = tuple(body.get("__annotations__", ()))
            defaults = {field: body[field] for field in fields if field in body}
            for index, field in enumerate(fields):
                body[field] = field_getter(index, None)
            body.update(__slots__=(), __match_args__=fields, _fields=fields, _field_defaults=defaults)
            return super().__new__(cls, name, bases, body)

    class Record(tuple, metaclass=_Maker):
        """A tuple with named fields; see `typing.NamedTuple` for all of it."""

        def __new__(cls, *values: Any, **named: Any) -> Record:
            """As the class's fields are declared, by place or by name, defaults at the end."""
            fields = cls._fields
            if not named and len(values) == len(fields):
                return tuple.__new__(cls, values)
            rest = fields[len(values) :]
            if len(values) > len(fields) or not named.keys() <= set(rest):
                raise TypeError(f"{cls.__name__} does not take these: {values!r}, {named!r}")
            defaults = cls._field_defaults
            try:
                filled = [named[field] if field in named else defaults[field] for field in rest]
            except KeyError as error:
                raise TypeError(f"{cls.__name__} needs {error}") from None
            return tuple.__new__(cls, (*values, *filled))

        @classmethod
        def _make(cls, values: Any) -> Record:
            return cls(*values)

        def _replace(self, **named: Any) -> Record:
            made = tuple.__new__(type(self), map(named.pop, self._fields, self))
            if named:
                raise ValueError(f"{type(self).__name__} has no fields {list(named)!r}")
            return made

        def _asdict(self) -> dict[str, Any]:
            return dict(zip(self._fields, self, strict=True))

        def __repr__(self) -> str:
            pairs = ", ".join(f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
            return f"{type(self).__name__}({pairs})"

        def __getnewargs__(self) -> tuple[Any, ...]:
            return tuple(self)


__all__ = ["Record"]
