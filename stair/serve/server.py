"""A policy behind a websocket: handshake, queries, answers, `/healthz` and `/health`.

Takes a BatchPolicy, serves until SIGTERM, USR1, USR2 (Slurm's) or Ctrl-C. Whatever a client may send, the
server lives on: a malformed request is answered by an error that names the field. What is said on a
connection is session.py's, in one of the protocols of stair/policy/dialects.py. The address file is written
when the port answers and taken away at a clean stop, so that it never names a server that is not there; one
that another server has written meanwhile stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from stair import console
from stair.errors import StairError
from stair.policy.memory import keep_memory
from stair.rundir import write_whole
from stair.serve.batching import Batcher, BatchPolicy
from stair.serve.config import ServeConfig, check_mode
from stair.serve.session import Session

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
LARGEST_REQUEST = 64 * 2**20
"""Bytes; a camera image has about one MiB."""


async def _talk(connection: ServerConnection, batcher: Batcher, config: ServeConfig) -> None:
    session = Session(batcher, config)
    batcher.join()
    try:
        await connection.send(session.greeting())
        async for data in connection:
            answer = await session.answer(data)
            if answer is not None:
                await connection.send(answer)
    except ConnectionClosed:
        pass  # clients may leave at any time
    finally:
        batcher.leave(session)


def _answer_http(connection: ServerConnection, request: Request) -> Response | None:
    path = request.path.partition("?")[0]
    if path == "/healthz":  # openpi's, and ours
        return connection.respond(HTTPStatus.OK, "OK\n")
    if path == "/health":  # vla-eval's
        response = connection.respond(HTTPStatus.OK, '{"status": "ok"}\n')
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = "application/json"
        return response
    return None


async def serve_policy(
    policy: BatchPolicy,
    config: ServeConfig,
    started: Callable[[str], None] = lambda address: None,
    stop: asyncio.Event | None = None,
) -> None:
    """Serves until `stop` is set; `started` hears the address once the port answers.

    Raises StairError when the port cannot be had, UsageError for a mode that is not one.
    """
    check_mode(config)
    keep_memory()
    stop = stop or asyncio.Event()
    batcher = Batcher(policy, config.max_batch, config.max_wait_ms)
    answering = asyncio.create_task(batcher.run())
    try:
        async with serve(
            lambda connection: _talk(connection, batcher, config),
            config.host,
            config.port,
            compression=None,
            max_size=LARGEST_REQUEST,
            process_request=_answer_http,
            ping_timeout=None,  # a simulator that builds its scene may be deaf for minutes
            close_timeout=1,
        ) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            started(f"ws://{_name(config.host)}:{port}")
            await stop.wait()
    except OSError as error:
        raise StairError(
            f"cannot listen on {config.host}:{config.port} ({error.strerror})",
            hint="--port 0 takes a free port",
        ) from None
    finally:
        answering.cancel()


async def _serve_until_signalled(
    policy: BatchPolicy, config: ServeConfig, started: Callable[[str], None]
) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in STOPS:
        loop.add_signal_handler(number, stop.set)
    try:
        await serve_policy(policy, config, started, stop)
    finally:
        # Said twice, by Slurm and by who started us, it must not kill what is about to end cleanly.
        for number in STOPS:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)


def run_server(load: Callable[[], BatchPolicy], config: ServeConfig) -> None:
    """Loads the policy and serves it until SIGTERM or SIGINT.

    The address stands in the address file while the server can be reached.
    """
    file = Path(config.address_file) if config.address_file else None
    if file is not None:
        file.unlink(missing_ok=True)  # of a server that was killed: nobody may find it while we load
    policy = load()
    ours = ""

    def started(address: str) -> None:
        nonlocal ours
        ours = address
        if file is not None:
            write_whole(file, address + "\n")
        console.say(f"{policy.spec.name} is served at {address}")

    try:
        asyncio.run(_serve_until_signalled(policy, config, started))
    finally:
        # A server that is slow to stop may have its successor beside it already.
        with contextlib.suppress(FileNotFoundError):
            if file is not None and file.read_text().strip() == ours:
                file.unlink()
    console.say("server stopped")


def _name(host: str) -> str:
    return socket.gethostname() if host in ("", "0.0.0.0", "::") else host
