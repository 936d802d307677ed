"""A policy behind a websocket, used as if it were here.

Takes the address of a server, hands on a `Policy`: the handshake arrives on connect, each `act` is one
request and one answer. The server may be ours or another project's: which protocol it speaks is found out
unless told (stair/policy/dialects.py). The surprise: no proxy is ever used, whatever the environment says,
because a server on a compute node must not be asked for through the cluster's web proxy.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from contextlib import ExitStack
from typing import Any

import numpy as np
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.sync.client import ClientConnection, connect

from stair.errors import StairError, UsageError
from stair.policy import vla_eval
from stair.policy.contract import PolicySpec, Query
from stair.policy.dialects import find_dialect, greeted_by
from stair.policy.talk import Conversation, Dialect, Message
from stair.policy.wire import pack, unpack

GREETING_S = 3.0
"""How long a server of unknown protocol may be silent before it is spoken to as vla-eval's servers expect."""


class ServerGone(StairError):
    """The server does not answer any more: no later query can succeed on this connection."""

    def __init__(self, what: str, *, hint: str = "", why: str = "") -> None:
        super().__init__(what, hint=hint)
        self.why = why
        """What the connection said."""


class _Silence(Exception):
    """Nothing was said for a while on a connection that is still good."""


class RemotePolicy:
    """A connection to a policy server. Not for several threads at once.

    `speaks` is a protocol's name, or auto. `image_key` and `prompt_key` say where a server of openpi's looks
    for image and instruction, where that is not as in its LIBERO configuration; `image_key` names the camera
    for vla-eval's. Raises UsageError for an address that is none, ServerGone when nobody answers there
    within `timeout_s`, and StairError when whoever answers speaks something else.
    """

    spec: PolicySpec

    def __init__(
        self,
        address: str,
        timeout_s: float = 60.0,
        *,
        speaks: str = "auto",
        image_key: str = "",
        prompt_key: str = "prompt",
    ) -> None:
        self.address, self.timeout_s = address, timeout_s
        self._asked = 0
        self._open = ExitStack()
        try:
            self._socket = self._connect()
            self._dialect, greeting = self._meet(speaks)
            self.spec = self._dialect.read_greeting(greeting, address)
        except BaseException:
            self.close()
            raise
        self._talk = Conversation(self.spec, image_key, prompt_key)

    def act(self, query: Query) -> np.ndarray:
        """A chunk of physical actions, float32 [K, 7].

        Raises ServerGone when the server is lost, StairError with the server's own words when it
        refuses this query.
        """
        self._asked += 1
        for message in self._dialect.write_query(query, self._talk, self._asked):
            self._send(message)
        message = self._receive()
        if not isinstance(message, dict):
            raise StairError(f"policy server at {self.address} sent no map but {type(message).__name__}")
        actions = self._dialect.read_answer(message, self._asked)
        return actions.astype(np.float32, copy=False)

    def close(self) -> None:
        """Ends the connection; harmless when repeated."""
        self._open.close()

    def _connect(self) -> ClientConnection:
        try:
            return self._open.enter_context(
                connect(
                    self.address,
                    compression=None,
                    max_size=None,
                    proxy=None,
                    open_timeout=self.timeout_s,
                    ping_timeout=None,  # `timeout_s` says when a server counts as lost
                    close_timeout=1,
                )
            )
        except InvalidURI:
            raise UsageError(
                f"'{self.address}' is no address of a policy server",
                hint="ws://HOST:PORT, or an address file",
            ) from None
        except InvalidHandshake as error:
            raise StairError(
                f"what listens at {self.address} is no policy server ({error})", hint="check the port"
            ) from None
        except OSError as error:  # TimeoutError included
            why = _reason(error)
            raise ServerGone(
                f"no policy server answers at {self.address} ({why})",
                hint="start it with: python -m stair.serve --model DIR",
                why=why,
            ) from None

    def _meet(self, speaks: str) -> tuple[Dialect, Message]:
        """The protocol the server speaks, and its greeting."""
        hello = None if speaks == "auto" else find_dialect(speaks).hello()
        if hello is not None:
            self._send(hello, word_keys=True)
        late = False
        try:
            message = self._receive(min(GREETING_S, self.timeout_s) if speaks == "auto" else None)
        except _Silence:
            late = True
            self._send(vla_eval.hello(), word_keys=True)
            message = self._receive()
        dialect = greeted_by(message, speaks)
        if dialect is None:
            wanted = "of any protocol we know" if speaks == "auto" else f"of {speaks}"
            raise StairError(
                f"{self.address} did not send a handshake {wanted}",
                hint="is it a policy server? --speaks names its protocol",
            )
        if late and dialect.hello() is None:
            # Not silent but late, as on a machine that is full; our hello it takes for a request, and fails.
            # Once more from the beginning, and now it has all the time it needs.
            self.close()
            self._socket = self._connect()
            return self._meet(dialect.NAME)
        return dialect, message

    def _send(self, message: Message, *, word_keys: bool | None = None) -> None:
        words = self._dialect.WORD_KEYS if word_keys is None else word_keys
        try:
            _limit_sending(self._socket.socket, self.timeout_s)
            self._socket.send(pack(message, word_keys=words))
        except (ConnectionClosed, OSError) as error:
            # Nobody reads there any more, and what lies between is full.
            full = isinstance(error.__cause__, BlockingIOError)
            raise self._gone(TimeoutError() if full else error) from None

    def _receive(self, patience_s: float | None = None) -> Any:
        """The next message; raises _Silence after `patience_s`, when that is less than the time-out."""
        try:
            data = self._socket.recv(timeout=patience_s or self.timeout_s)
        except TimeoutError as error:
            if patience_s is not None and patience_s < self.timeout_s:
                raise _Silence from None
            # The late answer would be taken for the next one's.
            self.close()
            raise self._gone(error) from None
        except (ConnectionClosed, OSError) as error:
            self.close()
            raise self._gone(error) from None
        if isinstance(data, str):  # openpi's servers say so what failed, with a traceback
            raise StairError(
                f"policy server: {data.strip().splitlines()[-1] if data.strip() else 'no words'}"
            )
        return unpack(data)

    def _gone(self, error: Exception) -> ServerGone:
        return gone(self.address, _reason(error, self.timeout_s))


def gone(address: str, why: str) -> ServerGone:
    """What is said of a server that was there before."""
    return ServerGone(
        f"policy server at {address} is gone ({why})",
        hint="start it again, then repeat this command: it goes on from there",
        why=why,
    )


def _limit_sending(connection: socket.socket, limit_s: float) -> None:
    """Lets no send stand still for longer: a picture does not fit into the buffers on the way to a server
    that is frozen, or whose cable is cut. (A time-out of the socket's own would end the reading, too.)"""
    whole = int(limit_s)
    moment = struct.pack("@ll", whole, max(1, int((limit_s - whole) * 1e6)))
    with contextlib.suppress(OSError):  # closed: the send will say why
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, moment)


def _reason(error: Exception, timeout_s: float | None = None) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer for {timeout_s:g} s" if timeout_s else "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
