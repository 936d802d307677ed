"""The Slurm job in which a fact sheet was taken, as Slurm's variables tell of it.

Takes one fact sheet, hands on plain numbers. The surprise: they are what was granted to the job on this node;
what a process may use of it is another thing, and stands in the sheet's own sections.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stair.doctor.finding import Facts
from stair.doctor.sheet import section


def job_of(facts: Facts) -> Mapping[str, Any]:
    """The job's id, nodes, gpus, cpus, memory_mb and partition; empty outside a job."""
    found = section(facts, "slurm").get("job")
    return found if isinstance(found, Mapping) and found.get("id") else {}


def several_nodes(facts: Facts) -> bool:
    """Whether the job spans nodes."""
    nodes = str(job_of(facts).get("nodes") or "")
    return "[" in nodes or "," in nodes


def count(value: Any) -> int | None:
    """`4` and `h100:4` → 4; what is no number is None."""
    text = str(value).rpartition(":")[2]
    return int(text) if text.isdigit() else None


def cores_of_task(facts: Facts) -> int | None:
    """How many cores were granted to each task on this node; None outside a job."""
    variables = section(facts, "variables")
    cpus = count(job_of(facts).get("cpus"))
    if cpus is None:
        return None
    each = count(variables.get("SLURM_CPUS_PER_TASK"))
    told = variables.get("SLURM_STEP_TASKS_PER_NODE") or variables.get("SLURM_TASKS_PER_NODE") or "1"
    tasks = count(str(told).partition("(")[0].partition(",")[0]) or 1
    return min(each, cpus) if each else cpus // tasks


def memory_of(facts: Facts) -> int | None:
    """MB that were granted to the job on this node; None outside a job, or where it got all there is."""
    job, each = job_of(facts), count(section(facts, "variables").get("SLURM_MEM_PER_CPU"))
    cpus = count(job.get("cpus"))
    return count(job.get("memory_mb")) or (each * cpus if job and each and cpus else None)
