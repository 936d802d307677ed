"""One run under observation: sent, watched step by step, disturbed by a drill, judged at its end.

Takes a Site and a recipe, acts through stair-submit and reads what everybody may read: stair-report --json,
the attempts, the markers, metrics.jsonl. While it waits it looks at the losses, so that those which a
resumed run computes again are known from before, and lets requeued jobs start at once, which Slurm would
hold for two minutes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stair.cluster.ledger import Attempt, Sent, read_attempts, read_sent
from stair.errors import StairError
from stair.rundir import RunDir
from tools.drilling.losses import Seen
from tools.drilling.site import PATIENCE_S, Site, program

ALIVE = ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "REQUEUED", "REQUEUE_HOLD")
LOOK_S = 0.1
ASK_S = 1.0
"""Between two questions to slurmctld."""
TELL_S = 10.0
"""Between two starts of the same job."""


class Differs(StairError):
    """The run did not do what the drill expects of it."""


class Trial:
    """One run of the chain, or of its first stage alone."""

    def __init__(
        self, site: Site, name: str, *, stages: int = 1, folder: Path | None = None, **slurm
    ) -> None:
        self.site = site
        self.path = folder or site.folder / "runs" / name
        self.stages = [f"stage{number + 1}" for number in range(stages)]
        self.recipe = site.folder / ("one.yaml" if stages == 1 else "two.yaml")
        self.profile = site.profile(name, **slurm)
        self.seen = {stage: Seen() for stage in self.stages}
        self.limit_minutes = 30
        self.asked = 0.0
        self.told: dict[str, float] = {}

    @property
    def run(self) -> RunDir:
        return RunDir(self.path)

    def stage(self, name: str = "stage1") -> RunDir:
        """The folder of a stage."""
        return RunDir(self.path / name)

    def submit(self) -> str:
        """Sends what is missing, always by the same command; what it said."""
        words = [str(self.recipe), "--cluster", str(self.profile), "--run", str(self.path)]
        for stage in self.stages:
            words += [f"--{stage}.train.data.root", str(self.site.data)]
        return self.site.run(program("stair-submit"), *words)

    def reach(self, step: int, stage: str = "stage1") -> None:
        """Waits until a step is done and a checkpoint complete. Raises Differs when the run ends before."""

        def there() -> bool:
            saved = self.stage(stage).latest_checkpoint()
            return saved is not None and self.seen[stage].last >= step

        self.until(there, f"step {step}", while_alive=True)

    def until(self, condition: Callable[[], object], what: str, *, while_alive: bool = False) -> None:
        """Waits, looking at the losses and letting requeued jobs go on. Raises Differs after PATIENCE_S."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            self.look()
            if condition():
                return
            over = self._let_go_on() is False and while_alive
            if time.monotonic() > deadline or over:
                why = "the run ended" if over else f"{PATIENCE_S:.0f} s"
                raise Differs(f"waited for {what} in vain: {why}", hint=self.story())
            time.sleep(LOOK_S)

    def finish(self) -> str:
        """Waits until no job of the run is alive; returns its state."""
        self.until(lambda: self._let_go_on() is False, "the end of the run")
        self.look()
        return self.state()

    def state(self) -> str:
        """The state of the run, as stair-report has it."""
        return self.report()["state"]

    def report(self) -> dict[str, Any]:
        """What `stair-report --json` says."""
        said = self.site.run(program("stair-report"), str(self.path), "--json", check=False)
        try:
            return json.loads(said[said.index("{") :])
        except ValueError:
            raise Differs(f"stair-report said no JSON: {said[-300:]}") from None

    def reported(self, stage: str) -> dict[str, Any]:
        """What it says of one stage."""
        return next(step for step in self.report()["steps"] if step["name"] == stage)

    def look(self) -> None:
        """Takes in the losses as they stand now."""
        for stage, seen in self.seen.items():
            try:
                seen.add(self.stage(stage).metrics.read_text())
            except FileNotFoundError:
                continue

    def _let_go_on(self) -> bool | None:
        """Starts requeued jobs that are held. False: no job is alive; None: it was asked a moment ago."""
        if time.monotonic() - self.asked < ASK_S:
            return None
        self.asked = time.monotonic()
        ids = self._jobs()
        found = self.site.jobs(ids)
        for job, (state, reason) in found.items():
            told_s = time.monotonic() - self.told.get(job, float("-inf"))
            if (state, reason) == ("PENDING", "BeginTime") and told_s > TELL_S:
                limit = f"TimeLimit={self.limit_minutes}"
                # `now` may fall into the second of the kill, whose credential is revoked: the job would FAIL.
                self.site.run("scontrol", "update", f"JobId={job}", "StartTime=now+2", limit, check=False)
                self.told[job] = time.monotonic()
        if not found:
            return None  # slurmctld is silent, or has forgotten them, which takes minutes
        if any(state in ALIVE for state, _ in found.values()):
            return True
        # A job is in the ledger before the one that it replaces ends: was every one of them asked about?
        return None if self._jobs() != ids else False

    def _jobs(self) -> list[str]:
        """Every job that was ever sent."""
        return list(dict.fromkeys(line.job for line in self.sent()))

    def sent(self) -> list[Sent]:
        return read_sent(self.run)

    def attempts(self, stage: str = "stage1") -> list[Attempt]:
        return read_attempts(self.run, stage)

    def job(self, stage: str = "stage1") -> str:
        """The job that was sent last for a stage."""
        found = [line.job for line in self.sent() if line.step == stage and not line.why.startswith("moved")]
        return found[-1]

    def nodes(self, stage: str = "stage1") -> tuple[str, ...]:
        """The nodes of its newest attempt, the supervisor's first."""
        return self.attempts(stage)[-1].nodes

    def resumed(self, stage: str = "stage1") -> list[int]:
        """The steps after which its trainings went on."""
        try:
            tree = json.loads(self.stage(stage).manifest.read_text())
        except (OSError, ValueError):
            return []
        return [attempt["from_step"] for attempt in tree["train"]["attempts"][1:]]

    def weights(self, stage: str) -> str:
        """SHA-256 of the weights a stage ended with, from its marker; empty without one."""
        try:
            made = json.loads((self.stage(stage).path / "done.json").read_text())["artefacts"]
        except (OSError, ValueError, KeyError):
            return ""
        return next((digest for name, digest in made.items() if name.endswith(".safetensors")), "")

    def log(self) -> str:
        """Everything the supervisors said."""
        return "".join(path.read_text() for path in sorted((self.run.logs / "slurm").glob("*.log")))

    def story(self) -> str:
        """For people: what the attempts were and what the supervisors said last."""
        every = [attempt for stage in self.stages for attempt in self.attempts(stage)]
        told = [f"{a.job}.{a.restart} {a.verdict} {a.cause} {a.why}" for a in every]
        jobs = self.site.jobs(self._jobs())
        return f"{told}; jobs {jobs}; " + " | ".join(self.log().splitlines()[-6:])
