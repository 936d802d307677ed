"""What a run was made from: code, machine, plan and job, as one JSON file.

Takes a Plan, hands on the `submit` entry of RUN/manifest.json. Every submission to the same run folder
adds an attempt, so that a run continued on another commit says so.
"""

from __future__ import annotations

import hashlib
import json
import platform
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import stair
from stair.rundir import RunDir, write_json
from stair.submit.plan import Plan


def describe(plan: Plan) -> dict[str, Any]:
    """What can be said about a submission before it has a job."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "executable": sys.executable,
        "stair": stair.__version__,
        "code": code_state(Path(stair.__file__).parent.parent),
        "plan_sha256": hashlib.sha256(plan.text().encode()).hexdigest(),
    }


def write_manifest(plan: Plan, run: RunDir, attempt: dict[str, Any], job_id: str) -> None:
    """Adds an attempt to the `submit` entry of the run's manifest; what others wrote there stays."""
    try:
        tree = json.loads(run.manifest.read_text())
    except (OSError, ValueError):
        tree = {}
    attempts = tree.get("submit", {}).get("attempts", [])
    attempt = {**attempt, "job": {"executor": plan.executor, "id": job_id}}
    tree["submit"] = {"recipe": plan.recipe, "cluster": plan.cluster, "attempts": [*attempts, attempt]}
    write_json(run.manifest, tree)


def code_state(checkout: Path) -> dict[str, Any]:
    """The commit of a checkout and a digest of what differs from it; empty outside of one."""
    if not (checkout / ".git").exists():
        return {}
    commit = _git(checkout, "rev-parse", "HEAD")
    if commit is None:
        return {}
    changes = (_git(checkout, "diff", "HEAD", "--binary") or "") + (
        _git(checkout, "ls-files", "--others", "--exclude-standard") or ""
    )
    digest = hashlib.sha256(changes.encode()).hexdigest()[:16] if changes.strip() else None
    return {"commit": commit.strip(), "changes_sha256": digest}


def _git(checkout: Path, *words: str) -> str | None:
    command = ["git", "-C", str(checkout), *words]
    try:
        done = subprocess.run(command, capture_output=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace")
