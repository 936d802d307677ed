"""What a training run is made of, written beside it: enough to say later how its numbers came about.

Takes the run's facts, hands on the `train` entry of `manifest.json`; what submission or others wrote there
stays. `status` is how a run ended: running, finished, stopped (start it again and it goes on), failed.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import platform
import socket
from collections.abc import Mapping
from typing import Any, Literal

import torch

from stair.origin import code_state
from stair.rundir import RunDir, write_json

Status = Literal["running", "finished", "stopped", "failed"]


def fingerprint(value: Any) -> str:
    """The SHA-256 of a plain value's canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def begin_attempt(run: RunDir, facts: Mapping[str, Any], *, step: int, processes: int) -> int:
    """Records that an attempt starts after `step` finished steps. Returns its number, from 1."""
    tree = _read(run)
    entry = tree.setdefault("train", {})
    attempts: list[dict[str, Any]] = entry.setdefault("attempts", [])
    attempts.append(
        {
            "attempt": len(attempts) + 1,
            "started": _now(),
            "from_step": step,
            "processes": processes,
            "host": socket.gethostname(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "code": code_state(),
        }
    )
    entry.update(facts)
    entry["status"] = "running"
    write_json(run.manifest, tree)
    return len(attempts)


def end_attempt(run: RunDir, status: Status, step: int) -> None:
    """Records how the attempt under way ended."""
    tree = _read(run)
    entry = tree.setdefault("train", {})
    entry["status"] = status
    if entry.get("attempts"):
        entry["attempts"][-1].update(ended=_now(), status=status, to_step=step)
    write_json(run.manifest, tree)


def _read(run: RunDir) -> dict[str, Any]:
    try:
        tree = json.loads(run.manifest.read_text())
    except (OSError, ValueError):
        return {}
    return tree if isinstance(tree, dict) else {}


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
