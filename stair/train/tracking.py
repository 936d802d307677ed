"""What a run tells while it goes: `metrics.jsonl` always, a progress line, wandb when asked.

Takes the values of a step, hands on one JSON line per logged step. A resumed run drops the lines after its
checkpoint, so every step stands there once, with the number of the attempt that computed it.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from stair import settings
from stair.console import Progress, say
from stair.errors import StairError, UsageError
from stair.rundir import RunDir, append_line, write_whole
from stair.train.config import TrainConfig
from stair.train.flops import Work


class Stopwatch:
    """Where the time between two logged steps went, and what was done in it."""

    def __init__(self, work: Work | None = None) -> None:
        self.work = work
        self.waited_s = 0.0
        self.samples = 0
        self.tokens = 0.0
        """Read by the LLM: image patches and real words."""
        self.since = time.perf_counter()

    def read(self) -> dict[str, float]:
        """`samples_per_s`, `tokens_per_s` and `data_wait_share` since the last reading, and `mfu` where the
        peak of the device is known; starts anew."""
        now = time.perf_counter()
        passed = max(now - self.since, 1e-9)
        values = {
            "samples_per_s": round(self.samples / passed, 2),
            "tokens_per_s": round(self.tokens / passed, 1),
            "data_wait_share": round(self.waited_s / passed, 4),
        }
        mfu = self.work.utilisation(self.samples, self.tokens, passed) if self.work else None
        if mfu is not None:
            values["mfu"] = round(mfu, 4)
        self.waited_s, self.samples, self.tokens, self.since = 0.0, 0, 0.0, now
        return values


def memory_mb(device: torch.device) -> float:
    """Peak GPU memory of this process, or its resident memory where there is no GPU, in MB (1e6 bytes)."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 1e6, 1)
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def drop_lines_after(path: Path, step: int) -> None:
    """Rewrites `metrics.jsonl` without the steps that a resumed run computes again."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines(keepends=True):
        try:
            if line.endswith("\n") and json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            continue  # a line cut off when the run was killed or the disk was full
    write_whole(path, "".join(kept))


class Tracker:
    """Tells of one attempt of a run; silent in every process but the leading one."""

    def __init__(
        self, run: RunDir, config: TrainConfig, *, attempt: int, first_step: int, aloud: bool
    ) -> None:
        self.run, self.attempt, self.aloud = run, attempt, aloud
        self.progress: Progress | None = None
        self.wandb: Any = None
        self.note = ""
        if not aloud:
            return
        drop_lines_after(run.metrics, first_step)
        self.wandb = open_wandb(run, config)
        self.progress = Progress(config.stage, config.steps)
        self.progress.resume_at(first_step)

    def tell(self, step: int, values: Mapping[str, float]) -> None:
        """Writes the line of a logged step."""
        if not self.aloud:
            return
        append_line(self.run.metrics, {"step": step, **values, "attempt": self.attempt})
        if "loss" in values:
            self.note = f"loss {values['loss']:.4f}, {values['samples_per_s']:.0f} samples/s"
        if self.wandb is not None:
            self.wandb.log(dict(values), step=step)

    def tick(self, step: int) -> None:
        """Moves the progress line."""
        if self.progress is not None:
            self.progress.update(step, self.note)

    def close(self) -> None:
        """Ends what was opened."""
        if self.wandb is not None:
            self.wandb.finish(quiet=True)
            self.wandb = None


def open_wandb(run: RunDir, config: TrainConfig) -> Any:
    """A wandb run, or None when it is off or cannot be reached: training never waits for a tracker.

    Raises UsageError when it is asked for and not installed.
    """
    mode = config.tracking.wandb
    if mode == "off":
        return None
    try:
        import wandb  # type: ignore[import-not-found]
    except ImportError:
        raise UsageError(
            "tracking.wandb needs the wandb package, which is not installed",
            hint="pip install 'stair-vla[wandb]', or --tracking.wandb off (metrics.jsonl is always written)",
        ) from None
    path = str(run.path.resolve())
    about: dict[str, Any] = {
        "project": config.tracking.wandb_project,
        "name": run.path.name,
        "group": config.stage,
        "id": hashlib.sha256(path.encode()).hexdigest()[:12],  # one wandb run for all attempts
        "dir": path,
        "config": settings.dump(config),
        "resume": "allow",
    }
    if mode == "online":
        try:
            return wandb.init(mode="online", settings=wandb.Settings(init_timeout=20, silent=True), **about)
        except Exception as error:  # no network, no key: wandb has many ways to say so
            reason = str(error).splitlines()[0]
            say(f"wandb cannot be reached ({reason}); recording offline, `wandb sync` later")
    try:
        return wandb.init(mode="offline", settings=wandb.Settings(silent=True), **about)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise StairError(f"wandb does not start: {reason}", hint="--tracking.wandb off") from None
