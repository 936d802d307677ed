"""The referee is the real sbatch: what preflight refuses never starts, what it lets through does.

Every request of preflight_cases.py is judged by preflight and then sent, with the very options its script
would carry. Slurm says no either at once, or by letting the job wait for a reason that never goes away.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from stair.cluster.hostlist import expand
from stair.cluster.slurm import read_cluster
from stair.submit.options import Request, sbatch_options
from stair.submit.preflight.judge import preflight
from tests.slurm.live import LiveSlurm
from tests.slurm.preflight_cases import IMPOSSIBLE, POSSIBLE, RULED_IN, RULED_OUT, RULES, ask
from tools.devslurm.system import wait_until

NEVER = (
    *("PartitionTimeLimit", "PartitionNodeLimit", "PartitionDown", "PartitionInactive", "PartitionConfig"),
    *("MaxMemPerLimit", "BadConstraints", "QOSMin", "QOSMax", "QOSGrp", "AssocMax", "AssocGrp"),
    *("Job's account not permitted", "Job's QOS not permitted"),
)
"""Beginnings of reasons that no other job's end removes, for a job that breaks the limit all by itself."""
WAITS = "temporarily unable to accept job, sleeping and retrying"
STARTED = {"RUNNING", "COMPLETING", "COMPLETED"}


def send(slurm: LiveSlurm, request: Request) -> tuple[str, str]:
    """The id that sbatch gave, or an empty one and what it said."""
    words = [
        f"--{name}" if value is None else f"--{name}={value}"
        for name, value in sbatch_options(request, log="/dev/null", cwd="/")
    ]
    if request.members > 1:
        words.append(f"--array=0-{request.members - 1}%{request.parallel}")
    done = subprocess.run(
        ["sbatch", "--parsable", *words],
        input="#!/bin/sh\n",
        env=dict(slurm.environment),
        capture_output=True,
        text=True,
        timeout=60,
    )
    return (done.stdout.strip(), "") if done.returncode == 0 else ("", done.stderr.strip().splitlines()[-1])


def standing(slurm: LiveSlurm) -> dict[str, list[tuple[str, str]]]:
    """State and reason of every job, and of every member of an array, by the job's id."""
    found: dict[str, list[tuple[str, str]]] = {}
    for line in slurm.run("squeue", "--noheader", "--all", "--states=all", "--format=%F|%T|%r").splitlines():
        job, state, reason = line.split("|", 2)
        found.setdefault(job, []).append((state, reason))
    return found


def started(slurm: LiveSlurm, jobs: Iterable[str]) -> bool:
    now = standing(slurm)
    return all(any(state in STARTED for state, _ in now.get(job, [])) for job in jobs)


def judge(
    slurm: LiveSlurm, possible: Mapping[str, Request], impossible: Mapping[str, tuple[str, Request]]
) -> None:
    facts = read_cluster(slurm.environment)
    assert not facts.unread
    for name, request in possible.items():
        assert not preflight([request], facts).refusals, name
    for name, (id, request) in impossible.items():
        refusals = preflight([request], facts).refusals
        assert [refusal.id for refusal in refusals] == [id], name
        assert all(refusal.cure for refusal in refusals), name

    waves = [{n: r for n, r in possible.items() if (r.members > 1) is array} for array in (False, True)]
    for wave in filter(None, waves):  # arrays last: they fill a user's MaxSubmit
        jobs: dict[str, str] = {}
        for name, request in wave.items():
            jobs[name], said = send(slurm, request)
            assert jobs[name], f"{name}: {said}"
        # Less than the five minutes after which slurmctld forgets the first of them.
        done = wait_until(lambda jobs=jobs: started(slurm, jobs.values()), 240.0, 0.5)
        now = standing(slurm)
        assert done, {name: now.get(job) for name, job in jobs.items() if not started(slurm, [job])}
        slurm.run("scancel", *jobs.values())

    waiting = {name: send(slurm, request)[0] for name, (_, request) in impossible.items()}
    jobs = {name: job for name, job in waiting.items() if job}
    held = wait_until(lambda: all(_never(now) for now in _of(standing(slurm), jobs.values())), 120.0, 0.5)
    now = standing(slurm)
    assert held, {name: now.get(job) for name, job in jobs.items() if not _never(now.get(job, []))}
    if jobs:
        slurm.run("scancel", *jobs.values())


def _of(now: Mapping[str, list[tuple[str, str]]], jobs: Iterable[str]) -> list[list[tuple[str, str]]]:
    return [now.get(job, []) for job in jobs]


def _never(members: list[tuple[str, str]]) -> bool:
    return bool(members) and all(state == "PENDING" and why.startswith(NEVER) for state, why in members)


