"""`python -m stair.evaluate --policy ADDRESS_OR_FILE --run RUN …`: rollouts of a served policy."""

from __future__ import annotations

import signal
import sys

from stair import console, settings
from stair.evaluate.config import EvalConfig


def main() -> None:
    if "--help" in sys.argv or "-h" in sys.argv:
        console.show(f"{__doc__}\n\nSettings, as --name value, are those of stair/evaluate/config.py.")
        return
    config = settings.build(EvalConfig, settings.override({}, settings.parse_overrides(sys.argv[1:])))

    # Slurm's ways to say stop; an exception lets the simulator processes be ended too.
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda *_: sys.exit(128 + signal.SIGTERM))

    from stair.evaluate.episodes import summarise
    from stair.evaluate.evaluation import evaluate

    for summary in summarise(evaluate(config)):
        console.show(f"{summary.name}: {summary.in_words()}")


if __name__ == "__main__":
    sys.exit(console.run_command(main))
