"""Slurm's short form of many host names, `n[1-3,007-010],gpu-a[1-2]b[3,5]`, and back.

Takes and hands on plain strings, as `scontrol show hostnames` and `show hostlist` do, but without a process.
The surprise: a leading zero counts. n[008-010] is n008, n009, n010, and n8 is another host than n008.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable

from stair.errors import UsageError

PIECE = re.compile(r"\[([^\[\]]*)\]|([^\[\],]+)")
LIMIT = 100_000
"""More hosts than any list of ours can mean; scontrol's own MAX_RANGE is of the same size."""


def expand(text: str) -> tuple[str, ...]:
    """The single names, in the order and as often as the text has them.

    Raises UsageError for brackets or ranges that Slurm does not read either.
    """
    return tuple(name for part in _split(text) for name in _expand_one(part))


def compress(names: Iterable[str]) -> str:
    """A short form for people: sorted, each name once. `expand` gives the same names back.

    Only the last number of a name is drawn together.
    """
    groups: dict[str, list[str]] = {}
    alone: set[str] = set()
    for name in set(names):
        match = re.fullmatch(r"(.*?)([0-9]+)", name)
        if match and len(match[2]) <= 18:
            groups.setdefault(match[1], []).append(match[2])
        else:
            alone.add(name)
    parts = [(name, "") for name in alone]
    for prefix, numbers in groups.items():
        parts.append((prefix, numbers[0] if len(numbers) == 1 else f"[{','.join(_ranges(numbers))}]"))
    return ",".join(prefix + rest for prefix, rest in sorted(parts))


def _split(text: str) -> list[str]:
    """Cuts at the commas, blanks and line ends outside of brackets."""
    parts, depth = [""], 0
    for sign in text:
        depth += {"[": 1, "]": -1}.get(sign, 0)
        if depth not in (0, 1):
            raise _bad(text)
        if depth == 0 and (sign == "," or sign.isspace()):
            parts.append("")
        else:
            parts[-1] += sign
    if depth:
        raise _bad(text)
    return [part for part in parts if part]


def _expand_one(part: str) -> list[str]:
    pieces: list[list[str]] = []
    count, place = 1, 0
    for match in PIECE.finditer(part):
        inside, literal = match.groups()
        pieces.append([literal] if inside is None else _numbers(inside, part))
        count, place = count * len(pieces[-1]), match.end()
        if count > LIMIT:
            raise UsageError(f"host list '{part}' means more than {LIMIT:,} hosts")
    if place != len(part):
        raise _bad(part)
    return ["".join(words) for words in itertools.product(*pieces)]


def _numbers(inside: str, part: str) -> list[str]:
    numbers: list[str] = []
    for item in inside.split(","):
        match = re.fullmatch(r"\s*([0-9]+)(?:-([0-9]+))?\s*", item)
        if not match or len(match[1]) > 18 or len(match[2] or "") > 18:
            raise _bad(part)
        low, high = match[1], match[2] or match[1]
        if int(high) < int(low):
            raise _bad(part)
        if int(high) - int(low) >= LIMIT:
            raise UsageError(f"host list '{part}' means more than {LIMIT:,} hosts")
        numbers += [str(number).zfill(len(low)) for number in range(int(low), int(high) + 1)]
    return numbers


def _ranges(numbers: Iterable[str]) -> list[str]:
    """`1`, `2`, `3`, `007` become `1-3`, `007`: a run goes on while zeros in front stay as they are."""
    runs: list[list[str]] = []
    for number in sorted(numbers, key=lambda text: (int(text), len(text))):
        if runs:
            first, last = runs[-1][0], runs[-1][-1]
            if number == str(int(last) + 1).zfill(len(first)):
                runs[-1].append(number)
                continue
        runs.append([number])
    return [run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]


def _bad(text: str) -> UsageError:
    return UsageError(f"'{text}' is no list of hosts", hint="such as n[1-4,7] or n1,n2")
