"""Compute nodes held against each other.

A node is compared with what most nodes have, and is named when it differs, with what differs. The surprise:
a difference is a warning and not an error, since clusters are mixed on purpose; but a node that is both
broken and different tells it once, by what is broken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from statistics import median
from typing import Any

from stair.doctor.finding import Comparison, Facts, Finding
from stair.doctor.findings.login import SKEW_FATAL_S, SKEW_S, clock, disk_of
from stair.doctor.findings.purpose import listed
from stair.doctor.sheet import rows, section

MEMORY_SHARE = 0.9


class Nodes(tuple[Facts, ...]):
    """The sheets of all nodes; a key by identity, so that what is usual among them is counted once."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


@lru_cache(maxsize=4)
def _usual(nodes: Nodes, value: Callable[[Facts], Any]) -> tuple[Any, int, int]:
    """The most common value, of several equally common the one met first; on how many of how many nodes."""
    found = Counter(told for each in nodes if (told := value(each)) is not None)
    usual, times = found.most_common(1)[0] if found else (None, 0)
    return usual, times, sum(found.values())


def _node_clock(nodes: Nodes, node: Facts) -> Iterator[Finding]:
    clocks, mine = [told for each in nodes if (told := clock(each)) is not None], clock(node)
    if mine is None or len(clocks) < 2:
        return
    middle = median(clocks) if len(clocks) > 2 else min(clocks)
    away = mine - middle
    if abs(away) > SKEW_S:
        yield Finding(
            "nodes.clock",
            "error" if abs(away) > SKEW_FATAL_S else "warning",
            f"the clock is {abs(away):,.0f} s {'ahead of' if away > 0 else 'behind'} that of the other nodes",
            "munge: 'Expired credential' or 'Rewound credential', the node is drained or jobs end with "
            "'Protocol authentication error'; logs of ranks do not fit together",
            "the administrator starts chrony or ntpd on the node",
            "timedatectl; chronyc tracking",
        )


def _driver(facts: Facts) -> Any:
    return section(facts, "driver").get("version")


def _models(facts: Facts) -> Any:
    models = Counter(str(gpu.get("model")) for gpu in rows(facts, "driver", "gpus"))
    if "driver" not in facts or not section(facts, "driver"):
        return None
    return ", ".join(f"{count}x {model}" for model, count in sorted(models.items())) or "none"


def _infiniband(facts: Facts) -> Any:
    if not section(facts, "network"):
        return None
    ports = Counter(
        f"{port.get('rate')} {port.get('state')}" for port in rows(facts, "network", "infiniband")
    )
    return ", ".join(f"{count}x {port}" for port, count in sorted(ports.items())) or "none"


def _apptainer(facts: Facts) -> Any:
    found = section(facts, "apptainer")
    return None if not found else str(found.get("version")) if found.get("found") else "none"


def _slurm(facts: Facts) -> Any:
    return section(facts, "slurm").get("version")


def _system(facts: Facts) -> Any:
    system = section(facts, "system")
    return f"{system.get('distribution')}, {system.get('machine')}" if system else None


def _kernel(facts: Facts) -> Any:
    return section(facts, "system").get("kernel")


def _cores(facts: Facts) -> Any:
    return section(facts, "cpu").get("count")


def _run_folder(facts: Facts) -> Any:
    disk = disk_of(facts, "run folder")
    closed = "" if disk.get("writable", True) else ", not writable"
    return f"{disk.get('path')} ({disk.get('type')}{closed})" if disk else None


def _missing_libraries(facts: Facts) -> Any:
    if not rows(facts, "libraries"):
        return None
    missing = [str(row.get("name")) for row in rows(facts, "libraries") if not row.get("loads")]
    return listed(sorted(missing)) or "none"


def _icds(facts: Facts) -> Any:
    if not section(facts, "vulkan"):
        return None
    return listed(sorted(str(icd.get("path")) for icd in rows(facts, "vulkan", "icds"))) or "none"


