"""What a line of `scontrol -o show job` says of a job that was told to leave; recorded on Slurm 22.05.8."""

from __future__ import annotations

from pathlib import Path

import pytest

from stair.submit.fate import Fate, ask_fate, await_fate, lost_nodes, read_fate
from stair.submit.seat import Seat
from tests.submit.standin_slurm import StandIn

RUNNING = "JobId=4 JobName=x JobState=RUNNING Reason=None Dependency=(null) Requeue=1 Restarts=0 "
LEAVING = "JobId=4 JobName=x JobState=COMPLETING Reason=None Dependency=(null) Requeue=1 Restarts=0 "


@pytest.fixture
def standin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    made = StandIn(tmp_path / "bin")
    monkeypatch.setenv("PATH", made.environment()["PATH"])
    return made


@pytest.mark.parametrize(
    ("what", "line", "fate"),
    [
        ("warned before its time limit", RUNNING + "PreemptTime=None TimeLimit=00:01:00", Fate()),
        ("in its grace time", RUNNING + "PreemptTime=2026-11-21T13:08:32", Fate("preemption")),
        ("cancelled", LEAVING + "PreemptTime=None", Fate(cancelled=True, leaving=True)),
        (
            "timed out",
            LEAVING.replace("None", "TimeLimit", 1) + "PreemptTime=None",
            Fate("timeout", leaving=True),
        ),
        (
            "preempted, to be cancelled",
            LEAVING + "PreemptTime=2026-11-21T13:10:30",
            Fate("preemption", leaving=True),
        ),
        (
            "preempted without grace, requeued by Slurm",
            LEAVING.replace("Restarts=0", "Restarts=1"),
            Fate("preemption", requeued=True),
        ),
    ],
)
def test_a_jobs_line_tells_its_fate(what, line, fate):
    assert read_fate(line, restart=0) == fate, what


def test_a_lost_node_tells_why_slurm_has_requeued_a_job(standin: StandIn):
    """The line of such a job is the same as after a preemption without grace time (22.05)."""
    seat = Seat("4", "4", None, 0, ("n1", "n2"))
    standin.say(LEAVING.replace("Restarts=0", "Restarts=1"))
    assert ask_fate(seat) == Fate("preemption", requeued=True)
    (standin.folder / "nodes").write_text("n1 completing\nn2 down*\nn2 down*\n")
    assert ask_fate(seat) == Fate("node", requeued=True, lost=("n2",))


@pytest.mark.parametrize(
    ("state", "lost"),
    [("idle", False), ("mixed", False), ("draining", False), ("allocated*", True), ("down", True)],
)
def test_a_node_is_lost_when_it_is_down_or_silent(state: str, lost: bool):
    assert lost_nodes(f"n1 idle\nn2 {state}\n") == (("n2",) if lost else ())


def test_earlier_requeues_do_not_count_as_new_ones():
    line = RUNNING.replace("Restarts=0", "Restarts=2")
    assert not read_fate(line, restart=2).requeued
    assert read_fate(line, restart=1).requeued


def test_a_running_job_says_when_its_time_is_over():
    assert read_fate(RUNNING + "EndTime=1795269687 PreemptTime=None", restart=0).ends == 1795269687.0
    assert read_fate(RUNNING + "EndTime=Unknown", restart=0).ends is None


def test_a_member_is_found_among_the_lines_of_its_array(standin: StandIn):
    member = Seat("7_3", "9", 3, 0, ("n1",))
    lines = [RUNNING.replace("JobId=4", "JobId=7"), RUNNING.replace("JobId=4", "JobId=9 ArrayJobId=7")]
    standin.say("\n".join([lines[0], lines[1].replace("RUNNING", "TIMEOUT")]))
    assert ask_fate(member) == Fate("timeout", leaving=True)


def test_a_silent_slurmctld_leaves_the_fate_open_until_it_answers(standin: StandIn):
    seat = Seat("4", "4", None, 0, ("n1",))
    standin.say(RUNNING + "PreemptTime=None")
    standin.answers(False)
    assert not ask_fate(seat).known
    asked = []

    def give_up() -> bool:
        asked.append(1)
        standin.answers(True)
        return False

    assert await_fate(seat, give_up).known
    assert len(asked) == 1
