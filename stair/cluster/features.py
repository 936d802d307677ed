"""A constraint, `a&b`, `a|b`, `(a|b)&c`, `[a|b]`, `a*2`, `[a*2&b*4]`, and the nodes it leaves. Pure.

Takes sbatch's --constraint and the features of every node, hands on Choices, one of which a job must live
with. The surprise: without parentheses Slurm reads from left to right, so `a|b&c` means (a|b)&c; and a
count anywhere stops the other features from narrowing the nodes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from stair.errors import UsageError
from stair.frozen import frozen

TOKEN = re.compile(r"\s*([][()&|,*]|[^][()&|,*\s]+)")
Nodes = frozenset[str]


@frozen
class Choice:
    """Nodes that a job may have, and how many it must have of some of them."""

    allowed: Nodes
    least: tuple[tuple[str, int, Nodes], ...] = ()
    """(feature, how many, the nodes that have it)."""


def feature_names(constraint: str) -> tuple[str, ...]:
    """The features that a constraint names. Raises UsageError where it cannot be read."""
    return _Reader(constraint, {}).names if constraint.strip() else ()


def choices(constraint: str, features: Mapping[str, frozenset[str]]) -> tuple[Choice, ...]:
    """What satisfies a constraint among nodes of these features, by name.

    An empty constraint leaves every node. Raises UsageError where it cannot be read.
    """
    if not constraint.strip():
        return (Choice(frozenset(features)),)
    found = _Reader(constraint, features).found
    if any(choice.least for choice in found):
        return tuple(Choice(frozenset(features), choice.least) for choice in found)
    return tuple(found)


class _Reader:
    """Reads a constraint once, from left to right."""

    def __init__(self, constraint: str, features: Mapping[str, frozenset[str]]) -> None:
        self.constraint, self.features = constraint, features
        self.words = TOKEN.findall(constraint)
        self.place = 0
        self.names: tuple[str, ...] = ()
        if "".join(self.words) != re.sub(r"\s", "", constraint):
            raise self._bad()
        self.found = self._expression(alternatives=False)
        if self.place != len(self.words):
            raise self._bad()

    def _expression(self, *, alternatives: bool) -> list[Choice]:
        """Terms with & and | between; inside of brackets | keeps its sides apart instead of uniting them."""
        found = self._term()
        while (sign := self._peek()) in ("&", ",", "|"):
            self.place += 1
            right = self._term()
            if sign != "|":
                found = [_both(one, other) for one in found for other in right]
            elif (
                not alternatives and len(found) == len(right) == 1 and not (found[0].least or right[0].least)
            ):
                found = [Choice(found[0].allowed | right[0].allowed)]
            else:
                found = found + right
        return found

    def _term(self) -> list[Choice]:
        word = self._take()
        if word in ("(", "["):
            found = self._expression(alternatives=word == "[")
            if self._take() != {"(": ")", "[": "]"}[word]:
                raise self._bad()
            return found
        if not word or word in "])&|,*":
            raise self._bad()
        self.names = (*self.names, word)
        having = frozenset(node for node, own in self.features.items() if word in own)
        if self._peek() != "*":
            return [Choice(having)]
        self.place += 1
        number = self._take()
        if not number.isdigit() or int(number) < 1:
            raise self._bad()
        return [Choice(frozenset(self.features), ((word, int(number), having),))]

    def _peek(self) -> str:
        return self.words[self.place] if self.place < len(self.words) else ""

    def _take(self) -> str:
        word = self._peek()
        self.place += 1
        return word

    def _bad(self) -> UsageError:
        return UsageError(
            f"constraint '{self.constraint}' cannot be read", hint="such as a&b, a|b, [a|b] or (a|b)&c"
        )


def _both(one: Choice, other: Choice) -> Choice:
    return Choice(one.allowed & other.allowed, one.least + other.least)
