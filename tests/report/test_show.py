"""What a person and a program get to see."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from stair.cluster.ledger import Sent
from stair.report.facts import StepFacts
from stair.report.progress import Progress
from stair.report.show import as_json, as_lines, attempt_words
from stair.report.status import judge
from stair.report.tail import with_tails
from tests.report.runs import NOW, a_job, an_attempt, as_plain, ended, evidence, facts, write_run


def text(status) -> str:
    return "\n".join(line for line, _ in as_lines(status))


def test_a_run_at_work_reads_like_this():
    seen = evidence(
        ended("checkpointed", ago=2000, cause="timeout", why="the time limit was near", next="requeued"),
        an_attempt(restart=1),
        progress={"stage1": Progress(1200, 2000, "steps", NOW, 0.4123, 321.0, 540.0)},
    )
    states = {
        "12": a_job("12", restarts=1),
        "13": a_job("13", "PENDING", "Dependency"),
        "14": a_job("14", "PENDING", "Dependency"),
    }
    assert text(judge(seen, states, NOW)) == (
        "pipeline on devcluster (slurm) · /runs/x\n"
        "  stage1  running on n[1-2] for 12 min · step 1200 of 2000, loss 0.4123, 321 samples/s, 9 min left\n"
        "          attempt 1: job 12 on n1,n2: checkpointed after 10 min; the time limit was near; requeued\n"
        "          attempt 2: job 12, restart 1 on n1,n2: at work\n"
        "  stage2  waiting for stage1\n"
        "  eval    waiting for stage2"
    )


def test_a_failure_comes_with_its_cure_and_the_end_of_its_log(tmp_path: Path):
    log = tmp_path / "logs" / "stage1-n2.log"
    log.parent.mkdir()
    log.write_text(
        "".join(f"line {n}\n" for n in range(40)) + "error: no data in x\n  try: --train.data.root y\n"
    )
    run = write_run(tmp_path, {"name": "stage1"})
    step = StepFacts("stage1", "train", tmp_path / "stage1")
    seen = evidence(
        ended("fatal", why="no data in x", hint="--train.data.root y", log=str(log)),
        run=facts(step, path=run.path),
    )
    shown = text(with_tails(judge(seen, {"12": a_job("12", "FAILED")}, NOW))).splitlines()
    assert shown[1:3] == ["  stage1  failed: no data in x", "          try: --train.data.root y"]
    assert shown[-1] == "          │   try: --train.data.root y"
    assert shown[-2] == "          │ error: no data in x"
    assert sum("│" in line for line in shown) == 15
    assert f"the end of {log}:" in shown[-16]


def test_without_a_named_log_the_steps_newest_is_taken(tmp_path: Path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "stage1-srun.log").write_text("srun: error: n2: task 1: Killed\n")
    (tmp_path / "logs" / "stage10.log").write_text("another step\n")
    step = StepFacts("stage1", "train", tmp_path / "stage1")
    seen = evidence(an_attempt(), run=facts(step, path=tmp_path))
    (status,) = with_tails(judge(seen, {}, NOW)).steps
    assert status.tail == ("srun: error: n2: task 1: Killed",)


def test_a_silent_slurm_is_said_with_the_age_of_what_is_known():
    status = judge(evidence(an_attempt()), None, NOW, silence="Slurm does not answer: connect failure")
    assert "connect failure; this is what the run folder knows, its newest word is 60 s old" in text(status)


def test_many_attempts_are_told_from_the_end():
    some = [ended("checkpointed", ago=5000 - n, restart=n, next="requeued") for n in range(9)]
    shown = text(judge(evidence(*some), {}, NOW))
    assert "… 3 attempts before" in shown
    assert "attempt 9: job 12, restart 8" in shown
    assert "attempt 3:" not in shown


def test_an_attempt_without_an_end_line_says_so():
    assert attempt_words(an_attempt(), alive=False).endswith("ended without a word")


def test_the_json_keeps_its_keys():
    step = StepFacts("eval", "eval", Path("/runs/x/eval"), members=3)
    sent = (Sent("eval", "eval", "20", (0, 1, 2)),)
    fatal = ended("fatal", "20_1", step="eval", why="no model", hint="train first", log="/l")
    seen = evidence(fatal, sent=sent, run=facts(step), done={"eval": {0: 0.0}})
    tree = as_plain(as_json(judge(seen, {"20_2": a_job("20_2")}, NOW)))
    assert list(tree) == [
        *("schema", "run", "recipe", "cluster", "executor", "state", "over", "time"),
        *("slurm_silent", "newest", "cancelled", "steps"),
    ]
    assert list(tree["steps"][0]) == [
        *("name", "kind", "state", "words", "try", "jobs", "attempts", "members", "failures"),
        *("progress", "log", "tail"),
    ]
    assert tree["steps"][0]["members"] == {"of": 3, "running": 1, "failed": 1, "done": 1}
    assert tree["steps"][0]["failures"][0]["member"] == 1
    assert (tree["schema"], tree["state"], tree["over"]) == (1, "running", False)

    one = replace(seen, run=facts(), attempts={("stage1", None): (ended("fatal"),)})
    assert as_plain(as_json(judge(one, {}, NOW)))["steps"][0]["attempts"][0]["verdict"] == "fatal"


def test_what_else_the_doctor_found_stands_beside_why_an_attempt_failed():
    found = ("driver.node-missing", "shm.small")
    why = "exit 1: no GPU; /dev/nvidia0: no such file [driver.node-missing]"
    failed = replace(ended("retryable", cause="node", why=why, next="sent again as 15"), findings=found)
    words = attempt_words(failed, alive=False)
    assert words.endswith(f"{why}; the doctor also found shm.small; sent again as 15")
    assert "doctor" not in attempt_words(replace(failed, verdict="done"), alive=False)
    assert "also" not in attempt_words(replace(failed, findings=found[:1]), alive=False)
