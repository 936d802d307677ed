"""What sbatch says when it makes no job of a script becomes an error in two lines.

Takes the text that sbatch wrote, hands on a StairError: Slurm's own words first, then what to try. The
wordings are those of Slurm 22.05 (slurm_errno.c). The surprise: slurmctld checks in an order of its own, and
its reason may be a later cause than the first one; preflight explains before anything is sent.
"""

from __future__ import annotations

import re

from stair.errors import StairError

AWAY = re.compile(
    r"unable to contact slurm controller|socket timed out|zero bytes were transmitted|standby mode|"
    r"connection (refused|reset|timed out)|communication (connection|shutdown|send|receive) failure|"
    r"temporarily unable to accept|resource temporarily unavailable",
    re.IGNORECASE,
)
"""slurmctld does not answer, which may pass."""

CURES = {
    r"account or account/partition": "--slurm.account: `sacctmgr show assoc user=$USER` lists yours",
    r"invalid qos|qos usage threshold": "--slurm.qos: `sacctmgr show assoc user=$USER format=account,qos`",
    r"partition name specified|invalid partition": "--slurm.partition: `sinfo -s` lists them",
    r"group not permitted": "another slurm.partition: this one is for other groups",
    r"time limit is invalid": "fewer --hours: `sinfo -o '%P %l'` shows the limits",
    r"node configuration is not available": "fewer cores, GPUs or less memory per node: `sinfo -N -l`",
    r"node count|nodes not in this partition": "fewer --nodes: `sinfo -s` shows how many there are",
    r"more processors": "fewer --nodes or processes: `sinfo -s` shows what there is",
    r"generic resource|gres": "slurm.gres of the profile: `sinfo -o '%P %G'` shows the names",
    r"feature specification": "slurm.constraint of the profile: `sinfo -o '%P %f'` shows the features",
    r"reservation": "slurm.reservation of the profile: `scontrol show reservation`",
    r"partition configuration not available|partition not available": "wait, or another slurm.partition",
    r"job array": "fewer members: `scontrol show config | grep MaxArraySize`",
    r"dependency": "the job it waits for is gone: repeat the submission",
    r"accounting/qos policy": "a limit is reached: `sacctmgr show qos`, or wait for your other jobs",
    r"memory spec": "slurm.mem_gb of the profile",
    r"too long": "a shorter --run path",
    r"access/permission denied": "is this user known on the cluster?",
    r"authentication": "is munged at work on this machine, and the clock right?",
    r"invalid directive|unrecognized option|invalid argument|argument": "slurm.options of the profile",
}
"""What to try, by what Slurm said."""


def refusal(name: str, said: str) -> StairError:
    """The error for a batch of that name."""
    lines = [re.sub(r"^sbatch: (error|fatal): ", "", line).strip() for line in said.splitlines()]
    lines = [line.removeprefix("Batch job submission failed: ") for line in lines if line]
    reason = lines[-1] if lines else "without a word"
    if len(lines) > 1 and reason.startswith("Try "):  # getopt's second line
        reason = lines[0]
    text = " ".join(lines)
    cure = next((cure for cause, cure in CURES.items() if re.search(cause, text, re.IGNORECASE)), "")
    return StairError(
        f"Slurm does not take {name}: {reason}", hint=cure or "stair-submit --dry shows the script"
    )
