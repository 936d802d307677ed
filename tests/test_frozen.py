"""What `@frozen` promises: a dataclass in everything but the time it takes to make."""

from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, is_dataclass, replace

import pytest

from stair.frozen import frozen


@frozen
class Point:
    x: int
    y: int = 2
    note: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True)
class Plain:
    x: int
    y: int = 2
    note: str = field(default="", compare=False, repr=False)


def test_it_is_a_dataclass():
    assert is_dataclass(Point)
    assert [each.name for each in fields(Point)] == ["x", "y", "note"]
    assert asdict(replace(Point(1), y=3)) == {"x": 1, "y": 3, "note": ""}


def test_it_compares_hashes_and_shows_as_a_dataclass_does():
    assert Point(1, note="a") == Point(1, note="b") != Point(2)
    assert hash(Point(1, note="a")) == hash(Point(1, note="b")) == hash(Plain(1))
    assert repr(Point(1)) == repr(Plain(1)).replace("Plain", "Point")
    assert Point(1) != Plain(1)


def test_it_stays_as_it_was_made():
    with pytest.raises(FrozenInstanceError):
        Point(1).x = 2  # type: ignore[misc]


def test_what_a_class_defines_itself_stays():
    @frozen
    class Loud:
        x: int

        def __eq__(self, other: object) -> bool:
            return True

        def __repr__(self) -> str:
            return "LOUD"

    assert Loud(1) == Loud(2)
    assert repr(Loud(1)) == "LOUD"
