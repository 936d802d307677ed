"""Whether cores, memory, shared memory and limits of a place will do.

Takes one fact sheet. The surprise: a file in /dev/shm counts against the job's memory, so a large /dev/shm
is no promise; and in an image nothing is said that its host already says, for Apptainer hands all of this on.
"""

from __future__ import annotations

from collections.abc import Iterator

from stair.doctor.finding import Check, Facts, Finding
from stair.doctor.findings.job import cores_of_task, several_nodes
from stair.doctor.sheet import asked, rows, section, shared

SHM_FATAL_MB, SHM_SMALL_MB = 128, 1_000
"""Docker's default is 67 MB: one batch of images of a few data workers fills it."""
MEMORY_FATAL_MB, MEMORY_SMALL_MB = 1_000, 6_000
"""Importing torch with CUDA takes 3 GB; a rendering process of ManiSkill 2 GB and more."""
FILES_FATAL, FILES_FEW = 256, 1_024
PROCESSES_FATAL, PROCESSES_FEW = 256, 2_048
STACK_SMALL = 1 << 20
"""Bytes. Threads of Python, OpenBLAS and LLVM (llvmpipe's compiler) want 8 MiB each by default."""
ADDRESSES_CPU, ADDRESSES_GPU = 16 << 30, 1 << 40
"""Bytes of addresses, not of memory: CUDA reserves those of all GPUs and of the host at once."""
PINNED_SMALL = 1 << 30
"""Bytes that RDMA may pin; NCCL registers some hundred MB per peer."""


def cores(facts: Facts) -> float | None:
    """How many cores may be used: those of the affinity mask, or fewer by quota; None: not known."""
    cpu = section(facts, "cpu")
    affinity, quota = cpu.get("affinity"), cpu.get("quota")
    known = [count for count in (len(affinity) if affinity else None, quota) if count]
    return min(known) if known else None


def _quota(facts: Facts) -> Iterator[Finding]:
    cpu = section(facts, "cpu")
    quota, affinity = cpu.get("quota"), cpu.get("affinity") or ()
    threads = str(section(facts, "variables").get("OMP_NUM_THREADS") or "")
    if shared(facts) or not quota or quota >= len(affinity):
        return
    if threads.isdigit() and int(threads) <= quota:
        return
    few = max(1, int(quota))
    yield Finding(
        "cpu.quota",
        "warning",
        f"{len(affinity)} cores are visible, a cgroup quota gives the time of {quota:g}",
        f"torch, OpenBLAS and llvmpipe start {len(affinity)} threads and are throttled: everything is slow, "
        "no error",
        "let programs start as many threads as there is time for",
        f"export OMP_NUM_THREADS={few} LP_NUM_THREADS={few}",
    )


def _affinity(facts: Facts) -> Iterator[Finding]:
    cpu = section(facts, "cpu")
    affinity, count = cpu.get("affinity") or (), cpu.get("count") or 0
    if shared(facts) or len(affinity) != 1 or count < 2 or asked(facts, "cpus") == 1 or cores_of_task(facts):
        return  # inside a job slurm.job-cpus holds it against what was granted
    yield Finding(
        "cpu.affinity",
        "warning",
        f"1 of {count} cores may be used (affinity mask: core {affinity[0]})",
        "data workers, the simulator and torch share one core: training waits for data, GPUs idle",
        "see what taskset, numactl or the batch system has set; children inherit it",
        "taskset -cp $$",
    )


