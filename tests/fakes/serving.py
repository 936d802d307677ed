"""Servers for tests: one in a thread of this process, one as a process that can be killed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

from stair.serve.batching import BatchPolicy
from stair.serve.config import ServeConfig
from stair.serve.server import serve_policy

SCRIPT = Path(__file__).with_name("scripted_server.py")


@contextmanager
def serving(policy: BatchPolicy, **settings):
    """Serves `policy` from a thread; gives its address."""
    address: list[str] = []
    up, loop, stop = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    def started(where: str) -> None:
        address.append(where)
        up.set()

    config = ServeConfig(port=0, **settings)
    thread = threading.Thread(
        target=lambda: loop.run_until_complete(serve_policy(policy, config, started, stop)), daemon=True
    )
    thread.start()
    assert up.wait(10)
    try:
        yield address[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        assert not thread.is_alive()
        loop.close()


def start_process(address_file: Path, *words: str) -> subprocess.Popen:
    """The scripted server as a process of its own; returns when it can be reached."""
    root = str(SCRIPT.parents[2])
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(address_file), *words],
        env={**os.environ, "PYTHONPATH": root},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 20
    while not address_file.exists():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process
