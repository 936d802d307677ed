"""What a finished step made, by hash, and whether it is still that.

Takes a Step, hands on relative path → SHA-256 for its done.json; whoever reads the step's folder later
verifies it first. The surprise: of a training only the newest checkpoint's model counts, since that is what
the next stage and the server open (`find_model`); a newer one than recorded is therefore a difference too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from stair.cluster.digest import file_digest, folder_digest
from stair.errors import StairError
from stair.rundir import RunDir
from stair.submit.plan import Step

SHARDS = ("*.tfrecord*", "*.json")
"""What a folder of RLDS data holds; caches that readers put beside are left out."""


def record_artefacts(step: Step) -> dict[str, str]:
    """The files that later steps read, below `artefact_folder`. Raises StairError if one cannot be read."""
    folder = artefact_folder(step)
    if step.kind == "train":
        newest = RunDir(folder).latest_checkpoint()
        if newest is None:
            return {}
        prefix = newest.model.relative_to(folder).as_posix()
        return {f"{prefix}/{name}": digest for name, digest in folder_digest(newest.model).items()}
    if step.kind == "collect":
        # A root may hold data sets of others: those collected say so.
        made = [path.parent.relative_to(folder) for path in folder.glob("*/*/collect.json")]
        patterns = [f"{place.as_posix()}/{pattern}" for place in made for pattern in SHARDS]
        return folder_digest(folder, patterns) if patterns else {}
    if step.kind == "eval":
        return folder_digest(folder, ("episodes/*.jsonl",)) if folder.exists() else {}
    return {}


def verify_artefacts(step: Step, recorded: Mapping[str, str]) -> None:
    """Holds what a step made against its record, reading every byte; an empty record says nothing.

    Raises StairError naming the first file that is missing, differs, or took the place of the recorded one.
    """
    folder = artefact_folder(step)
    cure = f"restore it, or remove {step.done_file} and repeat the submission to make it again"
    for name, expected in sorted(recorded.items()):
        path = folder / name
        if not path.exists():
            raise StairError(f"{path}, which step {step.name} made, is missing", hint=cure)
        found = file_digest(path, fresh=True)
        if found != expected:
            raise StairError(
                f"{path} is not what step {step.name} made: sha256 {found[:12]}…, not {expected[:12]}…",
                hint=cure,
            )
    newest = RunDir(folder).latest_checkpoint() if step.kind == "train" and recorded else None
    if newest and not any(Path(name).is_relative_to(newest.model.relative_to(folder)) for name in recorded):
        raise StairError(
            f"{newest.path} is newer than what step {step.name} made when it was done",
            hint=f"move it away, or remove {step.done_file} and repeat the submission",
        )


def artefact_folder(step: Step) -> Path:
    """What recorded names are relative to: the data set's root for a collection, else the step's folder."""
    root = step.settings.get("collect", {}).get("root") if step.kind == "collect" else None
    return Path(root or step.folder)
