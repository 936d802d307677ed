"""What slurmctld stores is what the plan shows, byte for byte: jobs, arrays and chains."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from stair.rundir import RunDir
from stair.submit.plan import Batch
from stair.submit.script import Option, batch_script, file_pattern, read_options
from stair.submit.sending import send_batch
from tests.slurm.live import LiveSlurm
from tests.submit.hostile import draw_cases, draw_line, joined

JOBS = 60


def a_script(random: Random, number: int, run: Path) -> str:
    """A script of random options, with hostile words in whatever may hold them."""
    case = joined(draw_cases(3, number))
    log = file_pattern(str(run / draw_line(random).replace("\\", ""))) + "-%A_%a.log"
    options: list[Option] = [
        ("job-name", draw_line(random)),
        ("partition", random.choice(["train", "eval"])),
        ("nodes", str(random.randint(1, 2))),
        ("cpus-per-task", str(random.randint(1, 4))),
        ("time", str(random.randint(1, 50))),
        ("signal", "B:USR2@120"),
        ("requeue", None),
        ("output", log),
        ("chdir", str(run)),
        *([("gres", "gpu:2")] if random.random() < 0.3 else []),
        *([("exclude", "n[3-4]")] if random.random() < 0.3 else []),
    ]
    comments = [draw_line(random), "demo: stage1"]
    return batch_script(options, ["echo", *case.argv], environment=case.environment, comments=comments)


def test_sixty_stored_scripts_are_the_planned_ones(
    slurm: LiveSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SLURM_CONF", str(slurm.slurm_conf))
    random, sent = Random(0), {}
    for number in range(JOBS):
        script = a_script(random, number, tmp_path)
        words = ["--hold"]
        if number % 3 == 1:
            words.append(f"--array=0-{random.randint(1, 20)}%{random.randint(1, 5)}")
        if number % 4 == 3:
            words += [f"--dependency=afterok:{':'.join(list(sent)[-2:])}", "--kill-on-invalid-dep=yes"]
        job = send_batch(Batch(f"step{number}", "step", script, (), False), words, RunDir(tmp_path))
        sent[job] = script
    assert len(sent) == JOBS
    queue = json.loads(slurm.run("squeue", "--json"), strict=False)["jobs"]
    queued = {str(job["array_job_id"] or job["job_id"]): job for job in queue}
    stored = tmp_path / "stored"
    for job, script in sent.items():
        slurm.run("scontrol", "write", "batch_script", job, str(stored))
        assert stored.read_bytes() == script.encode()
        meant = dict(read_options(script))
        assert Path(queued[job]["command"]).read_bytes() == script.encode()
        assert queued[job]["name"] == meant["job-name"]
        assert queued[job]["time_limit"] == int(meant["time"] or 0)
        assert queued[job]["excluded_nodes"] == meant.get("exclude", "")
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["logs"]
