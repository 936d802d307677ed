"""What every sender does to a run folder before anything runs in it.

Takes a Plan, refuses a folder that holds a run of other settings, and writes the settings that the steps'
commands read. Both senders (this machine, Slurm) go through here.
"""

from __future__ import annotations

from stair.errors import UsageError
from stair.rundir import RunDir, write_whole
from stair.submit.plan import Plan, Step, read_plan
from stair.submit.planning import differing_settings


def refuse_other_settings(plan: Plan, run: RunDir) -> None:
    """Raises UsageError when the folder holds a run of other settings, naming them."""
    if not run.plan.exists():
        return
    differing = differing_settings(read_plan(run.plan), plan)
    if differing:
        shown = ", ".join(differing[:5]) + (f" and {len(differing) - 5} more" if differing[5:] else "")
        raise UsageError(
            f"{run.path} holds a run of other settings: {shown}",
            hint="--run with another folder, or the same settings to go on with this one",
        )


def write_settings(step: Step) -> None:
    """Writes the step's own settings where its command reads them. Raises StairError on a full disk."""
    import yaml

    content = step.settings.get(step.kind, step.settings)
    write_whole(step.settings_file, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
