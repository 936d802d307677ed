"""Which data sets lie below a root as LeRobot folders, and under which of their names.

Takes a root, a data set's name and `data.format`, hands on a folder, or None for one to be read as RLDS.
Looks at names and at meta/info.json's presence only. The surprise: one data set has several names, as
`bridge_orig` is `bridge_orig_lerobot` where Open X-Embodiment was converted (IPEC), and
`bridge_orig_1.0.0_lerobot` where StarVLA reads it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from stair.data.standardize import STANDARDS
from stair.errors import StairError

Format = Literal["auto", "rlds", "lerobot"]
MARK = Path("meta") / "info.json"


def lerobot_names(dataset: str) -> tuple[str, ...]:
    """The folders that may hold a data set, the likelier first."""
    version = (f"{dataset}_{STANDARDS[dataset].version}_lerobot",) if dataset in STANDARDS else ()
    return (dataset, f"{dataset}_lerobot", *version)


def find_lerobot(root: Path | str, dataset: str, format: Format = "auto") -> Path | None:
    """The LeRobot folder to read, or None when it is RLDS that is wanted or that lies there.

    With `auto` an RLDS folder ROOT/DATASET/VERSION comes first. Raises StairError when LeRobot is asked
    for and is not there.
    """
    if format == "rlds":
        return None
    root = Path(root)
    if format == "auto" and dataset in STANDARDS and (root / dataset / STANDARDS[dataset].version).is_dir():
        return None
    for name in lerobot_names(dataset):
        if (root / name / MARK).is_file():
            return root / name
    for name in lerobot_names(dataset):
        if (root / name).is_dir() and (format == "lerobot" or name.endswith("_lerobot")):
            raise StairError(
                f"{root / name} has no {MARK}",
                hint="a LeRobot data set has data, meta and (mostly) videos: fetch the missing ones",
            )
    if format == "auto":
        return None
    names = " or ".join(lerobot_names(dataset))
    found = sorted(entry.name for entry in root.iterdir() if entry.is_dir())[:12] if root.is_dir() else []
    there = f"{root} holds {', '.join(found) or 'no folders'}" if root.is_dir() else f"there is no {root}"
    raise StairError(
        f"no LeRobot data set {dataset}: {there}",
        hint=f"data.root, the folder that holds {names} with {MARK} in it",
    )
