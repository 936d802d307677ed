"""A real policy server without a model: its actions are read off the query itself.

python tests/fakes/scripted_server.py ADDRESS_FILE [--delay_ms 0] [--port 0] [--hz 5] [--name scripted]
                                      [--dies_after QUERIES]

Actions depend on image, instruction and seed, so that equal queries get equal chunks and others do not.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import sys
import time

import numpy as np

from stair import console
from stair.policy.contract import ActionConvention, PolicySpec, Query
from stair.serve.config import ServeConfig
from stair.serve.server import run_server

CHUNK = 16


def scripted_chunk(query: Query) -> np.ndarray:
    """float32 [16, 7]: small motions from the digest of all that was asked."""
    digest = hashlib.sha256(query.image.tobytes() + query.instruction.encode() + query.unnorm_key.encode())
    rng = np.random.default_rng([int.from_bytes(digest.digest()[:8], "big"), query.seed])
    chunk = rng.normal(0, 0.01, (CHUNK, 7)).astype(np.float32)
    chunk[:, 6] = rng.random(CHUNK)
    return chunk


class ScriptedPolicy:
    """Answers at once, or after `delay_s` per batch; with `dies_after` as many queries, until its process is
    killed."""

    def __init__(
        self, *, delay_s: float = 0.0, hz: float = 5.0, name: str = "scripted", dies_after: int = 0
    ) -> None:
        self.delay_s, self.dies_after = delay_s, dies_after
        self.batches: list[int] = []
        self.spec = PolicySpec(
            name=name,
            chunk=CHUNK,
            image_size=64,
            unnorm_keys=("tabletop",),
            conventions={"tabletop": ActionConvention(control_hz=hz)},
        )

    def act_batch(self, queries: list[Query]) -> np.ndarray:
        if self.dies_after and sum(self.batches) >= self.dies_after:
            os.kill(os.getpid(), signal.SIGKILL)
        self.batches.append(len(queries))
        time.sleep(self.delay_s)
        if any(query.instruction == "break" for query in queries):
            raise RuntimeError("the scripted policy broke")
        return np.stack([scripted_chunk(query) for query in queries])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("address_file")
    parser.add_argument("--delay_ms", type=float, default=0.0)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--hz", type=float, default=5.0)
    parser.add_argument("--name", default="scripted")
    parser.add_argument("--dies_after", type=int, default=0)
    words = parser.parse_args()
    config = ServeConfig(port=words.port, address_file=words.address_file, max_wait_ms=2)
    policy = ScriptedPolicy(
        delay_s=words.delay_ms / 1000, hz=words.hz, name=words.name, dies_after=words.dies_after
    )
    run_server(lambda: policy, config)


if __name__ == "__main__":
    sys.exit(console.run_command(main))
