"""Which root folder is meant, and which cluster lies in it: ROOT/cluster.json holds the slot and the shape.

The surprise: without `--root` a shell with SLURM_CONF set means the cluster that it talks to.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, fields
from pathlib import Path

from stair.errors import StairError, UsageError
from stair.rundir import write_json
from tools.devslurm.shape import Cluster, Shape

DEFAULT_ROOT = Path("~/.cache/stair/devcluster")
LONGEST_ROOT = 80
"""Unix sockets lie under the root folder, and their paths end at 107 bytes."""


def choose_root(given: str | None) -> Path:
    """The root folder: as given, else that of the cluster which SLURM_CONF names, else the default one."""
    if given:
        return Path(given).expanduser().resolve()
    conf = os.environ.get("SLURM_CONF", "")
    if conf and (Path(conf).parent.parent / "cluster.json").exists():
        return Path(conf).resolve().parent.parent
    return DEFAULT_ROOT.expanduser().resolve()


def read_cluster(root: Path) -> Cluster:
    """The cluster that `up` made there. Raises StairError where there is none."""
    try:
        record = json.loads((root / "cluster.json").read_text())
        known = {field.name for field in fields(Shape)}
        shape = Shape(**{key: value for key, value in record["shape"].items() if key in known})
        return Cluster(root, int(record["slot"]), shape)
    except FileNotFoundError:
        raise StairError(f"no cluster in {root}", hint="tools/devcluster up, or --root DIR") from None
    except (ValueError, KeyError, TypeError):
        raise StairError(
            f"{root}/cluster.json is not what `up` writes", hint="tools/devcluster down --purge"
        ) from None


def write_cluster(cluster: Cluster) -> None:
    """Writes what `read_cluster` reads."""
    write_json(cluster.record, {"slot": cluster.slot, "shape": asdict(cluster.shape)})


def check_root(root: Path) -> None:
    """Raises UsageError for a folder that cannot be a root folder, or must not become one."""
    if len(str(root)) > LONGEST_ROOT:
        raise UsageError(
            f"{root} is longer than {LONGEST_ROOT} letters", hint="sockets need a shorter --root"
        )
    if any(letter.isspace() or letter in "\"'#,%=[]" for letter in str(root)):
        raise UsageError(f"slurm.conf cannot hold the path '{root}'", hint="--root without blanks and quotes")
    if not (root / "cluster.json").exists() and root.exists() and any(root.glob("[!.]*")):
        # `down --purge` would remove them.
        raise UsageError(f"{root} holds other things", hint="a new or empty folder as --root")
