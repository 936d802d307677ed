"""What a run was made from: code, machine, plan and job, as one JSON file.

Takes a Plan, hands on the `submit` entry of RUN/manifest.json. Every submission to the same run folder
adds an attempt, so that a run continued on another commit says so.
"""

from __future__ import annotations

import hashlib
import json
import platform
import socket
import sys
import time
from typing import Any

from stair.origin import code_state
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
        "code": code_state(),
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
