"""Every drill: what is done to a running training, and how it must end.

Takes a Trial, hands on the states in which the run was found, such as `cancelled → done`. A drill raises
Differs when something on the way is not as it must be. The order is that of the table.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass

from stair.cluster.digest import file_digest
from tools.drilling.site import program, signal_all
from tools.drilling.trial import Differs, Trial

STEP = 30
"""Where a training is disturbed: it has saved itself at 20, so what is lost is computed again."""
DONE = "done"


@dataclass(frozen=True)
class Drill:
    """One line of the table."""

    name: str
    done: str
    """What is done to the run, for people."""
    act: Callable[[Trial], str]
    expected: str = DONE
    causes: tuple[str, ...] = ()
    """Of the attempts that did not finish their stage: the budgets they count on, or their verdicts."""
    resumes: bool = True
    stages: int = 1
    quick: bool = False
    low: str = ""
    """Runs with low priority; `requeue` or `cancel`."""
    small_disk: bool = False


def undisturbed(trial: Trial) -> str:
    trial.submit()
    return trial.finish()


def time_limit(trial: Trial) -> str:
    _begin(trial)
    job = trial.job()
    with trial.site.held():
        # Between one and two minutes from now, since Slurm counts whole ones from the start.
        minutes = int(_seconds(trial.site.job_field(job, "RunTime")) // 60) + 2
        trial.site.run("scontrol", "update", f"JobId={job}", f"TimeLimit={minutes}")
        trial.until(lambda: "USR2" in trial.log(), "the warning")
    return trial.finish()


def preempted(mode: str, grace_s: int | None) -> Callable[[Trial], str]:
    """A job of higher priority wants all nodes; `grace_s` None: as the cluster has it."""

    def act(trial: Trial) -> str:
        seconds = trial.site.cluster.shape.grace_s if grace_s is None else grace_s
        with trial.site.grace(mode, seconds):
            _begin(trial)
            with trial.site.held():
                trial.site.make_room()
                trial.until(lambda: re.search("SIG|CANCELLED", trial.log()), "the order to leave")
            return trial.finish()

    return act


def cable_pulled(place: int) -> Callable[[Trial], str]:
    """Pulls the cable of the `place`-th node of the job; the supervisor sits on the first one."""

    def act(trial: Trial) -> str:
        _begin(trial)
        node = trial.nodes()[place]
        trial.site.cut(node)
        trial.until(lambda: len(trial.attempts()) > 1, "a second attempt")
        trial.until(lambda: not trial.site.ranks(node), "the end of what was cut off")
        trial.site.mend(node)
        state = trial.finish()
        if node in trial.nodes():
            raise Differs(f"the run went on on {node}, which was cut off")
        if place == 0 and "another attempt has taken its place" not in trial.log():
            raise Differs("the supervisor that was cut off does not say that it was replaced")
        return state

    return act


def rank_killed(trial: Trial) -> str:
    _begin(trial)
    _kill_rank(trial)
    return trial.finish()


def cancelled_by_scancel(trial: Trial) -> str:
    _begin(trial)
    with trial.site.held():
        trial.site.run("scancel", trial.job())
    return f"{trial.finish()} → {undisturbed(trial)}"


def cancelled_by_us(trial: Trial) -> str:
    _begin(trial)
    with trial.site.held():
        trial.site.run(program("stair-submit"), "--cancel", str(trial.path))
    return f"{trial.finish()} → {undisturbed(trial)}"


def controller_restarted(trial: Trial) -> str:
    _begin(trial)
    trial.site.kill_controller()
    step = trial.seen["stage1"].last + 20
    trial.until(lambda: trial.seen["stage1"].last >= step, f"step {step} without slurmctld")
    with trial.site.held():
        trial.site.start_controller()
    return trial.finish()


def controller_away(trial: Trial) -> str:
    """While the supervisor wants to have its job requeued."""
    _begin(trial)
    with trial.site.held():
        trial.site.kill_controller()
        _kill_rank(trial)
    trial.until(lambda: "does not answer" in trial.log(), "the supervisor's patience")
    trial.site.start_controller()
    return trial.finish()


def disk_full(trial: Trial) -> str:
    """A file takes all space but for less than a checkpoint needs; then it is removed again."""
    _begin(trial)
    waste = trial.path.parent / "waste"
    with trial.site.held():
        free = os.statvfs(trial.path)
        waste.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - LEFT_BYTES)))
    state = trial.finish()
    said = trial.reported("stage1")["words"].lower()
    if "space" not in said and "disk" not in said:
        raise Differs(f"the report does not speak of the disk: {said}")
    second = trial.reported("stage2")
    if second["state"] not in ("blocked", "cancelled"):
        raise Differs(f"stage2 is {second['state']}: {second['words']}")
    waste.unlink()
    return f"{state} → {undisturbed(trial)}"


LEFT_BYTES = 300_000
"""Less than a checkpoint of the small model (1.2 MB), more than the records of an attempt."""


def node_unfit(trial: Trial) -> str:
    """One node does not see the image: the batch is sent again without it, and stage 2 waits for that."""
    with trial.site.without_image("n2", trial.site.image):
        trial.submit()
        first = trial.job()
        trial.until(lambda: trial.job() != first, "another job")
        waits = trial.site.job_field(trial.job("stage2"), "Dependency")
        if f":{trial.job()}" not in waits or f":{first}" in waits:
            raise Differs(f"stage2 waits for {waits}, not for {trial.job()} alone")
        trial.until(lambda: len(trial.attempts()) > 1, "a second attempt")
        if "n2" in trial.nodes():
            raise Differs("the second attempt got n2 again")
    return trial.finish()


def checkpoint_corrupted(trial: Trial) -> str:
    """One bit of what stage 1 made is flipped before stage 2 starts; then the file is restored."""
    trial.submit()
    second = trial.job("stage2")
    trial.site.run("scontrol", "hold", second)
    trial.until(lambda: trial.weights("stage1"), "the end of stage 1")
    saved = trial.stage().latest_checkpoint()
    assert saved is not None
    path = saved.model / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    trial.site.run("scontrol", "release", second)
    state = trial.finish()
    said = trial.reported("stage2")["words"]
    if "model.safetensors is not what step stage1 made" not in said:
        raise Differs(f"stage2 says: {said}")
    content[-1] ^= 1
    path.write_bytes(content)
    assert file_digest(path, fresh=True) == trial.weights("stage1")
    before = len(trial.sent())
    trial.submit()
    again = [line.step for line in trial.sent()[before:]]
    if again != ["stage2"]:
        raise Differs(f"sent again: {again}; only stage2 was missing")
    return f"{state} → {trial.finish()}"


def _begin(trial: Trial) -> None:
    trial.submit()
    trial.reach(STEP)


def _kill_rank(trial: Trial) -> None:
    """SIGKILL for a training process on the node where the supervisor is not."""
    signal_all(trial.site.ranks(trial.nodes()[1]), signal.SIGKILL)


def _seconds(clock: str) -> int:
    """What Slurm writes as [days-]hours:minutes:seconds."""
    days, _, rest = clock.rpartition("-")
    hours, minutes, seconds = (int(part) for part in rest.split(":"))
    return int(days or 0) * 86400 + hours * 3600 + minutes * 60 + seconds


DRILLS = (
    Drill("undisturbed", "nothing", undisturbed, resumes=False, stages=2, quick=True),
    Drill("time-limit", "its limit is lowered to the next minutes", time_limit, causes=("timeout",)),
    Drill(
        "preempt-requeue",
        "higher priority wants its nodes, PreemptMode=REQUEUE, grace time",
        preempted("requeue", None),
        causes=("preemption",),
        low="requeue",
        quick=True,
    ),
    Drill(
        "preempt-requeue-now",
        "the same without grace time",
        preempted("requeue", 0),
        causes=("preemption",),
        low="requeue",
    ),
    Drill(
        "preempt-cancel",
        "higher priority wants its nodes, PreemptMode=CANCEL, grace time",
        preempted("cancel", None),
        causes=("preemption",),
        low="cancel",
    ),
    Drill(
        "preempt-cancel-now",
        "the same without grace time",
        preempted("cancel", 0),
        causes=("preemption",),
        low="cancel",
        stages=2,
    ),
    Drill("cable-second", "cable of its second node pulled", cable_pulled(1), causes=("node",), stages=2),
    Drill("cable-first", "cable of the supervisor's node pulled", cable_pulled(0), causes=("node",)),
    Drill(
        "rank-killed",
        "SIGKILL for a training process",
        rank_killed,
        causes=("crash",),
        stages=2,
        quick=True,
    ),
    Drill(
        "scancel",
        "scancel, then the same command again",
        cancelled_by_scancel,
        expected="cancelled → done",
        causes=("cancelled",),
        quick=True,
    ),
    Drill(
        "stair-submit-cancel",
        "stair-submit --cancel, then the same command again",
        cancelled_by_us,
        expected="cancelled → done",
        causes=("cancelled",),
    ),
    Drill(
        "slurmctld-restarted",
        "SIGKILL for slurmctld, started again 20 steps later",
        controller_restarted,
        resumes=False,
    ),
    Drill(
        "slurmctld-away",
        "no slurmctld when the supervisor wants a requeue",
        controller_away,
        causes=("crash",),
    ),
    Drill(
        "disk-full",
        "no space for a checkpoint, then room and the same command again",
        disk_full,
        expected="failed → done",
        causes=("fatal",),
        stages=2,
        small_disk=True,
    ),
    Drill(
        "node-unfit",
        "a node does not see the image",
        node_unfit,
        causes=("node",),
        resumes=False,
        stages=2,
    ),
    Drill(
        "checkpoint-corrupted",
        "a bit of stage 1's weights flipped before stage 2, then restored and again",
        checkpoint_corrupted,
        expected="failed → done",
        causes=("fatal",),
        resumes=False,
        stages=2,
        quick=True,
    ),
)