def _memory(facts: Facts) -> Iterator[Finding]:
    memory = section(facts, "memory")
    limit, used, available = memory.get("limit_mb"), memory.get("used_mb"), memory.get("available_mb")
    free = [amount for amount in (available, limit - (used or 0) if limit else None) if amount is not None]
    if shared(facts) or not free or min(free) >= MEMORY_SMALL_MB:
        return
    if limit and limit - (used or 0) == min(free):
        seen = f"{_gb(min(free))} of the {_gb(limit)} that the job's cgroup allows are free"
        cure = "ask for more memory per node; files in /dev/shm count too"
    else:
        seen = f"{_gb(min(free))} of {_gb(memory.get('total_mb') or 0)} of memory are free"
        cure = "wait, or take another node: other programs hold it"
    yield Finding(
        "memory.low",
        "error" if min(free) < MEMORY_FATAL_MB else "warning",
        seen,
        "processes end with 'Killed' or exit 137, Slurm says 'oom_kill' or OUT_OF_MEMORY, Python "
        "MemoryError, torch 'DefaultCPUAllocator: can't allocate memory'",
        cure,
        "" if not limit else "sbatch --mem=32G ...",
    )


def _shm_writable(facts: Facts) -> Iterator[Finding]:
    shm = section(facts, "shm")
    if shared(facts) or shm.get("writable", True):
        return
    yield Finding(
        "shm.not-writable",
        "error",
        f"/dev/shm cannot be written to: {shm.get('error') or 'not writable'}",
        "torch's data workers, NCCL and multiprocessing fail: 'Permission denied' or 'No such file or "
        "directory: /dev/shm/…', 'OSError: [Errno 38] Function not implemented'",
        "as administrator mount it as tmpfs with mode 1777; until then train without data workers",
        "mount -t tmpfs -o mode=1777 tmpfs /dev/shm",
    )


def _shm_small(facts: Facts) -> Iterator[Finding]:
    shm = section(facts, "shm")
    free, total = shm.get("free_mb"), shm.get("total_mb") or 0
    if shared(facts) or not shm.get("writable", True) or free is None or free >= SHM_SMALL_MB:
        return
    full = total >= SHM_SMALL_MB
    yield Finding(
        "shm.small",
        "error" if free < SHM_FATAL_MB else "warning",
        f"{free:,.0f} of {total:,.0f} MB are free in /dev/shm",
        "a data worker that finds it full ends the job: 'Bus error (core dumped)', 'DataLoader worker is "
        "killed by signal: Bus error', exit 135; NCCL WARN 'Error while creating shared memory segment'",
        "remove what crashed jobs left there"
        if full
        else "as administrator make it larger (Docker: --shm-size 16g or --ipc host); until then no data "
        "workers",
        "ls -lt /dev/shm" if full else "mount -o remount,size=16G /dev/shm",
    )


def _shm_over_limit(facts: Facts) -> Iterator[Finding]:
    limit, shm = section(facts, "memory").get("limit_mb"), section(facts, "shm")
    used = (shm.get("total_mb") or 0) - (shm.get("free_mb") or 0)
    if shared(facts) or not limit or shm.get("type") != "tmpfs" or used < limit / 4:
        return
    yield Finding(
        "shm.eats-memory",
        "error" if used > limit * 3 / 4 else "warning",
        f"files in /dev/shm hold {_gb(used)}, the job may use {_gb(limit)} of memory in all",
        "files in /dev/shm count against the cgroup of whoever wrote them: 'oom_kill' though no process is "
        "large",
        "remove what crashed jobs left there, or ask for more memory",
        "ls -lt /dev/shm",
    )


def _nofile(facts: Facts) -> Iterator[Finding]:
    soft, (_, hard) = _below(facts, "nofile", FILES_FEW), _limit(facts, "nofile")
    if soft is None:
        return
    yield Finding(
        "limits.nofile",
        "error" if soft < FILES_FATAL else "warning",
        f"a process may open {soft:,} files (ulimit -n)",
        "'OSError: [Errno 24] Too many open files', 'received 0 items of ancdata' from torch's data workers",
        "raise it in the job; where the hard limit is lower, the administrator does in limits.conf or "
        "slurmd's LimitNOFILE",
        f"ulimit -n {hard if hard is not None and 0 <= hard < 65536 else 65536}",
    )


