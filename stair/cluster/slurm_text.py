"""The texts that Slurm's commands print become words and numbers. Pure; nothing is known here of meanings.

Takes the output of `scontrol -o show …`, `scontrol show config` and `sacctmgr -P`, hands on mappings of
strings, and reads the values in them: times, memory, TRES, GRES, node states. Slurm 22.05 to 25.11 print
the same forms with other fields; a field that is absent is simply no key. The surprise: `None` is what
Slurm calls unlimited, not set, or not applicable: nothing that could refuse anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from stair.frozen import frozen

NOTHING = {"", "n/a", "none", "(null)", "unlimited", "infinite", "partition_limit", "-1", "n"}
"""How Slurm writes that there is no value, in small letters."""
FREE = ("Reason", "Comment", "Extra", "InstanceId", "InstanceType", "ReservationName")
"""Fields whose text is a person's own, in the order in which `show node` prints them."""
KEY = re.compile(r"[A-Z][A-Za-z0-9_:/]*=")
FREE_KEY = re.compile(
    rf"(?:{'|'.join((*FREE, 'TLSCertTokenSet', 'TLSCertLastRenewal', 'Topology', 'Parameters'))})="
)
STATE_MARKS = {
    "*": "NOT_RESPONDING",
    "~": "POWERED_DOWN",
    "#": "POWERING_UP",
    "!": "POWER_DOWN",
    "%": "POWERING_DOWN",
    "$": "MAINTENANCE",
    "@": "REBOOT_REQUESTED",
    "^": "REBOOT_ISSUED",
    "-": "PLANNED",
}
"""sinfo(1), NODE STATE CODES: a mark behind the state."""


@frozen
class Gres:
    """A kind of generic resource of one node."""

    name: str
    type: str
    """Empty where the cluster names no types."""
    count: int


def records(text: str) -> list[dict[str, str]]:
    """`scontrol -o show …`: one record a line, `Key=value` with blanks in some values."""
    return [record for line in text.splitlines() if (record := _record(line))]


def config(text: str) -> dict[str, str]:
    """`scontrol show config`: `Name = value` lines; other lines are left out."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {name.strip(): value.strip() for name, equals, value in pairs if equals and name.strip()}


def tables(text: str, first: Mapping[str, str]) -> dict[str, list[dict[str, str]]]:
    """Several `sacctmgr -P` tables in one text: by the name that `first` gives to each first column's title.

    A header line begins with such a title. Prompts of sacctmgr's interactive mode are left out. A row that is
    shorter or longer than its header (a `|` in a description) is left out too.
    """
    found: dict[str, list[dict[str, str]]] = {}
    columns: list[str] = []
    rows: list[dict[str, str]] = []
    for line in text.splitlines():
        while line.startswith("sacctmgr:"):
            line = line.removeprefix("sacctmgr:").lstrip()
        words = [word.strip() for word in line.split("|")]
        if len(words) > 1 and words[0] in first:
            columns, rows = words, found.setdefault(first[words[0]], [])
        elif columns and len(words) == len(columns):
            rows.append(dict(zip(columns, words, strict=True)))
    return found


def seconds(text: str) -> int | None:
    """`7-00:00:00`, `01:00:00`, `30` (minutes), `5 sec`, `2 min`; None for no limit.

    Raises ValueError for what is no time. slurm.conf(5), "time formats".
    """
    text = text.strip()
    if text.lower() in NOTHING:
        return None
    if match := re.fullmatch(r"(\d+)\s*(s|sec|min|minutes|hours?)", text):
        return int(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2][0]]
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if not match:
        raise ValueError(f"'{text}' is no time of Slurm's")
    days, *rest = match.groups()
    numbers = [int(number) for number in rest if number is not None]
    # D-H, D-H:M, D-H:M:S, H:M:S begin with hours; M and M:S with minutes.
    units = (3600, 60, 1) if days is not None or len(numbers) == 3 else (60, 1)
    return 86400 * int(days or 0) + sum(n * unit for n, unit in zip(numbers, units, strict=False))


def megabytes(text: str) -> int | None:
    """`6000M`, `4G`, `1.46T`, `6000` (MiB) in MiB; None for no limit. Raises ValueError.

    Slurm rounds what it prints with decimals: 1.46T may be anything below 1.465T, which is the amount told.
    """
    text = text.strip()
    if text.lower() in NOTHING:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGTP]?)B?[cn]?", text, re.IGNORECASE)
    if not match:
        raise ValueError(f"'{text}' is no amount of memory")
    factor = {"K": 1 / 1024, "": 1, "M": 1, "G": 1024, "T": 1024**2, "P": 1024**3}[match[2].upper()]
    decimals = len(match[1].partition(".")[2])
    slack = 0.5 / 10**decimals if decimals else 0.0
    return int((float(match[1]) + slack) * factor)


def count(text: str) -> int | None:
    """`8`, `2K`; None for no limit. Raises ValueError."""
    text = text.strip()
    if text.lower() in NOTHING:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMG]?)", text)
    if not match:
        raise ValueError(f"'{text}' is no number")
    return int(float(match[1]) * {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3}[match[2]])


def tres(text: str) -> dict[str, int]:
    """`cpu=8,mem=6000M,gres/gpu:h100=8` as a mapping; memory in MiB. Raises ValueError."""
    found: dict[str, int] = {}
    for word in text.split(","):
        name, equals, value = word.strip().partition("=")
        number = megabytes(value) if name == "mem" else count(value)
        if equals and number is not None:
            found[name] = number
    return found


def gres(text: str) -> tuple[Gres, ...]:
    """`gpu:h100:8(S:0-1)`, `gpu:4,shard:16`, `(null)`. Raises ValueError."""
    found = []
    for word in re.sub(r"\([^)]*\)", "", text).split(","):
        name, *rest = [part for part in word.strip().split(":") if part and part != "no_consume"] or [""]
        if not name:
            continue
        number = count(rest.pop()) if rest and re.fullmatch(r"\d+[KMG]?", rest[-1]) else 1
        found.append(Gres(name, ":".join(rest), number or 0))
    return tuple(found)


def node_state(text: str) -> tuple[str, frozenset[str]]:
    """`IDLE+DRAIN`, `MIXED*`, `DOWN*+CLOUD`: the state itself, and all that is said besides."""
    base, *flags = text.strip().upper().split("+")
    marks = re.search(r"[^A-Z_]*$", base)
    signs = marks[0] if marks else ""
    said = {STATE_MARKS[sign] for sign in signs if sign in STATE_MARKS}
    return base[: len(base) - len(signs)] or "UNKNOWN", frozenset(
        said | {flag.strip("*~#!%$@^-") for flag in flags}
    )


def names(text: str) -> tuple[str, ...] | None:
    """`a,b,c`; None for ALL and for no value."""
    if text.strip().lower() in NOTHING | {"all"}:
        return None
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _record(line: str) -> dict[str, str]:
    record: dict[str, list[str]] = {}
    words: list[str] = []
    pattern = KEY
    for word in line.split(" "):
        if "=" in word and pattern.match(word):
            key, _, value = word.partition("=")
            words = record.setdefault(key, [])
            words.append(value)
            # A person may write anything, Key=value included: only what Slurm prints behind it ends it.
            pattern = FREE_KEY if key in FREE else pattern
        elif words:
            words.append(word)
    return {key: " ".join(words).strip() for key, words in record.items()}
