"""A planned batch script becomes a job: submitit writes the file and calls sbatch, nothing is pickled.

Takes a Batch and further words for sbatch (an array, a dependency), hands on the job's id; what was sent
stays in RUN/logs/submitit/BATCH.sh. sbatch runs in an environment of few names, see secrets.py. The
surprise: when slurmctld does not answer, it may have heard all the same. Every submission therefore carries a
comment of its own, its stamp, by which it is looked for before it is sent again, and after an interrupt.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError

from stair.console import say
from stair.errors import StairError
from stair.rundir import RunDir, write_whole
from stair.submit.answers import AWAY, refusal
from stair.submit.plan import Batch
from stair.submit.secrets import cluster_environment, exported

PATIENCE_S = 120.0
"""How long a slurmctld that does not answer is waited for."""
SETTLE_S = 10.0
"""How long a request may lie in slurmctld's queue after its sender gave up (MessageTimeout's default)."""
INTERRUPTED_S = 1.0
"""The same after Ctrl-C, which ends sbatch too, most likely before it has asked for anything."""


class PlannedExecutor(submitit.SlurmExecutor):
    """submitit's Slurm executor for a script that is already written: sends that file as it is.

    Its own folder is a passing one: submitit takes %j and its like in a folder's path for patterns, and
    writes text in the locale's encoding.
    """

    def __init__(self, folder: Path, script: Path, words: Sequence[str]) -> None:
        super().__init__(folder)
        self.script = script
        self.words = tuple(words)

    def send(self, environment: Mapping[str, str]) -> str:
        """Calls sbatch once in `environment` and nothing else; returns the job's id.

        Raises submitit's FailedJobError with what sbatch said, FailedSubmissionError when that names no job.
        """
        with _only(environment), contextlib.redirect_stderr(io.StringIO()):
            return self._submit_command("").job_id

    def _make_submission_file_text(self, command: str, uid: str) -> str:
        return f"# what is sent stands in {str(self.script)!a}\n"

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        return ["sbatch", *self.words, str(self.script)]

    @staticmethod
    def _get_job_id_from_submission_command(string: bytes | str) -> str:
        text = string if isinstance(string, str) else string.decode(errors="replace")
        found = re.search(r"^Submitted batch job (\d+)", text, re.MULTILINE)  # a site may print more
        if found is None:
            raise FailedSubmissionError(f"sbatch said {text!r} and no job's id")
        return found[1]


def send_batch(
    batch: Batch,
    words: Sequence[str],
    run: RunDir,
    *,
    slurm_conf: str = "",
    keep: Sequence[str] = (),
    stamp: str = "",
    patience_s: float = PATIENCE_S,
    settle_s: float = SETTLE_S,
) -> str:
    """Sends a batch with further words for sbatch; returns the job's id. Exactly one job comes of it.

    `keep` names further variables that the job inherits. Raises StairError with Slurm's own reason, or when
    slurmctld stays away for longer than `patience_s`. Who is interrupted in here finds by `stamp` what has
    become a job all the same, see `stamped_jobs`.
    """
    whole = cluster_environment(os.environ, slurm_conf)
    environment = {name: whole[name] for name in exported(whole, keep)}
    stamp = stamp or new_stamp()
    words = [*words, f"--comment={stamp}"]
    script = run.logs / "submitit" / f"{batch.name}.sh"
    if not script.exists() or script.read_bytes() != batch.script.encode():
        write_whole(script, batch.script)
    deadline = time.monotonic() + patience_s
    job, pause_s, in_doubt = "", 1.0, False
    while not job:
        jobs = _find(stamp, environment, settle_s) if in_doubt else []
        if jobs == []:
            try:
                jobs = [_send_once(script, words, environment)]
            except FailedJobError as error:
                if not AWAY.search(str(error)):
                    raise refusal(batch.name, str(error)) from None
            else:
                # What was given up for lost may have become a job just now, too.
                jobs = (in_doubt and _squeue(stamp, environment)) or jobs
        if jobs:
            job = _only_the_first(jobs, environment)
            continue
        if time.monotonic() + pause_s > deadline:
            raise StairError(
                f"{batch.name} is not sent: slurmctld has not answered for {patience_s:.0f} s",
                hint=f"`scontrol ping`; before you repeat this, look for '{stamp}' in squeue --me -o '%F %k'",
            )
        if not in_doubt:
            say("slurmctld does not answer; trying again")
        in_doubt = True
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 15.0)
    return job


def new_stamp() -> str:
    """A comment that no other submission has."""
    return f"stair {uuid.uuid4().hex}"


def stamped_jobs(stamp: str, slurm_conf: str, *, settle_s: float = INTERRUPTED_S) -> list[str] | None:
    """The jobs that a submission has become which was interrupted. None: slurmctld does not say."""
    return _find(stamp, cluster_environment(os.environ, slurm_conf), settle_s)


def _send_once(script: Path, words: Sequence[str], environment: Mapping[str, str]) -> str:
    with tempfile.TemporaryDirectory(prefix="stair-") as folder:
        try:
            executor = PlannedExecutor(Path(folder), script, words)
        except RuntimeError as error:
            raise StairError(f"no Slurm here: {error}", hint="a module to load?") from None
        try:
            return executor.send(environment)
        except FailedSubmissionError as error:
            raise StairError(str(error), hint="look with squeue whether there is a job") from None
        except FileNotFoundError:
            raise StairError("no sbatch in PATH", hint="a module to load?") from None


def _find(stamp: str, environment: Mapping[str, str], settle_s: float) -> list[str] | None:
    """The jobs with that comment; none only after a second look `settle_s` later. None: nobody can say."""
    jobs = _squeue(stamp, environment)
    if jobs == []:
        time.sleep(settle_s)
        jobs = _squeue(stamp, environment)
    return jobs


def _only_the_first(jobs: Sequence[str], environment: Mapping[str, str]) -> str:
    if jobs[1:]:
        scancel(jobs[1:], environment)
    return jobs[0]


def scancel(jobs: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Ends jobs, those that wait included; whether Slurm has heard it."""
    words = ["scancel", *jobs]
    try:
        done = subprocess.run(words, env=dict(environment), capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _squeue(stamp: str, environment: Mapping[str, str]) -> list[str] | None:
    """The ids of the jobs (of arrays) with that comment, ended ones included; None: slurmctld is away."""
    command = ["squeue", "--me", "--noheader", "--states=all", "--format=%F %k"]
    try:
        done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode:
        return None
    lines = [line.partition(" ") for line in done.stdout.splitlines()]
    return sorted({job for job, _, comment in lines if comment.strip() == stamp}, key=int)


@contextlib.contextmanager
def _only(environment: Mapping[str, str]) -> Iterator[None]:
    """Makes `environment` the whole environment of processes started inside."""
    before = dict(os.environ)
    try:
        _become(environment)
        yield
    finally:
        _become(before)


def _become(environment: Mapping[str, str]) -> None:
    # Never empty in between: an interrupt may come there, and whoever clears up after it needs PATH and HOME.
    for name in set(os.environ) - set(environment):
        os.environ.pop(name, None)
    os.environ.update(environment)
