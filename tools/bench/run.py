"""Runs every benchmark beside this file and collects the JSON lines they print.

    python tools/bench/run.py [NAME ...]

Progress and everything that is no JSON go to stderr; the collected lines go to stdout and to
build/bench.jsonl. The exit code is 1 when a benchmark failed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE.parents[1] / "build" / "bench.jsonl"


def run_bench(script: Path) -> tuple[list[str], bool]:
    """The JSON lines of one script, and whether it succeeded."""
    print(f"bench {script.stem} …", file=sys.stderr, flush=True)
    done = subprocess.run([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    lines = []
    for line in done.stdout.splitlines():
        try:
            json.loads(line)
        except ValueError:
            print(line, file=sys.stderr)
        else:
            lines.append(line)
            print(line, flush=True)
    if done.returncode:
        print(f"bench {script.stem} failed (exit {done.returncode})", file=sys.stderr)
    return lines, done.returncode == 0


def main(names: list[str]) -> int:
    scripts = sorted(path for path in HERE.glob("*.py") if path.name != Path(__file__).name)
    chosen = [path for path in scripts if not names or path.stem in names]
    results = [run_bench(path) for path in chosen]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("".join(f"{line}\n" for lines, _ in results for line in lines))
    return 0 if results and all(fine for _, fine in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