def _nproc(facts: Facts) -> Iterator[Finding]:
    soft = _below(facts, "nproc", PROCESSES_FEW)
    root = section(facts, "system").get("uid") == 0  # the kernel does not hold root to it
    if soft is None or root:
        return
    yield Finding(
        "limits.nproc",
        "error" if soft < PROCESSES_FATAL else "warning",
        f"this user may run {soft:,} threads and processes (ulimit -u)",
        "'Resource temporarily unavailable', \"can't start new thread\", 'OpenBLAS blas_thread_init: "
        "pthread_create failed'",
        "raise it in the job, and let libraries start fewer threads",
        "ulimit -u $(ulimit -Hu); export OMP_NUM_THREADS=4",
    )


def _stack(facts: Facts) -> Iterator[Finding]:
    soft = _below(facts, "stack", STACK_SMALL)
    if soft is None:
        return
    yield Finding(
        "limits.stack",
        "warning",
        f"a thread's stack may hold {soft // 1024:,} KiB (ulimit -s)",
        "'Segmentation fault' in deep calls: shader compilers, Python's parser, C++ templates of simulators",
        "raise it to the usual 8 MiB",
        "ulimit -s 8192",
    )


def _addresses(facts: Facts) -> Iterator[Finding]:
    gpu = bool(rows(facts, "driver", "gpus"))
    soft = _below(facts, "as", ADDRESSES_GPU if gpu else ADDRESSES_CPU)
    if soft is None:
        return
    yield Finding(
        "limits.as",
        "error" if gpu else "warning",
        f"a process may use {soft / (1 << 30):,.1f} GiB of addresses (ulimit -v)",
        "cuInit or the first CUDA call fails with 'out of memory' (CUDA error 2) on an empty GPU; 'mmap "
        "failed', MemoryError",
        "lift it: memory is limited by Slurm's cgroup, not by addresses",
        "ulimit -v unlimited",
    )


def _memlock(facts: Facts) -> Iterator[Finding]:
    soft = _below(facts, "memlock", PINNED_SMALL)
    if soft is None or not rows(facts, "network", "infiniband"):
        return
    yield Finding(
        "limits.memlock",
        "error" if several_nodes(facts) else "warning",
        f"{soft // 1024:,} KiB may be pinned (ulimit -l), and this node has InfiniBand",
        "NCCL WARN 'Call to ibv_reg_mr failed' or 'ibv_create_cq failed', 'Cannot allocate memory' at the "
        "first all-reduce between nodes",
        "the administrator sets memlock unlimited for slurmd (LimitMEMLOCK=infinity, "
        "PropagateResourceLimitsExcept=MEMLOCK)",
        "ulimit -l unlimited",
    )


def _below(facts: Facts, name: str, needed: int) -> int | None:
    """The soft limit where it is lower than needed; None where it is not, and in a container whose host tells
    of it."""
    soft, _ = _limit(facts, name)
    return None if shared(facts) or soft is None or soft < 0 or soft >= needed else soft


def _limit(facts: Facts, name: str) -> tuple[int | None, int | None]:
    found = section(facts, "limits").get(name)
    return (found[0], found[1]) if isinstance(found, (list, tuple)) and len(found) == 2 else (None, None)


def _gb(mb: float) -> str:
    return f"{mb / 1000:,.1f} GB"


CHECKS = (
    Check("cpu.affinity", "more than one core may be used", _affinity),
    Check("cpu.quota", "as much time as there are visible cores", _quota),
    Check("shm.not-writable", "/dev/shm can be written to", _shm_writable),
    Check("shm.eats-memory", "files in /dev/shm leave the job its memory", _shm_over_limit),
    Check("shm.small", "room in /dev/shm for data workers", _shm_small, ("shm.eats-memory",)),
    Check("memory.low", "free memory, within the job's limit", _memory, ("shm.eats-memory",)),
    Check("limits.nofile", "enough open files", _nofile),
    Check("limits.nproc", "enough threads", _nproc),
    Check("limits.stack", "a stack of the usual size", _stack),
    Check("limits.as", "addresses are not limited", _addresses),
    Check("limits.memlock", "memory may be pinned for InfiniBand", _memlock),
)
