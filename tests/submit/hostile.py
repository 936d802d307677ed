"""Words that break scripts which quote by hand, and a program that says what it got."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from hypothesis import strategies as st

SNIPPETS = (
    *(
        " ",
        "  ",
        "\t",
        "\n",
        "\r",
        "\r\n",
        "'",
        '"',
        "\\",
        "\\\\",
        "`id`",
        "$(id)",
        "$HOME",
        "${PATH}",
        "$'x'",
    ),
    *(";", "&", "&&", "|", ">", "<", "*", "?", "[a]", "{a,b}", "~", "!", "!!", "#", "%", "%j", "%%", "%A_%a"),
    *(
        "-",
        "--",
        "=",
        "--job-name=x",
        "\n#SBATCH --job-name=x\n",
        "#SBATCH",
        "\n#PBS -N x",
        "EOF",
        "a",
        "run",
    ),
    *("é", "漢字", "\u2028", "\u200b", "\x01", "\x1b[1m", "\x7f", "\x85", "\udcff"),
)

words = st.one_of(
    st.lists(st.sampled_from(SNIPPETS), max_size=8).map("".join),
    st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20),
)
"""What argv and variables may hold: anything without a NUL."""

lines = words.map(lambda word: word.replace("\n", " ").replace("\udcff", ""))
"""What an sbatch option may hold: one line of text."""


@dataclass(frozen=True)
class Case:
    """Words for an argv, and variables."""

    argv: list[str]
    environment: dict[str, str]


def draw_cases(count: int, seed: int) -> list[Case]:
    """That many cases of up to five words and three variables; the variables of all have different names."""
    random = Random(seed)

    def word() -> str:
        return "".join(random.choices(SNIPPETS, k=random.randrange(9)))

    return [
        Case(
            [word() for _ in range(random.randrange(6))],
            {f"HOSTILE_{number}_{place}": word() for place in range(random.randrange(4))},
        )
        for number in range(count)
    ]


def draw_line(random: Random) -> str:
    """One line of text for an option."""
    return "".join(random.choices(SNIPPETS, k=8)).replace("\n", " ").replace("\udcff", "")


def joined(cases: Sequence[Case]) -> Case:
    """Many cases as one, since every start of a process costs milliseconds."""
    argv = [word for case in cases for word in case.argv]
    return Case(argv, {name: value for case in cases for name, value in case.environment.items()})


WITNESS = """\
#!/bin/sh
{ printf '%s\\0' "$@"; printf 'environment\\0'; env -0; printf 'end\\0'; } >> "$WITNESS"
"""
"""A shell script: it starts in a millisecond."""


def write_witness(folder: Path) -> Path:
    """A program that appends its argv and its environment to the file named by WITNESS."""
    path = folder / "witness"
    path.write_text(WITNESS)
    path.chmod(0o755)
    return path


def read_witness(path: Path) -> list[Case]:
    """What the witness saw, start by start. Its first argument must be the number of those that follow."""
    parts = os.fsdecode(path.read_bytes()).split("\0")
    found, place = [], 0
    while place < len(parts) - 1:
        count = int(parts[place])
        argv = parts[place + 1 : place + 1 + count]
        assert parts[place + 1 + count] == "environment"
        end = parts.index("end", place + 2 + count)
        pairs = [pair.partition("=") for pair in parts[place + 2 + count : end]]
        found.append(Case(argv, {name: value for name, _, value in pairs if name.startswith("HOSTILE_")}))
        place = end + 1
    return found
