"""A policy behind a websocket, used as if it were here.

Takes the address of a server, hands on a `Policy`: the handshake arrives on connect, each `act` is one
request and one answer. The surprise: no proxy is ever used, whatever the environment says, because a
server on a compute node must not be asked for through the cluster's web proxy.

Messages are maps with a `type`:
    server → client  {"type": "spec", …PolicySpec}                                       once, on connect
    client → server  {"type": "query", "image", "instruction", "unnorm_key", "seed"}
    server → client  {"type": "actions", "actions": float32 [K, 7], "server_ms", "batch"}
                     {"type": "error", "what", "hint"}                    the connection stays usable
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.sync.client import connect

from stair.errors import StairError, UsageError
from stair.policy.contract import PolicySpec, Query
from stair.policy.wire import pack, unpack


class ServerGone(StairError):
    """The server does not answer any more: no later query can succeed on this connection."""


def query_message(query: Query) -> dict[str, Any]:
    """The request as it travels."""
    return {
        "type": "query",
        "image": query.image,
        "instruction": query.instruction,
        "unnorm_key": query.unnorm_key,
        "seed": query.seed,
    }


class RemotePolicy:
    """A connection to a policy server. Not for several threads at once.

    Raises UsageError for an address that is none, ServerGone when nobody answers there within
    `timeout_s`, and StairError when whoever answers speaks something else.
    """

    spec: PolicySpec

    def __init__(self, address: str, timeout_s: float = 60.0) -> None:
        self.address, self.timeout_s = address, timeout_s
        self._open = ExitStack()
        try:
            self._socket = self._open.enter_context(
                connect(
                    address,
                    compression=None,
                    max_size=None,
                    proxy=None,
                    open_timeout=timeout_s,
                    ping_timeout=None,  # `timeout_s` says when a server counts as lost
                    close_timeout=1,
                )
            )
        except InvalidURI:
            raise UsageError(
                f"'{address}' is no address of a policy server", hint="ws://HOST:PORT, or an address file"
            ) from None
        except InvalidHandshake as error:
            raise StairError(
                f"what listens at {address} is no policy server ({error})", hint="check the port"
            ) from None
        except OSError as error:  # TimeoutError included
            raise ServerGone(
                f"no policy server answers at {address} ({_reason(error)})",
                hint="start it with: python -m stair.serve --model DIR",
            ) from None
        try:
            message = self._receive()
            if not isinstance(message, dict) or message.pop("type", "") != "spec":
                raise StairError(f"{address} did not send a handshake", hint="is it a STAIR policy server?")
            self.spec = PolicySpec.from_message(message)
        except BaseException:
            self.close()
            raise

    def act(self, query: Query) -> np.ndarray:
        """A chunk of physical actions, float32 [K, 7].

        Raises ServerGone when the server is lost, StairError with the server's own words when it
        refuses this query.
        """
        try:
            self._socket.send(pack(query_message(query)))
        except (ConnectionClosed, OSError) as error:
            raise self._gone(error) from None
        message = self._receive()
        kind = message.get("type") if isinstance(message, dict) else None
        if kind == "error":
            raise StairError(f"policy server: {message.get('what', '')}", hint=message.get("hint", ""))
        if kind != "actions":
            raise StairError(f"policy server at {self.address} sent {kind!r} where actions belong")
        actions = np.asarray(message.get("actions"))
        if actions.ndim != 2 or actions.dtype.kind != "f":
            raise StairError(f"policy server at {self.address} sent actions of shape {actions.shape}")
        return actions.astype(np.float32, copy=False)

    def close(self) -> None:
        """Ends the connection; harmless when repeated."""
        self._open.close()

    def _receive(self) -> Any:
        try:
            return unpack(self._socket.recv(timeout=self.timeout_s))
        except (ConnectionClosed, OSError) as error:
            # After a time-out the late answer would be taken for the next one's.
            self.close()
            raise self._gone(error) from None

    def _gone(self, error: Exception) -> ServerGone:
        return ServerGone(
            f"policy server at {self.address} is gone ({_reason(error, self.timeout_s)})",
            hint="start it again, then repeat this command: it goes on from there",
        )


def _reason(error: Exception, timeout_s: float | None = None) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer for {timeout_s:g} s" if timeout_s else "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
