"""Whether jobs can be sent from a place, and whether a job there has what Slurm says it has.

The surprise: what Slurm granted and what a process sees are two things. `srun` does not pass on the batch
script's --cpus-per-task since 22.05, and a step without --gres sees no GPU of its job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from stair.doctor.finding import Check, Facts, Finding, Level
from stair.doctor.findings.job import cores_of_task, count, job_of
from stair.doctor.findings.purpose import has_nvidia
from stair.doctor.sheet import gpus_seen, section

FAILURES: dict[str, tuple[tuple[str, ...], str, str, str]] = {
    "slurm.munge": (
        ("munge", "Invalid authentication credential", "Protocol authentication error", "auth plugin"),
        "every command of Slurm ends with 'Protocol authentication error', 'Munge encode failed', 'Invalid "
        "credential' or 'Expired credential': munged does not run here, its key differs, or this clock is "
        "off by minutes",
        "the administrator starts munged, compares /etc/munge/munge.key and the clocks; in a container bind "
        "/run/munge",
        "munge -n | unmunge; systemctl status munge",
    ),
    "slurm.conf": (
        (
            "SLURM_CONF",
            "slurm.conf",
            "configuration",
            "DNS SRV",
            "Could not establish",
            "parse error",
            "Parsing error",
            "No such file",
            "not valid",
        ),
        "sbatch and srun end at once: 'Could not establish a configuration source', 'Unable to process "
        "configuration file', 'fatal: …'",
        "unset SLURM_CONF, or set it to the cluster's slurm.conf (module load slurm does on many clusters)",
        "echo $SLURM_CONF; ls -l /etc/slurm/slurm.conf",
    ),
    "slurm.controller": (
        (
            "Unable to contact",
            "Connection refused",
            "timed out",
            "Connection timed out",
            "No route",
            "Zero Bytes",
        ),
        "'Unable to contact slurm controller (connect failure)': slurmctld is down or restarting, a firewall "
        "is in between, or SLURM_CONF names another cluster",
        "wait a minute and ask again; then the administrator",
        "scontrol ping",
    ),
}
"""Id → words of the client, what they mean, what cures it; the first that fits counts."""


def _failure(slurm: Mapping[str, Any]) -> str:
    said = str(slurm.get("error") or "").lower()
    if not slurm.get("found") or not (slurm.get("code") or said):
        return ""
    if said == "timeout":
        return "slurm.conf"  # asked for its version, the client waits for nothing but its settings
    for id, (words, *_) in FAILURES.items():
        if any(word.lower() in said for word in words):
            return id
    return "slurm.client"


def _told(slurm: Mapping[str, Any]) -> str:
    """The last line: the client begins with what it tried, and ends with why it gave up."""
    lines = str(slurm.get("error") or "").strip().splitlines()
    return lines[-1] if lines else f"exit {slurm.get('code')}"


def _fails(id: str) -> Callable[[Facts], Iterator[Finding]]:
    _, means, cure, command = FAILURES[id]

    def judge(facts: Facts) -> Iterator[Finding]:
        slurm = section(facts, "slurm")
        if _failure(slurm) == id:
            seen = f"Slurm's client fails: {_told(slurm)}"
            if id == "slurm.conf" and section(facts, "variables").get("SLURM_CONF"):
                seen += f" (SLURM_CONF={section(facts, 'variables')['SLURM_CONF']})"
            yield Finding(id, _level(facts), seen, means, cure, command)

    return judge


def _client(facts: Facts) -> Iterator[Finding]:
    slurm = section(facts, "slurm")
    if _failure(slurm) == "slurm.client":
        yield Finding(
            "slurm.client",
            _level(facts),
            f"Slurm's client fails: {_told(slurm)}",
            "no job can be sent from here",
            "its own words tell; compare SLURM_CONF and the version with the cluster's",
            "sinfo --version; sinfo",
        )


def _absent(facts: Facts) -> Iterator[Finding]:
    if facts.get("role") == "login" and section(facts, "slurm").get("found") is False:
        yield Finding(
            "slurm.absent",
            "error",
            "there is no sbatch in PATH",
            "'sbatch: command not found': no job can be sent from here",
            "go to a login node; on many clusters it is a module",
            "module load slurm",
        )


def _job_gpus(facts: Facts) -> Iterator[Finding]:
    granted, seen = count(job_of(facts).get("gpus")), gpus_seen(facts)
    if granted is None or seen is None or seen >= granted or not has_nvidia(facts):
        return
    yield Finding(
        "slurm.job-gpus",
        "error",
        f"Slurm has given job {job_of(facts).get('id')} {granted} GPU(s) on this node, this process sees "
        f"{seen}",
        "'invalid device ordinal' (CUDA error 101) in the later ranks, or torch.cuda.is_available() is "
        "False: the step was started with fewer than the job has, or gres.conf counts more than the node has",
        "say it to srun too; if a plain srun sees too few, the administrator compares gres.conf with "
        "nvidia-smi -L",
        "srun --gres=gpu:$SLURM_GPUS_ON_NODE nvidia-smi -L",
    )


def _job_cpus(facts: Facts) -> Iterator[Finding]:
    cpu = section(facts, "cpu")
    affinity, there = cpu.get("affinity") or (), cpu.get("count") or 0
    expected = cores_of_task(facts)
    if not affinity or not expected or len(affinity) >= min(expected, there):
        return
    yield Finding(
        "slurm.job-cpus",
        "warning",
        f"job {job_of(facts).get('id')} has {expected} core(s) for each task here, this process may use "
        f"{len(affinity)}",
        "data workers and simulators share too few cores: training waits for data. srun has not inherited "
        "--cpus-per-task from sbatch since Slurm 22.05",
        "say it to srun too",
        "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK",
    )


def _level(facts: Facts) -> Level:
    """Jobs are sent from login nodes; elsewhere work is done without Slurm's client."""
    return "error" if facts.get("role") == "login" else "warning"


CHECKS = (
    Check("slurm.absent", "Slurm's client on a login node", _absent, where="host"),
    *(
        Check(id, f"Slurm's client does not say '{words[0]}'", _fails(id), where="host")
        for id, (words, *_) in FAILURES.items()
    ),
    Check("slurm.client", "Slurm's client works", _client, where="host"),
    Check(
        "slurm.job-gpus", "a job's GPUs can be seen", _job_gpus, ("driver.", "gpu.", "cuda."), where="host"
    ),
    Check("slurm.job-cpus", "a job's cores can be used", _job_cpus, where="host"),
)