def _differs(
    id: str, what: str, value: Callable[[Facts], Any], means: str
) -> Callable[[Nodes, Facts], Iterator[Finding]]:
    def judge(nodes: Nodes, node: Facts) -> Iterator[Finding]:
        mine, (usual, times, among) = value(node), _usual(nodes, value)
        if mine is not None and mine != usual:
            yield Finding(
                id,
                "warning",
                f"{what}: {mine} here, {usual} on {times} of {among} nodes",
                means,
                "leave the node out of jobs that must not differ; the administrator brings it in line",
                f"sbatch --exclude={node['host']} ..." if node.get("host") else "",
            )

    return judge


def _memory(nodes: Nodes, node: Facts) -> Iterator[Finding]:
    amounts = [amount for each in nodes if (amount := section(each, "memory").get("total_mb"))]
    mine = section(node, "memory").get("total_mb")
    usual = sorted(amounts)[len(amounts) // 2] if amounts else 0
    if mine and mine < usual * MEMORY_SHARE:
        yield Finding(
            "nodes.memory",
            "warning",
            f"memory: {mine / 1000:,.0f} GB here, {usual / 1000:,.0f} GB on the others",
            "a job that fits elsewhere ends here with 'oom_kill' or exit 137; a module of memory may have "
            "failed",
            "leave the node out, or ask for memory (--mem) so that Slurm does; the administrator looks at it",
            f"sbatch --exclude={node['host']} ..." if node.get("host") else "",
        )


def _difference(
    id: str, what: str, value: Callable[[Facts], Any], because: tuple[str, ...], means: str
) -> Comparison:
    """Compares one value of each node, as words, with the most common one."""
    return Comparison(
        id, f"{what} as on the other nodes", "node-node", _differs(id, what, value, means), because
    )


_BROKEN = ("driver.", "gpu.", "cuda.")

COMPARISONS = (
    Comparison("nodes.clock", "the clocks of all nodes", "node-node", _node_clock),
    Comparison("nodes.memory", "as much memory as the other nodes", "node-node", _memory),
    _difference(
        "nodes.system",
        "operating system",
        _system,
        (),
        "what works on the others need not work here: other libraries, other paths of driver files",
    ),
    _difference(
        "nodes.driver",
        "NVIDIA driver",
        _driver,
        _BROKEN,
        "CUDA or Vulkan errors on this node only; NCCL WARN 'unhandled cuda error' between nodes",
    ),
    _difference(
        "nodes.gpus",
        "GPUs",
        _models,
        _BROKEN,
        "a job finds fewer or other GPUs here: 'invalid device ordinal', 'CUDA out of memory', or all ranks "
        "wait for the slowest",
    ),
    _difference(
        "nodes.libraries",
        "libraries that do not load",
        _missing_libraries,
        (*_BROKEN, "libraries.", "nodes.driver"),
        "the graphics part of the driver or X11's libraries are missing on this node only: "
        "'libGLX_nvidia.so.0: cannot open shared object file', ErrorIncompatibleDriver",
    ),
    _difference(
        "nodes.vulkan",
        "Vulkan driver files",
        _icds,
        (*_BROKEN, "libraries.", "vulkan."),
        "drawing works on the others and not here, or the other way round: 'Failed to find Vulkan ICD file', "
        "ErrorIncompatibleDriver",
    ),
    _difference(
        "nodes.apptainer",
        "Apptainer",
        _apptainer,
        ("apptainer.",),
        "images start differently here, or not at all: 'FATAL:', exit 255; before 1.4.0 --nv binds no Vulkan "
        "files",
    ),
    _difference(
        "nodes.slurm",
        "Slurm",
        _slurm,
        ("slurm.",),
        "steps fail on this node only: 'Incompatible versions of client and server code'",
    ),
    _difference(
        "nodes.infiniband",
        "InfiniBand",
        _infiniband,
        ("network.",),
        "NCCL falls back to TCP or waits: 'NCCL WARN NET/IB : No device found', all-reduce at a fraction of "
        "its rate",
    ),
    _difference("nodes.cores", "cores", _cores, (), "slower data workers here: all ranks wait for this node"),
    _difference(
        "nodes.run-folder",
        "run folder",
        _run_folder,
        ("disk.",),
        "this node writes elsewhere than the others: 'No such file or directory' for checkpoints and logs; "
        "the shared file system is not mounted",
    ),
    _difference(
        "nodes.kernel",
        "kernel",
        _kernel,
        ("driver.", "nodes.system"),
        "the driver's module may be missing for this kernel; otherwise harmless",
    ),
)
