"""What Slurm says of one job, in one form, whichever version and command it came from.

Hands on JobState, one per job or array member, and the small readings that squeue.py and sacct.py share:
states, numbers, times, array ranges. The surprise: the JSON of Slurm writes the same number as 5, as
{"set": true, "infinite": false, "number": 5} or as null, and a state as a word or as a list of flags.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

WAITING = frozenset(
    ("PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD", "LAUNCH_FAILED")
)
"""States in which a job has no nodes and may get some."""
HOLDING = frozenset(
    (
        *("RUNNING", "COMPLETING", "CONFIGURING", "POWER_UP_NODE", "SUSPENDED", "STOPPED"),
        *("RESIZING", "SIGNALING", "STAGE_OUT"),
    )
)
"""States in which a job has nodes, at work or on its way in or out."""
ENDED = frozenset(
    (
        *("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "PREEMPTED", "NODE_FAIL", "OUT_OF_MEMORY"),
        *("BOOT_FAIL", "DEADLINE", "RECONFIG_FAIL", "REVOKED"),
    )
)
"""States that last. All three sets: slurm.schedmd.com/job_state_codes.html."""

UNKNOWN = "UNKNOWN"
_SHORT = {
    **{"PD": "PENDING", "R": "RUNNING", "CG": "COMPLETING", "CD": "COMPLETED", "F": "FAILED"},
    **{"CA": "CANCELLED", "TO": "TIMEOUT", "PR": "PREEMPTED", "NF": "NODE_FAIL", "OOM": "OUT_OF_MEMORY"},
    **{"BF": "BOOT_FAIL", "DL": "DEADLINE", "CF": "CONFIGURING", "RQ": "REQUEUED", "RH": "REQUEUE_HOLD"},
    **{"RF": "REQUEUE_FED", "SE": "SPECIAL_EXIT", "RD": "RESV_DEL_HOLD", "RV": "REVOKED", "S": "SUSPENDED"},
    **{"ST": "STOPPED", "RS": "RESIZING", "SI": "SIGNALING", "SO": "STAGE_OUT", "REQUEUE": "REQUEUED"},
}


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a job that was requeued afterwards."""

    state: str
    nodes: str
    start: float | None
    end: float | None
    exit_code: int
    signal: int


@dataclass(frozen=True, slots=True)
class JobState:
    """A job, or a member of an array. Times are seconds since 1970; None: there is none yet."""

    id: str
    """As people write it: 12, or 12_3 for a member."""
    index: int | None
    state: str
    """One of WAITING, HOLDING, ENDED, or UNKNOWN."""
    reason: str = ""
    """Slurm's own word for why it waits or how it ended; pending.py explains it."""
    nodes: str = ""
    """In Slurm's short form: n[1-4]."""
    start: float | None = None
    """Of a waiting job: when Slurm expects it to start."""
    end: float | None = None
    """Of a job that holds nodes: when its time is up."""
    eligible: float | None = None
    submitted: float | None = None
    exit_code: int = 0
    signal: int = 0
    restarts: int = 0
    time_limit_s: float | None = None
    """None: unlimited, or not said."""
    dependency: str = ""
    history: tuple[Run, ...] = ()
    """Its earlier runs, oldest first; only accounting knows them."""
    rest: bool = False
    """Stands for all members of the array that Slurm did not name (`12_[1,3,...]`)."""

    @property
    def waiting(self) -> bool:
        return self.state in WAITING

    @property
    def holding(self) -> bool:
        return self.state in HOLDING

    @property
    def alive(self) -> bool:
        """Whether it runs or will run without anybody doing anything."""
        return self.state in WAITING or self.state in HOLDING


