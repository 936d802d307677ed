"""Requests against a cluster's facts. That sbatch agrees is shown in tests/slurm."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stair.cluster.slurm_facts import SlurmFacts
from stair.submit.options import Request
from stair.submit.preflight.judge import preflight
from tests.submit.facts import FACTS


def ask(**asked) -> Request:
    return Request(**{"step": "stage1", **asked})


def refused(request: Request, facts: SlurmFacts = FACTS) -> list[str]:
    return [refusal.id for refusal in preflight([request], facts).refusals]


def with_partition(**values) -> SlurmFacts:
    gpu = replace(FACTS.partitions["gpu"], **values)
    return replace(FACTS, partitions={**FACTS.partitions, "gpu": gpu})


def test_what_fits_is_shown_with_its_rules_and_nothing_to_note():
    verdict = preflight([ask(nodes=2, gpus=8, cores=64, mem_gb=400, account="vision")], FACTS)
    assert (verdict.refusals, verdict.notes) == ((), ())
    assert verdict.show == (
        "stage1: partition gpu, 2 nodes × 64 cores + 8 gpu + 400 GiB, 4 nodes fit, "
        "account vision, QOS normal",
    )


def test_all_that_is_wrong_is_told_at_once_the_most_causal_first():
    ids = refused(
        ask(nodes=4, gpus=9, cores=65, mem_gb=600, hours=72, account="robotz", qos="quik", exclude=("z1",))
    )
    assert ids == [
        "account",
        "qos-unknown",
        "exclude",
        "gres",
        "cores",
        "memory",
        "time-partition",
        "nodes-most",
    ]


def test_a_refusal_says_what_was_asked_what_is_possible_and_which_flag_cures_it():
    (refusal,) = preflight([ask(hours=72)], FACTS).refusals
    assert str(refusal) == "step stage1 asks for 3 days; partition gpu gives 2 days [time-partition]"
    assert refusal.cure == "--stage1.resources.partition cpu, or else --stage1.resources.hours 48"


def test_several_refusals_become_one_error_with_a_cure_each():
    error = preflight([ask(hours=72), ask(step="stage2", cores=65)], FACTS).error()
    lines = str(error).splitlines()
    assert lines[0] == "the cluster refuses 2 things"
    assert [line for line in lines if line.startswith("step")] == [lines[1], lines[3]]
    assert lines[4] == "  try: --stage2.resources.cores 64"


def test_an_unknown_partition_answers_with_the_nearest():
    (refusal,) = preflight([ask(partition="gpus")], FACTS).refusals
    assert "did you mean 'gpu'?" in str(refusal)
    assert refusal.cure.startswith("--stage1.resources.partition gpu")


def test_without_a_default_partition_one_must_be_named():
    facts = with_partition(default=False)
    assert refused(ask(), facts) == ["partition-none"]
    assert refused(ask(partition="cpu"), facts) == []


def test_groups_hold_for_people_and_not_for_administrators():
    facts = with_partition(groups=("staff", "guests"))
    assert refused(ask(), facts) == ["partition-group"]
    assert refused(ask(), replace(facts, groups=frozenset({"guests"}))) == []
    assert refused(ask(), replace(facts, administrator=True)) == []


def test_a_partition_for_root_is_refused_to_people():
    assert refused(ask(), with_partition(root_only=True)) == ["partition-user"]


def test_one_of_several_partitions_is_enough_unless_all_are_enforced():
    request = ask(partition="all,gpu", hours=24)
    assert refused(request) == []
    assert refused(request, replace(FACTS, part_limits="ALL")) == ["time-partition"]


@pytest.mark.parametrize("account", ["robots", "ROBOTS", ""])
def test_group_limits_hold_at_the_account(account: str):
    assert refused(ask(nodes=3, gpus=8, account=account)) == ["limit-group"]
    assert refused(ask(nodes=2, gpus=8, account=account)) == []


def test_group_limits_hold_at_every_account_above():
    assert refused(ask(nodes=3, gpus=8, account="vision")) == []
    tight = replace(FACTS.partitions["gpu"], max_nodes=4)
    facts = replace(FACTS, partitions={**FACTS.partitions, "gpu": tight})
    (refusal,) = preflight([ask(nodes=4, gpus=8, account="vision")], facts).refusals
    assert refusal.id == "limit-group"
    assert "account faculty has a limit of 24 gpu" in refusal.possible
    assert refusal.cure.startswith("--stage1.resources.gpus 6, or --stage1.resources.nodes 3")


def test_without_enforced_limits_they_are_not_held_against_anybody():
    facts = replace(FACTS, enforce=frozenset({"associations"}))
    assert refused(ask(nodes=3, gpus=8), facts) == []
    assert refused(ask(qos="quick", hours=2), facts) == []
    assert refused(ask(account="physics"), facts) == ["account"]
    assert refused(ask(account="physics"), replace(facts, enforce=frozenset())) == []


def test_a_person_without_any_account_is_told_whom_to_ask():
    (refusal,) = preflight([ask()], replace(FACTS, user="bob", default_account="")).refusals
    assert refusal.id == "account"
    assert "bob is in no account" in refusal.possible


def test_members_of_all_steps_are_counted_together_against_what_may_wait():
    one, two = ask(members=60, account="vision"), ask(step="eval", members=60, account="vision")
    assert refused(one) == []
    (refusal,) = preflight([one, two], FACTS).refusals
    assert (refusal.id, refusal.step) == ("limit-submit", "eval")
    assert refusal.cure.startswith("--eval.resources.members 40")
    assert [r.id for r in preflight([ask(members=501)], FACTS).refusals] == ["limit-submit"]


def test_more_members_than_slurm_keeps_jobs_are_refused():
    assert "array-jobs" in refused(ask(members=10_001), replace(FACTS, enforce=frozenset()))


def test_an_array_that_will_be_cut_is_a_note():
    verdict = preflight([ask(members=2500)], replace(FACTS, enforce=frozenset()))
    assert verdict.refusals == ()
    assert verdict.notes == (
        "step stage1: 2,500 members are sent as 3 arrays of at most 1,001 (MaxArraySize); they stay one step",
    )


def test_nodes_that_are_down_now_are_a_note():
    down = {f"a{n}": replace(FACTS.nodes[f"a{n}"], flags=frozenset({"DRAIN"})) for n in (1, 2, 3)}
    facts = replace(FACTS, nodes={**FACTS.nodes, **down})
    assert preflight([ask(gpus=1)], facts).notes == ()
    verdict = preflight([ask(gpus=1, nodes=2)], facts)
    assert verdict.refusals == ()
    assert verdict.notes == (
        "step stage1 will wait: only 1 of the 4 nodes that fit takes jobs now, 2 needed",
    )


def test_future_nodes_do_not_count():
    future = {f"a{n}": replace(FACTS.nodes[f"a{n}"], state="FUTURE") for n in (1, 2)}
    assert refused(ask(nodes=3), replace(FACTS, nodes={**FACTS.nodes, **future})) == ["nodes"]


def test_what_cannot_be_known_is_said_and_refuses_nothing():
    facts = replace(FACTS, associations=None, qos=None, unread=("accounts (sacctmgr: refused)",))
    verdict = preflight([ask(account="x", qos="y", reservation="z", options=("--licenses=l",))], facts)
    assert verdict.refusals == ()
    assert verdict.notes == (
        "not checked: reservation 'z' of step stage1",
        "not checked: --licenses=l of step stage1",
        "not checked: accounts (sacctmgr: refused)",
    )


def test_a_cluster_without_accounting_says_so():
    facts = replace(FACTS, accounting=False, associations=None, qos=None, enforce=frozenset())
    verdict = preflight([ask()], facts)
    assert verdict.refusals == ()
    assert verdict.notes == ("not checked: accounts, QOS and their limits (this Slurm has no accounting)",)


def test_budgets_are_only_refused_when_one_job_is_more_than_all_of_it():
    rich = [
        replace(a, limits=replace(a.limits, group_minutes={"cpu": 600})) if a.account == "faculty" else a
        for a in FACTS.associations or ()
    ]
    facts = replace(FACTS, associations=tuple(rich))
    safe = replace(facts, enforce=facts.enforce | {"safe"})
    assert refused(ask(cores=11, hours=1), facts) == []
    assert refused(ask(cores=11, hours=1), safe) == ["limit-budget"]
    assert refused(ask(cores=10, hours=1), safe) == []
    assert "left of the budget of account faculty" in preflight([ask()], facts).notes[0]
