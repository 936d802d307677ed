"""Sending a batch through a scripted sbatch: once, in a small environment, and looked for when in doubt."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stair.errors import StairError
from stair.rundir import RunDir
from stair.submit.plan import Batch
from stair.submit.secrets import cluster_environment
from stair.submit.sending import send_batch

TIMED_OUT = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
SBATCH = r"""#!/bin/sh
# The n-th call does what line n of `script` says, such as taken, or heard (takes it and times out), or lost;
# anything else is an error's text.
n=$(($(cat "$W/calls" 2>/dev/null || echo 0) + 1)); echo $n > "$W/calls"
line=$(sed -n ${n}p "$W/script")
env > "$W/environment"; for word; do last=$word; echo "$word" >> "$W/words.$n"; done
take() {
    cp "$last" "$W/sent.$n"
    for word; do case $word in --comment=*) echo "$((40 + n)) ${word#--comment=}" >> "$W/jobs" ;; esac; done
}
case $line in
    taken) take "$@"; echo "Welcome to job 7 of today"; echo "Submitted batch job $((40 + n))" ;;
    heard) take "$@"; echo "$TIMED_OUT" >&2; exit 1 ;;
    lost) echo "$TIMED_OUT" >&2; exit 1 ;;
    late) take "$@"; mv "$W/jobs" "$W/late"; echo "$TIMED_OUT" >&2; exit 1 ;;
    silent) exit 0 ;;
    *) echo "$line" >&2; exit 1 ;;
esac
"""
SQUEUE = r"""#!/bin/sh
# What was heard late is there after the first look.
echo "3 stair of-somebody-else"
cat "$W/jobs" 2>/dev/null
mv "$W/late" "$W/jobs" 2>/dev/null
exit 0
"""
SCANCEL = '#!/bin/sh\necho "$1" >> "$W/cancelled"\n'


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where the stand-ins keep what happened; nothing else of Slurm is in PATH."""
    world = tmp_path / "world"
    world.mkdir()
    for name, text in (("sbatch", SBATCH), ("squeue", SQUEUE), ("scancel", SCANCEL), ("srun", "#!/bin/sh\n")):
        text = text.replace("$W", str(world)).replace("$TIMED_OUT", TIMED_OUT)
        (world / name).write_text(text)
        (world / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{world}:{os.environ['PATH']}")
    return world


def send(world: Path, *answers: str, settle_s: float = 0.01, patience_s: float = 30.0) -> str:
    (world / "script").write_text("".join(f"{answer}\n" for answer in answers))
    batch = Batch("stage1", "stage1", "#!/bin/bash\nexec -- true 'é'\n", (), False)
    run = RunDir(world.parent / "run %j")
    return send_batch(batch, ["--hold"], run, patience_s=patience_s, settle_s=settle_s, keep=("NCCL_DEBUG",))


def calls(world: Path) -> int:
    return int((world / "calls").read_text())


def test_the_script_is_sent_as_planned_and_kept_in_the_run_folder(world: Path):
    assert send(world, "taken") == "41"  # and not job 7 of the banner
    kept = list((world.parent / "run %j").rglob("*.*"))
    assert [path.name for path in kept] == ["stage1.sh"]
    assert (
        kept[0].read_bytes() == (world / "sent.1").read_bytes() == "#!/bin/bash\nexec -- true 'é'\n".encode()
    )
    hold, comment, file = (world / "words.1").read_text().splitlines()
    assert (hold, comment[:16]) == ("--hold", "--comment=stair ")
    assert file == str(kept[0])


def test_sbatch_sees_few_variables_and_ours_come_back(world: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("SLURM_JOB_ID", "SBATCH_PARTITION", "EDITOR", "HF_TOKEN", "NCCL_DEBUG"):
        monkeypatch.setenv(name, "value-of-it")
    before = dict(os.environ)
    send(world, "taken")
    names = {line.partition("=")[0] for line in (world / "environment").read_text().splitlines()}
    assert {"PATH", "NCCL_DEBUG"} <= names
    assert not names & {"SLURM_JOB_ID", "SBATCH_PARTITION", "EDITOR", "HF_TOKEN"}
    assert dict(os.environ) == before


def test_a_request_that_timed_out_and_was_heard_is_not_sent_again(world: Path):
    assert send(world, "heard", "taken") == "41"
    assert calls(world) == 1


def test_a_request_that_was_lost_is_sent_again(world: Path, capsys: pytest.CaptureFixture[str]):
    assert send(world, "lost", "taken") == "42"
    assert "slurmctld does not answer; trying again" in capsys.readouterr().err
    assert not (world / "cancelled").exists()


def test_a_request_that_is_heard_late_is_found_by_the_second_look(world: Path):
    assert send(world, "late", "taken") == "41"
    assert calls(world) == 1


def test_of_two_jobs_that_came_of_one_request_the_second_is_cancelled(world: Path):
    text = (
        (world / "sbatch")
        .read_text()
        .replace("taken) take", 'taken) echo "41 ${2#--comment=}" >> "$W/jobs"; take')
    )
    (world / "sbatch").write_text(text.replace("$W", str(world)))
    assert send(world, "lost", "taken") == "41"
    assert (world / "cancelled").read_text() == "42\n"


def test_a_slurmctld_that_stays_away_is_given_up_with_the_mark_to_look_for(world: Path):
    with pytest.raises(StairError, match="has not answered for 2 s") as caught:
        send(world, *["lost"] * 9, patience_s=2.0)
    mark = (world / "words.1").read_text().split("--comment=")[1].splitlines()[0]
    assert mark in caught.value.hint
    assert [path.name for path in (world.parent / "run %j").rglob("*.*")] == ["stage1.sh"]


def test_a_refusal_is_final_and_says_slurm_s_reason(world: Path, capfd: pytest.CaptureFixture[str]):
    said = "Invalid account or account/partition combination specified"
    with pytest.raises(StairError) as caught:
        send(world, f"sbatch: error: Batch job submission failed: {said}", "taken")
    assert caught.value.what == f"Slurm does not take stage1: {said}"
    assert "slurm.account" in caught.value.hint
    assert calls(world) == 1
    assert capfd.readouterr().err == ""


def test_an_answer_without_a_job_is_no_success(world: Path):
    with pytest.raises(StairError, match="no job's id"):
        send(world, "silent")


def test_a_machine_without_slurm_says_so(world: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(StairError, match="no Slurm here"):
        send(world, "taken")


def test_the_profile_s_slurm_conf_wins_and_may_name_variables(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SITE", "/site")
    environment = {"SLURM_CONF": "/etc/slurm.conf", "SLURM_JOB_ID": "3", "HOME": "/h"}
    assert cluster_environment(environment, "") == {"SLURM_CONF": "/etc/slurm.conf", "HOME": "/h"}
    assert cluster_environment(environment, "$SITE/slurm.conf")["SLURM_CONF"] == "/site/slurm.conf"
