"""Where a supervisor sits: the Slurm job around it, read from its environment.

Takes the variables that slurmd sets in a batch script, hands on a Seat. The surprise: in an array one
member's SLURM_JOB_ID equals the id of the whole array, so a member is always called ARRAY_INDEX, never by
that id.
"""

from __future__ import annotations

from collections.abc import Mapping

from stair.cluster.hostlist import expand
from stair.errors import UsageError
from stair.frozen import frozen


@frozen
class Seat:
    """One running batch job, or one running member of an array."""

    job: str
    """As Slurm's commands take it: 12, or 12_3 for a member."""
    raw: str
    """The number of this very job; differs from `job` for members."""
    index: int | None
    """Index in the array; None without one."""
    restart: int
    """How often Slurm has requeued it."""
    nodes: tuple[str, ...]


def read_seat(environment: Mapping[str, str]) -> Seat:
    """The seat that the environment describes. Raises UsageError outside of a Slurm batch job."""
    try:
        raw = environment["SLURM_JOB_ID"]
        nodes = tuple(expand(environment["SLURM_JOB_NODELIST"]))
    except KeyError as error:
        raise UsageError(
            f"this is no Slurm batch job: {error.args[0]} is not set",
            hint="stair-submit sends what runs here",
        ) from None
    array, index = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    member = array is not None and index is not None
    return Seat(
        job=f"{array}_{index}" if member else raw,
        raw=raw,
        index=int(index) if member and index is not None else None,
        restart=int(environment.get("SLURM_RESTART_COUNT", "0")),
        nodes=nodes,
    )
