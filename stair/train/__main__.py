"""`python -m stair.train [--config FILE.yaml] [--profile STEPS] [--dotted.overrides]`, alone or once per
process of a launch.

Exit codes: 0 trained to the last step, 1 failed and 2 wrong use (two lines say why), 70 a bug (its traceback
says where), 75 saved and left on request: start it again and it goes on, 76 another process was lost: the
cause is there, and here nothing is wrong. torch is imported only when the settings are in order.
"""

from __future__ import annotations

import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stair import settings
from stair.console import say, show
from stair.errors import FAILED, StairError, UsageError
from stair.train.config import TrainConfig
from stair.train.stop import StopRequest

if TYPE_CHECKING:
    from stair.train.world import World

INTERRUPTED = 130
LAUNCHER = "STAIR_LAUNCHER"
"""Process id of launch.py, where it started this process."""
BUG = 70
"""EX_SOFTWARE of sysexits.h."""
LOST_PEER = 76
"""EX_PROTOCOL of sysexits.h: this process met nothing wrong but the silence of another."""


@dataclass(frozen=True)
class End:
    """How a process ended, and why."""

    code: int
    what: str = ""
    hint: str = ""


def read_config(words: Sequence[str]) -> TrainConfig:
    """The settings of a YAML file with flags laid over it. Raises UsageError for what nobody knows."""
    pairs = settings.parse_overrides(words)
    files = [value for name, value in pairs if name == "config"]
    if len(files) > 1:
        raise UsageError("--config is given more than once", hint="one file, and dotted flags over it")
    tree = settings.read_yaml(Path(str(files[0]))) if files else {}
    short = {"profile": "tracking.profile"}
    flags = [(short.get(name, name), value) for name, value in pairs if name != "config"]
    return settings.build(TrainConfig, settings.override(tree, flags))


def main(
    words: Sequence[str],
    stop: StopRequest | None = None,
    ended: Callable[[End], None] = lambda end: None,
) -> int:
    """Trains as `words` say and returns the exit code; one process tells the others' errors only once.

    `stop` listens already if it is given. `ended` hears how it ended, also where the process leaves without
    returning: among several, after an error.
    """
    if "--help" in words or "-h" in words:
        show((__doc__ or "").strip() + "\n\nSettings: the fields of stair/train/config.py, by dotted name.")
        return 0
    try:
        config = read_config(words)
    except StairError as error:
        if os.environ.get("RANK", "0") == "0":
            say(f"error: {error}")
        ended(End(error.exit_code, error.what, error.hint))
        return error.exit_code

    from stair.train.world import join_world, leave_world

    world: World | None = None
    try:
        world = join_world(config.engine)
        from stair.train.run import train

        code = train(config, world, stop)
        leave_world(world)
        ended(End(code))
        return code
    except StairError as error:
        end = End(error.exit_code, error.what, error.hint)
        if _speaks_first(world):
            say(f"error: {error}")
    except KeyboardInterrupt:
        end = End(INTERRUPTED, "interrupted", "started again, the run goes on from its newest checkpoint")
        if world is None or world.leads:
            say(f"{end.what}; {end.hint}")
    except Exception as error:
        end = _explain(error)
        if end.code == BUG:
            traceback.print_exc()
        elif end.code == LOST_PEER:
            time.sleep(1.0)  # whoever failed first shall say why
        # Who lost the process that keeps the store does not ask there: torch prints a page of frames.
        alone = end.code == LOST_PEER and LAUNCHER in os.environ
        if (alone or _speaks_first(world)) and end.code != BUG:
            say(f"error: {StairError(end.what, hint=end.hint)}")
    ended(end)
    if (world.size if world else int(os.environ.get("WORLD_SIZE", "1"))) > 1:
        # Threads that wait for a neighbour who is gone would keep this process from ending.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code)
    return end.code


def _explain(error: Exception) -> End:
    """The end that an unexpected exception means: no memory, a lost peer, or a bug."""
    from torch import OutOfMemoryError

    from stair.train.world import lost_peer

    text = gist(error)
    rank = os.environ.get("RANK", "0")
    if isinstance(error, OutOfMemoryError):
        return End(
            FAILED,
            f"process {rank} has no GPU memory left: {text}",
            "a smaller data.batch_size, more engine.accumulate, or engine.activation_checkpointing",
        )
    if not lost_peer(error):
        return End(BUG, f"{type(error).__name__}: {text}", "this is a bug; the traceback says where")
    return End(
        LOST_PEER,
        f"process {rank} lost another one: {text}",
        "the cause is in the log of the process that ended first, here or on another node; "
        "started again, the run goes on from its newest checkpoint",
    )


def gist(error: Exception) -> str:
    """The first line of an error, without the source file that gloo begins with and its advice."""
    text = (str(error) or type(error).__name__).splitlines()[0]
    return re.sub(r"^\[\S+\.(?:cc|cpp|h):\d+\] |\. This is typically .*", "", text)


def _speaks_first(world: World | None) -> bool:
    return world.speaks_first() if world else os.environ.get("RANK", "0") == "0"


if __name__ == "__main__":
    request = StopRequest().listen()
    code = main(sys.argv[1:], request)
    request.deaf()
    sys.exit(code)
