"""`python -m stair.evaluate --policy ADDRESS_OR_FILE --run RUN …`: rollouts of a served policy."""

from __future__ import annotations

import signal
import sys

from stair import console, settings
from stair.evaluate.config import EvalConfig

STOPS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""Slurm's ways to say stop."""


def main() -> None:
    if "--help" in sys.argv or "-h" in sys.argv:
        console.show(f"{__doc__}\n\nSettings, as --name value, are those of stair/evaluate/config.py.")
        return
    config = settings.build(EvalConfig, settings.override({}, settings.parse_overrides(sys.argv[1:])))

    # An exception lets the simulator processes be ended too.
    for number in STOPS:
        signal.signal(number, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        from stair.evaluate.episodes import summarise
        from stair.evaluate.evaluation import evaluate

        for summary in summarise(evaluate(config)):
            console.show(f"{summary.name}: {summary.in_words()}")
    finally:
        # Often it is said twice, by Slurm and by who started us: an interpreter that ends cannot be told.
        for number in STOPS:
            signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(console.run_command(main))
