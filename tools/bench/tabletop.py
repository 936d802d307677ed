"""How many steps a second the tabletop makes on one core: world, picture and expert-free random actions.

Run by hand or by `make bench`: `python tools/bench/tabletop.py [IMAGE_SIZE]`; prints one JSON line.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np

from stair.sim.build import make_simulator
from stair.sim.tasks import points


def main() -> None:
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 128
    simulator = make_simulator("tabletop", image_size=size)
    rng = np.random.default_rng(0)
    rates = []
    for repeat in range(5):
        steps, started = 0, time.process_time()
        for point in points("tabletop", "tabletop_put_block", 10 * repeat, 10):
            simulator.reset(point)
            truncated = False
            while not truncated:
                action = rng.uniform(-0.04, 0.04, size=7)
                action[6] = rng.random() > 0.3
                truncated = simulator.step(action).truncated
                steps += 1
        rates.append(steps / (time.process_time() - started))
    line = {"name": "tabletop", "steps_per_s": round(float(np.median(rates))), "image_size": size}
    print(json.dumps(line))


if __name__ == "__main__":
    main()
