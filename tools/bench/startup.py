"""How long `stair-submit --help` takes against a bare argparse program of the same options.

Prints one JSON line: medians in milliseconds and their ratio, measured in turns in one run so that a busy
machine slows both. The promise is a ratio of at most 1.8.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

FLOOR = """
import argparse
parser = argparse.ArgumentParser(prog="floor", description="the cheapest honest command line")
parser.add_argument("recipe")
for name in ("--run", "--cluster"):
    parser.add_argument(name, default="", help="a text")
for name in ("--dry", "--json", "--detach"):
    parser.add_argument(name, action="store_true", help="a switch")
parser.parse_args(["--help"])
"""
OURS = (
    "import sys; from stair.submit.cli import entry; sys.argv = ['stair-submit', '--help']; sys.exit(entry())"
)


def measure(rounds: int) -> dict[str, float]:
    """Medians over `rounds` alternating starts."""
    times: dict[str, list[float]] = {FLOOR: [], OURS: []}
    for _ in range(rounds):
        for code, seen in times.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
            seen.append(1000 * (time.perf_counter() - started))
    floor, ours = (statistics.median(times[code]) for code in (FLOOR, OURS))
    return {"floor_ms": round(floor, 1), "stair_submit_ms": round(ours, 1), "ratio": round(ours / floor, 2)}


if __name__ == "__main__":
    result = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
    print(json.dumps({"bench": "startup", "limit": 1.8, **result}))
