"""A policy behind a websocket: handshake, queries, answers, `/healthz`.

Takes a BatchPolicy, serves until SIGTERM, USR1, USR2 (Slurm's) or Ctrl-C. Whatever a client may send, the
server lives on: a malformed request is answered by an error that names the field. The messages are those of
policy/remote.py. The address file is written when the port answers and taken away at a clean stop, so that
it never names a server that is not there.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from stair import console
from stair.errors import StairError, unknown
from stair.policy.contract import PolicySpec, Query
from stair.policy.wire import pack, unpack
from stair.rundir import write_whole
from stair.serve.batching import Batcher, BatchPolicy
from stair.serve.config import ServeConfig

log = logging.getLogger(__name__)

LARGEST_REQUEST = 64 * 2**20
"""Bytes; a camera image has about one MiB."""


def read_query(message: Any, spec: PolicySpec) -> Query:
    """The query in a client's message. Raises StairError naming the field that is wrong."""
    if not isinstance(message, dict):
        raise StairError(
            f"a request is a map, not {type(message).__name__}", hint="see stair/policy/remote.py"
        )
    if message.get("type") != "query":
        raise StairError(f"type: {message.get('type')!r} is no request", hint="known: query")
    for name in ("image", "instruction", "unnorm_key", "seed"):
        if name not in message:
            raise StairError(f"{name}: missing", hint="a query has image, instruction, unnorm_key and seed")
    image, instruction = message["image"], message["instruction"]
    if not isinstance(image, np.ndarray):
        raise StairError(f"image: an array is needed, not {type(image).__name__}", hint="uint8 [H, W, 3]")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise StairError(f"image: {image.dtype} {list(image.shape)} came", hint="uint8 [H, W, 3]")
    if not isinstance(instruction, str) or not instruction.strip():
        raise StairError(f"instruction: {instruction!r} came", hint="words for the policy")
    key, seed = message["unnorm_key"], message["seed"]
    if key not in spec.unnorm_keys:
        raise StairError(f"unnorm_key: {unknown('data set', str(key), spec.unnorm_keys)}")
    if type(seed) is not int or not 0 <= seed < 2**63:
        raise StairError(f"seed: {seed!r} came", hint="a whole number from 0 to 2^63 - 1")
    return Query(image=image, instruction=instruction, unnorm_key=key, seed=seed)


async def _talk(connection: ServerConnection, batcher: Batcher) -> None:
    spec = batcher.policy.spec
    batcher.join()
    try:
        await connection.send(pack({"type": "spec", **spec.to_message()}))
        async for data in connection:
            await connection.send(pack(await _reply(data, batcher)))
    except ConnectionClosed:
        pass  # clients may leave at any time
    finally:
        batcher.leave()


async def _reply(data: bytes | str, batcher: Batcher) -> dict[str, Any]:
    try:
        answer = await batcher.ask(read_query(unpack(data), batcher.policy.spec))
    except StairError as error:
        return {"type": "error", "what": error.what, "hint": error.hint}
    except Exception as error:
        log.exception("the policy failed")
        return {"type": "error", "what": f"the policy failed: {error!r}", "hint": "see the server's log"}
    return {
        "type": "actions",
        "actions": answer.actions,
        "server_ms": answer.server_ms,
        "batch": answer.batch,
    }


def _answer_http(connection: ServerConnection, request: Request) -> Response | None:
    if request.path == "/healthz":
        return connection.respond(HTTPStatus.OK, "OK\n")
    return None


async def serve_policy(
    policy: BatchPolicy,
    config: ServeConfig,
    started: Callable[[str], None] = lambda address: None,
    stop: asyncio.Event | None = None,
) -> None:
    """Serves until `stop` is set; `started` hears the address once the port answers.

    Raises StairError when the port cannot be had.
    """
    stop = stop or asyncio.Event()
    batcher = Batcher(policy, config.max_batch, config.max_wait_ms)
    answering = asyncio.create_task(batcher.run())
    try:
        async with serve(
            lambda connection: _talk(connection, batcher),
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
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve_policy(policy, config, started, stop)


def run_server(load: Callable[[], BatchPolicy], config: ServeConfig) -> None:
    """Loads the policy and serves it until SIGTERM or SIGINT.

    The address stands in the address file while the server can be reached.
    """
    file = Path(config.address_file) if config.address_file else None
    if file is not None:
        file.unlink(missing_ok=True)  # of a server that was killed: nobody may find it while we load
    policy = load()

    def started(address: str) -> None:
        if file is not None:
            write_whole(file, address + "\n")
        console.say(f"{policy.spec.name} is served at {address}")

    try:
        asyncio.run(_serve_until_signalled(policy, config, started))
    finally:
        if file is not None:
            file.unlink(missing_ok=True)
    console.say("server stopped")


def _name(host: str) -> str:
    return socket.gethostname() if host in ("", "0.0.0.0", "::") else host
