"""A plan: all that will be run for one submission, as plain values.

Made by planning.py, shown by --dry, written to RUN/plan.json byte for byte as `Plan.text` has it, read
again on the node. Settings do not travel in argv: the sender writes each step's tree to its
`settings.yaml`, where the step's command reads it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stair.errors import StairError
from stair.frozen import frozen
from stair.rundir import address_file, done_file, settings_file

if TYPE_CHECKING:
    from stair.settings import Tree

CODE_INSIDE = "/opt/stair/src"
"""Where an image holds the package; a run's snapshot is bound over it."""


@frozen
class Step:
    """One command, the settings it reads, and where it leaves what it makes."""

    name: str
    kind: str
    folder: str
    argv: tuple[str, ...]
    server: tuple[str, ...]
    """A policy server to start first and to end afterwards; empty for most steps."""
    server_timeout_s: float
    settings: Tree
    environment: dict[str, str]
    """Added to what the step inherits."""
    needs: tuple[str, ...]
    """Earlier steps whose folders this one reads."""
    nodes: int
    processes: int
    hours: float
    cores: int = 0
    """Per node, asked of Slurm."""
    mem_gb: float = 0.0
    gpus: int = 0
    """Per node, asked of Slurm."""
    members: int = 1
    """More than one: an array of them; `{member}` in the commands stands for the number of each."""
    reads: dict[str, str] = field(default_factory=dict)
    """The paths that it reads, by the setting that names them."""
    member: int | None = None
    """Which of them this is; None in a plan."""
    layout: str = ""
    """Of an evaluation: which side gets which GPUs, see layout.py."""

    def of_member(self, member: int | None) -> Step:
        """The step as one member of its array runs it."""
        if member is None:
            return self
        argv, server = (
            tuple(word.replace("{member}", str(member)) for word in words)
            for words in (self.argv, self.server)
        )
        return replace(self, argv=argv, server=server, member=member)

    @property
    def settings_file(self) -> Path:
        """What the step's command reads: the part of the settings that is its own."""
        return settings_file(self.folder)

    @property
    def address_file(self) -> Path:
        """Where the step's server says how it is reached."""
        return address_file(self.folder, self.member)

    @property
    def done_file(self) -> Path:
        """The marker of a step, or of one member of it, that needs no second run."""
        return done_file(self.folder, self.member)

    def digest(self) -> str:
        """Names the step's settings: a marker with another digest is of another step."""
        text = json.dumps([self.kind, self.settings], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@frozen
class Batch:
    """One sbatch: a step, or as much of its array as Slurm takes at once."""

    name: str
    step: str
    script: str
    """What slurmctld will store, byte for byte."""
    after: tuple[str, ...]
    """Steps it waits for."""
    whatever_happens: bool
    """It waits for their end only, not for their success: a report tells what there is."""
    first: int = 0
    """The member that is index 0 of the array."""
    count: int = 0
    """Members of the array; 0: it is none."""
    parallel: int = 0
    """How many of them run at once."""


@frozen
class Budgets:
    """How often a step may begin again, by what ended it."""

    timeout: int = 0
    preemption: int = 0
    node: int = 0
    crash: int = 0


@frozen
class Plan:
    """All that will be run for one submission."""

    recipe: str
    cluster: str
    executor: str
    run: str
    cwd: str
    gpus_per_node: int | None
    grace_s: float
    keep: tuple[str, ...]
    """Host variables that must cross the wall of an image; empty without images."""
    steps: tuple[Step, ...]
    code: str = ""
    """Digest of the code snapshot that runs; empty: the installed code does."""
    images: dict[str, str] = field(default_factory=dict)
    """The images by path, with their SHA-256."""
    slurm_conf: str = ""
    """SLURM_CONF of the cluster, where it is not the machine's own."""
    warn_s: int = 0
    budgets: Budgets = field(default_factory=Budgets)
    batches: tuple[Batch, ...] = ()
    """In the order they are sent; empty on this machine."""

    @property
    def hours(self) -> float:
        return sum(step.hours for step in self.steps)

    @property
    def snapshot(self) -> Path | None:
        """The folder of the code that runs, or None where the installed code does."""
        return snapshot_folder(Path(self.run), self.code) if self.code else None

    def step(self, name: str) -> Step:
        """The step of that name. Raises StairError when there is none."""
        for step in self.steps:
            if step.name == name:
                return step
        raise StairError(f"the plan of {self.run} has no step {name}", hint="submit again")

    def text(self) -> str:
        """The plan as it is shown by --json and written to plan.json."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"


def snapshot_folder(run: Path, code: str) -> Path:
    """Where a run keeps the code of that digest: a folder with `stair/` in it."""
    return run / "code" / code[:16]


def read_plan(path: Path) -> Plan:
    """The inverse of `Plan.text`. Raises StairError when the file is missing or no plan."""
    try:
        tree = json.loads(path.read_text())
        steps = tuple(Step(**_frozen(part)) for part in tree.pop("steps"))
        batches = tuple(Batch(**_frozen(part)) for part in tree.pop("batches"))
        budgets = Budgets(**tree.pop("budgets"))
        return Plan(**_frozen(tree), steps=steps, batches=batches, budgets=budgets)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StairError(f"{path} is no plan: {error!r}", hint="submit again, to another --run") from None


def _frozen(tree: dict[str, Any]) -> dict[str, Any]:
    """JSON has lists where the values have tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in tree.items()}
