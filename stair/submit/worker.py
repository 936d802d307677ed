"""Runs a plan's steps in order, each as a child process, on the machine that the plan was sent to.

Takes the path of a plan.json, hands on RUN/outcome.json and a marker in the folder of every finished
step; steps with a marker are not run again. The surprise: a signal to the worker (SIGTERM, or the USR2
that Slurm and submitit send ahead of the end) becomes a SIGTERM to the child, which saves itself and
leaves; repeating the submission goes on from there.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

from stair.cluster.container import runs_inside, runtime_environment
from stair.errors import StairError
from stair.frozen import frozen
from stair.rundir import RunDir, make_folder, write_json
from stair.submit.claim import is_cancelled
from stair.submit.health import Place, run_watched
from stair.submit.layout import side_variables
from stair.submit.markers import finish, is_done
from stair.submit.plan import Plan, Step, read_plan
from stair.submit.stepping import CHECKPOINTED, POLL_S, Stage, Stop, log_file, run_step
from stair.submit.verdict import Ending

SHOWN_GPUS = "STAIR_CUDA_VISIBLE_DEVICES"
"""Carries the sender's CUDA_VISIBLE_DEVICES past submitit's local executor, which overwrites it."""
SENDER_S = 60.0
"""How long the sender may take to write all down once we are started; it holds the run folder until then."""


@frozen
class Outcome:
    """How a plan ended."""

    state: Literal["done", "failed", "stopped"]
    step: str = ""
    what: str = ""
    hint: str = ""


def run_plan(plan_file: str) -> int:
    """Runs what is left of a plan. Returns 0 when all steps are done, 75 when stopped, 1 otherwise."""
    stop = Stop()
    plan = read_plan(Path(plan_file))
    run = RunDir(Path(plan.run))
    with only_worker(run, SENDER_S):
        outcome_file(run).unlink(missing_ok=True)
        stop.in_writing = lambda: times_asked(run)
        if stop.in_writing() or is_cancelled(run):
            stop.asked += 1
        try:
            outcome = _run_steps(plan, run, stop)
        except StairError as error:
            outcome = Outcome("failed", what=error.what, hint=error.hint)
        except OSError as error:
            outcome = Outcome("failed", what=f"{error.filename}: {error.strerror}", hint="is the disk full?")
        write_json(outcome_file(run), asdict(outcome))
    return {"done": 0, "stopped": CHECKPOINTED}.get(outcome.state, 1)


def outcome_file(run: RunDir) -> Path:
    """Where the worker says how it ended; missing while it works."""
    return run.path / "outcome.json"


def asked_file(run: RunDir) -> Path:
    """Grows with each time that the worker is told to leave: while it is being started it hears no signal."""
    return run.logs / "worker.stop"


def times_asked(run: RunDir) -> int:
    """How often a worker was told to leave in writing."""
    try:
        return asked_file(run).stat().st_size
    except OSError:
        return 0


@contextmanager
def only_worker(run: RunDir, patience_s: float = 0.0) -> Iterator[None]:
    """Holds the run folder. Raises StairError while another worker does; ends with the process."""
    make_folder(run.logs)
    deadline = time.monotonic() + patience_s
    with (run.logs / "worker.lock").open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() >= deadline:
                    raise StairError(
                        f"another job is at work in {run.path}", hint="wait for it, or choose another --run"
                    ) from None
                time.sleep(POLL_S)
        yield


def _run_steps(plan: Plan, run: RunDir, stop: Stop) -> Outcome:
    for step in plan.steps:
        if is_done(step):
            _note(run, step, "finished earlier, skipped")
            continue
        _note(run, step, f"starts in {step.folder}")
        started = time.monotonic()
        make_folder(Path(step.folder))
        ending = _run_step(plan, run, step, stop)
        outcome = _outcome(step, ending, stopped=bool(stop.asked))
        seconds = time.monotonic() - started
        _note(run, step, f"{outcome.state} after {seconds:.0f} s")
        if outcome.state != "done":
            return outcome
        finish(step, seconds=seconds)
    return Outcome("done")


def _run_step(plan: Plan, run: RunDir, step: Step, stop: Stop) -> Ending:
    host = dict(os.environ)
    job = host.get("SUBMITIT_LOCAL_JOB_ID", str(os.getpid()))
    place = Place(run, job, 0, socket.gethostname(), log_file(run, step), step_variables(plan, step, host))
    stage = _stage(plan, run, step)
    return run_watched(step, place, stop, lambda: run_step(step, stage, stop))


def _stage(plan: Plan, run: RunDir, step: Step) -> Stage:
    if step.processes > 1:  # the launcher keeps their logs apart there
        logs = {"STAIR_LOGS": str(log_file(run, step, "ranks").with_suffix(""))}
        step = replace(step, environment=step.environment | logs)
    return Stage(
        cwd=plan.cwd,
        log=log_file(run, step),
        server_log=log_file(run, step, "server"),
        environment=lambda argv: step_variables(plan, step, dict(os.environ), argv),
        grace_s=plan.grace_s,
    )


def _outcome(step: Step, ending: Ending, *, stopped: bool) -> Outcome:
    if ending.verdict == "done":
        return Outcome("done", step.name)
    if stopped or ending.verdict == "checkpointed":
        return Outcome("stopped", step.name)
    log = ending.log
    advice = (
        f"{ending.hint}; all of it in {log}"
        if ending.hint
        else f"read {log}, then repeat the command to go on"
    )
    return Outcome("failed", step.name, f"step {step.name} failed, {ending.why}", advice)


def step_variables(plan: Plan, step: Step, host: dict[str, str], argv: Sequence[str] = ()) -> dict[str, str]:
    """The environment of a step's `argv`: the host's, what the plan adds, and the GPUs the sender saw; for
    an image only what passes its wall."""
    variables = {key: value for key, value in host.items() if key != SHOWN_GPUS}
    if plan.executor == "local" and plan.gpus_per_node is None:
        variables.pop("CUDA_VISIBLE_DEVICES", None)
        if SHOWN_GPUS in host:
            variables["CUDA_VISIBLE_DEVICES"] = host[SHOWN_GPUS]
    added = step.environment | side_variables(step, argv, variables)
    if runs_inside(argv):
        return runtime_environment(variables, plan.keep, added)
    return variables | added


def _note(run: RunDir, step: Step, text: str) -> None:
    with log_file(run, step).open("a") as file:
        file.write(f"── {text}\n")
