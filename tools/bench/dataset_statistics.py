"""Index and statistics of as many steps as Fractal has: 3,786,400 in 87,212 episodes, made up.

    python tools/bench/dataset_statistics.py [--share 1.0] [--folder DIR]

Every value of the real data set is in the records but the language embedding (2 kB a step, never looked
at), and the pictures are one tiny JPEG repeated. Prints a JSON line: seconds of wall and CPU time to open
the data set for the first time (index, statistics of both kinds) and for the second, and what the process
held, in all and beyond the index itself, after each tenth of the way. About 4 GB of disk while it runs.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for tools.made_fractal
EPISODES, STEPS = 87_212, 3_786_400
DATASET = "fractal20220817_data"
LIMIT_S = 300.0


def episode_lengths(episodes: int, steps: int) -> np.ndarray:
    """Lengths that add up, between about half and one and a half times their mean."""
    shares = np.random.default_rng(0).uniform(0.5, 1.5, episodes)
    ends = np.rint(np.cumsum(shares) / shares.sum() * steps).astype(np.int64)
    return np.diff(ends, prepend=0)


def write_data(root: Path, share: float) -> None:
    """The data set in 64 shards."""
    from stair.console import Progress
    from stair.data.rlds_features import fractal_features
    from stair.data.rlds_writer import RldsWriter
    from tools.made_fractal import make_episode, tiny_jpeg

    lengths = episode_lengths(round(share * EPISODES), round(share * STEPS))
    jpeg = tiny_jpeg()
    folder = root / DATASET / "0.1.0"
    progress = Progress("writing episodes", len(lengths))
    with RldsWriter(folder, name=DATASET, features=fractal_features(), split_shards={"train": 64}) as writer:
        for number, length in enumerate(lengths.tolist()):
            writer.add_columns("train", make_episode(number, length, [jpeg], wide=False))
            progress.update(number + 1)


def resident_mb() -> float:
    """What this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def measure(root: str) -> dict[str, Any]:
    """Opens the data set, watched from a thread of its own."""
    from stair.data.config import DataConfig, InputConfig
    from stair.data.corpus import Corpus

    before, started, cpu = resident_mb(), time.perf_counter(), time.process_time()
    held: list[tuple[float, float]] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.2):
            held.append((time.perf_counter() - started, resident_mb()))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    corpus = Corpus.open(DataConfig(root=root, mixture=DATASET, statistics="openvla"), InputConfig())
    wall, spent = time.perf_counter() - started, time.process_time() - cpu
    done.set()
    watcher.join()
    index = corpus.parts[0].index
    size = sum(a.nbytes for a in (index.actions, index.proprio, index.frames)) / 1e6
    tenths = [held[int(len(held) * k / 10)][1] for k in range(1, 10)] if held else []
    peak = max((mb for _, mb in held), default=before)
    again = time.perf_counter()
    Corpus.open(DataConfig(root=root, mixture=DATASET), InputConfig())
    return {
        "steps": len(index),
        "episodes": index.episodes,
        "wall_s": round(wall, 1),
        "cpu_s": round(spent, 1),
        "second_time_s": round(time.perf_counter() - again, 1),
        "index_mb": round(size),
        "rss_mb": [round(before), *(round(mb) for mb in tenths), round(peak)],
        "beyond_index_mb": round(peak - before - size),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--share", type=float, default=1.0, help="of Fractal's size")
    parser.add_argument("--folder", default=None, help="where to write, instead of a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as root:
        write_data(Path(root), options.share)
        command = [sys.executable, __file__, "--measure", root]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        result = json.loads(done.stdout.splitlines()[-1])
        limit = {"limit_s": LIMIT_S} if options.share == 1 else {}
        print(json.dumps({"bench": "statistics", **result, **limit}), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(sys.argv[2])))
    else:
        main()
