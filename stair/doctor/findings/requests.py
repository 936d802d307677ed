"""What a job asked for, held against what it got.

Takes the request of a visit and the host's sheet (the image's, where the host was not looked at). The
surprise: Slurm grants less without a word where a profile, a partition's default or a step's own options say
so, and the job starts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stair.doctor.finding import Comparison, Facts, Finding
from stair.doctor.findings.job import cores_of_task, job_of, memory_of
from stair.doctor.findings.resources import cores
from stair.doctor.sheet import gpus_seen, rows, section

Request = Mapping[str, Any]
MEMORY_SLACK = 0.97
"""Slurm and the kernel round to pages and MiB."""
MINUTES_SLACK = 0.9, 5
"""Of the time asked for, and minutes besides: starting a container takes some."""


def _gpus(request: Request, facts: Facts) -> Iterator[Finding]:
    wanted, seen = request.get("gpus_per_node") or 0, gpus_seen(facts)
    if not in_job(facts) or seen is None or seen >= wanted:
        return
    granted = job_of(facts).get("gpus")
    by = f"Slurm has granted {granted}" if granted not in (None, "", "0") else "Slurm has granted none"
    yield Finding(
        "request.gpus",
        "error",
        f"{wanted} GPU(s) per node were asked for, {seen} can be used ({by})",
        "torchrun starts more ranks than there are GPUs: 'invalid device ordinal' (CUDA error 101), NCCL "
        "WARN 'Duplicate GPU detected', or training is silently smaller than asked for",
        "compare the profile's way to ask for GPUs with what the cluster expects",
        "scontrol show job $SLURM_JOB_ID | grep -iE 'tres|gres'; stair-submit --dry-run ...",
    )


def _cpus(request: Request, facts: Facts) -> Iterator[Finding]:
    wanted, got = request.get("cpus") or 0, cores(facts)
    granted = cores_of_task(facts)
    if not in_job(facts) or not got or got >= wanted or (granted and granted > got):
        return  # of what was granted but cannot be used slurm.job-cpus tells
    yield Finding(
        "request.cpus",
        "warning",
        f"{wanted} core(s) were asked for, {got:g} can be used",
        "data workers and simulators share too few cores: GPUs wait. srun has not inherited --cpus-per-task "
        "from sbatch since Slurm 22.05; other clusters bind a task to one core (--cpu-bind)",
        "say it to srun too, or bind to no core",
        "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK SLURM_CPU_BIND=none",
    )


def _memory(request: Request, facts: Facts) -> Iterator[Finding]:
    wanted, memory = request.get("memory_mb") or 0, section(facts, "memory")
    known = [limit for limit in (memory.get("limit_mb"), memory_of(facts)) if limit]
    if not in_job(facts) or not known or min(known) >= wanted * MEMORY_SLACK:
        return
    yield Finding(
        "request.memory",
        "warning",
        f"{wanted / 1000:,.1f} GB of memory were asked for, the job may use {min(known) / 1000:,.1f}",
        "'oom_kill' and OUT_OF_MEMORY by Slurm, exit 137, 'Killed', when loading a checkpoint or filling "
        "data workers; files in /dev/shm count too",
        "see what the partition allows (MaxMemPerCPU, MaxMemPerNode), and ask for as much in the profile",
        "scontrol show partition $SLURM_JOB_PARTITION | grep -i mem",
    )


def _minutes(request: Request, facts: Facts) -> Iterator[Finding]:
    wanted, left = request.get("minutes") or 0, request.get("minutes_left")
    share, grace = MINUTES_SLACK
    if left is None or left + grace >= wanted * share:
        return
    yield Finding(
        "request.minutes",
        "warning",
        f"{wanted} minutes were asked for, {left:.0f} are left",
        "'CANCELLED … DUE TO TIME LIMIT' sooner than planned: the partition or QOS gives less, the job was "
        "shortened (--time-min, scontrol update), or this is its second step",
        "ask for what the partition gives; runs of STAIR save before the end and go on in the next job",
        "sinfo -o '%P %l'; squeue -j $SLURM_JOB_ID -o '%l %L'",
    )


def _one_gpu(request: Request, facts: Facts) -> Iterator[Finding]:
    seen = gpus_seen(facts)
    if request.get("layout") != "colocated" or request.get("render") != "nvidia" or seen != 1:
        return
    yield Finding(
        "request.one-gpu",
        "warning",
        "the policy and the simulator share the one GPU of this node",
        "others have seen CUDA and drawing on one device end in aborts or 'ErrorDeviceLost', every time on "
        "some drivers, and the policy's memory leaves the renderer too little: 'vk::… "
        "ErrorOutOfDeviceMemory'",
        "two GPUs, so that each has its own; or the split layout, with the policy on another node",
        "stair-submit ... --gpus 2",
    )


def _mixed(request: Request, facts: Facts) -> Iterator[Finding]:
    names = sorted({str(gpu.get("name")) for gpu in rows(facts, "nvml", "gpus")})
    if (request.get("gpus_per_node") or 0) > 1 and len(names) > 1:
        yield Finding(
            "request.mixed-gpus",
            "warning",
            f"this job's GPUs are of several models: {', '.join(names)}",
            "all ranks wait for the slowest, and the one with the least memory ends with 'CUDA out of "
            "memory'",
            "ask for one model",
            "sbatch --gres=gpu:MODEL:N ...; sinfo -o '%G'",
        )


def in_job(facts: Facts) -> bool:
    """Whether these facts are of a job: a login node has none of what is asked for."""
    return facts.get("role") == "compute" or (facts.get("role") != "login" and bool(job_of(facts)))


COMPARISONS = (
    Comparison(
        "request.gpus",
        "as many GPUs as asked for",
        "request-got",
        _gpus,
        ("driver.", "gpu.", "cuda.", "slurm.job-gpus"),
    ),
    Comparison("request.cpus", "as many cores as asked for", "request-got", _cpus, ("slurm.job-cpus",)),
    Comparison("request.memory", "as much memory as asked for", "request-got", _memory),
    Comparison("request.minutes", "as much time as asked for", "request-got", _minutes),
    Comparison("request.mixed-gpus", "GPUs of one model", "request-got", _mixed),
    Comparison("request.one-gpu", "policy and simulator have a GPU each", "request-got", _one_gpu),
)
