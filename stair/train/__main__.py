"""`python -m stair.train [--config FILE.yaml] [--dotted.overrides]`, alone or once per process of torchrun.

Exit codes: 0 trained to the last step, 1 failed (two lines say why), 2 wrong use, 75 saved and left on
request: start it again and it goes on. torch is imported only when the settings are in order.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from stair import settings
from stair.console import say, show
from stair.errors import StairError, UsageError
from stair.train.config import TrainConfig

INTERRUPTED = 130


def read_config(words: Sequence[str]) -> TrainConfig:
    """The settings of a YAML file with flags laid over it. Raises UsageError for what nobody knows."""
    pairs = settings.parse_overrides(words)
    files = [value for name, value in pairs if name == "config"]
    if len(files) > 1:
        raise UsageError("--config is given more than once", hint="one file, and dotted flags over it")
    tree = settings.read_yaml(Path(str(files[0]))) if files else {}
    flags = [(name, value) for name, value in pairs if name != "config"]
    return settings.build(TrainConfig, settings.override(tree, flags))


def main(words: Sequence[str]) -> int:
    """Trains as `words` say and returns the exit code; one process tells the others' errors only once."""
    if "--help" in words or "-h" in words:
        show((__doc__ or "").strip() + "\n\nSettings: the fields of stair/train/config.py, by dotted name.")
        return 0
    try:
        config = read_config(words)
    except StairError as error:
        if os.environ.get("RANK", "0") == "0":
            say(f"error: {error}")
        return error.exit_code

    from stair.train.world import World, join_world, leave_world

    world: World | None = None
    try:
        world = join_world(config.engine)
        from stair.train.run import train

        code = train(config, world)
        leave_world(world)
        return code
    except StairError as error:
        code = error.exit_code
        if world.speaks_first() if world else os.environ.get("RANK", "0") == "0":
            say(f"error: {error}")
    except KeyboardInterrupt:
        code = INTERRUPTED
        if world is None or world.leads:
            say("interrupted; the run goes on from its newest checkpoint when started again")
    except Exception as error:
        code = 1
        if world is None or world.size == 1:
            raise
        if not _lost_a_neighbour(error):
            traceback.print_exc()
            world.speaks_first()
        else:
            time.sleep(1.0)  # whoever failed first shall say why
            if world.speaks_first():
                say(f"error: process {world.rank} lost its neighbours: {str(error).splitlines()[0]}")
                say(
                    "  try: look at the other nodes' logs; started again, the run goes on from its checkpoint"
                )
    if world is not None and world.size > 1:
        # Threads that wait for a neighbour who is gone would keep this process from ending.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _lost_a_neighbour(error: Exception) -> bool:
    import torch.distributed as dist

    text = str(error).lower()
    return isinstance(error, dist.DistError) or any(word in text for word in ("gloo", "nccl", "connection"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
