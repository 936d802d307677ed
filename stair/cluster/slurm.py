"""Asks a Slurm cluster what it is: four commands at once, each with a time limit, become SlurmFacts.

Takes an environment (its PATH and SLURM_CONF pick the cluster), hands on SlurmFacts. The surprise: sacctmgr
reads three questions from its standard input, so that one connection to slurmdbd answers all of them.
"""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
import time
from collections.abc import Mapping, Sequence

from stair.cluster.slurm_facts import SlurmFacts
from stair.cluster.slurm_records import ACCOUNT_COLUMNS, QOS_COLUMNS, USER_COLUMNS, make_facts
from stair.errors import StairError
from stair.frozen import frozen

TIMEOUT_S = 30.0
"""For all commands together. Where slurmctld is away they give up by themselves, after 10 s by default
(MessageTimeout), and say why."""
# --all: hidden partitions, and those of other groups, can be told from unknown ones.
CONFIG = ("scontrol", "show", "config")
PARTITIONS = ("scontrol", "--all", "-o", "show", "partition")
NODES = ("scontrol", "--all", "-o", "show", "node")
ACCOUNTING = ("sacctmgr", "-P")


@frozen
class Answer:
    """What one command printed."""

    text: str
    error: str
    """Empty when it succeeded; else the first line it complained with."""


def read_cluster(environment: Mapping[str, str], *, timeout_s: float = TIMEOUT_S) -> SlurmFacts:
    """The facts of the cluster that `environment` leads to.

    Raises StairError when there are no Slurm commands or slurmctld does not answer. Accounting that does not
    answer is no error: the facts come without associations and QOS, and say so in `unread`.
    """
    user = _user()
    answers = ask(
        {CONFIG: "", PARTITIONS: "", NODES: "", ACCOUNTING: accounting_questions(user)},
        _without_slurm(environment),
        timeout_s=timeout_s,
    )
    for command in (CONFIG, PARTITIONS, NODES):
        if answers[command].error:
            conf = environment.get("SLURM_CONF", "")
            which = f"SLURM_CONF={conf}" if conf else "this machine's own (SLURM_CONF is not set)"
            raise StairError(
                f"slurmctld does not answer: {answers[command].error}",
                hint=f"scontrol ping; slurm_conf of the profile: the cluster asked is {which}",
            )
    accounting, unread = answers[ACCOUNTING], []
    has_accounting = "slurmdbd" in answers[CONFIG].text
    if has_accounting and accounting.error:
        unread.append(f"accounts, QOS and their limits (sacctmgr: {accounting.error})")
    return make_facts(
        answers[CONFIG].text,
        answers[PARTITIONS].text,
        answers[NODES].text,
        None if accounting.error or not has_accounting else accounting.text,
        user=user,
        groups=_groups(),
        unread=unread,
    )


def ask(
    questions: Mapping[Sequence[str], str], environment: Mapping[str, str], *, timeout_s: float
) -> dict[Sequence[str], Answer]:
    """Runs commands side by side, each with its standard input, and waits for all of them.

    Raises StairError when one is not on the PATH of `environment`.
    """
    deadline = time.monotonic() + timeout_s
    children: dict[Sequence[str], subprocess.Popen[str]] = {}
    answers: dict[Sequence[str], Answer] = {}
    try:
        for argv in questions:
            pipe = subprocess.PIPE
            children[argv] = subprocess.Popen(
                argv, stdin=pipe, stdout=pipe, stderr=pipe, env=dict(environment), text=True, errors="replace"
            )
        for argv, child in children.items():
            answers[argv] = _answer(child, questions[argv], max(0.0, deadline - time.monotonic()))
    except FileNotFoundError as error:
        raise StairError(
            f"no '{error.filename}' on PATH: this machine has no Slurm commands",
            hint="submit from a login node of the cluster (module load slurm?), or --cluster local",
        ) from None
    finally:
        for child in children.values():
            if child.poll() is None:
                child.kill()
            child.wait()
    return answers


def _answer(child: subprocess.Popen[str], words: str, timeout_s: float) -> Answer:
    try:
        text, complaint = child.communicate(words, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return Answer("", f"no answer within {timeout_s:.0f} s")
    lines = [line.strip() for line in (complaint.strip() or text.strip()).splitlines()]
    # After a failed question sacctmgr's interactive mode leaves with 0: then words on stderr are the failure.
    if child.returncode or (complaint.strip() and not text.strip()):
        return Answer("", lines[0] if lines else f"exit code {child.returncode}")
    return Answer(text, "")


def accounting_questions(user: str) -> str:
    """What sacctmgr is told on its standard input: all QOS, the user's associations, all accounts."""
    return (
        f"show qos format={','.join(QOS_COLUMNS)}\n"
        f"show user {user} withassoc format={','.join(USER_COLUMNS)}\n"
        f"show assoc user= format={','.join(ACCOUNT_COLUMNS)}\n"
    )


def _without_slurm(environment: Mapping[str, str]) -> dict[str, str]:
    """SLURM_CLUSTERS and its like would ask another cluster than the one sbatch is sent to."""
    kept = {
        name: value for name, value in environment.items() if not name.startswith(("SLURM_", "SACCTMGR_"))
    }
    return kept | {name: environment[name] for name in ("SLURM_CONF",) if name in environment}


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _groups() -> frozenset[str]:
    names = set()
    for number in {os.getgid(), *os.getgroups()}:
        try:
            names.add(grp.getgrgid(number).gr_name)
        except KeyError:
            continue
    return frozenset(names)
