"""Runs a plan's steps in order, each as a child process, on the machine that the plan was sent to.

Takes the path of a plan.json, hands on RUN/outcome.json and a marker in the folder of every finished
step; steps with a marker are not run again. The surprise: a signal to the worker (SIGTERM, or the USR2
that Slurm and submitit send ahead of the end) becomes a SIGTERM to the child, which saves itself and
leaves; repeating the submission goes on from there.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from stair.cluster.container import ContainerConfig, passed_variables
from stair.errors import StairError
from stair.rundir import RunDir, make_folder, write_json
from stair.submit.child import Child
from stair.submit.plan import Plan, Step, read_plan

CHECKPOINTED = 75
"""Exit code of a step that saved itself because it was told to leave (EX_TEMPFAIL)."""
POLL_S = 0.05
SHOWN_GPUS = "STAIR_CUDA_VISIBLE_DEVICES"
"""Carries the sender's CUDA_VISIBLE_DEVICES past submitit's local executor, which overwrites it."""


@dataclass(frozen=True)
class Outcome:
    """How a plan ended."""

    state: Literal["done", "failed", "stopped"]
    step: str = ""
    what: str = ""
    hint: str = ""


class Stop:
    """Counts the signals that tell the worker to leave."""

    def __init__(self) -> None:
        self.asked = 0
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: object) -> None:
        self.asked += 1


def run_plan(plan_file: str) -> int:
    """Runs what is left of a plan. Returns 0 when all steps are done, 75 when stopped, 1 otherwise."""
    stop = Stop()
    plan = read_plan(Path(plan_file))
    run = RunDir(Path(plan.run))
    with only_worker(run):
        outcome_file(run).unlink(missing_ok=True)
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


def log_file(run: RunDir, step: Step, part: str = "") -> Path:
    """The output of a step, or of its `server`; between attempts the worker's own lines."""
    return run.logs / f"{step.name}{part and '-'}{part}.log"


def is_done(step: Step) -> bool:
    """Whether the step finished earlier with these very settings."""
    try:
        return json.loads(step.done_file.read_text()).get("settings") == step.digest()
    except (OSError, ValueError):
        return False


@contextmanager
def only_worker(run: RunDir) -> Iterator[None]:
    """Holds the run folder. Raises StairError while another worker does; ends with the process."""
    make_folder(run.logs)
    with (run.logs / "worker.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StairError(
                f"another job is at work in {run.path}", hint="wait for it, or choose another --run"
            ) from None
        yield


def _run_steps(plan: Plan, run: RunDir, stop: Stop) -> Outcome:
    for step in plan.steps:
        if is_done(step):
            _note(run, step, "finished earlier, skipped")
            continue
        _note(run, step, f"starts in {step.folder}")
        started = time.monotonic()
        make_folder(Path(step.folder))
        outcome = _run_step(plan, run, step, stop)
        seconds = round(time.monotonic() - started, 1)
        _note(run, step, f"{outcome.state} after {seconds:.0f} s")
        if outcome.state != "done":
            return outcome
        write_json(step.done_file, {"settings": step.digest(), "seconds": seconds, "exit_code": 0})
    return Outcome("done")


def _run_step(plan: Plan, run: RunDir, step: Step, stop: Stop) -> Outcome:
    environment = step_variables(plan, step, dict(os.environ))
    children: list[Child] = []

    def start(argv: tuple[str, ...], part: str = "") -> Child:
        log = log_file(run, step, part)
        children.append(Child(argv, log=log, cwd=plan.cwd, environment=environment))
        return children[-1]

    try:
        server = None
        if step.server and not stop.asked:
            step.address_file.unlink(missing_ok=True)
            server = start(step.server, "server")
            trouble = _wait_for_server(step, server, stop)
            if trouble and not stop.asked:
                return _failure(step, trouble, server.log)
        if stop.asked:
            return Outcome("stopped", step.name)
        main = start(step.argv)
        while main.exit_code() is None and not stop.asked:
            if server and server.exit_code() is not None:
                return _failure(step, f"its policy server died, {how_it_ended(server)}", server.log)
            time.sleep(POLL_S)
        if stop.asked:
            main.tell_to_leave()
            _wait_to_leave(main, stop, plan.grace_s)
        return _judge(step, main, stopped=bool(stop.asked))
    finally:
        for child in reversed(children):
            child.end(0.0 if stop.asked > 1 else min(5.0, plan.grace_s))


def _judge(step: Step, child: Child, *, stopped: bool) -> Outcome:
    code = child.exit_code()
    if code == 0:
        return Outcome("done", step.name)
    if stopped or code == CHECKPOINTED:
        return Outcome("stopped", step.name)
    return _failure(step, how_it_ended(child), child.log, child.last_words().hint)


def _failure(step: Step, what: str, log: Path, hint: str = "") -> Outcome:
    advice = f"{hint}; all of it in {log}" if hint else f"read {log}, then repeat the command to go on"
    return Outcome("failed", step.name, f"step {step.name} failed, {what}", advice)


def how_it_ended(child: Child) -> str:
    """The exit code with the child's last words, or the signal: who is killed has no last words."""
    code = child.exit_code() or 0
    if code >= 0:
        return f"exit {code}: {child.last_words().what}"
    name = signal.Signals(-code).name
    return f"killed by {name}" + (", often for want of memory" if name == "SIGKILL" else "")


def _wait_to_leave(child: Child, stop: Stop, grace_s: float) -> None:
    """Waits for a child that was told to leave; a second signal ends the waiting."""
    deadline = time.monotonic() + grace_s
    while child.exit_code() is None and stop.asked < 2 and time.monotonic() < deadline:
        time.sleep(POLL_S)


def _wait_for_server(step: Step, server: Child, stop: Stop) -> str:
    """Waits until the server answers; empty when it does, else what went wrong."""
    deadline = time.monotonic() + step.server_timeout_s
    while not stop.asked:
        if server.exit_code() is not None:
            return f"its policy server did not start, {how_it_ended(server)}"
        if step.address_file.exists() and _is_healthy(step.address_file.read_text().strip()):
            return ""
        if time.monotonic() > deadline:
            return f"its policy server did not answer within {step.server_timeout_s:.0f} s"
        time.sleep(POLL_S)
    return "stopped"


def _is_healthy(address: str) -> bool:
    """Whether `ws://host:port` answers GET /healthz with 200."""
    url = "http" + address.removeprefix("ws").rstrip("/") + "/healthz"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy
    try:
        with opener.open(url, timeout=5) as answer:
            return answer.status == 200
    except (OSError, ValueError, urllib.error.URLError):
        return False


def step_variables(plan: Plan, step: Step, host: dict[str, str]) -> dict[str, str]:
    """The environment of a step: the host's, what the plan adds, and the GPUs the sender saw."""
    variables = {key: value for key, value in host.items() if key != SHOWN_GPUS}
    if plan.executor == "local" and plan.gpus_per_node is None:
        variables.pop("CUDA_VISIBLE_DEVICES", None)
        if SHOWN_GPUS in host:
            variables["CUDA_VISIBLE_DEVICES"] = host[SHOWN_GPUS]
    if plan.keep:
        container = ContainerConfig(train_image="any", keep=plan.keep)
        variables |= passed_variables(container, variables)
    return variables | step.environment


def _note(run: RunDir, step: Step, text: str) -> None:
    with log_file(run, step).open("a") as file:
        file.write(f"── {text}\n")
