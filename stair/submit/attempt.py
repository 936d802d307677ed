"""One attempt of a step: the srun step is started, warned, judged, and what comes next is arranged.

Takes the plan, the step and the seat of its supervisor, hands on the exit code of the batch script; leaves
the attempt's record, the step's done marker, and a requeue or another sbatch where one is due. The surprise:
a job that Slurm is already ending has only seconds (KillWait), so its next attempt is arranged before it has
saved itself.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from stair.cluster.ledger import Attempt, Cause, read_attempts, record_attempt
from stair.console import say
from stair.errors import FAILED, FINE, StairError
from stair.rundir import RunDir
from stair.submit.again import SAVED_ITSELF, again, requeue
from stair.submit.child import Child
from stair.submit.claim import Watch, is_replaced
from stair.submit.fate import Fate, ask_fate, await_fate
from stair.submit.markers import finish, verify
from stair.submit.node import ending_file, log_file, read_ending
from stair.submit.plan import Plan, Step
from stair.submit.seat import Seat
from stair.submit.verdict import Decision, Ending, decide, join_endings, lost, with_fate

POLL_S = 0.1
TELL_S = 5.0
"""Between two warnings of the step."""


class Replaced(Exception):
    """Another attempt works on the step; this one must not touch the run folder or the job any more."""


class Attempting:
    """An attempt while it lasts. `heard` says which signal has come, if any."""

    def __init__(
        self,
        plan: Plan,
        step: Step,
        run: RunDir,
        seat: Seat,
        replaced: Watch,
        heard: Callable[[], int | None],
    ) -> None:
        self.plan, self.step, self.run, self.seat = plan, step, run, seat
        self.replaced, self.heard = replaced, heard
        self.earlier: list[Attempt] = []
        self.now = Attempt(step.name, step.member, seat.job, seat.restart, seat.nodes, started=time.time())
        self.warned: Cause = ""
        self.arranged = ""
        """What was done about the next attempt while this one still had to save itself."""

    def make(self) -> int:
        """From its first record to its last. Raises Replaced when another attempt takes the step over."""
        for attempt in read_attempts(self.run, self.step.name, self.step.member):
            if attempt.ended is None:
                attempt = lost(attempt, time.time())
                record_attempt(self.run, attempt)
            self.earlier.append(attempt)
        record_attempt(self.run, self.now)
        try:
            verify(self.plan, self.step)
            ending = self.work()
            if ending.verdict == "done":
                finish(self.step, seconds=time.time() - self.now.started)
        except StairError as error:
            ending = Ending("fatal", why=error.what, hint=error.hint)
        fate = self._fate(ending)
        decision = self.decide(ending, fate)
        self._record(decision)  # before anything else: a requeue ends this process
        _tell(self.step, decision)
        if decision.again == "no":
            return FINE if decision.ending.verdict == "done" else FAILED
        code, what = SAVED_ITSELF, self.arranged or "requeued by Slurm"
        if not fate.requeued:
            code, what = again(self.plan, self.step, self.run, self.seat, decision, self.replaced)
        self._record(replace(decision, why_not=what))
        say(what)
        return code

    def work(self) -> Ending:
        """Starts the srun step, passes a warning on, and reads what the nodes said at the end."""
        run, step, seat = self.run, self.step, self.seat
        if self.heard():
            self.heed()
            return Ending("checkpointed", self.warned, "told to leave before it started", time=time.time())
        files = [ending_file(run, step, seat.job, seat.restart, node) for node in range(step.nodes)]
        for file in files:
            file.unlink(missing_ok=True)
        log = log_file(run, step, "srun")
        child = Child(srun(self.plan, step), log=log, cwd=self.plan.cwd, environment=dict(os.environ))
        told = -TELL_S
        while child.exit_code() is None:
            if self.replaced():
                child.end(0.0)
                raise Replaced
            if self.heard() and not self.warned:
                self.heed()
            if self.warned and time.monotonic() - told > TELL_S:
                # srun passes USR2 on to its tasks, unless it has just begun to start them: so it is told
                # again. SIGTERM it would take as an order to kill them.
                child.process.send_signal(signal.SIGUSR2)
                told = time.monotonic()
            time.sleep(POLL_S)
        endings = [read_ending(file) for file in files]
        ending = join_endings(endings, seat.nodes[: step.nodes], warned=self.warned)
        found = (id for one in endings if one is not None for id in one.findings)
        ending = replace(ending, findings=tuple(dict.fromkeys(found)))
        if ending.verdict == "retryable" and not ending.log:
            ending = replace(ending, log=str(log), hint=ending.hint or child.last_words().what)
        return ending

    def heed(self) -> None:
        """Finds out what a signal is about, and records and arranges at once what may not wait until the step
        has saved itself."""
        fate = ask_fate(self.seat)
        self.warned = fate.cause or self._meaning(fate)
        decision = self.decide(with_fate(Ending("retryable"), self.warned), fate)
        self._record(decision)
        if fate.leaving and decision.again == "requeue" and not fate.requeued:
            refused = requeue(self.seat, self.replaced)
            self.arranged = "" if refused else "requeued"
            self._record(replace(decision, why_not=self.arranged))
        number = signal.Signals(self.heard() or signal.SIGTERM).name
        what = "cancelled" if fate.cancelled else self.warned
        say(f"{number}: {what}; the step is told to save itself")

    def decide(self, ending: Ending, fate: Fate) -> Decision:
        """What becomes of the attempt, should it end like this."""
        cancelled = fate.cancelled or (self.run.path / "cancelled").exists()
        ending = with_fate(ending, fate.cause, fate.lost)
        return decide(ending, self.earlier, self.plan.budgets, cancelled=cancelled)

    def _fate(self, ending: Ending) -> Fate:
        """What Slurm means to do with the job. Raises Replaced where it is another attempt's by now."""
        if self.arranged:
            return Fate(self.warned, requeued=True)
        settled = ending.verdict in ("done", "fatal")
        fate = Fate() if settled else await_fate(self.seat, self.replaced)
        if is_replaced(self.run, self.step, self.seat):
            raise Replaced
        return fate

    def _meaning(self, fate: Fate) -> Cause:
        """What a signal is about when Slurm does not say: close to the end of the job's time, the time limit.

        Slurm counts in whole minutes and may be 60 s early (sbatch(1), --signal).
        """
        ends = self.now.started + self.step.hours * 3600 if fate.ends is None else fate.ends
        return "timeout" if ends - time.time() <= self.plan.warn_s + 120 else "preemption"

    def _record(self, decision: Decision) -> None:
        """Writes the attempt's end. A full disk must not keep its job from being requeued."""
        ending = decision.ending
        ended = replace(
            self.now,
            ended=time.time(),
            verdict=ending.verdict,
            cause=ending.cause,
            why=ending.why,
            hint=ending.hint,
            log=ending.log,
            unfit=decision.exclude,
            findings=ending.findings,
            next=decision.why_not,
        )
        try:
            record_attempt(self.run, ended)
        except StairError as error:
            say(f"not recorded: {error.what}")


def srun(plan: Plan, step: Step) -> tuple[str, ...]:
    """The words that start one task of node.py on every node of the job.

    The cores are said again, because srun no longer takes them from the batch script (Slurm 22.05 and
    later); a task that fails ends the others, since it could only keep them waiting.
    """
    words = [
        "srun",
        f"--nodes={step.nodes}",
        f"--ntasks={step.nodes}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={max(1, step.cores)}",
        "--kill-on-bad-exit=1",
        "--export=ALL",
        "--input=none",
        "--unbuffered",
        sys.executable,
        "-m",
        "stair.submit.node",
        str(RunDir(Path(plan.run)).plan),
        step.name,
    ]
    return (*words, *(() if step.member is None else ("--member", str(step.member))))


def _tell(step: Step, decision: Decision) -> None:
    ending = decision.ending
    words = [f"{step.name}: {ending.verdict}", ending.why, decision.why_not]
    say("; ".join(word for word in words if word))
    if ending.hint:
        say(f"  try: {ending.hint}")
