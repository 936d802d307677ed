"""Servers for tests: one in a thread of this process, one as a process that can be killed.

Whatever is waited for here comes in a moment where nothing else happens; machines may be full.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stair.serve.batching import BatchPolicy
from stair.serve.config import ServeConfig
from stair.serve.server import serve_policy

SCRIPT = Path(__file__).with_name("scripted_server.py")
LONG_S = 120.0
"""Nothing that goes well takes this long."""


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
    assert up.wait(LONG_S)
    try:
        yield address[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(LONG_S)
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
    deadline = time.monotonic() + LONG_S
    try:
        while not address_file.exists():
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.02)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return process


@contextmanager
def kept_port() -> Iterator[int]:
    """A port that nobody else is given, whether or not a server of the test's listens on it just then: it is
    bound all the time, and servers may listen on an address that is bound like this."""
    with socket.socket() as keeper:
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind(("127.0.0.1", 0))
        yield keeper.getsockname()[1]
