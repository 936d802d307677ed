"""`python -m stair.collect --root DIR --episodes 1000 --noise 0.01 ...`: a scripted expert fills a data set.

Every field of CollectConfig is a flag. A finished data set of the same settings is left as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import fields

from stair import console
from stair.collect.config import CollectConfig
from stair.settings import build, override, parse_overrides


def main(words: Sequence[str]) -> int:
    """Collects what the words ask for. Raises UsageError for unknown flags."""
    if {"-h", "--help"} & set(words):
        console.show(_usage())
        return 0
    config = build(CollectConfig, override({}, parse_overrides(words)))
    from stair.collect.dataset import collect

    path = collect(config)
    console.show(str(path))
    return 0


def _usage() -> str:
    flags = "\n".join(f"  --{f.name} {f.default}" for f in fields(CollectConfig))
    return f"{__doc__}\nFlags and their defaults (explained in stair/collect/config.py):\n{flags}"


if __name__ == "__main__":
    sys.exit(console.run_command(lambda: main(sys.argv[1:])))
