"""`@frozen`: a frozen dataclass that is made quickly.

Takes a class with annotated fields, hands on the dataclass. `dataclass(frozen=True)` writes and compiles six
methods for every class, half a millisecond of a command's start each time; here three of them are shared
functions. Fields, `replace`, `asdict`, comparison, hash and repr are a dataclass's own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

T = TypeVar("T")

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: Any) -> Any:
        """At run time nothing has to be told."""
        return lambda decorator: decorator


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    """Makes `cls` a frozen dataclass; what it defines itself stays."""
    made = dataclass(frozen=True, eq=False, repr=False)(cls)
    mine = vars(made)
    made.__frozen_fields__ = tuple(each.name for each in fields(made) if each.compare)  # type: ignore[attr-defined, arg-type]
    if "__eq__" not in mine:
        made.__eq__ = _equal  # type: ignore[method-assign, assignment]
        made.__hash__ = _hash  # type: ignore[method-assign, assignment]
    if "__repr__" not in mine:
        made.__repr__ = _show  # type: ignore[method-assign, assignment]
    return made


def _equal(self: Any, other: object) -> bool:
    if other.__class__ is not self.__class__:
        return NotImplemented
    mine, theirs = self.__dict__, other.__dict__
    return all(mine[name] == theirs[name] for name in self.__frozen_fields__)


def _hash(self: Any) -> int:
    return hash(tuple(self.__dict__[name] for name in self.__frozen_fields__))


def _show(self: Any) -> str:
    shown = (f"{each.name}={getattr(self, each.name)!r}" for each in fields(self) if each.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"
