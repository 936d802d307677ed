"""A few steps under torch's profiler, kept as a Chrome trace.

Takes a folder and a number of steps, leaves `trace.json.gz` there: open it in chrome://tracing or
ui.perfetto.dev. Records the leading process only. The profiler is told of every step's end; the first step
is left out and the second warms it up.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from stair.console import say
from stair.rundir import make_folder

TRACE = "trace.json.gz"


class Recording:
    """Idle unless steps are asked for."""

    def __init__(self, folder: Path, steps: int, device: torch.device) -> None:
        self.folder, self.steps, self.kept = folder, steps, False
        self.profiler: Any = None
        if not steps:
            return
        activities = [ProfilerActivity.CPU]
        if device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        plan = schedule(wait=1, warmup=1, active=steps, repeat=1)
        self.profiler = profile(activities=activities, schedule=plan, on_trace_ready=self._keep)
        self.profiler.start()

    def step(self) -> None:
        """Tells that a training step is over."""
        if self.profiler is not None:
            self.profiler.step()
            if self.kept:
                self.close()

    def close(self) -> None:
        """Ends the recording; what was recorded until now is kept."""
        if self.profiler is not None:
            self.profiler.stop()
            self.profiler = None
            if not self.kept:
                say(f"tracking.profile {self.steps}: the run ended before its third step, no trace was made")

    def _keep(self, profiler: Any) -> None:
        place = make_folder(self.folder) / TRACE
        partial = place.with_name(f".partial-{TRACE}")
        profiler.export_chrome_trace(str(partial))
        partial.replace(place)
        self.kept = True
        say(f"the profile is in {place}")
