"""Which code is running: version, commit, and a digest of what differs from it.

Takes a checkout, hands on plain values for a manifest. Outside of a checkout only the version is known.
"""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import stair

CHECKOUT = Path(stair.__file__).resolve().parent.parent


def code_state(checkout: Path = CHECKOUT) -> dict[str, Any]:
    """`version`, and in a checkout `commit` and `changes_sha256`: None when nothing was changed, `unknown`
    when git gave no answer in time."""
    state: dict[str, Any] = {"version": stair.__version__}
    commit = _git(checkout, "rev-parse", "HEAD") if (checkout / ".git").exists() else None
    if commit is None:
        return state
    state["commit"] = commit.strip()
    changed = _git(checkout, "diff", "HEAD", "--binary")
    unknown = _git(checkout, "ls-files", "--others", "--exclude-standard")
    if changed is None or unknown is None:
        return {**state, "changes_sha256": "unknown"}
    changes = changed + unknown
    digest = hashlib.sha256(changes.encode()).hexdigest()[:16] if changes.strip() else None
    return {**state, "changes_sha256": digest}


def _git(checkout: Path, *words: str) -> str | None:
    command = ["git", "-C", str(checkout), *words]
    try:
        done = subprocess.run(command, capture_output=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace")