@pytest.fixture
def ruled(slurm: LiveSlurm) -> Iterator[LiveSlurm]:
    """The cluster with further QOS, accounts and partitions, which are gone afterwards."""
    names: dict[str, list[str]] = {"qos": [], "account": [], "partition": []}
    try:
        for words in RULES:
            slurm.run(*words)
            if words[:3] == ("sacctmgr", "-i", "add") and words[3] in names:
                names[words[3]].append(words[4])
            elif words[0] == "scontrol":
                names["partition"].append(words[2].partition("=")[2])
        yield slurm
    finally:
        slurm.run("scancel", "--user=root")
        wait_until(lambda: not slurm.jobs(), 120.0, 0.2)
        for name in names["partition"]:
            slurm.run("scontrol", "delete", f"PartitionName={name}", check=False)
        for account in reversed(names["account"]):
            slurm.run("sacctmgr", "-i", "delete", "user", "root", f"account={account}", check=False)
            slurm.run("sacctmgr", "-i", "delete", "account", account, check=False)
        slurm.run("sacctmgr", "-i", "delete", "qos", ",".join(names["qos"]), check=False)


def test_there_are_enough_cases_of_both_kinds():
    assert len(IMPOSSIBLE) >= 30
    assert len(POSSIBLE) >= 30


@pytest.mark.slow
def test_preflight_and_sbatch_agree_on_every_request(slurm: LiveSlurm):
    judge(slurm, POSSIBLE, IMPOSSIBLE)


@pytest.mark.slow
def test_preflight_and_sbatch_agree_under_rarer_rules(ruled: LiveSlurm):
    judge(ruled, RULED_IN, RULED_OUT)


@pytest.mark.slow
def test_preflight_and_sbatch_agree_without_accounting(slurm_without_accounting: LiveSlurm):
    by_accounts = ("account", "qos", "limit-", "time-limit", "partition-qos", "partition-account")
    impossible = {n: (id, r) for n, (id, r) in IMPOSSIBLE.items() if not id.startswith(by_accounts)}
    possible = {n: r for n, r in POSSIBLE.items() if not (r.account or r.qos)}
    judge(slurm_without_accounting, possible, impossible)
    notes = preflight([ask()], read_cluster(slurm_without_accounting.environment)).notes
    assert any(note.startswith("not checked: accounts") for note in notes)


def test_more_jobs_than_slurmctld_keeps_are_refused_before_it_makes_sbatch_wait(
    slurm: LiveSlurm, tmp_path: Path
):
    request = ask(members=12_000)
    facts = read_cluster(slurm.environment)
    assert [refusal.id for refusal in preflight([request], facts).refusals] == ["array-jobs"]
    taken, said = 0, tmp_path / "said"
    while taken < request.members and is_taken(slurm, facts.max_array_size, said):
        taken += facts.max_array_size
    assert 0 < taken <= facts.max_job_count
    assert WAITS in said.read_text()


def is_taken(slurm: LiveSlurm, members: int, said: Path) -> bool:
    """Sends an array; False when sbatch is made to wait instead."""
    words = ["--hold", "--output=/dev/null", f"--array=0-{members - 1}", "--wrap=true"]
    with said.open("w") as out:
        sbatch = subprocess.Popen(["sbatch", *words], env=dict(slurm.environment), stdout=out, stderr=out)
    try:
        assert wait_until(lambda: sbatch.poll() is not None or WAITS in said.read_text(), 120.0)
        return sbatch.poll() == 0
    finally:
        sbatch.kill()
        sbatch.wait()


def test_nodes_that_are_drained_only_make_a_job_wait(slurm: LiveSlurm):
    slurm.run("scontrol", "update", "NodeName=n[1-2]", "State=DRAIN", "Reason=State=UP is not true")
    try:
        facts = read_cluster(slurm.environment)
        verdict = preflight([ask(gpus=8)], facts)
        assert facts.nodes["n1"].reason.startswith("State=UP is not true [root@")
        assert not verdict.refusals
        assert verdict.notes == (
            "step work will wait: none of the 2 nodes that fit takes jobs now, 1 needed",
        )
        job, said = send(slurm, ask(gpus=8))
        assert job, said
    finally:
        slurm.run("scontrol", "update", "NodeName=n[1-2]", "State=RESUME")
    assert wait_until(lambda: started(slurm, [job]), 120.0, 0.2)


@pytest.mark.parametrize(
    "text", ["n[1-3,007-010],gpu-a[1-2]b[3,5]", "a[08-11]", "a[9-11],a[1,1,3]", "n1,n2", "r[0-1]n[00-01]"]
)
def test_host_lists_are_read_as_scontrol_reads_them(slurm: LiveSlurm, text: str):
    assert slurm.run("scontrol", "show", "hostnames", text).split() == list(expand(text))
