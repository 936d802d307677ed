"""What becomes of an attempt, by tables."""

from __future__ import annotations

import pytest

from stair.cluster.ledger import Attempt
from stair.submit.plan import Budgets
from stair.submit.verdict import Ending, bad_nodes, decide, join_endings, lost, with_fate

DONE = Ending("done")
SAVED = Ending("checkpointed", code=75)
EXPLAINED = Ending("fatal", why="no data in x", code=1, node="n2", time=9.0)
KILLED = Ending("retryable", "crash", "rank 3 was killed by SIGKILL", code=-9, node="n2", time=5.0)
PEERLESS = Ending("retryable", "crash", "lost its peers", code=76, node="n1", time=4.0)
UNFIT = Ending("retryable", "node", "no NVIDIA driver", node="n1", time=7.0)
BUDGETS = Budgets(timeout=2, preemption=3, node=1, crash=1)


def attempt(cause="", unfit=()) -> Attempt:
    return Attempt("stage1", None, "12", 0, ("n1",), 1.0, 2.0, "retryable", cause, unfit=unfit)


@pytest.mark.parametrize(
    ("said", "warned", "verdict", "cause", "why"),
    [
        ([DONE, DONE], "", "done", "", ""),
        ([SAVED, SAVED], "timeout", "checkpointed", "timeout", "time limit"),
        ([SAVED, SAVED], "", "checkpointed", "preemption", "make room"),
        ([DONE, SAVED], "timeout", "checkpointed", "timeout", "time limit"),
        ([PEERLESS, EXPLAINED], "", "fatal", "", "no data in x"),
        ([PEERLESS, KILLED], "", "retryable", "crash", "SIGKILL"),
        ([UNFIT, KILLED], "", "retryable", "node", "NVIDIA"),
        ([PEERLESS, None], "", "retryable", "node", "nothing was heard of n2"),
        ([None, KILLED], "", "retryable", "crash", "SIGKILL"),
        ([SAVED, None], "preemption", "retryable", "preemption", "before n2 had saved"),
        ([None, None], "", "retryable", "node", "all nodes"),
    ],
)
def test_the_root_cause_wins_over_its_consequences(said, warned, verdict, cause, why):
    ending = join_endings(said, ["n1", "n2"], warned=warned)
    assert (ending.verdict, ending.cause) == (verdict, cause)
    assert why in ending.why


@pytest.mark.parametrize(
    ("ending", "earlier", "again", "why_not"),
    [
        (DONE, [], "no", ""),
        (EXPLAINED, [], "no", ""),
        (KILLED, [], "requeue", ""),
        (KILLED, [attempt("crash")], "no", "2 killed processes, 1 allowed (slurm.max_crashes)"),
        (KILLED, [attempt("timeout"), attempt("preemption"), attempt("node")], "requeue", ""),
        (UNFIT, [], "resubmit", ""),
        (Ending("checkpointed", "timeout"), [attempt("timeout")], "requeue", ""),
        (Ending("checkpointed", "timeout"), [attempt("timeout")] * 2, "no", "3 time limits, 2 allowed"),
        (Ending("checkpointed", "preemption"), [attempt("timeout")] * 5, "requeue", ""),
    ],
)
def test_every_cause_has_a_budget_of_its_own(ending, earlier, again, why_not):
    decision = decide(ending, earlier, BUDGETS, cancelled=False)
    assert decision.again == again
    assert why_not in decision.why_not
    assert bool(why_not) == bool(decision.why_not)


def test_a_cancelled_run_is_not_begun_again_whatever_happened():
    for ending in (SAVED, KILLED, UNFIT, EXPLAINED):
        decision = decide(ending, [], BUDGETS, cancelled=True)
        assert (decision.ending.verdict, decision.again) == ("cancelled", "no")


def test_a_step_that_was_done_before_it_was_cancelled_is_done():
    assert decide(DONE, [], BUDGETS, cancelled=True).ending.verdict == "done"


@pytest.mark.parametrize(
    ("ending", "cause", "verdict", "why"),
    [
        (KILLED, "preemption", "retryable", "made room for others before"),
        (SAVED, "timeout", "checkpointed", "the time limit was near"),
        (PEERLESS, "node", "retryable", "a node of it was lost"),
        (EXPLAINED, "preemption", "fatal", "no data in x"),
        (DONE, "preemption", "done", ""),
    ],
)
def test_what_slurm_was_about_to_do_explains_how_processes_died(ending, cause, verdict, why):
    found = with_fate(ending, cause)
    assert found.verdict == verdict
    assert why in found.why
    assert found.cause == (cause if verdict in ("retryable", "checkpointed") else "")
    assert with_fate(KILLED, "") == KILLED


def test_nobody_is_to_blame_for_what_ended_everywhere_at_once():
    decision = decide(join_endings([None, None], ["n1", "n2"]), [], BUDGETS, cancelled=False)
    assert (decision.again, decision.exclude) == ("requeue", ())


def test_every_node_that_was_at_fault_stays_excluded():
    assert bad_nodes(UNFIT, [attempt("node", ("n7",)), attempt("node", ("n1",))]) == ("n7", "n1")
    assert bad_nodes(KILLED, [attempt("node", ("n7",))]) == ()


def test_an_attempt_without_an_end_counts_as_a_lost_node():
    ended = lost(attempt(), 5.0)
    assert (ended.verdict, ended.cause, ended.ended) == ("retryable", "node", 5.0)
    assert ended.key == attempt().key
