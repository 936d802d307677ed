"""States of jobs: from what a real Slurm said, from shapes of newer ones, from stand-in commands."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stair.cluster.jobs import (
    SlurmIsSilent,
    ask_jobs,
    join,
    latest_jobs,
    missing_members,
    state_of,
)
from stair.cluster.jobstate import (
    ENDED,
    HOLDING,
    WAITING,
    JobState,
    duration_s,
    exit_status,
    members_of,
    moment,
    normal_state,
    number,
)
from stair.cluster.ledger import Sent
from stair.cluster.sacct import read_sacct
from stair.cluster.squeue import read_squeue, read_squeue_json
from tests.cluster.standin import StandIn, a_queue, sacct_line, squeue_line

RECORDED = Path(__file__).parent / "recorded_jobs"
NAMES = dict(line.split("=") for line in (RECORDED / "names").read_text().split())
NEWER = ["23.02", "23.11", "24.05", "24.11", "25.05"]


def recorded(name: str) -> str:
    return (RECORDED / name).read_text()


def recorded_states(moment: str) -> dict[str, JobState]:
    """The joined states of a recorded moment, by the names that the jobs were given."""
    alive = read_squeue(recorded(f"22.05.8-{moment}-squeue.txt"))
    states = join(alive, read_sacct(recorded(f"22.05.8-{moment}-sacct.txt")))
    names = {job: name for name, job in NAMES.items()}
    return {id.replace(id.partition("_")[0], names[id.partition("_")[0]]): s for id, s in states.items()}


def test_a_real_slurms_text_is_read():
    states = recorded_states("later")
    seen = {name: (s.state, s.reason) for name, s in states.items() if "array" not in name}
    seen = {name: what for name, what in seen.items() if not name.startswith("longlist")}
    assert seen == {
        "done": ("COMPLETED", ""),
        "failed": ("FAILED", "NonZeroExitCode"),
        "running": ("RUNNING", ""),
        "requeued": ("RUNNING", ""),
        "cancelled": ("CANCELLED", ""),
        "cancelled_pending": ("CANCELLED", "JobHeldUser"),
        "timeout": ("RUNNING", ""),
        "dependent": ("PENDING", "Dependency"),
        "never": ("PENDING", "DependencyNeverSatisfied"),
        "killdep": ("CANCELLED", "DependencyNeverSatisfied"),
        "held": ("PENDING", "JobHeldUser"),
        "begin": ("PENDING", "BeginTime"),
        "nodefail": ("PENDING", "ReqNodeNotAvail, UnavailableNodes:n4"),
        "nodefail_norequeue": ("NODE_FAIL", "NodeDown"),
        "preempted_requeued": ("PENDING", "Resources"),
        "preempted": ("RUNNING", ""),
        "signalled": ("FAILED", "JobLaunchFailure"),
        "preemptor": ("COMPLETED", ""),
        "preemptor2": ("COMPLETED", ""),
        "resources": ("COMPLETED", ""),
        "priority": ("COMPLETED", ""),
    }
    assert states["failed"].exit_code == 3
    assert states["signalled"].signal == 9
    assert states["dependent"].dependency == f"afterok:{NAMES['running']}(unfulfilled)"
    assert states["running"].time_limit_s == 300
    assert states["held"].start is None


def test_every_run_of_a_requeued_job_is_history():
    states = recorded_states("later")
    told = {name: [(run.state, run.nodes) for run in s.history] for name, s in states.items() if s.history}
    assert told == {
        "running": [("PREEMPTED", "n[1-2]")],
        "requeued": [("REQUEUED", "n1")],
        "timeout": [("PREEMPTED", "n2")],
        "nodefail": [("NODE_FAIL", "n4")],
        "preempted_requeued": [("PREEMPTED", "n3")],
    }
    assert all(states[name].restarts == 1 for name in told)


def test_a_time_limit_after_a_preemption_is_told_apart_from_it():
    state = recorded_states("last")["timeout"]
    assert (state.state, state.reason, state.restarts) == ("TIMEOUT", "TimeLimit", 1)
    assert [run.state for run in state.history] == ["PREEMPTED"]


def test_members_of_a_real_array_have_a_state_each():
    states = recorded_states("start")
    members = {name: s.state for name, s in states.items() if name.startswith("array_")}
    assert members == {
        **{f"array_{index}": "RUNNING" for index in (0, 2, 4)},
        **{f"array_{index}": "PENDING" for index in (6, 8, 15)},
    }
    assert {name for name in states if name.startswith("heldarray")} == {
        f"heldarray_{index}" for index in (3, 7, 11, 12, 13)
    }
    assert states["array_15"].index == 15


def test_an_array_expression_that_slurm_has_cut_leaves_a_rest():
    whole = read_squeue(recorded("22.05.8-start-squeue.txt"))
    cut = read_squeue(recorded("22.05.8-start-squeue-cut.txt"))
    job = NAMES["longlist"]
    assert f"{job}_144" in whole
    assert f"{job}_144" not in cut
    assert cut[job].rest
    state = state_of(cut, f"{job}_144")
    assert state is not None
    assert (state.state, state.reason, state.index) == ("PENDING", "JobHeldUser", 144)
    assert state_of(cut, job) is None
    assert state_of(whole, f"{job}_145") is None


def test_json_and_text_of_the_same_moment_say_the_same():
    text = read_squeue(recorded("22.05.8-later-squeue.txt"))
    tree = read_squeue_json(recorded("22.05.8-later-squeue.json"), list(NAMES.values()))
    assert len(tree) > 15
    for id, state in tree.items():
        # 22.05 writes a dependency that can no longer change differently, and eligible times of the unborn.
        assert (state.id, state.state, state.reason) == (id, text[id].state, text[id].reason)
        for name in ("index", "nodes", "exit_code", "signal", "restarts", "time_limit_s", "submitted"):
            assert getattr(state, name) == getattr(text[id], name), (id, name)


def test_json_of_22_05_that_ignores_the_question_is_filtered():
    assert list(read_squeue_json(recorded("22.05.8-later-squeue.json"), [NAMES["held"]])) == [NAMES["held"]]


@pytest.mark.parametrize("version", NEWER)
def test_json_of_newer_versions_is_read(version: str):
    states = read_squeue_json(recorded(f"{version}-by-hand-squeue.json"), [str(id) for id in range(12, 20)])
    assert {id: s.state for id, s in states.items()} == {
        "12": "RUNNING",
        **{f"13_{index}": "PENDING" for index in (1, 3, 4)},
        "13_0": "COMPLETED",
        "15": "FAILED",
        "16": "COMPLETING",
        "17": "PENDING",
        "18": "REQUEUED",
        "19": "PENDING",
    }
    assert (states["12"].nodes, states["12"].restarts, states["12"].time_limit_s) == ("gpu[03-04]", 1, 5400)
    assert states["12"].start == 1700000100
    assert (states["15"].exit_code, states["15"].signal) == (3, 0)
    assert (states["16"].exit_code, states["16"].signal) == (0, 15)
    assert states["17"].reason == "ReqNodeNotAvail, UnavailableNodes:gpu09"
    assert states["19"].dependency == "afterok:12(unfulfilled)"
    assert states["19"].start is None


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("RUNNING", "RUNNING"),
        ("CANCELLED by 1000", "CANCELLED"),
        ("CANCELLED+", "CANCELLED"),
        ("CG", "COMPLETING"),
        ("OOM", "OUT_OF_MEMORY"),
        (["RUNNING"], "RUNNING"),
        (["RUNNING", "COMPLETING"], "COMPLETING"),
        (["COMPLETED", "UPDATE_DB"], "COMPLETED"),
        (["PENDING", "REQUEUED"], "REQUEUED"),
        (["PENDING", "REQUEUE_HOLD"], "REQUEUE_HOLD"),
        (["RUNNING", "CONFIGURING"], "CONFIGURING"),
        (["COMPLETING", "REQUEUED"], "REQUEUED"),
        ("SOMETHING_NEW", "UNKNOWN"),
        ([], "UNKNOWN"),
        (None, "UNKNOWN"),
    ],
)
def test_a_state_has_one_normal_form(said: object, state: str):
    assert normal_state(said) == state


def test_no_state_is_of_two_kinds():
    assert not WAITING & HOLDING
    assert not (WAITING | HOLDING) & ENDED


@pytest.mark.parametrize(
    ("said", "value"),
    [
        (5, 5.0),
        ("5", 5.0),
        (None, None),
        ({"set": True, "infinite": False, "number": 5}, 5.0),
        ({"set": False, "infinite": False, "number": 0}, None),
        ({"set": True, "infinite": True, "number": 0}, None),
        ({"number": 7}, 7.0),
        ("N/A", None),
        (True, None),
    ],
)
def test_a_number_comes_in_many_forms(said: object, value: float | None):
    assert number(said) == value


def test_times_durations_and_exit_codes_come_in_many_forms():
    assert moment("1700000000") == 1700000000
    assert moment(0) is None
    assert [moment(word) for word in ("Unknown", "N/A", "None", "")] == [None] * 4
    written = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(1700000000))
    assert moment(written) == 1700000000
    assert duration_s("1-02:03:04") == 93784
    assert duration_s("5:00") == duration_s("00:05:00") == 300
    assert duration_s("UNLIMITED") is None
    assert exit_status("768") == (3, 0)
    assert exit_status("15") == (0, 15)
    assert exit_status("0:9") == (0, 9)
    assert exit_status(None) == (0, 0)


def test_array_expressions():
    assert members_of("0-9:2,15%3") == ([0, 2, 4, 6, 8, 15], True)
    assert members_of("7") == ([7], True)
    assert members_of("1,3,...") == ([1, 3], False)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 30), st.integers(1, 7)), min_size=1, max_size=8))
def test_array_expressions_name_what_they_were_made_of(parts: list[tuple[int, int, int]]):
    text = ",".join(f"{first}-{first + width}:{step}" for first, width, step in parts)
    wanted = [n for first, width, step in parts for n in range(first, first + width + 1, step)]
    assert members_of(f"{text}%4") == (wanted, True)


def test_squeue_is_believed_while_it_knows_the_job():
    """sacct lags by seconds: it still has the run that was preempted, or that already ended, as running."""
    alive = read_squeue(squeue_line("12", "PENDING", "BeginTime", restarts=1, start=3000))
    past = read_sacct(sacct_line("12", "PREEMPTED"))
    state = join(alive, past)["12"]
    assert (state.state, state.restarts) == ("PENDING", 1)
    assert [run.state for run in state.history] == ["PREEMPTED"]
    state = join(alive, read_sacct(sacct_line("12", "RUNNING", end="Unknown")))["12"]
    assert (state.state, state.history) == ("PENDING", ())


def test_the_present_run_is_no_history_of_itself():
    alive = read_squeue(squeue_line("12", "COMPLETED", start=1000))
    assert join(alive, read_sacct(sacct_line("12", "COMPLETED", start=1000)))["12"].history == ()


def test_a_job_that_squeue_forgot_and_sacct_calls_running_is_not_called_running():
    state = join({}, read_sacct(sacct_line("12", "RUNNING", end="Unknown")))["12"]
    assert (state.state, state.alive) == ("UNKNOWN", False)
    state = join({}, read_sacct(sacct_line("12", "TIMEOUT")))["12"]
    assert state.state == "TIMEOUT"


def test_an_old_job_of_the_same_id_is_not_ours():
    text = sacct_line("12", "FAILED", submitted=1_000_000) + sacct_line(
        "12", "COMPLETED", submitted=9_000_000
    )
    state = read_sacct(text, since=9_000_000)["12"]
    assert (state.state, state.history) == ("COMPLETED", ())


# ── asking ──


def test_two_commands_whatever_the_number(tmp_path: Path):
    slurm = StandIn(tmp_path)
    slurm.say("squeue", squeue_line("12") + squeue_line("13_[0-9%2]", "PENDING", "JobArrayTaskLimit"))
    slurm.say("sacct", sacct_line("11", "COMPLETED"))
    states = ask_jobs(["11", "12", "13", "13_4"], slurm.environment())
    assert len(states) == 12
    assert [call[0] for call in slurm.calls()] == ["squeue", "sacct"]
    assert all("--jobs=11,12,13" in call for call in slurm.calls())
    assert {"--duplicates", "--allocations"} <= set(slurm.calls()[1])


def test_a_persons_own_formats_do_not_reach_the_commands(tmp_path: Path):
    slurm = StandIn(tmp_path)
    for name in ("squeue", "sacct"):
        slurm.say(name)
    mine = {
        "SQUEUE_FORMAT": "%i",
        "SQUEUE_STATES": "R",
        "SACCT_FORMAT": "JobID",
        "SLURM_CONF": "/x/slurm.conf",
    }
    ask_jobs(["12"], slurm.environment(**mine))
    for name in ("squeue", "sacct"):
        seen = slurm.seen(name)
        assert not {"SQUEUE_FORMAT", "SQUEUE_STATES", "SACCT_FORMAT"} & set(seen)
        assert (seen["SLURM_CONF"], seen["SLURM_TIME_FORMAT"]) == ("/x/slurm.conf", "%s")


def test_nothing_is_asked_about_nothing(tmp_path: Path):
    slurm = StandIn(tmp_path)
    assert ask_jobs([], slurm.environment()) == {}
    assert not slurm.calls()


def test_a_single_job_that_slurm_has_forgotten_is_no_failure(tmp_path: Path):
    slurm = StandIn(tmp_path)
    slurm.say("squeue", err="slurm_load_jobs error: Invalid job id specified\n", code=1)
    slurm.say("sacct", sacct_line("12", "COMPLETED"))
    assert ask_jobs(["12"], slurm.environment())["12"].state == "COMPLETED"
    slurm.say("sacct", err="Slurm accounting storage is disabled\n", code=1)
    assert ask_jobs(["12"], slurm.environment()) == {}


def test_without_accounting_squeue_alone_is_asked(tmp_path: Path):
    slurm = StandIn(tmp_path)
    slurm.say("squeue", squeue_line("12"))
    assert ask_jobs(["12"], slurm.environment(), accounting=False)["12"].state == "RUNNING"
    assert [call[0] for call in slurm.calls()] == ["squeue"]


def test_a_silent_slurmctld_is_an_answer_of_its_own(tmp_path: Path):
    slurm = StandIn(tmp_path)
    slurm.say(
        "squeue", err="slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n", code=1
    )
    slurm.say("sacct", sacct_line("12", "RUNNING"))
    with pytest.raises(SlurmIsSilent, match="Unable to contact slurm controller") as caught:
        ask_jobs(["12"], slurm.environment())
    assert caught.value.exit_code == 3
    slurm.say("squeue", first="exec sleep 300")
    began = time.monotonic()
    with pytest.raises(SlurmIsSilent, match="no answer within"):
        ask_jobs(["12"], slurm.environment(), seconds=0.3)
    assert time.monotonic() - began < 60


def test_a_machine_without_slurm_says_so(tmp_path: Path):
    with pytest.raises(SlurmIsSilent, match="squeue: No such file"):
        ask_jobs(["12"], {"PATH": str(tmp_path)})


def test_a_squeue_that_does_not_know_our_columns_is_asked_for_json(tmp_path: Path):
    slurm = StandIn(tmp_path)
    slurm.say("sacct", code=1)
    queue = a_queue({"job_id": 12, "job_state": ["RUNNING"]}, {"job_id": 99, "job_state": ["RUNNING"]})
    (tmp_path / "queue").write_text(queue)
    slurm.say("squeue", "12 RUNNING\n", first='case "$*" in *--json*) cat queue; exit 0;; esac')
    assert {id: s.state for id, s in ask_jobs(["12"], slurm.environment()).items()} == {"12": "RUNNING"}


def test_five_thousand_members_are_read_in_half_a_second(tmp_path: Path):
    slurm = StandIn(tmp_path)
    lines = [squeue_line(f"12_{index}", "RUNNING" if index % 2 else "COMPLETED") for index in range(4000)]
    slurm.say("squeue", "".join(lines) + squeue_line("12_[4000-4999%64]", "PENDING", "JobArrayTaskLimit"))
    slurm.say("sacct", "".join(sacct_line(f"12_{index}", "COMPLETED") for index in range(5000)))
    took = []
    for _ in range(3):
        began = time.process_time()
        states = ask_jobs(["12"], slurm.environment())
        took.append(time.process_time() - began)
    assert len(states) == 5000
    assert len(slurm.calls()) == 6
    assert min(took) < 0.5


# ── who holds what ──

ARRAY = Sent("eval", "eval", "20", tuple(range(6)))


def test_a_job_that_was_sent_again_replaces_the_one_before():
    again = Sent("eval", "eval", "25", (2,), why="again after node")
    assert latest_jobs([ARRAY, again], "eval")[2] == "25_2"
    assert latest_jobs([ARRAY, again], "eval")[3] == "20_3"
    moved = Sent("eval", "eval", "20", tuple(range(6)), after=("9",), why="moved to wait for 9")
    assert latest_jobs([ARRAY, again, moved], "eval")[2] == "25_2"
    assert latest_jobs([Sent("s", "s", "1"), Sent("s", "s", "2")], "s") == {None: "2"}


def test_parts_of_a_long_array_count_from_their_offset():
    second = Sent("eval.1", "eval", "21", (1000, 1001), offset=1000)
    assert latest_jobs([second], "eval") == {1000: "21_0", 1001: "21_1"}


def test_only_members_that_nobody_holds_are_missing():
    text = (
        squeue_line("20_[0-1%2]", "PENDING", "Priority") + squeue_line("20_2") + squeue_line("20_3", "FAILED")
    )
    states = read_squeue(text)
    assert missing_members(8, [ARRAY], "eval", states, done={4}) == (3, 5, 6, 7)
    rest = read_squeue(squeue_line("20_[0,", "PENDING"))
    assert missing_members(8, [ARRAY], "eval", rest, done=set()) == (6, 7)
