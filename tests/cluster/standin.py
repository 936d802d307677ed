"""Stand-ins for Slurm's commands: small shell scripts that say what they are told to and note who called."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path


class StandIn:
    """A folder of commands, and what they were called with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls_file = folder / "calls"
        folder.mkdir(parents=True, exist_ok=True)

    def say(self, name: str, out: str = "", err: str = "", code: int = 0, *, first: str = "") -> None:
        """Makes a command. `first` is shell code that runs before it answers."""
        (self.folder / f"{name}.out").write_text(out)
        (self.folder / f"{name}.err").write_text(err)
        script = self.folder / name
        script.write_text(
            "#!/bin/sh\n"
            f'cd "{self.folder}"\n'
            f'{{ printf "%s" "{name}"; printf "\\t%s" "$@"; printf "\\n"; }} >> calls\n'
            f"env > {name}.env\n{first}\n"
            f"cat {name}.out\ncat {name}.err >&2\nexit {code}\n"
        )
        script.chmod(0o755)

    def environment(self, **more: str) -> dict[str, str]:
        """An environment in which these commands are found first."""
        return {**os.environ, **more, "PATH": f"{self.folder}{os.pathsep}{os.environ['PATH']}"}

    def calls(self) -> list[list[str]]:
        """Every call so far: the name and its words."""
        if not self.calls_file.exists():
            return []
        return [line.split("\t") for line in self.calls_file.read_text().splitlines()]

    def seen(self, name: str) -> Mapping[str, str]:
        """The environment of the last call of a command."""
        lines = (self.folder / f"{name}.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)


def squeue_line(job: str, state: str = "RUNNING", reason: str = "None", **more: object) -> str:
    """A line of squeue in our columns."""
    told = {"nodes": "n1", "start": 1000, "end": 2000, "eligible": 900, "code": 0, "restarts": 0} | more
    parts = [job, state, told["nodes"], told["start"], told["end"], told["eligible"], told["code"]]
    parts += [
        told["restarts"],
        "1:00:00",
        more.get("dependency", "(null)"),
        more.get("submitted", 900),
        reason,
    ]
    return "\x1f".join(map(str, parts)) + "\x1f\n"


def sacct_line(job: str, state: str, start: object = 1000, end: object = 1500, submitted: int = 900) -> str:
    """A line of sacct in our columns."""
    parts = [job, state, "n1", start, end, 900, submitted, "0:0", "01:00:00", "None"]
    return "\x1f".join(map(str, parts)) + "\n"


def a_queue(*jobs: dict[str, object]) -> str:
    """The JSON of a squeue."""
    return json.dumps({"jobs": list(jobs), "errors": []})