def normal_state(said: Any) -> str:
    """The one word for a state: `CANCELLED by 0`, `CG`, ["RUNNING", "COMPLETING"] and their like.

    Among flags the one that says most about what comes next wins over the base state, as in squeue.
    """
    if isinstance(said, str):
        return _one_state(said)
    words = said if isinstance(said, list) else [said]
    found = [_one_state(str(word)) for word in words if word]
    for word in ("REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD", "REQUEUED", "REQUEUE_FED"):
        if word in found:
            return word
    flags = [word for word in found if word in HOLDING and word != "RUNNING"]
    return next(iter([*flags, *found]), UNKNOWN)


@lru_cache(maxsize=64)
def _one_state(word: str) -> str:
    name = word.strip().upper().split(" ")[0].rstrip("+")
    name = _SHORT.get(name, name)
    return name if name in WAITING or name in HOLDING or name in ENDED else UNKNOWN


def number(said: Any) -> float | None:
    """A number in any of Slurm's forms; None when it is not set or infinite."""
    if isinstance(said, dict):
        # Slurm 23.02 leaves `number` at 0 where `set` is false.
        return number(said.get("number")) if said.get("set", True) and not said.get("infinite") else None
    if isinstance(said, bool) or said is None:
        return None
    try:
        return float(said)
    except (TypeError, ValueError):
        return None


def moment(said: Any) -> float | None:
    """A time, as seconds since 1970 or as Slurm's local time `2025-01-31T12:00:00`; None for the rest."""
    value = number(said)
    if value is not None:
        return value or None
    if not isinstance(said, str) or "T" not in said:
        return None  # Unknown, N/A, None
    try:
        return datetime.strptime(said, "%Y-%m-%dT%H:%M:%S").timestamp()
    except ValueError:
        return None


@lru_cache(maxsize=64)  # the members of an array all have the same
def duration_s(said: str) -> float | None:
    """`1-02:03:04`, `02:03:04`, `3:04` as seconds; None for UNLIMITED and what is no duration."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", said.strip())
    if not match:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return 86400.0 * days + 3600 * hours + 60 * minutes + seconds


def exit_status(said: Any) -> tuple[int, int]:
    """Exit code and signal, from `3:0`, a wait status (768), or the structures of newer JSON."""
    if isinstance(said, dict) and "return_code" in said:
        signal = said.get("signal") or {}
        told = signal.get("id", signal.get("signal_id"))
        return int(number(said["return_code"]) or 0), int(number(told) or 0)
    if isinstance(said, str) and ":" in said:
        code, _, signal = said.partition(":")
        return int(number(code) or 0), int(number(signal) or 0)
    status = int(number(said) or 0)
    return status >> 8 & 255, status & 127


def members_of(ranges: str) -> tuple[list[int], bool]:
    """The indices of an array expression such as `0-9:2,15%3`, and whether it is complete.

    Slurm cuts long ones: `1,3,...` is not complete.
    """
    indices: list[int] = []
    for part in ranges.partition("%")[0].split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part.strip())
        if not match:
            return indices, False
        first = int(match[1])
        indices += range(first, int(match[2] or first) + 1, int(match[3] or 1))
    return indices, True


def split_id(said: str) -> tuple[str, str]:
    """`12_3` as ("12", "3"), `12_[1-3]` as ("12", "[1-3]"), `12` as ("12", "")."""
    job, _, index = said.partition("_")
    return job, index


def places(job: str, index: str) -> Iterable[tuple[str, int | None, bool]]:
    """Id, index and `rest` of every job that one line of Slurm's stands for."""
    if not index or index == "N/A":
        return [(job, None, False)]
    if index.isdecimal():
        return [(f"{job}_{index}", int(index), False)]
    ranges = index.removeprefix("[").removesuffix("]")
    if index.startswith("[") and not index.endswith("]"):
        ranges = ranges.rpartition(",")[0] + ",..."  # 22.05 cuts anywhere, even inside of a number
    indices, complete = members_of(ranges)
    named = [(f"{job}_{member}", member, False) for member in indices]
    return named if complete else [*named, (job, None, True)]
